"""SIGHUP, and the stop, of a real `waymail serve`: no session is ended by a reload, and no message is lost."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.system.counting import CountingSink
from tests.system.counting import client as keep_sending

from waymail.testing.process import ServerProcess, free_port, wait_for_port

SOON = 15.0

CONFIG = """\
hostname = "reload.example.org"
data_dir = "data"
stop_after = "5s"
[[listener]]
kind = "mx"
address = "127.0.0.1:{port}"
tls = "off"
[domains."example.org"]
recipients = ["ann"]
deliver = "maildir:first/{{local}}"
[log]
level = "info"
"""
MORE = """
[[listener]]
kind = "mx"
address = "127.0.0.1:{port}"
tls = "off"
"""


class Session:
    """An SMTP session, in octets."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), SOON)
        self._lines = self.socket.makefile("rb")
        assert self.reply() == "220"

    def reply(self) -> str:
        """The code of the next reply; "" where the connection is closed."""
        while (line := self._lines.readline())[3:4] == b"-":
            pass
        return line[:3].decode()

    def say(self, *lines: str) -> list[str]:
        self.socket.sendall("".join(f"{line}\r\n" for line in lines).encode())
        return [self.reply() for _ in lines]

    def content(self, *lines: str) -> None:
        self.socket.sendall("".join(f"{line}\r\n" for line in lines).encode())

    def message(self, recipient: str = "ann@example.org") -> str:
        """Send one; what it is answered."""
        said = self.say("MAIL FROM:<x@client.example>", f"RCPT TO:<{recipient}>", "DATA")
        if said[-1] != "354":
            return said[-1]
        self.content("Subject: x", "", "text", ".")
        return self.reply()


def until(condition: Callable[[], bool], what: str, seconds: float = SOON) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"there never was {what}"
        time.sleep(0.02)


def reload(server: ServerProcess, config: str | None = None, said: str = " reloaded ") -> str:
    """Write the configuration and send SIGHUP; what the log says of it."""
    if config is not None:
        server.config.write_text(config)
    before = server.log.stat().st_size

    def news() -> str:
        return server.log.read_bytes()[before:].decode()

    os.kill(server.pid, signal.SIGHUP)
    until(lambda: said in news(), f"{said!r} in the log: {news()}")
    return news()


@pytest.fixture
def port() -> int:
    return free_port()


def test_sessions_in_data_and_idle_go_on_across_a_reload_and_the_next_message_goes_the_new_way(tmp_path: Path, port: int) -> None:
    with ServerProcess(tmp_path, CONFIG.format(port=port), [port]) as server:
        idle, busy = Session(port), Session(port)
        busy.say("EHLO client.example", "MAIL FROM:<x@client.example>", "RCPT TO:<ann@example.org>", "DATA")
        busy.content("Subject: x", "", "half")
        news = reload(server, CONFIG.format(port=port).replace("first/", "second/").replace('["ann"]', '["ann", "bob"]'))
        assert 'domains.\\"example.org\\".deliver' in news
        assert 'domains.\\"example.org\\".recipients' in news
        busy.content("the rest", ".")
        assert busy.reply() == "250"
        [message] = server.wait_for_mail("second/ann")
        assert b"half\n" in message.replace(b"\r\n", b"\n")
        assert idle.say("EHLO client.example") == ["250"]
        assert idle.message("bob@example.org") == "250"
        server.wait_for_mail("second/bob")
        assert server.mailbox("first/ann") == []


