"""BDAT, seen from the server (RFC 3030)."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waymail.testing.shell import NO, OK, Shell
from waymail.wire import DataChunk, EndOfData, Mail, Offer, Refused, ServerConnection, State, WireLimits
from waymail.wire.events import EndOfChunk
from waymail.wire.extensions import EVERYWHERE

EHLO = b"EHLO client.example\r\n"
MAIL = b"MAIL FROM:<a@example.org>\r\n"
RCPT = b"RCPT TO:<b@example.org>\r\n"
ENVELOPE = EHLO + MAIL + RCPT
OFFER = Offer("mail.example", extensions=EVERYWHERE, limits=WireLimits(message_size=1000))
TOO_LONG = b"BDAT 5" + b" " * 3000 + b"LAST\r\n"


class Session(Shell):
    def __init__(self, offer: Offer = OFFER) -> None:
        super().__init__(offer)

    def after_envelope(self, *said: bytes) -> list[str]:
        self.say(ENVELOPE)
        return self.say(*said)


# --- the octets ---


def test_the_octets_of_a_message_are_exact_and_no_dot_ends_it() -> None:
    session = Session()
    assert session.after_envelope(b"BDAT 10\r\n..a\r\n.\r\nxyBDAT 5 LAST\r\n\r\n.\r\nRSET\r\n") == ["250 2.0.0"] * 3
    assert session.content == b"..a\r\n.\r\nxy\r\n.\r\n"
    assert session.events[3:5] == [EndOfChunk(10), EndOfData(15)]


def test_bdat_0_last_ends_a_message() -> None:
    session = Session()
    assert session.after_envelope(b"BDAT 3\r\nabcBDAT 0 LAST\r\n", MAIL) == ["250 2.0.0"] * 3
    assert (session.content, session.events[4]) == (b"abc", EndOfData(3))


def test_bdat_0_last_alone_is_a_message_of_no_octets() -> None:
    session = Session()
    assert session.after_envelope(b"BDAT 0 LAST\r\n") == ["250 2.0.0"]
    assert session.events[-1] == EndOfData(0)


def test_an_empty_chunk_in_between_changes_nothing() -> None:
    session = Session()
    assert session.after_envelope(b"BDAT 0\r\n", b"BDAT 2\r\nab", b"BDAT 0\r\n", b"BDAT 1 LAST\r\nc") == ["250 2.0.0"] * 4
    assert session.content == b"abc"


@pytest.mark.parametrize(
    "line", [b"bdat 3 last\r\n", b"BDAT 003 LAST \t\r\n", b"BDAT 3  LAST\r\n", b"BdAt 0000000000000000003 lAsT\r\n"]
)
def test_bdat_is_read_in_any_case_and_with_leading_zeros(line: bytes) -> None:
    session = Session()
    assert session.after_envelope(line + b"abc", b"NOOP\r\n") == ["250 2.0.0", "250 2.0.0"]
    assert session.content == b"abc"


def test_a_large_chunk_is_never_buffered() -> None:
    session = Session(replace(OFFER, limits=WireLimits(input_buffer=5000)))
    session.after_envelope(b"BDAT 160000 LAST\r\n")
    for _ in range(20):
        assert session.core.is_in_content
        assert session.say(b"x" * 8000) in ([], ["250 2.0.0"])
        assert session.core.buffered == 0
    assert not session.core.is_in_content
    assert (len(session.content), session.events[-1]) == (160_000, EndOfData(160_000))


# --- a refused chunk is read all the same (RFC 3030 §2) ---


EVIL = b"MAIL FROM:<evil@x>\r\n"


@pytest.mark.parametrize(
    ("before", "code"),
    [
        (b"", "503 5.5.1"),
        (EHLO, "503 5.5.1"),
        (EHLO + MAIL, "503 5.5.1"),
        (EHLO + MAIL + b"RCPT TO:<no@x>\r\n", "554 5.5.1"),
    ],
)
@pytest.mark.parametrize("last", [b"", b" LAST"])
def test_in_every_wrong_state_the_octets_are_read_and_the_chunk_is_refused(before: bytes, code: str, last: bytes) -> None:
    session = Session()
    session.say(before)
    state = session.core.state
    assert session.say(b"BDAT %d%s\r\n%sNOOP\r\n" % (len(EVIL), last, EVIL)) == [code, "250 2.0.0"]
    assert (session.core.state, session.content) == (state, b"")
    assert not any(event == Mail("evil@x") for event in session.events)


def test_where_chunking_is_not_offered_the_octets_are_read_and_the_transaction_stands() -> None:
    session = Session(Offer("mail.example"))
    assert session.after_envelope(b"BDAT 20 LAST\r\n" + EVIL, b"DATA\r\n", b"x\r\n.\r\n") == ["502 5.5.1", "354", "250 2.0.0"]
    assert session.content == b"x\r\n"


def test_chunks_that_were_sent_behind_a_refused_one_are_swallowed_and_each_gets_503() -> None:
    session = Session()
    assert session.after_envelope(b"BDAT 3\r\na\nbBDAT 20\r\n" + EVIL + b"BDAT 6 LAST\r\nRSET\r\nNOOP\r\n" + MAIL) == [
        "550 5.6.11",
        "503 5.5.1",
        "503 5.5.1",
        "250 2.0.0",
        "250 2.0.0",
    ]
    assert session.content == b""


@pytest.mark.parametrize("code", [NO, replace(NO, code=451, enhanced="4.3.0")])
def test_a_refused_chunk_ends_the_transaction(code: object) -> None:
    core = ServerConnection(OFFER)
    for line in (EHLO, MAIL, RCPT):
        core.receive(line)
        core.send(OK)
    assert core.receive(b"BDAT 1\r\nx") == [DataChunk(b"x"), EndOfChunk(1)]
    core.send(replace(NO, code=getattr(code, "code", 0)))
    assert core.state is State.READY
    assert isinstance(core.receive(b"BDAT 1 LAST\r\nx")[0], Refused)


def test_a_chunk_of_19_digits_is_read_on_and_on_and_nothing_in_it_is_a_command() -> None:
    session = Session()
    assert session.after_envelope(b"BDAT 9999999999999999999 LAST\r\n") == []
    for _ in range(100):
        assert session.say(b"QUIT\r\n" * 1000) == []
        assert session.core.buffered == 0
    assert (session.content, session.core.is_in_content) == (b"", True)


# --- a BDAT that cannot be read closes ---


@pytest.mark.parametrize(
    "line",
    [
        *[b"BDAT", b"BDAT x", b"BDAT -1", b"BDAT +1", b"BDAT 1x", b"BDAT 0x10", b"BDAT 1 LAST LAST", b"BDAT 1 FIRST", b"BDAT  5"],
        *[
            b"BDAT 1,5",
            b"BDAT " + b"9" * 20,
            b"BDAT 5\nLAST",
            b"BDAT 5\rLAST",
            b"BDAT\t5 LAST",
            b"BDAT5",
            b"bdat \xd9\xa1",
            b"BDATA 5",
        ],
        TOO_LONG[:-2],
    ],
    ids=repr,
)
@pytest.mark.parametrize("before", [b"", EHLO, ENVELOPE, ENVELOPE + b"BDAT 1\r\nx"])
def test_a_malformed_bdat_closes_and_what_stands_behind_it_is_no_command(line: bytes, before: bytes) -> None:
    session = Session()
    session.say(before)
    seen = len(session.events)
    assert session.say(line + b"\r\n" + EVIL + b"RSET\r\n") in (["501 5.5.4"], ["500 5.5.2"])
    assert (session.core.state, len(session.events)) == (State.CLOSED, seen + 1)
    assert session.core.receive(EVIL) == []


# --- order (RFC 3030 §2) ---


def test_data_behind_a_chunk_is_refused_with_503_and_the_message_goes_on() -> None:
    session = Session()
    assert session.after_envelope(b"BDAT 2\r\nab", b"DATA\r\n", b"BDAT 1 LAST\r\nc") == ["250 2.0.0", "503 5.5.1", "250 2.0.0"]
    assert session.content == b"abc"


@pytest.mark.parametrize("line", [RCPT, MAIL, b"STARTTLS\r\n", b"AUTH PLAIN\r\n", b"ETRN x\r\n"])
def test_between_chunks_nothing_else_of_a_transaction_may_stand(line: bytes) -> None:
    session = Session()
    assert session.after_envelope(b"BDAT 2\r\nab", line, b"BDAT 0 LAST\r\n")[1:] == ["503 5.5.1", "250 2.0.0"]


@pytest.mark.parametrize("line", [b"NOOP\r\n", b"VRFY a\r\n", b"HELP\r\n"])
def test_between_chunks_noop_vrfy_and_help_change_nothing(line: bytes) -> None:
    session = Session()
    assert session.after_envelope(b"BDAT 2\r\nab", line, b"BDAT 1 LAST\r\nc") == ["250 2.0.0"] * 3
    assert session.content == b"abc"


@pytest.mark.parametrize("line", [b"RSET\r\n", EHLO])
def test_rset_and_ehlo_between_chunks_drop_the_message(line: bytes) -> None:
    session = Session()
    session.after_envelope(b"BDAT 900\r\n" + b"x" * 900, line)
    assert session.core.state is State.READY
    assert session.say(b"BDAT 1 LAST\r\nx") == ["503 5.5.1"]
    assert session.say(MAIL, RCPT, b"BDAT 900 LAST\r\n" + b"y" * 900)[-1] == "250 2.0.0"  # nothing of the first counts


def test_two_messages_by_chunks_in_one_session_are_two() -> None:
    session = Session()
    session.after_envelope(b"BDAT 2 LAST\r\nab" + MAIL + RCPT + b"BDAT 1\r\ncBDAT 1 LAST\r\nd")
    assert [event for event in session.events if isinstance(event, EndOfData)] == [EndOfData(2), EndOfData(2)]


# --- what makes a message refused ---


@pytest.mark.parametrize(
    "said",
    [
        b"BDAT 3 LAST\r\na\nb",
        b"BDAT 3 LAST\r\na\rb",
        b"BDAT 2 LAST\r\na\r",
        b"BDAT 2\r\na\rBDAT 1 LAST\r\nb",
        b"BDAT 1\r\naBDAT 1 LAST\r\n\n",
    ],
)
def test_a_bare_cr_or_lf_is_refused_across_chunk_borders_too(said: bytes) -> None:
    assert Session().after_envelope(said)[-1] == "550 5.6.11"


def test_a_crlf_cut_by_a_chunk_border_is_a_crlf() -> None:
    session = Session()
    assert session.after_envelope(b"BDAT 2\r\na\rBDAT 1 LAST\r\n\n") == ["250 2.0.0", "250 2.0.0"]
    assert session.content == b"a\r\n"


def test_more_than_the_size_limit_is_refused_with_552_at_the_chunk_that_goes_beyond_it() -> None:
    session = Session()
    assert session.after_envelope(b"BDAT 1000\r\n" + b"x" * 1000, b"BDAT 1\r\nx", b"BDAT 0 LAST\r\n") == [
        "250 2.0.0",
        "552 5.3.4",
        "503 5.5.1",
    ]
    assert len(session.content) == 1000


# --- BINARYMIME (RFC 3030 §3) ---

BINARY = EHLO + b"MAIL FROM:<a@b> BODY=BINARYMIME\r\n" + RCPT


def test_binarymime_takes_every_octet_as_it_is() -> None:
    session = Session()
    content = bytes(range(256)) + b"\r\r\n\n\r"
    session.say(BINARY)
    assert session.say(b"BDAT %d LAST\r\n" % len(content) + content) == ["250 2.0.0"]
    assert session.content == content


def test_data_under_binarymime_is_refused_with_503_and_bdat_may_follow() -> None:
    session = Session()
    session.say(BINARY)
    assert session.say(b"DATA\r\n", b"BDAT 1 LAST\r\n\n") == ["503 5.5.1", "250 2.0.0"]


def test_binarymime_holds_for_its_own_transaction_only() -> None:
    session = Session()
    session.say(BINARY, b"RSET\r\n", MAIL, RCPT)
    assert session.say(b"BDAT 1 LAST\r\n\n") == ["550 5.6.11"]
    session.say(BINARY, b"RSET\r\n", MAIL, RCPT)
    assert session.say(b"DATA\r\n") == ["354"]


def test_binarymime_is_unknown_where_it_is_not_offered() -> None:
    session = Session(replace(OFFER, extensions=EVERYWHERE - {"BINARYMIME"}))
    assert session.say(EHLO, b"MAIL FROM:<a@b> BODY=BINARYMIME\r\n")[-1] == "501 5.5.4"


# --- however it is cut ---

words = st.sampled_from(
    [
        *[
            MAIL,
            RCPT,
            b"RCPT TO:<no@x>\r\n",
            b"DATA\r\n",
            b".\r\n",
            b"RSET\r\n",
            b"NOOP\r\n",
            b"BDAT 3\r\nabc",
            b"BDAT 3 LAST\r\nabc",
        ],
        *[
            b"BDAT 6\r\nRSET\r\n",
            b"BDAT 0\r\n",
            b"BDAT 0 LAST\r\n",
            b"BDAT 2\r\na\r",
            b"BDAT 2\r\n\nb",
            b"BDAT 1 LAST\r\n\n",
            b"BDAT 5\r\n",
        ],
        *[b"BDAT 60\r\n" + b"x" * 60, b"BDAT x\r\n", b"a", b"\r\n", b"QUIT\r\n", b"MAIL FROM:<a@b> BODY=BINARYMIME\r\n"],
    ]
)


@given(st.lists(words, max_size=14), st.lists(st.integers(0, 300), max_size=6))
def test_every_cut_of_a_session_with_chunks_gives_the_same_events(said: list[bytes], places: list[int]) -> None:
    stream = ENVELOPE + b"".join(said)
    offer = replace(OFFER, limits=WireLimits(message_size=100))
    whole = Session(offer)
    whole.say(stream)
    edges = [0, *sorted(place % (len(stream) + 1) for place in places), len(stream)]
    for pieces in ([stream[start:end] for start, end in pairwise(edges)], [stream[at : at + 1] for at in range(len(stream))]):
        session = Session(offer)
        for piece in pieces:
            session.say(piece)
        assert session.events == whole.events
        # How much is given out before a problem is seen depends on the cut, and nobody may use it.
        if not (whole.core.is_in_content or any(getattr(event, "refusal", None) for event in whole.events)):
            assert session.content == whole.content
