"""What people get to read, case by case: the whole text, compared with the file of the case's name in `cases`.

`WAYMAIL_WRITE_CASES=1` writes the files anew: read what changed before it is kept.
"""

from __future__ import annotations

import os
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path
from typing import Any

import pytest

from waymail.mail.dsn import ReportedRecipient, build
from waymail.mail.envelope import Body, DeliverBy, Envelope, Options, Recipient
from waymail.mail.notices import shipped
from waymail.mail.outcome import Peer
from waymail.wire.replies import Reply

CASES = Path(__file__).parent / "cases"
NOW = 1_800_000_000.0
DAY = 86_400.0
ORIGINAL = b"From: ann@example.org\r\nSubject: =?utf-8?q?Einladung_zum_Gr=C3=BCnkohl?=\r\nMessage-ID: <1@x>\r\n\r\nHi.\r\n"
GMAIL = Peer("gmail-smtp-in.l.google.com", "142.250.102.27")
OUTLOOK = Peer("example-com.mail.protection.outlook.com", "52.101.68.0")
MX = Peer("mx.example.net", "192.0.2.1")


def gave_up(last: str) -> Reply:
    return Reply(554, f"not delivered within 5 days; the last reply was: {last}", "5.4.7")


NO_SUCH_USER = Reply(
    550,
    "The email account that you tried to reach does not exist. Please try\ndouble-checking the recipient's email address for "
    "typos or\nunnecessary spaces. For more information, go to\n"
    " https://support.google.com/mail/?p=NoSuchUser ffacd0b85a97d-391a6d4c2a1si3311si.123 - gsmtp",
    "5.1.1",
)
NOT_FOUND = Reply(
    550,
    "RESOLVER.ADR.RecipientNotFound; Recipient not found by SMTP address lookup [AM9PR04MB8682.eurprd04.prod.outlook.com "
    "2027-01-15T07:00:03.123Z 08DD2E2A3C1B2F10]",
    "5.1.10",
)
FULL = Reply(552, "The recipient's inbox is out of storage space. For more information, go to\n"
             " https://support.google.com/mail/?p=OverQuotaPerm x17-2002si.42 - gsmtp", "5.2.2")  # fmt: skip
SPAM = Reply(
    550,
    "Our system has detected that this message is likely unsolicited mail. To reduce the amount of spam sent to Gmail, this "
    "message has been blocked. Please "
    "visit\nhttps://support.google.com/mail/?p=UnsolicitedMessageError\n for more information. - gsmtp",
    "5.7.1",
)

# action, reply, peer, and what else is not as usual
FAILURES: dict[str, tuple[str, Reply, Peer | None, dict[str, Any]]] = {
    "no_such_user_gmail": ("failed", NO_SUCH_USER, GMAIL, {}),
    "no_such_user_exchange": ("failed", NOT_FOUND, OUTLOOK, {}),
    "no_such_domain": ("failed", Reply(550, "exmaple.net does not exist in DNS", "5.1.2"), None, {"address": "bob@exmaple.net"}),
    "mailbox_full": ("failed", FULL, GMAIL, {}),
    "unreachable_for_five_days": (
        "failed", gave_up("451 4.4.1 mx.example.net [192.0.2.1]:25 could not be reached: timed out"), MX, {"age": 5 * DAY},
    ),
    "greylisted_for_hours": (
        "delayed", Reply(451, "Greylisting in action, please come back later", "4.7.1"), MX, {"retry_until": NOW + 5 * DAY},
    ),
    "too_big": ("failed", Reply(552, "Message size exceeds fixed maximum message size", "5.3.4"), MX, {}),
    "taken_for_spam": ("failed", SPAM, GMAIL, {}),
    "tls_was_asked_for": (
        "failed", Reply(550, "REQUIRETLS was asked for, and the next host does not offer it over verified TLS", "5.7.30"), MX,
        {"options": Options(require_tls=True)},
    ),
    "tls_was_demanded_here": (
        "failed", gave_up("454 4.7.5 TLS with mx.example.net was demanded and failed"), MX, {"age": 5 * DAY},
    ),
    "loop": ("failed", Reply(554, "too many hops: the message seems to go round in a circle", "5.4.6"), MX, {}),
    "without_a_status": ("failed", Reply(550, "Administrative prohibition"), MX, {}),
    "not_in_time": (
        "failed", Reply(554, "not delivered by Fri, 15 Jan 2027 07:30:00 +0000, the time that its sender set", "5.4.7"), None,
        {"options": Options(deliver_by=DeliverBy(NOW - 1800, "R"))},
    ),
    "through_an_alias": ("failed", Reply(550, "no such user", "5.1.1"), MX, {"original": "sales@example.org"}),
    "delivered": ("delivered", Reply(250, "saved", "2.1.5"), None, {}),
    "relayed": ("relayed", Reply(250, "queued as 4711", "2.0.0"), MX, {}),
    "expanded": (
        "expanded", Reply(250, "the address stands for several, and the message is on its way to each", "2.0.0"), None, {},
    ),
    "double_bounce": ("failed", Reply(550, "no such user", "5.1.1"), MX, {"sender": ""}),
    "auf_deutsch": ("failed", NO_SUCH_USER, GMAIL, {"language": "de"}),
    "verspaetet": (
        "delayed", Reply(451, "try again later", "4.3.2"), MX, {"language": "de", "retry_until": NOW + 5 * DAY},
    ),
}  # fmt: skip


def notice(
    action: str,
    reply: Reply,
    peer: Peer | None,
    *,
    address: str = "bob@example.net",
    original: str | None = None,
    sender: str = "ann@example.org",
    age: float = 3600.0,
    language: str = "en",
    retry_until: float | None = None,
    options: Options | None = None,
) -> bytes:
    recipient = Recipient(address, original)
    envelope = Envelope("0e1q2w3m4n5a6", sender, (recipient,), NOW - age, options=options or Options())
    return build(
        shipped(language),
        action=action,  # type: ignore[arg-type]
        hostname="mail.example.org",
        envelope=envelope,
        body=Body(ORIGINAL, len(ORIGINAL)),
        recipients=[ReportedRecipient(recipient, reply, peer, NOW)],
        now=NOW,
        message_id="0e1q2w3m4n5a7",
        boundary="=_0e1q2w3m4n5a7",
        retry_until=retry_until,
        to="postmaster@example.org",
    )


def read(octets: bytes) -> EmailMessage:
    return message_from_bytes(octets, policy=SMTP.clone(raise_on_defect=True))


@pytest.mark.parametrize("case", FAILURES)
def test_the_whole_text_of_a_notice(case: str) -> None:
    action, reply, peer, more = FAILURES[case]
    report = read(notice(action, reply, peer, **more))
    text = next(report.iter_parts()).get_content().replace("\r\n", "\n")
    whole = f"From: {report['From']}\nTo: {report['To']}\nSubject: {report['Subject']}\n\n{text}"
    if os.environ.get("WAYMAIL_WRITE_CASES"):
        (CASES / f"{case}.txt").write_text(whole)
    assert whole == (CASES / f"{case}.txt").read_text()


def test_there_is_no_text_without_a_case() -> None:
    assert {path.stem for path in CASES.iterdir()} == set(FAILURES)


@pytest.mark.parametrize("case", FAILURES)
def test_lines_are_short_but_for_links(case: str) -> None:
    long = [line for line in (CASES / f"{case}.txt").read_text().splitlines()[3:] if len(line) > 76 and "https:" not in line]
    assert long == []
