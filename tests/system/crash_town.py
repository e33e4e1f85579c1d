"""The server that is killed, and whom it has around it: senders' and recipients' servers, mailboxes, a program."""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import threading
import time
from pathlib import Path
from typing import IO, Self

from tests.interop.keepers import NOBODY, Folder, PostfixBox, SmtpSink
from tests.system.crash_mail import Arrival, opened

from waymail.testing.process import ServerProcess

USER, PASSWORD = "ann@home.example", "correct horse battery"
SENDERS = tuple(f"s{number}@home.example" for number in range(5))
ALIASES = {  # what the recipients of a message turn into
    "team@home.example": ("box1@home.example", "ok7@own.example", "p7@pipe.example"),
    "board@home.example": ("box2@home.example", "no7@own.example", "ok7@postfix.example"),
}
# `no` fails for good, `later` is put off half of the time, `lost` loses the reply to the final dot now and then.
RECIPIENTS = (
    *(f"ok{number}@own.example" for number in range(6)),
    *(f"later{number}@own.example" for number in range(3)),
    *(f"lost{number}@own.example" for number in range(2)),
    *(f"no{number}@own.example" for number in range(2)),
    *(f"ok{number}@down.example" for number in range(3)),
    *(f"ok{number}@sink.example" for number in range(3)),
    *(f"ok{number}@postfix.example" for number in range(2)),
    "later1@postfix.example",
    "no1@postfix.example",
    *(f"box{number}@home.example" for number in range(6)),
    "p1@pipe.example",
    "p2@pipe.example",
    *ALIASES,
)

CONFIG = """\
hostname = "crash.example.org"
data_dir = "data"

[queue]
retry = ["1s"]

[[listener]]
kind = "mx"
address = "127.0.0.1:{mx}"
tls = "starttls"

[[listener]]
kind = "submission"
address = "127.0.0.1:{submission}"
tls = "starttls"

[tls]
self_signed = true

[relay]
allow = ["127.0.0.0/8"]

[domains."home.example"]
deliver = "maildir:mail/{{domain}}/{{local}}"
recipients = "any"
aliases = {aliases}

[domains."full.example"]
deliver = "maildir:mail/{{domain}}/{{local}}"
recipients = "any"
quota_messages = 20
over_quota = "fail"

[domains."pipe.example"]
deliver = "pipe:keep"
recipients = "any"

[pipes.keep]
command = ["/bin/sh", "{program}"]
user = "nobody"

[routes]
"own.example" = "smtp://127.0.0.1:{own}"
"down.example" = "smtp://127.0.0.1:{down}"
"sink.example" = "smtp://127.0.0.1:{sink}"
"postfix.example" = "smtp://127.0.0.1:{postfix}"
"*" = "smtp://127.0.0.1:{own}"

[delivery]
per_destination = {per_destination}

[log]
level = "warning"
"""

PROGRAM = """\
cd {folder} && cat >"$QUEUE_ID.$RECIPIENT.$$.part" && mv "$QUEUE_ID.$RECIPIENT.$$.part" "$QUEUE_ID.$RECIPIENT.$$.whole"
"""


def steady_port() -> int:
    """A free port that no connection takes for its own end while nobody listens there: below those that Linux gives out."""
    while True:
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", random.randint(20_000, 32_000)))
            except OSError:
                continue
            port: int = probe.getsockname()[1]
            return port


