"""What it costs to find out who a sender is: SPF, DKIM and DMARC of a message, beside pyspf, dkimpy and authheaders.

    .venv/bin/python -m bench.senderauth --messages 300 --rounds 5 --at-least 10 --at-least-kept 3

Both look at the same signed messages (RSA, 2048 bits) in the same process, round by round in turn, and have every answer of DNS
in memory: waymail in the cache of its resolver, the others in a mapping. The sender's record includes another one; the author is
a subdomain, so that DMARC looks further than one name. CPU time is counted.

authheaders reads the Public Suffix List anew for each message, which is nearly all of its time. So the others are measured twice:
as they are, and with that list kept, as a careful program would. The exit code is 1 where the median of the rounds' ratios is
below `--at-least` (as they are) or `--at-least-kept` (with the list kept).
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from functools import cache
from typing import Any

import authheaders
import authheaders.dmarc_lookup
import spf as pyspf
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from bench.interpreter import interpreter
from waymail.lookups import Lookups, Query
from waymail.net.drive import drive
from waymail.net.resolver import Resolver
from waymail.senderauth import dkim, dmarc, spf
from waymail.senderauth.dkim.key import record
from waymail.testing.dns import DnsServer
from waymail.testing.zone import Zone

IP, HELO, SENDER = "198.51.100.7", "mx.example.org", "bounces@news.example.org"
HEAD = (
    "From: Ann Example <ann@news.example.org>\r\nTo: Bob <bob@example.com>\r\nSubject: message {number}\r\n"
    "Date: Fri, 27 Nov 2026 10:00:00 +0000\r\nMessage-ID: <{number}@example.org>\r\nMIME-Version: 1.0\r\n"
    "Content-Type: text/plain; charset=utf-8\r\n\r\n"
)
LINE = "what people  write to each other, in lines of some seventy octets....\r\n"


def messages(number: int, size: int) -> tuple[list[bytes], Zone]:
    """Signed messages of about `size` octets, and what DNS says of their sender."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    signer = dkim.load_key(pem)
    plain = [(HEAD.format(number=at) + LINE * (size // len(LINE))).encode() for at in range(number)]
    now = int(time.time())
    signed = [dkim.sign(message, signer, domain="example.org", selector="s1", now=now) + message for message in plain]
    zone = Zone.from_text(f"""
        $ORIGIN example.org.
        news          TXT  "v=spf1 include:_spf.example.net -all"
        s1._domainkey TXT  {" ".join(f'"{part}"' for part in _in_parts(record(signer.public)))}
        _dmarc        TXT  "v=DMARC1; p=reject; rua=mailto:dmarc@example.org"
        _spf.example.net. TXT "v=spf1 ip4:192.0.2.0/24 ip4:203.0.113.0/25 ip6:2001:db8::/32 ip4:198.51.100.0/24 ~all"
    """)
    return signed, zone


def _in_parts(text: str) -> list[str]:
    return [text[at : at + 200] for at in range(0, len(text), 200)]


def waymails(message: bytes, now: float) -> Lookups[str]:
    author = dmarc.author_domain(message[: message.index(b"\r\n\r\n") + 2])
    sender = yield from spf.check(IP, SENDER, HELO, now=now)
    signatures = yield from dkim.verify(message, now=now)
    result = yield from dmarc.evaluate_author(author, spf=sender, dkim=signatures)
    return f"{sender.result} {signatures[0].result} {result.result}"


def others(zone: Zone) -> Callable[[bytes], str]:
    """The same by the others, with the answers that `zone` has."""

    @cache
    def text(name: str) -> str | None:
        return next(iter(zone.answer(Query(name, "TXT")).records), None)

    def look_up(name: str, kind: str, *_: object) -> list[tuple[tuple[str, str], Any]]:
        found = text(name) if kind == "TXT" else None
        return [((name, kind), (found.encode(),))] if found else []

    def ask(name: bytes | str, timeout: int = 5) -> bytes | str | None:
        if isinstance(name, str):
            return text(name.rstrip("."))
        found = text(name.decode().rstrip("."))  # dkimpy asks in octets
        return found.encode() if found else None

    pyspf.DNSLookup = look_up

    def judge(message: bytes) -> str:
        sender = authheaders.check_spf(IP, SENDER, HELO)
        signature = authheaders.check_dkim(message, dnsfunc=ask)
        result = authheaders.check_dmarc(message, sender, signature, dnsfunc=ask)
        return f"{sender.result} {signature.result} {result.result}"

    return judge


def keep_list(kept: Callable[[str], str] | None = None) -> Callable[[str], str]:
    """Let authheaders take `kept`, or what it has. What it had before."""
    before: Callable[[str], str] = authheaders.get_org_domain
    if kept is not None:
        authheaders.get_org_domain = authheaders.dmarc_lookup.get_org_domain = kept
    return before


async def timed(judge: Callable[[bytes], Awaitable[str]], octets: list[bytes]) -> float:
    """Microseconds of CPU for one message."""
    began = time.process_time()
    results = {await judge(message) for message in octets}
    took = time.process_time() - began
    if results != {"pass pass pass"}:
        raise RuntimeError(f"it came to another result: {results}")
    return took / len(octets) * 1e6


async def measure(options: argparse.Namespace) -> list[tuple[float, float, float]]:
    """For each round: waymail, the others as they are, the others with the list kept."""
    octets, zone = messages(options.messages, options.size)
    theirs, reads = others(zone), keep_list()
    kept, rounds = cache(reads), []
    async with DnsServer(zone) as server:
        resolver = Resolver([server.address])

        async def waymail(message: bytes) -> str:
            return await drive(waymails(message, time.time()), resolver, deadline=20)

        async def second_opinion(message: bytes) -> str:
            return theirs(message)

        keep_list(kept)
        for judge in (waymail, second_opinion):  # fills the caches
            await timed(judge, octets[:5])
        for _ in range(options.rounds):
            ours, with_list = await timed(waymail, octets), await timed(second_opinion, octets)
            keep_list(reads)
            rounds.append((ours, await timed(second_opinion, octets[:5]), with_list))
            keep_list(kept)
    return rounds


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=300)
    parser.add_argument("--size", type=int, default=4096, help="octets of a message")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--at-least", type=float, default=0.0)
    parser.add_argument("--at-least-kept", type=float, default=0.0)
    options = parser.parse_args()
    print(interpreter())
    rounds = asyncio.run(measure(options))
    for ours, as_they_are, kept in rounds:
        print(f"us a message: waymail {ours:.0f}; pyspf, dkimpy, authheaders {as_they_are:.0f}, with the list kept {kept:.0f}")
    ratio = statistics.median(as_they_are / ours for ours, as_they_are, _ in rounds)
    ratio_kept = statistics.median(kept / ours for ours, _, kept in rounds)
    print(f"median: {ratio:.0f} times as fast; {ratio_kept:.1f} times with the list kept")
    return int(ratio < options.at_least or ratio_kept < options.at_least_kept)


if __name__ == "__main__":
    sys.exit(main())
