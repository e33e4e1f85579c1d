from __future__ import annotations

import errno
import os
import resource
import signal
import stat
from dataclasses import replace
from email import message_from_bytes
from pathlib import Path

import pytest

from waymail.delivery.maildir import MaildirTransport, deferred
from waymail.mail.envelope import Body, Envelope, Recipient
from waymail.mail.outcome import Deferred, Delivered, Failed, Outcome

MESSAGE = b"From: bob@there.example\r\nReturn-Path: <forged@there.example>\r\nSubject: x\r\n\r\nHello\r\n.dot\r\n"


def envelope(*addresses: str, id: str = "0abc", sender: str = "bob@there.example") -> Envelope:
    return Envelope(id, sender, tuple(map(Recipient, addresses)), accepted_at=1_800_000_000.25)


def body(content: bytes | Path = MESSAGE, prefix: bytes = b"") -> Body:
    size = len(content) if isinstance(content, bytes) else content.stat().st_size
    return Body(content, size + len(prefix), prefix)


async def deliver(
    transport: MaildirTransport, *addresses: str, content: Body | None = None, **options: str
) -> dict[str, Outcome]:
    message = envelope(*addresses, **options)
    return await transport.deliver(message, content or body(), message.recipients)


def delivered(maildir: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted((maildir / "new").iterdir())]


@pytest.fixture
def transport(tmp_path: Path) -> MaildirTransport:
    return MaildirTransport(f"{tmp_path}/mail/{{domain}}/{{local}}", "mail.here.example")


async def test_a_message_is_in_new_with_lf_line_ends_and_the_fields_of_final_delivery(
    transport: MaildirTransport, tmp_path: Path
) -> None:
    outcomes = await deliver(transport, "Ann@Here.example")
    assert outcomes == {"Ann@Here.example": Delivered(outcomes["Ann@Here.example"].reply, final=True)}
    assert delivered(tmp_path / "mail/here.example/ann") == [
        b"Return-Path: <bob@there.example>\nDelivered-To: Ann@Here.example\nFrom: bob@there.example\nSubject: x\n\nHello\n.dot\n"
    ]


OCTETS = b"\0\r\n\n\r" + bytes(range(256))
BINARY = (
    b"From: bob@there.example\r\nMIME-Version: 1.0\r\nContent-Type: application/octet-stream\r\n"
    b"Content-Transfer-Encoding: binary\r\n\r\n" + OCTETS
)


async def test_binary_content_survives_the_line_ends_of_a_maildir(transport: MaildirTransport, tmp_path: Path) -> None:
    message = replace(envelope("ann@here.example"), body="BINARYMIME")
    await transport.deliver(message, body(BINARY), message.recipients)
    (kept,) = delivered(tmp_path / "mail/here.example/ann")
    assert b"\r" not in kept
    assert message_from_bytes(kept).get_payload(decode=True) == OCTETS


async def test_signed_binary_content_is_kept_octet_for_octet(transport: MaildirTransport, tmp_path: Path) -> None:
    signed = b"DKIM-Signature: v=1; a=rsa-sha256; d=there.example; s=x; h=from; bh=YWJj; b=YWJj\r\n" + BINARY
    message = replace(envelope("ann@here.example"), body="BINARYMIME")
    await transport.deliver(message, body(signed), message.recipients)
    (kept,) = delivered(tmp_path / "mail/here.example/ann")
    assert kept.endswith(signed)


async def test_a_binary_message_whose_file_is_gone_is_deferred(transport: MaildirTransport, tmp_path: Path) -> None:
    message = replace(envelope("ann@here.example"), body="BINARYMIME")
    outcomes = await transport.deliver(message, Body(tmp_path / "gone", 100), message.recipients)
    assert isinstance(outcomes["ann@here.example"], Deferred)


async def test_a_maildir_is_made_on_first_use_for_its_owner_alone(transport: MaildirTransport, tmp_path: Path) -> None:
    await deliver(transport, "ann@here.example")
    maildir = tmp_path / "mail/here.example/ann"
    assert sorted(path.name for path in maildir.iterdir()) == ["cur", "new", "tmp"]
    for directory in (tmp_path / "mail", maildir.parent, maildir, maildir / "new"):
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    (message,) = (maildir / "new").iterdir()
    assert stat.S_IMODE(message.stat().st_mode) == 0o600
    assert list((maildir / "tmp").iterdir()) == []


