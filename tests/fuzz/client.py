"""The client core against a server that may say anything.

Held to: nothing is raised but ProtocolError, and CommandOrder or ValueError for what the caller does; replies come in the order
of the commands, one each; what is buffered stays within a line; replies and errors are the same however the octets are cut.
"""

from __future__ import annotations

import contextlib

from tests.fuzz.choices import Choices

from waymail.wire.client import ClientConnection, EndOfContent, Greeting, Response
from waymail.wire.commands import (
    Auth,
    AuthResponse,
    Bdat,
    Command,
    Data,
    Hello,
    Mail,
    Noop,
    Quit,
    Rcpt,
    Reset,
    StartTls,
    XClient,
)
from waymail.wire.errors import CommandOrder, ProtocolError
from waymail.wire.limits import WireLimits

LIMITS = WireLimits(reply_line=120, reply_lines=6, reply_text=200)
GROUPS: list[tuple[Command, ...]] = [
    (Hello("client.example"),),
    (Hello("client.example", lmtp=True),),
    (Mail("a@b.example"), Rcpt("b@c.example"), Rcpt("d@e.example"), Data()),
    (Mail("a@b.example", {"SMTPUTF8": None}), Rcpt("é@c.example"), Bdat(0), Bdat(0, last=True)),
    (Rcpt("é@c.example"),),
    (Bdat(5),),
    (Auth("PLAIN", b"\0a\0b"),),
    (Auth("LOGIN"),),
    (AuthResponse(b"x"),),
    (StartTls(),),
    (XClient({"ADDR": "192.0.2.1"}),),
    (Reset(), Noop()),
    (Quit(),),
]


def _act(core: ClientConnection, what: int) -> None:
    """What a caller does next, allowed or not."""
    with contextlib.suppress(CommandOrder, ValueError):
        if what < len(GROUPS):
            core.send(*GROUPS[what])
        elif what == len(GROUPS):
            core.content_sent()
        elif what == len(GROUPS) + 1:
            core.chunk_sent()
        else:
            core.tls_started()


def _run(steps: list[tuple[int, list[bytes]]]) -> tuple[list[Response], str]:
    core = ClientConnection(LIMITS)
    responses: list[Response] = []
    try:
        for what, pieces in steps:
            _act(core, what)
            for piece in pieces:
                awaited = list(core.pending)
                got = core.receive(piece)
                responses += got
                _check_order(awaited, got)
    except ProtocolError as error:
        return [*responses, *error.responses], str(error)
    return responses, ""


def _check_order(awaited: list[Command | Greeting | EndOfContent], got: list[Response]) -> None:
    for response in got:
        assert 200 <= response.reply.code <= 599
        if awaited and type(response.command) is type(awaited[0]):
            del awaited[0]  # in LMTP the last chunk is answered more often than it was sent


def one_input(data: bytes) -> None:
    """The target: the stream is cut into steps, each said behind something that the caller does."""
    choices = Choices(data)
    parts = choices.stream.split(b"\n")
    size = 1 + choices.number(4)
    said = [b"\n".join(parts[at : at + size]) + b"\n" for at in range(0, len(parts), size)][:200]
    does = [choices.number(len(GROUPS) + 3) for _ in said]
    whole = _run([(what, [octets]) for what, octets in zip(does, said, strict=True)])
    pieces = _run([(what, choices.cut(octets)) for what, octets in zip(does, said, strict=True)])
    assert pieces == whole, (pieces, whole)
    single = _run([(what, [octets[at : at + 1] for at in range(len(octets))]) for what, octets in zip(does, said, strict=True)])
    assert single == whole, (single, whole)
