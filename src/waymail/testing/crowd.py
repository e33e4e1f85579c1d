"""Many messages for many destinations, some of them dead, some slow, in a clock that goes as fast as the work is done.

The queue's runner and its store are real, the destinations are not. Simulated time stands still while anything is being claimed
or accepted, and goes on to whoever wakes up next when all have done what they can: so hours pass in seconds, and what is
measured is who waits for whom, not how fast the machine is.

    crowd = Crowd(store, clock, destinations=5000, messages=200_000, dead=0.1, slow=0.05)
    await crowd.run()
    crowd.finished_at["quick"]    # seconds after the beginning, of the last message to those that answer quickly
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, cast

from waymail.mail.envelope import Body, Envelope, QueueIds, Recipient
from waymail.mail.outcome import Deferred, Delivered, Outcome
from waymail.queue.bounce import NoticeWriter
from waymail.queue.plan import RunnerLimits
from waymail.queue.retry import Schedule
from waymail.queue.runner import Runner
from waymail.store.contract import ALL, Delivery, NewMessage, Settlement, Store
from waymail.testing.clock import JumpingClock
from waymail.wire.replies import Reply

T = TypeVar("T")
Kind = Literal["quick", "slow", "dead"]

TAKEN = Delivered(Reply(250, "taken", "2.0.0"))
REFUSED = Deferred(Reply(451, "no connection", "4.4.1"), destination_down=True)
SECONDS: Mapping[Kind, float] = {"quick": 0.1, "slow": 60.0, "dead": 30.0}  # that an attempt takes
SETTLING = 2_000  # settlements under way past which time stands still, too
ACCEPTORS = 50  # messages that are accepted side by side
CONTENT = b"Subject: hello\r\n\r\nhello\r\n"


@dataclass(frozen=True)
class Place:
    """A destination."""

    key: str


class BusyStore:
    """A store that knows what is being asked of it."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.asked = 0
        self.settling = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def accept(self, message: NewMessage) -> Delivery:
        return await self._count(self._store.accept(message))

    async def claim(self, now: float, limit: int, rooms: Mapping[str, int] = ALL) -> Sequence[Delivery]:
        return await self._count(self._store.claim(now, limit, rooms))

    async def next_due(self, after: float = 0.0) -> float | None:
        return await self._count(self._store.next_due(after))

    async def settle(self, settlement: Settlement) -> Sequence[Delivery]:
        self.settling += 1
        try:
            return await self._store.settle(settlement)
        finally:
            self.settling -= 1

    async def _count(self, work: Awaitable[T]) -> T:
        self.asked += 1
        try:
            return await work
        finally:
            self.asked -= 1


class Crowd:
    """The messages, the destinations, and what became of them.

    `dead` and `slow` are the shares of the destinations that are so. `kinds` has all of them, `left` the messages that are not
    delivered yet, `delivered` how often each was, `finished_at` when the last one of a kind was.
    """

    def __init__(
        self,
        store: Store,
        clock: JumpingClock,
        *,
        destinations: int,
        messages: int,
        dead: float = 0.0,
        slow: float = 0.0,
        limits: RunnerLimits | None = None,
    ) -> None:
        self._clock = clock
        self.store = BusyStore(store)
        self._messages = messages
        self._rng = random.Random(1)  # noqa: S311 - for tests
        self._ids = QueueIds(1)
        self.kinds: dict[str, Kind] = {}
        for number in range(destinations):
            share = (number * 7919 % destinations) / destinations  # spread among the others
            self.kinds[f"d{number}.example"] = "dead" if share < dead else "slow" if share < dead + slow else "quick"
        self.is_dead = True  # set it false, and the dead are alive
        self.delivered: Counter[str] = Counter()
        self.attempts: Counter[Kind] = Counter()
        self.left: Counter[Kind] = Counter()
        self.finished_at: dict[Kind, float] = {}
        self._began = clock.now()
        self.runner: Runner[Place] = Runner(
            cast("Store", self.store),
            self,
            NoticeWriter("mail.example.org", self._ids.next),
            clock=clock,
            rng=self._rng,
            schedule=Schedule(),
            limits=limits,
        )

    # --- a carrier ---

    def known(self, recipient: Recipient) -> Place:
        """As `queue.runner.Carrier.known`: a domain is its own destination."""
        return Place(recipient.domain)

    async def locate(self, recipient: Recipient) -> Place:
        """As `queue.runner.Carrier.locate`."""
        return Place(recipient.domain)

    async def deliver(
        self, destination: Place, envelope: Envelope, body: Body, recipients: Sequence[Recipient]
    ) -> Mapping[str, Outcome]:
        """As `queue.runner.Carrier.deliver`."""
        kind = self.kinds[destination.key]
        is_dead = kind == "dead" and self.is_dead
        self.attempts[kind] += 1
        seconds = SECONDS["quick" if kind == "dead" and not is_dead else kind]
        await self._clock.sleep(seconds * self._rng.choice((0.8, 0.9, 1.0, 1.1, 1.2)))
        if is_dead:
            return dict.fromkeys((one.address for one in recipients), REFUSED)
        self.delivered[envelope.id] += 1
        self.left[kind] -= 1
        if not self.left[kind]:
            self.finished_at[kind] = self._clock.now() - self._began
        return dict.fromkeys((one.address for one in recipients), TAKEN)

    # --- the world ---

    async def run(self, *, revive: Kind = "slow") -> None:
        """Accept all messages at once, and go on until all are delivered. When the quick ones and those of the kind `revive` are
        done, the dead live again."""
        domains = list(self.kinds)
        async with self.running():
            await self.accept([domains[number % len(domains)] for number in range(self._messages)])
            await self.pass_time(lambda: not self.left[revive] and not self.left["quick"])
            self.is_dead = False
            await self.pass_time(lambda: not any(self.left.values()))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """The runner runs; at the end what it knows is settled."""
        async with asyncio.TaskGroup() as group:
            running = group.create_task(self.runner.run())
            await asyncio.sleep(0)
            try:
                yield
                await self.pass_time(lambda: not self.store.settling)
            finally:
                stopping = group.create_task(self.runner.stop(grace=0))
                await self.pass_time(lambda: stopping.done() and running.done())

    async def accept(self, domains: Sequence[str]) -> None:
        """Accept a message for each of these domains, many side by side."""
        for domain in domains:
            self.left[self.kinds[domain]] += 1
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._accept(domains[first::ACCEPTORS])) for first in range(ACCEPTORS)]
            await self.pass_time(lambda: all(task.done() for task in tasks))

    async def _accept(self, domains: Sequence[str]) -> None:
        for domain in domains:
            now = self._clock.now()
            id = self._ids.next(now)
            envelope = Envelope(id, "ann@example.org", (Recipient(f"user{id}@{domain}"),), now)
            message = NewMessage(envelope, Body(CONTENT, len(CONTENT)), claim=self.runner.has_room_for(envelope))
            self.runner.offer(await self.store.accept(message))

    async def pass_time(self, is_over: Callable[[], bool]) -> None:
        """Let simulated time pass until then."""
        while not is_over():
            for _ in range(10):
                await asyncio.sleep(0)
            if self.store.asked or self.store.settling > SETTLING or not await self._clock.advance_to_next():
                await asyncio.sleep(0.0005)
