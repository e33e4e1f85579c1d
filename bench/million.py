"""How long whoever looks into a queue of a million messages has to wait, and what such a queue costs the server.

    .venv/bin/python -m bench.million                  a million messages wait for 5,000 domains
    .venv/bin/python -m bench.million --done 1000000 --waiting 100000

Makes the store (a minute; `--folder` keeps it for the next time), and runs each command as a person does: a process from its
start to its end. "inside" is what the store alone takes of that, with nothing in its own cache. Then a server is started on that
store, where all destinations are dead but one: how long until it listens, until the one message for that one is delivered, what
it weighs a while later; and the commands again, while it runs.

What else the machine does makes all of it slower. So `python -c pass` is measured among them, and the processor's time beside the
clock's. What is judged is the median: it is to be at most `--at-most-ms` for `waymail queue` and `waymail trace`.
"""

from __future__ import annotations

import argparse
import resource
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.idle import resident
from bench.interpreter import interpreter
from bench.million_store import CHOSEN, SENDER, UP, Plan, Sample, build, domain_name, renew, sample
from waymail.store import schema, select
from waymail.store.contract import Selection
from waymail.store.read import live_stories
from waymail.store.search import Search, search
from waymail.testing.process import ServerProcess, free_port

WAYMAIL = [str(Path(sys.executable).with_name("waymail"))]
NOTHING = "python -c pass"
LISTED = 1000  # messages, as `waymail queue list` does by itself

LOOKING = """\
hostname = "waymail.example.net"
data_dir = "data"
[[listener]]
kind = "mx"
address = "127.0.0.1:2525"
tls = "off"
"""
SERVING = """\
hostname = "waymail.example.net"
data_dir = "{data}"
[[listener]]
kind = "mx"
address = "127.0.0.1:{port}"
tls = "off"
[routes]
"{up}" = "maildir:up"
"""


@dataclass(frozen=True)
class Case:
    """A command, and the reading that it does."""

    name: str
    command: Sequence[str]
    inside: Callable[[sqlite3.Connection], object] | None = None
    is_promised: bool = False


@dataclass
class Times:
    """Milliseconds of each round."""

    clock: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        return statistics.median(self.clock)


def cases(folder: Path, there: Sample, now: float) -> list[Case]:
    """All that is measured. `there` is a message that is in the store."""

    def look(name: str, *arguments: str, inside: Callable[[sqlite3.Connection], object] | None = None) -> Case:
        command = [*WAYMAIL, *arguments, "--config", str(folder / "look.toml")]
        return Case(name, command, inside, arguments in ALWAYS or arguments[0] == "trace")

    def trace(name: str, text: str) -> Case:
        return look(f"trace {name}", "trace", text, inside=lambda connection: search(connection, Search(text, limit=21)))

    def listing(name: str, selection: Selection, *arguments: str) -> Case:
        inside = lambda connection: live_stories(connection, LISTED, selection)  # noqa: E731 - bound to this selection
        return look(f"queue list {name}".strip(), "queue", "list", *arguments, inside=inside)

    return [
        Case(NOTHING, [sys.executable, "-c", "pass"]),
        Case("--version", [*WAYMAIL, "--version"]),
        look("queue", "queue", inside=lambda connection: select.waiting(connection, 20, "")),
        look("queue --json", "queue", "--json", inside=lambda connection: select.waiting(connection, 20, "")),
        listing("", Selection(everything=True)),
        listing("--destination D", Selection(domain=CHOSEN), "--destination", CHOSEN),
        listing("--older 2h", Selection(older=now - 7200), "--older", "2h"),
        trace("ID", there.id),
        trace("MESSAGE-ID", there.message_id),
        trace("ADDRESS", there.address),
        trace("ADDRESS of a million", SENDER),
        trace("ADDRESS of nobody", "nobody@example.com"),
        look("why DOMAIN", "why", domain_name(0), inside=lambda connection: select.waiting(connection, 1, domain_name(0))),
        look("queue hold, 1,000", "queue", "hold", "--destination", CHOSEN),
        look("queue release, 1,000", "queue", "release", "--destination", CHOSEN),
    ]


ALWAYS = (("queue",), ("queue", "--json"))


