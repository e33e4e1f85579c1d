"""A queue's runner with a clock that jumps and a carrier that does as it is told.

bench = Bench(ScriptedCarrier(answer=lambda recipient: Deferred(Reply(451, "later"))))
async with bench.running():
    id = await bench.accept("bob@example.net")
    await bench.pass_time(3600)
    assert await bench.state(id) == [State.QUEUED]
"""

# ruff: noqa: S101, S311 - these are for tests

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from waymail.mail.envelope import NO_OPTIONS, Body, Envelope, Options, QueueIds, Recipient
from waymail.mail.outcome import Deferred, Delivered, Failed, Outcome
from waymail.queue.bounce import NoticeWriter
from waymail.queue.plan import RunnerLimits
from waymail.queue.retry import DAY, HOUR, Schedule
from waymail.queue.runner import Runner
from waymail.store.contract import NewMessage, State, Store
from waymail.store.memory import MemoryStore
from waymail.testing.clock import JumpingClock
from waymail.wire.replies import Reply

TAKEN = Delivered(Reply(250, "taken", "2.0.0"))

Answer = Callable[[Recipient], Outcome]


@dataclass(frozen=True)
class Place:
    """A destination."""

    key: str


@dataclass
class ScriptedCarrier:
    """Answers by `answer`; a domain is its own destination. `hold` makes attempts wait until it is set; `lost` has the domains to
    which there is no way."""

    answer: Answer = lambda recipient: TAKEN
    attempts: list[tuple[float, str]] = field(default_factory=list)
    most_at_once: int = 0
    hold: asyncio.Event | None = None
    now: Callable[[], float] = lambda: 0.0
    lost: dict[str, Deferred | Failed] = field(default_factory=dict)
    bodies: dict[str, bytes] = field(default_factory=dict)
    envelopes: dict[str, Envelope] = field(default_factory=dict)
    _at_once: int = 0

    def known(self, recipient: Recipient) -> Place | None:
        """As `queue.runner.Carrier.known`."""
        return None if recipient.domain in self.lost else Place(recipient.domain)

    async def locate(self, recipient: Recipient) -> Place | Deferred | Failed:
        """As `queue.runner.Carrier.locate`."""
        return self.lost[recipient.domain]

    async def deliver(
        self, destination: object, envelope: Envelope, body: Body, recipients: Sequence[Recipient]
    ) -> Mapping[str, Outcome]:
        """As `queue.runner.Carrier.deliver`."""
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        self.attempts += [(self.now(), recipient.address) for recipient in recipients]
        self.bodies[envelope.id], self.envelopes[envelope.id] = b"".join(body.chunks()), envelope
        try:
            if self.hold is not None:
                await self.hold.wait()
            else:
                await asyncio.sleep(0)
            return {recipient.address: self.answer(recipient) for recipient in recipients}
        finally:
            self._at_once -= 1


class Bench:
    """A runner with everything that it needs. `limits` are those of `RunnerLimits`."""

    def __init__(
        self, carrier: ScriptedCarrier, store: Store | None = None, *, clock: JumpingClock | None = None, **limits: int
    ) -> None:
        self.clock = clock or JumpingClock()
        self.carrier = carrier
        carrier.now = self.clock.now
        self.ids = QueueIds(1)
        self.store: Store = store or MemoryStore(now=self.clock.now, monotonic=self.clock.monotonic)
        self.schedule = Schedule(intervals=(60, 300, 900), expire=5 * DAY, delay_warning=4 * HOUR, jitter=0.0)
        self.runner = Runner(
            self.store,
            carrier,
            NoticeWriter("mail.example.org", self.ids.next),
            clock=self.clock,
            rng=random.Random(1),
            schedule=self.schedule,
            limits=RunnerLimits(**limits),
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as group:
            group.create_task(self.runner.run())
            await asyncio.sleep(0)
            try:
                yield
            finally:
                await self.runner.stop(grace=1)

    async def accept(self, *recipients: str | Recipient, sender: str = "ann@example.org", options: Options = NO_OPTIONS) -> str:
        """Accept a message as the server does. Returns its queue id."""
        now = self.clock.now()
        people = tuple(Recipient(one) if isinstance(one, str) else one for one in recipients)
        envelope = Envelope(self.ids.next(now), sender, people, now, options=options)
        content = b"Subject: hello\r\n\r\nhello\r\n"
        new = NewMessage(envelope, Body(content, len(content)), claim=self.runner.has_room_for(envelope))
        self.runner.offer(await self.store.accept(new))
        await asyncio.sleep(0)
        return envelope.id

    async def settled(self) -> None:
        """Let everything happen that can happen without time passing."""
        for _ in range(50):
            await asyncio.sleep(0)

    async def pass_time(self, seconds: float, step: float = 30.0) -> None:
        until = self.clock.now() + seconds
        while (left := until - self.clock.now()) > 0:
            await self.clock.advance(min(step, left))
            await self.settled()

    def notices(self) -> list[tuple[Envelope, bytes]]:
        """The notices of which there was an attempt, in order."""
        made = ((envelope, self.carrier.bodies[id]) for id, envelope in self.carrier.envelopes.items())
        return [(envelope, body) for envelope, body in made if envelope.origin.protocol == "notice"]

    async def state(self, id: str) -> list[State]:
        story = await self.store.get(id)
        assert story is not None
        return [recipient.state for recipient in story.recipients]

    async def kinds(self, id: str) -> list[str]:
        story = await self.store.get(id)
        assert story is not None
        return [event.kind for event in story.events if event.kind != "accepted"]
