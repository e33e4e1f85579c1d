"""What becomes of a machine that is given another configuration. (tests/system/test_reload.py has real processes.)"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import uvloop

from waymail.app.config.load import parse
from waymail.app.config.problems import ConfigError
from waymail.app.reload import Serving, plan, reload, take_up
from waymail.app.running import stop
from waymail.app.wiring import Machine, build
from waymail.net.streams import parse_address
from waymail.server.users import add_user
from waymail.testing.process import free_port

FRONT = 'hostname = "mail.example.org"\n'


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"uvloop": uvloop.new_event_loop}


def tables(*addresses: str, **more: str) -> str:
    extra = "".join(f", {key} = {value}" for key, value in more.items())
    one = (f'{{ kind = "mx", address = "{address}", tls = "off"{extra} }}' for address in addresses)
    return f"{FRONT}listener = [{', '.join(one)}]\n"


def steps(old: str, new: str) -> tuple[list[str], ...]:
    path = Path("/x/waymail.toml")
    running = tuple((one, object()) for one in parse(old, path).listeners)
    made: Any = plan(running, parse(new, path).listeners)  # type: ignore[arg-type]
    parts = (made.kept, made.replaced, made.gone, [(one, index) for index, one in made.new])
    return tuple([str(one.address) for one, _ in part] for part in parts)


def test_listeners_are_known_by_their_address() -> None:
    one, two, three = "127.0.0.1:25", "127.0.0.1:26", "unix:/run/s"
    assert steps(tables(one, two), tables(two, three)) == ([two], [], [one], [three])
    assert steps(tables(one), tables(one, proxies='["10.0.0.1"]')) == ([], [one], [], [])
    assert steps(tables(three), tables(three, mode='"0600"')) == ([three], [], [], [])
    assert steps(tables("127.0.0.1:0", "127.0.0.1:0"), tables("127.0.0.1:0")) == (["127.0.0.1:0"], [], ["127.0.0.1:0"], [])


class Bench:
    """A machine whose listeners run, and reloads of it."""

    def __init__(self, folder: Path, machine: Machine, serving: Serving) -> None:
        self.folder, self.machine, self.serving = folder, machine, serving

    async def take_up(self, text: str) -> None:
        await take_up(self.serving, parse(text, self.folder / "waymail.toml"))

    async def greeting(self, at: int = 0) -> str:
        """What a new session is told first."""
        bound = self.machine.listeners[at][1].addresses
        reader, writer = await asyncio.open_connection(*parse_address(bound[0]))
        async with asyncio.timeout(5):
            line = await reader.readline()
        writer.close()
        return line.decode()


@asynccontextmanager
async def serving(folder: Path, text: str) -> AsyncIterator[Bench]:
    machine = await build(parse(text, folder / "waymail.toml"))
    async with asyncio.TaskGroup() as group:
        running = group.create_task(machine.runner.run())
        made = Serving(machine, group.create_task)
        for _, listener in machine.listeners:
            made.run(listener)
        await asyncio.sleep(0)
        for one, listener in machine.listeners:
            await made.open(one, listener)
        try:
            yield Bench(folder, machine, made)
        finally:
            await asyncio.wait_for(stop(made, running, [], asyncio.Event()), 10)


async def test_what_was_counted_of_users_goes_on_and_their_back_end_stays_where_it_is_the_same(tmp_path: Path) -> None:
    async with serving(tmp_path, tables("127.0.0.1:0") + "submission.messages_per_hour = 2\n") as bench:
        before = bench.machine.accounts
        before.quota.sent("ann", bench.machine.clock.now(), 1)
        before.guard.failed("192.0.2.1", "ann", 0.0)
        await bench.take_up(tables("127.0.0.1:0") + "submission.messages_per_hour = 1\n")
        after = bench.machine.accounts
        assert after.users is before.users
        assert after.quota.check("ann", bench.machine.clock.now()) is not None, "one is sent, and one is allowed now"
        assert after.guard.delay("192.0.2.1", 0.0) > 0
        assert bench.machine.listeners[0][1].authenticator is after.authenticator


async def test_another_back_end_of_users_takes_the_place_of_the_old_one_which_ends_with_the_server(tmp_path: Path) -> None:
    add_user(tmp_path / "others.toml", "bob", "secret", ["bob@example.org"])
    async with serving(tmp_path, tables("127.0.0.1:0")) as bench:
        old = bench.machine.accounts.users
        await bench.take_up(tables("127.0.0.1:0") + 'users.file = "others.toml"\n')
        new = bench.machine.accounts.users
        assert await new.verify("bob", "secret") == "bob"
        assert await old.verify("bob", "secret") is None, "it answers what it was asked before"
    with pytest.raises(RuntimeError):
        await old.verify("bob", "secret")


async def test_the_resolver_keeps_what_it_knows_unless_it_is_another(tmp_path: Path) -> None:
    async with serving(tmp_path, tables("127.0.0.1:0")) as bench:
        before = bench.machine.sending
        await bench.take_up(tables("127.0.0.1:0") + "delivery.total = 7\n")
        assert bench.machine.sending.resolver is before.resolver
        assert bench.machine.sending.limits.total == 7
        await bench.take_up(tables("127.0.0.1:0") + 'dns.resolvers = ["127.0.0.1:5353"]\n')
        assert bench.machine.sending.resolver is not before.resolver


async def test_what_cannot_be_opened_leaves_everything_as_it_was(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        async with serving(tmp_path, tables("127.0.0.1:0")) as bench:
            machine = bench.machine
            before = (machine.config, machine.accounts, machine.sending, machine.receiving, machine.listeners)
            other = free_port()
            wanted = tables("127.0.0.1:0", f"127.0.0.1:{other}", f"127.0.0.1:{taken.getsockname()[1]}")
            with pytest.raises(ConfigError, match="another program listens there"):
                await bench.take_up(wanted.replace("mail.", "new."))
            assert (machine.config, machine.accounts, machine.sending, machine.receiving, machine.listeners) == before
            assert (await bench.greeting()).startswith("220 mail.example.org ")
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", other)


async def test_a_socket_file_gets_another_mode_in_place(tmp_path: Path) -> None:
    async with serving(tmp_path, tables("unix:s")) as bench:
        [before] = bench.machine.listeners
        await bench.take_up(tables("unix:s", mode='"0600"'))
        [after] = bench.machine.listeners
        assert after[1] is before[1]
        assert (tmp_path / "s").stat().st_mode & 0o777 == 0o600


async def test_a_listener_that_drains_is_stopped_with_the_others(tmp_path: Path) -> None:
    async with serving(tmp_path, tables("127.0.0.1:0")) as bench:
        address = bench.machine.listeners[0][1].addresses[0]
        reader, writer = await asyncio.open_connection(*parse_address(address))
        await reader.readline()
        await bench.take_up(FRONT)
        writer.write(b"NOOP\r\n")
        assert (await reader.readline()).startswith(b"250 ")
        assert len(bench.serving.tasks) == 1
    assert (await reader.read()).startswith(b"421 4.3.2 ")
    writer.close()


async def test_the_log_names_the_files_that_are_others_where_the_configuration_is_the_same(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    texts, secret, hook = tmp_path / "notices.toml", tmp_path / "secret", f"http://127.0.0.1:{free_port()}/"
    text = tables("127.0.0.1:0") + f'notices.language = "notices.toml"\nroutes."*" = "webhook+{hook}"\n'
    text += f'webhooks."{hook}".secret_file = "secret"\n'
    (tmp_path / "waymail.toml").write_text(text)
    texts.write_text("")
    secret.write_text("whsec_" + "A" * 32)
    caplog.set_level("INFO", "waymail")

    async def told(bench: Bench) -> Any:
        await reload(bench.serving)
        (record,) = [one for one in caplog.records if one.getMessage() == "reloaded"]
        caplog.clear()
        return vars(record)["fields"]

    async with serving(tmp_path, text) as bench:
        same = {"file": str(tmp_path / "waymail.toml"), "changed": []}
        assert await told(bench) == same
        texts.write_text('subject.failed = "Oh"\n')
        assert await told(bench) == same | {"files": [str(texts)]}
        assert await told(bench) == same
        secret.write_text("whsec_" + "B" * 32)  # as long as before
        assert await told(bench) == same | {"files": [str(secret)]}


async def test_the_reserve_the_history_and_the_log_follow(tmp_path: Path) -> None:
    async with serving(tmp_path, tables("127.0.0.1:0")) as bench:
        more = 'queue.reserve = "7MB"\nhistory.keep = "1d"\nlog.level = "error"\n'
        root = logging.getLogger()
        level, handlers = root.level, root.handlers[:]
        try:
            await bench.take_up(tables("127.0.0.1:0") + more)
            assert root.level == logging.ERROR
        finally:
            root.setLevel(level)
            root.handlers[:] = handlers
        assert bench.machine.intake.room.reserve == 7_000_000
        assert bench.machine.history.bounds.keep == 86_400
