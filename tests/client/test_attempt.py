from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TypeVar

import pytest

from waymail.client.asynchronous import AsyncIo
from waymail.client.attempt import Attempts, Stage, candidates, is_too_many, judge
from waymail.client.errors import AuthenticationFailed, ConnectionFailed, Disconnected, TlsError, UncertainDelivery
from waymail.client.pool import PoolLimits
from waymail.client.session import Contexts
from waymail.client.target import Credentials, Host, NextHop, Tls
from waymail.client.transaction import Message, Timeouts, Transaction
from waymail.mail.envelope import Body
from waymail.mail.outcome import Peer as Who
from waymail.testing.peer import DROP, END, GREETING, HANG, Answer, Peer, Rule
from waymail.wire.replies import Reply

SENDER, BOB, CARL = "ann@example.com", "bob@example.org", "carl@example.org"
OK, NO, TOO_MANY = Reply(250, "ok"), Reply(550, "no", "5.1.1"), Reply(452, "too many", "4.5.3")
WHO = Who("mx.example")


T = TypeVar("T")


def known(value: T | None) -> T:
    assert value is not None
    return value


def hop(*peers: Peer, tls: Tls = Tls.OFF, credentials: Credentials | None = None) -> NextHop:
    hosts = tuple(Host(f"mx{at}.example", peer.port, (peer.host,)) for at, peer in enumerate(peers))
    return NextHop("example", hosts, tls, credentials)


@pytest.fixture
async def attempts(trusting: ssl.SSLContext) -> AsyncIterator[Attempts]:
    attempts = Attempts(AsyncIo(), hello_name="client.example", contexts=Contexts(trusting), timeouts=Timeouts(connect=5, quit=1))
    yield attempts
    await attempts.close()


# --- what is decided


def test_five_addresses_are_tried_at_most_in_the_order_given() -> None:
    hosts = (Host("a", 25, ("192.0.2.1", "192.0.2.2")), Host("b"), Host("c", 25, ("192.0.2.3",) * 9))
    found = [(host.name, address) for host, address in candidates(NextHop("k", hosts))]
    assert found == [("a", "192.0.2.1"), ("a", "192.0.2.2"), ("b", None), ("c", "192.0.2.3"), ("c", "192.0.2.3")]


@pytest.mark.parametrize(
    ("reply", "too_many"),
    [
        (Reply(452, "too many recipients"), True),
        (Reply(452, "too many", "4.5.3"), True),
        (Reply(552, "too many"), True),
        (Reply(552, "too many", "5.5.3"), True),
        (Reply(452, "full", "4.2.2"), False),
        (Reply(552, "full", "5.2.2"), False),
        (Reply(452, "disk", "4.3.1"), False),
        (Reply(550, "no", "5.5.3"), False),
    ],
)
def test_too_many_recipients_is_told_from_a_full_mailbox_and_a_full_disk(reply: Reply, too_many: bool) -> None:
    assert is_too_many(reply) is too_many


def test_recipients_above_the_limit_are_tried_again_where_others_were_accepted() -> None:
    results, again = judge(Transaction([BOB, CARL], WHO, OK, {BOB: OK, CARL: TOO_MANY}, OK))
    assert results[BOB].is_accepted
    assert again == [CARL]


def test_recipients_above_the_limit_have_their_reply_where_none_was_accepted() -> None:
    results, again = judge(Transaction([BOB, CARL], WHO, OK, {BOB: NO, CARL: TOO_MANY}))
    assert results[CARL].reply == TOO_MANY
    assert again == []


def test_what_a_lost_connection_left_open_is_tried_again_and_what_was_said_stands() -> None:
    results, again = judge(Transaction([BOB, CARL], WHO, OK, {BOB: NO}, trouble=Disconnected("lost")))
    assert results[BOB].reply == NO
    assert isinstance(results[CARL].trouble, Disconnected)
    assert again == [CARL]


def test_what_is_uncertain_is_not_tried_again() -> None:
    transaction = Transaction([BOB, CARL], WHO, OK, {BOB: NO, CARL: OK}, trouble=Disconnected("lost"), uncertain=True)
    results, again = judge(transaction)
    assert results[BOB].reply == NO
    assert results[CARL].is_uncertain
    assert isinstance(results[CARL].trouble, UncertainDelivery)
    assert again == []


