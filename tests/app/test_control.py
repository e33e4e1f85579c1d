"""The control socket of a running machine: who is heard, what can be asked for, and what goes wrong."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import stat
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from waymail.app import control
from waymail.app.asking import FILE, MOST, NobodyThere, Refused, ask, selection_json, selection_of
from waymail.app.config.load import parse
from waymail.app.running import operate
from waymail.app.wiring import Machine, build
from waymail.mail.envelope import Body, Envelope, Recipient
from waymail.queue.plan import DestinationState
from waymail.store.contract import NewMessage, Selection, State
from waymail.testing.process import free_port

CONFIG = """
hostname = "mail.example.org"
[routes]
"*" = "smtp://127.0.0.1:{port}?tls=off"
[[listener]]
kind = "mx"
address = "127.0.0.1:0"
tls = "off"
"""


@asynccontextmanager
async def running(folder: Path, config: str = CONFIG) -> AsyncIterator[Machine]:
    machine = await build(parse(config.format(port=free_port()), folder / "waymail.toml"))
    stop, ready = asyncio.Event(), asyncio.Event()
    operating = asyncio.create_task(operate(machine, stop, ready.set))
    async with asyncio.timeout(30):
        await ready.wait()
        try:
            yield machine
        finally:
            stop.set()
            await operating


@pytest.fixture
async def machine(tmp_path: Path) -> AsyncIterator[Machine]:
    async with running(tmp_path) as machine:
        yield machine


async def put(machine: Machine, to: str = "bob@x.example") -> str:
    """A message that waits, behind one that found the destination down."""
    now = machine.clock.now()
    envelope = Envelope(machine.ids.next(now), "ann@example.org", (Recipient(to),), now)
    await machine.store.accept(NewMessage(envelope, Body(b"Subject: x\r\n\r\nx\r\n", 17), claim=False))
    return envelope.id


async def state(machine: Machine, id: str) -> State:
    story = await machine.store.get(id)
    assert story is not None
    return story.recipients[0].state


async def answers(machine: Machine, what: str, **more: Any) -> list[Mapping[str, Any]]:
    return [one async for one in ask(machine.config.data_dir, what, **more)]


async def act(machine: Machine, what: str, selection: Mapping[str, Any]) -> None:
    """Change one recipient, once nobody attempts it."""
    for _ in range(1000):
        if (await answers(machine, what, selection=selection))[-1]["done"]["recipients"] == 1:
            return
    raise AssertionError(f"nothing to {what}")


async def said(machine: Machine, octets: bytes) -> Any:
    """The answer to a line that is sent as it is."""
    reader, writer = await asyncio.open_unix_connection(machine.config.data_dir / FILE)
    writer.write(octets)
    line = await reader.readline()
    writer.close()
    return json.loads(line)


async def test_only_the_user_may_open_the_socket_and_it_goes_with_the_server(tmp_path: Path) -> None:
    path = tmp_path / "data" / FILE
    async with running(tmp_path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not path.exists()
    with pytest.raises(NobodyThere):
        await anext(ask(tmp_path / "data", "status"))


async def test_the_socket_of_a_dead_server_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "data" / FILE))
    with pytest.raises(NobodyThere):
        await anext(ask(tmp_path / "data", "status"))
    async with running(tmp_path) as machine:
        assert (await answers(machine, "status"))[-1]["done"]["pid"] == os.getpid()


async def test_a_data_directory_with_a_long_path_has_one_too(tmp_path: Path) -> None:
    folder = tmp_path / ("d" * 100)
    folder.mkdir()
    async with running(folder) as machine:
        assert "done" in (await answers(machine, "status"))[-1]
    assert not (folder / "data" / FILE).exists()


async def test_without_a_socket_the_server_runs_all_the_same(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "data" / FILE).mkdir(parents=True)
    async with running(tmp_path):
        assert "no control socket: commands cannot change the queue" in caplog.messages


async def test_commands_change_the_queue(machine: Machine, caplog: pytest.LogCaptureFixture) -> None:
    id, other = await put(machine), await put(machine, "eve@y.example")
    chosen = selection_json(Selection(ids=(id,)))
    with caplog.at_level("INFO", "waymail.control"):
        assert await answers(machine, "hold", selection=chosen) == [{"done": {"recipients": 1, "messages": 1, "active": 0}}]
    assert "the queue was changed by a command" in caplog.messages
    assert await state(machine, id) is State.HELD
    for what, becomes in (("release", None), ("hold", State.HELD), ("bounce", State.FAILED)):
        await act(machine, what, chosen)
        if becomes is not None:  # what is released is attempted at once
            assert await state(machine, id) is becomes
    await act(machine, "hold", selection_json(Selection(domain="y.example")))
    (answer,) = await answers(machine, "remove", selection=selection_json(Selection(domain="y.example")))
    assert answer["done"] == {"recipients": 1, "messages": 1, "active": 0, "in_hand": 0}
    assert await state(machine, other) is State.REMOVED


async def test_notices_of_what_was_returned_are_not_said_to_be_in_the_servers_hands_besides(machine: Machine) -> None:
    await put(machine)
    everything = selection_json(Selection(everything=True))
    await answers(machine, "hold", selection=everything)
    (answer,) = await answers(machine, "bounce", selection=everything)
    assert answer["done"] == {"recipients": 1, "messages": 1, "active": 0, "in_hand": 0}


async def test_destinations_and_ways_are_told(machine: Machine) -> None:
    id = await put(machine)
    await answers(machine, "flush", selection=selection_json(Selection(ids=(id,))))
    destination: Mapping[str, Any] = {}
    items: list[Mapping[str, Any]] = []
    while destination.get("state") != "down":
        await asyncio.sleep(0)  # until the attempt has met nobody
        items = [one.get("item", {}) for one in await answers(machine, "destinations", domains=["x.example"])]
        destination = next((one for one in items if "destination" in one), {})
    (way,) = [one for one in items if "way" in one]
    assert (way["way"], way["to"], way["hosts"]) == ("x.example", destination["destination"], ["127.0.0.1"])
    assert destination["failures"] >= 1
    assert destination["last_reply"].startswith("451 4.4.1 no connection to 127.0.0.1:")
    assert destination["last_reply"].endswith(": refused")
    assert destination["down_since"] < destination["down_until"]
    await act(machine, "hold", selection_json(Selection(ids=(id,))))
    (status,) = await answers(machine, "status")
    assert (status["done"]["held"], status["done"]["down"]) == (1, 1)


async def test_why_no_mail_is_taken_is_told_as_long_as_none_is(machine: Machine) -> None:
    room = machine.intake.room
    assert [(await answers(machine, what))[-1]["done"]["refusing"] for what in ("status", "destinations")] == ["", ""]
    room.reserve = 10**18
    room.look()
    said = f"less than 1000000000GB was free on {room.folder}; it is taken again where 1100000000GB are"
    assert [(await answers(machine, what))[-1]["done"]["refusing"] for what in ("status", "destinations")] == [said, said]
    room.lacks = "files"
    assert control.why_no_mail(machine) == f"there is room for fewer than 1,000 files on {room.folder}"
    room.lacks = ""
    machine.store._checkpointer.failed = True  # type: ignore[attr-defined]
    assert "look at the disk, and start the server anew" in control.why_no_mail(machine)
    machine.store._checkpointer.failed = False  # type: ignore[attr-defined]


def test_of_thousands_of_destinations_those_are_told_that_were_asked_for_and_the_busiest() -> None:
    states = [DestinationState(f"d{number}", active=number % 100) for number in range(5_000)]
    told = [state.key for state in control.of_interest(states, {"d0", "d200"})]
    assert told[:2] == ["d0", "d200"]  # nothing is attempted there, but they were asked for
    assert set(told[2:]) == {f"d{number}" for number in range(99, 2_000, 100)}


async def test_an_empty_selection_changes_nothing(machine: Machine) -> None:
    await put(machine)
    assert (await answers(machine, "remove", selection={}))[-1]["done"]["recipients"] == 0


@pytest.mark.parametrize(
    ("request_", "why"),
    [
        (b"nonsense\n", "a request is an object in JSON"),
        (b"\xff\n", "a request is an object in JSON"),
        (b"[]\n", "version 1 of the control protocol"),
        (b'{"version": 2, "ask": "status"}\n', "version 1 of the control protocol"),
        (b'{"version": 1, "ask": "explode"}\n', "cannot be asked for 'explode'"),
        (b'{"version": 1, "ask": ["hold"]}\n', "cannot be asked for"),
        (b'{"version": 1, "ask": "hold"}\n', "selection: must be an object"),
        (b'{"version": 1, "ask": "hold", "selection": {"ids": "x"}}\n', "selection: ids: 'x' cannot be"),
        (b'{"version": 1, "ask": "hold", "selection": {"older": true}}\n', "selection: older: True cannot be"),
        (b'{"version": 1, "ask": "hold", "selection": {"color": 1}}\n', "selection: there is no 'color'"),
        (b'{"version": 1, "ask": "hold", "selection": {"states": ["removed"]}}\n', "cannot be"),
        (b'{"version": 1, "ask": "bounce", "selection": {}, "reason": 3}\n', "reason: must be a text"),
        (b'{"version": 1, "ask": "destinations", "domains": [1]}\n', "domains: must be a list of texts"),
        (b"x" * (2 * MOST + 1), "one line of at most"),
    ],
    ids=range(14),
)
async def test_what_cannot_be_asked_for_is_said(machine: Machine, request_: bytes, why: str) -> None:
    answer = await said(machine, request_)
    assert why in answer["error"]
    assert answer["code"] == os.EX_USAGE


async def test_a_refusal_carries_its_code(machine: Machine) -> None:
    with pytest.raises(Refused, match="cannot be asked for") as raised:
        await answers(machine, "explode")
    assert raised.value.code == os.EX_USAGE


async def test_other_users_are_not_heard(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "_uid", lambda writer: os.getuid() + 1)
    with pytest.raises(Refused, match="only the server's user and root may ask") as raised:
        await answers(machine, "status")
    assert raised.value.code == os.EX_NOPERM


async def test_a_long_command_gives_signs_of_life_and_ends_with_whoever_asked(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ended = asyncio.Event()

    async def forever(machine: Machine, request: Mapping[str, Any]) -> AsyncIterator[Mapping[str, Any]]:
        try:
            await asyncio.Event().wait()
            yield {}
        finally:
            ended.set()

    monkeypatch.setattr(control, "BEAT", 0.01)
    monkeypatch.setattr(control, "HANDLERS", {"wait": forever})
    monkeypatch.setattr(control, "CHANGING", ("wait",))
    caplog.set_level("INFO", "waymail.control")
    asking = ask(machine.config.data_dir, "wait")
    assert "working" in await anext(asking)
    assert "working" in await anext(asking)
    await asking.aclose()  # type: ignore[attr-defined]
    await ended.wait()
    while not caplog.messages:  # noqa: ASYNC110 - a log has no event
        await asyncio.sleep(0)
    assert "a command ended early: a part of it may be done" in caplog.messages


async def test_too_many_at_once_are_asked_to_come_again(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "AT_ONCE", 1)
    _, first = await asyncio.open_unix_connection(machine.config.data_dir / FILE)
    with pytest.raises(Refused, match="try again") as raised:
        await answers(machine, "status")
    assert raised.value.code == os.EX_TEMPFAIL
    first.close()


async def test_the_server_stops_while_a_command_is_under_way(tmp_path: Path) -> None:
    async with running(tmp_path) as machine:
        reading, silent = await asyncio.open_unix_connection(machine.config.data_dir / FILE)
        await answers(machine, "status")
    assert await reading.read() == b"", "whoever asked is let go"
    assert not (machine.config.data_dir / FILE).exists()
    silent.close()


@pytest.mark.parametrize(
    "selection",
    [
        Selection(),
        Selection(sender=""),
        Selection(older=0.0),
        Selection(ids=("a", "b"), sender="x", recipient="y", domain="z", below=True, older=1.5, states=(State.HELD,)),
        Selection(everything=True),
        Selection(domains=frozenset({"a.example", "b.example"})),
    ],
    ids=str,
)
def test_a_selection_survives_the_way(selection: Selection) -> None:
    assert selection_of(json.loads(json.dumps(selection_json(selection)))) == selection


async def test_where_there_is_no_way_it_is_said_why(tmp_path: Path) -> None:
    config = CONFIG.replace('"*" = "smtp://127.0.0.1:{port}?tls=off"', "") + '[dns]\nresolvers = ["127.0.0.1:{port}"]\n'
    async with running(tmp_path, config) as machine:
        way = (await answers(machine, "destinations", domains=["x.example"]))[0]["item"]
    assert (way["way"], way["to"], way["hosts"]) == ("x.example", None, [])
    assert "DNS" in way["why"]
