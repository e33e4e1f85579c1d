"""The client's side, by replies in and octets out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waymail.wire import (
    Auth,
    AuthResponse,
    ClientConnection,
    Command,
    CommandOrder,
    Data,
    EndOfContent,
    Greeting,
    Hello,
    Help,
    Mail,
    Noop,
    ProtocolError,
    Quit,
    Rcpt,
    Reply,
    Reset,
    Response,
    StartTls,
    Verify,
    WireLimits,
)

OK = b"250 2.0.0 OK\r\n"
EHLO_OK = b"250-mail.example\r\n250-PIPELINING\r\n250-SIZE 100\r\n250-STARTTLS\r\n250 AUTH PLAIN\r\n"


def greeted(limits: WireLimits | None = None) -> ClientConnection:
    client = ClientConnection(limits) if limits else ClientConnection()
    client.receive(b"220 mail.example\r\n")
    return client


def replies(client: ClientConnection, data: bytes) -> list[Reply]:
    return [response.reply for response in client.receive(data)]


def one_reply(data: bytes) -> Reply:
    """The reply that `data` is, to a NOOP."""
    client = greeted()
    client.send(Noop())
    (reply,) = replies(client, data)
    return reply


# --- pairing ---


def test_the_first_reply_answers_the_connection() -> None:
    client = ClientConnection()
    assert list(client.pending) == [Greeting()]
    assert client.receive(b"554 no service\r\n") == [Response(Greeting(), Reply(554, "no service"))]


def test_replies_of_a_group_are_paired_in_order_whatever_they_say() -> None:
    client = greeted()
    group = (Reset(), Mail("a@b"), Rcpt("c@d"), Rcpt("e@f"), Data())
    assert client.send(*group) == b"RSET\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nRCPT TO:<e@f>\r\nDATA\r\n"
    responses = client.receive(OK + b"451 4.3.0 x\r\n550-5.1.1 RCPT TO:<e@f>\r\n550 5.1.1 x\r\n503 x\r\n354 go\r\n")
    assert [response.command for response in responses] == list(group)
    assert [response.reply.code for response in responses] == [250, 451, 550, 503, 354]
    assert not client.pending


def test_the_end_of_content_awaits_its_own_reply_and_a_new_transaction_may_follow_at_once() -> None:
    client = greeted()
    client.send(Data())
    client.receive(b"354 go\r\n")
    client.content_sent()
    client.send(Reset(), Mail("a@b"))
    assert [response.command for response in client.receive(OK * 3)] == [EndOfContent(), Reset(), Mail("a@b")]


def test_a_reply_that_nothing_awaits_is_a_protocol_error() -> None:
    client = greeted()
    with pytest.raises(ProtocolError, match="nothing awaits"):
        client.receive(OK)


def test_421_at_any_moment_is_a_response() -> None:
    client = greeted()
    assert client.receive(b"421 4.3.2 bye\r\n") == [Response(None, Reply(421, "bye", "4.3.2"))]
    client.send(Noop())
    assert client.receive(b"421 bye\r\n") == [Response(Noop(), Reply(421, "bye"))]


def test_what_was_answered_before_the_protocol_broke_is_not_lost() -> None:
    client = greeted()
    client.send(Mail("a@b"), Rcpt("c@d"))
    with pytest.raises(ProtocolError) as caught:
        client.receive(OK + b"hello\r\n")
    assert [response.command for response in caught.value.responses] == [Mail("a@b")]
    with pytest.raises(ProtocolError):
        client.receive(b"")


# --- reading replies (RFC 5321 §4.2.1) ---


@pytest.mark.parametrize(
    ("data", "reply"),
    [
        (b"250 OK\r\n", Reply(250, "OK")),
        (b"250\r\n", Reply(250, "")),
        (b"250 \r\n", Reply(250, "")),
        (b"250 OK\n", Reply(250, "OK")),
        (b"250-a\r\n250-\r\n250 b\r\n", Reply(250, "a\n\nb")),
        (b"250-a\r\n250\r\n", Reply(250, "a\n")),
        (b"250 2.1.5 fine\r\n", Reply(250, "fine", "2.1.5")),
        (b"550 5.1.1\r\n", Reply(550, "", "5.1.1")),
        (b"550-5.1.1 a\r\n550-5.1.1 b\r\n550 c\r\n", Reply(550, "a\nb\nc", "5.1.1")),
        (b"550 4.1.1 not its class\r\n", Reply(550, "4.1.1 not its class")),
        (b"250 2.1.5x\r\n", Reply(250, "2.1.5x")),
        (b"299 2.7.999 unknown\r\n", Reply(299, "unknown", "2.7.999")),
        (b"250 caf\xc3\xa9 \xff\r\n", Reply(250, "café \\xff")),
    ],
)
def test_a_reply_is_read_at_any_split(data: bytes, reply: Reply) -> None:
    for place in range(len(data)):
        client = greeted()
        client.send(Noop())
        assert client.receive(data[:place]) == []
        assert replies(client, data[place:]) == [reply]


@pytest.mark.parametrize(
    "data",
    [
        b"hello\r\n",
        b"\r\n",
        b"25\r\n",
        b"2500\r\n",
        b"250_x\r\n",
        b"199 x\r\n",
        b"600 x\r\n",
        b" 250 x\r\n",
        b"250-a\r\n251 b\r\n",
        b"250-a\r\nb\r\n",
    ],
)
def test_a_malformed_reply_is_a_protocol_error(data: bytes) -> None:
    client = greeted()
    client.send(Noop())
    with pytest.raises(ProtocolError):
        client.receive(data)


def test_an_overlong_line_and_an_endless_reply_are_protocol_errors() -> None:
    client = greeted(WireLimits(reply_line=100))
    client.send(Noop())
    client.receive(b"250 " + b"x" * 96)
    with pytest.raises(ProtocolError, match="too long"):
        client.receive(b"x")
    client = greeted(WireLimits(reply_lines=3))
    client.send(Noop())
    client.receive(b"250-x\r\n" * 2)
    with pytest.raises(ProtocolError, match="too many lines"):
        client.receive(b"250-x\r\n")


def test_a_line_of_exactly_the_limit_is_read() -> None:
    client = greeted(WireLimits(reply_line=100, reply_lines=3))
    client.send(Noop())
    assert replies(client, b"250-x\r\n" * 2 + b"250 " + b"x" * 94 + b"\r\n")[0].text.endswith("x" * 94)


# --- groups (RFC 2920 §3.1) ---

LAST: list[Command] = [Hello("x"), Data(), StartTls(), Auth("PLAIN"), Quit(), Noop(), Verify("x"), Help()]


@pytest.mark.parametrize("command", LAST)
def test_these_stand_last_in_a_group(command: Command) -> None:
    client = greeted()
    with pytest.raises(CommandOrder):
        client.send(command, Reset())
    assert not client.pending
    client.send(Reset(), command)
    with pytest.raises(CommandOrder):
        client.send(Reset())


def test_nothing_is_sent_before_the_greeting() -> None:
    with pytest.raises(CommandOrder):
        ClientConnection().send(Hello("x"))


def test_no_command_is_sent_while_content_is_due() -> None:
    client = greeted()
    client.send(Data())
    client.receive(b"354 go\r\n")
    with pytest.raises(CommandOrder):
        client.send(Reset())
    client.content_sent()
    with pytest.raises(CommandOrder):
        client.content_sent()


@pytest.mark.parametrize("reply", [b"250 go\r\n", b"350 go\r\n", b"451 no\r\n", b"554 no\r\n"])
def test_content_is_sent_after_354_only(reply: bytes) -> None:
    client = greeted()
    client.send(Data())
    client.receive(reply)
    with pytest.raises(CommandOrder):
        client.content_sent()
    client.send(Reset())


def test_a_response_is_sent_to_a_challenge_only_and_nothing_else_is() -> None:
    client = greeted()
    with pytest.raises(CommandOrder):
        client.send(AuthResponse(b"x"))
    client.send(Auth("LOGIN"))
    client.receive(b"334 VXNlcg==\r\n")
    with pytest.raises(CommandOrder):
        client.send(Reset())
    assert client.send(AuthResponse(b"ann")) == b"YW5u\r\n"
    client.receive(b"235 2.7.0 yes\r\n")
    client.send(Reset())


def test_a_command_that_cannot_be_sent_leaves_nothing_pending() -> None:
    client = greeted()
    with pytest.raises(ValueError, match="cannot stand"):
        client.send(Mail("a@b"), Rcpt("c@d\r\nDATA"))
    assert not client.pending


# --- extensions and STARTTLS ---


def test_extensions_are_those_of_the_latest_accepted_ehlo() -> None:
    client = greeted()
    assert client.extensions == {}
    client.send(Hello("x"))
    client.receive(EHLO_OK)
    assert client.extensions == {"PIPELINING": "", "SIZE": "100", "STARTTLS": "", "AUTH": "PLAIN"}
    client.send(Hello("x"))
    client.receive(b"502 no\r\n")
    assert "SIZE" in client.extensions
    client.send(Hello("x", extended=False))
    client.receive(b"250-mail.example\r\n250 SIZE\r\n")
    assert client.extensions == {}


def test_after_tls_the_extensions_are_forgotten() -> None:
    client = greeted()
    client.send(Hello("x"))
    client.receive(EHLO_OK)
    client.send(StartTls())
    client.receive(b"220 go\r\n")
    with pytest.raises(CommandOrder):
        client.send(Hello("x"))
    client.tls_started()
    assert client.extensions == {}
    client.send(Hello("x"))


@pytest.mark.parametrize("injected", [b"250-x\r\n250 AUTH PLAIN\r\n", b"2", b"\r\n"])
def test_octets_in_clear_behind_the_reply_to_starttls_end_the_session_at_any_split(injected: bytes) -> None:
    stream = b"220 go\r\n" + injected
    for place in range(len(stream) + 1):
        client = greeted()
        client.send(StartTls())
        client.receive(stream[:place])
        client.receive(stream[place:])
        with pytest.raises(ProtocolError, match="in clear"):
            client.tls_started()


def test_tls_does_not_start_while_a_reply_is_awaited() -> None:
    client = greeted()
    client.send(StartTls())
    with pytest.raises(CommandOrder):
        client.tls_started()


@pytest.mark.parametrize("reply", [b"454 4.7.0 not now\r\n", b"250 2.0.0 sure\r\n", b"502 5.5.1 no\r\n"])
def test_a_refused_starttls_leaves_the_session_in_clear_and_usable(reply: bytes) -> None:
    client = greeted()
    client.send(StartTls())
    client.receive(reply)
    assert client.send(Quit()) == b"QUIT\r\n"


# --- any octets at all ---

words = st.sampled_from(
    [
        b"250 OK\r\n",
        b"250-x\r\n",
        b"354 go\r\n",
        b"421 bye\r\n",
        b"550 5.1.1 no\r\n",
        b"250\n",
        b"\r",
        b"\n",
        b"x",
        b"2",
        b"250 \xff",
    ]
)
streams = st.builds(b"".join, st.lists(words, max_size=12)) | st.binary(max_size=60)


def outcome(stream: bytes, sizes: list[int]) -> tuple[list[Response], bool]:
    """The responses to a group, and whether the protocol broke; the stream in pieces of `sizes`, and then octet by octet."""
    client = ClientConnection(WireLimits(reply_line=20, reply_lines=3))
    client.receive(b"220 x\r\n")
    client.send(Mail("a@b"), Rcpt("c@d"), Rcpt("e@f"), Data())
    found: list[Response] = []
    while stream:
        size = sizes.pop() if sizes else 1
        try:
            found += client.receive(stream[:size])
        except ProtocolError as error:
            return found + list(error.responses), True
        stream = stream[size:]
    return found, False


@given(streams, st.lists(st.integers(1, 20), max_size=10))
def test_any_split_of_any_stream_gives_the_same_responses_and_garbage_only_protocol_errors(
    stream: bytes, sizes: list[int]
) -> None:
    expected = outcome(stream, [])
    assert outcome(stream, [max(len(stream), 1)]) == expected
    assert outcome(stream, sizes) == expected
