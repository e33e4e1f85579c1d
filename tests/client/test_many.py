"""`send_many`, with asyncio and without: each case runs over both faces."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from email.message import EmailMessage
from typing import Any, cast

import pytest

import waymail
import waymail.sync
from waymail.client.many import Given
from waymail.testing import SmtpServer

SendMany = Callable[..., list[waymail.SendResult]]


def in_a_loop(messages: Iterable[Given], url: str, **asked: Any) -> list[waymail.SendResult]:
    async def results() -> list[waymail.SendResult]:
        async with waymail.Client(url, **asked) as client:
            return [result async for result in client.send_many(messages)]

    return asyncio.run(results())


def in_a_thread(messages: Iterable[Given], url: str, **asked: Any) -> list[waymail.SendResult]:
    with waymail.sync.Client(url, **asked) as client:
        return list(client.send_many(messages))


@pytest.fixture(params=[in_a_loop, in_a_thread], ids=["asyncio", "sync"])
def send_many(request: pytest.FixtureRequest) -> SendMany:
    found: SendMany = request.param
    return found


def note(to: str, subject: str = "Hello") -> EmailMessage:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "ann@example.com", to, subject
    message.set_content("Good morning!\n")
    return message


def url(server: SmtpServer) -> str:
    return f"smtp://{server.address}?tls=off"


def test_each_message_has_its_result_with_the_message(send_many: SendMany, smtp_server: SmtpServer) -> None:
    octets = b"From: ann@example.com\r\nTo: cid@example.org\r\nMessage-ID: <1@example.com>\r\n\r\nHi\r\n"
    given = [note("bob@example.org"), octets, waymail.Mail(octets, "eve@example.com", "dan@example.org")]
    results = send_many(given, url(smtp_server))
    assert {result.accepted for result in results} == {("bob@example.org",), ("cid@example.org",), ("dan@example.org",)}
    assert all(result.error is None and result.message_id for result in results)
    assert {id(result.message) for result in results} == {id(given[0]), id(octets)}
    assert sorted((mail.sender, *mail.recipients) for mail in smtp_server.messages) == [
        ("ann@example.com", "bob@example.org"),
        ("ann@example.com", "cid@example.org"),
        ("eve@example.com", "dan@example.org"),
    ]


def test_nothing_is_raised_for_one_message(send_many: SendMany, smtp_server: SmtpServer) -> None:
    smtp_server.script("RCPT TO:<gone@", "550 5.1.1 no such user")
    given = [note("bob@example.org"), note("gone@example.org"), note("nobody"), None, note("cid@example.org")]
    results = {
        str(cast(EmailMessage, result.message or {"To": ""})["To"]): result for result in send_many(given, url(smtp_server))
    }
    assert results.keys() == {"bob@example.org", "gone@example.org", "nobody", "", "cid@example.org"}
    refused = results["gone@example.org"]
    assert isinstance(refused.error, waymail.AllRecipientsRefused)
    assert refused.refused["gone@example.org"].code == 550
    assert isinstance(results["nobody"].error, ValueError)
    assert isinstance(results[""].error, ValueError)
    assert results["bob@example.org"].error is results["cid@example.org"].error is None
    assert len(smtp_server.messages) == 2


def test_what_the_iterable_raises_comes_after_the_results_before_it(smtp_server: SmtpServer) -> None:
    def messages() -> Iterator[Given]:
        yield note("bob@example.org")
        yield note("cid@example.org")
        raise LookupError("no more addresses")

    results = []

    def in_a_thread() -> None:
        with waymail.sync.Client(url(smtp_server)) as client:
            for result in client.send_many(messages()):
                results.append(result.accepted)  # noqa: PERF401 - what came before the error is to be kept

    async def in_a_loop() -> None:
        async with waymail.Client(url(smtp_server)) as client:
            async for result in client.send_many(messages()):
                results.append(result.accepted)  # noqa: PERF401 - what came before the error is to be kept

    with pytest.raises(LookupError, match="no more"):
        in_a_thread()
    with pytest.raises(LookupError, match="no more"):
        asyncio.run(in_a_loop())
    assert sorted(results) == [("bob@example.org",), ("bob@example.org",), ("cid@example.org",), ("cid@example.org",)]
    assert len(smtp_server.messages) == 4


def test_without_asyncio_a_generator_is_asked_for_the_next_message_after_the_result(smtp_server: SmtpServer) -> None:
    asked = []

    def messages() -> Iterator[Given]:
        for number in range(4):
            asked.append(number)
            yield note("bob@example.org", str(number))

    with waymail.sync.Client(url(smtp_server)) as client:
        for count, _ in enumerate(client.send_many(messages()), 1):
            assert len(asked) == count == len(smtp_server.messages)
    assert smtp_server.connections == 1


async def test_an_asynchronous_iterable_is_asked_as_messages_go_out(smtp_server: SmtpServer) -> None:
    asked = []

    async def messages() -> AsyncIterator[Given]:
        for number in range(40):
            asked.append(number)
            await asyncio.sleep(0)
            yield note("bob@example.org", str(number))

    async with waymail.Client(url(smtp_server), pool=waymail.Pool(max=2)) as client:
        results = client.send_many(messages())
        async for result in results:
            assert result.error is None
            assert len(smtp_server.messages) <= len(asked) <= 10
            break
        await results.aclose()
        async for result in client.send_many(messages()):
            assert result.error is None
    assert 40 <= len(smtp_server.messages) < 50
    assert smtp_server.connections <= 4


async def test_results_do_not_wait_for_a_slow_iterable(smtp_server: SmtpServer) -> None:
    go_on = asyncio.Event()

    async def messages() -> AsyncIterator[Given]:
        yield note("bob@example.org")
        await go_on.wait()
        yield note("cid@example.org")

    results = []
    async with asyncio.timeout(5), waymail.Client(url(smtp_server)) as client:
        async for result in client.send_many(messages()):
            go_on.set()
            results.append(result.accepted)
    assert results == [("bob@example.org",), ("cid@example.org",)]


def test_only_so_many_connections_are_used_as_the_pool_has(send_many: SendMany, smtp_server: SmtpServer) -> None:
    results = send_many([note("bob@example.org") for _ in range(30)], url(smtp_server), pool=waymail.Pool(max=3))
    assert len(results) == len(smtp_server.messages) == 30
    assert smtp_server.connections <= 3


def test_what_is_deferred_is_tried_again(send_many: SendMany, smtp_server: SmtpServer) -> None:
    smtp_server.script("RCPT TO:<bob@", "450 4.2.1 later", times=1)
    retry = waymail.Retry(times=1, wait=0)
    results = send_many([note("bob@example.org"), note("cid@example.org")], url(smtp_server), retry=retry)
    assert [result.error for result in results] == [None, None]
    assert len(smtp_server.messages) == 2


def test_the_rate_holds_for_many(send_many: SendMany, smtp_server: SmtpServer) -> None:
    rate = waymail.Rate(2, per=3600)
    results = send_many([note("bob@example.org") for _ in range(4)], url(smtp_server), rate=rate, timeout=5)
    assert [type(result.error) for result in results if result.error] == [waymail.ConnectionFailed] * 2
    assert len(smtp_server.messages) == 2