class Moody(threading.Thread):
    """A next hop that refuses, puts off, is slow, and forgets to answer, by the recipient's name and by chance; while it is not
    `open`, nobody can connect, and who was connected is cut off. Once `calm`, it takes all but what it refuses for good."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.arrivals: list[Arrival] = []
        self.calm = False
        self.port = steady_port()
        self._open: set[socket.socket] = set()
        self._listening = socket.create_server(("127.0.0.1", self.port), backlog=200)

    def run(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:  # shut
                time.sleep(0.02)
                continue
            self._open.add(client)
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def shut(self) -> None:
        """Be down, in the middle of whatever goes on."""
        for one in (self._listening, *self._open):
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue
        self._listening.close()

    def reopen(self) -> None:
        """Be there again."""
        self._listening = socket.create_server(("127.0.0.1", self.port), backlog=200)

    def _serve(self, client: socket.socket) -> None:
        rng = random.Random()
        try:
            client.sendall(b"220 moody\r\n")
            with client.makefile("rb") as lines:
                self._talk(client, lines, rng)
        except OSError:
            return
        finally:
            self._open.discard(client)
            client.close()

    def _talk(self, client: socket.socket, lines: IO[bytes], rng: random.Random) -> None:
        taken: list[str] = []
        while line := lines.readline():
            verb = line[:4].upper()
            reply = b"250 ok"
            if verb == b"EHLO":
                reply = b"250-moody\r\n250 PIPELINING"
            elif verb == b"MAIL":
                taken = []
            elif verb == b"RCPT":
                address = line.partition(b"<")[2].partition(b">")[0].decode()
                reply = self._answer(address, rng)
                if reply.startswith(b"2"):
                    taken.append(address)
            elif verb == b"DATA" and not taken:
                reply = b"554 no recipients"
            elif verb == b"DATA":
                client.sendall(b"354 go\r\n")
                content = _content(lines)
                if content is None or not self._keep(content, taken, rng):
                    return
            client.sendall(reply + b"\r\n")
            if verb == b"QUIT":
                return

    def _answer(self, address: str, rng: random.Random) -> bytes:
        if address.startswith("no"):
            return b"550 5.1.1 no such user"
        if address.startswith("later") and not self.calm and rng.random() < 0.5:
            return b"450 4.2.0 not now"
        return b"250 2.1.5 ok"

    def _keep(self, content: bytes, taken: list[str], rng: random.Random) -> bool:
        """Whether it says so."""
        mail = opened(content)
        self.arrivals += [Arrival("next hop", address, mail.id, mail.marker, mail.whole) for address in taken]
        if rng.random() < 0.05:
            time.sleep(0.02)  # now a kill would come between the delivery and the note of it
        return self.calm or not any(address.startswith("lost") for address in taken) or rng.random() < 0.7


def _content(lines: IO[bytes]) -> bytes | None:
    """What comes behind DATA; None where it breaks off."""
    content = bytearray()
    while (line := lines.readline()) != b".\r\n":
        if not line:
            return None
        content += line.removeprefix(b".")
    return bytes(content)


class Town:
    """`server` is the one that is killed. What goes to it and from it is in `RECIPIENTS`; `postfix` sends it mail as well."""

    def __init__(self, directory: Path) -> None:
        self.own, self.down, self.sink = Moody(), Moody(), SmtpSink()
        self.folder = Folder("crash")
        self.kept = self.folder.path / "kept"
        self.kept.mkdir()
        shutil.chown(self.kept, NOBODY.pw_uid, NOBODY.pw_gid)
        self._program = self.folder.path / "keep.sh"
        self._program.write_text(PROGRAM.format(folder=self.kept))
        self.mx, self.submission, self._postfix = steady_port(), steady_port(), steady_port()
        config = self._config(20)
        self.server = ServerProcess(directory, config, [self.mx, self.submission])
        self.hasty = ServerProcess(directory, config, [])  # the same one, but nobody waits until it listens
        self.server.run("user", "add", USER, "--password-stdin", "--address", "*@home.example", input=f"{PASSWORD}\n")
        self.postfix = PostfixBox(
            "postfix.example", port=self._postfix,
            relayhost=f"[127.0.0.1]:{self.mx}", disable_dns_lookups="yes", smtp_tls_security_level="may",
            minimal_backoff_time="2s", maximal_backoff_time="4s", queue_run_delay="2s",
            smtpd_client_connection_count_limit="0", notify_classes="",
            smtpd_recipient_restrictions="check_recipient_access inline:{{no1@postfix.example=550 5.1.1 no such user}}, "
            "check_recipient_access pipemap:{inline:{later1@postfix.example=x},randmap:{DUNNO,{450 4.2.0 not now}}}, "
            "permit_mynetworks, reject",
        )  # fmt: skip
        self.own.start()
        self.down.start()

    def _config(self, per_destination: int) -> str:
        aliases = ", ".join(
            f"{alias.partition('@')[0]} = {list(addresses)}".replace("'", '"') for alias, addresses in ALIASES.items()
        )
        return CONFIG.format(
            mx=self.mx, submission=self.submission, own=self.own.port, down=self.down.port, sink=self.sink.port,
            postfix=self._postfix, program=self._program, aliases=f"{{ {aliases} }}", per_destination=per_destination,
        )  # fmt: skip

    def reload(self, rng: random.Random) -> None:
        """Another configuration, and SIGHUP. The server has to be listening."""
        new = self.server.config.with_suffix(".new")
        new.write_text(self._config(rng.randint(5, 20)))
        new.replace(self.server.config)
        os.kill(self.server.pid, signal.SIGHUP)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.hasty.kill()
        self.server.kill()
        for part in (self.postfix, self.sink, self.folder):
            part.__exit__()
