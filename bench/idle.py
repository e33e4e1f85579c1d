"""Ten thousand idle connections: what the server weighs, and whether others are served as before.

    .venv/bin/python -m bench.idle --connections 10000

Opens the connections (greeting and EHLO, then nothing), reads the server's resident memory, and measures messages per second
from smtp-source through the server into smtp-sink before and with them. Exits with 1 where the server weighs too much or others
are served too slowly.
"""

from __future__ import annotations

import argparse
import resource
import socket
import sys
import tempfile
from pathlib import Path

from bench.interpreter import interpreter
from bench.relay import CONFIG, Sink, one_round
from waymail.testing.process import ServerProcess, free_port

MOST_MEGABYTES = 150
LEAST_SHARE = 0.7  # of the rate without the idle connections


def resident(pid: int, what: str = "VmRSS") -> float:
    """Megabytes of resident memory; its peak so far, where `what` is "VmHWM"."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{what}:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"no {what}")


def greet(port: int, number: int) -> socket.socket:
    # One source address has some 28,000 ports; the bound on sessions per client goes by address, too.
    source = f"127.0.{1 + number // 500}.1"
    client = socket.create_connection(("127.0.0.1", port), 10, source_address=(source, 0))
    client.recv(200)
    client.sendall(b"EHLO idle.example.net\r\n")
    client.recv(1000)
    return client


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--connections", type=int, default=10_000)
    parser.add_argument("--messages", type=int, default=5_000)
    options = parser.parse_args()
    print(interpreter())
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with tempfile.TemporaryDirectory(prefix="bench-idle-") as folder:
        Path(folder).chmod(0o755)
        sink, port = Sink(Path(folder)), free_port()
        try:
            with ServerProcess(Path(folder) / "waymail", CONFIG.format(port=port, sink=sink.port), [port]) as server:
                one_round(port, sink, 500, 20, 4096, True)
                alone, before = one_round(port, sink, options.messages, 20, 4096, True), resident(server.pid)
                clients = [greet(port, number) for number in range(options.connections)]
                idle = resident(server.pid)
                among, after = one_round(port, sink, options.messages, 20, 4096, True), resident(server.pid)
                print(
                    f"resident memory: {before:.0f} MB alone, {idle:.0f} MB with {len(clients)} idle, {after:.0f} MB after load"
                )
                print(f"messages per second: {alone:.0f} alone, {among:.0f} among them: {among / alone:.2f} times")
                for client in clients:
                    client.close()
        finally:
            sink.stop()
    return judged(max(idle, after), among / alone)


def judged(megabytes: float, share: float) -> int:
    """The exit status."""
    failures = []
    if megabytes >= MOST_MEGABYTES:
        failures.append(f"TOO HEAVY: {megabytes:.0f} MB, it has to stay below {MOST_MEGABYTES}")
    if share < LEAST_SHARE:
        failures.append(f"TOO SLOW among idle connections: {share:.2f} times, it has to be {LEAST_SHARE:g} at least")
    for failure in failures:
        print(failure)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
