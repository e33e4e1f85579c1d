"""A real waymail server in a process of its own, for tests that must not share anything with the server they test."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

START = 20.0  # seconds within which a server must listen
STOP = 60.0


MANY = 5_000  # ports after which the same one may be given again
_given: set[int] = set()


def free_port(host: str = "127.0.0.1") -> int:
    """A TCP port that was free a moment ago, another one each time: the system may give the same one twice in a row."""
    while True:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.bind((host, 0))
            port: int = probe.getsockname()[1]
        if port not in _given:
            break
    if len(_given) > MANY:
        _given.clear()
    _given.add(port)
    return port


def wait_for_port(port: int, host: str = "127.0.0.1", seconds: float = START) -> None:
    """Return when something listens. Raises TimeoutError."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            with socket.create_connection((host, port), 1):
                return
        except OSError:
            time.sleep(0.02)
    raise TimeoutError(f"nothing listens at {host} port {port} after {seconds} seconds")


class ServerProcess:
    """`waymail serve` with `config` (the text of a waymail.toml) in `directory`; `ports` are waited for at each start.

        with ServerProcess(tmp_path, config, [port]) as server: ...

    Leaving the block ends it with SIGTERM and raises where it did not end by itself with 0.
    """

    def __init__(self, directory: Path, config: str, ports: list[int]) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.config = directory / "waymail.toml"
        self.config.write_text(config)
        self.log = directory / "log.txt"
        self._ports = ports
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start and wait until it listens. Raises RuntimeError with the log where it ends instead."""
        with self.log.open("ab") as log:
            command = [sys.executable, "-m", "waymail", "serve", "--config", str(self.config)]
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.directory)
        for port in self._ports:
            try:
                wait_for_port(port)
            except TimeoutError as error:
                raise RuntimeError(f"{error}; its log:\n{self.log.read_text(errors='replace')[-4000:]}") from None

    @property
    def pid(self) -> int:
        if self._process is None:
            raise RuntimeError("the server is not running")
        return self._process.pid

    def kill(self) -> None:
        """SIGKILL: no time for last words."""
        if self._process is not None:
            os.kill(self._process.pid, signal.SIGKILL)
            self._process.wait(STOP)
            self._process = None

    def stop(self) -> int:
        """SIGTERM; the exit status."""
        if self._process is None:
            return 0
        self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(STOP)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(STOP)
            raise
        finally:
            self._process = None

    def run(self, *arguments: str, input: str | None = None, check: bool = True) -> str:
        """Run a `waymail` command with this server's configuration; what it printed."""
        command = [sys.executable, "-m", "waymail", *arguments, "--config", str(self.config)]
        done = subprocess.run(command, check=False, input=input, capture_output=True, text=True, timeout=60)
        if check and done.returncode:
            raise RuntimeError(f"waymail {' '.join(arguments)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def trace(self, text: str) -> list[dict[str, Any]]:
        """What `waymail trace --json` says of an id, a Message-ID or an address."""
        stories: list[dict[str, Any]] = json.loads(self.run("trace", text, "--json"))
        return stories

    def mailbox(self, path: str) -> list[bytes]:
        """The messages in a Maildir below the server's directory."""
        return [file.read_bytes() for file in sorted((self.directory / path / "new").glob("*"))]

    def wait_for_mail(self, path: str, number: int = 1, seconds: float = 20.0) -> list[bytes]:
        """The messages of a Maildir, once there are `number` of them. Raises TimeoutError with the server's log."""
        deadline = time.monotonic() + seconds
        while len(found := self.mailbox(path)) < number:
            if time.monotonic() > deadline:
                log = self.log.read_text(errors="replace")[-4000:]
                raise TimeoutError(f"{len(found)} of {number} messages in {path}; the server's log:\n{log}")
            time.sleep(0.05)
        return found

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        status = self.stop()
        if status and error is None:
            raise RuntimeError(f"the server ended with {status}:\n{self.log.read_text(errors='replace')[-4000:]}")
