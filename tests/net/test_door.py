"""The door with protocols that know nothing of SMTP. (tests/server/test_listener_doors.py has sessions behind it.)"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvloop

from waymail.net import streams
from waymail.net.door import Door

Run = Callable[[Coroutine[Any, Any, None]], None]
HEADER = b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 25\r\n"


@pytest.fixture(params=[asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    found: Run = request.param
    return found


class Seen(asyncio.Protocol):
    """Keeps what it gets."""

    def __init__(self, address: str = "", proxy: str = "") -> None:
        self.address, self.proxy = address, proxy
        self.octets = bytearray()
        self.lost: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        self.some = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        self.octets += data
        self.some.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set_result(exc)


async def opened(admit: Callable[[str, str], asyncio.Protocol | None], **options: Any) -> Door:
    door = Door(admit, timeout=options.pop("timeout", 5.0), spawn=asyncio.ensure_future, **options)
    await door.open("127.0.0.1:0")
    return door


async def connected(door: Door) -> tuple[asyncio.Transport, Seen]:
    host, port = streams.parse_address(door.addresses[0])
    return await streams.connect(Seen, host, port, timeout=5)


def test_the_octets_behind_a_header_reach_the_protocol_and_the_header_does_not(run: Run) -> None:
    async def scenario() -> None:
        seen: asyncio.Queue[Seen] = asyncio.Queue()

        def admit(address: str, proxy: str) -> Seen:
            seen.put_nowait(made := Seen(address, proxy))
            return made

        door = await opened(admit, proxies=("127.0.0.1",))
        transport, _ = await connected(door)
        transport.write(HEADER + b"and more")
        made = await asyncio.wait_for(seen.get(), 5)
        await asyncio.wait_for(made.some.wait(), 5)
        assert (made.address, made.proxy, bytes(made.octets)) == ("192.0.2.7", "127.0.0.1", b"and more")
        transport.close()
        assert await asyncio.wait_for(made.lost, 5) is None
        door.close()

    run(scenario())


def test_a_bug_in_admitting_one_client_keeps_out_no_other(run: Run) -> None:
    async def scenario() -> None:
        admitted: list[Seen] = []
        arrived = asyncio.Event()

        def admit(address: str, proxy: str) -> Seen:
            admitted.append(Seen())
            if len(admitted) == 1:
                raise ZeroDivisionError
            arrived.set()
            return admitted[-1]

        door = await opened(admit)
        _, first = await connected(door)
        await asyncio.wait_for(first.lost, 5)
        transport, _ = await connected(door)
        await asyncio.wait_for(arrived.wait(), 5)
        transport.close()
        await asyncio.wait_for(admitted[1].lost, 5)
        assert len(admitted) == 2
        door.close()

    run(scenario())


def test_only_so_many_headers_are_waited_for(run: Run) -> None:
    async def scenario() -> None:
        door = await opened(lambda *_: None, proxies=("127.0.0.1",), most_waiting=2, timeout=0.3)
        clients = [(await connected(door))[1] for _ in range(3)]
        started = asyncio.get_running_loop().time()
        with contextlib.suppress(ConnectionError):
            await asyncio.wait_for(clients[2].lost, 5)
        assert asyncio.get_running_loop().time() - started < 0.2, "at once, not when its time is up"
        await asyncio.wait_for(asyncio.gather(clients[0].lost, clients[1].lost), 5)
        _, later = await connected(door)
        assert not later.lost.done()
        door.close()
        await asyncio.wait_for(later.lost, 5)

    run(scenario())


@pytest.mark.parametrize("proxies", [(), ("127.0.0.1",)], ids=["client", "proxy"])
def test_what_is_cut_off_before_it_has_begun_is_closed_and_told(run: Run, proxies: tuple[str, ...]) -> None:
    async def scenario() -> None:
        admitted: list[Seen] = []

        def admit(address: str, proxy: str) -> Seen:
            admitted.append(Seen())
            return admitted[-1]

        tasks: list[asyncio.Task[None]] = []

        def spawn(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
            tasks.append(asyncio.ensure_future(work))
            if len(tasks) > 1:  # the first one accepts
                tasks[-1].cancel()
            return tasks[-1]

        door = Door(admit, timeout=5.0, spawn=spawn, proxies=proxies)
        await door.open("127.0.0.1:0")
        _, client = await connected(door)
        with contextlib.suppress(ConnectionError):
            await asyncio.wait_for(client.lost, 5)
        for one in admitted:
            assert await asyncio.wait_for(one.lost, 5) is None
        assert len(admitted) == (0 if proxies else 1)
        door.close()

    run(scenario())
