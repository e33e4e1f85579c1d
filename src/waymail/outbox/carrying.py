"""Delivers what is in an outbox, in whichever process has its lock.

Promises: of all processes that have the outbox open and may carry, one does; when it closes the outbox, or dies, another one
takes over within about a second, and recovers what the last one had under way as a server's store does (`store.contract`). A
store that fails is told of in the log and tried again; one whose sync failed is left alone until the process is started anew.
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial

from waymail.client.target import NextHop, Tls
from waymail.delivery.dispatch import Dispatch
from waymail.delivery.routes import ByMx, Final, Routes
from waymail.delivery.smtp import SmtpTransport
from waymail.log_lines import speak_up
from waymail.mail.envelope import Body, Envelope, QueueIds, Recipient
from waymail.mail.outcome import Outcome
from waymail.net.clock import Clock
from waymail.net.resolver import Resolver
from waymail.outbox.nudge import Nudges
from waymail.outbox.settings import Settings, own_name
from waymail.queue.bounce import NoticeWriter
from waymail.queue.observer import Observer
from waymail.queue.plan import RunnerLimits
from waymail.queue.runner import LIFTED, Runner
from waymail.queue.settle import Reports
from waymail.store.body import IN_MEMORY
from waymail.store.contract import Event, NewMessage, Store, StoreError
from waymail.store.lock import InUse, is_held
from waymail.store.place import Place
from waymail.store.sqlite import SqliteStore

log = logging.getLogger("waymail.outbox")

LOOK = 0.5  # seconds, about, between two looks at whether another process still carries
STORE_LOOK = 1.0  # seconds between two looks at whether the store can be used
HOUSEKEEPING = 3600.0  # seconds
TOTAL = 100  # attempts at once, and as many that take long: each has a connection, and the program needs some for itself


@dataclass(frozen=True, slots=True)
class Work:
    """What there is while this process carries."""

    store: Store
    runner: Runner[NextHop | Final]

    async def submit(self, new: NewMessage) -> None:
        """Take a message, and begin to deliver it. Raises StoreError."""
        envelope, body = new.envelope, new.body
        if isinstance(body.content, bytes) and body.size > IN_MEMORY:
            spool = self.store.spool(envelope.id)
            try:
                for chunk in body.chunks():
                    spool.write(chunk)
                new = replace(new, body=spool.finish())
                self.runner.offer(await self.store.accept(replace(new, claim=self.runner.has_room_for(envelope))))
            finally:
                spool.discard()  # which does nothing where the store has it
            return
        self.runner.offer(await self.store.accept(replace(new, claim=self.runner.has_room_for(envelope))))


class Carrying:
    """`work` is there while this process carries. `run` tries, again and again, until `stop`."""

    def __init__(self, place: Place, settings: Settings, observer: Observer, clock: Clock) -> None:
        self.work: Work | None = None
        self._place = place
        self._settings = settings
        self._observer = observer
        self._clock = clock
        self._stopping = asyncio.Event()
        self._looked = asyncio.Event()

    async def run(self) -> None:
        """Carry whenever nobody else does, until `stop`."""
        speak_up()
        while not self._stopping.is_set():
            try:
                if not is_held(self._place):
                    await self._carry()
            except InUse:  # another process was quicker
                pass
            except StoreError as error:
                log.error("nothing is delivered from the outbox", extra={"fields": {"error": str(error)}})
            except Exception:
                log.exception("carrying ended in a bug")
            self._looked.set()
            await self._sleep(LOOK * random.uniform(0.7, 1.3))  # noqa: S311 - so that those who wait do not look at once

    async def looked(self) -> None:
        """Return when it is known whether this process carries."""
        await self._looked.wait()

    def stop(self) -> None:
        """Let `run` end, once attempts under way had their `grace` and all that is known is on disk."""
        self._stopping.set()

    async def _carry(self) -> None:
        async with opened(self._place, self._settings, self._observer, self._clock) as work, asyncio.TaskGroup() as group:
            running = group.create_task(work.runner.run())
            flushed = asyncio.Event()
            nudges = Nudges(self._place, partial(self._heard, work.runner, flushed))
            lifting = group.create_task(self._lift(work, flushed))
            housekeeping = group.create_task(self._keep_house(work.store))
            await asyncio.sleep(0)  # the runner's group is open now
            self.work = work
            self._looked.set()
            log.info("carrying", extra={"fields": {"outbox": str(self._place.database)}})
            try:
                await self._until_stopped(work.store)
            finally:
                self.work = None
                nudges.close()
                housekeeping.cancel()
                lifting.cancel()
                await work.runner.stop(self._settings.grace)
                await asyncio.wait([running])

    @staticmethod
    def _heard(runner: Runner[NextHop | Final], flushed: asyncio.Event, was_flushed: bool) -> None:
        if was_flushed:
            flushed.set()
        else:
            runner.look()

    async def _lift(self, work: Work, flushed: asyncio.Event) -> None:
        """Whenever something was flushed from outside: where it goes is probed, whatever was known of it."""
        while True:
            await flushed.wait()
            flushed.clear()
            try:
                waiting = await work.store.waiting(LIFTED)
            except StoreError as error:
                log.error("what was flushed cannot be read", extra={"fields": {"error": str(error)}})
                work.runner.look()
                continue
            await work.runner.lift([one.domain for one in waiting.largest if one.queued])

    async def _until_stopped(self, store: Store) -> None:
        while not self._stopping.is_set():
            try:
                store.check()
            except StoreError as error:
                log.critical("the outbox cannot be written any more", extra={"fields": {"error": str(error)}})
                return
            await self._sleep(STORE_LOOK)

    async def _keep_house(self, store: Store) -> None:
        while (keep := self._settings.keep) is not None:
            try:
                await store.forget(self._clock.now() - keep)
            except StoreError as error:
                log.error("old history could not be removed", extra={"fields": {"error": str(error)}})
            await self._clock.sleep(HOUSEKEEPING)

    async def _sleep(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return


@asynccontextmanager
async def opened(place: Place, settings: Settings, observer: Observer, clock: Clock) -> AsyncIterator[Work]:
    """All that delivers, for as long as the block lasts. Raises StoreError, InUse among them."""
    hostname = settings.hostname or await asyncio.to_thread(own_name)
    ids = QueueIds(secrets.randbits(11))
    store = await SqliteStore.open(place, now=clock.now, monotonic=clock.monotonic)
    resolver = Resolver(settings.network.resolvers or None, clock=clock)
    smtp = SmtpTransport(
        hello_name=settings.hello or (None if settings.next_hop is not None else hostname),
        contexts=settings.contexts,
        network=settings.network,
    )
    try:
        notices = NoticeWriter(hostname, ids.next) if settings.notices else Silence(hostname, ids.next)
        limits = RunnerLimits(settings.per_destination, max(TOTAL, settings.per_destination), TOTAL)
        rng = random.SystemRandom()
        target = settings.next_hop or ByMx()
        # Whoever names this machine in DNS means another program on it: an outbox takes no mail, so none can go in circles.
        sending = smtp if settings.next_hop is not None else Demanding(smtp, settings.tls)
        way = Dispatch(Routes({}, {"*": target}), sending, {}, resolver=resolver, clock=clock, rng=rng, own_names=())
        runner: Runner[NextHop | Final] = Runner(
            store, way, notices, clock=clock, rng=rng, schedule=settings.schedule, limits=limits, observer=observer
        )
        yield Work(store, runner)
    finally:
        await smtp.close()
        await resolver.close()
        await store.close()


class Demanding:
    """Asks of the hosts that DNS names what the program asks of TLS: DNS says nothing of it."""

    def __init__(self, smtp: SmtpTransport, tls: Tls) -> None:
        self._smtp = smtp
        self._tls = tls

    async def deliver(
        self, next_hop: NextHop, envelope: Envelope, body: Body, recipients: Sequence[Recipient]
    ) -> Mapping[str, Outcome]:
        """As `SmtpTransport.deliver`."""
        return await self._smtp.deliver(replace(next_hop, tls=self._tls), envelope, body, recipients)


class Silence(NoticeWriter):
    """Tells nobody by mail."""

    def tell(
        self, envelope: Envelope, body: Body, reports: Reports, *, now: float, retry_until: float
    ) -> tuple[tuple[Event, ...], tuple[NewMessage, ...]]:
        """As `NoticeWriter.tell`: nothing."""
        return (), ()
