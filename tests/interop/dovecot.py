"""Dovecot: an LMTP server that keeps mail, and a submission server that logs its own users in and sends on as one of ours."""

from __future__ import annotations

from tests.interop.jail import NextHop, Peer

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
