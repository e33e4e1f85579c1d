"""What the sender asked for, as parameters for the next hop: there, back, and as the wire core reads them."""

from __future__ import annotations

from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waymail.mail.envelope import DeliverBy, Options, Recipient
from waymail.mail.options import mail_parameters, options_of, rcpt_parameters
from waymail.wire.parameters import MAX_ORCPT, Terms, checked_mail_parameters, checked_rcpt_parameters

EVERYTHING = frozenset({"SMTPUTF8", "REQUIRETLS", "DSN", "AUTH", "DELIVERBY", "MT-PRIORITY", "FUTURERELEASE"})
TERMS = Terms(extended=True, secure=True, message_size=1000, extensions=EVERYTHING, auth=True)
NOW = 1_000_000.0

OPTIONS = st.builds(
    Options,
    smtputf8=st.booleans(),
    require_tls=st.booleans(),
    ret=st.sampled_from(["", "FULL", "HDRS"]),
    envid=st.sampled_from(["", "QQ314159", "a+2Bb"]),
    submitter=st.sampled_from([None, "", "ann+x@example.com", '"a b"@example.com']),
    deliver_by=st.none() | st.builds(DeliverBy, st.integers(1, 10**6).map(lambda n: NOW + n), st.just("R"), st.booleans()),
    priority=st.integers(-9, 9),
)


@given(OPTIONS)
def test_a_server_that_offers_everything_reads_what_was_asked_of_us(options: Options) -> None:
    parameters = mail_parameters(options, EVERYTHING, NOW, authenticated=True)
    assert options_of(checked_mail_parameters(parameters, TERMS), NOW) == options


@given(OPTIONS)
def test_a_server_that_offers_nothing_is_asked_for_nothing(options: Options) -> None:
    assert mail_parameters(options, (), NOW, authenticated=True) == {}


def test_holding_is_asked_for_as_it_was_asked_of_us() -> None:
    for hold, expected in (("for;60", {"HOLDFOR": "60"}), ("until;2030-01-01T00:00:00Z", {"HOLDUNTIL": "2030-01-01T00:00:00Z"})):
        parameters = mail_parameters(Options(hold=hold, hold_until=NOW + 60), EVERYTHING, NOW)
        assert parameters == expected
        assert options_of(checked_mail_parameters(parameters, TERMS), NOW).hold == hold


@pytest.mark.parametrize(
    ("mode", "left", "expected"),
    [("R", 60.9, "60;R"), ("N", -5.0, "-5;N"), ("N", 1e12, "999999999;N"), ("N", -1e12, "-999999999;N")],
)
def test_the_time_that_is_left_has_nine_digits_and_may_be_over(mode: Literal["R", "N"], left: float, expected: str) -> None:
    parameters = mail_parameters(Options(deliver_by=DeliverBy(NOW + left, mode)), EVERYTHING, NOW)
    assert parameters == {"BY": expected}
    assert checked_mail_parameters(parameters, TERMS) == parameters


def test_a_submitter_beyond_ascii_is_not_named() -> None:
    assert mail_parameters(Options(submitter="jörg@example.com"), EVERYTHING, NOW, authenticated=True) == {}


# --- RCPT (RFC 3461 §5.2.1)


@given(st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=30), st.booleans())
def test_an_original_recipient_of_any_spelling_can_be_read_by_a_server_without_smtputf8(local: str, is_alias: bool) -> None:
    given_as = f"{local}@example.org"
    recipient = Recipient("bob@example.org", given_as) if is_alias else Recipient(given_as)
    parameters = rcpt_parameters(recipient, {"DSN"})
    assert checked_rcpt_parameters(parameters, TERMS, utf8=False) == parameters


def test_orcpt_stays_as_it_came_to_the_letter() -> None:
    parameters = rcpt_parameters(Recipient("bob@example.org", "x@example.org", "", "RFC822;Bob+2B@Example.org"), EVERYTHING)
    assert parameters == {"ORCPT": "RFC822;Bob+2B@Example.org"}


def test_orcpt_beyond_ascii_is_embedded_where_smtputf8_is_not_in_use() -> None:
    recipient = Recipient("bob@example.org", orcpt="utf-8;jörg@example.org")
    assert rcpt_parameters(recipient, {"DSN"})["ORCPT"] == r"utf-8;j\x{F6}rg@example.org"
    assert rcpt_parameters(recipient, {"DSN", "SMTPUTF8"})["ORCPT"] == r"utf-8;j\x{F6}rg@example.org"
    assert rcpt_parameters(recipient, EVERYTHING, Options(smtputf8=True))["ORCPT"] == "utf-8;jörg@example.org"


def test_an_original_recipient_that_is_too_long_is_left_out() -> None:
    recipient = Recipient("bob@example.org", "ö" * MAX_ORCPT + "@example.org")
    assert rcpt_parameters(recipient, {"DSN"}) == {}


def test_what_was_asked_for_a_recipient_is_handed_on() -> None:
    parameters = rcpt_parameters(Recipient("bob@example.org", None, "SUCCESS,DELAY", "rfc822;x@example.org"), EVERYTHING)
    assert parameters == {"NOTIFY": "SUCCESS,DELAY", "ORCPT": "rfc822;x@example.org"}
    assert checked_rcpt_parameters(parameters, TERMS, utf8=False) == parameters


@pytest.mark.parametrize(
    ("notify", "offered", "expected"),
    [
        ("", {"DSN"}, "FAILURE,DELAY"),
        ("SUCCESS", {"DSN"}, "SUCCESS,DELAY"),
        ("DELAY", {"DSN"}, "DELAY"),
        ("NEVER", {"DSN"}, "NEVER"),
        ("SUCCESS", {"DSN", "DELIVERBY"}, "SUCCESS"),
    ],
)
def test_a_host_that_knows_no_deadline_is_asked_to_tell_of_delays(notify: str, offered: set[str], expected: str) -> None:
    """RFC 2852 §4.1.4.2."""
    options = Options(deliver_by=DeliverBy(NOW, "N"))
    assert rcpt_parameters(Recipient("bob@example.org", notify=notify), offered, options)["NOTIFY"] == expected