def timed(command: Sequence[str]) -> tuple[float, float]:
    """Milliseconds of the clock and of the processor that a command takes."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, check=False, stdin=subprocess.DEVNULL, capture_output=True)
    seconds, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode not in (0, 69):  # 69: there is nothing like that
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.decode()}")
    return seconds * 1000, (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) * 1000


def rounds(measured: Sequence[Case], number: int) -> dict[str, Times]:
    """Each command in its turn, so that what else the machine does falls on all of them."""
    found = {case.name: Times() for case in measured}
    for _ in range(number):
        for case in measured:
            clock, processor = timed(case.command)
            found[case.name].clock.append(clock)
            found[case.name].processor.append(processor)
    return found


def inside(queue: Path, case: Case, number: int) -> float | None:
    """The least milliseconds that the store takes to answer, over a connection that knows nothing yet."""
    if case.inside is None:
        return None
    taken = []
    for _ in range(number):
        connection = schema.connect(queue, read_only=True)
        began = time.perf_counter()
        case.inside(connection)
        taken.append((time.perf_counter() - began) * 1000)
        connection.close()
    return min(taken)


def report(title: str, found: Mapping[str, Times], within: Mapping[str, float | None]) -> None:
    print(f"\n{title:32}{'median':>9}{'least':>9}{'worst':>9}{'CPU':>9}{'inside':>9}   ms")
    for name, times in found.items():
        alone = within.get(name)
        numbers = (times.median, min(times.clock), max(times.clock), min(times.processor))
        print(f"{name:32}" + "".join(f"{one:9.0f}" for one in numbers) + (f"{alone:9.1f}" if alone is not None else ""))


def judged(medians: Mapping[str, float], at_most: float) -> int:
    """The exit status; `medians` are those of what is promised."""
    late = {name: taken for name, taken in medians.items() if taken > at_most}
    for name, taken in late.items():
        print(f"TOO SLOW: {name}: {taken:.0f} ms, at most {at_most:.0f} are promised")
    return 1 if late else 0


def serving(folder: Path, domains: int, port: int) -> ServerProcess:
    """A server on the store, for which each domain but `UP` is a destination of its own, where nobody listens."""
    dead = free_port()
    hosts = {domain_name(number): f"127.{1 + number // 250}.{number % 250}.1" for number in range(domains)}
    hosts[CHOSEN] = "127.250.0.1"
    routes = "".join(f'"{domain}" = "smtp://{host}:{dead}"\n' for domain, host in hosts.items())
    return ServerProcess(folder / "server", SERVING.format(data=folder / "data", port=port, up=UP) + routes, [port])


def first_delivery(folder: Path, seconds: float) -> None:
    """Return when the message for `UP` is in its mailbox. Raises TimeoutError."""
    deadline = time.monotonic() + seconds
    while not any(folder.glob("**/up/new/*")):
        if time.monotonic() > deadline:
            raise TimeoutError(f"the message for {UP} was not delivered in {seconds} seconds")
        time.sleep(0.01)


def with_server(folder: Path, options: argparse.Namespace, measured: Sequence[Case]) -> dict[str, Times]:
    """The commands while a server runs; what it costs is told."""
    for file in folder.glob("**/up/new/*"):
        file.unlink()
    renew(folder / "data" / "queue")
    server = serving(folder, options.domains, free_port())
    began = time.perf_counter()
    with server:
        listens = time.perf_counter() - began
        first_delivery(folder, 60)
        delivered = time.perf_counter() - began
        print(f"\na server listens after {listens:.1f} s, and has delivered what can be after {delivered:.1f} s")
        at_first = resident(server.pid)
        time.sleep(max(0.0, options.seconds - delivered))
        now, peak = resident(server.pid), resident(server.pid, "VmHWM")
        print(f"it weighs {at_first:.0f} MB then, {now:.0f} MB after {options.seconds:.0f} s, {peak:.0f} MB at the most")
        return rounds(measured, options.rounds)


def measure(folder: Path, options: argparse.Namespace) -> int:
    queue = folder / "data" / "queue"
    if not (queue / schema.FILE).exists():
        began = time.perf_counter()
        build(queue, Plan(options.done, options.waiting, options.domains))
        megabytes = (queue / schema.FILE).stat().st_size / 1e6
        print(f"made {options.done:,} messages that are done and {options.waiting:,} that wait: {megabytes:,.0f} MB", end="")
        print(f" in {time.perf_counter() - began:.0f} s")
    (folder / "look.toml").write_text(LOOKING)
    measured = cases(folder, sample(queue), time.time())
    within = {case.name: inside(queue, case, options.rounds) for case in measured}
    found = rounds(measured, options.rounds)
    report("no server runs", found, within)
    served = with_server(folder, options, measured)
    report("while a server runs", served, {})
    promised = [case.name for case in measured if case.is_promised]
    medians = {name: found[name].median for name in promised}
    medians |= {f"{name}, while a server runs": served[name].median for name in promised}
    return judged(medians, options.at_most_ms)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--done", type=int, default=0, help="messages that are finished")
    parser.add_argument("--waiting", type=int, default=1_000_000, help="messages that wait")
    parser.add_argument("--domains", type=int, default=5_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=60, help="after which the server is weighed")
    parser.add_argument("--at-most-ms", type=float, default=200)
    parser.add_argument("--folder", type=Path, default=None, help="where it is, or is made and stays; default: a temporary one")
    options = parser.parse_args()
    print(interpreter())
    if options.folder is not None:
        return measure(options.folder.absolute(), options)
    with tempfile.TemporaryDirectory(prefix="bench-million-") as folder:
        return measure(Path(folder), options)


if __name__ == "__main__":
    sys.exit(main())
