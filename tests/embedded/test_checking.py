"""A server is not made of arguments that make no sense, with asyncio or without."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import waymail
import waymail.sync


@pytest.mark.parametrize("kind", [waymail.Server, waymail.sync.Server])
@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"hostname": "bad name\r\n"}, r"hostname is the name that the server gives, as \"mail.example.org\", not 'bad name"),
        ({"hostname": "under_score.example"}, "hostname is the name"),
        ({"hostname": "é" * 80}, "hostname is 'éé"),
        ({"hostname": b"mail.example.org"}, "hostname is a name, as .*not bytes"),
        ({"size": -1}, "size is the number of octets"),
        ({"size": 0}, "1 or more, not 0"),
        ({"size": "5 MB"}, "size is the number of octets of the largest message, as 50_000_000, not str"),
        ({"timeout": -1}, "timeout is in seconds, and above 0, not -1"),
        ({"timeout": float("nan")}, "timeout is in seconds"),
        ({"timeout": "5m"}, "timeout is in seconds, as 300, not str"),
        ({"grace": -1}, "grace is in seconds, and 0 or more, not -1"),
        ({"line_ends": "x"}, 'line_ends is "strict" or "normalise", not \'x\''),
        ({"limits": 3}, r"limits is a waymail.server.limits.Limits, as Limits\(recipients=50\), not int"),
        ({"tls": "cert.pem"}, r"tls is \(certificate, key\), an ssl.SSLContext, or \"self-signed\" for tests, not 'cert.pem'"),
        ({"address": []}, "address is empty: say where to listen"),
        ({"address": "unix:"}, "without a path"),
        ({"address": "127.0.0.1"}, "the port is missing"),
        ({"address": ["127.0.0.1:0", "::1:25"]}, "written in brackets"),
        ({"address": [25]}, "not int"),
        ({"proxies": ["nonsense"]}, "nonsense"),
    ],
    ids=str,
)
def test_what_makes_no_sense_is_said_when_it_is_given(kind: type[Any], wrong: dict[str, Any], told: str) -> None:
    with pytest.raises((TypeError, ValueError), match=told):
        kind(print, **wrong)


@pytest.mark.parametrize(
    ("hostname", "said"),
    [("Mail.Example.org", "Mail.Example.org"), ("bücher.example", "xn--bcher-kva.example"), ("[127.0.0.1]", "[127.0.0.1]")],
)
async def test_a_name_is_given_as_smtp_has_it(hostname: str, said: str) -> None:
    async with waymail.Server(print, hostname=hostname) as server, waymail.Client(server.url, retry=None) as client:
        await client.check()
        reader, writer = await asyncio.open_connection(*server.address.split(":"))
        assert (await reader.readline()).decode().split()[1] == said
        writer.close()
