"""What the store knows of a message, told: line by line for a person, as plain data for a program."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from waymail.app.cli.output import clean, size_text, span_text, time_json, time_text
from waymail.mail.envelope import Envelope
from waymail.store.contract import Event, RecipientState, State, Story

SHOWN = 3  # recipients that a line names; the others are counted
_INDENT = " " * 33  # below what follows the time and the kind


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a story: when, which kind of event, what; a line without a time goes on with the one above."""

    at: float | None
    kind: str
    text: str

    def __str__(self) -> str:
        return clean(f"{time_text(self.at)}  {self.kind:<10}  {self.text}" if self.at is not None else _INDENT + self.text)


def told(story: Story, now: float) -> Iterator[Line]:
    """A message's whole story: accepted, all that happened, and what comes next. `now` is in seconds since the epoch."""
    envelope = story.envelope
    yield Line(envelope.accepted_at, "accepted", accepted_text(envelope, story.size))
    for event in story.events:
        yield from _happened(event)
    live = [recipient for recipient in story.recipients if recipient.state.is_live]
    for recipient in live[: SHOWN * 3]:
        yield Line(now, "now", f"{recipient.address}: {standing(recipient, now, envelope.options.hold_until)}")
    if rest := live[SHOWN * 3 :]:
        yield Line(now, "now", f"and {len(rest)} more recipients; `waymail queue show {envelope.id}` names all")


def heading(story: Story) -> str:
    """The line above a story."""
    envelope = story.envelope
    to = people([recipient.address for recipient in story.recipients])
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
    # Whether a client showed a certificate says nothing here: it is never asked for one.
    tls = origin.tls.removesuffix(" unverified") or "no TLS"
    return ", ".join([*words, f"by {origin.protocol}", tls, size_text(size)])


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
    """The whole story as plain data. Times are ISO 8601 in UTC; `at` is seconds since the epoch as well."""
    envelope, origin = story.envelope, story.envelope.origin
    came = {"protocol": origin.protocol, "helo": origin.helo, "address": origin.address, "tls": origin.tls, "user": origin.user}
    accepted = Event(envelope.accepted_at, "accepted", came | {"size": story.size})
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
    return {"at": event.at, "time": time_json(event.at), "kind": event.kind, "detail": dict(event.detail)}


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
    to = people(list(detail.get("to", ())))
    why = f": {detail['why']}" if detail.get("why") else ""
    notice = f", notice {detail['notice']} to the sender" if detail.get("notice") else ""
    if event.kind == "recovered":
        why = ": the process ended during an attempt; the next hop may have the message already, and may get it twice"
    yield Line(event.at, event.kind, f"{to}{why}{notice}")
    if event.kind == "waiting":
        yield Line(None, "", f"  {detail.get('reply', '')}; asked again at {time_text(detail.get('next', event.at))}")


def _attempt_text(detail: Mapping[str, Any]) -> str:
    """Whom we talked to, how safe it was, and how long it took."""
    host, address = detail.get("host", ""), detail.get("address", "")
    peer = f"{host} [{address}]" if host and address and host != address else host or address
    places = {result.get("place", "") for result in detail.get("results", ())}
    words = [peer or (str(places.pop()) if len(places) == 1 else "") or str(detail.get("destination", ""))]
    if peer and address:  # a mailbox on this machine has no address, and no TLS
        words.append(detail.get("tls") or "no TLS")
    if detail.get("ms"):
        words.append(f"{detail['ms']:g} ms")
    return ", ".join(words)


def _result_lines(result: Mapping[str, Any]) -> Iterator[Line]:
    yield Line(None, "", f"{people(list(result.get('to', ())))}: {result.get('outcome', '')}: {result.get('reply', '')}")
    if result.get("uncertain"):
        yield Line(None, "", "  uncertain: the next hop may have taken it all the same, and may get it twice")
    following = f"next at {time_text(result['next'])}" if result.get("next") else ""
    if text := "; ".join(part for part in (following, str(result.get("why", ""))) if part):
        yield Line(None, "", f"  {text}")
