from __future__ import annotations

import asyncio
import io
import json
import ssl
import sys
from pathlib import Path

import pytest
import trustme

from waymail.app.cli import main
from waymail.app.cli.output import Exit
from waymail.testing.peer import Peer

MESSAGE = b"From: ann@example.org\nTo: bob@example.net, eve@example.net\nSubject: x\n\nHello\n"


@pytest.fixture(autouse=True)
def no_url_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WAYMAIL_URL", raising=False)


async def send(*arguments: str) -> int:
    return await asyncio.to_thread(main, ["send", *arguments])


@pytest.fixture
def message(tmp_path: Path) -> str:
    file = tmp_path / "message.eml"
    file.write_bytes(MESSAGE)
    return str(file)


async def test_a_file_goes_to_the_recipients_that_it_names(message: str, capsys: pytest.CaptureFixture[str]) -> None:
    async with Peer() as peer:
        assert await send(message, "--url", f"smtp://{peer.address}?tls=off") == Exit.OK
    assert len(peer.messages[0].rcpt) == 2
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["accepted   bob@example.net", "accepted   eve@example.net"]
    assert lines[2].startswith("reply      250 ")


async def test_a_message_is_made_of_subject_and_body(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Peer() as peer:
        monkeypatch.setenv("WAYMAIL_URL", f"smtp://{peer.address}?tls=off")
        assert (
            await send(
                "--from", "ann@example.org", "--to", "a@x.example", "--to", "b@x.example", "--subject", "Grüße", "--body", "Hello"
            )
            == Exit.OK
        )
    [received] = peer.messages
    assert b"a@x.example" in received.rcpt[0]
    assert b"b@x.example" in received.rcpt[1]
    assert b"Subject: =?utf-8?" in received.content
    assert all(field in received.content for field in (b"Date: ", b"Message-ID: <", b"To: a@x.example, b@x.example"))
    assert received.content.endswith(b"\r\n\r\nHello\r\n")


async def test_standard_input_is_sent_under_another_envelope(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(MESSAGE)))
    async with Peer() as peer:
        assert (
            await send("-", "--url", f"smtp://{peer.address}?tls=off", "--from", "x@example.com", "--to", "y@example.com")
            == Exit.OK
        )
    assert b"<x@example.com>" in peer.messages[0].mail
    assert len(peer.messages[0].rcpt) == 1


@pytest.mark.parametrize(
    ("reply", "code"), [(b"550 5.1.1 no such user\r\n", Exit.UNAVAILABLE), (b"450 4.2.1 busy\r\n", Exit.TEMPORARY)]
)
async def test_some_refused_is_told_for_each_and_in_the_exit_code(
    message: str, reply: bytes, code: Exit, capsys: pytest.CaptureFixture[str]
) -> None:
    async with Peer([("RCPT TO:<bob@", reply)]) as peer:
        assert await send(message, "--url", f"smtp://{peer.address}?tls=off") == code
        output = capsys.readouterr()
        assert output.err == f"refused    bob@example.net: {reply.decode().strip()}\n"
        assert "accepted   eve@example.net\n" in output.out
        assert await send(message, "--url", f"smtp://{peer.address}?tls=off", "--json") == code
    data = json.loads(capsys.readouterr().out)
    assert data["accepted"] == ["eve@example.net"]
    assert (data["refused"][0]["address"], data["refused"][0]["code"], data["error"]) == ("bob@example.net", int(reply[:3]), None)


async def test_all_refused_is_69_or_75_and_says_why(message: str, capsys: pytest.CaptureFixture[str]) -> None:
    async with Peer([("MAIL", b"550 5.7.1 go away\x1b\r\n")]) as peer:
        assert await send(message, "--url", f"smtp://{peer.address}?tls=off") == Exit.UNAVAILABLE
    error = capsys.readouterr().err
    assert error.startswith("waymail: not sent: ")
    assert "\x1b" not in error
    assert await send(message, "--url", f"smtp://{peer.address}?tls=off", "--json") == Exit.TEMPORARY, "nobody listens any more"
    assert json.loads(capsys.readouterr().out)["error"]


async def test_a_self_signed_certificate_is_refused_until_it_is_trusted(
    message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    pem = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(pem))
    async with Peer(tls=context) as peer:
        url = f"smtp://{peer.address}"
        assert await send(message, "--url", url) == Exit.UNAVAILABLE
        assert "certificate" in capsys.readouterr().err
        assert peer.messages == []
        assert await send(message, "--url", url, "--tls-ca", str(pem)) == Exit.OK
        assert await send(message, "--url", url, "--insecure") == Exit.OK
        assert await send(message, "--url", url, "--insecure", "--tls-ca", str(pem)) == Exit.USAGE
        assert await send(message, "--url", url, "--tls-ca", str(tmp_path / "no.pem")) == Exit.NO_INPUT
    assert len(peer.messages) == 2


async def test_what_cannot_be_sent_at_all_is_told_before_anything_is_connected(
    message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = "smtp://ann:hunter2@127.0.0.1:1"
    empty = tmp_path / "empty"
    empty.write_bytes(b"\n")
    assert await send(message) == Exit.USAGE
    assert await send("--bogus", "--url", url) == Exit.USAGE
    assert await send(message, "--url", "http://ann:hunter2@x") == Exit.USAGE
    assert await send(str(tmp_path / "missing"), "--url", url) == Exit.NO_INPUT
    assert await send(str(empty), "--url", url) == Exit.DATA
    assert await send("--url", url, "--body", "x", "--to", "a@x.example") == Exit.USAGE
    assert await send("--url", url, "--subject", "x\ny", "--from", "a@x.example", "--to", "a@x.example") == Exit.USAGE
    assert await send(message, "--url", url, "--subject", "x", "--from", "a@x.example", "--to", "b@x.example") == Exit.USAGE
    assert await send(message, "--url", url, "--to", "not an address") == Exit.DATA
    assert "hunter2" not in capsys.readouterr().err