def test_a_listener_is_added_one_is_removed_and_one_changes_its_kind(tmp_path: Path, port: int) -> None:
    second, third = free_port(), free_port()
    text = CONFIG.format(port=port)
    with ServerProcess(tmp_path, text + MORE.format(port=second), [port, second]) as server:
        old = Session(second)
        stays = Session(port)
        changed = text.replace('kind = "mx"', 'kind = "submission"') + MORE.format(port=third)
        news = reload(server, changed)
        wait_for_port(third)
        with pytest.raises(ConnectionRefusedError):
            Session(second)
        words = " ".join(news.split())
        assert f"listening no more kind=mx address=127.0.0.1:{second}" in words
        assert f"listening kind=mx address=127.0.0.1:{third}" in words
        assert f"listening kind=submission address=127.0.0.1:{port}" in words
        assert old.say("EHLO client.example") == ["250"]
        assert old.message() == "250", "its session goes on"
        assert stays.say("EHLO client.example") == ["250"]
        assert stays.message() == "250", "and so does that of one that is something else now"
        new = Session(port)
        new.say("EHLO client.example")
        assert new.message() in ("530", "503")
        server.wait_for_mail("first/ann", 2)
        for session in (old, stays):
            assert session.say("QUIT") == ["221"]
    assert "Traceback" not in server.log.read_text()


def test_an_address_of_one_listener_can_be_part_of_another_s(tmp_path: Path, port: int) -> None:
    text = CONFIG.format(port=port)
    with ServerProcess(tmp_path, text, [port]) as server:
        reload(server, text.replace("127.0.0.1", "0.0.0.0"))  # noqa: S104
        assert Session(port).say("NOOP") == ["250"]
        reload(server, text)
        assert Session(port).say("NOOP") == ["250"]


def test_a_broken_file_changes_nothing_and_is_logged_with_its_line(tmp_path: Path, port: int) -> None:
    text = CONFIG.format(port=port)
    with ServerProcess(tmp_path, text, [port]) as server:
        idle = Session(port)
        broken = text.replace('["ann"]', '["bob"]').replace('level = "info"', 'level = "loud"')
        line = broken.splitlines().index('level = "loud"') + 1
        assert f"waymail.toml:{line}: log.level: " in reload(server, broken, "not reloaded")
        assert idle.say("EHLO client.example") == ["250"]
        assert idle.message() == "250"


