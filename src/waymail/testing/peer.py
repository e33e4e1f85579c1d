"""A scripted SMTP or LMTP server on a real socket, for tests of whatever sends mail: ours, and that of programs that use waymail.

    async with Peer([("RCPT TO:<bob@", b"550 5.1.1 no such user\\r\\n")]) as peer:
        await waymail.send(message, f"smtp://{peer.address}?tls=off")
    assert peer.commands[-1] == b"QUIT"

Without rules it is a well-behaved server that takes everything. A rule is a regular expression (case-insensitive, searched at the
beginning of the line) and an answer; the first rule that matches decides. Besides the client's commands there are "lines"
for other moments: `GREETING` before anything was said, `END` when the content has come with its dot or its last chunk. With
`lmtp` that moment comes for each recipient: the line is `END`, a space and the RCPT command. BDAT is answered when its octets
have come; a rule for it stands in for `END` where it is the last. An answer is

    bytes       sent as they are: several lines, half a line, none, or more than was asked for
    DROP        the connection is closed hard (RST, where octets were left unread)
    HANG        nothing more is ever said
    a callable  it is given the line and returns an answer, so that it may count, or answer differently each time; None is the
                usual answer
    a sequence  of these, one after the other: [b"354 go on\\r\\n", DROP]

After an answer to STARTTLS that begins with 220 comes the handshake, after 354 content is read, after 221 or 421 the
connection is closed. A peer that hangs does not read, either. `transcript` has what each side said, for all connections, in
order; `messages` what was accepted.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from types import TracebackType
from typing import Self

GREETING = b"<greeting>"
END = b"<end of content>"
STOP_SECONDS = 5.0
_LONGEST_LINE = 1024 * 1024
_GO_ON = re.compile(rb"^354", re.MULTILINE)  # replies to earlier commands may have been held back until then


class Fault(Enum):
    DROP = "drop"
    HANG = "hang"


DROP = Fault.DROP
HANG = Fault.HANG

Answer = bytes | Fault | Callable[[bytes], "Answer | None"] | Sequence["Answer"]
Rule = tuple[str, Answer]


@dataclass(slots=True)
class Received:
    """A message that the peer accepted: the envelope's commands as they were sent, and the content, stuffing removed."""

    mail: bytes
    rcpt: list[bytes]
    content: bytes
    connection: int


@dataclass(slots=True)
class _Client:
    """The state of one connection."""

    number: int
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    secure: bool = False
    mail: bytes = b""
    rcpt: list[bytes] = field(default_factory=list)
    chunks: bytearray = field(default_factory=bytearray)


class _Dropped(Exception):
    pass


