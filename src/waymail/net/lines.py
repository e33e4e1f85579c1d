"""Lines over a Unix-domain socket, for protocols where one side asks and the other answers with lines.

Promises: every wait has a deadline, a line has at most `MOST` octets; what goes wrong is a `LinesFailed`.
"""

from __future__ import annotations

import asyncio

MOST = 65_536  # octets of one line


class LinesFailed(OSError):
    """The other side is not there, silent, or says too much."""


class Lines:
    """A connection that `connect` made."""

    def __init__(self, path: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._path = path
        self._reader = reader
        self._writer = writer

    @classmethod
    async def connect(cls, path: str, *, timeout: float) -> Lines:
        """Raises LinesFailed after `timeout` seconds at the latest."""
        try:
            async with asyncio.timeout(timeout):
                return cls(path, *await asyncio.open_unix_connection(path, limit=MOST))
        except TimeoutError:
            raise LinesFailed(f"{path}: no connection within {timeout:g} s") from None
        except OSError as error:
            raise LinesFailed(f"{path}: {error.strerror or error}") from None

    def write(self, line: str) -> None:
        """Send a line. What cannot be sent shows at the next `read`."""
        self._writer.write(line.encode("utf-8") + b"\n")

    async def read(self, *, timeout: float) -> str:
        """The next line, without its end. Raises LinesFailed."""
        try:
            async with asyncio.timeout(timeout):
                line = await self._reader.readuntil(b"\n")
        except TimeoutError:
            raise LinesFailed(f"{self._path}: no answer within {timeout:g} s") from None
        except asyncio.IncompleteReadError:
            raise LinesFailed(f"{self._path}: the connection was closed") from None
        except asyncio.LimitOverrunError:
            raise LinesFailed(f"{self._path}: a line of more than {MOST} octets") from None
        except OSError as error:
            raise LinesFailed(f"{self._path}: {error.strerror or error}") from None
        return line[:-1].decode("utf-8", "replace")

    def close(self) -> None:
        """At once."""
        self._writer.transport.abort()
