"""What the store knows of a message, told: line by line for a person, as plain data for a program."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from math import inf
from typing import Any

from waymail.app.cli.output import clean, size_text, span_text, time_json, time_text
from waymail.mail.envelope import Envelope
from waymail.store.contract import Event, RecipientState, State, Story

SHOWN = 3  # recipients that a line names; the others are counted
LONG = 8  # attempts in a row, of which only the first and the last are told
ENDS = 3  # so many of each
_INDENT = " " * 33  # below what follows the time and the kind
_DIALOGUE = " " * 21  # below the kind

# How a terminal shows what became of a message.
STYLES = {"delivered": "green", "deferred": "yellow", "queued": "yellow", "held": "magenta"}
STYLES |= dict.fromkeys(("failed", "removed", "refused"), "red")


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a story: when, which kind of event, what; a line without a time goes on with the one above. `style` is how a
    terminal shows it, as rich names it."""

    at: float | None
    kind: str
    text: str
    style: str = ""

    def __str__(self) -> str:
        if self.at is None:
            return clean((_DIALOGUE if self.kind == "said" else _INDENT) + self.text)
        return clean(f"{time_text(self.at)}  {self.kind:<10}  {self.text}")


def told(story: Story, now: float, *, verbose: bool = False) -> Iterator[Line]:
    """A message's whole story: accepted, all that happened, and what comes next. `now` is in seconds since the epoch.

    What was said in a failed attempt is told of the last one, as long as one of its recipients has not got the message; with
    `verbose` of all. Of many attempts in a row the middle is left out, but not with `verbose`.
    """
    envelope = story.envelope
    yield Line(envelope.accepted_at, began(story), accepted_text(envelope, story.size))
    decisive = _decisive(story)
    left_out = set() if verbose else set(_middles(story.events))
    for number, event in enumerate(story.events):
        if number not in left_out:
            yield from _happened(event)
            if verbose or number == decisive:
                yield from (Line(None, "said", line, "dim") for line in event.detail.get("dialogue", ()))
        elif number - 1 not in left_out:
            count = next(many for many in range(1, len(left_out) + 1) if number + many not in left_out)
            yield Line(None, "", f"... {count} more attempts; --verbose shows them")
    live = [recipient for recipient in story.recipients if recipient.state.is_live]
    for recipient in live[: SHOWN * 3]:
        yield Line(now, "now", f"{recipient.address}: {standing(recipient, now, envelope.options.hold_until)}")
        if recipient.state is State.QUEUED and recipient.next_at > _announced(story, recipient.address) + 1:
            yield Line(None, "", "  put off when it was due: the destination was down, or had too many messages to send already")
    if rest := live[SHOWN * 3 :]:
        yield Line(now, "now", f"and {len(rest)} more recipients; `waymail queue show {envelope.id}` names all")


def began(story: Story) -> str:
    """Whether the message was taken at all: "accepted", "refused", or "discarded" where its client was told that it was taken."""
    if any(recipient.state is State.REFUSED for recipient in story.recipients):
        return "refused"
    is_discarded = any(event.kind == "judged" and event.detail.get("action") == "discard" for event in story.events)
    return "discarded" if is_discarded else "accepted"


def _announced(story: Story, address: str) -> float:
    """When the last event that is about this recipient said that he is tried next; infinite where it said nothing of that."""
    for event in reversed(story.events):
        for said in (event.detail, *event.detail.get("results", ())):
            if address in said.get("to", ()):
                return said.get("next") or inf
    return inf


def _decisive(story: Story) -> int | None:
    """The last attempt whose dialogue is known and that concerns somebody who has not got the message."""
    waiting = {recipient.address for recipient in story.recipients if recipient.state is not State.DELIVERED}
    for number in reversed(range(len(story.events))):
        detail = story.events[number].detail
        if detail.get("dialogue") and any(not waiting.isdisjoint(result.get("to", ())) for result in detail.get("results", ())):
            return number
    return None


def _middles(events: Sequence[Event]) -> Iterator[int]:
    """The attempts in the middle of long runs of them."""
    for is_attempt, run in groupby(range(len(events)), lambda number: events[number].kind == "attempt"):
        numbers = list(run)
        if is_attempt and len(numbers) > LONG:
            yield from numbers[ENDS:-ENDS]


