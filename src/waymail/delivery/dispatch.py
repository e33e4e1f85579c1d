"""Takes one attempt to the transport that can make it, and turns whatever goes wrong into an outcome.

This is the one place where an unexpected exception becomes `Deferred`: the peer and the sender see a public text, the cause
goes to the log alone.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from waymail.client import mx
from waymail.client.target import NextHop
from waymail.delivery.routes import ByMx, Final, Routes
from waymail.delivery.smtp import ATTEMPT
from waymail.mail.envelope import Body, Envelope, Recipient
from waymail.mail.outcome import Deferred, Failed, Outcome
from waymail.net.clock import Clock
from waymail.net.drive import Asks, drive
from waymail.wire.replies import Reply

log = logging.getLogger("waymail.delivery")

MX_DEADLINE = 30.0  # seconds for all DNS questions of one next hop
MX_MEMORY = 60.0  # seconds for which a next hop is taken again without asking; the resolver's own cache goes by TTL
MX_ENTRIES = 10_000

TOOK_TOO_LONG = Reply(451, "the attempt took too long", "4.4.2")
INTERNAL_ERROR = Reply(451, "internal error; the message stays in the queue", "4.3.0")


class SmtpDelivery(Protocol):
    """Bounded in time by itself, so that what is known of the message at the end is told."""

    async def deliver(
        self, next_hop: NextHop, envelope: Envelope, body: Body, recipients: Sequence[Recipient]
    ) -> Mapping[str, Outcome]: ...


class FinalDelivery(Protocol):
    async def deliver(self, envelope: Envelope, body: Body, recipients: Sequence[Recipient]) -> Mapping[str, Outcome]: ...


class Dispatch:
    """The carrier that the queue's runner works with (`queue.runner.Carrier`).

    `finals` has a transport for every target of final delivery that the routes name; `own_names` and `own_addresses` are
    this host's, to which no MX record may lead mail back.
    """

    def __init__(
        self,
        routes: Routes,
        smtp: SmtpDelivery,
        finals: Mapping[Final, FinalDelivery],
        *,
        resolver: Asks,
        clock: Clock,
        rng: mx.Shuffler,
        own_names: Collection[str],
        own_addresses: Collection[str] = (),
    ) -> None:
        self._routes = routes
        self._smtp = smtp
        self._finals = finals
        self._resolver = resolver
        self._clock = clock
        self._rng = rng
        self._own_names = own_names
        self._own_addresses = own_addresses
        self._next_hops: dict[str, tuple[float, NextHop]] = {}

    def known(self, recipient: Recipient) -> NextHop | Final | None:
        """The destination, where no question to DNS is needed or a recent answer is remembered."""
        target = self._routes.match(recipient.domain)
        if not isinstance(target, ByMx):
            return target
        until, next_hop = self._next_hops.get(recipient.domain, (0.0, None))
        return next_hop if until > self._clock.monotonic() else None

    async def locate(self, recipient: Recipient) -> NextHop | Final | Deferred | Failed:
        """The destination, by DNS where the route says so."""
        if (known := self.known(recipient)) is not None:
            return known
        lookups = mx.next_hop(recipient.domain, own_names=self._own_names, own_addresses=self._own_addresses, rng=self._rng)
        found = await drive(lookups, self._resolver, deadline=MX_DEADLINE)
        if isinstance(found, NextHop):
            if len(self._next_hops) >= MX_ENTRIES:
                self._next_hops.clear()
            self._next_hops[recipient.domain] = (self._clock.monotonic() + MX_MEMORY, found)
        return found

    async def deliver(
        self, destination: NextHop | Final, envelope: Envelope, body: Body, recipients: Sequence[Recipient]
    ) -> Mapping[str, Outcome]:
        """One attempt; an outcome for every recipient."""
        try:
            if isinstance(destination, NextHop):
                outcomes = await self._smtp.deliver(destination, envelope, body, recipients)
            else:
                async with asyncio.timeout(ATTEMPT):
                    outcomes = await self._finals[destination].deliver(envelope, body, recipients)
        except TimeoutError:
            outcomes = {recipient.address: Deferred(TOOK_TOO_LONG, uncertain=True) for recipient in recipients}
        except Exception as error:
            log.exception("an attempt ended in a bug", extra={"fields": {"id": envelope.id, "destination": destination.key}})
            outcomes = {recipient.address: Deferred(INTERNAL_ERROR, cause=repr(error)) for recipient in recipients}
        missing = Deferred(INTERNAL_ERROR, cause="the transport gave no outcome")
        return {recipient.address: outcomes.get(recipient.address, missing) for recipient in recipients}
