"""Content by BDAT (RFC 3030): in one round trip, after waiting, refused, binary; and what happens without CHUNKING."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from email import message_from_bytes
from pathlib import Path

import pytest

from waymail.client.connection import GROUPED_CHUNK, Connection
from waymail.client.content import BLOCK
from waymail.client.transaction import Message
from waymail.mail.envelope import Body
from waymail.testing.peer import DROP, END, HANG, Answer, Peer

Connect = Callable[..., Awaitable[Connection]]

SENDER, BOB, CARL = "ann@example.com", "bob@example.org", "carl@example.org"
CHUNKING = ("PIPELINING", "8BITMIME", "CHUNKING")
ALL = (*CHUNKING, "BINARYMIME")
BINARY = b"Subject: x\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: binary\r\n\r\n\0\xff\r \n"


def body_of(content: bytes, file: Path | None = None) -> Body:
    if file is None:
        return Body(content, len(content))
    file.write_bytes(content)
    return Body(file, len(content))


async def test_a_small_message_is_one_group_from_mail_to_the_last_chunk(connect: Connect, body: Body) -> None:
    # Nothing is answered before the chunk is there: only a client that does not wait gets any further.
    rules = [("MAIL", b""), ("RCPT", b""), ("BDAT", b"250 ok\r\n250 ok\r\n250 2.0.0 taken\r\n")]
    async with Peer(rules, extensions=CHUNKING) as peer:
        connection = await connect(peer)
        async with asyncio.timeout(5):
            result = await connection.transaction(Message(SENDER, body), [BOB])
        assert result.final is not None
        assert result.final.text == "taken"
        assert peer.commands[-1] == b"BDAT %d LAST" % body.size


@pytest.mark.parametrize("in_file", [False, True])
@pytest.mark.parametrize("extensions", [CHUNKING, ("CHUNKING",)], ids=["pipelining", "one by one"])
@pytest.mark.parametrize("lines", [0, 1, GROUPED_CHUNK // 50, 3 * BLOCK // 1000])
async def test_a_message_arrives_by_bdat_octet_for_octet_and_unstuffed(
    connect: Connect, tmp_path: Path, in_file: bool, extensions: tuple[str, ...], lines: int
) -> None:
    content = b"Subject: x\r\n\r\n.\r\n..dots\r\n" + (b"." * 998 + b"\r\n") * lines
    async with Peer(extensions=extensions) as peer:
        connection = await connect(peer)
        for _ in range(2):
            body = body_of(content, tmp_path / "body" if in_file else None)
            result = await connection.transaction(Message(SENDER, body), [BOB])
            assert result.final is not None
            assert result.final.code == 250
        assert [message.content for message in peer.messages] == [content, content]
        assert b"DATA" not in peer.commands
        assert b"RSET" not in peer.commands


@pytest.mark.parametrize("in_file", [False, True])
async def test_the_last_line_is_ended_where_it_is_not(connect: Connect, tmp_path: Path, in_file: bool) -> None:
    async with Peer(extensions=CHUNKING) as peer:
        connection = await connect(peer)
        body = body_of(b"Subject: x\r\n\r\nend", tmp_path / "body" if in_file else None)
        await connection.transaction(Message(SENDER, body), [BOB])
        assert peer.messages[0].content == b"Subject: x\r\n\r\nend\r\n"


async def test_an_empty_message_is_a_last_chunk_without_octets(connect: Connect) -> None:
    async with Peer(extensions=CHUNKING) as peer:
        connection = await connect(peer)
        await connection.transaction(Message(SENDER, body_of(b"")), [BOB])
        assert peer.commands[-1] == b"BDAT 0 LAST"
        assert peer.messages[0].content == b""


@pytest.mark.parametrize("in_file", [False, True])
async def test_a_bare_line_end_goes_by_bdat_no_more_than_by_data(connect: Connect, tmp_path: Path, in_file: bool) -> None:
    async with Peer(extensions=CHUNKING) as peer:
        connection = await connect(peer)
        body = body_of(b"Subject: x\r\n\r\nhello\n.\r\n", tmp_path / "body" if in_file else None)
        result = await connection.transaction(Message(SENDER, body), [BOB])
        assert result.final is not None
        assert (result.final.code, result.final.enhanced) == (550, "5.6.11")
        assert peer.commands == [b"EHLO client.example"]


async def test_a_file_that_became_shorter_is_noticed_and_the_connection_dropped(connect: Connect, tmp_path: Path) -> None:
    content = BINARY + b"x" * BLOCK
    body = body_of(content, tmp_path / "body")
    (tmp_path / "body").write_bytes(content[:-1])
    async with Peer(extensions=ALL) as peer:
        connection = await connect(peer)
        with pytest.raises(OSError, match="not as long"):
            await connection.transaction(Message(SENDER, body, "BINARYMIME"), [BOB])
        assert not connection.is_usable
        assert not peer.messages


# --- refusals


async def test_the_accepted_recipients_get_it_and_each_refused_one_has_its_reply(connect: Connect, body: Body) -> None:
    async with Peer([("RCPT TO:<bob", b"550 5.1.1 no bob\r\n")], extensions=CHUNKING) as peer:
        connection = await connect(peer)
        result = await connection.transaction(Message(SENDER, body), [BOB, CARL])
        assert result.final is not None
        assert result.recipients[BOB].code == 550
        assert peer.messages[0].rcpt == [b"RCPT TO:<carl@example.org>"]


@pytest.mark.parametrize("moment", ["MAIL", "RCPT"])
async def test_a_chunk_for_nobody_is_nothing_and_rset_comes_before_the_next_transaction(
    connect: Connect, body: Body, moment: str
) -> None:
    answers = iter([b"550 5.7.1 no\r\n"])
    async with Peer([(moment, lambda _: next(answers, None))], extensions=CHUNKING) as peer:
        connection = await connect(peer)
        refused = await connection.transaction(Message(SENDER, body), [BOB])
        assert refused.final is None
        assert not refused.uncertain
        taken = await connection.transaction(Message(SENDER, body), [BOB])
        assert taken.final is not None
        assert taken.final.code == 250
        assert peer.commands.count(b"RSET") == 1
        assert len(peer.messages) == peer.connections == 1


@pytest.mark.parametrize("code", [500, 502, 503])
async def test_a_server_that_offers_chunking_and_does_not_know_bdat_gets_data(connect: Connect, body: Body, code: int) -> None:
    async with Peer([("BDAT", b"%d 5.5.1 what\r\n" % code)], extensions=CHUNKING) as peer:
        connection = await connect(peer)
        for _ in range(2):
            result = await connection.transaction(Message(SENDER, body), [BOB])
            assert result.final is not None
            assert result.final.code == 250
        # It is asked once in a connection, and the failed transaction is taken back.
        verbs = [line.split(b" ")[0] for line in peer.commands[1:]]
        assert verbs == [b"MAIL", b"RCPT", b"BDAT", b"RSET", b"MAIL", b"RCPT", b"DATA", b"MAIL", b"RCPT", b"DATA"]


async def test_another_refusal_of_the_chunk_is_the_final_reply(connect: Connect, body: Body) -> None:
    async with Peer([("BDAT", b"554 5.7.1 spam\r\n")], extensions=CHUNKING) as peer:
        connection = await connect(peer)
        result = await connection.transaction(Message(SENDER, body), [BOB])
        assert result.final is not None
        assert result.final.code == 554
        await connection.transaction(Message(SENDER, body), [BOB])
        assert peer.commands.count(b"RSET") == 1


@pytest.mark.parametrize("answer", [DROP, b"garbage\r\n", b"354 again\r\n"], ids=["drop", "garbage", "354"])
async def test_no_proper_answer_to_the_last_chunk_is_uncertain(connect: Connect, body: Body, answer: Answer) -> None:
    async with Peer([("BDAT", answer)], extensions=CHUNKING) as peer:
        connection = await connect(peer)
        result = await connection.transaction(Message(SENDER, body), [BOB])
        assert result.final is None
        assert result.uncertain
        assert result.trouble is not None


@pytest.mark.parametrize("moment", ["MAIL", "RCPT"])
async def test_421_before_the_answer_to_the_chunk_is_certain(connect: Connect, body: Body, moment: str) -> None:
    async with Peer([(moment, b"421 4.3.2 bye\r\n")], extensions=CHUNKING) as peer:
        connection = await connect(peer)
        result = await connection.transaction(Message(SENDER, body), [BOB])
        assert result.final is None
        assert not result.uncertain
        assert result.trouble is not None


async def test_421_to_the_chunk_is_an_answer_not_taken(connect: Connect, body: Body) -> None:
    async with Peer([("BDAT", b"421 4.3.2 bye\r\n")], extensions=CHUNKING) as peer:
        connection = await connect(peer)
        result = await connection.transaction(Message(SENDER, body), [BOB])
        assert result.final is not None
        assert result.final.code == 421
        assert not result.uncertain


@pytest.mark.parametrize("extensions", [("PIPELINING",), ()], ids=["pipelining", "one by one"])
async def test_a_refusal_that_comes_with_354_is_the_answer_to_the_content(
    connect: Connect, body: Body, extensions: tuple[str, ...]
) -> None:
    async with Peer([("DATA", [b"354 go on\r\n552 5.3.4 too much\r\n", HANG])], extensions=extensions) as peer:
        connection = await connect(peer)
        result = await connection.transaction(Message(SENDER, body), [BOB])
        assert result.final is not None
        assert (result.final.code, result.final.enhanced) == (552, "5.3.4")
        assert not connection.is_usable


@pytest.mark.parametrize("command", [b"DATA", b"BDAT"])
@pytest.mark.parametrize("in_file", [False, True])
async def test_a_refusal_in_the_middle_of_the_content_is_the_answer_to_it(
    connect: Connect, tmp_path: Path, command: bytes, in_file: bool
) -> None:
    """The server says 552 once it has read some of the content, and reads no more."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 hello\r\n")
        while not (line := await reader.readuntil(b"\r\n")).startswith(command):
            writer.write(b"250-x\r\n250 CHUNKING\r\n" if line[:4] == b"EHLO" and command == b"BDAT" else b"250 fine\r\n")
        if command == b"DATA":
            writer.write(b"354 go on\r\n")
        await reader.readexactly(100_000)
        writer.write(b"552 5.3.4 too much\r\n")
        await writer.drain()
        await asyncio.wait_for(done.wait(), 10)
        writer.transport.abort()

    done = asyncio.Event()
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    peer = Peer()
    peer.port = server.sockets[0].getsockname()[1]
    connection = await connect(peer)
    content = b"Subject: x\r\n\r\n" + (b"x" * 998 + b"\r\n") * (40 * BLOCK // 1000)
    result = await connection.transaction(Message(SENDER, body_of(content, tmp_path / "x" if in_file else None)), [BOB])
    done.set()
    server.close()
    assert result.final is not None
    assert (result.final.code, result.final.enhanced) == (552, "5.3.4")
    assert not result.uncertain
    assert not connection.is_usable


# --- BINARYMIME


@pytest.mark.parametrize("in_file", [False, True])
async def test_binary_content_goes_by_bdat_as_it_is(connect: Connect, tmp_path: Path, in_file: bool) -> None:
    async with Peer(extensions=ALL) as peer:
        connection = await connect(peer)
        body = body_of(BINARY, tmp_path / "body" if in_file else None)
        await connection.transaction(Message(SENDER, body, "BINARYMIME"), [BOB])
        assert peer.messages[0].mail == b"MAIL FROM:<ann@example.com> BODY=BINARYMIME"
        assert peer.messages[0].content == BINARY


@pytest.mark.parametrize("in_file", [False, True])
@pytest.mark.parametrize("extensions", [CHUNKING, ("BINARYMIME", "8BITMIME"), ("PIPELINING",)])
async def test_binary_content_is_converted_for_a_host_that_cannot_take_it(
    connect: Connect, tmp_path: Path, in_file: bool, extensions: tuple[str, ...]
) -> None:
    async with Peer(extensions=extensions) as peer:
        connection = await connect(peer)
        body = body_of(BINARY, tmp_path / "body" if in_file else None)
        result = await connection.transaction(Message(SENDER, body, "BINARYMIME"), [BOB])
        assert result.final is not None
        assert b"BINARYMIME" not in peer.messages[0].mail
        assert message_from_bytes(peer.messages[0].content).get_payload(decode=True) == b"\0\xff\r \n"


async def test_what_was_only_declared_binary_goes_as_what_it_is(connect: Connect, body: Body) -> None:
    async with Peer(extensions=ALL) as peer:
        connection = await connect(peer)
        await connection.transaction(Message(SENDER, body, "BINARYMIME"), [BOB])
        assert peer.messages[0].mail == b"MAIL FROM:<ann@example.com>"
        assert peer.messages[0].content == body.content


async def test_binary_content_is_never_sent_by_data_where_bdat_is_refused(connect: Connect) -> None:
    async with Peer([("BDAT", b"502 5.5.1 what\r\n")], extensions=ALL) as peer:
        connection = await connect(peer)
        result = await connection.transaction(Message(SENDER, body_of(BINARY), "BINARYMIME"), [BOB])
        assert result.final is not None
        assert result.final.code == 502
        assert b"DATA" not in peer.commands
        assert END not in [line for _, line in peer.transcript]
