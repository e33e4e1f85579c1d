"""Who waits for whom: many messages for many destinations, of which some are dead and some are slow, in a simulated clock.

    .venv/bin/python -m bench.fairness --messages 200000 --destinations 5000 --dead 0.1 --slow 0.05

All messages come at once, into a real store on the disk, and the real runner carries them. First those for the good destinations
alone, then all; the times are of the simulated clock, and do not depend on the machine. Fails where the good ones take more
than `--at-most` times what they take alone, where a process takes more than `--megabytes`, or where a message does not arrive
exactly once, also at the dead destinations once they live again.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import tempfile
import time
from pathlib import Path

import uvloop

from waymail.store.sqlite import SqliteStore
from waymail.testing.clock import JumpingClock
from waymail.testing.crowd import Crowd


def measure(
    destinations: int, messages: int, dead: float, slow: float, results: multiprocessing.SimpleQueue[dict[str, float]]
) -> None:
    """One run in a process of its own."""
    results.put(uvloop.run(_measured(destinations, messages, dead, slow)))


async def _measured(destinations: int, messages: int, dead: float, slow: float) -> dict[str, float]:
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        clock = JumpingClock()
        store = await SqliteStore.open(Path(folder), now=clock.now, monotonic=clock.monotonic)
        crowd = Crowd(store, clock, destinations=destinations, messages=messages, dead=dead, slow=slow)
        await crowd.run(revive="slow")
        twice = sum(times > 1 for times in crowd.delivered.values())
        await store.close()
    return {
        **{f"{kind} done at": at for kind, at in crowd.finished_at.items()},
        "attempts at the dead": crowd.attempts["dead"],
        "lost": messages - len(crowd.delivered),
        "twice": twice,
        "megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "real seconds": time.perf_counter() - began,
    }


def main() -> int:
    """Both runs, and the verdict."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=200_000)
    parser.add_argument("--destinations", type=int, default=5_000)
    parser.add_argument("--dead", type=float, default=0.1)
    parser.add_argument("--slow", type=float, default=0.05)
    parser.add_argument("--at-most", type=float, default=1.1)
    parser.add_argument("--megabytes", type=float, default=300)
    given = parser.parse_args()
    good = 1 - given.dead - given.slow
    alone = _in_process(round(given.destinations * good), round(given.messages * good), 0.0, 0.0)
    _show("the good ones alone", alone)
    mixed = _in_process(given.destinations, given.messages, given.dead, given.slow)
    _show("all", mixed)
    ratio = mixed["quick done at"] / alone["quick done at"]
    print(f"the good ones take {ratio:.3f} times what they take alone")
    is_fair = ratio <= given.at_most and not any(run["lost"] or run["twice"] for run in (alone, mixed))
    is_small = max(run["megabytes"] for run in (alone, mixed)) <= given.megabytes
    return 0 if is_fair and is_small else 1


def _in_process(destinations: int, messages: int, dead: float, slow: float) -> dict[str, float]:
    results: multiprocessing.SimpleQueue[dict[str, float]] = multiprocessing.SimpleQueue()
    process = multiprocessing.Process(target=measure, args=(destinations, messages, dead, slow, results))
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit(f"a run ended with status {process.exitcode}")
    return results.get()


def _show(name: str, run: dict[str, float]) -> None:
    print(f"{name}: " + ", ".join(f"{key} {value:,.1f}" for key, value in run.items()), flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
