"""Exim 4, which sends with CHUNKING and pipelining by itself wherever they are offered."""

from __future__ import annotations

from tests.interop.jail import Peer

CONFIG = """\
primary_hostname = exim.example.net
spool_directory = {inside}/spool
log_file_path = {inside}/spool/%slog
log_selector = +all
pid_file_path = {inside}/spool/exim.pid
local_interfaces = 127.0.0.1
daemon_smtp_ports = {port}
tls_advertise_hosts = *
tls_certificate = {certificate}
tls_privatekey = {key}
chunking_advertise_hosts = *
smtputf8_advertise_hosts = *
dsn_advertise_hosts = *
acl_smtp_rcpt = accept
acl_smtp_vrfy = accept
acl_smtp_etrn = accept
host_lookup =
keep_environment =
never_users =
deliver_drop_privilege = true
message_size_limit = 30M

begin routers
{router}

begin transports
{transport}

begin retry
* * F,1h,1s

begin authenticators
{authenticator}
"""

KEEP = (
    "keep:\n driver = accept\n transport = box",
    "box:\n driver = appendfile\n maildir_format\n directory = {inside}/box\n envelope_to_add\n return_path_add",
)
SEND = (
    'send:\n driver = manualroute\n transport = hop\n route_list = "* 127.0.0.1::{hop}"\n self = send',
    "hop:\n driver = smtp\n allow_localhost\n multi_domain\n dnssec_request_domains =\n"
    " tls_verify_hosts =\n tls_try_verify_hosts =\n{options}",
)
TLS = {"off": " hosts_avoid_tls = *\n", "starttls": " hosts_require_tls = *\n", "implicit": " protocol = smtps\n"}
PLAIN = "plain:\n driver = plaintext\n public_name = PLAIN\n client_send = ^{user}^{password}\n"


class Exim(Peer):
    name = "exim"

    def listen(self) -> None:
        certificate, key = self.certificate()
        (self.folder / "key.pem").chmod(0o644)  # Exim reads it when it has given up root's rights
        for name in ("spool", "box"):
            self.folder_for(name, "Debian-exim")
        router, transport = KEEP
        authenticator = ""
        if self.hop is not None:
            router, transport = SEND[0].replace("{hop}", str(self.hop.port)), SEND[1]
            options = TLS[self.hop.tls]
            if self.hop.user:
                options += " hosts_require_auth = *\n"
                authenticator = PLAIN.format(user=self.hop.user, password=self.hop.password)
            transport = transport.replace("{options}", options)
        transport = transport.replace("{inside}", self.inside)
        config = CONFIG.format(
            inside=self.inside, port=self.port, certificate=certificate, key=key,
            router=router, transport=transport, authenticator=authenticator,
        )  # fmt: skip
        self.start("exim4", "-C", self.write("exim.conf", config), "-bdf", "-q1m", ports=[self.port])
