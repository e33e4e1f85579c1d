"""What a server that receives from everywhere knows of a client before it has sent anything: lists, greylisting, rates."""

from __future__ import annotations

import asyncio
from pathlib import Path
from string import Template
from typing import Any

import pytest
from tests.system.conftest import Running, Start, eventually

from waymail.testing import Zone
from waymail.testing.dns import DnsServer
from waymail.testing.process import ServerProcess, free_port

CONFIG = """
hostname = "mail.example.org"
[queue]
store = "$store"
[[listener]]
kind = "mx"
address = "127.0.0.1:0"
tls = "off"
proxies = ["127.0.0.1/32"]
[domains."example.org"]
recipients = ["ann", "bob"]
[dns]
resolvers = ["$dns"]
[inbound]
"""
WELL = {"2.0.0.127.bl.example": {"A": ["127.0.0.2"]}}
LISTED = WELL | {"99.2.0.192.bl.example": {"A": ["127.0.0.4"], "TXT": ["sent spam, see http://bl.example/99"]}}


def session(ip: str, said: str, *, sender: str = "eve@client.example", recipients: tuple[str, ...] = ("ann@example.org",)) -> str:
    """A client with an address of its own, and what the server says to its last RCPT."""
    commands = "\n".join(f"C: RCPT TO:<{recipient}>" for recipient in recipients)
    replies = "\n".join([*["S: 250 2.1.5"] * (len(recipients) - 1), f"S: {said}"])
    beginning = f"C: PROXY TCP4 {ip} 192.0.2.1 40000 25\nS: 220\nC: EHLO client.example\nS: 250\nC: MAIL FROM:<{sender}>\nS: 250"
    return f"{beginning}\n{commands}\n{replies}"


async def lists_that_work(server: Running) -> int:
    """How many lists in DNS work, once they have been tested."""
    judging = server.machine.judging
    assert judging is not None
    health = judging.health

    async def look() -> bool | None:
        return True if "not tested yet" not in health.ill.values() else None

    await eventually(look, "a test of the lists in DNS")
    return len(health.usable)


async def test_a_client_on_a_list_in_dns_is_refused_at_rcpt_unless_it_writes_to_the_postmaster(start: Start) -> None:
    server = await start(CONFIG + '[[inbound.dnsbl]]\nzone = "bl.example"\n', zone=LISTED)
    assert await lists_that_work(server) == 1
    await server.talk(session("192.0.2.99", r"550 5\.7\.\d+ .*192\.0\.2\.99"))
    await server.talk(session("192.0.2.99", "250", recipients=("postmaster@example.org",)))
    await server.talk(session("192.0.2.98", "250"))


@pytest.mark.parametrize(
    "zone",
    [
        LISTED | {"1.0.0.127.bl.example": {"A": ["127.0.0.2"]}},
        {"99.2.0.192.bl.example": {"A": ["127.0.0.4"]}},
        LISTED | {"2.0.0.127.bl.example": "SERVFAIL"},
    ],
    ids=["lists everything", "has no test entry", "does not answer"],
)
async def test_a_list_in_dns_that_does_not_work_costs_no_mail(start: Start, zone: dict[str, Any]) -> None:
    server = await start(CONFIG + '[[inbound.dnsbl]]\nzone = "bl.example"\n', zone=zone)
    assert await lists_that_work(server) == 0
    await server.talk(session("192.0.2.99", "250"))


async def test_a_list_of_the_operator_counts_as_he_changes_it_without_a_restart(start: Start, tmp_path: Path) -> None:
    block, allow = tmp_path / "block.txt", tmp_path / "allow.txt"
    block.write_text("192.0.2.0/24\n")
    allow.write_text("# nobody yet\n")
    server = await start(CONFIG + f'[inbound.lists]\nblock = ["{block}"]\nallow = ["{allow}"]\n')
    await server.talk(session("192.0.2.99", r"550 5\.7\."))
    await server.talk(session("198.51.100.1", "250"))
    allow.write_text("192.0.2.99\n")

    async def allowed() -> bool | None:
        try:
            await server.talk(session("192.0.2.99", "250"))
        except AssertionError:
            return None
        return True

    await eventually(allowed, "an end of the refusals")
    await server.talk(session("192.0.2.98", r"550 5\.7\."))


