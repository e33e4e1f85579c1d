"""What the queue tells senders. How a notice reads is `tests/mail/test_dsn.py`'s affair."""

from __future__ import annotations

from email import message_from_bytes
from email.policy import SMTP
from pathlib import Path
from typing import Literal

import pytest

from waymail.mail.envelope import Body, Envelope, QueueIds, Recipient, decode_id
from waymail.queue.bounce import NoticeWriter
from waymail.queue.settle import Report
from waymail.store.contract import NewMessage, Pending
from waymail.wire.replies import Reply

NOW = 1_800_000_000.0
ASCII = b"Subject: x\r\n\r\nhello\r\n"
BOB = Report(Pending(0, Recipient("bob@there.example"), 1), Reply(550, "no such user", "5.1.1"))


def notice(
    sender: str = "ann@example.org",
    *reports: Report,
    content: bytes = ASCII,
    action: Literal["failed", "delayed"] = "failed",
    body: Body | None = None,
) -> NewMessage | None:
    envelope = Envelope("0123456789abc", sender, tuple(report.pending.recipient for report in reports), NOW - 60)
    writer = NoticeWriter("mail.example.org", QueueIds(1).next)
    return writer.write(action, envelope, body or Body(content, len(content)), reports, now=NOW, retry_until=NOW + 3600)


def octets(message: NewMessage | None) -> bytes:
    assert message is not None
    return b"".join(message.body.chunks())


@pytest.mark.parametrize("action", ["failed", "delayed"])
def test_the_null_sender_is_told_nothing(action: Literal["failed", "delayed"]) -> None:
    assert notice("", BOB, action=action) is None


def test_without_anybody_to_report_there_is_no_notice() -> None:
    assert notice("ann@example.org") is None


@pytest.mark.parametrize("action", ["failed", "delayed"])
def test_a_notice_goes_from_the_null_path_to_the_sender(action: Literal["failed", "delayed"]) -> None:
    message = notice("Ann@Example.org", BOB, action=action)
    assert message is not None
    assert message.claim, "it is attempted at once"
    envelope = message.envelope
    assert (envelope.sender, envelope.recipients) == ("", (Recipient("Ann@Example.org"),))
    assert (envelope.accepted_at, envelope.origin.protocol) == (NOW, "notice")
    assert f"Action: {action}\r\n".encode() in octets(message)
    assert b"Final-Recipient: rfc822; bob@there.example\r\n" in octets(message)


def test_the_queue_id_the_message_id_and_the_field_agree() -> None:
    message = notice("ann@example.org", BOB)
    assert message is not None
    envelope = message.envelope
    assert decode_id(envelope.id) is not None
    assert envelope.message_id == f"<{envelope.id}@mail.example.org>"
    assert message_from_bytes(octets(message), policy=SMTP)["Message-ID"] == envelope.message_id


def test_each_notice_has_an_id_and_a_boundary_of_its_own() -> None:
    writer = NoticeWriter("mail.example.org", QueueIds(1).next)
    envelope = Envelope("0123456789abc", "ann@example.org", (BOB.pending.recipient,), NOW)
    made = [writer.write("failed", envelope, Body(ASCII, len(ASCII)), [BOB], now=NOW) for _ in range(2)]
    first, second = made
    assert first is not None
    assert second is not None
    assert first.envelope.id != second.envelope.id
    boundaries = {message_from_bytes(octets(one), policy=SMTP).get_boundary() for one in made}
    assert len(boundaries) == 2


def test_an_8_bit_original_makes_the_notice_8bitmime() -> None:
    message = notice("ann@example.org", BOB, content="Subject: x\r\n\r\ngrüße\r\n".encode())
    assert message is not None
    assert message.envelope.body == "8BITMIME"
    assert "grüße".encode() in octets(message)


def test_an_ascii_original_leaves_it_7bit() -> None:
    message = notice("ann@example.org", BOB)
    assert message is not None
    assert message.envelope.body == "7BIT"
    assert octets(message).isascii()


def test_an_8_bit_original_of_which_only_the_header_comes_back_leaves_it_7bit() -> None:
    message = notice("ann@example.org", BOB, content=b"Subject: x\r\n\r\n" + "grüße\r\n".encode() * 10_000)
    assert message is not None
    assert message.envelope.body == "7BIT"
    assert octets(message).isascii()


def test_what_a_peer_said_with_8_bits_does_not_make_it_8bitmime() -> None:
    rude = Report(BOB.pending, Reply(550, "nö, niemals", "5.7.1"))
    message = notice("ann@example.org", rude)
    assert message is not None
    assert message.envelope.body == "7BIT"
    assert octets(message).isascii()


def test_the_size_is_that_of_the_octets() -> None:
    message = notice("ann@example.org", BOB)
    assert message is not None
    assert message.body.size == len(octets(message))


def test_a_sender_is_told_also_where_the_body_s_file_is_gone(tmp_path: Path) -> None:
    message = notice("ann@example.org", BOB, body=Body(tmp_path / "gone", 100_000))
    assert b"Final-Recipient: rfc822; bob@there.example\r\n" in octets(message)


def test_all_who_failed_stand_in_one_notice() -> None:
    carl = Report(Pending(1, Recipient("carl@there.example"), 1), Reply(552, "full", "5.2.2"))
    content = octets(notice("ann@example.org", BOB, carl))
    assert content.count(b"Final-Recipient: ") == 2
    assert b"\r\nStatus: 5.1.1\r\n" in content
    assert b"\r\nStatus: 5.2.2\r\n" in content
