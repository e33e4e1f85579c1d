"""Messages with something in them that some program takes for their end: no second message comes of it, anywhere."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from tests.hostile.lenient import LenientReceiver, Seen
from tests.hostile.target import TRUSTED, Target
from tests.server.real_sockets import Client, code

import waymail
from waymail.client.errors import SMTPError

SUITE = json.loads((Path(__file__).parents[1] / "suites" / "smtp" / "end-of-data.json").read_text())
ENDS = {entry["name"]: bytes.fromhex(entry["hex"]) for entry in SUITE}
ENDS["crlf.crlf"] = b"\r\n.\r\n"  # the true one, which in BDAT is content
SMUGGLED = (
    b"MAIL FROM:<evil@bank.example>\r\nRCPT TO:<victim@example.net>\r\nDATA\r\nSubject: smuggled\r\n\r\nPay!\r\n.\r\nQUIT\r\n"
)
NUMBERS = count()


def marked() -> bytes:
    return b"marker-%d-end" % next(NUMBERS)


def message(marker: bytes, end: bytes) -> bytes:
    return b"Subject: %b\r\n\r\nfirst%b%b" % (marker, end, SMUGGLED)


class Sender:
    """Who may relay sends a message to somebody at `domain`; a new session for each, for they end badly."""

    def __init__(self, target: Target, domain: str, listener: str = "mx") -> None:
        self.client = target.greeted(listener, TRUSTED)
        self.target, self.domain = target, domain

    def envelope(self, parameters: str = "", sender: str = "x@client.example") -> None:
        said = self.client.say(f"MAIL FROM:<{sender}>{parameters}", f"RCPT TO:<bob@{self.domain}>")
        assert said == ["250 2.1.0", "250 2.1.5"]

    def data(self, content: bytes) -> list[str]:
        assert self.client.say("DATA") == ["354"]
        self.client.socket.sendall(content + b"\r\n.\r\n")
        return self.rest()

    def chunks(self, *chunks: bytes) -> str:
        for chunk in chunks:
            last = b" LAST" if chunk is chunks[-1] else b""
            self.client.socket.sendall(b"BDAT %d%b\r\n%b" % (len(chunk), last, chunk))
        said = [code(self.client.reply()) for _ in chunks]
        return next((one for one in said if one != "250 2.0.0"), said[-1])

    def rest(self) -> list[str]:
        """All further replies, until it closes."""
        self.client.socket.sendall(b"QUIT\r\n")
        return [code(reply) for reply in iter(self.client.reply, [])]


@pytest.fixture(autouse=True)
def nothing_smuggled(
    target: Target, plain: LenientReceiver, chunking: LenientReceiver, eight_bit: LenientReceiver
) -> Iterator[None]:
    receivers = (plain, chunking, eight_bit)
    before = [(len(one.messages), len(one.unknown)) for one in receivers]
    yield
    target.serves()
    for receiver, (messages, unknown) in zip(receivers, before, strict=True):
        assert [one.mail for one in receiver.messages[messages:] if b"evil@" in one.mail or not _is_whole(one)] == []
        assert receiver.unknown[unknown:] == []


def _is_whole(one: Seen) -> bool:
    return b"\nReceived: " in b"\n" + one.content or b"client-api" in one.content


@pytest.mark.parametrize("name", [name for name in ENDS if name != "crlf.crlf"])
@pytest.mark.parametrize("listener", ["mx", "normalising"])
def test_no_other_end_of_data_makes_two_messages_of_one(target: Target, plain: LenientReceiver, name: str, listener: str) -> None:
    """Cut into segments in different places."""
    for cut in range(3):
        smuggle_by_data(target, plain, ENDS[name], listener, cut)


def smuggle_by_data(target: Target, plain: LenientReceiver, end: bytes, listener: str, cut: int) -> None:
    marker = marked()
    sender = Sender(target, "plain.example", listener)
    sender.envelope(" BODY=8BITMIME")
    assert sender.client.say("DATA") == ["354"]
    content = message(marker, end)
    at = content.index(end) + cut
    sender.client.socket.sendall(content[:at])
    sender.client.socket.sendall(content[at:] + b"\r\n.\r\n")
    said = sender.rest()
    # One reply to the content; the smuggled commands are content, or the session ends where who ended it is disputed.
    assert said[0] in ("250 2.0.0", "550 5.6.11", "554 5.6.3"), said
    assert len([one for one in said if one.startswith(("250", "354"))]) <= 1
    if said[0] == "250 2.0.0":
        (one,) = plain.wait_for(marker)
        assert one.mail.startswith(b"MAIL FROM:<x@client.example>")


@pytest.mark.parametrize("name", ENDS)
def test_what_looks_like_an_end_in_bdat_is_content_or_refused(target: Target, plain: LenientReceiver, name: str) -> None:
    for chunks in (1, 2, 3):
        smuggle_by_bdat(target, plain, ENDS[name], chunks)


def smuggle_by_bdat(target: Target, plain: LenientReceiver, end: bytes, chunks: int) -> None:
    marker = marked()
    content = message(marker, end)
    at = content.index(end) + 1
    parts = {1: [content], 2: [content[:at], content[at:]], 3: [content[:at], b"", content[at:]]}[chunks]
    sender = Sender(target, "plain.example")
    sender.envelope("" if end.isascii() else " BODY=8BITMIME")
    said = sender.chunks(*parts)
    has_bare = b"\r" in (left := end.replace(b"\r\n", b"")) or b"\n" in left
    assert said == ("550 5.6.11" if has_bare else "250 2.0.0")
    assert sender.rest()[-1] == "221 2.0.0"
    if said == "250 2.0.0":
        (one,) = plain.wait_for(marker)
        assert b"smuggled" in one.content or b"base64" in one.content or b"=" in one.content


@pytest.mark.parametrize("domain", ["plain.example", "eight.example", "chunking.example"])
@pytest.mark.parametrize("name", ENDS)
def test_binary_content_goes_on_as_one_message_whatever_the_next_host_takes(
    target: Target, plain: LenientReceiver, eight_bit: LenientReceiver, chunking: LenientReceiver, domain: str, name: str
) -> None:
    marker = marked()
    receiver = {"plain.example": plain, "eight.example": eight_bit, "chunking.example": chunking}[domain]
    sender = Sender(target, domain)
    sender.envelope(" BODY=BINARYMIME")
    body = b"first%b%b" % (ENDS[name], SMUGGLED)
    head = b"Subject: %b\r\nMIME-Version: 1.0\r\nContent-Type: application/octet-stream\r\n" % marker
    assert sender.chunks(head + b"Content-Transfer-Encoding: binary\r\n\r\n" + body) == "250 2.0.0"
    (one,) = receiver.wait_for(marker)
    assert body in one.content or domain != "chunking.example"


def test_bdat_and_then_data_do_not_mix(target: Target) -> None:
    sender = Sender(target, "plain.example")
    sender.envelope()
    sender.client.socket.sendall(b"BDAT 5\r\nfirstDATA\r\nRSET\r\nQUIT\r\n")
    said = [code(reply)[:3] for reply in iter(sender.client.reply, [])]
    assert said == ["250", "503", "250", "221"]


def test_a_bdat_that_nobody_can_count_ends_the_session(target: Target) -> None:
    for size in ("-1", "5x", "0x10", "+5", "99999999999999999999", "5 LAST x", "", "5,5"):
        sender = Sender(target, "plain.example")
        sender.envelope()
        sender.client.socket.sendall(b"BDAT %b\r\n%b" % (size.encode(), SMUGGLED))
        assert [code(reply)[:3] for reply in iter(sender.client.reply, [])] == ["501"], size


def test_a_refused_chunk_is_never_taken_for_commands(target: Target, plain: LenientReceiver) -> None:
    client = target.greeted(source="127.0.0.8")
    client.socket.sendall(b"BDAT %d LAST\r\n%bNOOP\r\n" % (len(SMUGGLED), SMUGGLED))
    assert [code(client.reply())[:3] for _ in range(2)] == ["503", "250"]
    client.close()


@pytest.mark.parametrize("name", ["lf.lf", "cr.cr", "crlf.crlf", "nul-before"])
def test_a_notice_with_a_hostile_original_is_one_message(target: Target, plain: LenientReceiver, name: str) -> None:
    marker = marked()
    sender = Sender(target, "plain.example")
    said = sender.client.say(
        f"MAIL FROM:<{marker.decode()}@plain.example> BODY=BINARYMIME RET=FULL", "RCPT TO:<refused@plain.example>"
    )
    assert said == ["250 2.1.0", "250 2.1.5"]
    assert sender.chunks(message(marker, ENDS[name])) == "250 2.0.0"
    (notice,) = [one for one in plain.wait_for(marker) if one.mail.startswith(b"MAIL FROM:<>")]
    assert notice.rcpt == [b"RCPT TO:<%b@plain.example>" % marker]


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("name", ENDS)
async def test_a_program_that_sends_hostile_content_sends_one_message(plain: LenientReceiver, name: str, binary: bool) -> None:
    marker = marked()
    content = b"X: client-api\r\n" + message(marker, ENDS[name])
    reply = ""
    try:
        await waymail.send(
            content,
            f"smtp://127.0.0.1:{plain.port}?tls=off",
            sender="x@client.example",
            recipients="bob@plain.example",
            binary=binary,
        )
    except SMTPError as error:
        reply = str(error)
    assert "5.6" in reply or len(plain.wait_for(marker)) == 1


def test_a_message_by_lmtp_in_bdat_is_one_message(target: Target) -> None:
    client = Client(f"unix:{target.process.directory}/lmtp.sock")
    client.reply()
    assert client.say("LHLO x", "MAIL FROM:<x@client.example>", "RCPT TO:<bob@example.org>")[2] == "250 2.1.5"
    content = message(marked(), b"\r\n.\r\n")
    client.socket.sendall(b"BDAT %d LAST\r\n%bQUIT\r\n" % (len(content), content))
    assert [code(reply)[:3] for reply in iter(client.reply, [])] == ["250", "221"]


def test_the_log_tells_of_a_message_with_bare_line_ends(target: Target) -> None:
    client = target.greeted(source="127.0.0.9")
    client.say("MAIL FROM:<smuggler@client.example>", "RCPT TO:<ann@example.org>", "DATA")
    client.socket.sendall(b"Subject: x\n.\nMAIL FROM:<evil@bank.example>\r\n.\r\n")
    assert code(client.reply()) == "550 5.6.11"
    target.logged("a message was refused", "peer=127.0.0.9", "smuggler@client.example", "CR or LF outside of a CRLF")
    client.close()