class Peer:
    """The server. `extensions` are the EHLO keywords; STARTTLS is added where there is a `tls` context.

    With `implicit_tls` it speaks TLS from the first octet. `host` and `port` say where it listens, on loopback, if `path` is not
    given: then it is a Unix-domain socket there. `lmtp`: each recipient has a reply of its own to the content (RFC 2033 §4.2).
    """

    def __init__(
        self,
        rules: Sequence[Rule] = (),
        *,
        extensions: Sequence[str] = ("PIPELINING", "8BITMIME", "SIZE 50000000"),
        tls: ssl.SSLContext | None = None,
        implicit_tls: bool = False,
        host: str = "127.0.0.1",
        path: str = "",
        lmtp: bool = False,
    ) -> None:
        self._rules = [(re.compile(pattern.encode(), re.IGNORECASE), answer) for pattern, answer in rules]
        self._extensions = extensions
        self._tls = tls
        self._implicit_tls = implicit_tls
        self._path = path
        self._lmtp = lmtp
        self.host = host
        self.port = 0
        self.connections = 0
        self.transcript: list[tuple[str, bytes]] = []
        self.messages: list[Received] = []
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def address(self) -> str:
        """Host and port, as a URL has them."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def commands(self) -> list[bytes]:
        """The lines that clients sent, without their line ends; content is left out."""
        return [line for who, line in self.transcript if who == "C" and not line.startswith(END)]

    async def __aenter__(self) -> Self:
        context = self._tls if self._implicit_tls else None
        if self._path:
            self._server = await asyncio.start_unix_server(self._serve, self._path, limit=_LONGEST_LINE)
            return self
        self._server = await asyncio.start_server(self._serve, self.host, 0, ssl=context, limit=_LONGEST_LINE)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.stop()

    async def stop(self) -> None:
        """Listen no more, and close all connections."""
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101
        self._tasks.add(task)
        self.connections += 1
        client = _Client(self.connections, reader, writer, secure=self._implicit_tls)
        try:
            await self._converse(client)
        except (_Dropped, OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def _converse(self, client: _Client) -> None:
        said = await self._say(client, GREETING)
        while not said.startswith((b"221", b"421")):
            line = await client.reader.readuntil(b"\r\n")
            line = line[:-2]
            self.transcript.append(("C", line))
            verb = line[:4].upper()
            if verb == b"BDAT":
                said = await self._take_chunk(client, line)
                continue
            said = await self._say(client, line)
            if verb == b"STAR" and said.startswith(b"220"):
                await self._start_tls(client)
            elif verb == b"MAIL" and said.startswith(b"2"):
                client.mail, client.rcpt = line, []
            elif verb == b"RCPT" and said.startswith(b"2"):
                client.rcpt.append(line)
            elif verb in (b"RSET", b"EHLO", b"HELO", b"LHLO"):
                client.mail, client.rcpt = b"", []
                client.chunks.clear()
            elif verb == b"DATA" and _GO_ON.search(said):
                said = await self._take_content(client)
        await asyncio.wait_for(client.reader.read(), STOP_SECONDS)  # the client closes first, or is slow to

    async def _start_tls(self, client: _Client) -> None:
        assert self._tls is not None, "a peer that is to speak TLS needs a context"  # noqa: S101
        await client.writer.start_tls(self._tls)
        client.secure = True
        client.mail, client.rcpt = b"", []

    async def _take_content(self, client: _Client) -> bytes:
        content = bytearray(b"\r\n")  # of the DATA line
        while not content.endswith(b"\r\n.\r\n"):
            content += await client.reader.readuntil(b"\r\n")
        return await self._end(client, bytes(content[:-3].replace(b"\r\n.", b"\r\n")[2:]))

    async def _take_chunk(self, client: _Client, line: bytes) -> bytes:
        _, octets, *last = line.split()
        client.chunks += await client.reader.readexactly(int(octets))
        if not last or any(pattern.match(line) for pattern, _ in self._rules):
            return await self._say(client, line)
        content = bytes(client.chunks)
        client.chunks.clear()
        if not client.rcpt:
            return await self._say(client, END + b" for nobody") if not self._lmtp else b""
        return await self._end(client, content)

    async def _end(self, client: _Client, content: bytes) -> bytes:
        """Answer the content: once, or in LMTP for each recipient."""
        said = b""
        taken: list[bytes] = []
        for recipient in client.rcpt if self._lmtp else [b""]:
            line = END + b" " + recipient if self._lmtp else END
            self.transcript.append(("C", line))
            answer = await self._say(client, line)
            said += answer
            if answer.startswith(b"2"):
                taken += [recipient] if self._lmtp else client.rcpt
        if taken or (said.startswith(b"2") and not client.rcpt):
            self.messages.append(Received(client.mail, taken, content, client.number))
        client.mail, client.rcpt = b"", []
        return said

    async def _say(self, client: _Client, line: bytes) -> bytes:
        """Answer a line; returns all that was said."""
        found = [answer for pattern, answer in self._rules if pattern.match(line)]
        said = b""
        for part in self._parts(found[0] if found else None, client, line):
            if part is DROP:
                raise _Dropped
            if part is HANG:
                await asyncio.get_running_loop().create_future()
            assert isinstance(part, bytes)  # noqa: S101
            self.transcript.append(("S", part))
            client.writer.write(part)
            await client.writer.drain()
            said += part
        return said

    def _parts(self, answer: Answer | None, client: _Client, line: bytes) -> Iterator[bytes | Fault]:
        while callable(answer):
            answer = answer(line)
        if answer is None:
            yield self._usual(client, line)
        elif isinstance(answer, (bytes, Fault)):
            yield answer
        else:
            for part in answer:
                yield from self._parts(part, client, line)

    def _usual(self, client: _Client, line: bytes) -> bytes:
        match line[:4].upper():
            case b"EHLO" | b"LHLO":
                return self._extended_hello(client)
            case b"DATA":
                return b"354 go on\r\n" if client.rcpt else b"554 5.5.1 no valid recipients\r\n"
            case b"RCPT" if not client.mail:
                return b"503 5.5.1 MAIL first\r\n"
            case b"QUIT":
                return b"221 2.0.0 bye\r\n"
        if line == GREETING:
            return b"220 peer.example ESMTP\r\n"
        if line == END + b" for nobody":
            return b"503 5.5.1 no valid recipients\r\n"
        if line.startswith(END):
            return b"250 2.0.0 taken as %d\r\n" % (len(self.messages) + 1)
        if line[:8].upper() == b"STARTTLS":
            return b"220 2.0.0 go on\r\n" if self._tls and not client.secure else b"503 5.5.1 not here\r\n"
        return b"250 2.0.0 fine\r\n"

    def _extended_hello(self, client: _Client) -> bytes:
        offered = ["STARTTLS"] if self._tls and not client.secure else []
        lines = ["peer.example", *offered, *self._extensions]
        return b"".join(b"250%s%s\r\n" % (b"-" if at < len(lines) else b" ", text.encode()) for at, text in enumerate(lines, 1))
