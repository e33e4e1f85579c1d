from __future__ import annotations

import asyncio
import os
import socket
import stat
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import uvloop

from waymail.net import streams, unix
from waymail.net.streams import ListenFailed

Run = Callable[[Coroutine[Any, Any, None]], None]


@pytest.fixture(params=[asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    found: Run = request.param
    return found


class Greets(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.address = streams.peer_address(transport)
        transport.write(b"220 <" + self.address.encode() + b">\r\n")  # type: ignore[attr-defined]
        transport.close()


class Collects(asyncio.Protocol):
    def __init__(self) -> None:
        self.all = asyncio.get_running_loop().create_future()
        self.octets = b""

    def data_received(self, data: bytes) -> None:
        self.octets += data

    def connection_lost(self, exc: Exception | None) -> None:
        self.all.set_result(self.octets)


async def greeted(path: Path) -> bytes:
    _, client = await streams.connect_unix(Collects, str(path), timeout=5)
    said: bytes = await asyncio.wait_for(client.all, 5)
    return said


def test_a_client_is_served_and_has_no_address(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "s"

    async def scenario() -> None:
        listener = await unix.listen(Greets, path, 0o600)
        assert listener.addresses == (f"unix:{path}",)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert await greeted(path) == b"220 <>\r\n"
        listener.close()
        assert not path.exists()
        listener.close()

    run(scenario())


def test_the_mode_is_the_one_that_was_asked_for_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        made = unix.bind(tmp_path / "s", 0o666)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "s").stat().st_mode) == 0o666
    made.socket.close()


def test_the_socket_of_a_dead_server_is_replaced(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "s"
    unix.bind(path, 0o600).socket.close()
    assert path.exists()

    async def scenario() -> None:
        listener = await unix.listen(Greets, path, 0o600)
        assert await greeted(path) == b"220 <>\r\n"
        listener.close()

    run(scenario())


def test_a_socket_at_which_somebody_listens_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "s"
    made = unix.bind(path, 0o600, backlog=0)
    waiting = [socket.socket(socket.AF_UNIX) for _ in range(3)]
    for round in range(2):
        with pytest.raises(ListenFailed, match=r"another program listens there already: stop it .*, or choose another path"):
            unix.bind(path, 0o600)
        for one in waiting if round == 0 else ():  # the second time, with a full queue
            one.setblocking(False)
            one.connect_ex(str(path))
    for one in (*waiting, made.socket):
        one.close()


def test_a_file_that_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "s").write_text("precious")
    with pytest.raises(ListenFailed, match="a file that is no socket is there: move it away"):
        unix.bind(tmp_path / "s", 0o600)
    assert (tmp_path / "s").read_text() == "precious"


def test_a_link_to_somebody_s_socket_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "s").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ListenFailed, match="no socket"):
        unix.bind(tmp_path / "s", 0o600)


def test_what_is_wrong_with_a_path_is_said(tmp_path: Path) -> None:
    with pytest.raises(ListenFailed, match=r"there is no folder .*none: make it"):
        unix.bind(tmp_path / "none" / "s", 0o600)
    with pytest.raises(ListenFailed, match="107 octets at most: choose a shorter one"):
        unix.bind(tmp_path / ("s" * 107), 0o600)


def test_another_server_s_file_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "s"
    first = unix.bind(path, 0o600)
    path.unlink()
    second = unix.bind(path, 0o600)
    first.remove()
    assert path.exists()
    second.remove()
    assert not path.exists()
    first.socket.close()
    second.socket.close()


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="Linux alone names folders by their descriptors")
def test_a_socket_whose_path_is_too_long_is_reached_by_a_shorter_one(tmp_path: Path) -> None:
    folder = tmp_path / ("d" * 120)
    folder.mkdir()
    with unix.reachable(folder / "s") as path:
        made = unix.bind(path, 0o600)
    with made.socket, socket.socket(socket.AF_UNIX) as client, unix.reachable(folder / "s") as path:
        client.connect(str(path))
    assert stat.S_IMODE((folder / "s").stat().st_mode) == 0o600


def test_a_path_that_is_short_enough_is_taken_as_it_is(tmp_path: Path) -> None:
    with unix.reachable(tmp_path / "s") as path:
        assert path == tmp_path / "s"
