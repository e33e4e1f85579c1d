"""How many messages a second the SQLite store accepts and settles, each durable, with the trace.

    .venv/bin/python -m bench.store_rate --callers 20 --seconds 5 --size 4096

Each caller accepts a message, then settles it as delivered, and starts over without waiting for that. Message-IDs and
recipients are all different, as they are to a server for many. `--history` fills the store with that many delivered messages
first. `--work` makes each call cost the loop that many microseconds besides, as a session would.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import uvloop

from bench.interpreter import interpreter
from waymail.mail.envelope import Body, Envelope, Origin, QueueIds, Recipient
from waymail.store.contract import Change, Delivery, Event, NewMessage, Settlement, State
from waymail.store.sqlite import SqliteStore

ORIGIN = Origin("ESMTPS", "mail.example.org", "192.0.2.1", "TLSv1.3 TLS_AES_256_GCM_SHA384 verified")
TRACE = (
    b"Received: from mail.example.org (mail.example.org [192.0.2.1])\r\n"
    b"\tby mx.example.net with ESMTPS id 0123456789abc;\r\n\tMon, 3 Nov 2026 10:00:00 +0000\r\n"
)


class Load:
    """The callers and what they measured."""

    def __init__(self, store: SqliteStore, size: int, work: float) -> None:
        self._store = store
        self._content = os.urandom(size)
        self._work = work / 1e6
        self._ids = QueueIds(1)
        self._random = random.Random(1)
        self.pairs = 0
        self.waits: list[float] = []

    def message(self) -> NewMessage:
        now = time.time()
        id, recipient = self._ids.next(now), f"user{self._random.getrandbits(20)}@example.net"
        message_id = f"<{self._random.getrandbits(64):x}@example.org>"
        envelope = Envelope(id, "ann@example.org", (Recipient(recipient),), now, "8BITMIME", message_id, ORIGIN)
        return NewMessage(envelope, Body(self._content, len(self._content)).with_prefix(TRACE))

    def settlement(self, delivery: Delivery) -> Settlement:
        reply = f"250 2.0.0 Ok: queued as {delivery.envelope.id}"
        to = delivery.envelope.recipients[0].address
        detail = {
            "destination": "example.net", "ms": 12.3, "host": "mx.example.net", "address": "192.0.2.9", "tls": ORIGIN.tls,
            "results": [{"to": [to], "outcome": "delivered", "reply": reply}],
        }  # fmt: skip
        change = Change(0, State.DELIVERED, 1, reply)
        return Settlement(delivery.envelope.id, delivery.token, (change,), (Event(time.time(), "attempt", detail),))

    def _pretend_to_work(self) -> None:
        end = time.perf_counter() + self._work
        while time.perf_counter() < end:
            pass

    async def caller(self, until: float, limit: int) -> None:
        settling: asyncio.Future[Sequence[Delivery]] | None = None
        while time.perf_counter() < until and self.pairs < limit:
            self.pairs += 1
            self._pretend_to_work()
            start = time.perf_counter()
            delivery = await self._store.accept(self.message())
            self.waits.append(time.perf_counter() - start)
            self._pretend_to_work()
            # As in a server, the next message does not wait for the settlement of this one, which rides with an accept.
            if settling is not None:
                await settling
            settling = asyncio.ensure_future(self._store.settle(self.settlement(delivery)))
        if settling is not None:
            await settling


async def measure(directory: Path, options: argparse.Namespace) -> None:
    store = await SqliteStore.open(directory, now=time.time)
    if options.history:
        filling = Load(store, 10, 0)
        await asyncio.gather(*(filling.caller(float("inf"), options.history) for _ in range(200)))
    load = Load(store, options.size, options.work)
    commits, start, processor = store.commits, time.perf_counter(), time.process_time()
    await asyncio.gather(*(load.caller(start + options.seconds, 1 << 60) for _ in range(options.callers)))
    seconds = time.perf_counter() - start
    processor = time.process_time() - processor
    commits = store.commits - commits
    load.waits.sort()
    middle, late, last = (load.waits[int(len(load.waits) * share)] * 1000 for share in (0.5, 0.99, 0.99999))
    log = (directory / "queue.sqlite-wal").stat().st_size / 1e6
    print(
        f"{load.pairs / seconds:,.0f} accept+settle pairs/s, {commits / seconds:,.0f} commits/s,"
        f" {processor / load.pairs * 1e6:.0f} µs of CPU a pair; accept takes {middle:.1f} ms, 99 % within {late:.1f} ms,"
        f" longest {last:.1f} ms; log {log:.0f} MB"
    )
    await store.close()
    print(f"database {(directory / 'queue.sqlite').stat().st_size / 1e6:.0f} MB after it")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--callers", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--size", type=int, default=4096, help="octets of a body")
    parser.add_argument("--work", type=float, default=0, help="microseconds")
    parser.add_argument("--history", type=int, default=0, help="messages")
    parser.add_argument("--directory", type=Path, default=None, help="where the store is made; default: a temporary one")
    options = parser.parse_args()
    print(interpreter())
    with tempfile.TemporaryDirectory(prefix="store-rate-", dir=options.directory) as directory:
        uvloop.run(measure(Path(directory), options))


if __name__ == "__main__":
    main()
