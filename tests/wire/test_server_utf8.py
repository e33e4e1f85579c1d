"""Addresses beyond ASCII, seen from the server (RFC 6531)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from waymail.testing.shell import OK, Shell
from waymail.wire import Event, Mail, Offer, Rcpt, Reply, Verify
from waymail.wire.extensions import EVERYWHERE

EHLO = b"EHLO client.example\r\n"
OFFER = Offer("mail.example", extensions=EVERYWHERE)
WITHOUT = replace(OFFER, extensions=EVERYWHERE - {"SMTPUTF8"})
SENDER = "MAIL FROM:<jörg@bücher.example>".encode()
MAIL = SENDER + b" SMTPUTF8\r\n"


class Talkative(Shell):
    """Says something beyond ASCII to all that it is asked."""

    def answer(self, event: Event) -> Reply:
        reply = super().answer(event)
        return replace(reply, text="grüß dich") if reply == OK else reply


def test_smtputf8_is_offered_beside_8bitmime() -> None:
    shell = Shell(OFFER)
    shell.say(EHLO)
    assert {b"250-SMTPUTF8", b"250-8BITMIME"} <= set(shell.sent.split(b"\r\n"))


def test_addresses_beyond_ascii_are_taken_with_the_parameter_and_reported_as_they_came() -> None:
    shell = Shell(OFFER)
    assert (
        shell.say(EHLO, MAIL, "RCPT TO:<用户@例え.example>\r\n".encode(), b"RCPT TO:<b@xn--bcher-kva.example>\r\n")[1:]
        == ["250 2.0.0"] * 3
    )
    assert shell.events[1:] == [
        Mail("jörg@bücher.example", {"SMTPUTF8": None}),
        Rcpt("用户@例え.example"),
        Rcpt("b@xn--bcher-kva.example"),
    ]


def test_a_sender_beyond_ascii_without_the_parameter_is_refused_with_550_5_6_7() -> None:
    assert Shell(OFFER).say(EHLO, SENDER + b"\r\n", SENDER + b" SIZE=1\r\n")[1:] == ["550 5.6.7", "550 5.6.7"]


def test_a_recipient_beyond_ascii_without_the_parameter_is_refused_with_553_5_6_7_and_the_others_stand() -> None:
    said = (
        b"MAIL FROM:<a@b>\r\n",
        "RCPT TO:<é@c>\r\n".encode(),
        "RCPT TO:<c@é.example>\r\n".encode(),
        b"RCPT TO:<b@c>\r\n",
        b"DATA\r\n",
    )
    assert Shell(OFFER).say(EHLO, *said)[2:] == ["553 5.6.7", "553 5.6.7", "250 2.0.0", "354"]


def test_where_it_is_not_offered_the_parameter_is_unknown_and_the_addresses_are_refused() -> None:
    said = (MAIL, SENDER + b"\r\n", b"MAIL FROM:<a@b>\r\n", "RCPT TO:<é@c>\r\n".encode())
    assert Shell(WITHOUT).say(EHLO, *said)[1:] == ["555 5.5.4", "553 5.6.7", "250 2.0.0", "553 5.6.7"]


def test_after_helo_there_is_no_smtputf8() -> None:
    assert Shell(OFFER).say(b"HELO x\r\n", MAIL, SENDER + b"\r\n")[1:] == ["555 5.5.4", "550 5.6.7"]


def test_the_parameter_takes_no_value_and_is_allowed_where_no_address_needs_it() -> None:
    assert Shell(OFFER).say(EHLO, b"MAIL FROM:<a@b> SMTPUTF8=1\r\n", b"MAIL FROM:<> smtputf8\r\n")[1:] == [
        "501 5.5.4",
        "250 2.0.0",
    ]


def test_the_parameter_holds_for_its_own_transaction_only() -> None:
    recipient = "RCPT TO:<é@c>\r\n".encode()
    assert Shell(OFFER).say(EHLO, MAIL, b"RSET\r\n", b"MAIL FROM:<a@b>\r\n", recipient)[-1] == "553 5.6.7"
    assert (
        Shell(OFFER).say(EHLO, MAIL, b"RCPT TO:<a@b>\r\n", b"DATA\r\n", b".\r\n", b"MAIL FROM:<a@b>\r\n", recipient)[-1]
        == "553 5.6.7"
    )


ILL_FORMED = {
    "a lone octet of Latin-1": b"\xe9",
    "an overlong slash": b"\xc0\xaf",
    "an overlong dot of three octets": b"\xe0\x80\xae",
    "an overlong at sign": b"\xc1\x80",
    "a surrogate": b"\xed\xa0\x80",
    "a pair of surrogates": b"\xed\xa0\xbd\xed\xb8\x80",
    "a truncated character": b"\xe3\x81",
    "a lone continuation": b"\x80",
    "beyond the last code point": b"\xf4\x90\x80\x80",
    "an octet that UTF-8 never has": b"\xff",
}


@pytest.mark.parametrize("octets", ILL_FORMED.values(), ids=ILL_FORMED)
def test_ill_formed_utf8_overlong_forms_and_surrogates_are_refused_with_553_5_6_7(octets: bytes) -> None:
    shell = Shell(OFFER)
    said = (
        b"MAIL FROM:<a%sb@c> SMTPUTF8\r\n" % octets,
        b"MAIL FROM:<a@b%sc> SMTPUTF8\r\n" % octets,
        b"MAIL FROM:<a@b> SMTPUTF8\r\n",
    )
    assert shell.say(EHLO, *said, b"RCPT TO:<a%sb@c>\r\n" % octets)[1:] == ["553 5.6.7", "553 5.6.7", "250 2.0.0", "553 5.6.7"]


@pytest.mark.parametrize("character", ["\u0080", "\u0085", "\u009f", "\u2028", "\u2029"], ids=ascii)
def test_control_characters_and_line_separators_beyond_ascii_are_in_no_address(character: str) -> None:
    said = f"MAIL FROM:<a{character}b@c> SMTPUTF8\r\n".encode(), f'MAIL FROM:<"a{character}"@c> SMTPUTF8\r\n'.encode()
    assert Shell(OFFER).say(EHLO, *said)[1:] == ["501 5.1.7", "501 5.1.7"]


def test_the_argument_of_ehlo_is_in_a_labels() -> None:
    assert Shell(OFFER).say("EHLO bücher.example\r\n".encode(), b"EHLO xn--bcher-kva.example\r\n") == ["501", "250"]


@pytest.mark.parametrize("domain", ["-é.example", "a..é", "é_x.example", "é." + "a" * 64, "\u0378.example", "é@b"])
def test_a_domain_that_idna_does_not_know_is_refused(domain: str) -> None:
    assert Shell(OFFER).say(EHLO, f"MAIL FROM:<a@{domain}> SMTPUTF8\r\n".encode())[-1] == "501 5.1.7"


def test_lengths_count_octets_and_not_characters() -> None:
    said = f"MAIL FROM:<{'é' * 32}@c> SMTPUTF8\r\n".encode(), f"MAIL FROM:<{'é' * 32}a@c> SMTPUTF8\r\n".encode()
    assert Shell(OFFER).say(EHLO, said[1], said[0])[1:] == ["501 5.1.7", "250 2.0.0"]


# --- replies (RFC 6531 §3.7.4) ---


def test_reply_text_is_ascii_unless_the_client_asked_for_utf8_in_mail() -> None:
    shell = Talkative(OFFER)
    shell.say(EHLO)
    assert shell.receive(b"NOOP\r\n") == b"250 2.0.0 gr?? dich\r\n"
    assert shell.receive(b"MAIL FROM:<a@b>\r\n") == b"250 2.0.0 gr?? dich\r\n"
    shell.say(b"RSET\r\n")
    assert shell.receive(MAIL) == "250 2.0.0 grüß dich\r\n".encode()
    assert shell.receive(b"RCPT TO:<a@b>\r\n") == "250 2.0.0 grüß dich\r\n".encode()
    shell.say(b"RSET\r\n")
    assert shell.receive(b"MAIL FROM:<a@b>\r\n") == b"250 2.0.0 gr?? dich\r\n"


def test_vrfy_is_answered_in_utf8_only_where_it_has_the_parameter_itself() -> None:
    shell = Talkative(OFFER)
    shell.say(EHLO, MAIL)
    assert shell.receive(b"VRFY a\r\n") == b"250 2.0.0 gr?? dich\r\n"
    assert shell.receive("VRFY jörg SMTPUTF8\r\n".encode()) == "250 2.0.0 grüß dich\r\n".encode()
    assert shell.events[-1] == Verify("jörg", utf8=True)
    assert shell.receive(b"VRFY a\r\n") == b"250 2.0.0 gr?? dich\r\n"


@pytest.mark.parametrize(
    ("offer", "line", "code"),
    [
        (OFFER, "VRFY jörg\r\n".encode(), "553 5.6.7"),
        (OFFER, b"VRFY \xe9 SMTPUTF8\r\n", "553 5.6.7"),
        (OFFER, b"VRFY  SMTPUTF8\r\n", "501 5.5.4"),
        (WITHOUT, b"VRFY a SMTPUTF8\r\n", "555 5.5.4"),
    ],
)
def test_vrfy_beyond_ascii_needs_the_parameter_and_the_offer(offer: Offer, line: bytes, code: str) -> None:
    assert Shell(offer).say(EHLO, line)[-1] == code
