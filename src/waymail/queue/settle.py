"""What the outcomes of an attempt mean for the queue: new states, the event that tells it, who must be told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Any, Literal

from waymail.mail import headers
from waymail.mail.envelope import NO_OPTIONS, Envelope, Options, Recipient
from waymail.mail.explanation import Action
from waymail.mail.outcome import Deferred, Delivered, Failed, Outcome, Peer
from waymail.queue.retry import Rng, Schedule, Schedules, ends_at, late_at, next_attempt
from waymail.store.contract import Change, Event, Pending, State
from waymail.values import value
from waymail.wire.replies import Reply

OVERDUE = Reply(451, "the time that the sender set is over", "4.4.7")  # what is said of a message that is not attempted for that
NO_OUTCOMES: Mapping[str, Outcome] = {}
EXPANDED = Reply(250, "the address stands for several, and the message is on its way to each", "2.0.0")


@value
class Report:
    """A recipient of whom the sender is to be told, with what was said of it."""

    pending: Pending
    reply: Reply
    peer: Peer | None = None


Reports = Mapping[Action, Sequence[Report]]


@value
class Decision:
    """What to write down. `reports` names the recipients for notices, by what happened: all who failed, and for the rest of
    actions those whose sender wants to know (RFC 3461). `retry_until` is until when what is delayed is tried."""

    changes: tuple[Change, ...]
    results: tuple[Mapping[str, Any], ...]
    reports: Reports = field(default_factory=dict)
    retry_until: float = 0.0

    @property
    def failed(self) -> Sequence[Report]:
        return self.reports.get("failed", ())

    @property
    def delayed(self) -> Sequence[Report]:
        return self.reports.get("delayed", ())


@value
class _Terms:
    envelope: Envelope
    now: float
    schedules: Schedules
    rng: Rng
    destination: str
    slack: float
    attempted: bool
    not_before: float
    times: dict[tuple[int, Schedule], float] = field(default_factory=dict)

    def next_attempt(self, attempts: int, schedule: Schedule) -> float:
        """One time for all who were tried as often: what was put off together goes together, in one transaction or request."""
        if (attempts, schedule) not in self.times:
            self.times[attempts, schedule] = next_attempt(attempts, self.now, self.rng, schedule)
        return self.times[attempts, schedule]

    def ends_at(self, schedule: Schedule) -> float:
        return ends_at(self.envelope, schedule, self.slack)


def decide(
    pending: Sequence[Pending],
    outcomes: Mapping[str, Outcome],
    *,
    envelope: Envelope,
    now: float,
    schedules: Schedules,
    rng: Rng,
    destination: str = "",
    slack: float = 0.0,
    attempted: bool = True,
    not_before: float = 0.0,
) -> Decision:
    """Turn outcomes, by address, into changes.

    `destination` is the key of the one that was attempted, for the schedule. `slack` is the time in seconds that the message did
    not have, although the clock says so.
    `attempted` is false where the message was put off without an attempt, since its destination is down until `not_before`:
    its own count of attempts then stands.
    """
    terms = _Terms(envelope, now, schedules, rng, destination, slack, attempted, not_before)
    changes: list[Change] = []
    results: dict[tuple[str, str, str], dict[str, Any]] = {}
    reports: dict[Action, list[Report]] = {}
    for one in pending:
        recipient, outcome = one.recipient, outcomes[one.recipient.address]
        attempts = one.attempts + attempted
        said = str(outcome.reply)
        result: dict[str, Any] = {"to": [recipient.address], "outcome": type(outcome).__name__.lower(), "reply": said}
        if outcome.place:
            result["place"] = outcome.place
        match outcome:
            case Delivered(reply, peer):
                changes.append(Change(one.number, State.DELIVERED, attempts, said))
                if recipient.notify or envelope.options is not NO_OPTIONS:
                    action = confirmation(recipient, outcome, envelope.options, now)
                    if action is not None:
                        reports.setdefault(action, []).append(Report(one, reply, peer))
            case Failed(reply, peer):
                changes.append(Change(one.number, State.FAILED, attempts, said))
                reports.setdefault("failed", []).append(Report(one, reply, peer))
            case Deferred():
                changes.append(_put_back(one, outcome, attempts, terms, result, reports))
        if recipient.expanded and not one.attempts and (attempted or changes[-1].state > State.HELD):
            # RFC 3461 §5.2.7.3: it is the alias that this is about. The first attempt is counted once, so it is told once.
            alias = Recipient(recipient.original or recipient.address, orcpt=recipient.orcpt)
            reports.setdefault("expanded", []).append(Report(Pending(one.number, alias), EXPANDED))
        _merge(results, result)
    return Decision(tuple(changes), tuple(results.values()), reports, _retry_until(terms, reports))


def _retry_until(terms: _Terms, reports: Reports) -> float:
    """Until when what is delayed is tried: as long as the first of them."""
    delayed = reports.get("delayed")
    if not delayed:
        return 0.0
    return terms.ends_at(terms.schedules.of(delayed[0].pending.recipient.domain, terms.destination, delayed[0].reply))


def confirmation(
    recipient: Recipient, delivered: Delivered, options: Options, now: float
) -> Literal["delivered", "relayed"] | None:
    """What the sender is told where all went well, if anything."""
    if delivered.final:  # RFC 3461 §5.2.3
        return "delivered" if recipient.wants("SUCCESS") else None
    if recipient.wants("SUCCESS") and not delivered.dsn:
        return "relayed"  # RFC 3461 §5.2.2 (b): nobody behind this next hop will tell
    by = options.deliver_by
    if by is None or recipient.notify == "NEVER":
        return None
    # RFC 2852 §4.1.4 (a trace), §4.1.4.2 (nobody behind this next hop knows of the time)
    if by.trace or (by.mode == "N" and not delivered.deliver_by and now < by.until):
        return "relayed"
    return None


def _put_back(
    one: Pending,
    outcome: Deferred,
    attempts: int,
    terms: _Terms,
    result: dict[str, Any],
    reports: dict[Action, list[Report]],
) -> Change:
    """The change for a recipient that is not done: it waits, or its time is up."""
    envelope, now, reply, said = terms.envelope, terms.now, outcome.reply, result["reply"]
    schedule = terms.schedules.of(one.recipient.domain, terms.destination, reply)
    end, late, by = terms.ends_at(schedule), late_at(envelope, schedule, terms.slack), envelope.options.deliver_by
    if now >= end:
        # RFC 5321 §4.5.4.1: the time is up; the last thing that was said stands as the reason.
        why = _date(by.until) if by is not None and end == by.until else f"within {_days(schedule.expire)}"
        reports.setdefault("failed", []).append(
            Report(one, _late(Reply(554, f"not delivered {why}", "5.4.7"), reply), outcome.peer)
        )
        result |= {"outcome": "failed", "why": f"given up: not delivered {why}"}
        return Change(one.number, State.FAILED, attempts, said)
    warn = late is not None and not one.warned and now >= late
    if warn and one.recipient.wants("DELAY"):
        if by is not None and late == by.until:
            reply = _late(Reply(451, f"not delivered {_date(by.until)}, but still being tried", "4.4.7"), reply)
        reports.setdefault("delayed", []).append(Report(one, reply, outcome.peer))
    due = terms.not_before
    if terms.attempted:
        due = max(due, terms.next_attempt(max(attempts, 1), schedule))
    due = min(due, end)
    if by is not None and now < by.until:
        due = min(due, by.until)  # what has to be done then is not slept over
    result |= {"next": due, "why": _why(attempts, terms.attempted, terms.not_before, due)}
    if outcome.uncertain:
        result["uncertain"] = True
    return Change(one.number, State.QUEUED, attempts, said, due, one.warned or warn)


def _merge(results: dict[tuple[str, str, str], dict[str, Any]], result: dict[str, Any]) -> None:
    """Recipients of whom the same was said stand in one result, but those whose mail is in different places."""
    same = results.setdefault((result["outcome"], result["reply"], result.get("place", "")), result)
    if same is not result:
        same["to"] += result["to"]


def _why(attempts: int, attempted: bool, not_before: float, due: float) -> str:
    if not attempted:
        return "the destination is down; one message probes it, the others wait"
    if due == not_before:
        return "the destination is down; the next attempt waits for it"
    return f"attempt {attempts} failed for now; the schedule sets the next"


def _late(reply: Reply, last: Reply) -> Reply:
    """What is said of a message whose time is over (RFC 3463 §3.5: X.4.7, delivery time expired), with what was said last."""
    return reply if last is OVERDUE else Reply(reply.code, f"{reply.text}; the last reply was: {last}", reply.enhanced)


def _date(until: float) -> str:
    return f"by {headers.date_time(until)}, the time that its sender set"


def _days(seconds: float) -> str:
    hours = seconds / 3600
    return f"{hours / 24:g} days" if hours >= 48 else f"{hours:g} hours"


def attempt_event(
    decision: Decision,
    *,
    destination: str,
    peer: Peer | None,
    now: float,
    seconds: float,
    outcomes: Mapping[str, Outcome] = NO_OUTCOMES,
) -> Event:
    """The event of one attempt, as `store.contract.Event` describes it: with its dialogue where not all was delivered."""
    detail: dict[str, Any] = {"destination": destination, "ms": round(seconds * 1000, 1)}
    if peer is not None:
        detail |= {"host": peer.host, "address": peer.address, "tls": peer.tls}
    detail["results"] = list(decision.results)
    for outcome in outcomes.values():
        if not isinstance(outcome, Delivered) and outcome.dialogue:
            detail["dialogue"] = list(outcome.dialogue)
            break
    return Event(now, "attempt", detail)