def verdict(story: Story) -> Line:
    """What became of a message, in one line."""
    counted = Counter(_became(recipient) for recipient in story.recipients)
    kind = next((one for one in ("failed", "refused", "held", "deferred", "queued", "removed") if one in counted), "delivered")
    if len(counted) > 1:
        text = ", ".join(f"{number} {became}" for became, number in counted.most_common())
        return Line(None, kind, text, STYLES[kind])
    attempts = max((recipient.attempts for recipient in story.recipients), default=0)
    text = f"{kind} {_took(story)}" if kind == "delivered" else kind
    text += f", at attempt {attempts}" if attempts > 1 else ""
    replies = {recipient.reply for recipient in story.recipients}
    if kind in ("failed", "refused", "deferred") and len(replies) == 1:
        text += f": {replies.pop()}"
    return Line(None, kind, text, STYLES[kind])


def _became(recipient: RecipientState) -> str:
    if recipient.state in (State.QUEUED, State.ACTIVE):
        return "deferred" if recipient.attempts else "queued"
    return recipient.state.name.lower()


def _took(story: Story) -> str:
    ends = [event.at for event in story.events if event.kind == "attempt"]
    seconds = max(0.0, max(ends, default=story.envelope.accepted_at) - story.envelope.accepted_at)
    return f"in {seconds:.1f}s" if seconds < 10 else f"after {span_text(seconds)}"


def heading(story: Story) -> str:
    """The line above a story."""
    envelope = story.envelope
    to = people([recipient.address for recipient in story.recipients])
    if asked := sorted(
        {one.original for one in story.recipients if one.original and one.original.lower() != one.address.lower()}
    ):
        to += f" (sent to {people(asked)})"
    message_id = f"  {envelope.message_id}" if envelope.message_id else ""
    return clean(f"{envelope.id}  from {sender(envelope)} to {to}{message_id}")


def sender(envelope: Envelope) -> str:
    """The reverse-path; the null path as "<>"."""
    return envelope.sender or "<>"


def accepted_text(envelope: Envelope, size: int) -> str:
    """How the message came in."""
    origin = envelope.origin
    literal = f"[{origin.address}]" if origin.address else ""
    client = f"{origin.helo} {literal}" if origin.helo and origin.helo != literal else literal
    words = [f"from {client}" if client else "made here"]
    if origin.user:
        words.append(f"user {origin.user}")
    words.append(f"by {origin.protocol}")
    if client:  # Whether it showed a certificate says nothing here: it is never asked for one.
        words.append(origin.tls.removesuffix(" unverified") or "no TLS")
    return ", ".join([*words, size_text(size)])


def standing(recipient: RecipientState, now: float, hold_until: float = 0.0) -> str:
    """Where a recipient stands, and what comes next. `hold_until` is when the sender lets the message go (RFC 4865)."""
    tried = f"{recipient.attempts} attempt{'' if recipient.attempts == 1 else 's'} so far"
    match recipient.state:
        case State.QUEUED if hold_until > now:
            return f"held until {time_text(hold_until)} (for {span_text(hold_until - now)}), as its sender asked"
        case State.QUEUED if recipient.next_at <= now:
            return f"queued, {tried}, due now"
        case State.QUEUED:
            return f"queued, {tried}, next at {time_text(recipient.next_at)} (in {span_text(recipient.next_at - now)})"
        case State.ACTIVE:
            return f"being attempted, {tried}"
        case State.HELD:
            return f"held, {tried}; waits until it is released"
        case _:
            return recipient.state.name.lower()


def people(addresses: list[str]) -> str:
    """A few addresses, the others as a number."""
    shown = ", ".join(addresses[:SHOWN])
    return f"{shown} and {len(addresses) - SHOWN} more" if len(addresses) > SHOWN else shown


def as_json(story: Story) -> dict[str, Any]:
    """The whole story as plain data. Times are ISO 8601 in UTC; in events, `at` and `next` are seconds since the epoch, and stand
    once more as `time` and `next_time`."""
    envelope, origin = story.envelope, story.envelope.origin
    came = {"protocol": origin.protocol, "helo": origin.helo, "address": origin.address, "tls": origin.tls, "user": origin.user}
    accepted = Event(envelope.accepted_at, began(story), came | {"size": story.size})
    return {
        "id": envelope.id,
        "message_id": envelope.message_id,
        "sender": envelope.sender,
        "accepted": time_json(envelope.accepted_at),
        "size": story.size,
        "origin": came,
        "recipients": [_recipient_json(recipient) for recipient in story.recipients],
        "events": [_event_json(event) for event in (accepted, *story.events)],
    }


