"""kill -9, again and again, of processes that submit to one outbox; then count: whatever `submit` returned for came out.

    .venv/bin/python -m tests.system.outbox_crash --messages 100000

Two of the processes use asyncio, two use threads; all of them may deliver, and whichever has the lock does. A process writes
down what was submitted after `submit` returned. Each seventh message it takes back again at once, and writes down whether it was
in time: then nobody has it, but where the trace says that somebody may. Prints what was done and found, and exits with 1 where
that is wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tests.system.counting import CountingSink

import waymail
from waymail.outbox.outcome import doubted, outcome_of
from waymail.store import read
from waymail.store.contract import Story
from waymail.store.look import look
from waymail.store.place import beside

PROCESSES = 4
AT_ONCE = 8  # that each process submits
LIFE = (0.05, 0.8)  # seconds between one kill and the next
RETRY = (0.5,)  # seconds
DRAIN = 120.0  # seconds within which all that waits is gone, once nobody is killed any more

SUBMIT = """
import asyncio, os, sys, threading, waymail, waymail.sync
path, url, told, name, kind = sys.argv[1:]
file = os.open(told, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
numbers = iter(range(10**9))

def message(number):
    marker = f"{name}-{number}"
    filler = (b"x" * 70 + b"\\r\\n") * (1200 if number % 50 == 0 else 10)  # some are too large for a row
    return marker, b"Message-ID: <%b@a.example>\\r\\nX-Marker: %b\\r\\n\\r\\n" % ((marker.encode(),) * 2) + filler

to = {"sender": "", "recipients": "c@d.example"}
def note(marker, ticket, *more):
    os.write(file, " ".join((marker, ticket.id, *more, "\\n")).encode())

async def asynchronous():
    async with waymail.Outbox(path, url, retry=(0.5,)) as outbox:
        async def submit():
            for number in numbers:
                marker, content = message(number)
                ticket = await outbox.submit(content, **to)
                note(marker, ticket)
                if number % 7 == 0:
                    note(marker, ticket, "taken back" if await ticket.cancel() else "too late")
        await asyncio.gather(*(submit() for _ in range(AT_ONCE)))

def threaded():
    outbox, lock = waymail.sync.Outbox(path, url, retry=(0.5,)), threading.Lock()
    def submit():
        while True:
            with lock:
                number = next(numbers)
            marker, content = message(number)
            ticket = outbox.submit(content, **to)
            note(marker, ticket)
            if number % 7 == 0:
                note(marker, ticket, "taken back" if ticket.cancel() else "too late")
    for _ in range(AT_ONCE - 1):
        threading.Thread(target=submit).start()
    submit()

asyncio.run(asynchronous()) if kind == "asyncio" else threaded()
""".replace("AT_ONCE", str(AT_ONCE))


@dataclass(slots=True)
class Report:
    """What was done, and what it came to. `wrong` has a line for each thing that must not be."""

    kills: int = 0
    submitted: int = 0  # messages for which `submit` returned
    unknown: int = 0  # that are there although their process was killed before that
    doubts: int = 0  # of which the trace says that they may have come twice
    twice: int = 0
    removed: int = 0  # that were taken back in time
    late: int = 0  # that should have been
    seconds: float = 0.0
    wrong: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Submitters:
    """The processes. What each submitted is in a file of its own."""

    directory: Path
    url: str
    running: list[subprocess.Popen[bytes]] = field(default_factory=list)
    started: int = 0

    def start(self, place: int) -> subprocess.Popen[bytes]:
        """One more; those at even places use asyncio."""
        self.started += 1
        kind = ("asyncio", "threads")[place % 2]
        told = self.directory / f"told-{place}"
        arguments = [str(self.directory / "outbox.db"), self.url, str(told), str(self.started), kind]
        errors = (self.directory / "errors").open("ab")
        with errors:
            return subprocess.Popen([sys.executable, "-c", SUBMIT, *arguments], stderr=errors)

    def __enter__(self) -> Submitters:
        self.running = [self.start(place) for place in range(PROCESSES)]
        return self

    def kill(self, place: int) -> None:
        """Kill -9, and wait until it is gone."""
        self.running[place].kill()
        self.running[place].wait()

    def __exit__(self, *_: object) -> None:
        for place in range(PROCESSES):
            self.kill(place)

    def told(self) -> dict[str, str]:
        """The marker and the id of each message for which `submit` returned."""
        return {marker: id for marker, id, *_ in self._lines()}

    def verdicts(self) -> dict[str, str]:
        """By its marker, what became of taking a message back, where `cancel` returned."""
        return {marker: " ".join(more) for marker, _, *more in self._lines() if more}

    def _lines(self) -> list[list[str]]:
        files = [self.directory / f"told-{place}" for place in range(PROCESSES)]
        return [line.split() for file in files if file.exists() for line in file.read_text().splitlines()]


async def crash(directory: Path, messages: int, seed: int = 20261127) -> Report:
    """Kill at random until so many were submitted; then let one process deliver what is left, and count."""
    began, rng, report = time.monotonic(), random.Random(seed), Report()
    sink = CountingSink()
    sink.start()
    url = f"smtp://127.0.0.1:{sink.port}?tls=off"
    with Submitters(directory, url) as submitters:
        while len(submitters.told()) < messages:
            await asyncio.sleep(rng.uniform(*LIFE))
            place = _carrier(submitters, rng)
            if submitters.running[place].poll() is not None:
                report.wrong.append(f"a process ended by itself: {(directory / 'errors').read_text()[-2000:]}")
                break
            submitters.kill(place)
            report.kills += 1
            submitters.running[place] = submitters.start(place)
    async with waymail.Outbox(directory / "outbox.db", url, retry=RETRY) as outbox:
        if not await _drained(directory, outbox):
            report.wrong.append("something waits still")
    _count(directory, submitters, sink, report)
    report.seconds = time.monotonic() - began
    return report


def _carrier(submitters: Submitters, rng: random.Random) -> int:
    """Which process is killed next: every other time the one that delivers, where it can be told."""
    lock = submitters.directory / "outbox.db-lock"
    holder = lock.read_text().strip() if lock.exists() and rng.random() < 0.5 else ""
    pids = [str(process.pid) for process in submitters.running]
    return pids.index(holder) if holder in pids else rng.randrange(PROCESSES)


async def _drained(directory: Path, outbox: waymail.Outbox) -> bool:
    until = time.monotonic() + DRAIN
    while time.monotonic() < until:
        await outbox.drain(until - time.monotonic())
        if not look(beside(directory / "outbox.db"), _live):
            return True
        await asyncio.sleep(0.05)
    return False


def _live(connection: sqlite3.Connection) -> int:
    number: int = connection.execute("SELECT count(*) FROM body").fetchone()[0]
    return number


def _count(directory: Path, submitters: Submitters, sink: CountingSink, report: Report) -> None:
    told, verdicts = submitters.told(), submitters.verdicts()
    place = beside(directory / "outbox.db")
    stories = {story.envelope.id: story for story in look(place, _stories)}
    came = Counter({marker.decode(): len(ids) for marker, ids in sink.seen.items()})
    report.submitted = len(told)
    report.wrong += [
        f"{marker} ({id}): submit returned, and nothing is known of it" for marker, id in told.items() if id not in stories
    ]
    markers: dict[str, str] = {}
    for id, story in stories.items():
        marker = story.envelope.message_id.strip("<>").partition("@")[0]
        if marker in markers:
            report.wrong.append(f"{marker}: there twice, as {id} and {markers[marker]}")
        markers[marker] = id
        if told.get(marker, id) != id:
            report.wrong.append(f"{marker}: submit said {told[marker]}, and it is {id}")
        _judge(marker, story, came[marker], verdicts.get(marker, ""), report)
    report.wrong += [f"{marker} came, and was never submitted" for marker in came if marker not in markers]
    report.unknown = len(markers) - len(told)
    if left := sorted(place.bodies.iterdir()):
        report.wrong.append(f"bodies of nobody: {left[:5]}")
    with sqlite3.connect(place.database) as connection:
        said = [row[0] for row in connection.execute("PRAGMA integrity_check")]
    report.wrong += [f"integrity_check: {said}"] * (said != ["ok"])
    errors = (directory / "errors").read_text()
    report.wrong += [f"an error of a process: {errors[:2000]}"] * bool(errors)


def _judge(marker: str, story: Story, copies: int, verdict: str, report: Report) -> None:
    outcome, in_doubt = outcome_of(story), _times_in_doubt(story)
    said = f"{marker} ({story.envelope.id}): {copies} copies came, {outcome or 'under way'}, in doubt {in_doubt} times, {verdict}"
    if outcome is None or outcome.failed:
        report.wrong.append(said)
        return
    is_removed = bool(outcome.removed)
    report.doubts += bool(outcome.uncertain)
    report.twice += copies > 1
    report.removed += is_removed
    report.late += verdict == "too late"
    if is_removed:  # its process may have been killed before it could say so
        may_be = int(marker.partition("-")[2]) % 7 == 0 and verdict in ("taken back", "")
    else:
        may_be = verdict in ("too late", "") and copies > 0
    if not may_be or copies > in_doubt + (not is_removed):
        report.wrong.append(said)


def _times_in_doubt(story: Story) -> int:
    return sum(bool(list(doubted(event))) for event in story.events)


def _stories(connection: sqlite3.Connection) -> list[Story]:
    ids = [row[0] for row in connection.execute("SELECT id FROM message")]
    return read.stories(connection, ids, with_events=True)


def main() -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=20261127)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="outbox-crash-") as folder:
        report = asyncio.run(crash(Path(folder), given.messages, given.seed))
    for line in (*report.wrong[:50], report):
        print(line)  # noqa: T201
    return 1 if report.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
