"""What a person reads in a notice."""

from __future__ import annotations

import random

import pytest

from waymail.mail.envelope import Envelope, Recipient
from waymail.mail.explanation import Action, ReportedRecipient, explanation
from waymail.mail.notices import shipped
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
    return explanation(shipped(), action, "mail.example.org", envelope, section, recipients, until)


def flat(words: str) -> str:
    return " ".join(words.split())


REFUSED = Reply(550, "No such user here", "5.1.1")
BUSY = Reply(451, "Busy", "4.3.2")
EXPIRED = Reply(554, "not delivered within 5 days; the last reply was: 451 4.3.2 Busy", "5.4.7")


def test_it_says_who_refused_whom_with_which_words() -> None:
    assert "    The mail server mx.example.net [192.0.2.1] said:\n        550 5.1.1 No such user here\n" in text(
        reported(REFUSED)
    )


def test_it_says_when_this_server_found_the_trouble_itself() -> None:
    assert "    This mail server says:\n        451 4.3.2 Busy\n" in text(reported(BUSY, None))


def test_what_an_administrator_gave_up_is_not_laid_at_the_door_of_the_recipients_server() -> None:
    given_up = Reply(554, "given up by the administrator: moved", "5.0.0")
    assert "The administrator of this mail server gave your message up." in flat(text(reported(given_up, None)))
    assert "The recipient's mail server did not take the message." in flat(text(reported(given_up)))
    assert "The administrator" not in flat(text(reported(Reply(554, "what a program says", "5.0.0"), None)))


def test_it_names_the_message_by_subject_time_and_queue_id() -> None:
    section = b"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n =?utf-8?q?_an_alle?=\r\n"
    words = text(reported(REFUSED), section=section)
    assert "    Subject:  Grüße an alle\n    Sent:     15 January 2027, 08:00 UTC\n" in words
    assert "The number of your message is 0123456789abc." in flat(words)


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
    assert f"Subject:  {shown}\n" in text(reported(REFUSED), section=b"Subject: " + subject + b"\r\n")


def test_no_subject_is_no_line() -> None:
    assert "Subject:" not in text(reported(REFUSED))


def test_a_refusal_is_final() -> None:
    assert "It will not be tried again." in flat(text(reported(REFUSED)))


def test_a_message_that_was_given_up_was_tried_again_and_again() -> None:
    words = flat(text(reported(EXPIRED), reported(EXPIRED, None), of=3))
    assert "tried again and again since 15 January 2027, 08:00 UTC, and is now given up." in words
    assert "Nothing is said here about the other recipients." in words


def test_a_refusal_beside_an_expiry_is_not_told_as_tried_again_and_again() -> None:
    assert "again and again" not in flat(text(reported(EXPIRED), reported(REFUSED), of=2))


def test_of_a_message_that_was_given_up_the_last_attempt_is_told() -> None:
    words = text(reported(EXPIRED))
    assert "    At the last attempt, with the mail server mx.example.net [192.0.2.1]:\n        451 4.3.2 Busy\n" in words
    assert "What happened: The recipient's mail server is not able to take the message at present." in flat(words)
    assert "    At the last attempt:\n        451 4.3.2 Busy\n" in text(reported(EXPIRED, None))


def test_that_the_time_is_up_is_said_by_this_server_and_not_by_the_last_host() -> None:
    words = text(reported(Reply(554, "not delivered within 5 days", "5.4.7")))
    assert "    This mail server says:\n        554 5.4.7 not delivered within 5 days\n" in words
    assert "mx.example.net" not in words


def test_a_host_can_put_no_last_reply_into_its_own_words() -> None:
    assert "last attempt" not in text(reported(Reply(550, "no; the last reply was: 250 2.0.0 fine", "5.7.1")))


def test_what_the_queue_says_of_an_expired_recipient_is_told_as_expired() -> None:
    schedule = Schedule((60.0,), 86_400.0 * 5, None)
    outcomes = {"ann@example.net": Deferred(BUSY, PEER)}
    pending = [Pending(0, ANN, 9, False)]
    envelope = Envelope("0123456789abc", "bob@example.org", (ANN,), NOW)
    decision = decide(pending, outcomes, envelope=envelope, now=NOW + schedule.expire, schedules=schedule, rng=random.Random(1))
    [report] = decision.failed
    words = flat(text(ReportedRecipient(report.pending.recipient, report.reply, report.peer, NOW)))
    assert "tried again and again since" in words
    assert "At the last attempt, with the mail server mx.example.net [192.0.2.1]: 451 4.3.2 Busy" in words


def test_a_delay_asks_for_nothing() -> None:
    words = flat(text(reported(BUSY), action="delayed", until=NOW + 86400))
    assert "You need not do anything: it will be tried again and again until 16 January 2027, 08:00 UTC," in words
    assert "What you can do" not in words
    assert "until" not in flat(text(reported(BUSY), action="delayed"))


def test_it_says_so_where_other_recipients_are_not_reported() -> None:
    assert "Nothing is said here about the other recipients." in flat(text(reported(REFUSED), of=2))
    assert "other recipients" not in text(reported(REFUSED))


def test_an_alias_is_named_beside_its_target() -> None:
    words = text(reported(REFUSED, recipient=Recipient("carol@example.com", "sales@example.org")))
    assert "  carol@example.com\n  (reached through sales@example.org)\n" in words
    assert "typing mistake" not in words, "the sender typed what is right"


def test_another_spelling_of_an_address_is_no_alias() -> None:
    words = text(reported(REFUSED, recipient=Recipient("carol@example.com", "Carol@example.com")))
    assert "reached through" not in words
    assert "typing mistake" in words


@pytest.mark.parametrize(
    ("status", "advice"),
    [
        ("5.1.1", "typing mistake"),
        ("5.1.10", "no mail at all is taken for example.net"),
        ("5.2.2", "mailbox is full"),
        ("5.2.3", "too big"),
        ("5.3.4", "too big"),
        ("4.4.1", "could not be reached"),
        ("5.4.7", "The time is over for which delivery was tried"),
        ("5.7.26", "its rules, or its filter"),
        ("5.0.0", "did not take the message"),
    ],
)
def test_the_advice_fits_the_status(status: str, advice: str) -> None:
    assert advice in flat(text(reported(Reply(int(status[0]) * 100 + 50, "no", status))))


def test_what_was_said_of_several_is_told_once() -> None:
    two = [reported(REFUSED, recipient=Recipient(f"{name}@example.net")) for name in ("ann", "bob")]
    other = reported(REFUSED, recipient=Recipient("ann@example.com"))
    words = text(two[0], other, two[1], reported(BUSY, recipient=Recipient("carl@example.net")), of=4)
    assert "\n  ann@example.net\n  bob@example.net\n\n    What happened" in words
    assert words.count("550 5.1.1 No such user here") == 2, "the domain is another"
    assert words.count("451 4.3.2 Busy") == 1
    assert "to the 4 recipients below" in flat(words)


def test_a_link_stays_in_one_piece() -> None:
    link = "https://support.example.com/" + "a-b-" * 50
    assert f"        {link}\n" in text(reported(Reply(550, f"see {link} now", "5.7.1")))


def test_each_line_of_a_reply_is_a_line_of_its_own_and_a_long_one_is_cut() -> None:
    assert "        550 5.7.1 one\n        two\n" in text(reported(Reply(550, "one\ntwo", "5.7.1")))
    assert "        [...]\n" in text(reported(Reply(550, "\n".join(map(str, range(50))), "5.7.1")))


def test_lines_are_short() -> None:
    assert max(map(len, text(reported(BUSY), reported(REFUSED), of=3).splitlines())) <= 76