async def test_a_stranger_is_asked_to_come_again_and_is_known_when_he_does(start: Start) -> None:
    server = await start(CONFIG + '[inbound.greylist]\ndelay = "1s"\n')
    await server.talk(session("192.0.2.99", r"450 4\.7\.1 .*try again in 1 second", recipients=("ann@example.org",)))

    async def passed() -> bool | None:
        try:
            await server.talk(session("192.0.2.98", "250"))
        except AssertionError:
            return None
        return True

    await eventually(passed, "a retry that passed")
    await server.talk(
        session("192.0.2.98", "250", sender="somebody.else@other.example", recipients=("ann@example.org", "bob@example.org"))
    )
    await server.talk(session("203.0.113.1", r"450 4\.7\.1"))
    await server.talk(session("203.0.113.1", "250", recipients=("postmaster@example.org",)))


async def test_who_is_on_a_list_of_good_senders_in_dns_need_not_come_again(start: Start) -> None:
    lists = '[[inbound.dnsbl]]\nzone = "bl.example"\nallow = true\n[inbound.greylist]\ndelay = "1s"\n'
    server = await start(CONFIG + lists, zone=LISTED)
    assert await lists_that_work(server) == 1
    await server.talk(session("192.0.2.99", "250"))
    await server.talk(session("192.0.2.98", r"450 4\.7\.1"))


async def test_a_network_that_sends_too_much_is_told_when_to_come_again(start: Start) -> None:
    server = await start(CONFIG + "[inbound.rates]\nrecipients_per_network = 2\n")
    await server.talk(session("192.0.2.99", "250", recipients=("ann@example.org", "bob@example.org")))
    await server.talk(session("192.0.2.98", r"450 4\.7\.1 .*192\.0\.2\.0/24.* try again in \d+ seconds"))
    await server.talk(session("192.0.3.98", "250"))


async def test_who_speaks_before_the_greeting_is_refused_and_who_waits_is_greeted_at_once_the_next_time(start: Start) -> None:
    server = await start(CONFIG + 'greeting_delay = "1s"\n')
    await server.talk(
        """
        C: EHLO client.example
        C: MAIL FROM:<eve@client.example>
        C: RCPT TO:<ann@example.org>
        S: 220
        S: 250
        S: 250
        S: 550 5\\.7\\.
    """.replace("C: EHLO", "C: PROXY TCP4 192.0.2.99 192.0.2.1 40000 25\n        C: EHLO", 1)
    )
    await server.talk(session("192.0.2.98", "250"))
    judging = server.machine.judging
    assert judging is not None
    assert judging.memory.early_talkers is not None
    delays = [judging.memory.early_talkers.delay(ip, server.machine.clock.now()) for ip in ("192.0.2.99", "192.0.2.98")]
    assert delays == [1.0, 0.0]


async def rcpt(port: int) -> bytes:
    """The reply to a RCPT."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"EHLO client.example\r\nMAIL FROM:<eve@client.example>\r\nRCPT TO:<ann@example.org>\r\nQUIT\r\n")
    said = await reader.read()
    writer.close()
    return said.splitlines()[-2]


async def test_who_has_passed_before_a_restart_is_known_after_it(tmp_path: Path) -> None:
    port = free_port()
    async with DnsServer(Zone({})) as dns:
        config = Template(CONFIG).substitute(store="sqlite", dns=dns.address).replace(":0", f":{port}").replace("proxies", "# ")
        server = ServerProcess(tmp_path, config + 'trusted = []\n[inbound.greylist]\ndelay = "1s"\n', [port])
        await asyncio.to_thread(server.start)
        assert (await rcpt(port)).startswith(b"450 4.7.1")

        async def passed() -> bool | None:
            return True if (await rcpt(port)).startswith(b"250") else None

        await eventually(passed, "a retry that passed")
        assert await asyncio.to_thread(server.stop) == 0
        await asyncio.to_thread(server.start)
        assert (await rcpt(port)).startswith(b"250")
        assert await asyncio.to_thread(server.stop) == 0
