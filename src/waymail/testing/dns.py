"""A small DNS server on loopback, over UDP and TCP, that serves a `Zone`: for tests of code that opens sockets.

It stands for a recursive resolver: CNAMEs are followed in the answer, AD is set for authentic names where the question
asked for it, an answer too large for UDP comes truncated, "TIMEOUT" stays silent and "SERVFAIL" is said.
"""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset

from waymail.lookups import Mx, Query, Status
from waymail.testing.zone import FAILURES, Zone

_TRIES = 20


class DnsServer:
    """Serves while its `async with` block lasts. `address` is "127.0.0.1:port"; `asked` the questions that came, in order, as
    (transport, query)."""

    def __init__(self, zone: Zone) -> None:
        self.zone = zone
        self.address = ""
        self.asked: list[tuple[str, Query]] = []
        self._datagrams: asyncio.DatagramTransport | None = None
        self._streams: asyncio.Server | None = None
        self._connections: set[asyncio.Transport] = set()

    async def __aenter__(self) -> DnsServer:
        loop = asyncio.get_running_loop()
        for attempt in range(_TRIES):
            self._datagrams, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(self), local_addr=("127.0.0.1", 0))
            port = self._datagrams.get_extra_info("sockname")[1]
            try:
                self._streams = await loop.create_server(lambda: _Stream(self), "127.0.0.1", port)
            except OSError:  # UDP's free port is taken in TCP: try another
                self._datagrams.close()
                if attempt == _TRIES - 1:
                    raise
                continue
            self.address = f"127.0.0.1:{port}"
            break
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._datagrams:
            self._datagrams.close()
        if self._streams:
            self._streams.close()
        for transport in list(self._connections):
            transport.abort()

    def respond(self, octets: bytes, transport: str) -> bytes | None:
        """The answer to one question, or None for silence. `transport` is "udp" or "tcp". A test that wants a strange answer
        overrides this."""
        question = dns.message.from_wire(octets)
        rrset = question.question[0]
        query = Query(rrset.name.to_text(omit_final_dot=True), dns.rdatatype.to_text(rrset.rdtype))
        self.asked.append((transport, query))
        passed, answer = self.zone.chain(query)
        if answer.status is Status.FAILURE and answer.reason == FAILURES["TIMEOUT"]:
            return None
        response = dns.message.make_response(question, recursion_available=True)
        if answer.status is Status.FAILURE:
            response.set_rcode(dns.rcode.SERVFAIL)
            return response.to_wire()
        if answer.status is Status.NO_NAME:
            response.set_rcode(dns.rcode.NXDOMAIN)
        wants_ad = question.flags & dns.flags.AD or question.ednsflags & dns.flags.DO
        if answer.authentic and wants_ad:
            response.flags |= dns.flags.AD
        for alias, target in pairwise(passed):
            response.answer.append(_rrset(alias, answer.ttl, "CNAME", [target + "."]))
        if answer.records:
            texts = [_text(query.type, record) for record in answer.records]
            response.answer.append(_rrset(passed[-1], answer.ttl, query.type, texts))
        else:
            zone_name = passed[-1].partition(".")[2] or passed[-1]
            response.authority.append(_rrset(zone_name, answer.ttl, "SOA", [f". . 1 3600 600 86400 {answer.ttl}"]))
        if transport == "tcp":
            return response.to_wire(max_size=65535)
        return _fit(response, question.payload or 512)


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, server: DnsServer) -> None:
        self._server = server

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        if (response := self._server.respond(data, "udp")) is not None:
            self._transport.sendto(response, addr)


class _Stream(asyncio.Protocol):
    def __init__(self, server: DnsServer) -> None:
        self._server = server
        self._buffer = b""

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._server._connections.add(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._server._connections.discard(self._transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while len(self._buffer) >= 2 and len(self._buffer) >= (end := 2 + int.from_bytes(self._buffer[:2], "big")):
            response = self._server.respond(self._buffer[2:end], "tcp")
            self._buffer = self._buffer[end:]
            if response is not None:
                self._transport.write(len(response).to_bytes(2, "big") + response)


def _fit(response: dns.message.Message, size: int) -> bytes:
    try:
        return response.to_wire(max_size=max(size, 512))
    except dns.exception.TooBig:
        response.answer.clear()
        response.authority.clear()
        response.flags |= dns.flags.TC
        return response.to_wire()


def _rrset(name: str, ttl: int, kind: str, texts: list[str]) -> dns.rrset.RRset:
    return dns.rrset.from_text_list(dns.name.from_text(name), ttl, dns.rdataclass.IN, kind, texts)


def _text(kind: str, record: Any) -> str:
    """The record as zone files have it."""
    match kind:
        case "MX" if isinstance(record, Mx):
            return f"{record.preference} {record.host}."
        case "TXT":
            octets = record.encode("utf-8", "surrogateescape")
            strings = [octets[at : at + 255] for at in range(0, max(len(octets), 1), 255)]
            return " ".join('"' + "".join(f"\\{octet:03}" for octet in string) + '"' for string in strings)
        case "TLSA":
            usage, selector, matching, data = record
            return f"{usage} {selector} {matching} {data.hex()}"
        case "PTR" | "CNAME" | "NS":
            return f"{record}."
    return str(record)