async def test_the_file_name_is_made_of_time_queue_id_and_host(tmp_path: Path) -> None:
    await deliver(MaildirTransport(tmp_path / "{local}", "odd/host:1"), "ann@here.example")
    (message,) = (tmp_path / "ann/new").iterdir()
    time, middle, host = message.name.split(".", 2)
    assert time == "1800000000"
    assert middle.startswith("Q0abcR")
    assert host.startswith(r"odd\057host\0721,S=")


async def test_each_recipient_gets_a_copy_and_an_outcome_of_its_own(transport: MaildirTransport, tmp_path: Path) -> None:
    outcomes = await deliver(transport, "ann@here.example", "../bob@here.example", "carol@here.example")
    assert [type(outcome) for outcome in outcomes.values()] == [Delivered, Failed, Delivered]
    assert b"Delivered-To: ann@here.example\n" in delivered(tmp_path / "mail/here.example/ann")[0]
    assert b"Delivered-To: carol@here.example\n" in delivered(tmp_path / "mail/here.example/carol")[0]


async def test_a_repeated_delivery_is_recognised_while_the_first_is_in_new(transport: MaildirTransport, tmp_path: Path) -> None:
    maildir = tmp_path / "mail/here.example/ann"
    await deliver(transport, "ann@here.example")
    again = await deliver(transport, "ann@here.example")
    assert isinstance(again["ann@here.example"], Delivered)
    assert len(delivered(maildir)) == 1
    await deliver(transport, "ann@here.example", id="0abd")
    assert len(delivered(maildir)) == 2


async def test_two_recipients_with_one_maildir_get_two_copies(transport: MaildirTransport, tmp_path: Path) -> None:
    await deliver(transport, "ann@here.example", "ANN@here.example")
    assert len(delivered(tmp_path / "mail/here.example/ann")) == 2


async def test_what_an_interrupted_delivery_left_in_tmp_stops_nothing(transport: MaildirTransport, tmp_path: Path) -> None:
    maildir = tmp_path / "mail/here.example/ann"
    await deliver(transport, "ann@here.example")
    (message,) = (maildir / "new").iterdir()
    message.rename(maildir / "tmp" / message.name)
    await deliver(transport, "ann@here.example")
    assert len(delivered(maildir)) == 1


@pytest.mark.parametrize("length", [1, 65_534, 65_535, 65_536, 65_537, 200_000])
async def test_crlf_is_made_lf_wherever_chunks_are_cut(transport: MaildirTransport, tmp_path: Path, length: int) -> None:
    text = b"Subject: x\r\n\r\n" + b"a" * length + b"\r\n" + b"\r\n" * 40_000 + b"end\r\n"
    (tmp_path / "body").write_bytes(text)
    await deliver(transport, "ann@here.example", content=body(tmp_path / "body", prefix=b"Received: from x\r\n"))
    fields = b"Return-Path: <bob@there.example>\nDelivered-To: ann@here.example\nReceived: from x\n"
    assert delivered(tmp_path / "mail/here.example/ann") == [fields + text.replace(b"\r\n", b"\n")]


@pytest.mark.parametrize("ending", [b"", b"no line end", b"bare\rreturn\r", b"\r"])
async def test_every_other_octet_is_kept(transport: MaildirTransport, tmp_path: Path, ending: bytes) -> None:
    await deliver(transport, "ann@here.example", content=body(b"Subject: x\r\n\r\n" + ending))
    assert delivered(tmp_path / "mail/here.example/ann")[0].endswith(b"Subject: x\n\n" + ending)


async def test_a_return_path_is_removed_also_where_the_body_is_a_file(transport: MaildirTransport, tmp_path: Path) -> None:
    (tmp_path / "body").write_bytes(MESSAGE)
    await deliver(transport, "ann@here.example", content=body(tmp_path / "body", prefix=b"Received: x\r\n"))
    (text,) = delivered(tmp_path / "mail/here.example/ann")
    assert text.count(b"Return-Path:") == 1
    assert text.startswith(b"Return-Path: <bob@there.example>\n")


