"""What the trace costs: accepts and settlements a second with the event of each attempt, against the same without it.

    .venv/bin/python -m bench.trace_cost --seconds 1 --rounds 4

Both are measured in turns in one process, each with a store of its own, so that what else the machine does falls on both. The
callers are those of bench.store_rate. What is judged is the middle of the ratios of all rounds: it is to be under LIMIT; the exit
status is 1 where it is not. Messages that failed have the dialogue of the attempt in their event: `--dialogue` gives it to all.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import uvloop

from bench.interpreter import interpreter
from bench.store_rate import Load
from waymail.store.contract import Delivery, Event, Settlement
from waymail.store.sqlite import SqliteStore

LIMIT = 0.2  # of the throughput without the trace
DIALOGUE = [
    "* connected to mx.example.net [192.0.2.9]",
    "< 220 mx.example.net ESMTP Postfix",
    "> EHLO mail.example.org",
    *(
        f"< 250-{word}"
        for word in ("mx.example.net", "PIPELINING", "SIZE 10240000", "STARTTLS", "ENHANCEDSTATUSCODES", "8BITMIME")
    ),
    "< 250 CHUNKING",
    "> MAIL FROM:<ann@example.org> SIZE=4321",
    "< 250 2.1.0 Ok",
    "> RCPT TO:<bob@example.net>",
    "< 450 4.2.0 <bob@example.net>: Recipient address rejected: Greylisted",
]


class Untraced(Load):
    """Load whose settlements have no event."""

    def settlement(self, delivery: Delivery) -> Settlement:
        return replace(super().settlement(delivery), events=())


class Failing(Load):
    """Load whose events have what was said."""

    def settlement(self, delivery: Delivery) -> Settlement:
        settlement = super().settlement(delivery)
        events = tuple(Event(one.at, one.kind, {**one.detail, "dialogue": DIALOGUE}) for one in settlement.events)
        return replace(settlement, events=events)


async def rate(load: Load, callers: int, seconds: float) -> tuple[float, float]:
    """Pairs of accept and settle in a second, and microseconds of CPU for one."""
    load.pairs = 0
    start, processor = time.perf_counter(), time.process_time()
    await asyncio.gather(*(load.caller(start + seconds, 1 << 60) for _ in range(callers)))
    seconds = time.perf_counter() - start
    return load.pairs / seconds, (time.process_time() - processor) / load.pairs * 1e6


async def measure(directory: Path, options: argparse.Namespace) -> float:
    """Returns the share of the throughput that the trace takes."""
    stores = [await SqliteStore.open(directory / name, now=time.time) for name in ("without", "with")]
    kinds = (Untraced, Failing if options.dialogue else Load)
    loads = [kind(store, options.size, 0) for kind, store in zip(kinds, stores, strict=True)]
    costs, processors = [], []
    for number in range(options.rounds + 1):
        order = loads if number % 2 else loads[::-1]
        found = {id(load): await rate(load, options.callers, options.seconds) for load in order}
        (without, cpu_without), (with_trace, cpu_with) = (found[id(load)] for load in loads)
        if number == 0:
            continue  # warming up
        costs.append(1 - with_trace / without)
        processors.append(cpu_with - cpu_without)
        print(f"without {without:,.0f}/s, with {with_trace:,.0f}/s: {costs[-1]:.1%} less, {processors[-1]:+.0f} µs of CPU a pair")
    for store in stores:
        await store.close()
    cost, processor = statistics.median(costs), statistics.median(processors)
    print(f"the trace takes {cost:.1%} of the throughput (at most {LIMIT:.0%}), {processor:.0f} µs of CPU a message")
    return cost


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--callers", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=3, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--size", type=int, default=4096, help="octets of a body")
    parser.add_argument("--dialogue", action="store_true", help="every event has what was said, as those of failed attempts")
    parser.add_argument("--directory", type=Path, default=None, help="where the stores are made; default: a temporary one")
    options = parser.parse_args()
    print(interpreter())
    with tempfile.TemporaryDirectory(prefix="trace-cost-", dir=options.directory) as directory:
        return int(uvloop.run(measure(Path(directory), options)) > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
