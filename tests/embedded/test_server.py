"""A server's life in a program: it begins, tells where it is, and ends soon, whatever is under way."""

from __future__ import annotations

import asyncio
import smtplib
import ssl
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import aiosmtplib
import pytest
import uvloop
from tests.embedded.conftest import Inbox

import waymail
from waymail.net.streams import ListenFailed

MESSAGE = b"Subject: hi\r\n\r\nhello\r\n"


async def deliver(server: waymail.Server) -> None:
    await waymail.send(MESSAGE, server.url, sender="ann@example.org", recipients=["bob@example.net"])


async def test_our_client_and_aiosmtplib_send_to_it() -> None:
    inbox = Inbox()
    async with waymail.Server(inbox) as server:
        await deliver(server)
        async with aiosmtplib.SMTP(port=server.port, hostname="127.0.0.1") as client:
            await client.sendmail("ann@example.org", ["bob@example.net"], MESSAGE)
    assert inbox.contents == [MESSAGE] * 2


def test_it_works_on_uvloop_as_well() -> None:
    async def program() -> None:
        inbox = Inbox()
        async with waymail.Server(inbox, tls="self-signed") as server:
            trust = ssl.create_default_context(cafile=server.certificate)
            await waymail.send(MESSAGE, server.url, sender="a@example.org", recipients=["b@example.net"], tls_context=trust)
        assert inbox.contents == [MESSAGE]

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(program())


async def test_several_servers_stand_side_by_side_and_one_listens_at_several_addresses(tmp_path: Path) -> None:
    first, second = Inbox(), Inbox()
    async with waymail.Server(first, ["127.0.0.1:0", f"unix:{tmp_path}/in"]) as one, waymail.Server(second) as other:
        assert one.addresses == (f"127.0.0.1:{one.port}", f"unix:{tmp_path}/in")
        assert one.port != other.port
        await deliver(other)
    assert (len(first.mails), len(second.mails)) == (0, 1)
    assert not (tmp_path / "in").exists()


async def test_it_can_be_started_again_but_not_twice() -> None:
    server = waymail.Server(Inbox())
    with pytest.raises(RuntimeError, match="does not run"):
        _ = server.address
    for _ in range(2):
        await server.start()
        with pytest.raises(RuntimeError, match="runs already"):
            await server.start()
        await deliver(server)
        await server.stop()
        await server.stop()


async def test_an_address_that_is_taken_says_so_and_leaves_nothing_behind() -> None:
    before = set(Path(tempfile.gettempdir()).glob("waymail-*"))
    async with waymail.Server(Inbox()) as server:
        with pytest.raises(ListenFailed, match="cannot listen"):
            await waymail.Server(Inbox(), ["127.0.0.1:0", server.address]).start()
        with pytest.raises(ValueError, match="port"):
            await waymail.Server(Inbox(), "127.0.0.1").start()
    assert set(Path(tempfile.gettempdir()).glob("waymail-*")) <= before


async def stopped(server: waymail.Server) -> float:
    began = time.perf_counter()
    await server.stop()
    return time.perf_counter() - began


@pytest.mark.parametrize("tls", [None, "self-signed"])
async def test_a_stop_takes_no_time_where_clients_are_idle(tls: Any) -> None:
    server = waymail.Server(Inbox(), tls=tls)
    await server.start()
    trust = ssl.create_default_context(cafile=server.certificate)
    client = await asyncio.to_thread(smtplib.SMTP, "127.0.0.1", server.port)
    if tls:
        await asyncio.to_thread(client.starttls, context=trust)
    # 0.02 s in quiet, 5 where it would wait for the client: this tells them apart on a busy machine, too.
    assert await stopped(server) < 1.0
    client.close()


async def test_a_stop_waits_for_the_hook_that_is_at_work() -> None:
    entered, done = asyncio.Event(), asyncio.Event()

    async def handle(mail: waymail.IncomingMail) -> None:
        entered.set()
        await asyncio.sleep(0.05)
        done.set()

    server = waymail.Server(handle)
    await server.start()
    sending = asyncio.create_task(deliver(server))
    await entered.wait()
    await server.stop()
    assert done.is_set()
    await sending  # the client has its 250


