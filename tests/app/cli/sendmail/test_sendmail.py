from __future__ import annotations

import asyncio
import io
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from waymail.app.cli import main
from waymail.app.cli.output import Exit
from waymail.testing.peer import DROP, END, Peer

MESSAGE = "From: ann@example.org\nTo: bob@example.net\nSubject: x\n\nHello\n"
RULES = [
    ("RCPT TO:<nobody@", b"550 5.1.1 no such user\r\n"),
    ("RCPT TO:<full@", b"552 5.2.2 the box is full\r\n"),
    ("RCPT TO:<later@", b"451 4.7.1 come again\r\n"),
    ("MAIL FROM:<spam@", b"550 5.7.1 not you\r\n"),
]


@pytest.fixture
async def peer(home: None, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Peer]:
    """A server, and the environment of a user whose mail goes there."""
    async with Peer(RULES) as running:
        monkeypatch.setenv("WAYMAIL_URL", f"smtp://{running.address}?tls=off")
        yield running


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing of the user who runs the tests."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("WAYMAIL_URL", "WAYMAIL_CONFIG", "XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)


class Stdin:
    def __init__(self, text: str) -> None:
        self.buffer = io.BytesIO(text.encode())


Call = Callable[..., Awaitable[int]]


@pytest.fixture
def sendmail(monkeypatch: pytest.MonkeyPatch) -> Call:
    async def run(*arguments: str, text: str = MESSAGE) -> int:
        monkeypatch.setattr(sys, "stdin", Stdin(text))
        return await asyncio.to_thread(main, ["sendmail", *arguments])

    return run


async def test_the_message_goes_to_whom_it_is_for(peer: Peer, sendmail: Call, capsys: pytest.CaptureFixture[str]) -> None:
    assert await sendmail("-i", "-f", "ann@example.org", "bob@example.net", "carol@example.net") == Exit.OK
    (received,) = peer.messages
    assert received.mail.startswith(b"MAIL FROM:<ann@example.org>")
    assert received.rcpt == [b"RCPT TO:<bob@example.net>", b"RCPT TO:<carol@example.net>"]
    assert capsys.readouterr() == ("", "")


async def test_a_dot_ends_the_message_unless_it_is_not_to(peer: Peer, sendmail: Call) -> None:
    text = f"{MESSAGE}.\nmore\n"
    assert await sendmail("bob@example.net", text=text) == Exit.OK
    assert await sendmail("-i", "bob@example.net", text=text) == Exit.OK
    assert await sendmail("-oi", "bob@example.net", text=text) == Exit.OK
    assert [received.content.endswith(b"Hello\r\n.\r\nmore\r\n") for received in peer.messages] == [False, True, True]


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["nobody@example.net"], Exit.NO_USER, "nobody@example.net: 550 5.1.1 no such user"),
        (["full@example.net"], Exit.UNAVAILABLE, "full@example.net: 552 5.2.2 the box is full"),
        (["bob@example.net", "nobody@example.net"], Exit.NO_USER, "nobody@example.net: 550 5.1.1 no such user"),
        (["-f", "spam@example.org", "bob@example.net"], Exit.UNAVAILABLE, "bob@example.net: 550 5.7.1 not you"),
        (["bob@exa@mple"], Exit.DATA, "is no address"),
        ([], Exit.USAGE, "whom is it for"),
        (["-k"], Exit.USAGE, "no option -k"),
    ],
)
async def test_the_exit_code_says_what_is_wrong(
    peer: Peer, sendmail: Call, capsys: pytest.CaptureFixture[str], arguments: list[str], code: Exit, told: str
) -> None:
    assert await sendmail(*arguments) == code
    output = capsys.readouterr()
    assert told in output.err
    assert output.out == ""


async def test_a_refused_password_is_told_at_once(
    monkeypatch: pytest.MonkeyPatch, sendmail: Call, capsys: pytest.CaptureFixture[str]
) -> None:
    async with Peer([("AUTH", b"535 5.7.8 no\r\n")], extensions=["AUTH SCRAM-SHA-256 CRAM-MD5"]) as refusing:
        monkeypatch.setenv("WAYMAIL_URL", f"smtp://ann:wrong@{refusing.address}?tls=off")
        assert await sendmail("bob@example.net") == Exit.NO_PERMISSION
    error = capsys.readouterr().err
    assert "535 5.7.8 no" in error
    assert "wrong" not in error


