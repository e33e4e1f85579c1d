"""Nothing that a peer says becomes a line of its own, moves a cursor, or fills the log: in the log and in what commands print."""

from __future__ import annotations

import base64
import json
import re
import time
from typing import Any

import pytest
from tests.hostile.target import TRUSTED, Target
from tests.server.real_sockets import code

LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (debug|info|warning|error) +waymail[a-z.]*: .*")
LONGEST = 20_000  # characters
FORGED = "\r\n2026-01-01T00:00:00.000Z info    waymail.server: authenticated peer=127.0.0.1 user=root"
NASTY = "\x1b[2J\x1b]0;title\x07\x00\x7f\x9b31m\u202e\u2028\u2066" + FORGED
SPOKEN = [
    f"EHLO {NASTY}",
    f"HELO {'x' * 64_000}",
    "EHLO \x1b[31mred.example",
    f"MAIL FROM:<{NASTY}@client.example>",
    'MAIL FROM:<"\x1b[31m"@client.example>',
    f"MAIL FROM:<{'y' * 64_000}@client.example>",
    "RCPT TO:<\u202eann@example.org>",
    "GET /\x1b[31m HTTP/1.1",
]


@pytest.fixture(params=["human", "json"])
def attacked(request: pytest.FixtureRequest, target: Target, impatient: Target) -> Target:
    return target if request.param == "human" else impatient


def check(target: Target) -> None:
    """Every line of the log is one, and is what it says it is."""
    text = target.process.log.read_bytes().decode("utf-8")
    for line in text.removesuffix("\n").split("\n"):
        if line.startswith(f"{target.process.config}:"):
            continue  # what the command said of the configuration, before there was a log
        assert line.isprintable(), repr(line[:500])
        assert len(line) < LONGEST
        if line.startswith("{"):
            entry: dict[str, Any] = json.loads(line)
            assert entry["logger"].startswith("waymail")
        else:
            assert LINE.fullmatch(line), line[:500]
    assert '"user": "root"' not in text
    assert not re.search(r"^\S+ info +waymail.server: authenticated +peer=127.0.0.1 user=root", text, re.MULTILINE)


@pytest.mark.parametrize("spoken", SPOKEN)
def test_what_a_client_says_stays_within_its_line(attacked: Target, spoken: str) -> None:
    client = attacked.greeted(source="127.0.0.60")
    client.socket.sendall(spoken.encode() + b"\r\nMAIL FROM:<x@client.example>\r\nRCPT TO:<x@foreign.example>\r\nQUIT\r\n")
    assert [code(reply) for reply in iter(client.reply, [])][-1][:3] in ("221", "421")
    client.close()
    check(attacked)


def test_the_names_of_users_stay_within_their_lines_and_guessing_is_slow(target: Target, impatient: Target) -> None:
    names = [NASTY.replace("\0", ""), "\x1b[31m", "z" * 8000, "ann" + FORGED, "ann\u202egpj.exe"]
    started, clients = time.monotonic(), []
    for attacked in (target, impatient):
        for number, name in enumerate(names):
            client = attacked.greeted("submission_tls", f"127.0.0.{61 + number}")
            secret = base64.b64encode(f"\0{name}\0guess".encode()).decode()
            client.send(f"AUTH PLAIN {secret}")
            clients.append(client)
    for client in clients:
        assert code(client.reply()) == "535 5.7.8"
        client.close()
    assert time.monotonic() - started >= 2.0
    for attacked in (target, impatient):
        assert "characters more" in attacked.logged("authentication failed", "127.0.0.63")
        check(attacked)


def test_what_a_server_says_stays_within_its_line_in_the_log(attacked: Target) -> None:
    hostile_reply(attacked)
    check(attacked)


def test_what_a_server_says_stays_within_its_line_in_every_command(target: Target) -> None:
    attacked, sender = target, hostile_reply(target)
    for command in (["queue", "list"], ["trace", sender], ["trace", sender, "--json"]):
        printed = attacked.process.run(*command)
        assert "4.2.0" in printed
        for line in printed.removesuffix("\n").split("\n"):
            assert line.isprintable(), (command, line[:500])
            assert len(line) < LONGEST
        if "--json" in command:
            json.loads(printed)


def hostile_reply(attacked: Target) -> str:
    """Have the server told something hostile; who sent the message."""
    client = attacked.greeted(source=TRUSTED)
    sender = "logs@client.example"
    said = client.say(f"MAIL FROM:<{sender}>", "RCPT TO:<hostile@other.example>", "DATA")
    assert said[2] == "354"
    client.send("Subject: \x1b[31m", "Message-ID: <\x1b[2J\x07@x>", "", "Hello", ".")
    assert code(client.reply()) == "250 2.0.0"
    client.close()
    attacked.logged("hostile@other.example", "4.2.0")
    return sender
