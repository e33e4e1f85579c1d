"""What the queue tells senders. How a notice reads is `tests/mail/test_dsn.py`'s affair."""

from __future__ import annotations

from email import message_from_bytes
from email.policy import SMTP
from pathlib import Path
from typing import Any, Literal

import pytest

from waymail.mail.envelope import NO_OPTIONS, Body, Envelope, Options, Origin, QueueIds, Recipient, decode_id
from waymail.mail.needs import needs
from waymail.queue.bounce import NO_SUCH_SENDER, NOT_ASKED, NULL_SENDER, NoticeWriter
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


# --- where there is no sender to tell ---


def tell(
    writer: NoticeWriter, envelope: Envelope, content: bytes = ASCII, reply: Reply = BOB.reply, body: Body | None = None
) -> tuple[list[dict[str, object]], list[NewMessage]]:
    """What is written down, and told, of a message whose recipients all failed."""
    reports = [Report(Pending(number, one, 1), reply) for number, one in enumerate(envelope.recipients)]
    events, notices = writer.tell(
        envelope, body or Body(content, len(content)), {"failed": reports}, now=NOW, retry_until=NOW + 3600
    )
    assert [event.kind for event in events] == ["bounced"]
    return [dict(event.detail) for event in events], list(notices)


def null(*recipients: Recipient, protocol: str = "ESMTP", options: Options = NO_OPTIONS) -> Envelope:
    people = recipients or (BOB.pending.recipient,)
    return Envelope("0123456789abc", "", people, NOW, origin=Origin(protocol=protocol), options=options, message_id="<1@x>")


def writer(**more: Any) -> NoticeWriter:
    return NoticeWriter("mail.example.org", QueueIds(1).next, **more)


POSTMASTER = "postmaster@example.org"


def test_a_failed_message_without_a_sender_is_dropped_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    events, notices = tell(writer(), null())
    assert (events, notices) == ([{"to": ["bob@there.example"], "why": NULL_SENDER}], [])
    [record] = caplog.records
    assert (record.levelname, record.message) == ("WARNING", "a message from the null sender failed, and nobody is told")


def test_a_double_bounce_is_told_where_somebody_wants_to_know(caplog: pytest.LogCaptureFixture) -> None:
    events, [told] = tell(writer(double_bounce=POSTMASTER), null(protocol="notice"))
    envelope = told.envelope
    assert events == [
        {"to": ["bob@there.example"], "why": f"the message is from the null sender: {POSTMASTER} is told, by {envelope.id}"}
    ]
    assert (envelope.sender, envelope.recipients) == ("", (Recipient(POSTMASTER),))
    assert envelope.origin.protocol == "double-bounce"
    report = message_from_bytes(octets(told), policy=SMTP.clone(raise_on_defect=True))
    assert (report["To"], report["Auto-Submitted"]) == (POSTMASTER, "auto-generated")
    assert octets(told).count(ASCII) == 1, "what failed is in it"
    assert not caplog.records


def test_what_tells_of_a_double_bounce_causes_no_other_one_wherever_it_fails(caplog: pytest.LogCaptureFixture) -> None:
    it = writer(double_bounce=POSTMASTER)
    _, [told] = tell(it, null())
    came_back = b"Received: from there.example\r\n" + octets(told)
    for envelope, content in (
        (null(protocol=told.envelope.origin.protocol), ASCII),
        (null(), came_back),  # over another server, which forwards it to a mailbox here
        (null(Recipient(POSTMASTER)), ASCII),
        (null(Recipient("ann@example.org", POSTMASTER)), ASCII),
    ):
        events, notices = tell(it, envelope, content)
        assert notices == []
        assert events[0]["why"] == NULL_SENDER
    assert len(caplog.records) == 4


def test_a_double_bounce_is_told_also_where_the_body_s_file_is_gone(tmp_path: Path) -> None:
    _, [told] = tell(writer(double_bounce=POSTMASTER), null(), body=Body(tmp_path / "gone", 100))
    assert b"Final-Recipient: rfc822; bob@there.example\r\n" in octets(told)


def test_of_a_double_bounce_that_nobody_wants_to_hear_of_nobody_does() -> None:
    events, notices = tell(writer(double_bounce=POSTMASTER), null(Recipient("bob@there.example", notify="NEVER")))
    assert (events[0]["why"], notices) == (NOT_ASKED, [])


