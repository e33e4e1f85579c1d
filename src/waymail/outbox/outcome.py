"""What became of a message of the outbox, and what a program hears of each of its recipients."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from waymail.store.contract import Event, State, Story
from waymail.wire.replies import Reply

_REPLY = re.compile(r"(\d{3})(?: ([245]\.\d{1,3}\.\d{1,3}))?(?: (.*))?", re.DOTALL)  # RFC 3463 §2


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of a message: each recipient is in one of the first three.

    `delivered` has what the next host said when it took the message for the address, `failed` the last reply of those for whom
    it was given up, `removed` those whom an operator removed. `uncertain` are addresses for which an attempt ended without an
    answer (the connection was lost, or a process ended): they may have the message once more than these say.
    """

    delivered: Mapping[str, str] = field(default_factory=dict)
    failed: Mapping[str, Reply] = field(default_factory=dict)
    removed: tuple[str, ...] = ()
    uncertain: tuple[str, ...] = ()

    @property
    def is_delivered(self) -> bool:
        """Whether all recipients have it."""
        return not (self.failed or self.removed)


@dataclass(frozen=True, slots=True)
class OutboxEvent:
    """What happened to one recipient of a message: `id` is that of its ticket, `message_id` what its field Message-ID says.

    `attempts` counts those made so far. `next_at` is when the next one is due, in seconds since the epoch, for "deferred"; else
    0. `uncertain`: the message may have arrived all the same.
    """

    kind: Literal["delivered", "failed", "deferred"]
    id: str
    message_id: str
    sender: str
    recipient: str
    reply: Reply
    attempts: int
    next_at: float = 0.0
    uncertain: bool = False


@dataclass(frozen=True, slots=True)
class Waiting:
    """A recipient whose message has neither been delivered nor given up. `id` is that of its ticket, `attempts` counts those made
    so far, `next_at` is when the next one is due, in seconds since the epoch; `reply` is what was last said, "" for nothing. What
    is held (`waymail outbox hold`) is never due."""

    id: str
    sender: str
    recipient: str
    attempts: int
    next_at: float
    reply: str
    is_held: bool = False


def waiting_of(stories: Iterable[Story]) -> list[Waiting]:
    """All recipients of these messages that wait."""
    return [
        Waiting(
            story.envelope.id, story.envelope.sender, one.address, one.attempts, one.next_at, one.reply, one.state is State.HELD
        )
        for story in stories
        for one in story.recipients
        if one.state.is_live
    ]


def outcome_of(story: Story) -> Outcome | None:
    """What became of a message; None where it is still under way."""
    if any(one.state.is_live for one in story.recipients):
        return None
    by_state = {state: [one for one in story.recipients if one.state is state] for state in State}
    return Outcome(
        {one.address: one.reply for one in by_state[State.DELIVERED]},
        {one.address: reply_of(one.reply) for one in by_state[State.FAILED]},
        tuple(one.address for one in by_state[State.REMOVED]),
        tuple(dict.fromkeys(address for event in story.events for address in doubted(event))),
    )


def doubted(event: Event) -> Iterable[str]:
    """The addresses of which an event says that they may have the message all the same."""
    if event.kind == "recovered":
        yield from event.detail.get("to", ())
    for result in _results(event):
        if result.get("uncertain"):
            yield from result.get("to", ())


def _results(event: Event) -> Iterable[Mapping[str, Any]]:
    return event.detail.get("results", ()) if event.kind == "attempt" else ()


def reply_of(text: str) -> Reply:
    """A reply from its text as the store keeps it."""
    found = _REPLY.fullmatch(text)
    return Reply(451, text, "4.0.0") if found is None else Reply(int(found[1]), found[3] or "", found[2])
