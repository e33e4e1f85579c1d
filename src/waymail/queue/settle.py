"""What the outcomes of an attempt mean for the queue: new states, the event that tells it, who must be told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from waymail.mail.outcome import Deferred, Delivered, Failed, Outcome, Peer
from waymail.queue.retry import Rng, Schedule, is_expired, next_attempt, wants_warning
from waymail.store.contract import Change, Event, Pending, State
from waymail.values import value
from waymail.wire.replies import Reply


@value
class Report:
    """A recipient of whom the sender is to be told, with what was said of it."""

    pending: Pending
    reply: Reply
    peer: Peer | None = None


@value
class Decision:
    """What to write down. `failed` and `delayed` name the recipients for a failure DSN and a delay warning."""

    changes: tuple[Change, ...]
    results: tuple[Mapping[str, Any], ...]
    failed: tuple[Report, ...] = ()
    delayed: tuple[Report, ...] = ()


def decide(
    pending: Sequence[Pending],
    outcomes: Mapping[str, Outcome],
    *,
    accepted_at: float,
    now: float,
    schedule: Schedule,
    rng: Rng,
    attempted: bool = True,
    not_before: float = 0.0,
) -> Decision:
    """Turn outcomes, by address, into changes.

    `attempted` is false where the message was put off without an attempt, since its destination is down until `not_before`:
    its own count of attempts then stands.
    """
    changes: list[Change] = []
    results: dict[tuple[str, str], dict[str, Any]] = {}
    failed: list[Report] = []
    delayed: list[Report] = []
    for one in pending:
        outcome = outcomes[one.recipient.address]
        attempts = one.attempts + attempted
        said = str(outcome.reply)
        result: dict[str, Any] = {"to": [one.recipient.address], "outcome": type(outcome).__name__.lower(), "reply": said}
        match outcome:
            case Delivered():
                changes.append(Change(one.number, State.DELIVERED, attempts, said))
            case Failed(reply, peer):
                changes.append(Change(one.number, State.FAILED, attempts, said))
                failed.append(Report(one, reply, peer))
            case Deferred(reply, peer) if is_expired(accepted_at, now, schedule):
                # RFC 5321 §4.5.4.1: the time is up; the last thing that was said stands as the reason.
                changes.append(Change(one.number, State.FAILED, attempts, said))
                failed.append(Report(one, _expired(reply, schedule), peer))
                result |= {"outcome": "failed", "why": f"given up after {_days(schedule.expire)}"}
            case Deferred(reply, peer, uncertain):
                due = max(next_attempt(max(attempts, 1), now, rng, schedule), not_before) if attempted else not_before
                due = min(due, accepted_at + schedule.expire)
                warn = not one.warned and wants_warning(accepted_at, now, schedule)
                if warn:
                    delayed.append(Report(one, reply, peer))
                changes.append(Change(one.number, State.QUEUED, attempts, said, due, one.warned or warn))
                result |= {"next": due, "why": _why(attempts, attempted, not_before, due)}
                if uncertain:
                    result["uncertain"] = True
        _merge(results, result)
    return Decision(tuple(changes), tuple(results.values()), tuple(failed), tuple(delayed))


def _merge(results: dict[tuple[str, str], dict[str, Any]], result: dict[str, Any]) -> None:
    """Recipients of whom the same was said stand in one result."""
    same = results.setdefault((result["outcome"], result["reply"]), result)
    if same is not result:
        same["to"] += result["to"]


def _why(attempts: int, attempted: bool, not_before: float, due: float) -> str:
    if not attempted:
        return "the destination is down; one message probes it, the others wait"
    if due == not_before:
        return "the destination is down; the next attempt waits for it"
    return f"attempt {attempts} failed for now; the schedule sets the next"


def _expired(reply: Reply, schedule: Schedule) -> Reply:
    # RFC 3463 §3.5: X.4.7, delivery time expired. The class is permanent now: nobody will try again.
    return Reply(554, f"not delivered within {_days(schedule.expire)}; the last reply was: {reply}", "5.4.7")


def _days(seconds: float) -> str:
    hours = seconds / 3600
    return f"{hours / 24:g} days" if hours >= 48 else f"{hours:g} hours"


def attempt_event(decision: Decision, *, destination: str, peer: Peer | None, now: float, seconds: float) -> Event:
    """The event of one attempt, as `store.contract.Event` describes it."""
    detail: dict[str, Any] = {"destination": destination, "ms": round(seconds * 1000, 1)}
    if peer is not None:
        detail |= {"host": peer.host, "address": peer.address, "tls": peer.tls}
    detail["results"] = list(decision.results)
    return Event(now, "attempt", detail)
