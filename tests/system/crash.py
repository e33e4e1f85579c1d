"""kill -9, again and again, under a load of every kind; then count: whatever got a 250 has one outcome for each recipient.

    .venv/bin/python -m tests.system.crash --rounds 200

Needs root and Debian's postfix package, as the interop tests do. A round starts the server, waits until it takes mail by relaying
and by submission, and kills it a moment later; some rounds kill it in the middle of a start before that,
others in the middle of a stop. Prints what was done and found, and exits with 1 where anything is not as it has to be.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.system.crash_count import Count, Story, count, found, left_over, resent
from tests.system.crash_load import Load
from tests.system.crash_mail import Sent, Way
from tests.system.crash_town import Town

WAYS: tuple[Way, ...] = ("relay", "submission")  # on which mail has to come for the load to be under way; Postfix pauses at times
WORK = 30.0  # seconds within which a server that was started takes mail from everybody
DRAIN = 300.0  # within which all that waits is gone, once nobody sends any more and everybody takes


@dataclass(slots=True)
class Report:
    """What was done, how long it took, and what it came to."""

    count: Count
    done: Counter[str] = field(default_factory=Counter)
    sent: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    def __str__(self) -> str:
        one = self.count
        did = ", ".join(f"{number} {what}" for what, number in sorted(self.done.items()))
        return (
            f"{self.seconds:.0f} s: {did}\n"
            f"messages: {one.messages} got a 250 ({', '.join(f'{number} {way}' for way, number in sorted(self.sent.items()))}), "
            f"{one.unknown} more were taken whose 250 was lost\n"
            f"recipients: {one.recipients}, {one.delivered} delivered, {one.failed} failed; {one.doubts} in doubt, says "
            f"the trace, {one.twice} of them came twice\n"
            f"wrong: {len(one.wrong)}"
        )


def crash(directory: Path, rounds: int, seconds: float = float("inf"), seed: int = 20261124) -> Report:
    """Run `rounds`, but begin none after `seconds`; then let everything come to its end, and count."""
    began = time.monotonic()
    rng, done = random.Random(seed), Counter[str]()
    with Town(directory) as town:
        town.server.start()  # makes the certificate that clients go by
        load = Load(town)
        try:
            while done["rounds"] < rounds and time.monotonic() - began < seconds:
                play(town, load, rng, done)
        finally:
            sent = load.end()
        drain(town)
        result = judge(town, sent)
        result.wrong += load.operator.wrong
        done += load.operator.ended
        taken = Counter(one.way for one in sent if one.became == "taken")
        return Report(result, done, Counter(taken), time.monotonic() - began)


def play(town: Town, load: Load, rng: random.Random, done: Counter[str]) -> None:
    """One round. The server is running before it and after it."""
    for way in WAYS:
        wait_for_mail(town, load, way)
        load.up.set()  # who takes mail can be told to reload
    time.sleep(rng.uniform(0, 0.6))
    with load.lock:
        load.up.clear()
    assert not has_ended(town), f"the server ended by itself: {town.server.log.read_text(errors='replace')[-4000:]}"
    how = rng.random()
    if how < 0.05:
        assert town.server.stop() == 0, "a graceful stop is part of the game"
        done["stops"] += 1
    else:
        if how < 0.25:
            os.kill(town.server.pid, signal.SIGTERM)
            time.sleep(rng.uniform(0, 0.3))
            done["kills in a stop"] += 1
        else:
            done["kills"] += 1
        town.server.kill()
    while rng.random() < 0.3:
        town.hasty.start()
        time.sleep(rng.uniform(0.1, 1.2))
        town.hasty.kill()
        done["kills in a start"] += 1
    town.server.start()
    done["rounds"] += 1


def wait_for_mail(town: Town, load: Load, way: Way) -> None:
    """Return when another message was taken that came this way, or the server has ended."""
    before = load.taken(way)
    wait(lambda: load.taken(way) > before or has_ended(town), f"mail by {way}", WORK)


def has_ended(town: Town) -> bool:
    """Whether the server is there no more, although nobody ended it."""
    return os.waitid(os.P_PID, town.server.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def drain(town: Town) -> None:
    """Everybody takes what comes, until nothing waits anywhere."""
    town.own.calm = town.down.calm = True

    def is_empty() -> bool:
        town.server.run("queue", "release", "--all", check=False)
        town.server.run("queue", "flush", "--all", check=False)
        town.postfix.server.flush()
        time.sleep(1)
        waiting = town.server.run("queue", "list", "--json", "--limit", "3").strip()
        return waiting == "[]" and not town.postfix.server.waiting()

    wait(is_empty, "an empty queue", DRAIN)


def judge(town: Town, sent: list[Sent]) -> Count:
    """Stop the server, and look at what there is."""
    status = town.server.stop()
    (town.server.directory / "postfix.log").write_text(town.postfix.log)
    result = count(sent, stories(town), found(town), resent(town.postfix.log))
    data = town.server.directory / "data"
    with sqlite3.connect(data / "queue" / "queue.sqlite") as connection:
        said = [row[0] for row in connection.execute("PRAGMA integrity_check")]
    if said != ["ok"]:
        result.wrong.append(f"integrity_check: {said}")
    if status:
        result.wrong.append(f"the last stop: {status}")
    log = town.server.log.read_text(errors="replace")
    result.wrong += [f"in the log: {log[at : at + 2000]}" for at in [log.find("Traceback")] if at >= 0]
    result.wrong += left_over(data)
    return result


def stories(town: Town) -> list[Story]:
    """What the trace tells of all messages."""
    command = [sys.executable, "-m", "waymail", "trace", "--json", "--limit", "100000000", "--config", str(town.server.config)]
    told: list[Story] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, timeout=600).stdout)
    return told


def wait(condition: Callable[[], bool], what: str, seconds: float) -> None:
    """Return when it holds. Raises TimeoutError."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"no {what} within {seconds} seconds")
        time.sleep(0.01)


def main() -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--seed", type=int, default=20261124)
    parser.add_argument("--keep", type=Path, help="a folder for the server, which stays")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that whoever was started is stopped, too
    with tempfile.TemporaryDirectory(prefix="crash-") as folder:
        report = crash(given.keep or Path(folder) / "server", given.rounds, seed=given.seed)
    for line in (*report.count.wrong[:50], report):
        print(line)  # noqa: T201
    return 1 if report.count.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
