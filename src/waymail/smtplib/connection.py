"""A connection as smtplib's callers know it: `sock` is theirs to look at and to set, `send`, `putcmd` and `getreply` say and hear
whatever they like.

How it fails: OSError of every kind from connecting, as the socket module raises it; SMTPServerDisconnected where the connection
is gone or a timeout is over, SMTPResponseException where the server cannot be understood. The connection is closed then.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from datetime import datetime
from smtplib import SMTPResponseException, SMTPServerDisconnected
from socket import _GLOBAL_DEFAULT_TIMEOUT  # type: ignore[attr-defined]  # what smtplib's signatures have
from types import ModuleType
from typing import Any

from waymail.smtplib.replies import Answer, Broken, Replies
from waymail.wire.commands import Command, Noop

DEFAULT_TIMEOUT: Any = _GLOBAL_DEFAULT_TIMEOUT
"""Stands for: the program said nothing. Then it is socket.getdefaulttimeout(), or if that is None the two below."""
STEP = 300.0  # seconds. RFC 5321 §4.5.3.2.1 to .3: five minutes for the greeting, MAIL and RCPT; no other step is to have more,
FINAL = 600.0  # but for the end of content (§4.5.3.2.6): ten minutes

_BLOCK = 262_144  # octets that are written within one timeout

Spoken = tuple[bytes, Command]
"""A line with its CRLF, what may follow it without a reply, and what it means."""


class Connection:
    """To be read and set: `sock` (None while there is no connection), `timeout` (seconds, for each step; None waits for ever),
    `source_address`, `command_encoding`, `debuglevel`. `file` is always None: nobody else reads."""

    debuglevel = 0
    sock: Any = None
    file: Any = None
    default_port = 25

    def __init__(self, timeout: Any, source_address: tuple[str, int] | None) -> None:
        self.timeout = timeout
        self.source_address = source_address
        self.command_encoding = "ascii"
        self._host = ""
        self._replies = Replies()

    def set_debuglevel(self, debuglevel: int) -> None:
        """1: print to stderr what is said on the connection (but no password); 2: with the time."""
        self.debuglevel = debuglevel

    def _print_debug(self, *words: object) -> None:
        if self.debuglevel > 1:
            words = (datetime.now().time(), *words)  # noqa: DTZ005 - for a person, who has a clock on the wall
        print(*words, file=sys.stderr)  # noqa: T201

    # --- there and back

    def _get_socket(self, host: str, port: int, timeout: Any) -> Any:
        """Where programs put themselves in between: they override it."""
        if timeout is not None and not timeout:
            raise ValueError("Non-blocking socket (timeout=0) is not supported")
        if self.debuglevel > 0:
            self._print_debug("connect: to", (host, port), self.source_address)
        return socket_module().create_connection((host, port), self._seconds(timeout), self.source_address)

    def _seconds(self, timeout: Any) -> float | None:
        if timeout is not DEFAULT_TIMEOUT:
            return None if timeout is None else float(timeout)
        default: float | None = socket_module().getdefaulttimeout()
        return STEP if default is None else default

    def connect(
        self, host: str = "localhost", port: int | str = 0, source_address: tuple[str, int] | None = None
    ) -> tuple[int, bytes]:
        """Connect and hear the greeting, which is returned. `host` may end in a colon and a port."""
        if source_address:
            self.source_address = source_address
        if not port and host.count(":") == 1:
            host, _, port = host.partition(":")
        try:
            port = int(port or self.default_port)
        except ValueError:
            raise OSError("nonnumeric port") from None
        sys.audit("smtplib.connect", self, host, port)
        self._host = host
        return self._greeted(self._get_socket(host, port, self.timeout))

    def _greeted(self, sock: Any) -> tuple[int, bytes]:
        self._replies = Replies()
        self.sock = sock
        code, text = self.getreply()
        if self.debuglevel > 0:
            self._print_debug("connect:", repr(text))
        return code, text

    def close(self) -> None:
        """Close the connection, if there is one, without a word."""
        sock, self.sock = self.sock, None
        if sock:
            sock.close()

    # --- saying

    def send(self, s: str | bytes) -> None:
        """Write `s` as it is; text in `command_encoding`."""
        if self.debuglevel > 0:
            self._print_debug("send:", repr(s))
        self._write(s.encode(self.command_encoding) if isinstance(s, str) else s)

    def _write(self, octets: bytes) -> None:
        sock = self._connected()
        sys.audit("smtplib.send", self, octets)
        try:
            for start in range(0, len(octets), _BLOCK):
                sock.sendall(octets[start : start + _BLOCK] if len(octets) > _BLOCK else octets)
        except OSError as error:
            self.close()
            raise SMTPServerDisconnected("Server not connected") from error

    def putcmd(self, cmd: str, args: str = "") -> None:
        """Say a command. Raises ValueError where it has a CR or LF: it would be two."""
        self._say(f"{cmd} {args}" if args else cmd, Noop())

    def _say(self, line: str, meaning: Command, shown: str = "") -> None:
        self._put([self._spoken(line, meaning)], shown)

    def _spoken(self, line: str, meaning: Command) -> Spoken:
        if "\r" in line or "\n" in line:
            shown = line.replace("\n", "\\n").replace("\r", "\\r")
            raise ValueError(f"command and arguments contain prohibited newline characters: {shown}")
        return f"{line}\r\n".encode(self.command_encoding), meaning

    def _put(self, group: Sequence[Spoken], shown: str = "") -> None:
        """Say the group in one write. Where the server has said 421 meanwhile it is not said: 421 is the reply."""
        self._connected()
        octets = b"".join([line for line, _ in group])
        try:
            is_open = self._replies.is_silent()
        except Broken as error:
            self.close()
            raise SMTPServerDisconnected(f"Connection closed: the server {error}") from error
        if is_open:
            if self.debuglevel > 0:
                self._print_debug("send:", shown or repr(octets))
            self._write(octets)
        for _, meaning in group:
            self._replies.expect(meaning)

    def _connected(self) -> Any:
        if not self.sock:
            raise SMTPServerDisconnected("please run connect() first")
        return self.sock

    # --- hearing

    def getreply(self) -> tuple[int, bytes]:
        """The next reply: its code, and its lines without it, joined by LF. The code is -1 where there is none to be read.

        Raises SMTPServerDisconnected where the connection ends or the timeout is over, SMTPResponseException (500) for a line or
        a reply that does not end.
        """
        answer = self._answer()
        return answer.code, answer.text

    def _answer(self, *, is_final: bool = False) -> Answer:
        sock = self._connected()
        limit = sock.gettimeout()
        if is_final and limit == STEP and self.timeout is DEFAULT_TIMEOUT:
            limit = FINAL
        try:
            answer = self._replies.read(sock, limit)
        except (OSError, EOFError) as error:
            self.close()
            raise SMTPServerDisconnected(f"Connection unexpectedly closed{f': {error}' if str(error) else ''}") from error
        except Broken as error:
            self.close()
            raise SMTPResponseException(500, str(error)) from error
        if self.debuglevel > 0:
            self._print_debug(f"reply: retcode ({answer.code}); Msg: {answer.text!a}")
        if answer.is_last:
            self.close()
        return answer

    def _answers(self, groups: Sequence[Sequence[Spoken]]) -> Iterator[Answer]:
        """The replies, one by one; each group is said when the first of its replies is wanted."""
        for group in groups:
            self._put(group)
            for _ in group:
                yield self._answer()


def socket_module() -> ModuleType:
    """The module that makes sockets. Programs and their tests put another one in place of `smtplib.socket`."""
    found = sys.modules["waymail.smtplib"].socket
    assert isinstance(found, ModuleType)  # noqa: S101
    return found
