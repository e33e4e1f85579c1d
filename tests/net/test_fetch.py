"""Fetching by HTTPS, from a server of our own."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trustme

from waymail.net.fetch import Fetcher, FetchFailed, checked

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Kind: Test\r\n\r\nhi"


class HttpsServer:
    """Answers each request with `answer`, and keeps what it was sent."""

    def __init__(self, answer: bytes) -> None:
        self.answer = answer
        self.requests: list[bytes] = []
        self.url = ""
        self.trust = ssl.create_default_context()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            size = next((int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0)
            self.requests.append(head + await reader.readexactly(size))
            writer.write(self.answer)
            if self.answer:
                writer.close()
            else:
                await reader.read()
        except (OSError, asyncio.IncompleteReadError):
            writer.close()


@asynccontextmanager
async def https(answer: bytes) -> AsyncIterator[HttpsServer]:
    made, authority = HttpsServer(answer), trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    authority.configure_trust(made.trust)
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0, ssl=context)
    made.url = f"https://localhost:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield made


async def test_a_document_is_fetched_with_its_status_and_header() -> None:
    async with https(OK) as server:
        fetcher = Fetcher(context=server.trust)
        answer = await fetcher.get(server.url + "/keys", accept="application/json")
        assert (answer.status, answer.content, answer.headers["x-kind"]) == (200, b"hi", "Test")
        assert server.requests[0].startswith(b"GET /keys HTTP/1.1\r\n")
        assert b"accept: application/json\r\n" in server.requests[0].lower()
        await fetcher.close()


async def test_a_form_is_sent_with_basic_authentication() -> None:
    async with https(OK) as server:
        fetcher = Fetcher(context=server.trust)
        await fetcher.post(server.url, {"token": "a b"}, user="me", password="secret")
        assert server.requests[0].endswith(b"\r\n\r\ntoken=a+b")
        assert b"authorization: basic bwu6c2vjcmv0" in server.requests[0].lower()
        await fetcher.close()


async def test_what_is_delivered_is_posted_with_its_header_and_the_answer_counts_by_its_status() -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"he"
        yield b"llo"

    async with https(OK) as server:
        fetcher = Fetcher(context=server.trust)
        answer = await fetcher.deliver(server.url + "/in", pieces(), {"content-length": "5", "x-id": "1"})
        assert (answer.status, answer.content, answer.headers["x-kind"]) == (200, b"", "Test")
        assert server.requests[0].startswith(b"POST /in HTTP/1.1\r\n")
        assert server.requests[0].endswith(b"\r\n\r\nhello")
        assert b"x-id: 1\r\n" in server.requests[0].lower()
        await fetcher.close()


async def test_a_failure_says_whether_anything_can_have_been_asked() -> None:
    async with https(b"") as server:
        for context, url, connected in (
            (None, server.url, False),  # a certificate that nobody vouches for
            (server.trust, "https://127.0.0.1:9/", False),
            (server.trust, server.url, True),
        ):
            fetcher = Fetcher(context=context, timeout=0.5)
            with pytest.raises(FetchFailed) as caught:
                await fetcher.deliver(url, b"x", {})
            assert caught.value.connected is connected
            await fetcher.close()


async def test_a_status_of_500_is_an_answer_and_a_redirection_is_not_followed() -> None:
    for status in (b"500 No", b"302 Found\r\nLocation: http://localhost/"):
        async with https(b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\n\r\n") as server:
            fetcher = Fetcher(context=server.trust)
            assert (await fetcher.get(server.url)).status == int(status[:3])
            await fetcher.close()


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n" + b"x" * 5000, "larger than 1000"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 5000, "larger than 1000"),
        (b"220 mail.example.org ESMTP\r\n\r\n", "localhost"),
        (b"", "no answer within"),
    ],
)
async def test_too_much_nonsense_and_silence_fail_with_the_address(answer: bytes, why: str) -> None:
    async with https(answer) as server:
        fetcher = Fetcher(context=server.trust, most=1000, timeout=0.5)
        with pytest.raises(FetchFailed, match=why):
            await fetcher.get(server.url)
        await fetcher.close()


async def test_a_certificate_that_nobody_vouches_for_is_refused() -> None:
    async with https(OK) as server:
        fetcher = Fetcher()
        with pytest.raises(FetchFailed, match="localhost"):
            await fetcher.get(server.url)
        await fetcher.close()


async def test_a_query_and_its_secrets_are_not_in_the_error() -> None:
    fetcher = Fetcher()
    with pytest.raises(FetchFailed) as caught:
        await fetcher.get("https://localhost:1/path?secret=1")
    assert "/path" in str(caught.value)
    assert "secret" not in str(caught.value)
    await fetcher.close()


@pytest.mark.parametrize(
    "url", ["http://example.org/", "ftp://localhost/", "https://", "nothing", "http://192.0.2.1/", "file:///etc"]
)
def test_only_https_is_fetched(url: str) -> None:
    with pytest.raises(FetchFailed):
        checked(url)


@pytest.mark.parametrize("url", ["https://example.org/keys", "http://127.0.0.1:8080/", "http://localhost/", "http://[::1]/"])
def test_https_is_fetched_and_plain_http_from_this_machine(url: str) -> None:
    assert checked(url) == url
