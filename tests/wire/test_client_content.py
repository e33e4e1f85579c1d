"""The client's side of content: chunks, LMTP's replies, what is refused too early, and addresses beyond ASCII."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waymail.wire import (
    ClientConnection,
    Command,
    CommandOrder,
    Data,
    EndOfContent,
    Hello,
    Mail,
    ProtocolError,
    Quit,
    Rcpt,
    Reset,
)
from waymail.wire.commands import Bdat, Etrn, Verify, XClient, XForward

OK = b"250 2.0.0 OK\r\n"


def after_hello(*, lmtp: bool = False) -> ClientConnection:
    client = ClientConnection()
    client.receive(b"220 mail.example\r\n")
    client.send(Hello("client.example", lmtp=lmtp))
    client.receive(b"250-mail.example\r\n250-PIPELINING\r\n250 CHUNKING\r\n")
    return client


def codes(client: ClientConnection, data: bytes) -> list[tuple[object, int]]:
    return [(response.command, response.reply.code) for response in client.receive(data)]


# --- chunks


def test_a_chunk_may_be_the_end_of_a_group_and_more_may_follow_its_octets() -> None:
    client = after_hello()
    assert client.send(Mail("a@b"), Rcpt("c@d"), Bdat(5)) == b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nBDAT 5\r\n"
    client.chunk_sent()
    assert client.send(Bdat(7, last=True)) == b"BDAT 7 LAST\r\n"
    client.chunk_sent()
    assert [code for _, code in codes(client, OK * 4)] == [250] * 4
    assert not client.pending


def test_nothing_is_sent_between_a_chunk_and_its_octets() -> None:
    client = after_hello()
    with pytest.raises(CommandOrder):
        client.send(Bdat(5), Quit())
    client.send(Bdat(5))
    assert client.owes_content
    for command in (Quit(), Bdat(5)):
        with pytest.raises(CommandOrder):
            client.send(command)
    client.chunk_sent()
    assert not client.owes_content


def test_a_chunk_without_octets_owes_none() -> None:
    client = after_hello()
    assert client.send(Bdat(0, last=True)) == b"BDAT 0 LAST\r\n"
    assert not client.owes_content
    with pytest.raises(CommandOrder):
        client.chunk_sent()


def test_the_reply_to_a_chunk_may_come_before_all_its_octets_are_sent() -> None:
    client = after_hello()
    client.send(Bdat(1000, last=True))
    assert codes(client, b"552 5.3.4 too large\r\n") == [(Bdat(1000, last=True), 552)]
    assert client.owes_content


# --- what comes too early


@pytest.mark.parametrize("code", [421, 451, 552])
def test_a_refusal_before_the_end_of_the_content_is_the_answer_to_it(code: int) -> None:
    client = after_hello()
    client.send(Data())
    client.receive(b"354 go on\r\n")
    (response,) = client.receive(b"%d no\r\n" % code)
    assert response.command == (None if code == 421 else EndOfContent())
    assert response.reply.code == code


@pytest.mark.parametrize("code", [250, 354])
def test_an_acceptance_before_the_end_of_the_content_makes_no_sense(code: int) -> None:
    client = after_hello()
    client.send(Data())
    client.receive(b"354 go on\r\n")
    with pytest.raises(ProtocolError):
        client.receive(b"%d fine\r\n" % code)


# --- LMTP (RFC 2033 §4.2, §4.3)


def test_lhlo_is_said_and_its_offer_remembered() -> None:
    client = ClientConnection()
    client.receive(b"220 mail.example\r\n")
    assert client.send(Hello("client.example", lmtp=True)) == b"LHLO client.example\r\n"
    client.receive(b"250-mail.example\r\n250 PIPELINING\r\n")
    assert "PIPELINING" in client.extensions


def test_after_the_dot_each_accepted_recipient_has_a_reply_of_its_own_in_order() -> None:
    client = after_hello(lmtp=True)
    client.send(Mail("a@b"), Rcpt("x@d"), Rcpt("y@d"), Rcpt("z@d"), Data())
    client.receive(OK + OK + b"550 5.1.1 no y\r\n" + OK + b"354 go on\r\n")
    client.content_sent()
    assert codes(client, OK + b"452 4.2.2 full\r\n") == [(EndOfContent("x@d"), 250), (EndOfContent("z@d"), 452)]
    assert not client.pending


def test_after_the_last_chunk_too_and_one_reply_after_each_other_chunk() -> None:
    client = after_hello(lmtp=True)
    client.send(Mail("a@b"), Rcpt("x@d"), Rcpt("y@d"))
    client.receive(OK * 3)
    client.send(Bdat(1))
    client.chunk_sent()
    client.send(Bdat(1, last=True))
    client.chunk_sent()
    answers = codes(client, OK + OK + b"452 4.2.2 full\r\n")
    assert answers == [(Bdat(1), 250), (EndOfContent("x@d"), 250), (EndOfContent("y@d"), 452)]
    assert not client.pending


def test_a_recipient_named_twice_has_two_replies() -> None:
    client = after_hello(lmtp=True)
    client.send(Mail("a@b"), Rcpt("x@d"), Rcpt("x@d"), Data())
    client.receive(OK * 3 + b"354 go on\r\n")
    client.content_sent()
    assert list(client.pending) == [EndOfContent("x@d")] * 2


def test_a_new_transaction_forgets_the_recipients_of_the_one_before() -> None:
    client = after_hello(lmtp=True)
    client.send(Mail("a@b"), Rcpt("x@d"), Reset(), Mail("a@b"), Rcpt("y@d"), Data())
    client.receive(OK * 5 + b"354 go on\r\n")
    client.content_sent()
    assert list(client.pending) == [EndOfContent("y@d")]


def test_an_lmtp_server_that_does_not_know_bdat_says_so_once() -> None:
    client = after_hello(lmtp=True)
    client.send(Mail("a@b"), Rcpt("x@d"), Rcpt("y@d"))
    client.receive(OK * 3)
    client.send(Bdat(1, last=True))
    client.chunk_sent()
    assert codes(client, b"502 5.5.1 what\r\n") == [(Bdat(1, last=True), 502)]
    assert not client.pending


@given(st.lists(st.booleans(), max_size=6), st.integers(1, 7))
def test_replies_cut_anywhere_are_matched_to_the_same_recipients(accepted: list[bool], step: int) -> None:
    client = after_hello(lmtp=True)
    recipients = [Rcpt(f"r{n}@d") for n in range(len(accepted))]
    client.send(Mail("a@b"), *recipients, Data())
    said = OK + b"".join(OK if yes else b"550 no\r\n" for yes in accepted) + b"354 go on\r\n"
    for at in range(0, len(said), step):
        client.receive(said[at : at + step])
    client.content_sent()
    assert list(client.pending) == [EndOfContent(f"r{n}@d") for n, yes in enumerate(accepted) if yes]


# --- beyond ASCII (RFC 6531 §3.4)


@pytest.mark.parametrize("command", [Mail("jörg@b"), Rcpt("jörg@b"), Rcpt("a@bücher.example")])
def test_an_address_beyond_ascii_is_not_sent_without_smtputf8(command: Command) -> None:
    client = after_hello()
    client.send(Mail("a@b"))
    client.receive(OK)
    with pytest.raises(ValueError, match="SMTPUTF8"):
        client.send(command)
    assert not client.pending


@pytest.mark.parametrize("in_one_group", [True, False])
def test_with_smtputf8_in_the_same_transaction_it_is(in_one_group: bool) -> None:
    client = after_hello()
    mail, rcpt = Mail("jörg@b.example", {"SMTPUTF8": None}), Rcpt("dörte@b.example")
    if in_one_group:
        client.send(mail, rcpt)
    else:
        client.send(mail)
        client.receive(OK)
        assert client.send(rcpt) == "RCPT TO:<dörte@b.example>\r\n".encode()
    with pytest.raises(ValueError, match="SMTPUTF8"):
        client.send(Mail("a@b"), rcpt)


def test_a_verified_name_beyond_ascii_needs_the_parameter() -> None:
    client = after_hello()
    with pytest.raises(ValueError, match="cannot stand"):
        client.send(Verify("jörg"))
    assert client.send(Verify("jörg", utf8=True)) == "VRFY jörg SMTPUTF8\r\n".encode()


# --- ETRN, XCLIENT, XFORWARD


def test_etrn_and_xforward_are_the_last_of_their_group() -> None:
    for command, octets in ((Etrn("x.example"), b"ETRN x.example\r\n"), (XForward({"NAME": "x"}), b"XFORWARD NAME=x\r\n")):
        client = after_hello()
        assert client.send(command) == octets
        with pytest.raises(CommandOrder):
            client.send(Quit())


def test_after_xclient_what_the_server_offered_is_forgotten_and_asked_again() -> None:
    client = after_hello()
    client.send(XClient({"ADDR": "192.0.2.1"}))
    client.receive(b"220 mail.example\r\n")
    assert not client.extensions
    client.send(Hello("client.example"))
    client.receive(b"250-mail.example\r\n250 SIZE 1\r\n")
    assert dict(client.extensions) == {"SIZE": "1"}


def test_after_a_refused_xclient_all_is_as_before() -> None:
    client = after_hello()
    client.send(XClient({"ADDR": "192.0.2.1"}))
    client.receive(b"550 5.7.0 not you\r\n")
    assert "PIPELINING" in client.extensions
