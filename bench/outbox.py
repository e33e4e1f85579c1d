"""How many messages a second programs submit to one outbox, each on disk when `submit` returns.

    .venv/bin/python -m bench.outbox --seconds 3

Beside it a plain program with the sqlite3 module: one INSERT of the same octets and one COMMIT for each message, as durable. The
outbox keeps an envelope, words to search by and an event besides. Nobody delivers while it is measured.
"""

from __future__ import annotations

import argparse
import asyncio
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import waymail
import waymail.sync
from bench.interpreter import interpreter
from waymail.store.patience import patiently

SENDER, RECIPIENT = "ann@example.org", "bob@example.net"


def content(size: int) -> bytes:
    return b"Subject: x\r\n\r\n" + (b"x" * 70 + b"\r\n") * (size // 72)


def plain(path: Path, size: int, until: float) -> int:
    """sqlite3 alone."""
    connection = sqlite3.connect(path, timeout=30, isolation_level=None)
    patiently(partial(connection.execute, "PRAGMA journal_mode = WAL"))  # two that do so at once are not made to wait by SQLite
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE IF NOT EXISTS message (content BLOB)")
    done, message = 0, content(size)
    while time.time() < until:
        connection.execute("INSERT INTO message VALUES (?)", (message,))
        done += 1
    return done


def threads(path: Path, size: int, until: float, callers: int) -> int:
    """The outbox for threads."""
    done, message = [0] * callers, content(size)
    with waymail.sync.Outbox(path, carry=False) as outbox:

        def submit(number: int) -> None:
            while time.time() < until:
                outbox.submit(message, sender=SENDER, recipients=RECIPIENT)
                done[number] += 1

        running = [threading.Thread(target=submit, args=(number,)) for number in range(callers)]
        for thread in running:
            thread.start()
        for thread in running:
            thread.join()
    return sum(done)


async def in_loop(path: Path, size: int, until: float, callers: int) -> int:
    """The outbox for asyncio, in the process that would deliver: all is due in an hour."""
    done, message, later = 0, content(size), time.time() + 3600

    async def submit() -> None:
        nonlocal done
        while time.time() < until:
            await outbox.submit(message, sender=SENDER, recipients=RECIPIENT, at=later)
            done += 1

    async with waymail.Outbox(path, "smtp://127.0.0.1:1?tls=off") as outbox:
        await asyncio.gather(*(submit() for _ in range(callers)))
    return done


WAYS: dict[str, Callable[[Path, int, float], int]] = {
    "sqlite3, INSERT and COMMIT": plain,
    "sync.Outbox, 1 thread": lambda path, size, until: threads(path, size, until, 1),
    "sync.Outbox, 8 threads": lambda path, size, until: threads(path, size, until, 8),
    "Outbox, 1 task": lambda path, size, until: asyncio.run(in_loop(path, size, until, 1)),
    "Outbox, 20 tasks": lambda path, size, until: asyncio.run(in_loop(path, size, until, 20)),
}


def rate(way: str, processes: int, size: int, seconds: float) -> float:
    """Messages a second of so many processes together."""
    with tempfile.TemporaryDirectory(prefix="bench-outbox-") as folder:
        begin = time.time() + 1.0
        command = [sys.executable, "-m", "bench.outbox", "--one", way, folder, str(size), str(begin), str(begin + seconds)]
        running = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(processes)]
        return sum(int(process.communicate()[0]) for process in running) / seconds


def one(way: str, folder: str, size: str, begin: str, until: str) -> None:
    """A process of those."""
    time.sleep(max(0.0, float(begin) - time.time()))
    print(WAYS[way](Path(folder) / "outbox.db", int(size), float(until)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--size", type=int, default=4096)
    parser.add_argument("--one", nargs=5, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        one(*given.one)
        return
    print(f"{interpreter()}; {given.size} octets; messages a second, with 1 process and with 4")
    for way in WAYS:
        print(f"{way:28}", *(f"{rate(way, processes, given.size, given.seconds):7.0f}" for processes in (1, 4)))


if __name__ == "__main__":
    main()
