"""Messages that are made to be dear to judge: each has its answer soon, nobody waits meanwhile, and memory stays as it is."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from tests.server.real_sockets import Client, code

from waymail.senderauth import dkim
from waymail.senderauth.dkim import key as dkim_key
from waymail.testing import Zone
from waymail.testing.dns import serving
from waymail.testing.process import ServerProcess, free_port

PATIENCE = 1.0  # seconds that somebody else may wait for a reply; it takes some 0.1 at most
ROOM = 30.0  # megabytes
CONFIG = """\
hostname = "mail.example.org"
data_dir = "data"
[[listener]]
kind = "mx"
address = "127.0.0.1:{port}"
tls = "off"
[domains."example.org"]
recipients = ["ann"]
[dns]
resolvers = ["{resolver}"]
[inbound]
trusted = []
dns_timeout = "2s"
"""
KEY = generate_private_key(65537, 4096)
ZONE: dict[str, Any] = {
    "evil.example": {"TXT": ["v=spf1 +all"]},
    "s._domainkey.evil.example": {"TXT": [dkim_key.record(KEY.public_key())]},
    "loop.example": {"TXT": ["v=spf1 include:loop.example include:loop.example -all"]},
    "many.example": {"TXT": ["v=spf1 " + " ".join(f"ip4:10.0.{n // 256}.{n % 256}" for n in range(1000)) + " -all"]},
    "garbage.example": {"TXT": ["v=spf1 \xff\x00\r\n\x1b[2J -all"]},
    "_dmarc.garbage.example": {"TXT": ["v=DMARC1; p=reject\xff\r\n\x1b[2J; rua=\x00"]},
    "mute.example": "TIMEOUT",
    "_dmarc.mute.example": "TIMEOUT",
}
FROM = b"From: Eve <eve@evil.example>\r\nSubject: hello\r\n"
BODY = b"\r\nHello.\r\n"
SIGNATURE = dkim.sign(FROM + BODY, dkim.SigningKey(KEY), domain="evil.example", selector="s", now=1_700_000_000.0)
WIDE = SIGNATURE.replace(b"h=from", b"h=" + b"x:" * 490 + b"from")
SHORT = b"DKIM-Signature: v=1; a=rsa-sha256; d=mute.example; s=s; h=from; bh=AAAA; b=AAAA\r\n"
ARC = (
    b"ARC-Seal: i=%d; a=rsa-sha256; cv=pass; d=evil.example; s=s; b=AAAA\r\n"
    b"ARC-Message-Signature: i=%d; a=rsa-sha256; d=evil.example; s=s; h=from; bh=AAAA; b=AAAA\r\n"
    b"ARC-Authentication-Results: i=%d; evil.example; dmarc=pass\r\n"
)
MESSAGES = {
    "500 signatures": (SIGNATURE * 20 + SHORT * 480 + FROM + BODY, "250 2.0.0"),
    "signatures of many fields": (WIDE * 20 + b"x:\r\n" * 40_000 + FROM + BODY, "250 2.0.0"),
    "a chain of 60": (b"".join(ARC % (n, n, n) for n in range(60, 0, -1)) + FROM + BODY, "250 2.0.0"),
    "10 MB of header": (b"X: y\r\n" * 1_700_000 + FROM + BODY, "552 5.3.4"),
    "10 MB of signed empty lines": (SIGNATURE * 20 + FROM + b"\r\n" * 5_000_000 + b"x\r\n", "250 2.0.0"),
    "9,000 authors": (b"From: " + b",\r\n ".join(b"a@d%d.example" % n for n in range(9000)) + b"\r\n" + BODY, "550 5.7.26"),
    "parentheses": (b"From: " + b"(" * 100_000 + b")" * 100_000 + b" eve@evil.example\r\n" + BODY, "550 5.7.26"),
    "results that claim to be ours": (b"Authentication-Results: mail.example.org; none\r\n" * 5_000 + FROM + BODY, "250 2.0.0"),
}  # fmt: skip


class Target:
    """A server that judges everybody."""

    def __init__(self, process: ServerProcess, port: int) -> None:
        self.process, self.port = process, port

    @property
    def memory(self) -> float:
        """Resident, in megabytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return next(int(line.split()[1]) / 1000 for line in status.splitlines() if line.startswith("VmRSS:"))

    def send(self, message: bytes, sender: str) -> str:
        """The code of what the server says in the end."""
        client = Client(f"127.0.0.1:{self.port}")
        client.reply()
        client.say("EHLO client.example", f"MAIL FROM:<{sender}>", "RCPT TO:<ann@example.org>", "DATA")
        client.socket.sendall(message + b".\r\n")
        said = code(client.reply())
        client.close()
        return said


class Bystander(threading.Thread):
    """Another client: how long has it waited for a reply, at most?"""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self.longest = 0.0
        self._client, self._done = Client(f"127.0.0.1:{port}"), threading.Event()
        self._client.reply()

    def run(self) -> None:
        while not self._done.wait(0.02):
            started = time.monotonic()
            self._client.say("RSET")
            self.longest = max(self.longest, time.monotonic() - started)

    def __enter__(self) -> Bystander:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self.join(30)
        self._client.close()


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    port = free_port()
    with serving(Zone(ZONE)) as dns:
        config = CONFIG.format(port=port, resolver=dns.address)
        with ServerProcess(tmp_path_factory.mktemp("judging"), config, [port]) as process:
            yield Target(process, port)


@pytest.mark.parametrize("kind", MESSAGES)
def test_a_message_that_is_dear_to_judge_makes_nobody_wait(target: Target, kind: str) -> None:
    message, wanted = MESSAGES[kind]
    target.send(FROM + BODY, "eve@evil.example")
    before = target.memory
    started = time.monotonic()
    with Bystander(target.port) as bystander:
        assert target.send(message, "eve@evil.example") == wanted
    assert time.monotonic() - started < 10
    assert bystander.longest < PATIENCE
    assert target.memory - before < ROOM


@pytest.mark.parametrize(
    ("domain", "wanted"), [("loop", "250 2.0.0"), ("many", "250 2.0.0"), ("garbage", "250 2.0.0"), ("mute", "451 4.4.3")]
)
def test_what_a_strangers_records_say_breaks_nothing(target: Target, domain: str, wanted: str) -> None:
    message = FROM.replace(b"evil", domain.encode()) + BODY
    with Bystander(target.port) as bystander:
        assert target.send(message, f"eve@{domain}.example") == wanted
    assert bystander.longest < PATIENCE
    told = target.process.run("explain", f"eve@{domain}.example")
    assert told.isprintable() or all(line.isprintable() for line in told.splitlines())
    assert "Traceback" not in target.process.log.read_text()


def test_a_crowd_whose_dns_is_mute_is_put_off_and_nobody_else_is(target: Target) -> None:
    said: list[str] = []
    message = FROM.replace(b"evil", b"mute") + BODY
    crowd = [threading.Thread(target=lambda n=n: said.append(target.send(message, f"eve@{n}.mute.example"))) for n in range(12)]
    with Bystander(target.port) as bystander:
        for one in crowd:
            one.start()
        assert target.send(FROM + BODY, "eve@evil.example") == "250 2.0.0"
        for one in crowd:
            one.join(30)
    assert said == ["451 4.4.3"] * len(crowd)
    assert bystander.longest < PATIENCE
