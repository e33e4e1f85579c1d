"""The client core and the server core, joined by a wire that cuts octets where it likes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from waymail.testing.shell import NO, OK, Shell
from waymail.wire import (
    Auth,
    AuthResponse,
    ClientConnection,
    Command,
    Data,
    EndOfContent,
    EndOfData,
    Hello,
    Mail,
    Offer,
    Quit,
    Rcpt,
    Reply,
    Reset,
    Response,
    StartTls,
    State,
    stuff,
)


@dataclass(frozen=True, slots=True)
class Message:
    sender: str
    recipients: tuple[str, ...]
    content: bytes


class Wire:
    """Carries octets both ways, in pieces of the given sizes, again and again."""

    def __init__(self, sizes: Sequence[int], *, secure: bool = False) -> None:
        self.shell = Shell(Offer("mail.example", starttls=True, auth=("PLAIN", "LOGIN")), secure=secure)
        self.client = ClientConnection()
        self._sizes = sizes
        self._turn = 0
        self.client.receive(self.shell.core.greet())

    def _pieces(self, octets: bytes) -> Iterator[bytes]:
        while octets:
            size = self._sizes[self._turn % len(self._sizes)]
            self._turn += 1
            yield octets[:size]
            octets = octets[size:]

    def carry(self, octets: bytes) -> list[Response]:
        """The client's octets to the server, and the replies that come back."""
        return [
            response
            for piece in self._pieces(octets)
            for answer in self._pieces(self.shell.receive(piece))
            for response in self.client.receive(answer)
        ]

    def ask(self, *commands: Command) -> list[Response]:
        return self.carry(self.client.send(*commands))

    def transact(self, message: Message) -> list[Response]:
        """One message, its envelope in one group."""
        responses = self.ask(Mail(message.sender, {"SIZE": "1"}), *map(Rcpt, message.recipients), Data())
        if responses[-1].reply.code != 354:
            return responses + self.ask(Reset())
        octets = b"".join(stuff([message.content]))
        self.client.content_sent()
        return responses + self.carry(octets)


local_parts = st.text("abn.o0'+", min_size=1, max_size=8).filter(lambda text: ".." not in text and text.strip(".") == text)
mailboxes = st.builds(
    lambda local, domain: f"{local}@{domain}", local_parts | st.just('"> \\" @"'), st.sampled_from(["x.example", "[192.0.2.1]"])
)
lines = st.lists(
    st.binary(max_size=20).filter(lambda line: not {10, 13} & set(line)) | st.sampled_from([b".", b"..", b".x", b""]), max_size=8
)
contents = st.builds(lambda parts: b"".join(part + b"\r\n" for part in parts), lines)
messages = st.builds(Message, mailboxes | st.just(""), st.lists(mailboxes, min_size=1, max_size=4).map(tuple), contents)
cuts = st.lists(st.integers(1, 30), min_size=1, max_size=6)


def expected(message: Message) -> list[Response]:
    replies = [Response(Mail(message.sender, {"SIZE": "1"}), OK)]
    replies += [Response(Rcpt(one), NO if one.startswith("no") else OK) for one in message.recipients]
    if all(one.startswith("no") for one in message.recipients):
        return [*replies, Response(Data(), Reply(554, "no valid recipients", "5.5.1")), Response(Reset(), OK)]
    return [*replies, Response(Data(), Reply(354, "go on")), Response(EndOfContent(), OK)]


@given(st.lists(messages, min_size=1, max_size=3), cuts)
def test_envelope_and_content_arrive_equal_and_every_reply_is_paired_with_its_command(
    sent: list[Message], sizes: list[int]
) -> None:
    wire = Wire(sizes)
    assert wire.ask(Hello("client.example"))[0].reply.is_positive
    assert "PIPELINING" in wire.client.extensions
    for message in sent:
        wire.shell.events.clear()
        wire.shell.content = b""
        responses = wire.transact(message)
        assert responses == expected(message)
        seen = wire.shell.events
        assert seen[0] == Mail(message.sender, {"SIZE": "1"})
        assert seen[1 : len(message.recipients) + 1] == [Rcpt(one) for one in message.recipients]
        if isinstance(seen[-1], EndOfData):
            assert (wire.shell.content, seen[-1].size) == (message.content, len(message.content))
    assert [response.reply.code for response in wire.ask(Quit())] == [221]
    assert wire.shell.core.state is State.CLOSED
    assert not wire.client.pending


@given(cuts)
def test_a_session_through_starttls_and_auth_agrees_on_both_sides(sizes: list[int]) -> None:
    wire = Wire(sizes)
    wire.ask(Hello("client.example"))
    assert "STARTTLS" in wire.client.extensions
    assert "AUTH" not in wire.client.extensions
    assert wire.ask(StartTls())[0].reply.code == 220
    wire.client.tls_started()
    wire.shell.core.tls_started()
    wire.ask(Hello("client.example"))
    assert wire.client.extensions["AUTH"] == "PLAIN LOGIN"
    assert "STARTTLS" not in wire.client.extensions
    assert wire.ask(Auth("LOGIN"))[0].reply == Reply(334, "Z28=")
    assert [response.reply.code for response in wire.ask(AuthResponse(None))] == [501]
    assert [response.reply.code for response in wire.ask(Auth("PLAIN", b"\0a\0b"))] == [235]
    assert wire.shell.core.authenticated
    assert wire.shell.events[-1] == Auth("PLAIN", b"\0a\0b")


def test_content_may_be_the_beginning_of_a_group() -> None:
    wire = Wire([7])
    wire.ask(Hello("client.example"))
    wire.ask(Mail("a@x.example"), Rcpt("b@x.example"), Data())
    octets = b"".join(stuff([b"one\r\n"]))
    wire.client.content_sent()
    octets += wire.client.send(Mail("c@x.example"), Rcpt("d@x.example"), Data())
    responses = wire.carry(octets)
    assert [(type(response.command).__name__, response.reply.code) for response in responses] == [
        ("EndOfContent", 250),
        ("Mail", 250),
        ("Rcpt", 250),
        ("Data", 354),
    ]
