"""Other people's mail servers, each a process in `build/peers/root`, with a folder of its own for configuration and spool.

They are not installed (they exclude each other, and Postfix) but unpacked by peers.sh, and run with chroot: what they believe to
be `/etc/passwd` is none of the machine's. A server is started in the foreground and stopped by its own pid. Needs root.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

from waymail.testing.process import free_port

ROOT = Path(__file__).parents[2] / "build" / "peers" / "root"
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}
STOP = 10.0  # seconds within which a peer has to end


@dataclass(frozen=True, slots=True)
class NextHop:
    """Where a peer is to send everything: a port on 127.0.0.1, and how."""

    port: int
    tls: Literal["off", "starttls", "implicit"] = "off"
    user: str = ""
    password: str = ""


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


class Jail:
    """A folder in the root of the peers, and what runs there. `inside` is the folder's path as the peer sees it.

    Leaving it as a context ends its process and removes the folder.
    """

    def __init__(self, name: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=ROOT / "srv"))
        self.folder.chmod(0o755)
        self.inside = f"/srv/{self.folder.name}"
        self.output = self.folder / "output.txt"
        self._processes: list[subprocess.Popen[bytes]] = []

    def write(self, name: str, text: str, mode: int = 0o644) -> str:
        """A file in the folder; its path as the peer sees it."""
        file = self.folder / name
        file.write_text(text)
        file.chmod(mode)
        return f"{self.inside}/{name}"

    def folder_for(self, name: str, user: str) -> Path:
        """A folder that belongs to one of the peers' users."""
        entry = next(line.split(":") for line in (ROOT / "etc/passwd").read_text().splitlines() if line.startswith(f"{user}:"))
        made = self.folder / name
        made.mkdir()
        shutil.chown(made, int(entry[2]), int(entry[3]))
        return made

    def certificate(self) -> tuple[str, str]:
        """A new certificate for localhost, and its key, as the peer sees them. RSA: OpenSMTPD 6.8 cannot serve with another."""
        command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
        command += ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
        command += ["-out", str(self.folder / "cert.pem"), "-keyout", str(self.folder / "key.pem")]
        subprocess.run(command, check=True, capture_output=True, timeout=30)
        (self.folder / "key.pem").chmod(0o600)
        return f"{self.inside}/cert.pem", f"{self.inside}/key.pem"

    def run(self, *command: str, input: bytes = b"", check: bool = True) -> subprocess.CompletedProcess[bytes]:
        """Run a program to its end. Raises RuntimeError with what it printed where it fails and `check` is set."""
        done = subprocess.run(
            ["chroot", ROOT, *command], check=False, input=input, capture_output=True, timeout=30, env=ENVIRONMENT
        )
        if check and done.returncode:
            raise RuntimeError(f"{' '.join(command)}: exit {done.returncode}\n{done.stdout!r}\n{done.stderr!r}")
        return done

    def start(self, *command: str, ports: Sequence[int]) -> None:
        """Start a server and wait until it listens. Raises RuntimeError with all that it wrote where it ends instead."""
        with self.output.open("ab") as output:
            process = subprocess.Popen(
                ["chroot", ROOT, *command], stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=ENVIRONMENT
            )
        self._processes.append(process)
        try:
            self.wait(lambda: process.poll() is not None or all(listens(port) for port in ports))
            if process.poll() is not None:
                raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}; {self.logs()}")
        except BaseException:
            self.stop()
            raise

    def logs(self) -> str:
        """All that was written to log files and to the output."""
        files = [self.output, *self.folder.rglob("*log")]
        return "\n".join(
            f"{file.name}:\n{file.read_text(errors='replace')[-4000:]}"
            for file in files
            if file.is_file() and not file.name.endswith("index.log")
        )

    def wait(self, condition: Callable[[], object], seconds: float = 20.0) -> None:
        """Return when `condition` holds. Raises TimeoutError with the logs."""
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                raise TimeoutError(f"it did not happen in time; {self.logs()}")
            time.sleep(0.05)

    def stop(self) -> None:
        for process in reversed(self._processes):
            process.terminate()
            try:
                process.wait(STOP)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(STOP)
        self._processes.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        shutil.rmtree(self.folder)


class Peer(Jail):
    """A mail server that takes anything from anybody on `port`, and sends it on to `hop`, or else keeps it in `box`."""

    name = "peer"

    def __init__(self, hop: NextHop | None = None) -> None:
        super().__init__(self.name)
        self.hop = hop
        self.port = free_port()

    def listen(self) -> None:
        """Write the configuration and start."""
        raise NotImplementedError

    def kept(self) -> list[bytes]:
        """The messages in `box`, a Maildir."""
        return [file.read_bytes() for file in sorted((self.folder / "box" / "new").glob("*"))]

    def wait_for_mail(self, number: int = 1) -> list[bytes]:
        self.wait(lambda: len(self.kept()) >= number)
        return self.kept()

    def __enter__(self) -> Self:
        self.listen()
        return self
