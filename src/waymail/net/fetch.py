"""Fetches a document by HTTPS: keys, answers of an introspection endpoint, policies. Hands one over, too: webhooks.

Promises: nothing takes longer than `timeout` seconds in all, nothing larger than `most` octets is read, no redirection is
followed, no proxy of the environment is asked, certificates are verified. Plain http is for loopback addresses only. Everything
that goes wrong is a `FetchFailed`; a status of 4xx or 5xx is none, it is an answer.
"""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
from collections.abc import AsyncIterable, AsyncIterator, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import httpx2

from waymail.net import tls

TIMEOUT = 10.0  # seconds
CONNECTING = 10.0  # seconds of it for a connection and TLS
DROPPING = 1.0  # seconds for what comes behind an answer's header where only that is wanted
MOST = 1_048_576  # octets


class FetchFailed(Exception):
    """There is no answer; the text says why, and names the address. `connected` is false where nothing can have been asked: no
    connection, or no TLS."""

    def __init__(self, text: str, *, connected: bool = True) -> None:
        super().__init__(text)
        self.connected = connected


@dataclass(frozen=True, slots=True)
class Fetched:
    """An answer. Names of header fields are in lower case."""

    status: int
    content: bytes = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict)


class Fetcher:
    """Keeps connections for the next request; `close` ends them."""

    def __init__(
        self, *, context: ssl.SSLContext | None = None, timeout: float = TIMEOUT, most: int = MOST, connections: int = 8
    ) -> None:
        """`context` verifies the servers, by default against the system's authorities."""
        self._timeout = timeout
        self._most = most
        limits = httpx2.Limits(max_connections=connections, max_keepalive_connections=2, keepalive_expiry=30.0)
        self._client = httpx2.AsyncClient(
            verify=context or tls.verified(),
            timeout=httpx2.Timeout(timeout, connect=min(0.8 * timeout, CONNECTING)),
            limits=limits,
            follow_redirects=False,
            trust_env=False,
        )

    async def get(self, url: str, *, accept: str = "*/*") -> Fetched:
        """Raises FetchFailed."""
        return await self._fetch(self._client.build_request("GET", checked(url), headers={"accept": accept}))

    async def post(self, url: str, form: Mapping[str, str], *, user: str = "", password: str = "") -> Fetched:
        """Send a form, with HTTP Basic authentication where `user` is given, and take JSON back. Raises FetchFailed."""
        request = self._client.build_request("POST", checked(url), data=dict(form), headers={"accept": "application/json"})
        return await self._fetch(request, httpx2.BasicAuth(user, password) if user else None)

    async def deliver(self, url: str, content: bytes | AsyncIterable[bytes], headers: Mapping[str, str]) -> Fetched:
        """POST `content`. The answer is its status and header: what it says besides is dropped. Raises FetchFailed.

        Content that comes in pieces needs a content-length among `headers`; an OSError that it raises is a FetchFailed, too.
        """
        request = self._client.build_request("POST", checked(url), content=content, headers=dict(headers))
        where = _named(request)
        answer = await self._ask(request, where)
        with suppress(TimeoutError, httpx2.HTTPError, httpx2.StreamError, OSError, FetchFailed):
            async with asyncio.timeout(DROPPING):  # read to its end, a connection can be used again
                await self._content(answer.aiter_raw(), where)
        await answer.aclose()
        return Fetched(answer.status_code, b"", {name.lower(): value for name, value in answer.headers.items()})

    async def _fetch(self, request: httpx2.Request, auth: httpx2.BasicAuth | None = None) -> Fetched:
        where = _named(request)
        with self._failures(where):
            async with asyncio.timeout(self._timeout):
                answer = await self._client.send(request, auth=auth, stream=True)
                try:
                    content = await self._content(answer.aiter_bytes(), where)
                finally:
                    await answer.aclose()
        return Fetched(answer.status_code, content, {name.lower(): value for name, value in answer.headers.items()})

    async def _ask(self, request: httpx2.Request, where: str) -> httpx2.Response:
        with self._failures(where):
            async with asyncio.timeout(self._timeout):
                return await self._client.send(request, stream=True)

    @contextmanager
    def _failures(self, where: str) -> Iterator[None]:
        """All that can go wrong on the way, as FetchFailed."""
        try:
            yield
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout) as error:
            raise FetchFailed(f"{where}: {str(error) or 'no connection'}", connected=False) from error
        except (TimeoutError, httpx2.TimeoutException):
            raise FetchFailed(f"{where}: no answer within {self._timeout:g} s") from None
        except (httpx2.HTTPError, httpx2.StreamError, OSError) as error:
            raise FetchFailed(f"{where}: {str(error) or type(error).__name__}") from error

    async def _content(self, chunks: AsyncIterator[bytes], where: str) -> bytes:
        content = bytearray()
        async for chunk in chunks:
            content += chunk
            if len(content) > self._most:
                raise FetchFailed(f"{where}: the answer is larger than {self._most} octets")
        return bytes(content)

    async def close(self) -> None:
        """End the connections that are kept."""
        await self._client.aclose()


def _named(request: httpx2.Request) -> str:
    """The address for messages, without what may be secret in its query."""
    return f"{request.url.scheme}://{request.url.netloc.decode('ascii', 'replace')}{request.url.path}"


def checked(url: str) -> str:
    """`url`, if it may be fetched. Raises FetchFailed."""
    try:
        parts = httpx2.URL(url)
    except httpx2.InvalidURL as error:
        raise FetchFailed(f"{url}: {error}") from None
    if parts.host and (parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(parts.host))):
        return url
    raise FetchFailed(f"{url}: must begin with https://")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
