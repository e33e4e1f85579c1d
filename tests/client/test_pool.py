from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import pytest

from waymail.client.asynchronous import AsyncIo
from waymail.client.connection import Connection
from waymail.client.pool import Idle, IdleConnections, PoolLimits, choose, is_fit
from waymail.client.transaction import Message
from waymail.mail.envelope import Body
from waymail.testing.peer import Peer

Connect = Callable[..., Awaitable[Connection]]
Eventually = Callable[[Callable[[], bool]], Awaitable[None]]
LIMITS = PoolLimits(idle_seconds=10, age_seconds=100, messages=5)
NOW = 1000.0


@dataclass(frozen=True)
class Known:
    """What the decision looks at, as plain values."""

    is_usable: bool = True
    opened_at: float = NOW - 50
    messages: int = 1
    most_messages: int | None = None


@pytest.mark.parametrize(
    ("entry", "fit"),
    [
        (Idle(Known(), NOW - 1), True),
        (Idle(Known(), NOW - 10), False),
        (Idle(Known(is_usable=False), NOW), False),
        (Idle(Known(opened_at=NOW - 100), NOW), False),
        (Idle(Known(messages=4), NOW), True),
        (Idle(Known(messages=5), NOW), False),
        (Idle(Known(messages=2, most_messages=2), NOW), False),
        (Idle(Known(messages=5, most_messages=50), NOW), False),
    ],
    ids=["fit", "idle too long", "dead", "too old", "one message left", "none left", "MAILMAX reached", "MAILMAX is above ours"],
)
def test_a_connection_is_fit_within_all_limits(entry: Idle[Known], fit: bool) -> None:
    assert is_fit(entry, NOW, LIMITS) is fit


def test_the_fit_connection_used_last_is_chosen() -> None:
    old, middle, dead = Idle(Known(), NOW - 20), Idle(Known(), NOW - 5), Idle(Known(is_usable=False), NOW)
    assert choose([middle, Idle(Known(), NOW - 1)], NOW, LIMITS) == 1
    assert choose([old, middle, dead], NOW, LIMITS) == 1
    assert choose([old, dead], NOW, LIMITS) == -1
    assert choose([], NOW, LIMITS) == -1


async def test_a_connection_put_back_is_taken_again_by_its_own_key_alone(connect: Connect) -> None:
    async with Peer() as peer:
        pool = IdleConnections(PoolLimits(), AsyncIo())
        connection = await connect(peer)
        pool.put("a", connection)
        assert len(pool) == 1
        assert pool.take("b") is None
        assert pool.take("a") is connection
        assert pool.take("a") is None
        assert len(pool) == 0


async def test_an_unfit_connection_is_left_instead_of_kept(connect: Connect, body: Body) -> None:
    async with Peer() as peer:
        pool = IdleConnections(PoolLimits(messages=1), AsyncIo())
        connection = await connect(peer)
        await connection.transaction(Message("ann@example.com", body), ["bob@example.org"])
        pool.put("a", connection)
        assert len(pool) == 0
        await connection.quit()
        assert peer.commands[-1] == b"QUIT"


async def test_no_more_are_kept_than_the_limits_allow(connect: Connect) -> None:
    async with Peer() as peer:
        pool = IdleConnections(PoolLimits(idle_per_key=2, idle_total=3), AsyncIo())
        for key in ("a", "a", "a", "b", "b"):
            pool.put(key, await connect(peer))
        assert len(pool) == 3
        await pool.close()


async def test_a_connection_that_died_while_idle_is_not_given_out(connect: Connect, eventually: Eventually) -> None:
    async with Peer() as peer:
        pool = IdleConnections(PoolLimits(), AsyncIo())
        connection = await connect(peer)
        pool.put("a", connection)
        await peer.stop()
        await eventually(lambda: not connection.is_usable)
        assert pool.take("a") is None
        assert len(pool) == 0


async def test_idle_connections_are_closed_by_one_timer_that_then_ends(connect: Connect, eventually: Eventually) -> None:
    async with Peer() as peer:
        pool = IdleConnections(PoolLimits(idle_seconds=0.05), AsyncIo())
        connection = await connect(peer)
        pool.put("a", connection)
        await eventually(lambda: len(pool) == 0)
        await connection.quit()
        assert peer.commands[-1] == b"QUIT"
        assert pool._sweeper is None


async def test_closing_says_quit_everywhere_and_what_comes_back_later_is_closed_too(connect: Connect) -> None:
    async with Peer() as peer:
        pool = IdleConnections(PoolLimits(), AsyncIo())
        busy = await connect(peer)
        pool.put("a", await connect(peer))
        pool.put("b", await connect(peer))
        await pool.close()
        assert peer.commands.count(b"QUIT") == 2
        pool.put("a", busy)
        await busy.quit()
        assert peer.commands.count(b"QUIT") == 3
        assert len(pool) == 0