def test_an_address_that_is_taken_changes_nothing_and_is_logged_with_its_line(tmp_path: Path, port: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        text = CONFIG.format(port=port)
        with ServerProcess(tmp_path, text, [port]) as server:
            wanted = text.replace('["ann"]', '["bob"]') + MORE.format(port=taken.getsockname()[1])
            line = wanted.splitlines().index(f'address = "127.0.0.1:{taken.getsockname()[1]}"') + 1
            news = reload(server, wanted, "not reloaded")
            assert f"waymail.toml:{line}: listener[1].address: cannot listen" in news
            other = Session(port)
            other.say("EHLO client.example")
            assert other.message() == "250"
            # where the only one would have had to make room, it is opened again
            reload(server, text.replace(f"127.0.0.1:{port}", f"192.0.2.1:{port}"), "not reloaded")
            assert Session(port).say("NOOP") == ["250"]


def test_what_needs_a_restart_is_said_and_the_rest_is_taken_up(tmp_path: Path, port: int) -> None:
    text = CONFIG.format(port=port)
    with ServerProcess(tmp_path, text, [port]) as server:
        news = reload(server, text.replace('data_dir = "data"', 'data_dir = "other"').replace('["ann"]', '["bob"]'))
        assert 'needs a restart keys=["data_dir"]' in " ".join(news.split())
        session = Session(port)
        session.say("EHLO client.example")
        assert session.message("bob@example.org") == "250"
        assert not (tmp_path / "other").exists()
        server.wait_for_mail("first/bob")


def test_a_service_manager_is_told_what_goes_on(tmp_path: Path, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(SOON)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        with ServerProcess(tmp_path / "server", CONFIG.format(port=port), [port]) as server:
            assert manager.recv(100) == b"READY=1"
            assert Session(port).say("NOOP") == ["250"], "and it was"
            reload(server)
            assert [manager.recv(100)[:11], manager.recv(100)] == [b"RELOADING=1", b"READY=1"]
            os.kill(server.pid, signal.SIGTERM)
            assert manager.recv(100) == b"STOPPING=1"
            assert server.stop() == 0


def test_the_log_follows(tmp_path: Path, port: int) -> None:
    text = CONFIG.format(port=port)
    with ServerProcess(tmp_path, text, [port]) as server:
        news = reload(server, text.replace('level = "info"', 'format = "json"'), '"message": "reloaded"')
        assert '"changed": ["log.format"]' in news
        reload(server, text.replace('"info"', '"debug"'))
        session = Session(port)
        session.say("EHLO client.example")
        assert session.message() == "250"
        until(lambda: " accepted " in server.log.read_text(), "a line for people, and of debugging")


def test_twenty_reloads_under_load_lose_nothing(tmp_path: Path, port: int) -> None:
    sinks = [CountingSink(), CountingSink()]
    for sink in sinks:
        sink.start()
    text = CONFIG.format(port=port).replace('level = "info"', 'level = "info"\nformat = "json"')
    text += f'[relay]\nallow = ["127.0.0.0/8"]\n[routes]\n"*" = "smtp://127.0.0.1:{sinks[0].port}"\n'
    with ServerProcess(tmp_path, text, [port]) as server:
        acknowledged: list[bytes] = []
        stop = threading.Event()
        clients = [threading.Thread(target=keep_sending, args=(port, f"c{n}", acknowledged, stop)) for n in range(4)]
        for one in clients:
            one.start()
        for number in range(20):
            before = len(acknowledged)
            sink = sinks[number % 2]
            reload(server, text.replace(f":{sinks[0].port}", f":{sink.port}"), '"reloaded"')
            until(lambda before=before: len(acknowledged) > before + 5, "mail between the reloads")  # type: ignore[misc]
        stop.set()
        for one in clients:
            one.join(SOON)
        until(lambda: {*sinks[0].seen, *sinks[1].seen} >= set(acknowledged), "all that got a 250 at one of the sinks")
    assert sinks[0].seen
    assert sinks[1].seen
    twice = set(sinks[0].seen) & set(sinks[1].seen)
    assert twice == set()
    assert [ids for sink in sinks for ids in sink.seen.values() if len(ids) > 1] == []
    assert "Traceback" not in server.log.read_text()


def test_a_stop_keeps_to_its_deadline_whatever_sessions_and_next_hops_do(tmp_path: Path, port: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections, and never says a word
        text = CONFIG.format(port=port).replace('stop_after = "5s"', 'stop_after = "2s"')
        text += f'[relay]\nallow = ["127.0.0.0/8"]\n[routes]\n"*" = "smtp://127.0.0.1:{silent.getsockname()[1]}"\n'
        server = ServerProcess(tmp_path, text, [port])
        server.start()
        hostile = Session(port)
        hostile.say("EHLO client.example")
        assert hostile.message("x@elsewhere.example") == "250"
        held, _ = silent.accept()
        hostile.say("MAIL FROM:<x@client.example>", "RCPT TO:<ann@example.org>", "DATA")
        stop = threading.Event()

        def drip() -> None:
            while not stop.wait(0.05):
                try:
                    hostile.content("one more line")
                except OSError:
                    return

        dripping = threading.Thread(target=drip)
        dripping.start()
        started = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - started < 3
        stop.set()
        dripping.join()
        held.close()
        server.start()
        [story] = server.trace("x@elsewhere.example")
        assert server.stop() == 0
    assert story["events"][-1]["detail"]["results"][0]["uncertain"] is True


def test_a_second_signal_cuts_the_stop_short(tmp_path: Path, port: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        text = CONFIG.format(port=port).replace('stop_after = "5s"', 'stop_after = "40s"')
        text += f'[relay]\nallow = ["127.0.0.0/8"]\n[routes]\n"*" = "smtp://127.0.0.1:{silent.getsockname()[1]}"\n'
        server = ServerProcess(tmp_path, text, [port])
        server.start()
        session = Session(port)
        session.say("EHLO client.example")
        assert session.message("x@elsewhere.example") == "250"
        held, _ = silent.accept()
        started = time.monotonic()
        os.kill(server.pid, signal.SIGTERM)
        until(lambda: "stopping" in server.log.read_text(), "a stop")
        assert server.stop() == 0
        assert time.monotonic() - started < 5
        held.close()