def test_that_a_message_without_a_sender_is_late_is_told_to_nobody() -> None:
    it = writer(double_bounce=POSTMASTER)
    events, notices = it.tell(null(), Body(ASCII, len(ASCII)), {"delayed": [BOB]}, now=NOW, retry_until=NOW)
    assert ([event.kind for event in events], notices) == (["delayed"], ())


# --- where a notice goes ---


def test_a_notice_goes_where_the_alias_of_the_sender_leads() -> None:
    people = (Recipient("ann@example.org", "sales@example.org"), Recipient("bob@example.org", "sales@example.org"))
    envelope = Envelope("0123456789abc", "sales@example.org", (BOB.pending.recipient,), NOW)
    _, [told] = tell(writer(resolve=lambda address: people), envelope)
    assert told.envelope.recipients == people
    assert message_from_bytes(octets(told), policy=SMTP)["To"] == "sales@example.org"


def test_a_sender_who_does_not_exist_here_is_not_told_and_that_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    envelope = Envelope("0123456789abc", "ghost@example.org", (BOB.pending.recipient,), NOW)
    events, notices = tell(writer(resolve=lambda address: ()), envelope)
    assert (events, notices) == ([{"to": ["bob@there.example"], "why": NO_SUCH_SENDER}], [])
    assert [record.levelname for record in caplog.records] == ["WARNING"]


# --- notices beyond ASCII ---

JOERG = Recipient("jörg@there.example")
LACKS_UTF8 = Reply(554, "header fields beyond ASCII need SMTPUTF8, which the next host does not offer", "5.6.9")


def international(sender: str, it: NoticeWriter | None = None) -> NewMessage:
    envelope = Envelope("0123456789abc", sender, (JOERG,), NOW, options=Options(smtputf8=True, priority=3))
    _, [told] = tell(it or writer(), envelope, "Subject: grüße\r\n\r\nhallo\r\n".encode())
    assert told.envelope.options.smtputf8
    return told


@pytest.mark.parametrize(
    ("sender", "spelled"), [("ann@example.org", "ann@example.org"), ("ann@bücher.example", "ann@xn--bcher-kva.example")]
)
@pytest.mark.parametrize("status", ["5.6.7", "5.6.9"])
def test_a_notice_that_cannot_go_by_smtputf8_goes_again_in_ascii(sender: str, spelled: str, status: str) -> None:
    it = writer(double_bounce=POSTMASTER)
    first = international(sender, it)
    events, [again] = tell(it, first.envelope, octets(first), Reply(550, "no", status))
    envelope = again.envelope
    assert envelope.id in str(events[0]["why"])
    assert (envelope.sender, envelope.recipients, envelope.body) == ("", (Recipient(spelled),), "7BIT")
    assert (envelope.options, envelope.origin.protocol) == (Options(priority=3), "notice")
    assert envelope.id != first.envelope.id
    assert envelope.message_id == first.envelope.message_id
    assert octets(again).isascii()
    _, notices = tell(writer(), envelope, octets(again), Reply(550, "no", status))
    assert notices == [], "once is enough"


@pytest.mark.parametrize(
    ("sender", "reply"), [("äni@example.org", LACKS_UTF8), ("ann@example.org", Reply(550, "no such user", "5.1.1"))]
)
def test_where_ascii_does_not_help_the_notice_has_failed(sender: str, reply: Reply) -> None:
    first = international(sender)
    events, notices = tell(writer(), first.envelope, octets(first), reply)
    assert (events[0]["why"], notices) == (NULL_SENDER, [])


def test_a_double_bounce_needs_no_smtputf8() -> None:
    first = international("äni@example.org")
    _, [told] = tell(writer(double_bounce=POSTMASTER), first.envelope, octets(first), LACKS_UTF8)
    assert told.envelope.options == Options(priority=3)
    assert needs([octets(told)]).utf8_headers is False


def test_somebody_else_s_message_is_never_written_again() -> None:
    first = international("ann@example.org")
    _, notices = tell(writer(), null(Recipient("ann@example.org"), options=Options(smtputf8=True)), octets(first), LACKS_UTF8)
    assert notices == []
