"""What a person reads in a notice."""

from __future__ import annotations

import random

import pytest

from waymail.mail.envelope import Envelope, Recipient
from waymail.mail.explanation import Action, ReportedRecipient, explanation
from waymail.mail.outcome import Deferred, Peer
from waymail.queue.retry import Schedule
from waymail.queue.settle import decide
from waymail.store.contract import Pending
from waymail.wire.replies import Reply

NOW = 1_800_000_000.0
ANN = Recipient("ann@example.net")
PEER = Peer("mx.example.net", "192.0.2.1")


def reported(reply: Reply, peer: Peer | None = PEER, recipient: Recipient = ANN) -> ReportedRecipient:
    return ReportedRecipient(recipient, reply, peer, NOW)


def text(
    *recipients: ReportedRecipient, action: Action = "failed", section: bytes = b"", of: int = 1, until: float | None = None
) -> str:
    envelope = Envelope("0123456789abc", "bob@example.org", tuple(Recipient(f"{n}@example.net") for n in range(of)), NOW)
    return explanation(action, "mail.example.org", envelope, section, recipients, until)


def flat(words: str) -> str:
    return " ".join(words.split())


REFUSED = Reply(550, "No such user here", "5.1.1")
BUSY = Reply(451, "Busy", "4.3.2")
EXPIRED = Reply(554, "not delivered within 5 days; the last reply was: 451 4.3.2 Busy", "5.4.7")


def test_it_says_who_refused_whom_with_which_words() -> None:
    assert "  ann@example.net\n    mx.example.net [192.0.2.1] said:\n        550 5.1.1 No such user here\n" in text(
        reported(REFUSED)
    )


def test_it_says_when_this_server_found_the_trouble_itself() -> None:
    assert "    mail.example.org (this server) says:\n        451 4.3.2 Busy\n" in text(reported(BUSY, None))


def test_it_names_the_message_by_subject_time_and_queue_id() -> None:
    section = b"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n =?utf-8?q?_an_alle?=\r\n"
    assert "    Subject:   Grüße an alle\n    Accepted:  Fri, 15 Jan 2027 08:00:00 +0000\n    Queue id:  0123456789abc\n" in text(
        reported(REFUSED), section=section
    )


@pytest.mark.parametrize(
    ("subject", "shown"),
    [
        (b"=?nonsense?q?x?=", "=?nonsense?q?x?="),
        (b"=?utf-8?b?a?=", "=?utf-8?b?a?="),
        (b"caf\xe9", "caf\ufffd"),
        (b"x" * 999, "x" * 100),
    ],
)
def test_a_subject_that_cannot_be_decoded_stands_as_it_is(subject: bytes, shown: str) -> None:
    assert f"Subject:   {shown}\n" in text(reported(REFUSED), section=b"Subject: " + subject + b"\r\n")


def test_no_subject_is_no_line() -> None:
    assert "Subject:" not in text(reported(REFUSED))


def test_a_refusal_is_final() -> None:
    assert "and will not be tried again." in flat(text(reported(REFUSED)))


def test_a_message_that_was_given_up_was_tried_again_and_again() -> None:
    words = flat(text(reported(EXPIRED), reported(EXPIRED, None), of=3))
    assert "tried again and again since Fri, 15 Jan 2027 08:00:00 +0000, and will not be tried any more." in words
    assert "says nothing of the other recipients" in words


def test_a_refusal_beside_an_expiry_is_not_told_as_tried_again_and_again() -> None:
    assert "again and again" not in flat(text(reported(EXPIRED), reported(REFUSED), of=2))


def test_that_the_time_is_up_is_said_by_this_server_and_not_by_the_last_host() -> None:
    words = text(reported(EXPIRED))
    assert "    mail.example.org (this server) says:\n        554 5.4.7 not delivered within 5 days; " in words
    assert "    The last attempt went to mx.example.net [192.0.2.1].\n    The time for which this server tries is over." in words
    assert "said:" not in words
    assert "last attempt went" not in text(reported(EXPIRED, None))


def test_what_the_queue_says_of_an_expired_recipient_is_told_as_expired() -> None:
    schedule = Schedule((60.0,), 86_400.0 * 5, None)
    outcomes = {"ann@example.net": Deferred(BUSY, PEER)}
    pending = [Pending(0, ANN, 9, False)]
    envelope = Envelope("0123456789abc", "bob@example.org", (ANN,), NOW)
    decision = decide(pending, outcomes, envelope=envelope, now=NOW + schedule.expire, schedule=schedule, rng=random.Random(1))
    [report] = decision.failed
    words = flat(text(ReportedRecipient(report.pending.recipient, report.reply, report.peer, NOW)))
    assert "tried again and again since" in words
    assert "not delivered within 5 days; the last reply was: 451 4.3.2 Busy" in words


def test_a_delay_asks_for_nothing() -> None:
    words = flat(text(reported(BUSY), action="delayed", until=NOW + 86400))
    assert "You need not send it again: delivery will be tried until Sat, 16 Jan 2027 08:00:00 +0000" in words
    assert "tried until" not in flat(text(reported(BUSY), action="delayed"))


def test_it_says_so_where_other_recipients_are_not_reported() -> None:
    assert "says nothing of the other recipients" in flat(text(reported(REFUSED), of=2))
    assert "other recipients" not in text(reported(REFUSED))


def test_an_alias_is_named_beside_its_target() -> None:
    words = text(reported(REFUSED, recipient=Recipient("carol@example.com", "sales@example.org")))
    assert "  carol@example.com\n  (to which sales@example.org leads)\n" in words


@pytest.mark.parametrize(
    ("status", "advice"),
    [
        ("5.1.1", "typing mistake"),
        ("5.1.10", "The domain takes no mail"),
        ("5.2.2", "mailbox is full"),
        ("5.2.3", "too big"),
        ("5.3.4", "too big"),
        ("4.4.1", "could not be reached"),
        ("5.4.7", "The time for which this server tries is over"),
        ("5.7.26", "by its rules"),
        ("5.0.0", "all that is known"),
    ],
)
def test_the_advice_fits_the_status(status: str, advice: str) -> None:
    assert advice in flat(text(reported(Reply(int(status[0]) * 100 + 50, "no", status))))


def test_a_link_stays_in_one_piece() -> None:
    link = "https://support.example.com/" + "a-b-" * 50
    assert f"        {link}\n" in text(reported(Reply(550, f"see {link} now", "5.7.1")))


def test_each_line_of_a_reply_is_a_line_of_its_own_and_a_long_one_is_cut() -> None:
    assert "        550 5.7.1 one\n        two\n" in text(reported(Reply(550, "one\ntwo", "5.7.1")))
    assert "        [...]\n" in text(reported(Reply(550, "\n".join(map(str, range(50))), "5.7.1")))


def test_lines_are_short() -> None:
    assert max(map(len, text(reported(BUSY), reported(REFUSED), of=3).splitlines())) <= 76
