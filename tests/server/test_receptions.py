"""Who may send what to whom: the decisions of both kinds of listener."""

import ipaddress

import pytest

from waymail.mail.envelope import Recipient
from waymail.server.directory import Directory, LocalDomain
from waymail.server.inbound import RELAY_DENIED, Inbound, Trust
from waymail.server.reception import Client, Networks, Transaction
from waymail.server.submission import AUTHENTICATE_FIRST, Submission
from waymail.wire.replies import Reply

DIRECTORY = Directory("mail.example.org", {"example.org": LocalDomain(frozenset({"ann"}))})
TRUSTED = Trust(relay=Networks([ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("2001:db8::/32")]))
STRANGER = Client("192.0.2.1")


class AnnOnly:
    def may_send_as(self, user: str, address: str) -> bool:
        return user == "ann" and address.lower() == "ann@example.org"


SUBMISSION = Submission(DIRECTORY, AnnOnly(), TRUSTED, "mail.example.org", mechanisms=lambda _: ())
ANN = Client("192.0.2.1", user="ann")


def judged(head: bytes, client: Client = ANN) -> bytes | Reply:
    return SUBMISSION.message(client, Transaction(""), head, id="abc", now=1_800_000_000.0)


@pytest.mark.parametrize("address", ["10.1.2.3", "2001:db8::1"])
def test_a_trusted_network_may_relay(address: str) -> None:
    found = Inbound(DIRECTORY, TRUSTED).rcpt(Client(address), Transaction(""), "x@elsewhere.example")
    assert found == (Recipient("x@elsewhere.example"),)


@pytest.mark.parametrize("address", ["192.0.2.1", "2001:db9::1", "not an address", ""])
def test_nobody_else_may_relay(address: str) -> None:
    assert Inbound(DIRECTORY, TRUSTED).rcpt(Client(address), Transaction(""), "x@elsewhere.example") == RELAY_DENIED


def test_nobody_may_relay_by_default() -> None:
    assert Inbound(DIRECTORY, Trust()).rcpt(Client("127.0.0.1"), Transaction(""), "x@elsewhere.example") == RELAY_DENIED


def test_anybody_may_send_to_local_recipients_also_from_the_null_path() -> None:
    inbound = Inbound(DIRECTORY, Trust())
    assert inbound.mail(STRANGER, Transaction("")) is None
    assert inbound.rcpt(STRANGER, Transaction(""), "ann@example.org") == (Recipient("ann@example.org"),)


def test_submission_needs_authentication_except_from_trusted_networks() -> None:
    assert SUBMISSION.mail(STRANGER, Transaction("ann@example.org")) == AUTHENTICATE_FIRST
    assert SUBMISSION.mail(Client("10.0.0.1"), Transaction("whoever@example.org")) is None


def test_a_user_may_send_as_themselves_and_from_the_null_path_only() -> None:
    assert SUBMISSION.mail(ANN, Transaction("ann@example.org")) is None
    assert SUBMISSION.mail(ANN, Transaction("")) is None
    refusal = SUBMISSION.mail(ANN, Transaction("bob@example.org"))
    assert refusal is not None
    assert (refusal.code, refusal.enhanced) == (553, "5.7.1")


def test_a_user_may_send_to_anybody_but_unknown_local_recipients() -> None:
    assert SUBMISSION.rcpt(ANN, Transaction(""), "x@elsewhere.example") == (Recipient("x@elsewhere.example"),)
    refusal = SUBMISSION.rcpt(ANN, Transaction(""), "nobody@example.org")
    assert isinstance(refusal, Reply)
    assert refusal.enhanced == "5.1.1"


def test_date_and_message_id_are_added_where_they_are_missing_and_nothing_else() -> None:
    fields = judged(b"From: ann@example.org\r\nSubject: x\r\n\r\nhello\r\n")
    assert isinstance(fields, bytes)
    assert b"Message-ID: <abc@mail.example.org>\r\n" in fields
    assert b"Date: " in fields
    assert fields.count(b"\r\n") == 2
    complete = b"From: ann@example.org\r\nDate: Fri, 15 Jan 2027 08:00:00 +0000\r\nMessage-ID: <1@x>\r\n\r\nhello\r\n"
    assert judged(complete) == b""


@pytest.mark.parametrize(
    "author",
    [
        b"bob@example.org",
        b"Ann <bob@example.org>",
        b"ann@example.org, bob@example.org",
        b'"ann@example.org" <bob@example.org>',
        b"ann@example.org <bob@example.org>",
        b"<ann@example.org> <bob@example.org>",
        b"bob",
        b"",
    ],
)
def test_an_author_that_is_not_certainly_the_user_is_refused(author: bytes) -> None:
    found = judged(b"From: " + author + b"\r\nSubject: x\r\n\r\n")
    assert isinstance(found, Reply)
    assert found.code == 550


def test_a_second_from_field_does_not_hide_the_author() -> None:
    assert isinstance(judged(b"From: ann@example.org\r\nfrom: bob@example.org\r\n\r\n"), Reply)


def test_the_users_own_author_is_accepted_in_any_dress() -> None:
    for author in (b"ann@example.org", b"Ann Example <Ann@Example.org>", b"=?utf-8?q?=C3=84nn?=\r\n <ann@example.org>"):
        assert isinstance(judged(b"From: " + author + b"\r\n\r\n"), bytes)


def test_a_trusted_network_is_not_asked_for_its_author() -> None:
    assert isinstance(judged(b"From: whoever@example.com\r\n\r\n", Client("10.0.0.1")), bytes)


@pytest.mark.parametrize(
    "head",
    [
        b"From: ann@example.org (\r\nFrom: ceo@victim.example\r\n\r\n",
        b'From: "\r\nFrom: ceo@victim.example\r\nFrom: " <ann@example.org>\r\n\r\n',
        b"From: ann@example.org\r\nFrom\x0b: ceo@victim.example\r\n\r\n",
        b"From: ann@example.org\r\n\x00From: ceo@victim.example\r\n\r\n",
        b"Subject: x\r\nFrom\r\n : ceo@victim.example\r\n\r\n",
        b"From: " + b"(" * 5000 + b"\r\n\r\n",
    ],
)
def test_an_author_hidden_from_one_parser_is_shown_to_none(head: bytes) -> None:
    found = judged(head)
    assert isinstance(found, Reply)
    assert (found.code, found.enhanced) == (550, "5.6.0")


def test_a_message_of_text_alone_gets_its_fields() -> None:
    assert isinstance(judged(b"just some text: really\r\nmore\r\n"), bytes)


def test_a_user_cannot_write_results_of_this_server() -> None:
    forged = b"Authentication-Results: MAIL.example.org; dmarc=pass\r\nX-Waymail-Verdict: accept\r\n"
    head = b"From: ann@example.org\r\nBcc: bob@example.org\r\n\r\ntext"
    assert SUBMISSION.edit is not None
    assert SUBMISSION.edit(Client("192.0.2.1"), forged + head) == b"From: ann@example.org\r\n\r\ntext"