async def test_a_stop_does_not_wait_beyond_its_grace_and_the_client_keeps_the_message() -> None:
    entered, cut = asyncio.Event(), asyncio.Event()

    async def handle(mail: waymail.IncomingMail) -> None:
        entered.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cut.set()
            raise

    server = waymail.Server(handle, grace=0.05)
    await server.start()
    sending = asyncio.create_task(deliver(server))
    await entered.wait()
    await server.stop()
    assert cut.is_set()
    with pytest.raises(waymail.SMTPError):
        await sending


async def test_serve_forever_ends_with_the_server() -> None:
    async with waymail.Server(Inbox()) as server:
        waiting = asyncio.create_task(server.serve_forever())
        await asyncio.sleep(0)
        assert not waiting.done()
    await waiting


LARGE = """
import asyncio, resource, socket, sys
import waymail

seen = {}

def handle(mail):
    seen["size"] = sum(map(len, mail.chunks()))
    seen["subject"] = mail.header("Subject")

async def main():
    async with waymail.Server(handle, size=60_000_000) as server:
        def send():
            with socket.create_connection(("127.0.0.1", server.port)) as client:
                lines = client.makefile("rb")
                client.sendall(b"EHLO c\\r\\nMAIL FROM:<>\\r\\nRCPT TO:<a@example.org>\\r\\nDATA\\r\\n")
                while not lines.readline().startswith(b"354"):
                    pass
                before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
                client.sendall(b"Subject: large\\r\\n\\r\\n")
                line = (b"x" * 78 + b"\\r\\n") * 1000
                for _ in range(625):
                    client.sendall(line)
                client.sendall(b".\\r\\n")
                assert lines.readline().startswith(b"250"), "refused"
                return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        print(await asyncio.to_thread(send), seen["size"], seen["subject"])

asyncio.run(main())
"""


def test_a_message_of_50_megabytes_takes_little_memory() -> None:
    run = subprocess.run([sys.executable, "-c", LARGE], capture_output=True, text=True, timeout=30, check=True)
    grown, size, subject = run.stdout.split()
    assert int(size) > 50_000_000
    assert subject == "large"
    assert int(grown) < 10_000  # KiB


BARE = """
import asyncio, smtplib, sys
for name in ("uvloop", "pydantic", "cyclopts", "rich", "joserfc", "httpx2", "ldap3", "python_socks"):
    sys.modules[name] = None
import waymail.sync

def handle(mail):
    print(mail.view().subject)

with waymail.sync.Server(handle, tls="self-signed", users={"ann": "secret"}, auth_in_clear=True) as server:
    with smtplib.SMTP("127.0.0.1", server.port) as client:
        client.login("ann", "secret")
        client.sendmail("ann@example.org", ["bob@example.net"], b"Subject: bare\\r\\n\\r\\n")
"""


def test_the_bare_library_is_enough() -> None:
    run = subprocess.run([sys.executable, "-c", BARE], capture_output=True, text=True, timeout=30, check=True)
    assert run.stdout == "bare\n"


def test_a_program_that_ends_without_a_stop_leaves_no_files(tmp_path: Path) -> None:
    program = "import waymail.sync\nwaymail.sync.Server(print).start()\n"
    subprocess.run([sys.executable, "-c", program], env={"TMPDIR": str(tmp_path)}, timeout=30, check=True)
    assert list(tmp_path.iterdir()) == []


async def test_old_clients_and_proxies_are_understood_where_that_is_said() -> None:
    inbox = Inbox()
    async with waymail.Server(inbox, proxies=["127.0.0.0/8"], line_ends="normalise") as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"PROXY TCP4 192.0.2.7 198.51.100.1 40000 25\r\n")
        writer.write(b"EHLO c\nMAIL FROM:<a@example.org>\nRCPT TO:<b@example.net>\nDATA\nhello\n.\nQUIT\n")
        said = await reader.read()
        writer.close()
    assert b"accepted as" in said
    assert inbox.contents == [b"hello\r\n"]
    assert inbox.mails[0].client.address == "192.0.2.7"