async def test_the_sender_is_told_by_mail_where_that_is_asked_for(
    peer: Peer, sendmail: Call, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["-f", "ann@example.org", "bob@example.net", "nobody@example.net"]
    assert await sendmail("-oem", *arguments) == Exit.NO_USER
    assert await sendmail("-oee", *arguments) == Exit.OK
    notice = peer.messages[1]
    assert notice.mail.startswith(b"MAIL FROM:<>")
    assert notice.rcpt == [b"RCPT TO:<ann@example.org>"]
    assert b"Final-Recipient: rfc822; nobody@example.net\r\n" in notice.content
    assert len(peer.messages) == 4
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("more", [["-f", ""], ["-N", "never"]])
async def test_who_cannot_or_will_not_be_told_by_mail_is_told_on_the_spot(
    peer: Peer, sendmail: Call, capsys: pytest.CaptureFixture[str], more: list[str]
) -> None:
    assert await sendmail("-oem", *more, "bob@example.net", "nobody@example.net") == Exit.NO_USER
    assert len(peer.messages) == 1
    assert "nobody@example.net: 550" in capsys.readouterr().err


async def test_quiet_is_the_code_alone_and_verbose_tells_of_the_accepted(
    peer: Peer, sendmail: Call, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await sendmail("-oeq", "nobody@example.net") == Exit.NO_USER
    assert capsys.readouterr() == ("", "")
    assert await sendmail("-v", "bob@example.net") == Exit.OK
    assert capsys.readouterr().out.startswith("accepted   bob@example.net: 250 ")


async def test_what_is_asked_of_dsn_goes_along(sendmail: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    async with Peer(extensions=["DSN"]) as peer:
        monkeypatch.setenv("WAYMAIL_URL", f"smtp://{peer.address}?tls=off")
        assert await sendmail("-N", "success,delay", "-R", "hdrs", "-V", "a+b", "bob@example.net") == Exit.OK
    (received,) = peer.messages
    assert b" RET=HDRS ENVID=a+2Bb" in received.mail
    assert received.rcpt[0].startswith(b"RCPT TO:<bob@example.net> NOTIFY=SUCCESS,DELAY")


async def test_help_tells_of_every_option(sendmail: Call, capsys: pytest.CaptureFixture[str]) -> None:
    assert await sendmail("--help") == Exit.OK
    assert "-oem" in capsys.readouterr().out


# While the server is away

NOWHERE = "smtp://127.0.0.1:1?tls=off"


async def listed(sendmail: Call, capsys: pytest.CaptureFixture[str]) -> str:
    """What waits, as -bp tells it."""
    capsys.readouterr()
    assert await sendmail("-bp") == Exit.OK
    return capsys.readouterr().out


async def test_what_cannot_be_sent_now_waits_and_is_sent_by_the_next_call_that_gets_through(
    monkeypatch: pytest.MonkeyPatch, peer: Peer, sendmail: Call, capsys: pytest.CaptureFixture[str]
) -> None:
    here = os.environ["WAYMAIL_URL"]
    monkeypatch.setenv("WAYMAIL_URL", NOWHERE)
    assert await sendmail("-f", "ann@example.org", "bob@example.net") == Exit.OK
    assert "not sent yet, kept in" in capsys.readouterr().err
    assert "ann@example.org  bob@example.net  -" in await listed(sendmail, capsys)
    monkeypatch.setenv("WAYMAIL_URL", here)
    assert await sendmail("carol@example.net") == Exit.OK
    async with asyncio.timeout(20):
        while len(peer.messages) < 2:  # noqa: ASYNC110 - another process does it
            await asyncio.sleep(0.02)
    assert [received.rcpt for received in peer.messages] == [[b"RCPT TO:<carol@example.net>"], [b"RCPT TO:<bob@example.net>"]]
    assert peer.messages[1].content.endswith(MESSAGE.replace("\n", "\r\n").encode())


async def test_a_flush_tries_what_waits_whatever_its_time(
    monkeypatch: pytest.MonkeyPatch, peer: Peer, sendmail: Call, capsys: pytest.CaptureFixture[str]
) -> None:
    here = os.environ["WAYMAIL_URL"]
    monkeypatch.setenv("WAYMAIL_URL", NOWHERE)
    assert await sendmail("bob@example.net") == Exit.OK
    assert await sendmail("-q") == Exit.OK
    assert "451 4.4.1" in await listed(sendmail, capsys)
    monkeypatch.setenv("WAYMAIL_URL", here)
    assert await sendmail("-q") == Exit.OK
    assert len(peer.messages) == 1
    assert await listed(sendmail, capsys) == "Nothing waits.\n"
    assert await sendmail("-q") == Exit.OK


async def test_only_those_wait_who_may_be_accepted_later(peer: Peer, sendmail: Call, capsys: pytest.CaptureFixture[str]) -> None:
    code = await sendmail("-oeq", "bob@example.net", "later@example.net", "nobody@example.net")
    assert code == Exit.NO_USER
    assert peer.messages[0].rcpt == [b"RCPT TO:<bob@example.net>"]
    waiting = await listed(sendmail, capsys)
    assert "later@example.net" in waiting
    assert "bob" not in waiting
    assert "nobody" not in waiting


async def test_what_may_have_been_taken_or_not_waits(sendmail: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    async with Peer([(END.decode(), DROP)]) as peer:
        monkeypatch.setenv("WAYMAIL_URL", f"smtp://{peer.address}?tls=off")
        assert await sendmail("bob@example.net") == Exit.OK
    async with Peer() as peer:
        monkeypatch.setenv("WAYMAIL_URL", f"smtp://{peer.address}?tls=off")
        assert await sendmail("-q") == Exit.OK
        assert len(peer.messages) == 1


async def test_who_wants_it_queued_gets_it_queued(peer: Peer, sendmail: Call, capsys: pytest.CaptureFixture[str]) -> None:
    assert await sendmail("-odq", "bob@example.net") == Exit.OK
    assert capsys.readouterr() == ("", "")
    assert peer.connections == 0
    assert "bob@example.net" in await listed(sendmail, capsys)


async def test_what_can_be_neither_sent_nor_kept_stays_with_the_caller(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, sendmail: Call, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WAYMAIL_URL", NOWHERE)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    assert await sendmail("bob@example.net") == Exit.TEMPORARY
    assert "neither sent" in capsys.readouterr().err


# As a program of its own


def called(name: Path | str, *arguments: str, input: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([str(name), *arguments], input=input, capture_output=True, check=False, timeout=30)


async def test_by_the_names_of_sendmail_it_is_sendmail(peer: Peer, tmp_path: Path) -> None:
    program = Path(sys.executable).with_name("waymail")
    for name in ("sendmail", "newaliases"):
        (tmp_path / name).symlink_to(program)
    sent = await asyncio.to_thread(called, tmp_path / "sendmail", "-t", "-i", input=MESSAGE.encode())
    assert (sent.returncode, sent.stderr) == (0, b"")
    assert peer.messages[0].rcpt == [b"RCPT TO:<bob@example.net>"]
    made = await asyncio.to_thread(called, tmp_path / "newaliases")
    assert (made.returncode, made.stdout, made.stderr) == (0, b"", b"")


async def test_smtp_is_spoken_by_a_pipe(peer: Peer, tmp_path: Path) -> None:
    bob, nobody = b"RCPT TO:<bob@example.net>\r\n", b"RCPT TO:<nobody@example.net>\r\n"
    first = b"MAIL FROM:<ann@example.org>\r\n" + bob + nobody + b"DATA\r\nSubject: x\r\n\r\nHello\r\n.\r\n"
    second = b"MAIL FROM:<spam@example.org>\r\n" + bob + b"DATA\r\n\r\nx\r\n.\r\n"
    dialogue = b"EHLO me\r\n" + first + second + b"QUIT\r\n"
    command = [sys.executable, "-m", "waymail", "sendmail", "-bs"]
    done = await asyncio.to_thread(called, command[0], *command[1:], input=dialogue)
    replies = done.stdout.decode().splitlines()
    assert replies[-1] == "221 2.0.0 goodbye"
    assert replies[-2] == "550 5.7.1 not you"
    assert done.returncode == 0
    received, notice = peer.messages
    assert received.rcpt == [b"RCPT TO:<bob@example.net>"]
    assert notice.rcpt == [b"RCPT TO:<ann@example.org>"]


def test_it_loads_neither_the_command_lines_library_nor_the_servers() -> None:
    code = "import sys; from waymail.app.cli import main; main(['sendmail', '-bi']); print(*sys.modules, sep='\\n')"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=dict(os.environ), timeout=30
    )
    loaded = set(done.stdout.split())
    assert "waymail.app.cli.sendmail" in loaded
    assert not loaded & {"cyclopts", "pydantic", "waymail.app.config", "waymail.server", "asyncio"}
