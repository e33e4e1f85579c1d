"""The same over TLS from the first octet, and LMTP (RFC 2033)."""

from __future__ import annotations

import ssl
from typing import Any

from waymail.smtplib.connection import DEFAULT_TIMEOUT, socket_module
from waymail.smtplib.smtp import SMTP, chosen_context

SMTP_SSL_PORT = 465
LMTP_PORT = 2003


class SMTP_SSL(SMTP):  # noqa: N801 - smtplib's name
    """TLS from the first octet (RFC 8314 §3). Without a `context` of the program's own the server's certificate has to be one of
    an authority that the system trusts, for `host`."""

    default_port = SMTP_SSL_PORT

    def __init__(
        self,
        host: str = "",
        port: int = 0,
        local_hostname: str | None = None,
        keyfile: str | None = None,
        certfile: str | None = None,
        timeout: Any = DEFAULT_TIMEOUT,
        source_address: tuple[str, int] | None = None,
        context: ssl.SSLContext | None = None,
    ) -> None:
        self.context = chosen_context(context, keyfile, certfile)
        super().__init__(host, port, local_hostname, timeout, source_address)

    def _get_socket(self, host: str, port: int, timeout: Any) -> Any:
        return self._secured(super()._get_socket(host, port, timeout), self.context)


class LMTP(SMTP):
    """LMTP, over TCP or, where `host` begins with a slash, a Unix-domain socket. Each recipient has a reply of its own to the
    message: those that are refused then are returned like those refused by RCPT."""

    ehlo_msg = "lhlo"

    def __init__(
        self,
        host: str = "",
        port: int = LMTP_PORT,
        local_hostname: str | None = None,
        source_address: tuple[str, int] | None = None,
        timeout: Any = DEFAULT_TIMEOUT,
    ) -> None:
        super().__init__(host, port, local_hostname, timeout, source_address)

    def connect(
        self, host: str = "localhost", port: int | str = 0, source_address: tuple[str, int] | None = None
    ) -> tuple[int, bytes]:
        """Connect and hear the greeting, which is returned."""
        if not host.startswith("/"):
            return super().connect(host, port, source_address)
        if self.timeout is not None and not self.timeout:
            raise ValueError("Non-blocking socket (timeout=0) is not supported")
        if self.debuglevel > 0:
            self._print_debug("connect: to", host)
        socket = socket_module()
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.settimeout(self._seconds(self.timeout))
            sock.connect(host)
        except OSError:
            sock.close()
            raise
        self._host = host
        return self._greeted(sock)
