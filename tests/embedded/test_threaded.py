"""The server of a program without an event loop."""

from __future__ import annotations

import asyncio
import smtplib
import threading

import pytest
from tests.embedded.conftest import Inbox

import waymail
import waymail.sync
from waymail.net.streams import ListenFailed


def threads() -> set[str]:
    return {one.name for one in threading.enumerate() if one.name.startswith("waymail")}


def test_it_serves_in_a_thread_that_ends_with_it() -> None:
    names: list[str] = []
    server = waymail.sync.Server(lambda mail: names.append(threading.current_thread().name))
    for _ in range(2):
        server.start()
        with smtplib.SMTP("127.0.0.1", server.port) as client:
            client.sendmail("a@example.org", "b@example.org", b"")
        assert "waymail-server" in threads()
        server.stop()
        server.stop()
        assert "waymail-server" not in threads()
    assert names == ["waymail-policy"] * 2


def test_what_keeps_it_from_starting_is_raised_where_it_is_started() -> None:
    with waymail.sync.Server(Inbox()) as server:
        other = waymail.sync.Server(Inbox(), server.address)
        with pytest.raises(ListenFailed):
            other.start()
        with pytest.raises(RuntimeError, match="runs already"):
            server.start()
        with pytest.raises(RuntimeError, match="does not run"):
            _ = other.address
    with pytest.raises(TypeError):
        waymail.sync.Server(Inbox(), nonsense=1)


async def test_it_does_not_mind_an_event_loop_in_the_thread_that_uses_it() -> None:
    inbox = Inbox()
    with waymail.sync.Server(inbox) as server:
        await waymail.send(b"\r\n", server.url, sender="", recipients=["b@example.org"])
    assert len(inbox.mails) == 1
    assert asyncio.get_running_loop().is_running()