def summary_json(story: Story) -> dict[str, Any]:
    """A message as it stands in a list: without its events."""
    whole = as_json(story)
    del whole["events"]
    return whole


def _recipient_json(recipient: RecipientState) -> dict[str, Any]:
    return {
        "address": recipient.address,
        "original": recipient.original,
        "state": recipient.state.name.lower(),
        "attempts": recipient.attempts,
        "next": time_json(recipient.next_at) if recipient.state is State.QUEUED else None,
        "reply": recipient.reply,
    }


def _event_json(event: Event) -> dict[str, Any]:
    detail = _with_next_time(event.detail)
    if "results" in detail:
        detail["results"] = [_with_next_time(result) for result in detail["results"]]
    return {"at": event.at, "time": time_json(event.at), "kind": event.kind, "detail": detail}


def _with_next_time(said: Mapping[str, Any]) -> dict[str, Any]:
    return {**said, "next_time": time_json(said["next"])} if said.get("next") else dict(said)


def _happened(event: Event) -> Iterator[Line]:
    detail = event.detail
    if event.kind == "attempt":
        yield Line(event.at, "attempt", _attempt_text(detail))
        results = detail.get("results", ())
        for result in results:
            yield from _result_lines(result)
            if result.get("place") and len(results) > 1:  # the one of a single result stands in front
                yield Line(None, "", f"  in {result['place']}")
        return
    if event.kind == "judged":
        yield from judged_lines(event)
        return
    to = people(list(detail.get("to", ())))
    why = f": {detail['why']}" if detail.get("why") else ""
    if event.kind == "returned":
        why = f": {detail.get('reply', '')}"
    by = f" (by {detail['by']})" if detail.get("by") else ""
    notice = f", notice {detail['notice']} to the sender" if detail.get("notice") else ""
    if event.kind == "recovered":
        why = ": the process ended during an attempt; the next hop may have the message already, and may get it twice"
    yield Line(event.at, event.kind, f"{to}{by}{why}{notice}")
    if event.kind == "waiting":
        yield Line(None, "", f"  {detail.get('reply', '')}; asked again at {time_text(detail.get('next', event.at))}")


def judged_lines(event: Event) -> Iterator[Line]:
    """What was decided about a message and by which rule; the rest `waymail explain` tells."""
    detail = event.detail
    said = (str(detail.get(name, "")) for name in ("action", "rule", "reason"))
    yield Line(event.at, "judged", ": ".join(one for one in said if one))
    if detail.get("override"):
        yield Line(None, "", f"  not as the sender's domain asks: {detail['override']}")


def _attempt_text(detail: Mapping[str, Any]) -> str:
    """Whom we talked to, how safe it was, and how long it took."""
    host, address = detail.get("host", ""), detail.get("address", "")
    peer = f"{host} [{address}]" if host and address and host != address else host or address
    places = {result.get("place", "") for result in detail.get("results", ())}
    words = [peer or (str(places.pop()) if len(places) == 1 else "") or str(detail.get("destination", ""))]
    dialogue = detail.get("dialogue", ("* connected to",))
    if peer and address and any(line.startswith("* connected to") for line in dialogue):
        # A mailbox on this machine has no address, and no TLS; a host that was not reached has none, either.
        words.append(detail.get("tls") or "no TLS")
    if detail.get("ms"):
        words.append(f"{detail['ms']:g} ms" if detail["ms"] < 1_000 else f"{detail['ms'] / 1_000:.1f} s")
    return ", ".join(words)


def _result_lines(result: Mapping[str, Any]) -> Iterator[Line]:
    outcome = str(result.get("outcome", ""))
    text = f"{people(list(result.get('to', ())))}: {outcome}: {result.get('reply', '')}"
    yield Line(None, "", text, STYLES.get(outcome, ""))
    if result.get("uncertain"):
        yield Line(None, "", "  uncertain: the next hop may have taken it all the same, and may get it twice")
    following = f"next at {time_text(result['next'])}" if result.get("next") else ""
    if text := "; ".join(part for part in (following, str(result.get("why", ""))) if part):
        yield Line(None, "", f"  {text}")
