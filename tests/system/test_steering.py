"""The queue of a real `waymail serve`, seen and steered by the commands."""

from __future__ import annotations

import json
import re
import smtplib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from waymail.testing.process import ServerProcess, free_port

CONFIG = """\
hostname = "mail.example.org"
data_dir = "data"
[[listener]]
kind = "mx"
address = "127.0.0.1:{port}"
tls = "off"
[relay]
allow = ["127.0.0.0/8"]
[domains."example.org"]
recipients = ["ann"]
deliver = "maildir:mail/{{local}}"
[routes]
"*" = "smtp://127.0.0.1:{dead}?tls=off"
"""
SOON = 15.0


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    """A server whose next hop is dead, with three messages that found that out."""
    port = free_port()
    with ServerProcess(tmp_path, CONFIG.format(port=port, dead=free_port()), [port]) as server:
        with smtplib.SMTP("127.0.0.1", port) as client:
            for to in ("a@x.example", "b@x.example", "c@y.example"):
                client.sendmail("ann@example.org", to, f"Subject: for {to}\r\n\r\nhello\r\n")
        until(lambda: seen(server)["queued"] == 3 and seen(server)["destinations"][0]["state"] == "down")
        yield server


def seen(server: ServerProcess) -> Any:
    return json.loads(server.run("queue", "--json"))


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SOON
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_dead_destination_is_seen_explained_and_its_mail_returned(server: ServerProcess) -> None:
    overview = server.run("queue")
    assert "down for" in overview
    assert "3 queued, 0 held, 0 being attempted; 2 domains" in overview
    told = server.run("why", "x.example")
    assert "1 failure in a row" in told
    assert "one message probes it at" in told
    assert re.search(r"451 4.4.1 no connection to 127.0.0.1:\d+: refused", told)

    assert server.run("queue", "hold", "--destination", "x.example") == "held: 2 recipients of 2 messages\n"
    assert "2 held: they wait until they are released" in server.run("why", "x.example")
    assert server.run("queue", "flush", "--all") == "flushed: 1 recipient of 1 message\n"
    until(lambda: seen(server)["destinations"][0]["failures"] == 2)

    said = server.run("queue", "bounce", "--destination", "x.example", "--reason", "closed for good", "--yes")
    assert said == "returned to their senders: 2 recipients of 2 messages\n"
    notices = server.wait_for_mail("mail/ann", 2)
    assert all(b"554 5.0.0 given up by the administrator: closed for good" in notice for notice in notices)
    (story,) = server.trace("a@x.example")
    assert [event["kind"] for event in story["events"]][-3:] == ["held", "returned", "bounced"]


def test_the_store_is_changed_without_a_server_too(server: ServerProcess) -> None:
    server.stop()
    assert "No server runs" in server.run("queue", "hold", "--all")
    assert server.run("queue", "remove", "--sender", "ann@example.org", "--destination", "x.example", "--yes").startswith(
        "removed: 2 recipients of 2 messages\n"
    )
    server.start()
    found = seen(server)
    assert (found["queued"], found["held"], found["server"]) == (0, 1, True)


def test_mail_is_chosen_by_where_the_overview_says_that_it_goes(server: ServerProcess) -> None:
    destination = seen(server)["destinations"][0]["destination"]
    assert server.run("queue", "hold", "--via", destination) == "held: 3 recipients of 3 messages\n"


def test_a_full_disk_is_said_where_people_look_first(tmp_path: Path) -> None:
    port = free_port()
    config = CONFIG.format(port=port, dead=free_port()) + '[queue]\nreserve = "100000GB"\n'
    with ServerProcess(tmp_path, config, [port]) as server:
        until(lambda: "No mail is taken: less than 100000GB was free on" in server.run("queue"))
        with smtplib.SMTP("127.0.0.1", port) as client:
            client.ehlo()
            assert client.mail("ann@example.org")[0] == 452
        assert seen(server)["refusing"].endswith(f"on {tmp_path}/data; it is taken again where 110000GB are")
