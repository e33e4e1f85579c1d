"""Durable relay, end to end: smtp-source, the server under test, smtp-sink; waymail and Postfix in turn, in one run.

    make bench            or            .venv/bin/python -m bench.relay --messages 6000 --rounds 3

Both servers relay to the same sink with their defaults for safety (waymail: fsync before every 250, trace on; Postfix:
fsync before every 250). Postfix is helped: no DNS, concurrency 50, no chroot, in_flow_delay 0. A round's time goes from the
start of smtp-source until the sink has counted the last message. Needs Debian's postfix package, and root to start it.

With `--at-least-reused` and `--at-least-single` it exits with 1 where the median of the rounds' ratios is below.
"""

from __future__ import annotations

import argparse
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench.interpreter import interpreter
from bench.postfix import PrivatePostfix
from waymail.testing.process import ServerProcess, free_port, wait_for_port

CONFIG = """\
hostname = "waymail.example.net"
data_dir = "data"
[[listener]]
kind = "mx"
address = "127.0.0.1:{port}"
tls = "off"
[relay]
allow = ["127.0.0.0/8"]
[routes]
"*" = "smtp://127.0.0.1:{sink}"
"""

POSTFIX = {
    "disable_dns_lookups": "yes",
    "default_destination_concurrency_limit": "50",
    "initial_destination_concurrency": "50",
    "in_flow_delay": "0",
    "smtpd_client_connection_count_limit": "0",
    "smtp_tls_security_level": "none",
}


class Sink:
    """smtp-sink, counting."""

    def __init__(self, directory: Path) -> None:
        self.port = free_port()
        self._counts = directory / "sink.txt"
        with self._counts.open("wb") as out:
            command = ["smtp-sink", "-u", "nobody", "-c", f"127.0.0.1:{self.port}", "1000"]
            self._process = subprocess.Popen(command, stdout=out, stderr=subprocess.DEVNULL)
        wait_for_port(self.port)

    def messages(self) -> int:
        with self._counts.open("rb") as file:
            file.seek(max(0, self._counts.stat().st_size - 4096))
            found = re.findall(rb"mesg=(\d+)", file.read())
        return int(found[-1]) if found else 0

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(10)


@contextmanager
def waymail(directory: Path, sink: int) -> Iterator[int]:
    port = free_port()
    with ServerProcess(directory, CONFIG.format(port=port, sink=sink), [port]):
        yield port


@contextmanager
def postfix(directory: Path, sink: int) -> Iterator[int]:
    port = free_port()
    directory.mkdir()
    server = PrivatePostfix(directory, f"127.0.0.1:{port}", POSTFIX | {"relayhost": f"[127.0.0.1]:{sink}"})
    server.start()
    try:
        wait_for_port(port)
        yield port
    finally:
        server.stop()


def one_round(port: int, sink: Sink, messages: int, sessions: int, size: int, reuse: bool) -> float:
    """Messages per second, end to end."""
    return send(port, sink, messages, ["-s", str(sessions), "-l", str(size), *(["-d"] if reuse else [])])


def send(port: int, sink: Sink, messages: int, options: Sequence[str]) -> float:
    """Messages per second, from the start of smtp-source with these options until the last one is in the sink."""
    before = sink.messages()
    command = ["smtp-source", *options, "-m", str(messages), "-f", "a@example.org", "-t", "b@example.com", f"127.0.0.1:{port}"]
    started = time.perf_counter()
    subprocess.run(command, check=True, timeout=300, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 300
    while sink.messages() - before < messages:
        if time.monotonic() > deadline:
            raise RuntimeError(f"only {sink.messages() - before} of {messages} messages arrived")
        time.sleep(0.005)
    return messages / (time.perf_counter() - started)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=6000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sessions", type=int, default=20)
    parser.add_argument("--size", type=int, default=4096)
    parser.add_argument("--only", choices=["waymail", "postfix"], help="measure one alone, for profiling")
    parser.add_argument("--at-least-reused", type=float, default=0, help="times Postfix, in sessions that are reused")
    parser.add_argument("--at-least-single", type=float, default=0, help="times Postfix, with a connection for each message")
    options = parser.parse_args()
    if options.only and (options.at_least_reused or options.at_least_single):
        parser.error("--only leaves nothing to compare with")
    print(interpreter())
    servers = {"waymail": waymail, "postfix": postfix}
    chosen = [options.only] if options.only else list(servers)
    print(f"smtp-source -s {options.sessions} -l {options.size} -m {options.messages}, {options.rounds} rounds, in turn")
    is_enough = True
    for reuse in (True, False):
        rates: dict[str, list[float]] = {name: [] for name in chosen}
        with tempfile.TemporaryDirectory(prefix="bench-relay-") as folder:
            Path(folder).chmod(0o755)
            sink = Sink(Path(folder))
            try:
                for number in range(options.rounds):
                    for name in chosen:
                        with servers[name](Path(folder) / f"{name}{number}", sink.port) as port:
                            one_round(port, sink, 500, options.sessions, options.size, reuse)  # warm up
                            rates[name].append(one_round(port, sink, options.messages, options.sessions, options.size, reuse))
            finally:
                sink.stop()
        report("sessions reused (smtp-source -d)" if reuse else "one connection per message", rates)
        least = options.at_least_reused if reuse else options.at_least_single
        if least and not is_fast(rates, least):
            print(f"  TOO SLOW: the ratio has to be {least:g} at least")
            is_enough = False
    return 0 if is_enough else 1


def is_fast(rates: dict[str, list[float]], least: float) -> bool:
    """Whether the median of the rounds' ratios is `least` or more."""
    return statistics.median(ratios(rates)) >= least


def ratios(rates: dict[str, list[float]]) -> list[float]:
    """How many times Postfix's rate ours was, round by round."""
    return [ours / theirs for ours, theirs in zip(rates["waymail"], rates["postfix"], strict=True)]


def report(title: str, rates: dict[str, list[float]]) -> None:
    print(f"\n{title}, messages per second: min / median / max")
    for name, values in rates.items():
        print(f"  {name:8} {min(values):7.0f} {statistics.median(values):7.0f} {max(values):7.0f}")
    if len(rates) == 2:
        times = ratios(rates)
        print(f"  ratio    {min(times):7.2f} {statistics.median(times):7.2f} {max(times):7.2f}")


if __name__ == "__main__":
    sys.exit(main())
