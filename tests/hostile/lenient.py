"""A receiver that takes for the end of a message whatever any program ever took for one: what smuggling aims at.

It runs in threads of its own. `messages` are those that it saw, and it sees two where there should be one if anything in the
first ends it.
"""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

END = re.compile(rb"(?:\A|\r\n|\n|\r)[\x00 \t]*\.[\x00 \t]*(?:\r\n|\n|\r)")
LINE_END = re.compile(rb"\r\n|\n|\r(?=.)", re.DOTALL)
SOON = 10.0  # seconds
# Clears the screen, colours it, rings, begins a line, turns the text round, and says much: a reply all the same.
HOSTILE = (
    b"450 4.2.0 \x1b[2J\x1b[31mred\x07\x00\x7f\xc2\x9b31m\xe2\x80\xae\xe2\x80\xa82026-01-01T00:00:00.000Z info "
    + b"x" * 3000
    + b"\r\n"
)


@dataclass(slots=True)
class Seen:
    """A message: the envelope's commands and the octets, as they came."""

    mail: bytes = b""
    rcpt: list[bytes] = field(default_factory=list)
    content: bytes = b""


class LenientReceiver:
    """Recipients that begin with "refused" are refused, "hostile" with `HOSTILE`. `extensions` are offered besides PIPELINING."""

    def __init__(self, extensions: Sequence[str] = ()) -> None:
        self.messages: list[Seen] = []
        self.unknown: list[bytes] = []  # commands that it does not know: content that was taken for them
        self._extensions = ("PIPELINING", *extensions)
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=200)
        self.port: int = self._socket.getsockname()[1]
        threading.Thread(target=self._run, daemon=True).start()

    def wait_for(self, marker: bytes, number: int = 1) -> list[Seen]:
        """All messages with the marker in them or in their recipients, once there are `number` of them."""
        deadline = time.monotonic() + SOON
        while len(found := [one for one in self.messages if marker in one.content + b"".join(one.rcpt)]) < number:
            assert time.monotonic() < deadline, f"{len(found)} of {number} messages with {marker!r}"
            time.sleep(0.01)
        return found

    def close(self) -> None:
        self._socket.close()

    def _run(self) -> None:
        while True:
            try:
                client, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client:
            try:
                _Session(self, client).run()
            except (OSError, EOFError):
                return

    def said(self) -> bytes:
        """The answer to EHLO."""
        names = ["lenient.example", *self._extensions]
        return b"".join(b"250%s%s\r\n" % (b" " if name is names[-1] else b"-", name.encode()) for name in names)


class _Session:
    def __init__(self, receiver: LenientReceiver, client: socket.socket) -> None:
        self._receiver = receiver
        self._client = client
        self._octets = b""
        self._seen = Seen()
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def run(self) -> None:
        self._client.sendall(b"220 lenient.example ESMTP\r\n")
        while True:
            line = self._take(LINE_END)
            self._client.sendall(self._answer(line))
            if line[:4].upper() == b"QUIT":
                return

    def _answer(self, line: bytes) -> bytes:
        verb = line[:4].upper()
        if verb == b"EHLO":
            return self._receiver.said()
        if verb == b"MAIL":
            self._seen = Seen(line)
        elif verb == b"RCPT":
            if b"<hostile" in line:
                return HOSTILE
            if b"<refused" in line:
                return b"550 5.1.1 refused\r\n"
            self._seen.rcpt.append(line)
        elif verb == b"DATA":
            if not self._seen.rcpt:
                return b"554 nobody\r\n"
            self._client.sendall(b"354 go on\r\n")
            self._finish(self._take(END))
        elif verb == b"BDAT":
            self._chunk(int(line.split()[1]))
            if line.upper().endswith(b"LAST"):
                self._finish(self._seen.content)
        elif verb not in (b"RSET", b"NOOP", b"QUIT"):
            self._receiver.unknown.append(line)
            return b"500 what?\r\n"
        return b"250 OK\r\n"

    def _finish(self, content: bytes) -> None:
        self._seen.content = content
        if self._seen.rcpt:
            self._receiver.messages.append(self._seen)
        self._seen = Seen()

    def _chunk(self, size: int) -> None:
        while len(self._octets) < size:
            self._receive()
        self._seen.content += self._octets[:size]
        self._octets = self._octets[size:]

    def _take(self, end: re.Pattern[bytes]) -> bytes:
        while (found := end.search(self._octets)) is None:
            self._receive()
        taken, self._octets = self._octets[: found.start()], self._octets[found.end() :]
        return taken

    def _receive(self) -> None:
        octets = self._client.recv(65536)
        if not octets:
            raise EOFError
        self._octets += octets
