"""A waymail server among next hops of every kind, made once for all the tests that only need addresses of their own in it."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from tests.interop.conftest import Mail
from tests.interop.keepers import Folder, PostfixBox, SmtpSink

from waymail.testing.process import free_port, wait_for_port

MORE = """
"postfix.example" = "smtp://127.0.0.1:{postfix}"
"xn--bcher-kva.example" = "smtp://127.0.0.1:{postfix}"
"beyond.example" = "smtp://127.0.0.1:{postfix}"
"sink.example" = "smtp://127.0.0.1:{sink}"
"xn--snk-zma.example" = "smtp://127.0.0.1:{sink}"
"seven.example" = "smtp://127.0.0.1:{seven}"
"silent.example" = "smtp://127.0.0.1:{silent}"

[[listener]]
kind = "lmtp"
address = "unix:{socket}"
mode = "0666"
tls = "off"

[[listener]]
kind = "lmtp"
address = "127.0.0.1:{lmtp}"
tls = "off"

[relay]
allow = ["127.0.0.0/8"]
etrn = ["127.0.0.0/8"]
xclient = ["127.0.0.0/8"]
xforward = ["127.0.0.0/8"]

[domains."xn--gre-6ka8i.example"]
deliver = "maildir:mail/any.example/{{local}}"
recipients = "any"
"""


class Town:
    """`mail` is our server. By the domain of a recipient a message goes on from there: to `postfix` and its box (postfix.example,
    bücher.example), through it to `sink` (beyond.example), to `sink` (sink.example, sïnk.example), to `seven`, which has no
    8BITMIME (seven.example), to `silent`, which has no DSN (silent.example). Whatever else `postfix` gets it sends to `mail`,
    where any.example and größe.example have every recipient."""

    def __init__(self, directory: Path) -> None:
        self.sink, self.seven, self.silent = SmtpSink(), SmtpSink("-8"), SmtpSink("-N")
        self.folder = Folder("town")
        self.socket, self.lmtp = self.folder.path / "lmtp.sock", free_port()
        port = free_port()
        more = MORE.format(
            postfix=port, sink=self.sink.port, seven=self.seven.port, silent=self.silent.port,
            socket=self.socket, lmtp=self.lmtp,
        )  # fmt: skip
        self.mail = Mail(directory / "waymail", "mx", more)
        self.postfix = PostfixBox(
            "postfix.example", "bücher.example", "xn--bcher-kva.example", port=port,
            relayhost=f"[127.0.0.1]:{self.mail.mx}", disable_dns_lookups="yes", smtp_tls_security_level="none",
            transport_maps=f"inline:{{beyond.example=smtp:[127.0.0.1]:{self.sink.port}}}",
        )  # fmt: skip

    def __enter__(self) -> Self:
        self.mail.start()
        wait_for_port(self.lmtp)
        return self

    def __exit__(self, *_: object) -> None:
        try:
            assert self.mail.stop() == 0, self.mail.log.read_text()
        finally:
            for part in (self.postfix, self.sink, self.seven, self.silent, self.folder):
                part.__exit__()

    def notice_to(self, local: str) -> bytes:
        """The notice that a recipient at any.example gets from our server."""
        return self.mail.wait_for_mail(f"mail/any.example/{local}")[0]