def test_a_refused_sender_decides_for_all() -> None:
    results, again = judge(Transaction([BOB, CARL], WHO, NO, {BOB: Reply(503, "mail first")}))
    assert {(result.stage, result.reply) for result in results.values()} == {(Stage.MAIL, NO)}
    assert again == []


# --- what is done


async def test_the_connection_is_used_again_for_the_next_message(attempts: Attempts, body: Body) -> None:
    async with Peer() as peer:
        for _ in range(5):
            results = await attempts.make(hop(peer), Message(SENDER, body), [BOB])
            assert results[BOB].is_accepted
        assert peer.connections == 1
        assert len(peer.messages) == 5


async def test_connections_are_not_shared_between_users_or_demands_of_tls(
    attempts: Attempts, body: Body, server_tls: ssl.SSLContext
) -> None:
    async with Peer([("AUTH", b"235 ok\r\n")], extensions=("AUTH PLAIN",), tls=server_tls) as peer:
        host = (Host("mx.example", peer.port, (peer.host,)),)
        for tls, user in ((Tls.OFF, None), (Tls.REQUIRED, None), (Tls.REQUIRED, "ann"), (Tls.REQUIRED, "bob")):
            credentials = Credentials(user, "x") if user else None
            results = await attempts.make(NextHop("same", host, tls, credentials), Message(SENDER, body), [BOB])
            assert results[BOB].is_accepted
        assert peer.connections == 4


@pytest.mark.parametrize("trouble", [DROP, b"421 4.4.2 idle for too long\r\n"], ids=["drop", "421"])
async def test_an_idle_connection_that_turns_out_dead_is_replaced_once(attempts: Attempts, body: Body, trouble: Answer) -> None:
    answers: Iterator[Answer | None] = iter([None, trouble, None])
    async with Peer([("MAIL", lambda _: next(answers))]) as peer:
        for _ in range(2):
            results = await attempts.make(hop(peer), Message(SENDER, body), [BOB])
            assert results[BOB].is_accepted
        assert [message.connection for message in peer.messages] == [1, 2]


async def test_a_fresh_connection_that_dies_is_not_replaced(attempts: Attempts, body: Body) -> None:
    async with Peer([("MAIL", DROP)]) as peer:
        results = await attempts.make(hop(peer), Message(SENDER, body), [BOB])
        assert isinstance(results[BOB].trouble, Disconnected)
        assert peer.connections == 1


@pytest.mark.parametrize(
    "rule",
    [
        (GREETING.decode(), b"421 full\r\n"),
        (GREETING.decode(), b"554 no mail here\r\n"),
        (GREETING.decode(), DROP),
        ("EHLO", b"451 later\r\n"),
        ("MAIL", b"421 later\r\n"),
        ("RCPT", b"421 later\r\n"),
        ("DATA", DROP),
    ],
    ids=["421 greeting", "554 greeting", "drop", "451 to EHLO", "421 to MAIL", "421 to RCPT", "drop at DATA"],
)
async def test_a_host_that_has_no_session_for_us_is_followed_by_the_next(attempts: Attempts, body: Body, rule: Rule) -> None:
    async with Peer([rule]) as first, Peer() as second:
        results = await attempts.make(hop(first, second), Message(SENDER, body), [BOB])
        assert results[BOB].is_accepted
        assert known(results[BOB].peer).host == "mx1.example"
        assert len(second.messages) == 1


@pytest.mark.parametrize(
    "rule", [("MAIL", b"450 later\r\n"), ("MAIL", b"550 no\r\n"), ("RCPT", b"450 later\r\n"), ("DATA", b"554 no\r\n")]
)
async def test_what_a_host_says_in_a_session_is_not_asked_of_the_next(
    attempts: Attempts, body: Body, rule: tuple[str, bytes]
) -> None:
    async with Peer([rule]) as first, Peer() as second:
        results = await attempts.make(hop(first, second), Message(SENDER, body), [BOB])
        assert known(results[BOB].reply).code == int(rule[1][:3])
        assert second.connections == 0


async def test_after_the_final_dot_no_other_host_gets_the_message(attempts: Attempts, body: Body) -> None:
    async with Peer([(END.decode(), DROP)]) as first, Peer() as second:
        results = await attempts.make(hop(first, second), Message(SENDER, body), [BOB])
        assert results[BOB].is_uncertain
        assert second.connections == 0