async def test_the_null_reverse_path_is_written_as_such(transport: MaildirTransport, tmp_path: Path) -> None:
    await deliver(transport, "ann@here.example", sender="")
    assert delivered(tmp_path / "mail/here.example/ann")[0].startswith(b"Return-Path: <>\n")


@pytest.mark.parametrize(
    "address",
    [
        "../../etc/cron.d@here.example",
        "a/b@here.example",
        '"../x"@here.example',
        '"\\../x"@here.example',
        '"."@here.example',
        "..@here.example",
        ".ssh@here.example",
        "/etc@here.example",
        "a\0b@here.example",
        "a\nb@here.example",
        '""@here.example',
        "@here.example",
        "ann@..",
        "ann@",
        "ann",
        "ann@../../x",
        "x" * 256 + "@here.example",
        "é" * 200 + "@here.example",
    ],
)
async def test_an_address_that_leads_out_of_its_place_fails_and_leaves_nothing(
    transport: MaildirTransport, tmp_path: Path, address: str
) -> None:
    outcome = (await deliver(transport, address))[address]
    assert isinstance(outcome, Failed)
    assert (outcome.reply.code, outcome.reply.enhanced) == (550, "5.1.3")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("address", "path"),
    [
        ('"Ann"@here.example', "here.example/ann"),
        ('"a b"@here.example', "here.example/a b"),
        ("ann+tag@here.example", "here.example/ann+tag"),
        ("{domain}@here.example", "here.example/{domain}"),
        ("ann@[192.0.2.1]", "[192.0.2.1]/ann"),
    ],
)
def test_an_address_has_its_path(transport: MaildirTransport, tmp_path: Path, address: str, path: str) -> None:
    assert transport.maildir(Recipient(address)) == tmp_path / "mail" / path


def test_a_template_with_an_unknown_placeholder_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\{user\} means nothing here"):
        MaildirTransport("/srv/{user}", "mail.here.example")


async def test_a_mailbox_that_cannot_be_written_defers_with_the_cause_kept_private(
    transport: MaildirTransport, tmp_path: Path
) -> None:
    (tmp_path / "mail").write_text("in the way")
    outcome = (await deliver(transport, "ann@here.example"))["ann@here.example"]
    assert isinstance(outcome, Deferred)
    assert (outcome.reply.code, outcome.reply.enhanced) == (451, "4.3.0")
    assert str(tmp_path) in outcome.cause
    assert str(tmp_path) not in outcome.reply.text


async def test_a_write_that_is_refused_midway_defers_and_leaves_nothing_behind(tmp_path: Path) -> None:
    # A limit on the size of files stands for a full disk.
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    content = body(b"Subject: x\r\n\r\n" + b"x" * 100_000)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, before[1]))
    try:
        outcome = (await deliver(MaildirTransport(tmp_path, "mail.here.example"), "ann@here.example", content=content))[
            "ann@here.example"
        ]
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert isinstance(outcome, Deferred)
    assert list((tmp_path / "tmp").iterdir()) == list((tmp_path / "new").iterdir()) == []


@pytest.mark.parametrize(("number", "status"), [(errno.ENOSPC, "4.3.1"), (errno.EDQUOT, "4.2.2"), (errno.EIO, "4.3.0")])
def test_what_stopped_the_write_decides_on_the_status(number: int, status: str) -> None:
    outcome = deferred(OSError(number, os.strerror(number)))
    assert (outcome.reply.enhanced, outcome.reply.is_transient) == (status, True)
    assert os.strerror(number) in outcome.cause


async def test_a_body_that_is_gone_defers_and_leaves_nothing_behind(transport: MaildirTransport, tmp_path: Path) -> None:
    outcome = (await deliver(transport, "ann@here.example", content=Body(tmp_path / "gone", 10)))["ann@here.example"]
    assert isinstance(outcome, Deferred)
    assert not [name for _, _, names in os.walk(tmp_path) for name in names]
