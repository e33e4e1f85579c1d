"""Dovecot: an LMTP server that keeps mail, and a submission server that logs its own users in and sends on as one of ours."""

from __future__ import annotations

import shutil
from typing import Self

from tests.interop.jail import Jail, NextHop, Peer

from waymail.testing.process import free_port

CONFIG = """\
base_dir = {inside}/run
state_dir = {inside}/state
log_path = {inside}/dovecot.log
protocols = lmtp submission
hostname = dovecot.example.net
ssl = yes
ssl_cert = <{certificate}
ssl_key = <{key}
ssl_client_ca_file = {trusted}
default_internal_user = dovecot
default_login_user = dovenull
first_valid_uid = 1
mail_location = maildir:{inside}/box
passdb {{
  driver = static
  args = password=theirs
}}
userdb {{
  driver = static
  args = uid=nobody gid=nogroup home={inside}/box allow_all_users=yes
}}
service lmtp {{
  inet_listener lmtp {{
    address = 127.0.0.1
    port = {lmtp}
  }}
}}
service submission-login {{
  inet_listener submission {{
    address = 127.0.0.1
    port = {port}
  }}
  inet_listener submissions {{
    port = 0
  }}
}}
submission_relay_host = localhost
submission_relay_port = {hop.port}
submission_relay_ssl = {tls}
submission_relay_ssl_verify = yes
submission_relay_user = {hop.user}
submission_relay_password = {hop.password}
{capabilities}
"""

TLS = {"off": "no", "starttls": "starttls", "implicit": "smtps"}


class Dovecot(Peer):
    """`port` is for submission, `lmtp` for LMTP. `trusted` is a certificate to verify the next hop by; `capabilities` is what it
    believes that hop to have, which it otherwise finds out, and offers, only when somebody has logged in."""

    name = "dovecot"

    def __init__(self, hop: NextHop | None = None, trusted: str = "", capabilities: str = "") -> None:
        super().__init__(hop)
        self.lmtp = free_port()
        self._trusted, self._capabilities = trusted, capabilities

    def listen(self) -> None:
        certificate, key = self.certificate()
        self.folder_for("box", "nobody")
        config = CONFIG.format(
            inside=self.inside, port=self.port, lmtp=self.lmtp, certificate=certificate, key=key,
            trusted=self.write("trusted.pem", self._trusted), hop=self.hop or NextHop(9), tls=TLS[(self.hop or NextHop(9)).tls],
            capabilities=f"submission_backend_capabilities = {self._capabilities}" if self._capabilities else "",
        )  # fmt: skip
        self.start("dovecot", "-F", "-c", self.write("dovecot.conf", config), ports=[self.port, self.lmtp])


READER = """\
base_dir = {inside}/run
state_dir = {inside}/state
log_path = {inside}/dovecot.log
protocols =
ssl = no
default_internal_user = dovecot
default_login_user = dovenull
first_valid_uid = 1
mail_location = maildir:{inside}/box
mail_plugins = quota
maildir_broken_filename_sizes = no
passdb {{
  driver = static
  args = password=theirs
}}
userdb {{
  driver = static
  args = uid=nobody gid=nogroup home={inside}/box allow_all_users=yes
}}
namespace inbox {{
  inbox = yes
  separator = /
}}
plugin {{
  quota = maildir:User quota
  quota_rule = *:bytes={octets}:messages={messages}
  quota_rule2 = Trash:ignore
}}
"""


class Reader(Jail):
    """Dovecot as the owner of a Maildir with a quota, `box`, by its doveadm: the same code as its IMAP server."""

    def __init__(self, *, octets: int, messages: int) -> None:
        super().__init__("dovecot")
        self.folder_for("box", "nobody")
        text = READER.format(inside=self.inside, octets=octets, messages=messages)
        self._config = self.write("dovecot.conf", text)

    def __enter__(self) -> Self:
        self.start("dovecot", "-F", "-c", self._config, ports=[])
        self.wait((self.folder / "run/auth-userdb").exists)
        return self

    def doveadm(self, *command: str) -> str:
        """Run it for the owner. Raises RuntimeError where it fails, or has anything to complain of."""
        name, *arguments = command
        names = [name, arguments.pop(0)] if name in ("mailbox", "quota") else [name]
        done = self.run("doveadm", "-c", self._config, *names, "-u", "ann", *arguments)
        if done.stderr:
            raise RuntimeError(f"doveadm {' '.join(command)}: {done.stderr.decode(errors='replace')}")
        return done.stdout.decode()

    def settle(self) -> None:
        """Give everything in the box to its owner: our server runs as root here, and a real one as him."""
        box = self.folder / "box"
        for path in (box, *box.rglob("*")):
            shutil.chown(path, box.stat().st_uid, box.stat().st_gid)

    def count(self, mailbox: str) -> int:
        """How many messages are in a mailbox."""
        return int(self.doveadm("mailbox", "status", "messages", mailbox).rsplit("messages=")[1])

    def quota(self) -> tuple[int, int]:
        """What is used: KiB, rounded up, and messages."""
        used = [line.split() for line in self.doveadm("quota", "get").splitlines()]
        storage, messages = (next(line for line in used if kind in line) for kind in ("STORAGE", "MESSAGE"))
        return int(storage[storage.index("STORAGE") + 1]), int(messages[messages.index("MESSAGE") + 1])

    def maildirsize(self) -> tuple[int, int]:
        """What the file says, whoever has written it: octets and messages."""
        _, *lines = (self.folder / "box/maildirsize").read_text().splitlines()
        octets, messages = zip(*(map(int, line.split()) for line in lines), strict=True)
        return sum(octets), sum(messages)
