"""Users in a real Dovecot and a real OpenLDAP, both of Debian 12."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from tests.interop.jail import Jail

from waymail.server.authentication import Authenticator, Connection
from waymail.server.backends.dovecot import DovecotBackend
from waymail.server.backends.ldap import Directory, LdapBackend
from waymail.testing.process import free_port
from waymail.wire import sasl
from waymail.wire.sasl import Challenge, Failure, Success

pytestmark = pytest.mark.interop

USER = "ann@example.org"

DOVECOT = """\
protocols =
base_dir = {folder}/run
state_dir = {folder}/state
log_path = {folder}/log
ssl = no
auth_mechanisms = plain login cram-md5 scram-sha-1 scram-sha-256
disable_plaintext_auth = no
auth_failure_delay = 0
service anvil {{
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
passdb {{
  driver = passwd-file
  args = {folder}/users
}}
service auth {{
  unix_listener auth-client {{
    mode = 0666
  }}
}}
"""

SLAPD = """\
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
pidfile {folder}/pid
TLSCertificateFile {folder}/cert.pem
TLSCertificateKeyFile {folder}/key.pem
database mdb
suffix "dc=example,dc=org"
rootdn "cn=mail,dc=example,dc=org"
rootpw service
directory {folder}/db
"""

ENTRIES = """\
dn: dc=example,dc=org
objectClass: dcObject
objectClass: organization
dc: example
o: Example

dn: cn=ann,dc=example,dc=org
objectClass: inetOrgPerson
cn: ann
sn: Example
mail: ann@example.org
mail: info@example.org
userPassword: right
"""


@pytest.fixture(scope="module")
def dovecot() -> Iterator[Path]:
    with Jail("dovecot") as jail:
        jail.write("users", f"{USER}:{{PLAIN}}right::::::addresses=ann@example.org,info@example.org\n")
        jail.start("dovecot", "-F", "-c", jail.write("dovecot.conf", DOVECOT.format(folder=jail.inside)), ports=[])
        auth_client = jail.folder / "run" / "auth-client"
        jail.wait(auth_client.is_socket)
        yield auth_client


async def outcome(backend: DovecotBackend, mechanism: str, password: str) -> object:
    client = sasl.client_mechanism(mechanism, USER, password, "fedcba9876543210")
    exchange = Authenticator(backend, nonce=lambda: "0123456789abcdef").begin(mechanism, Connection("192.0.2.1", secure=True))
    step = await exchange.step(client.initial())
    while isinstance(step, Challenge):
        step = await exchange.step(client.step(step.data))
    if isinstance(step, Success):
        client.succeeded()
    return step


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-1", "SCRAM-SHA-256"])
async def test_every_mechanism_of_dovecot_goes_through(dovecot: Path, mechanism: str) -> None:
    backend = DovecotBackend(str(dovecot))
    await backend.start()
    assert mechanism in backend.mechanisms
    assert await outcome(backend, mechanism, "right") == Success(USER)
    assert isinstance(await outcome(backend, mechanism, "wrong"), Failure)


async def test_a_user_of_dovecot_may_send_as_his_name(dovecot: Path) -> None:
    backend = DovecotBackend(str(dovecot))
    assert await backend.verify(USER, "right") == USER
    assert backend.may_send_as(USER, USER)
    assert not backend.may_send_as(USER, "eve@example.org")


@pytest.fixture(scope="module")
def slapd() -> Iterator[tuple[int, str]]:
    with Jail("slapd") as jail:
        (jail.folder / "db").mkdir()
        authority = trustme.CA()
        certificate = authority.issue_cert("localhost")
        certificate.private_key_pem.write_to_path(jail.folder / "key.pem")
        certificate.cert_chain_pems[0].write_to_path(jail.folder / "cert.pem")
        authority.cert_pem.write_to_path(jail.folder / "ca.pem")
        settings = jail.write("slapd.conf", SLAPD.format(folder=jail.inside))
        jail.run("slapd", "-T", "add", "-f", settings, input=ENTRIES.encode())
        port = free_port()
        jail.start("slapd", "-d", "0", "-f", settings, "-h", f"ldap://127.0.0.1:{port}", ports=[port])
        yield port, str(jail.folder / "ca.pem")


async def test_a_user_of_openldap_logs_in_by_starttls_with_a_verified_certificate(slapd: tuple[int, str]) -> None:
    port, ca = slapd
    service = "cn=mail,dc=example,dc=org"
    users = LdapBackend(Directory(f"ldap://localhost:{port}", "dc=example,dc=org", service, "service", ca=ca))
    assert await users.verify(USER, "right") == USER
    assert users.may_send_as(USER, "info@example.org")
    assert await users.verify(USER, "wrong") is None
    assert await users.verify("nobody@example.org", "right") is None
    assert await users.verify("*", "right") is None
    await users.close()


async def test_a_directory_whose_certificate_nobody_vouches_for_gets_no_password(slapd: tuple[int, str]) -> None:
    users = LdapBackend(Directory(f"ldap://localhost:{slapd[0]}", "dc=example,dc=org"))
    with pytest.raises(OSError, match="localhost"):
        await users.verify(USER, "right")
    await users.close()
