"""Fetches a document by HTTPS: keys, answers of an introspection endpoint, policies.

Promises: nothing takes longer than `timeout` seconds in all, nothing larger than `most` octets is read, no redirection is
followed, no proxy of the environment is asked, certificates are verified. Plain http is for loopback addresses only. Everything
that goes wrong is a `FetchFailed`; a status of 4xx or 5xx is none, it is an answer.
"""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field

import httpx2

from waymail.net import tls

TIMEOUT = 10.0  # seconds
MOST = 1_048_576  # octets


class FetchFailed(Exception):
    """There is no answer; the text says why, and names the address."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """An answer. Names of header fields are in lower case."""

    status: int
    content: bytes = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict)


class Fetcher:
    """Keeps connections for the next request; `close` ends them."""

    def __init__(self, *, context: ssl.SSLContext | None = None, timeout: float = TIMEOUT, most: int = MOST) -> None:
        """`context` verifies the servers, by default against the system's authorities."""
        self._timeout = timeout
        self._most = most
        limits = httpx2.Limits(max_connections=8, max_keepalive_connections=2, keepalive_expiry=30.0)
        self._client = httpx2.AsyncClient(
            verify=context or tls.verified(), timeout=timeout, limits=limits, follow_redirects=False, trust_env=False
        )

    async def get(self, url: str, *, accept: str = "*/*") -> Fetched:
        """Raises FetchFailed."""
        return await self._fetch(self._client.build_request("GET", checked(url), headers={"accept": accept}))

    async def post(self, url: str, form: Mapping[str, str], *, user: str = "", password: str = "") -> Fetched:
        """Send a form, with HTTP Basic authentication where `user` is given, and take JSON back. Raises FetchFailed."""
        request = self._client.build_request("POST", checked(url), data=dict(form), headers={"accept": "application/json"})
        return await self._fetch(request, httpx2.BasicAuth(user, password) if user else None)

    async def _fetch(self, request: httpx2.Request, auth: httpx2.BasicAuth | None = None) -> Fetched:
        where = f"{request.url.scheme}://{request.url.netloc.decode('ascii', 'replace')}{request.url.path}"
        try:
            async with asyncio.timeout(self._timeout):
                answer = await self._client.send(request, auth=auth, stream=True)
                try:
                    content = await self._content(answer, where)
                finally:
                    await answer.aclose()
        except TimeoutError:
            raise FetchFailed(f"{where}: no answer within {self._timeout:g} s") from None
        except (httpx2.HTTPError, httpx2.StreamError, OSError) as error:
            raise FetchFailed(f"{where}: {str(error) or type(error).__name__}") from error
        return Fetched(answer.status_code, content, {name.lower(): value for name, value in answer.headers.items()})

    async def _content(self, answer: httpx2.Response, where: str) -> bytes:
        content = bytearray()
        async for chunk in answer.aiter_bytes():
            content += chunk
            if len(content) > self._most:
                raise FetchFailed(f"{where}: the answer is larger than {self._most} octets")
        return bytes(content)

    async def close(self) -> None:
        """End the connections that are kept."""
        await self._client.aclose()


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
