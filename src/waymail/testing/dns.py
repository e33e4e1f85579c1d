"""A small DNS server on loopback, over UDP and TCP, that serves a `Zone`: for tests of code that opens sockets.

It stands for a recursive resolver: CNAMEs are followed in the answer, AD is set for authentic names where the question
asked for it, an answer too large for UDP comes truncated, "TIMEOUT" stays silent and "SERVFAIL" is said.

    async with DnsServer(zone) as server:
        server.fail("example.org", "servfail", type="TXT", times=1)
        server.fail("slow.example", "slow", seconds=0.5)
        ...
        server.zone.put("example.org", {"A": ["192.0.2.2"]})
        assert server.count("example.org", "TXT") == 2
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from threading import Thread
from typing import Any, Literal, get_args

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

FaultWord = Literal["timeout", "servfail", "refused", "truncation", "slow", "wrong id", "ad", "garbage"]


@dataclass(slots=True)
class _Fault:
    """What goes wrong, with which questions: "" stands for any. `left` is how many times more, None for ever."""

    word: FaultWord
    name: str
    kind: str
    transport: str
    seconds: float
    left: int | None

    def meets(self, query: Query, transport: str) -> bool:
        return (
            self.left != 0
            and self.name in ("", query.name.lower())
            and self.kind in ("", query.type)
            and self.transport in ("", transport)
        )


class DnsServer:
    """Serves while its `async with` block lasts. `address` is "127.0.0.1:port"; `asked` the questions that came, in order, as
    (transport, query)."""

    def __init__(self, zone: Zone) -> None:
        self.zone = zone
        self.address = ""
        self.asked: list[tuple[str, Query]] = []
        self._faults: list[_Fault] = []
        self._late: list[asyncio.TimerHandle] = []
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
        for answer in self._late:
            answer.cancel()
        if self._datagrams:
            self._datagrams.close()
        if self._streams:
            self._streams.close()
        for transport in list(self._connections):
            transport.abort()

    def fail(
        self,
        name: str,
        fault: FaultWord,
        *,
        type: str = "",
        transport: Literal["udp", "tcp", ""] = "",
        times: int | None = None,
        seconds: float = 1.0,
    ) -> None:
        """From now on questions about `name` ("": any name) go wrong: all of them, or those of one `type`, over one `transport`,
        so many `times`. Where several faults meet a question, the one that was asked for last happens.

        "timeout" is silence, "servfail" and "refused" are said; "truncation" leaves everything out over UDP and says so; "slow"
        answers after so many `seconds`; "wrong id" answers another question's number; "ad" sets AD for what nobody vouches for;
        "garbage" answers with octets that mean nothing.

        Raises ValueError for another word.
        """
        if fault not in get_args(FaultWord):
            raise ValueError(f"{fault!r} is none of {', '.join(get_args(FaultWord))}")
        self._faults.append(_Fault(fault, name.lower().rstrip("."), type.upper(), transport, seconds, times))

    def heal(self) -> None:
        """Nothing goes wrong any more that `fail` asked for."""
        self._faults.clear()

    def count(self, name: str = "", type: str = "", *, transport: str = "") -> int:
        """How many questions came; about one name, of one type, over "udp" or "tcp"."""
        wanted = _Fault("slow", name.lower().rstrip("."), type.upper(), transport, 0, None)
        return sum(wanted.meets(query, over) for over, query in self.asked)

    def take(self, octets: bytes, transport: str, send: Callable[[bytes], object]) -> None:
        """Answer one question with `send`, or go wrong as was asked for."""
        response = self.respond(octets, transport)
        query = self.asked[-1][1] if self.asked else None
        fault = next((fault for fault in reversed(self._faults) if query and fault.meets(query, transport)), None)
        delay = 0.0
        if fault:
            fault.left = None if fault.left is None else fault.left - 1
            delay = fault.seconds if fault.word == "slow" else 0.0
            response = _gone_wrong(fault.word, octets, transport, response)
        if response is None:
            return
        if delay:
            self._late.append(asyncio.get_running_loop().call_later(delay, send, response))
        else:
            send(response)

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
        self._server.take(data, "udp", lambda response: self._transport.sendto(response, addr))


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
            question, self._buffer = self._buffer[2:end], self._buffer[end:]
            self._server.take(
                question, "tcp", lambda response: self._transport.write(len(response).to_bytes(2, "big") + response)
            )


@contextmanager
def serving(zone: Zone) -> Iterator[DnsServer]:
    """A `DnsServer` in a thread of its own while the block lasts: for tests that have no event loop, or several."""
    ready: Future[DnsServer] = Future()
    done = asyncio.Event()

    async def serve() -> None:
        async with DnsServer(zone) as server:
            loops.append(asyncio.get_running_loop())
            ready.set_result(server)
            await done.wait()

    def run() -> None:
        try:
            asyncio.run(serve())
        except BaseException as error:
            if ready.done():
                raise
            ready.set_exception(error)

    loops: list[asyncio.AbstractEventLoop] = []
    thread = Thread(target=run, name="waymail.testing.dns", daemon=True)
    thread.start()
    try:
        yield ready.result(timeout=10)
    finally:
        if loops:
            loops[0].call_soon_threadsafe(done.set)
        thread.join(timeout=10)


def _gone_wrong(word: FaultWord, octets: bytes, transport: str, response: bytes | None) -> bytes | None:
    """What is sent in place of `response`."""
    if word == "timeout" or response is None:
        return None
    if word == "garbage":
        return octets[:2] + b"\xff" * 20
    if word == "wrong id":
        return bytes([response[0] ^ 0xFF, *response[1:]])
    if word == "ad":
        return bytes([*response[:3], response[3] | 0x20, *response[4:]])
    if word in ("servfail", "refused"):
        said = dns.message.make_response(dns.message.from_wire(octets), recursion_available=True)
        said.set_rcode(dns.rcode.SERVFAIL if word == "servfail" else dns.rcode.REFUSED)
        return said.to_wire()
    if word == "truncation" and transport == "udp":
        said = dns.message.make_response(dns.message.from_wire(octets), recursion_available=True)
        said.flags |= dns.flags.TC
        return said.to_wire()
    return response


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
