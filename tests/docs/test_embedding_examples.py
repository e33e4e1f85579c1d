"""The programs of docs/embedding.md take mail as it says, and those of docs/migrating.md do the same before and after."""

from __future__ import annotations

import asyncio
import re
import smtplib
import ssl
from pathlib import Path
from typing import Any

import pytest

import waymail
from waymail.testing.dns import DnsServer
from waymail.testing.process import free_port
from waymail.testing.zone import Zone

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "embedding.md").read_text()
FIRST, INBOX, RAISES, STREAM, USERS, BOUND, WEB, THREAD, TESTED, WHOLE = re.findall(
    r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE
)
GUIDE = (DOCS / "migrating.md").read_text().partition("## From aiosmtpd\n")[2].partition("\n## ")[0]
MESSAGE = b"From: ann@example.org\r\nSubject: hi\r\n\r\nhello\r\n"


def names_of(text: str, port: int = 0, **given: Any) -> dict[str, Any]:
    """The names that a program defines, which listens at another port than the page says."""
    names: dict[str, Any] = {"__name__": "example", **given}
    exec(compile(text.replace(":8025", f":{port}").replace("port=8025", f"port={port}"), "example", "exec"), names)  # noqa: S102
    return names


def send(port: int, recipient: str = "bob@example.org") -> None:
    with smtplib.SMTP("127.0.0.1", port) as client:
        client.sendmail("ann@example.org", [recipient], MESSAGE)


async def when_it_listens(running: asyncio.Task[None], port: int) -> None:
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            assert not running.done(), running.result()
            await asyncio.sleep(0.01)
        else:
            writer.close()
            return


async def ended(running: asyncio.Task[None]) -> None:
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_the_first_program_prints_what_it_is_sent(capsys: pytest.CaptureFixture[str]) -> None:
    port = free_port()
    running = asyncio.create_task(names_of(FIRST, port)["main"]())
    await when_it_listens(running, port)
    await asyncio.to_thread(send, port)
    await ended(running)
    assert capsys.readouterr().out == "ann@example.org ('bob@example.org',) hi\n"


async def test_the_inbox_refuses_whom_it_does_not_know() -> None:
    names = names_of(INBOX)
    async with waymail.Server(names["Inbox"]()) as server:
        await asyncio.to_thread(send, server.port)
        with pytest.raises(smtplib.SMTPRecipientsRefused, match="no such user here"):
            await asyncio.to_thread(send, server.port, "eve@example.org")
    [(sender, raw)] = names["kept"]
    assert sender == "ann@example.org"
    assert raw.endswith(MESSAGE)


async def test_what_is_raised_deep_within_is_what_the_client_is_told() -> None:
    names = names_of(RAISES)
    async with names["server"] as server:
        await asyncio.to_thread(send, server.port)
        assert names["ROOM"]["bob@example.org"] == 0
        for recipient, told in (("bob@example.org", "4.2.2 the mailbox is full"), ("eve@example.org", "5.1.1 no such user here")):
            with pytest.raises(smtplib.SMTPRecipientsRefused, match=told):
                await asyncio.to_thread(send, server.port, recipient)


async def test_the_stream_is_digested() -> None:
    names = names_of(STREAM)
    async with names["server"] as server:
        await asyncio.to_thread(send, server.port)
    [(size, digest)] = names["digests"]
    assert size > len(MESSAGE)
    assert len(digest) == 64


async def test_the_users_log_in(capsys: pytest.CaptureFixture[str]) -> None:
    async with names_of(USERS)["server"] as server:

        def log_in(password: str) -> None:
            with smtplib.SMTP("127.0.0.1", server.port) as client:
                client.starttls(context=ssl.create_default_context(cafile=server.certificate))
                client.login("ann", password)
                client.sendmail("ann@example.org", ["bob@example.org"], MESSAGE)

        await asyncio.to_thread(log_in, "secret")
        with pytest.raises(smtplib.SMTPAuthenticationError):
            await asyncio.to_thread(log_in, "wrong")
    assert capsys.readouterr().out == "ann sends hi\n"


async def test_the_limits_hold() -> None:
    async with names_of(BOUND)["server"] as server:

        def refused() -> list[int]:
            with smtplib.SMTP("127.0.0.1", server.port) as client:
                client.ehlo()
                client.mail("ann@example.org")
                return [client.rcpt("bob@example.org")[0] for _ in range(11)]

        assert await asyncio.to_thread(refused) == [250] * 10 + [452]


async def test_the_web_application_takes_mail_while_it_lives() -> None:
    port = free_port()
    names = names_of(WEB, port)
    app = names["app"]
    async with app.router.lifespan_context(app):
        await asyncio.to_thread(send, port)
    assert names["subjects"] == ["hi"]


def test_the_program_without_asyncio_serves_between_start_and_stop() -> None:
    port = free_port()
    names = names_of(THREAD.replace("\n...\n", "\nsend()\n"), port, send=lambda: send(port))
    assert names["subjects"] == ["hi"]


def test_the_test_of_a_hook_passes() -> None:
    names_of(TESTED)


async def test_the_whole_server_asks_the_policy(tmp_path: Path) -> None:
    port = free_port()
    names = names_of(WHOLE.replace("mail-data", str(tmp_path)), port)
    async with DnsServer(Zone({})) as dns:
        # What would be asked of the world, and of nobody for clients of this machine.
        names["CONFIG"] |= {"inbound": {"trusted": []}, "dns": {"resolvers": [dns.address]}}
        running = asyncio.create_task(names["main"]())
        await when_it_listens(running, port)
        with pytest.raises(smtplib.SMTPRecipientsRefused, match="this address has moved"):
            await asyncio.to_thread(send, port, "old-bob@example.org")
        await asyncio.to_thread(send, port)
        await ended(running)


@pytest.mark.parametrize("text", [PAGE, GUIDE])
def test_what_import_waymail_alone_does_not_give_is_shown_with_its_import(text: str) -> None:
    assert re.findall(r"(?<!from )waymail\.(?!sync\.)[a-z_]+\.\w+", text) == []


def test_the_arguments_in_the_table_of_the_guide_can_be_written_like_that() -> None:
    names: dict[str, Any] = {}
    for line in re.findall(r"`(from [\w.]+ import \w+|def \w+\(.*\): return \.\.\.)`", GUIDE):
        exec(line, names)  # noqa: S102 - it is our own page
    assert names["Limits"] is type(eval(re.findall(r"`limits=(.*?)`", GUIDE)[0], names))  # noqa: S307
    waymail.Server(lambda mail: None, auth_in_clear=True, users=names[re.findall(r"`users=(\w+)`", GUIDE)[0]])


@pytest.mark.parametrize("library", ["aiosmtpd", "waymail"])
def test_both_inboxes_of_the_guide_keep_the_same(library: str) -> None:
    [text] = re.findall(rf"^```python {library}\n(.*?)^```", GUIDE, re.DOTALL | re.MULTILINE)
    kept: list[Any] = []
    port = free_port()
    server = names_of(text, port, keep=lambda *what: kept.append(what))["server"]
    try:
        send(port)
        with pytest.raises(smtplib.SMTPRecipientsRefused, match="not one of our domains"):
            send(port, "eve@example.net")
    finally:
        server.stop()
    [(sender, recipients, content)] = kept
    assert (sender, list(recipients), content) == ("ann@example.org", ["bob@example.org"], MESSAGE)
