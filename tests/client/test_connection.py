"""A transaction against a scripted peer: what is sent, in which groups, and what is made of each way to answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from email import message_from_bytes
from pathlib import Path

import pytest

from waymail.client.asynchronous import AsyncIo
from waymail.client.connection import BLOCK, Connection
from waymail.client.session import open_session
from waymail.client.target import Host, Tls
from waymail.client.transaction import Message, Timeouts
from waymail.mail.envelope import Body, Options, Recipient
from waymail.testing.peer import DROP, END, GREETING, HANG, Answer, Peer

Connect = Callable[..., Awaitable[Connection]]
Eventually = Callable[[Callable[[], bool]], Awaitable[None]]

SENDER = "ann@example.com"
BOB, CARL, DORA = "bob@example.org", "carl@example.org", "dora@example.org"
ONE_BY_ONE = ("8BITMIME",)


async def test_a_message_arrives_octet_for_octet(connect: Connect, body: Body) -> None:
    async with Peer() as peer:
        connection = await connect(peer)
        result = await connection.transaction(Message(SENDER, body), [BOB])
        assert result.final is not None
        assert result.final.code == 250
        assert peer.messages[0].content == body.content
        assert peer.messages[0].mail == b"MAIL FROM:<ann@example.com> SIZE=%d" % body.size


async def test_with_pipelining_the_whole_group_leaves_before_the_first_reply(connect: Connect, body: Body) -> None:
    # The peer does not answer MAIL before DATA is there: only a client that does not wait gets any further.
    async with Peer([("MAIL", b""), ("RCPT", b""), ("DATA", b"250 ok\r\n250 ok\r\n354 go on\r\n")]) as peer:
        connection = await connect(peer)
        asking = asyncio.create_task(connection.transaction(Message(SENDER, body), [BOB]))
        async with asyncio.timeout(5):
            await asking
        assert peer.commands[1:] == [b"MAIL FROM:<ann@example.com> SIZE=%d" % body.size, b"RCPT TO:<bob@example.org>", b"DATA"]


async def test_without_pipelining_each_command_waits_for_the_reply_to_the_one_before(connect: Connect, body: Body) -> None:
    async with Peer(extensions=ONE_BY_ONE) as peer:
        connection = await connect(peer)
        result = await connection.transaction(Message(SENDER, body), [BOB, CARL])
        assert result.final is not None
        assert result.final.code == 250
        speakers = [who for who, _ in peer.transcript]
        assert speakers == ["S", *(["C", "S"] * ((len(speakers) - 1) // 2))]


async def test_parameters_are_sent_only_where_they_were_offered(connect: Connect, body: Body) -> None:
    async with Peer(extensions=()) as peer:
        connection = await connect(peer)
        await connection.transaction(Message(SENDER, body, body_type="8BITMIME"), [BOB])
        assert peer.messages[0].mail == b"MAIL FROM:<ann@example.com>"


@pytest.mark.parametrize("extensions", [("PIPELINING",), ONE_BY_ONE])
async def test_accepted_recipients_get_the_message_and_each_refused_one_its_own_reply(
    connect: Connect, body: Body, extensions: tuple[str, ...]
) -> None:
    rules = [("RCPT TO:<bob", b"550 5.1.1 no bob\r\n"), ("RCPT TO:<dora", b"450 4.2.1 later\r\n")]
    async with Peer(rules, extensions=extensions) as peer:
        connection = await connect(peer)
        result = await connection.transaction(Message(SENDER, body), [BOB, CARL, DORA])
        assert [result.recipients[one].code for one in (BOB, CARL, DORA)] == [550, 250, 450]
        assert peer.messages[0].rcpt == [b"RCPT TO:<carl@example.org>"]


async def test_no_content_is_sent_where_all_recipients_were_refused(connect: Connect, body: Body) -> None:
    async with Peer([("RCPT", b"550 5.1.1 no\r\n")]) as peer:
        connection = await connect(peer)
        result = await connection.transaction(Message(SENDER, body), [BOB])
        assert result.final is None
        assert connection.is_usable
        assert END not in [line for _, line in peer.transcript]


async def test_354_although_all_recipients_were_refused_gets_a_lone_dot(connect: Connect, body: Body) -> None:
    async with Peer([("RCPT", b"550 5.1.1 no\r\n"), ("DATA", b"354 go on\r\n"), (END.decode(), b"554 5.5.1 nobody\r\n")]) as peer:
        connection = await connect(peer)
        result = await connection.transaction(Message(SENDER, body), [BOB, CARL])
        assert [reply.code for reply in result.recipients.values()] == [550, 550]
        assert result.final is None
        assert connection.is_usable


async def test_a_server_that_takes_the_lone_dot_has_delivered_nothing(connect: Connect, body: Body) -> None:
    async with Peer([("RCPT", b"550 5.1.1 no\r\n"), ("DATA", b"354 go on\r\n")]) as peer:
        connection = await connect(peer)
        result = await connection.transaction(Message(SENDER, body), [BOB])
        assert result.final is None
        assert peer.messages[0].content == b""


@pytest.mark.parametrize("extensions", [("PIPELINING",), ()])
async def test_a_refused_sender_ends_the_transaction_and_rset_begins_the_next(
    connect: Connect, body: Body, extensions: tuple[str, ...]
) -> None:
    answers = iter([b"550 5.7.1 not you\r\n"])
    async with Peer([("MAIL", lambda _: next(answers, None))], extensions=extensions) as peer:
        connection = await connect(peer)
        refused = await connection.transaction(Message(SENDER, body), [BOB])
        assert refused.mail is not None
        assert refused.mail.code == 550
        taken = await connection.transaction(Message(SENDER, body), [BOB])
        assert taken.final is not None
        assert taken.final.code == 250
        assert peer.commands.count(b"RSET") == 1
        assert peer.connections == 1


async def test_after_a_complete_transaction_the_next_one_needs_no_rset(connect: Connect, body: Body) -> None:
    async with Peer() as peer:
        connection = await connect(peer)
        for _ in range(3):
            await connection.transaction(Message(SENDER, body), [BOB])
        assert b"RSET" not in peer.commands
        assert [message.connection for message in peer.messages] == [1, 1, 1]


async def test_data_refused_is_the_final_reply(connect: Connect, body: Body) -> None:
    async with Peer([("DATA", b"451 4.3.0 not now\r\n")]) as peer:
        connection = await connect(peer)
        result = await connection.transaction(Message(SENDER, body), [BOB])
        assert result.final is not None
        assert str(result.final) == "451 4.3.0 not now"
        assert result.trouble is None


@pytest.mark.parametrize("answer", [b"250 ok\r\n", b"351 hm\r\n"])
async def test_content_follows_354_and_nothing_else(connect: Connect, body: Body, answer: bytes) -> None:
    async with Peer([("DATA", answer)]) as peer:
        connection = await connect(peer)
        result = await connection.transaction(Message(SENDER, body), [BOB])
        assert result.final is None or not result.final.is_positive
        assert END not in [line for _, line in peer.transcript]
        assert not peer.messages


async def test_codes_that_nobody_knows_count_by_their_first_digit(connect: Connect, body: Body) -> None:
    rules = [("MAIL", b"299\r\n"), ("RCPT TO:<bob", b"298 hm\r\n"), ("RCPT TO:<carl", b"599\r\n"), (END.decode(), b"277 \r\n")]
    async with Peer(rules) as peer:
        connection = await connect(peer)
        result = await connection.transaction(Message(SENDER, body), [BOB, CARL])
        assert result.final is not None
        assert result.final.is_positive
        assert result.recipients[CARL].is_permanent


@pytest.mark.parametrize("moment", ["MAIL", "RCPT", "DATA"])
@pytest.mark.parametrize("extensions", [("PIPELINING",), ()])
async def test_421_ends_the_connection_and_decides_nothing(
    connect: Connect, body: Body, moment: str, extensions: tuple[str, ...]
) -> None:
    async with Peer([(moment, b"421 4.3.2 shutting down\r\n")], extensions=extensions) as peer:
        connection = await connect(peer)
        result = await connection.transaction(Message(SENDER, body), [BOB])
        assert result.trouble is not None
        assert result.trouble.reply is not None
        assert result.trouble.reply.code == 421
        assert result.final is None
        assert not result.uncertain
        assert not connection.is_usable
        assert result.is_untouched == (moment == "MAIL")


async def test_421_to_the_content_is_an_answer_not_taken(connect: Connect, body: Body) -> None:
    async with Peer([(END.decode(), b"421 4.3.2 shutting down\r\n")]) as peer:
        connection = await connect(peer)
        result = await connection.transaction(Message(SENDER, body), [BOB])
        assert result.final is not None
        assert result.final.code == 421
        assert not result.uncertain
        assert not connection.is_usable


async def test_421_keeps_what_was_said_before_it(connect: Connect, body: Body) -> None:
    async with Peer([("RCPT TO:<bob", b"550 5.1.1 no\r\n"), ("RCPT TO:<carl", b"421 4.3.2 bye\r\n")]) as peer:
        connection = await connect(peer)
        result = await connection.transaction(Message(SENDER, body), [BOB, CARL])
        assert result.recipients[BOB].code == 550
        assert CARL not in result.recipients


async def test_a_connection_lost_before_the_final_dot_is_certain(connect: Connect, body: Body) -> None:
    async with Peer([("DATA", DROP)]) as peer:
        connection = await connect(peer)
        result = await connection.transaction(Message(SENDER, body), [BOB])
        assert result.trouble is not None
        assert not result.uncertain


@pytest.mark.parametrize("answer", [DROP, b"garbage\r\n", b"354 again\r\n"], ids=["drop", "garbage", "354"])
async def test_no_proper_answer_to_the_content_is_uncertain(connect: Connect, body: Body, answer: Answer) -> None:
    async with Peer([(END.decode(), answer)]) as peer:
        connection = await connect(peer)
        result = await connection.transaction(Message(SENDER, body), [BOB])
        assert result.uncertain
        assert result.final is None
        assert not connection.is_usable


async def test_an_answer_to_the_content_stands_whatever_comes_behind_it(connect: Connect, body: Body) -> None:
    async with Peer([(END.decode(), b"250 2.0.0 taken\r\nwhat is this\r\n")]) as peer:
        connection = await connect(peer)
        result = await connection.transaction(Message(SENDER, body), [BOB])
        assert result.final is not None
        assert result.final.code == 250
        assert not result.uncertain
        assert not connection.is_usable


@pytest.mark.parametrize(
    "answer",
    [
        b"250-one\r\n550 two\r\n",
        b"hello\r\n",
        b"25 \r\n",
        b"250 ok\r\n250 and one more\r\n" * 3,
        b"250 " + b"x" * 20_000,
        b"\0" * 99 + b"\r\n",
    ],
    ids=["two codes", "no code", "short code", "too many", "too long", "zeros"],
)
async def test_replies_that_make_no_sense_end_the_connection_and_never_hang(connect: Connect, body: Body, answer: bytes) -> None:
    async with Peer([("MAIL", answer)], extensions=()) as peer:
        connection = await connect(peer)
        result = await connection.transaction(Message(SENDER, body), [BOB])
        assert result.trouble is not None
        assert "broke the protocol" in str(result.trouble)
        assert not peer.messages


async def test_multiline_replies_are_read_however_they_are_cut(connect: Connect, body: Body) -> None:
    reply = b"250-2.1.0 one\r\n250-2.1.0 two\r\n250 2.1.0 three\r\n"
    async with Peer([("MAIL", [reply[at : at + 1] for at in range(len(reply))])]) as peer:
        connection = await connect(peer)
        result = await connection.transaction(Message(SENDER, body), [BOB])
        assert result.mail is not None
        assert result.mail.text == "one\ntwo\nthree"
        assert result.mail.enhanced == "2.1.0"


@pytest.mark.parametrize("moment", ["MAIL", "DATA", END.decode()])
async def test_silence_ends_the_connection_when_its_time_is_over(connect: Connect, body: Body, moment: str) -> None:
    timeouts = Timeouts(command=0.05, data=0.05, final=0.05)
    async with Peer([(moment, HANG)], extensions=()) as peer:
        connection = await connect(peer)
        connection.timeouts = timeouts
        result = await connection.transaction(Message(SENDER, body), [BOB])
        assert result.trouble is not None
        assert "no answer in time" in str(result.trouble)
        assert result.uncertain == (moment == END.decode())


async def test_the_deadline_bounds_everything_the_reply_to_the_content_included(connect: Connect, body: Body) -> None:
    async with Peer([(END.decode(), HANG)]) as peer:
        connection = await connect(peer)
        result = await connection.transaction(Message(SENDER, body), [BOB], deadline=asyncio.get_running_loop().time() + 0.05)
        assert result.uncertain


async def test_a_later_deadline_holds_although_an_earlier_timer_was_running(connect: Connect, body: Body) -> None:
    """There is one timer: it must not fire for a deadline that has moved on, and must fire for one that came nearer."""
    async with Peer([(END.decode(), [b"250-wait\r\n", b"250 taken\r\n"])], extensions=()) as peer:
        connection = await connect(peer)
        connection.timeouts = Timeouts(command=0.05, data=0.05, final=5)
        for _ in range(20):
            result = await connection.transaction(Message(SENDER, body), [BOB])
            assert result.final is not None
        connection.timeouts = Timeouts(command=60, data=60, final=0.05)
        peer._rules.clear()
        result = await connection.transaction(Message(SENDER, body), [BOB])
        assert result.final is not None


async def test_a_message_larger_than_size_is_not_sent(connect: Connect, body: Body) -> None:
    async with Peer(extensions=("SIZE 20",)) as peer:
        connection = await connect(peer)
        result = await connection.transaction(Message(SENDER, body), [BOB])
        assert result.final is not None
        assert (result.final.code, result.final.enhanced) == (552, "5.3.4")
        assert peer.commands == [b"EHLO client.example"]
        assert connection.is_usable


@pytest.mark.parametrize("offered", ["SIZE", "SIZE 0", "SIZE unlimited"])
async def test_size_without_a_number_limits_nothing(connect: Connect, body: Body, offered: str) -> None:
    async with Peer(extensions=(offered,)) as peer:
        connection = await connect(peer)
        result = await connection.transaction(Message(SENDER, body), [BOB])
        assert result.final is not None
        assert result.final.code == 250


def eight_bit(tmp_path: Path | None, size: int = 0) -> Body:
    content = b"Subject: x\r\n\r\n" + b"y\r\n" * (size // 3) + "grüße\r\n".encode()
    if tmp_path is None:
        return Body(content, len(content))
    file = tmp_path / "body"
    file.write_bytes(content)
    return Body(file, len(content))


@pytest.mark.parametrize("in_file", [False, True])
async def test_8_bit_content_is_declared(connect: Connect, tmp_path: Path, in_file: bool) -> None:
    body = eight_bit(tmp_path if in_file else None)
    async with Peer() as peer:
        connection = await connect(peer)
        await connection.transaction(Message(SENDER, body), [BOB])
        assert peer.messages[0].mail.endswith(b" BODY=8BITMIME")
        assert peer.messages[0].content.endswith("grüße\r\n".encode())


@pytest.mark.parametrize("in_file", [False, True])
@pytest.mark.parametrize("body_type", ["7BIT", "8BITMIME"])
async def test_8_bit_content_goes_converted_to_a_host_without_8bitmime(
    connect: Connect, tmp_path: Path, in_file: bool, body_type: str
) -> None:
    body = eight_bit(tmp_path if in_file else None)
    async with Peer(extensions=("PIPELINING",)) as peer:
        connection = await connect(peer)
        result = await connection.transaction(Message(SENDER, body, body_type=body_type), [BOB])
        assert result.final is not None
        assert result.final.code == 250
        assert peer.messages[0].mail == b"MAIL FROM:<ann@example.com>"
        assert peer.messages[0].content.isascii()
        assert message_from_bytes(peer.messages[0].content).get_payload(decode=True) == "grüße\r\n".encode()


@pytest.mark.parametrize("in_file", [False, True])
async def test_what_cannot_be_converted_never_goes_to_a_host_without_8bitmime(
    connect: Connect, tmp_path: Path, in_file: bool
) -> None:
    content = b"DKIM-Signature: v=1; d=example.com\r\nSubject: x\r\n\r\n" + "grüße\r\n".encode()
    file = tmp_path / "body"
    file.write_bytes(content)
    async with Peer(extensions=("PIPELINING",)) as peer:
        connection = await connect(peer)
        result = await connection.transaction(Message(SENDER, Body(file if in_file else content, len(content))), [BOB])
        assert result.final is not None
        assert (result.final.code, result.final.enhanced) == (554, "5.6.3")
        assert peer.commands == [b"EHLO client.example"]


@pytest.mark.parametrize("in_file", [False, True])
async def test_a_bare_line_end_never_reaches_the_wire(connect: Connect, tmp_path: Path, in_file: bool) -> None:
    content = b"Subject: x\r\n\r\nhello\n.\r\nMAIL FROM:<evil@example.net>\r\n"
    file = tmp_path / "body"
    file.write_bytes(content)
    async with Peer() as peer:
        connection = await connect(peer)
        result = await connection.transaction(Message(SENDER, Body(file if in_file else content, len(content))), [BOB])
        assert result.final is not None
        assert (result.final.code, result.final.enhanced) == (550, "5.6.11")
        await connection.quit()
        assert not peer.messages
        assert not [line for line in peer.commands if b"evil" in line]


@pytest.mark.parametrize("address", ["bob@example.org>\r\nRCPT TO:<eve@example.net", "bob\n@example.org", "bob\0@example.org"])
async def test_an_address_with_a_line_break_never_reaches_the_wire(connect: Connect, body: Body, address: str) -> None:
    async with Peer() as peer:
        for sender, recipient in ((SENDER, address), (address, BOB)):
            connection = await connect(peer)
            with pytest.raises(ValueError, match=r"."):
                await connection.transaction(Message(sender, body), [recipient])
        assert set(peer.commands) == {b"EHLO client.example"}


@pytest.mark.parametrize("text", ["x\r\nQUIT", "x\nRSET", "x\0", "x y"])
@pytest.mark.parametrize("place", ["ret", "envid", "notify", "orcpt", "hello"])
async def test_no_input_of_a_caller_becomes_a_line_or_an_argument_of_its_own(
    connect: Connect, body: Body, place: str, text: str
) -> None:
    async with Peer(extensions=("PIPELINING", "DSN")) as peer:
        if place == "hello":
            with pytest.raises(ValueError, match="cannot stand"):
                await open_session(
                    AsyncIo(), Host("mx.example", peer.port, (peer.host,)), peer.host, tls=Tls.OFF, hello_name=text
                )
        else:
            options = Options(ret=text if place == "ret" else "", envid=text if place == "envid" else "")
            asked = Recipient(BOB, None, text if place == "notify" else "", text if place == "orcpt" else "")
            connection = await connect(peer)
            with pytest.raises(ValueError, match="cannot stand"):
                await connection.transaction(Message(SENDER, body, options=options, recipients=(asked,)), [BOB])
        assert set(peer.commands) <= {b"EHLO client.example"}


@pytest.mark.parametrize("in_file", [False, True])
async def test_a_large_message_is_written_as_fast_as_the_peer_reads(connect: Connect, tmp_path: Path, in_file: bool) -> None:
    content = b"Subject: x\r\n\r\n" + (b"." + b"x" * 997 + b"\r\n") * (9 * BLOCK // 1000)
    file = tmp_path / "body"
    file.write_bytes(content)
    async with Peer() as peer:
        connection = await connect(peer)
        body = Body(file if in_file else content, len(content) + 6, prefix=b"A: b\r\n")
        result = await connection.transaction(Message(SENDER, body), [BOB])
        assert result.final is not None
        assert result.final.code == 250
        assert peer.messages[0].content == b"A: b\r\n" + content


async def test_a_peer_that_stops_reading_ends_the_transaction_when_the_time_for_a_block_is_over(connect: Connect) -> None:
    content = b"x" * 998 + b"\r\n"
    body = Body(content * 20_000, len(content) * 20_000)
    async with Peer([("DATA", [b"354 go on\r\n", HANG])]) as peer:
        connection = await connect(peer)
        connection.timeouts = Timeouts(block=0.1)
        result = await connection.transaction(Message(SENDER, body), [BOB])
        assert result.trouble is not None
        assert not result.uncertain


async def test_a_server_that_refuses_in_the_middle_of_the_content_has_not_taken_it(connect: Connect) -> None:
    content = b"x" * 998 + b"\r\n"
    body = Body(content * 20_000, len(content) * 20_000)
    async with Peer([("DATA", [b"354 go on\r\n", b"552 5.3.4 too much\r\n", HANG])]) as peer:
        connection = await connect(peer)
        result = await connection.transaction(Message(SENDER, body), [BOB])
        assert result.final is not None
        assert result.final.code == 552
        assert not result.uncertain
        assert not connection.is_usable
        assert not peer.messages


async def test_what_an_idle_peer_says_unasked_makes_the_connection_unusable(
    connect: Connect, body: Body, eventually: Eventually
) -> None:
    async with Peer([(END.decode(), b"250 taken\r\n250 x")]) as peer:
        connection = await connect(peer)
        result = await connection.transaction(Message(SENDER, body), [BOB])
        assert result.final is not None
        await eventually(lambda: not connection.is_usable)  # the rest may come in a segment of its own


async def test_quit_waits_for_the_answer_and_closes(connect: Connect) -> None:
    async with Peer() as peer:
        connection = await connect(peer)
        await connection.quit()
        assert peer.transcript[-1] == ("S", b"221 2.0.0 bye\r\n")
        assert not connection.is_usable


async def test_quit_does_not_wait_for_ever(connect: Connect) -> None:
    async with Peer([("QUIT", HANG)]) as peer:
        connection = await connect(peer, timeouts=Timeouts(quit=0.05))
        async with asyncio.timeout(5):
            await connection.quit()
        assert peer.commands[-1] == b"QUIT"


async def test_being_cancelled_in_the_middle_aborts_the_connection(connect: Connect, body: Body) -> None:
    async with Peer([("MAIL", HANG)]) as peer:
        connection = await connect(peer)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await connection.transaction(Message(SENDER, body), [BOB])
        assert not connection.is_usable


async def test_limits_of_rfc_9422_are_noted(connect: Connect, body: Body) -> None:
    async with Peer(extensions=("LIMITS MAILMAX=3 RCPTMAX=2",)) as peer:
        connection = await connect(peer)
        assert connection.most_messages == 3
        result = await connection.transaction(Message(SENDER, body), [BOB, CARL, DORA])
        assert list(result.batch) == [BOB, CARL]
        assert len(peer.messages[0].rcpt) == 2


async def test_more_than_a_hundred_recipients_are_not_asked_of_a_server_at_once(connect: Connect, body: Body) -> None:
    async with Peer() as peer:
        connection = await connect(peer)
        result = await connection.transaction(Message(SENDER, body), [f"user{n}@example.org" for n in range(150)])
        assert len(result.batch) == 100


async def test_the_default_timeouts_are_those_of_the_rfc() -> None:
    times = Timeouts()
    assert (times.greeting, times.command, times.data, times.block, times.final) == (300, 300, 120, 180, 600)


async def test_a_greeting_of_many_segments_is_waited_for(connect: Connect) -> None:
    async with Peer([(GREETING.decode(), [b"220-hel", b"lo\r\n22", b"0 there\r\n"])]) as peer:
        assert (await connect(peer)).is_usable
