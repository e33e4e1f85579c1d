"""Fifty messages of 25 MB at once, in and out: what the server weighs at the most.

    .venv/bin/python -m bench.large --messages 50 --size 25000000

smtp-source sends them all in sessions of their own, the server stores them and relays them to smtp-sink, 20 at a time. The peak
of its resident memory is what the kernel noted (VmHWM). Exits with 1 where that is too much.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from bench.idle import resident
from bench.interpreter import interpreter
from bench.relay import CONFIG, Sink, one_round
from waymail.testing.process import ServerProcess, free_port

MOST_MEGABYTES = 200


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=50)
    parser.add_argument("--size", type=int, default=25_000_000)
    options = parser.parse_args()
    print(interpreter())
    with tempfile.TemporaryDirectory(prefix="bench-large-") as folder:
        Path(folder).chmod(0o755)
        sink, port = Sink(Path(folder)), free_port()
        try:
            with ServerProcess(Path(folder) / "waymail", CONFIG.format(port=port, sink=sink.port), [port]) as server:
                before, started = resident(server.pid), time.perf_counter()
                one_round(port, sink, options.messages, options.messages, options.size, True)
                seconds, peak = time.perf_counter() - started, resident(server.pid, "VmHWM")
        finally:
            sink.stop()
    megabytes = options.messages * options.size / 1e6
    each = f"{options.messages} messages of {options.size / 1e6:.0f} MB"
    print(f"{each} in and out in {seconds:.0f} s: {megabytes / seconds:.0f} MB/s")
    print(f"resident memory: {before:.0f} MB before, {peak:.0f} MB at the peak")
    if peak >= MOST_MEGABYTES:
        print(f"TOO HEAVY: {peak:.0f} MB, it has to stay below {MOST_MEGABYTES}")
    return int(peak >= MOST_MEGABYTES)


if __name__ == "__main__":
    sys.exit(main())