async def test_a_recipient_refused_before_the_connection_was_lost_is_not_asked_for_elsewhere(
    attempts: Attempts, body: Body
) -> None:
    async with Peer([("RCPT TO:<bob", b"550 5.1.1 no\r\n"), ("DATA", DROP)]) as first, Peer() as second:
        results = await attempts.make(hop(first, second), Message(SENDER, body), [BOB, CARL])
        assert known(results[BOB].reply).code == 550
        assert results[CARL].is_accepted
        assert second.messages[0].rcpt == [b"RCPT TO:<carl@example.org>"]


async def test_all_hosts_refusing_for_good_is_permanent_and_one_that_may_come_back_is_not(attempts: Attempts, body: Body) -> None:
    never = [(GREETING.decode(), b"521 never\r\n")]
    async with Peer(never) as first, Peer(never) as second:
        results = await attempts.make(hop(first, second), Message(SENDER, body), [BOB])
        assert not known(results[BOB].trouble).is_temporary
        assert first.connections == second.connections == 1
        await second.stop()
        results = await attempts.make(hop(first, second), Message(SENDER, body), [BOB])
        assert known(results[BOB].trouble).is_temporary


async def test_no_host_at_all_is_a_connection_that_failed(attempts: Attempts, body: Body) -> None:
    results = await attempts.make(NextHop("k", ()), Message(SENDER, body), [BOB])
    assert isinstance(results[BOB].trouble, ConnectionFailed)


def at_most(number: int) -> Callable[[bytes], bytes | None]:
    """Accept that many recipients in each transaction."""

    def count() -> Iterator[bytes | None]:
        while True:
            yield from [None] * number
            while True:
                yield b"452 4.5.3 too many\r\n"

    counting = count()

    def answer(line: bytes) -> bytes | None:
        nonlocal counting
        if line.startswith(b"MAIL"):
            counting = count()
            return None
        return next(counting)

    return answer


async def test_a_server_that_takes_fewer_recipients_gets_the_others_at_once_on_the_same_connection(
    attempts: Attempts, body: Body
) -> None:
    rule = at_most(3)
    addresses = [f"user{n}@example.org" for n in range(8)]
    async with Peer([("MAIL|RCPT", rule)]) as peer:
        results = await attempts.make(hop(peer), Message(SENDER, body), addresses)
        assert all(result.is_accepted for result in results.values())
        assert [len(message.rcpt) for message in peer.messages] == [3, 3, 2]
        assert peer.connections == 1


async def test_a_server_that_takes_none_is_not_asked_again(attempts: Attempts, body: Body) -> None:
    async with Peer([("RCPT", b"452 4.5.3 too many\r\n")]) as peer:
        results = await attempts.make(hop(peer), Message(SENDER, body), [BOB, CARL])
        assert [result.reply.code for result in results.values() if result.reply] == [452, 452]
        assert len([line for line in peer.commands if line.startswith(b"MAIL")]) == 1


async def test_rcptmax_and_mailmax_are_kept(attempts: Attempts, body: Body) -> None:
    async with Peer(extensions=("PIPELINING", "LIMITS RCPTMAX=2 MAILMAX=2")) as peer:
        results = await attempts.make(hop(peer), Message(SENDER, body), [f"user{n}@example.org" for n in range(5)])
        assert all(result.is_accepted for result in results.values())
        assert [(len(message.rcpt), message.connection) for message in peer.messages] == [(2, 1), (2, 1), (1, 2)]


async def test_rcptdomainmax_is_kept_and_every_recipient_served(attempts: Attempts, body: Body) -> None:
    recipients = ["a@one.example", "b@two.example", "c@ONE.example", "d@two.example", "e@three.example"]
    async with Peer(extensions=("PIPELINING", "LIMITS RCPTDOMAINMAX=1")) as peer:
        results = await attempts.make(hop(peer), Message(SENDER, body), recipients)
        assert set(results) == set(recipients)
        assert all(result.is_accepted for result in results.values())
        assert [len(message.rcpt) for message in peer.messages] == [2, 2, 1]


def test_a_reply_for_one_recipient_in_lmtp_leaves_the_others_as_they_are() -> None:
    lost = Disconnected("lost")
    transaction = Transaction(
        [BOB, CARL], WHO, OK, {BOB: OK, CARL: OK}, finals={BOB: NO}, trouble=lost, uncertain=True, lmtp=True
    )
    results, again = judge(transaction)
    assert (results[BOB].stage, results[BOB].reply) == (Stage.CONTENT, NO)
    assert results[CARL].is_uncertain
    assert again == []


