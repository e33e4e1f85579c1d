"""The server's side, by octets in and replies out."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from waymail.testing.shell import NO, OK, START_MAIL_INPUT, Shell
from waymail.wire import (
    CommandOrder,
    EndOfData,
    Hello,
    Mail,
    Offer,
    ProtocolError,
    Rcpt,
    Refused,
    Reply,
    ServerConnection,
    State,
    WireLimits,
)

HOST = "mail.example"
EHLO = b"EHLO client.example\r\n"
MAIL = b"MAIL FROM:<a@example.org>\r\n"
RCPT = b"RCPT TO:<b@example.org>\r\n"
ENVELOPE = EHLO + MAIL + RCPT
FULL = Offer(HOST, starttls=True, auth=("PLAIN", "LOGIN"))


class Session(Shell):
    def __init__(self, offer: Offer = FULL, *, secure: bool = False) -> None:
        super().__init__(offer, secure=secure)


def octets(stream: bytes) -> Iterable[bytes]:
    return (bytes([octet]) for octet in stream)


# --- order of commands (RFC 5321 §4.1.4) ---


def test_the_greeting_has_the_host_name_first() -> None:
    assert Session().core.greet() == b"220 mail.example ESMTP waymail\r\n"


@pytest.mark.parametrize(
    ("said", "code"),
    [
        (MAIL, "503 5.5.1"),
        (RCPT, "503 5.5.1"),
        (b"DATA\r\n", "503 5.5.1"),
        (EHLO + RCPT, "503 5.5.1"),
        (EHLO + b"DATA\r\n", "503 5.5.1"),
        (EHLO + MAIL + b"DATA\r\n", "503 5.5.1"),
        (EHLO + MAIL + MAIL, "503 5.5.1"),
        (ENVELOPE + MAIL, "503 5.5.1"),
        (ENVELOPE + b"STARTTLS\r\n", "503 5.5.1"),
        (ENVELOPE + b"AUTH PLAIN\r\n", "503 5.5.1"),
        (EHLO + MAIL + b"RCPT TO:<no@example.org>\r\nDATA\r\n", "554 5.5.1"),
        (EHLO + MAIL + b"RCPT TO:<bad\r\nDATA\r\n", "554 5.5.1"),
    ],
)
def test_a_command_out_of_order_is_refused_and_changes_nothing(said: bytes, code: str) -> None:
    session = Session()
    *before, last = said.splitlines(keepends=True)
    session.say(*before)
    state = session.core.state
    assert session.say(last) == [code]
    assert session.core.state == state


def test_refused_recipients_of_an_earlier_transaction_are_forgotten() -> None:
    session = Session()
    session.say(EHLO, MAIL, b"RCPT TO:<no@example.org>\r\n", b"RSET\r\n", MAIL)
    assert session.say(b"DATA\r\n") == ["503 5.5.1"]


@pytest.mark.parametrize("said", [b"RSET\r\n", b"NOOP\r\n", b"VRFY a\r\n", b"HELP\r\n", b"QUIT\r\n"])
@pytest.mark.parametrize("before", [b"", EHLO, EHLO + MAIL, ENVELOPE])
def test_rset_noop_vrfy_help_and_quit_are_accepted_any_time(said: bytes, before: bytes) -> None:
    session = Session()
    session.say(before)
    assert session.say(said)[0][0] == "2"


@pytest.mark.parametrize("said", [b"RSET\r\n", EHLO, b"HELO x\r\n"])
def test_rset_and_ehlo_end_the_transaction(said: bytes) -> None:
    session = Session()
    session.say(ENVELOPE, said)
    assert session.core.state is State.READY
    assert session.say(RCPT) == ["503 5.5.1"]


def test_a_failing_ehlo_leaves_the_state_unchanged() -> None:
    session = Session()
    session.say(ENVELOPE)
    assert session.say(b"EHLO -\r\n") == ["501"]
    assert session.core.hello == Hello("client.example")
    assert session.say(b"DATA\r\n") == ["354"]


def test_a_refused_ehlo_is_no_hello() -> None:
    core = ServerConnection(FULL)
    core.receive(EHLO)
    core.send(NO)
    assert (core.hello, core.state) == (None, State.START)


def test_after_rset_before_ehlo_mail_still_needs_ehlo() -> None:
    assert Session().say(b"RSET\r\n", MAIL) == ["250 2.0.0", "503 5.5.1"]


def test_the_reply_moves_the_session_and_a_refusal_does_not() -> None:
    core = ServerConnection(FULL)
    states = []
    for line, reply in [
        (EHLO, OK),
        (MAIL, NO),
        (MAIL, OK),
        (RCPT, NO),
        (RCPT, OK),
        (b"DATA\r\n", NO),
        (b"DATA\r\n", START_MAIL_INPUT),
    ]:
        core.receive(line)
        core.send(reply)
        states.append(str(core.state))
    assert states == ["ready", "ready", "mail", "mail", "rcpt", "rcpt", "data"]


def test_nothing_is_read_after_quit() -> None:
    session = Session()
    assert session.say(EHLO, b"QUIT\r\nNOOP\r\n") == ["250", "221 2.0.0"]
    assert session.core.receive(MAIL) == []
    assert session.core.buffered == 0


def test_421_closes_whatever_it_answers() -> None:
    core = ServerConnection(FULL)
    core.receive(EHLO + MAIL)
    core.send(Reply(421, "closing", "4.3.2"))
    assert (core.state, core.receive(b"")) == (State.CLOSED, [])


def test_commands_are_read_in_any_case() -> None:
    session = Session()
    assert session.say(b"ehlo X\r\nmAiL FrOm:<A@b> sIzE=1\r\nrcpt to:<C@d>\r\ndata\r\n") == [
        "250",
        "250 2.0.0",
        "250 2.0.0",
        "354",
    ]
    assert session.events[1:3] == [Mail("A@b", {"SIZE": "1"}), Rcpt("C@d")]


# --- what is offered ---


def test_ehlo_lists_what_is_offered_and_helo_is_one_line() -> None:
    session = Session()
    session.say(EHLO)
    assert session.sent.decode().splitlines() == [
        "250-mail.example",
        "250-PIPELINING",
        "250-SIZE 52428800",
        "250-8BITMIME",
        "250-ENHANCEDSTATUSCODES",
        "250-HELP",
        "250 STARTTLS",
    ]
    session.say(b"HELO x\r\n")
    assert session.sent == b"250 mail.example\r\n"


def test_inside_tls_auth_is_offered_and_starttls_is_not() -> None:
    session = Session(secure=True)
    session.say(EHLO)
    assert b"AUTH PLAIN LOGIN" in session.sent
    assert b"STARTTLS" not in session.sent


@pytest.mark.parametrize(
    ("parameters", "code"),
    [
        (b"SIZE=100", "250 2.0.0"),
        (b"BODY=8BITMIME", "250 2.0.0"),
        (b"SIZE=101", "552 5.3.4"),
        (b"FUTURE=1", "555 5.5.4"),
        (b"AUTH=<>", "555 5.5.4"),
        (b"SIZE=1 SIZE=1", "501 5.5.4"),
        (b"SIZE", "501 5.5.4"),
    ],
)
def test_parameters_of_mail_are_known_or_refused(parameters: bytes, code: str) -> None:
    session = Session(Offer(HOST, limits=WireLimits(message_size=100)))
    session.say(EHLO)
    assert session.say(b"MAIL FROM:<a@b> " + parameters + b"\r\n") == [code]


def test_an_unknown_parameter_of_rcpt_is_refused_with_555() -> None:
    assert Session().say(EHLO, MAIL, b"RCPT TO:<b@c> NOTIFY=NEVER\r\n")[-1] == "555 5.5.4"


def test_parameters_need_ehlo() -> None:
    assert Session().say(b"HELO x\r\n", b"MAIL FROM:<a@b> SIZE=1\r\n", MAIL) == ["250", "555 5.5.4", "250 2.0.0"]


def test_the_auth_parameter_is_read_where_auth_is_offered() -> None:
    said = (EHLO, b"MAIL FROM:<a@b> AUTH=e+3Dmc2@example.com\r\n")
    assert Session(secure=True).say(*said)[-1] == "250 2.0.0"
    assert Session().say(*said)[-1] == "555 5.5.4"


def test_recipients_over_the_limit_get_452_and_the_accepted_ones_stand() -> None:
    session = Session(Offer(HOST, limits=WireLimits(recipients=2)))
    replies = session.say(EHLO, MAIL, RCPT, b"RCPT TO:<no@x>\r\n", RCPT, RCPT, RCPT, b"DATA\r\n", b".\r\n", MAIL, RCPT)
    assert replies[2:] == [
        "250 2.0.0",
        "550 5.7.1",
        "250 2.0.0",
        "452 4.5.3",
        "452 4.5.3",
        "354",
        "250 2.0.0",
        "250 2.0.0",
        "250 2.0.0",
    ]


# --- lines and buffers ---


@pytest.mark.parametrize("line", [b"NOOP\nNOOP\r\n", b"NOOP\rNOOP\r\n", b"MAIL FROM:<a@b>\nRCPT TO:<c@d>\r\n", b"\n\r\n"])
def test_a_bare_cr_or_lf_in_a_command_line_refuses_all_of_it(line: bytes) -> None:
    session = Session()
    session.say(EHLO)
    assert session.say(line, b"NOOP\r\n") == ["500 5.5.2", "250 2.0.0"]


def test_a_line_of_512_octets_is_taken() -> None:
    assert Session().say(b"NOOP " + b"x" * 505 + b"\r\n") == ["250 2.0.0"]


def test_an_endless_line_is_refused_once_and_not_buffered() -> None:
    session = Session()
    session.say(EHLO)
    for _ in range(200):
        assert session.say(b"x" * 1000) == []
        assert session.core.buffered <= WireLimits().command_line
    assert session.say(b"\r\nNOOP\r\n") == ["500 5.5.2", "250 2.0.0"]


def test_one_octet_over_the_line_limit_is_refused() -> None:
    limit = WireLimits().command_line
    assert Session().say(b"NOOP " + b"x" * (limit - 7) + b"\r\n", b"NOOP " + b"x" * (limit - 6) + b"\r\n") == [
        "250 2.0.0",
        "500 5.5.2",
    ]


def test_more_than_the_bound_ahead_of_the_replies_is_a_protocol_error() -> None:
    core = ServerConnection(Offer(HOST, limits=WireLimits(input_buffer=100)))
    core.receive(EHLO)
    assert core.receive(b"x" * 100) == []
    assert core.buffered == 100
    with pytest.raises(ProtocolError):
        core.receive(b"x")
    assert (core.state, core.buffered, core.receive(b"x" * 1000)) == (State.CLOSED, 0, [])


def test_while_a_reply_is_awaited_nothing_further_is_reported() -> None:
    core = ServerConnection(FULL)
    assert core.receive(EHLO + b"NOOP\r\n") == [Hello("client.example")]
    assert core.receive(MAIL) == []
    assert core.receive(b"") == []
    assert core.buffered == len(b"NOOP\r\n" + MAIL)


def test_a_reply_that_answers_nothing_is_refused() -> None:
    core = ServerConnection(FULL)
    with pytest.raises(CommandOrder):
        core.send(OK)
    core.receive(EHLO)
    with pytest.raises(CommandOrder):
        core.send(START_MAIL_INPUT)


# --- content ---


def test_content_comes_without_its_stuffing_and_its_end() -> None:
    session = Session()
    assert session.say(ENVELOPE + b"DATA\r\n", b"a\r\n..b\r\n.\r\n") == ["250", "250 2.0.0", "250 2.0.0", "354", "250 2.0.0"]
    assert (session.content, session.events[-1]) == (b"a\r\n.b\r\n", EndOfData(7))


@pytest.mark.parametrize(
    ("content", "code"), [(b"a\nb\r\n", "550 5.6.11"), (b"a\rb\r\n", "550 5.6.11"), (b"x" * 99 + b"\r\n", "552 5.3.4")]
)
def test_refused_content_is_read_to_its_end_and_the_session_goes_on(content: bytes, code: str) -> None:
    session = Session(Offer(HOST, limits=WireLimits(message_size=100)))
    session.say(ENVELOPE, b"DATA\r\n")
    assert session.say(content + b"MAIL FROM:<evil@x>\r\n.\r\n" + MAIL) == [code, "250 2.0.0"]


def test_a_large_message_is_never_buffered() -> None:
    session = Session(Offer(HOST, limits=WireLimits(input_buffer=5000)))
    session.say(ENVELOPE, b"DATA\r\n")
    for _ in range(20):
        assert session.say(b"x" * 7990 + b"\r\n") == []
        assert session.core.buffered == 0
    assert session.say(b".\r\n") == ["250 2.0.0"]
    assert len(session.content) == 20 * 7992


# --- replies (RFC 2034 §4) and pipelining (RFC 2920) ---


def test_every_refusal_has_an_enhanced_code_of_its_class_except_to_ehlo() -> None:
    session = Session(Offer(HOST, limits=WireLimits(recipients=1, message_size=5)))
    session.say(
        b"FOO\r\nEXPN x\r\nDATA x\r\n" + MAIL + b"STARTTLS\r\nEHLO -\r\n" + EHLO + b"MAIL FROM:<a>\r\nMAIL FROM:<a@b> X\r\n"
    )
    session.say(b"MAIL FROM:<a@b> SIZE=9\r\nMAIL FROM:<\xff>\r\n" + MAIL + b"DATA\r\n" + RCPT + RCPT + b"DATA\r\n123456\r\n.\r\n")
    replies = [event.reply for event in session.events if isinstance(event, Refused)]
    replies += [event.refusal for event in session.events if isinstance(event, EndOfData) and event.refusal]
    without = [reply for reply in replies if reply.enhanced is None]
    assert [reply.code for reply in without] == [501]
    assert len(replies) == 13
    assert all(reply.enhanced is None or int(reply.enhanced[0]) == reply.code // 100 for reply in replies)


WHOLE = ENVELOPE + b"RCPT TO:<no@x>\r\nDATA\r\n..dot\r\nbody\r\n.\r\nBOGUS\r\n" + MAIL + b"DATA\r\nRSET\r\nQUIT\r\n"


@pytest.mark.parametrize("chunks", [[WHOLE], list(octets(WHOLE))], ids=["one segment", "one octet per segment"])
def test_a_whole_session_gets_its_replies_in_order(chunks: list[bytes]) -> None:
    session = Session()
    assert session.say(*chunks) == [
        *["250", "250 2.0.0", "250 2.0.0", "550 5.7.1", "354", "250 2.0.0"],
        *["500 5.5.2", "250 2.0.0", "503 5.5.1", "250 2.0.0", "221 2.0.0"],
    ]
    assert session.content == b".dot\r\nbody\r\n"


def test_a_lone_dot_after_all_recipients_were_refused_is_no_message() -> None:
    session = Session()
    assert session.say(EHLO + MAIL + b"RCPT TO:<no@x>\r\nDATA\r\n.\r\n")[-2:] == ["554 5.5.1", "500 5.5.2"]
    assert not any(isinstance(event, EndOfData) for event in session.events)
