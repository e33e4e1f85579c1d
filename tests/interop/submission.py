"""Other people's servers as a program submits to them: with TLS both ways, every mechanism that they have, and a recipient that
does not exist, `nobody`. All have the same users, Dovecot's; their certificates are of `tests.net.certificates.AUTHORITY`, for
"localhost" alone."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from pathlib import Path
from typing import Self

from tests.interop import exim
from tests.interop.conftest import Mail
from tests.interop.jail import Jail
from tests.interop.keepers import PostfixBox, having
from tests.net.certificates import AUTHORITY, write_pair

from waymail.testing.process import free_port, wait_for_port

USER, PASSWORD = "ann@example.org", "right horse"
PASSWORDS = ("PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-1", "SCRAM-SHA-256")
TOKENS = ("OAUTHBEARER", "XOAUTH2")
SIGNING_KEY = b"a key that only the tests of this folder have"


def token(user: str = USER, *, key: bytes = SIGNING_KEY) -> str:
    """A JSON Web Token that Dovecot takes for `user` (RFC 7519)."""
    now = int(time.time())
    claims = {"iss": "test", "sub": user, "email": user, "iat": now, "nbf": now - 60, "exp": now + 600}
    parts = [_base64(json.dumps(part).encode()) for part in ({"alg": "HS256", "typ": "JWT"}, claims)]
    signature = hmac.new(key, ".".join(parts).encode(), hashlib.sha256).digest()
    return ".".join([*parts, _base64(signature)])


def _base64(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).decode().rstrip("=")


DOVECOT = """\
base_dir = {inside}/run
state_dir = {inside}/state
log_path = {inside}/dovecot.log
protocols = submission
hostname = dovecot.example.net
ssl = yes
ssl_cert = <{inside}/cert.pem
ssl_key = <{inside}/key.pem
ssl_ca = <{inside}/authority.pem
ssl_verify_client_cert = yes
ssl_require_crl = no
ssl_client_ca_file = {inside}/trusted.pem
auth_ssl_username_from_cert = yes
auth_mechanisms = plain login cram-md5 scram-sha-1 scram-sha-256 oauthbearer xoauth2 external
auth_failure_delay = 0
default_internal_user = dovecot
default_login_user = dovenull
first_valid_uid = 1
mail_location = maildir:{inside}/box
service anvil {{
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
passdb {{
  driver = oauth2
  mechanisms = oauthbearer xoauth2
  args = {inside}/oauth2.conf
}}
passdb {{
  driver = static
  mechanisms = external
  args = nopassword
}}
passdb {{
  driver = passwd-file
  args = {inside}/users
}}
userdb {{
  driver = static
  args = uid=nobody gid=nogroup home={inside}/box allow_all_users=yes
}}
service auth {{
  inet_listener {{
    address = 127.0.0.1
    port = {users}
  }}
  unix_listener auth-client {{
    mode = 0666
  }}
}}
service submission-login {{
  inet_listener submission {{
    address = 127.0.0.1
    port = {starttls}
  }}
  inet_listener submissions {{
    address = 127.0.0.1
    port = {implicit}
    ssl = yes
  }}
}}
submission_relay_host = localhost
submission_relay_port = {hop}
submission_relay_ssl = starttls
submission_relay_ssl_verify = yes
submission_relay_user = {user}
submission_relay_password = {password}
"""

OAUTH2 = """\
introspection_mode = local
local_validation_key_dict = fs:posix:prefix={inside}/keys/
username_attribute = email
"""


class Dovecot(Jail):
    """Its submission server, and the users of all. What it takes it hands on to `house` at once, as somebody who may send as
    anybody: a recipient that does not exist there is refused."""

    mechanisms = (*PASSWORDS, *TOKENS, "EXTERNAL")
    nobody = "nobody@example.org"

    def __init__(self, house: Mail, user: str, password: str) -> None:
        super().__init__("dovecot")
        self.starttls, self.implicit, self.users = free_port(), free_port(), free_port()
        self._house = house
        self.folder_for("box", "nobody")
        write_pair(self.folder, "localhost")
        self.write("authority.pem", AUTHORITY.cert_pem.bytes().decode())
        self.write("trusted.pem", house.certificate.read_text())
        self.write("users", f"{USER}:{{PLAIN}}{PASSWORD}::::::\n")
        key = self.folder / "keys" / "default" / "HS256" / "default"
        key.parent.mkdir(parents=True)
        key.write_bytes(base64.b64encode(SIGNING_KEY))
        self.write("oauth2.conf", OAUTH2.format(inside=self.inside))
        self._config = DOVECOT.format(
            inside=self.inside, users=self.users, starttls=self.starttls, implicit=self.implicit,
            hop=house.submission, user=user, password=password,
        )  # fmt: skip

    def __enter__(self) -> Self:
        ports = [self.starttls, self.implicit, self.users]
        self.start("dovecot", "-F", "-c", self.write("dovecot.conf", self._config), ports=ports)
        return self

    def address(self, local: str) -> str:
        """One of a recipient who exists."""
        return f"{local}@any.example"

    def wait_for(self, text: str, *more: str) -> bytes:
        """The message that was kept with all these texts in it."""
        self.wait(lambda: having(self._kept(), text, *more))
        return having(self._kept(), text, *more)[0]

    def _kept(self) -> list[bytes]:
        boxes = (self._house.directory / "mail" / "any.example").glob("*/new/*")
        return [file.read_bytes() for file in boxes]


class Postfix(PostfixBox):
    """It asks Dovecot about its users, at the port `users`, and has its certificate in `folder`."""

    mechanisms = (*PASSWORDS, *TOKENS)
    nobody = "nobody@remote.example"

    def __init__(self, folder: Path, users: int) -> None:
        self.starttls, self.implicit = free_port(), free_port()
        certificate, key = write_pair(folder, "localhost")
        super().__init__(
            port=self.starttls, services=f"127.0.0.1:{self.implicit} inet n - n - - smtpd -o smtpd_tls_wrappermode=yes\n",
            mynetworks="192.0.2.0/24",
            smtpd_sasl_auth_enable="yes", smtpd_sasl_type="dovecot", smtpd_sasl_path=f"inet:127.0.0.1:{users}",
            smtpd_tls_security_level="may", smtpd_tls_auth_only="yes",
            smtpd_tls_cert_file=str(certificate), smtpd_tls_key_file=str(key),
            smtpd_relay_restrictions="permit_sasl_authenticated, reject",
            smtpd_recipient_restrictions="check_recipient_access inline:{{nobody@remote.example=550 5.1.1 no such user}}",
        )  # fmt: skip
        wait_for_port(self.implicit)

    def address(self, local: str) -> str:
        return f"{local}@remote.example"


AUTHENTICATORS = """\
begin authenticators
plain:
 driver = plaintext
 public_name = PLAIN
 server_prompts = :
 server_condition = ${if and{{eq{$auth2}{USER}}{eq{$auth3}{PASSWORD}}}}
 server_set_id = $auth2
login:
 driver = plaintext
 public_name = LOGIN
 server_prompts = User Name : Password
 server_condition = ${if and{{eq{$auth1}{USER}}{eq{$auth2}{PASSWORD}}}}
 server_set_id = $auth1
cram:
 driver = cram_md5
 public_name = CRAM-MD5
 server_secret = ${if eq{$auth1}{USER}{PASSWORD}fail}
 server_set_id = $auth1
external:
 driver = external
 public_name = EXTERNAL
 server_advertise_condition = ${if and{{def:tls_in_cipher}{eq{$tls_in_certificate_verified}{1}}}}
 server_param2 = ${certextract{subj_altname,mail,>:}{$tls_in_peercert}}
 server_condition = ${if inlisti{$auth1}{$auth2}}
 server_set_id = $auth1
"""
BY_DOVECOT = """\
{id}:
 driver = dovecot
 public_name = {name}
 server_socket = {socket}
 server_set_id = $auth1
"""
RECIPIENTS = """\
begin acl
recipient:
 deny local_parts = nobody
  message = 5.1.1 no such user
 accept authenticated = *
 deny message = 5.7.1 log in first

"""


class Exim(exim.Exim):
    """With authenticators of its own, and those of Dovecot for SCRAM and tokens: `users` is Dovecot's socket."""

    mechanisms = (*PASSWORDS, *TOKENS, "EXTERNAL")
    nobody = "nobody@remote.example"

    def __init__(self, users: str) -> None:
        super().__init__()
        self.starttls, self.implicit = self.port, free_port()
        self._users = users

    def listen(self) -> None:
        for name in ("spool", "box"):
            self.folder_for(name, "Debian-exim")
        certificate, key = write_pair(self.folder, "localhost")
        key.chmod(0o644)  # Exim reads it when it has given up root's rights
        authority = self.write("authority.pem", AUTHORITY.cert_pem.bytes().decode())
        router, transport = exim.KEEP
        own = AUTHENTICATORS.replace("USER", USER).replace("PASSWORD", PASSWORD)
        names = (*PASSWORDS[3:], *TOKENS)
        main, _, rest = exim.CONFIG.format(
            inside=self.inside, port=f"{self.starttls} : {self.implicit}",
            certificate=f"{self.inside}/{certificate.name}", key=f"{self.inside}/{key.name}",
            router=router, transport=transport.replace("{inside}", self.inside), authenticator="",
        ).partition("begin routers")  # fmt: skip
        main = main.replace("acl_smtp_rcpt = accept", "acl_smtp_rcpt = recipient") + (
            f"tls_on_connect_ports = {self.implicit}\nauth_advertise_hosts = ${{if def:tls_in_cipher{{*}}}}\n"
            f"tls_try_verify_hosts = *\ntls_verify_certificates = {authority}\n"
        )
        rest = rest.partition("begin authenticators")[0] + own
        rest += "".join(BY_DOVECOT.format(id=name.replace("-", "_").lower(), name=name, socket=self._users) for name in names)
        config = self.write("exim.conf", f"{main}{RECIPIENTS}begin routers{rest}")
        self.start("exim4", "-C", config, "-bdf", "-q1m", ports=[self.starttls, self.implicit])

    def address(self, local: str) -> str:
        return f"{local}@remote.example"

    def wait_for(self, text: str, *more: str) -> bytes:
        self.wait(lambda: having(self.kept(), text, *more))
        return having(self.kept(), text, *more)[0]
