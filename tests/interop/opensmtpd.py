"""OpenSMTPD. Its queue and its socket have places of their own that no configuration moves: one runs at a time."""

from __future__ import annotations

import shutil

from tests.interop.jail import ROOT, Peer

CONFIG = """\
pki peer cert "{certificate}"
pki peer key "{key}"
table passwords file:{passwords}
listen on 127.0.0.1 port {port} tls pki peer hostname opensmtpd.example.net
action "it" {action}
match from any for any action "it"
"""

KEEP = 'maildir "{inside}/box" virtual {{ "@" = nobody }}'
SCHEME = {"off": "smtp+notls", "starttls": "smtp+tls", "implicit": "smtps"}


class OpenSMTPD(Peer):
    name = "opensmtpd"

    def listen(self) -> None:
        certificate, key = self.certificate()
        shutil.rmtree(ROOT / "var/spool/smtpd", ignore_errors=True)
        (ROOT / "var/spool").mkdir(parents=True, exist_ok=True)
        self.folder_for("box", "nobody")
        action = KEEP.format(inside=self.inside)
        if self.hop is not None:
            login = "me@" if self.hop.user else ""
            action = f'relay host "{SCHEME[self.hop.tls]}://{login}127.0.0.1:{self.hop.port}"'
            action += " auth <passwords>" if login else ""
            action += " tls no-verify" if self.hop.tls != "off" else ""
        user, password = (self.hop.user, self.hop.password) if self.hop else ("", "")
        passwords = self.write("passwords", f"me {user}:{password}\n")
        config = CONFIG.format(certificate=certificate, key=key, passwords=passwords, port=self.port, action=action)
        self.start("smtpd", "-d", "-f", self.write("smtpd.conf", config), ports=[self.port])
