"""A real server in a process of its own that is attacked, and what tells whether that did any harm."""

from __future__ import annotations

import json
import socket
import ssl
import time
from pathlib import Path
from typing import Any

from tests.server.real_sockets import Client, code

from waymail.server.users import add_user
from waymail.testing.process import ServerProcess, free_port

SOON = 5.0  # seconds within which what must happen happens
HONEST = "127.0.0.200"
TRUSTED = "127.0.0.100"  # may relay
PASSWORD = "correct horse"

CONFIG = """\
hostname = "mail.example.org"
data_dir = "data"
[queue]
retry = ["1h"]
[[listener]]
kind = "mx"
address = "127.0.0.1:{mx}"
[[listener]]
kind = "mx"
address = "127.0.0.1:{mx_tls}"
tls = "implicit"
[[listener]]
kind = "submission"
address = "127.0.0.1:{submission}"
[[listener]]
kind = "submission"
address = "127.0.0.1:{submission_tls}"
tls = "implicit"
[[listener]]
kind = "submission"
address = "127.0.0.1:{normalising}"
line_ends = "normalise"
[[listener]]
kind = "lmtp"
address = "unix:lmtp.sock"
tls = "off"
[tls]
self_signed = true
[relay]
allow = ["127.0.0.100/32"]
[domains."example.org"]
recipients = ["ann", "bob"]
[domains."any.example"]
recipients = "any"
[routes]
{routes}
[limits]
message_size = "1MB"
errors = 10
junk = 50
sessions = 400
sessions_per_client = 300
{limits}
"""


class Target:
    """The server. `ports` has its listeners by name."""

    def __init__(self, directory: Path, *, routes: str, limits: str = "", log: str = "") -> None:
        names = ("mx", "mx_tls", "submission", "submission_tls", "normalising")
        self.ports = {name: free_port() for name in names}
        directory.mkdir(parents=True, exist_ok=True)
        add_user(directory / "users.toml", "ann", PASSWORD, ["ann@example.org"])
        text = CONFIG.format(routes=routes, limits=limits, **self.ports) + log
        self.process = ServerProcess(directory, text, list(self.ports.values()))

    def start(self) -> None:
        self.process.start()
        self.trust = ssl.create_default_context(cafile=str(self.process.directory / "data" / "tls" / "cert.pem"))

    def stop(self) -> None:
        """Raises where the server did not end well, or met a bug."""
        assert self.process.stop() == 0
        log = self.process.log.read_text(errors="replace")
        assert "Traceback" not in log, log[-4000:]
        assert "bug" not in log, log[-4000:]

    # --- connections

    def address(self, listener: str) -> str:
        return f"127.0.0.1:{self.ports[listener]}"

    def connect(self, listener: str = "mx", source: str = "", *, buffer: int = 0) -> Client:
        """A connection that says nothing yet; TLS where the listener begins with it."""
        context = self.trust if listener.endswith("_tls") else None
        client = Client(self.address(listener), context, source=source, buffer=buffer)
        client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return client

    def greeted(self, listener: str = "mx", source: str = "", hello: str = "EHLO client.example") -> Client:
        client = self.connect(listener, source)
        assert code(client.reply()).startswith("220")
        if hello:
            assert client.say(hello)[0].startswith("250")
        return client

    # --- what an attack must not do

    def serves(self) -> None:
        """An honest client, from another address, gets a message delivered within a second."""
        started = time.monotonic()
        client = self.greeted("mx", HONEST)
        said = client.say("MAIL FROM:<friend@client.example>", "RCPT TO:<ann@example.org>", "DATA")
        assert [one[:3] for one in said] == ["250", "250", "354"]
        assert client.say("Subject: honest\r\n\r\nHello!\r\n.")[0] == "250 2.0.0"
        assert client.say("QUIT")[0].startswith("221")
        client.close()
        assert time.monotonic() - started < 1.0

    @property
    def memory(self) -> float:
        """Resident, in megabytes."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1000
        raise AssertionError("no VmRSS")

    @property
    def descriptors(self) -> int:
        return sum(1 for _ in Path(f"/proc/{self.process.pid}/fd").iterdir())

    @property
    def bodies(self) -> list[str]:
        """The files of messages."""
        return [file.name for file in (self.process.directory / "data" / "queue" / "bodies").iterdir()]

    def settles(self, descriptors: int) -> None:
        """No more descriptors than there were, and no file of a message that nobody sent."""
        deadline = time.monotonic() + SOON
        while self.descriptors > descriptors or self.bodies:
            assert time.monotonic() < deadline, f"{self.descriptors} descriptors instead of {descriptors}; {self.bodies}"
            time.sleep(0.02)

    def logged(self, *parts: str) -> str:
        """The line of the log that has all of them."""
        deadline = time.monotonic() + SOON
        while True:
            lines = self.process.log.read_text(errors="replace").splitlines()
            found = [line for line in lines if all(part in line for part in parts)]
            if found:
                return found[-1]
            assert time.monotonic() < deadline, f"no line with {parts}; the last ones:\n" + "\n".join(lines[-15:])
            time.sleep(0.02)

    def queue(self) -> list[dict[str, Any]]:
        """What waits."""
        found: list[dict[str, Any]] = json.loads(self.process.run("queue", "list", "--json"))
        return found


def until_closed(client: Client) -> bytes:
    """What the server says until it closes."""
    said = b""
    while octets := client.receive():
        said += octets
    return said