async def test_each_recipient_is_asked_for_once(attempts: Attempts, body: Body) -> None:
    async with Peer() as peer:
        await attempts.make(hop(peer), Message(SENDER, body), [BOB, BOB])
        assert len(peer.messages[0].rcpt) == 1


async def test_non_ascii_addresses_are_refused_here_and_the_others_get_the_message(attempts: Attempts, body: Body) -> None:
    async with Peer() as peer:
        results = await attempts.make(hop(peer), Message(SENDER, body), ["jürgen@example.org", BOB])
        assert known(results["jürgen@example.org"].reply).enhanced == "5.6.7"
        assert results[BOB].is_accepted
        results = await attempts.make(hop(peer), Message("jürgen@example.com", body), [BOB])
        assert results[BOB].stage is Stage.MAIL
        assert len(peer.messages) == 1


async def test_opportunistic_tls_that_fails_is_followed_by_cleartext_once_and_remembered(attempts: Attempts, body: Body) -> None:
    rules = [("EHLO", b"250-peer.example\r\n250 STARTTLS\r\n"), ("STARTTLS", b"454 4.7.0 broken\r\n")]
    async with Peer(rules) as peer:
        for _ in range(2):
            results = await attempts.make(hop(peer, tls=Tls.OPPORTUNISTIC), Message(SENDER, body), [BOB])
            assert results[BOB].is_accepted
            assert known(results[BOB].peer).tls == ""
            await attempts.close()  # the second attempt needs a connection of its own
        assert peer.connections == 3
        assert peer.commands.count(b"STARTTLS") == 1


async def test_a_host_that_offers_chunking_and_knows_no_bdat_is_asked_once(attempts: Attempts, body: Body) -> None:
    async with Peer([("BDAT", b"502 5.5.1 what\r\n")], extensions=("PIPELINING", "CHUNKING")) as peer:
        for _ in range(2):
            results = await attempts.make(hop(peer), Message(SENDER, body), [BOB])
            assert results[BOB].is_accepted
            await attempts.close()  # the second attempt needs a connection of its own
        assert [command[:4] for command in peer.commands].count(b"BDAT") == 1


async def test_tls_that_is_demanded_goes_on_to_the_next_host_and_never_to_cleartext(
    attempts: Attempts, body: Body, server_tls: ssl.SSLContext
) -> None:
    async with Peer() as first, Peer(tls=server_tls) as second:
        results = await attempts.make(hop(first, second, tls=Tls.REQUIRED), Message(SENDER, body), [BOB])
        assert isinstance(results[BOB].trouble, TlsError)  # the second one's certificate is for another name
        assert first.connections == second.connections == 1
        assert not [line for peer in (first, second) for line in peer.commands if line.startswith(b"MAIL")]


async def test_a_refused_password_is_not_carried_to_the_next_host(attempts: Attempts, body: Body) -> None:
    rules = [("AUTH", b"535 5.7.8 no\r\n")]
    offered = ("AUTH SCRAM-SHA-256",)
    async with Peer(rules, extensions=offered) as first, Peer(rules, extensions=offered) as second:
        results = await attempts.make(hop(first, second, credentials=Credentials("ann", "x")), Message(SENDER, body), [BOB])
        assert isinstance(results[BOB].trouble, AuthenticationFailed)
        assert second.connections == 0


async def test_the_deadline_ends_an_attempt_wherever_it_is(attempts: Attempts, body: Body) -> None:
    for moment in (GREETING.decode(), "EHLO", "MAIL", "DATA", END.decode()):
        async with Peer([(moment, HANG)]) as peer, asyncio.timeout(5):
            deadline = asyncio.get_running_loop().time() + 0.1
            results = await attempts.make(hop(peer), Message(SENDER, body), [BOB], deadline=deadline)
            assert results[BOB].trouble is not None
            assert results[BOB].is_uncertain == (moment == END.decode())


async def test_many_at_once_share_a_bounded_number_of_idle_connections(trusting: ssl.SSLContext, body: Body) -> None:
    attempts = Attempts(AsyncIo(), pool=PoolLimits(idle_per_key=3))
    async with Peer() as peer:
        await asyncio.gather(*(attempts.make(hop(peer), Message(SENDER, body), [BOB]) for _ in range(20)))
        assert len(peer.messages) == 20
        assert len(attempts._pool) == 3
        await attempts.close()
        assert peer.commands.count(b"QUIT") == peer.connections
