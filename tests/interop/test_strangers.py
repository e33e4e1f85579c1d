"""A real Postfix that is not known here: it is asked to come again, and waits to be greeted."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator

import pytest
from tests.interop.conftest import Mail
from tests.interop.test_postfix import Postfix, send, wait

from waymail.testing import Zone
from waymail.testing.dns import DnsServer

pytestmark = pytest.mark.interop

# Everything that is judged here comes over loopback.
STRANGERS = """
[dns]
resolvers = ["{resolver}"]

[inbound]
trusted = []
"""
SOON = {"minimal_backoff_time": "2s", "maximal_backoff_time": "4s", "queue_run_delay": "2s", "disable_dns_lookups": "yes"}


@pytest.fixture
def resolver() -> Iterator[str]:
    """The address of a DNS server that says of every name that there is none."""
    loop, ready = asyncio.new_event_loop(), threading.Event()
    server, stop = DnsServer(Zone({})), asyncio.Event()

    async def serve() -> None:
        async with server:
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    assert ready.wait(10)
    yield server.address
    loop.call_soon_threadsafe(stop.set)
    thread.join(10)
    loop.close()


def test_a_greylisted_postfix_gets_through_when_it_comes_again_and_is_known_from_then_on(
    start_mail: Callable[..., Mail], start_postfix: Postfix, resolver: str
) -> None:
    mail = start_mail("mx", STRANGERS.format(resolver=resolver) + '\n[inbound.greylist]\ndelay = "3s"\n')
    postfix, port = start_postfix(relayhost=f"[127.0.0.1]:{mail.mx}", **SOON)
    send(port, "-S", "the first")
    wait(lambda: "450 4.7.1" in postfix.log.read_text())
    assert "greylisted" in postfix.log.read_text()
    assert b"Subject: the first" in mail.wait_for_mail("mail/example.org/bob")[0]
    deferred = postfix.log.read_text().count("status=deferred")
    send(port, "-S", "the second", "-f", "somebody.else@example.net")
    mail.wait_for_mail("mail/example.org/bob", 2)
    assert postfix.log.read_text().count("status=deferred") == deferred, "who has passed is known"


def test_postfix_waits_for_a_greeting_that_comes_late(
    start_mail: Callable[..., Mail], start_postfix: Postfix, resolver: str
) -> None:
    mail = start_mail("mx", STRANGERS.format(resolver=resolver) + 'greeting_delay = "2s"\n')
    _, port = start_postfix(relayhost=f"[127.0.0.1]:{mail.mx}", **SOON)
    send(port)
    (taken,) = mail.wait_for_mail("mail/example.org/bob")
    assert b"by postfix.example.net (Postfix)" in taken
