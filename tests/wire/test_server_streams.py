"""Whatever octets come, and however they are cut, the server's side holds its promises."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from waymail.testing.shell import Shell
from waymail.wire import DataChunk, EndOfData, Event, Offer, ProtocolError, State, WireLimits

words = st.sampled_from(
    [
        *[
            b"EHLO x\r\n",
            b"HELO x\r\n",
            b"MAIL FROM:<a@b>\r\n",
            b"RCPT TO:<b@c>\r\n",
            b"RCPT TO:<no@x>\r\n",
            b"DATA\r\n",
            b".\r\n",
            b"\r\n.\r\n",
            b"RSET\r\n",
            b"NOOP\r\n",
        ],
        *[b"AUTH LOGIN\r\n", b"AUTH PLAIN AGEAYg==\r\n", b"*\r\n", b"YQ==\r\n", b"STARTTLS\r\n", b"VRFY x\r\n", b"HELP\r\n"],
        *[b"\r", b"\n", b"\r\n", b".", b"a", b"\0", b"\xff", b"MAIL FROM:<", b"x" * 50, b"..\r\n", b"QUIT\r\n"],
    ]
)
streams = st.builds(b"".join, st.lists(words, max_size=25)) | st.binary(max_size=100)
SMALL = Offer("mail.example", starttls=True, auth=("PLAIN", "LOGIN"), limits=WireLimits(40, 30, 60, 2, 2000))


@given(streams, st.booleans(), st.lists(st.integers(0, 300), max_size=8))
def test_any_split_of_any_stream_gives_the_same_events_and_replies(stream: bytes, secure: bool, places: list[int]) -> None:
    whole = Shell(SMALL, secure=secure)
    whole.say(stream)
    edges = [0, *sorted(place % (len(stream) + 1) for place in places), len(stream)]
    pieces = [stream[start:end] for start, end in pairwise(edges)]
    for chunks in (pieces, [bytes([octet]) for octet in stream]):
        session = Shell(SMALL, secure=secure)
        session.say(*chunks)
        assert session.events == whole.events
        assert session.sent == whole.sent
        if (
            not any(isinstance(event, EndOfData) and event.refusal for event in whole.events)
            and whole.core.state is not State.DATA
        ):
            assert session.content == whole.content


@given(st.lists(streams, max_size=10), st.lists(st.booleans(), min_size=10, max_size=10))
def test_garbage_raises_nothing_but_protocol_error_and_fills_no_buffer_past_its_bound(
    chunks: list[bytes], answered: list[bool]
) -> None:
    session = Shell(SMALL, secure=True)
    waiting: Event | None = None
    for data, answer in zip(chunks, answered, strict=False):
        try:
            events = session.core.receive(data)
        except ProtocolError:
            assert session.core.state is State.CLOSED
            return
        finally:
            assert session.core.buffered <= SMALL.limits.input_buffer
        assert not (waiting and events)
        assert sum(not isinstance(event, DataChunk) for event in events) <= 1
        if events and not isinstance(events[-1], DataChunk):
            waiting = events[-1]
        if waiting and answer:
            session.core.send(session.answer(waiting))
            waiting = None
