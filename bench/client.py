"""What sending costs a program: waymail beside smtplib and aiosmtplib, into the same smtp-sink, in turns.

    .venv/bin/python -m bench.client --rounds 5 --at-least-single 3 --at-least-pool 2 --at-least-far 3

Messages of 4 KB, as bytes. "single" is one connection: `waymail.sync.Client.send_many` of a list, and `smtplib.SMTP.sendmail` in
a loop. "pool" is 20 connections in an event loop: `waymail.Client.send_many`, and 20 tasks with an `aiosmtplib.SMTP` each. "far"
is one connection through a proxy that holds each octet back for half of `--round-trip`, in each direction. A rate counts what was
accepted. Needs Debian's postfix package, and aiosmtplib. With `--at-least-...` it exits with 1 where the
median of the rounds' ratios is below.
"""

from __future__ import annotations

import argparse
import asyncio
import smtplib
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import aiosmtplib
import uvloop

import waymail
import waymail.sync
from bench.interpreter import interpreter
from bench.relay import Sink

SENDER, RECIPIENT = "ann@example.org", "bob@example.com"
HEAD = f"From: {SENDER}\r\nTo: {RECIPIENT}\r\nSubject: a message like any other\r\nMessage-ID: <1@example.org>\r\n\r\n".encode()
LINE = b"what people write to each other, in lines of some seventy octets....\r\n"
CONNECTIONS = 20

Way = Callable[[int, bytes, int], float]


def rate(count: int, began: float) -> float:
    return count / (time.perf_counter() - began)


def ours(port: int, message: bytes, count: int) -> float:
    mail = waymail.Mail(message, SENDER, [RECIPIENT])
    with waymail.sync.Client(f"smtp://127.0.0.1:{port}?tls=off") as client:
        client.check()
        began = time.perf_counter()
        accepted = sum(result.error is None for result in client.send_many([mail] * count))
        return rate(accepted, began)


def smtplibs(port: int, message: bytes, count: int) -> float:
    with smtplib.SMTP("127.0.0.1", port) as client:
        client.ehlo()
        began = time.perf_counter()
        for _ in range(count):
            client.sendmail(SENDER, [RECIPIENT], message)
        return rate(count, began)


async def _ours_at_once(port: int, message: bytes, count: int) -> float:
    mail = waymail.Mail(message, SENDER, [RECIPIENT])
    async with waymail.Client(f"smtp://127.0.0.1:{port}?tls=off", pool=waymail.Pool(max=CONNECTIONS)) as client:
        began = time.perf_counter()
        accepted = 0
        async for result in client.send_many([mail] * count):
            accepted += result.error is None
        return rate(accepted, began)


async def _theirs_at_once(port: int, message: bytes, count: int) -> float:
    left = iter(range(count))

    async def work() -> None:
        async with aiosmtplib.SMTP(hostname="127.0.0.1", port=port, use_tls=False, start_tls=False) as client:
            for _ in left:
                await client.sendmail(SENDER, [RECIPIENT], message)

    began = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(CONNECTIONS)))
    return rate(count, began)


def ours_at_once(port: int, message: bytes, count: int) -> float:
    return uvloop.run(_ours_at_once(port, message, count))


def theirs_at_once(port: int, message: bytes, count: int) -> float:
    return uvloop.run(_theirs_at_once(port, message, count))


class Delayed(asyncio.Protocol):
    """One direction's source: what comes is written to the other end after `seconds`."""

    def __init__(self, seconds: float, other: asyncio.Transport | None = None) -> None:
        self.seconds = seconds
        self.other = other
        self.early: list[bytes] = []

    def data_received(self, data: bytes) -> None:
        asyncio.get_running_loop().call_later(self.seconds, self._write, data)

    def _write(self, data: bytes) -> None:
        if self.other is None:
            self.early.append(data)
        elif not self.other.is_closing():
            self.other.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.other is not None:
            asyncio.get_running_loop().call_later(self.seconds, self.other.close)


class Near(Delayed):
    """The client's end."""

    def __init__(self, seconds: float, port: int) -> None:
        super().__init__(seconds)
        self.port = port
        self.task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.task = asyncio.create_task(self._connect(transport))

    async def _connect(self, transport: asyncio.Transport) -> None:
        loop = asyncio.get_running_loop()
        self.other, _ = await loop.create_connection(lambda: Delayed(self.seconds, transport), "127.0.0.1", self.port)
        for data in self.early:
            self.other.write(data)


@contextmanager
def far_away(port: int, round_trip: float) -> Iterator[int]:
    """A port of this machine that leads to another one, so many seconds away and back."""
    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(loop.create_server(lambda: Near(round_trip / 2, port), "127.0.0.1", 0))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        server.close()
        loop.close()


def measure(name: str, ways: dict[str, Way], port: int, message: bytes, count: int, rounds: int) -> float:
    """Prints the rates, and returns the median of the rounds' ratios."""
    rates: dict[str, list[float]] = {way: [] for way in ways}
    for warm in ways.values():
        warm(port, message, min(count, 200))
    for _ in range(rounds):
        for way, run in ways.items():
            rates[way].append(run(port, message, count))
    print(f"{name}, messages/s: min, median, max")
    for way, values in rates.items():
        print(f"  {way:12} {min(values):7.0f} {statistics.median(values):7.0f} {max(values):7.0f}")
    ratios = [mine / other for mine, other in zip(*rates.values(), strict=True)]
    print(f"  {'ratio':12} {min(ratios):7.2f} {statistics.median(ratios):7.2f} {max(ratios):7.2f}")
    return float(statistics.median(ratios))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=4000)
    parser.add_argument("--far-messages", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--size", type=int, default=4096)
    parser.add_argument("--round-trip", type=float, default=0.02, help="seconds")
    for name in ("single", "pool", "far"):
        parser.add_argument(f"--at-least-{name}", type=float, default=0, help="times the other's rate")
    options = parser.parse_args()
    print(interpreter())
    message = HEAD + LINE * (options.size // len(LINE))
    one: dict[str, Way] = {"waymail.sync": ours, "smtplib": smtplibs}
    many: dict[str, Way] = {"waymail": ours_at_once, "aiosmtplib": theirs_at_once}
    with tempfile.TemporaryDirectory(prefix="bench-client-") as folder:
        Path(folder).chmod(0o755)
        sink = Sink(Path(folder))
        try:
            found = {
                "single": measure("one connection", one, sink.port, message, options.messages, options.rounds),
                "pool": measure(f"{CONNECTIONS} connections", many, sink.port, message, options.messages, options.rounds),
            }
            with far_away(sink.port, options.round_trip) as port:
                away = f"one connection, {options.round_trip * 1000:g} ms away and back"
                found["far"] = measure(away, one, port, message, options.far_messages, options.rounds)
        finally:
            sink.stop()
    slow = [name for name, ratio in found.items() if ratio < getattr(options, f"at_least_{name}")]
    for name in slow:
        print(f"  TOO SLOW: {name} has to be {getattr(options, f'at_least_{name}'):g} at least")
    return 1 if slow else 0


if __name__ == "__main__":
    sys.exit(main())
