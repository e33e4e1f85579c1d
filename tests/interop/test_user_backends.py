"""Users in a real Dovecot and a real OpenLDAP, both of Debian."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trustme

from waymail.server.authentication import Authenticator, Connection
from waymail.server.backends.dovecot import DovecotBackend
from waymail.server.backends.ldap import Directory, LdapBackend
from waymail.testing.process import free_port
from waymail.wire import sasl
from waymail.wire.sasl import Challenge, Failure, Success

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(os.geteuid() != 0, reason="Dovecot is started as root"),
]

USER = "ann@example.org"

DOVECOT = """\
protocols =
base_dir = {folder}/run
state_dir = {folder}/state
log_path = {folder}/log
ssl = no
auth_mechanisms = plain login cram-md5 scram-sha-1 scram-sha-256
disable_plaintext_auth = no
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


def wait_until(is_there: Callable[[], bool], log: Path) -> None:
    deadline = time.monotonic() + 10
    while not is_there():
        assert time.monotonic() < deadline, log.read_text() if log.exists() else "no log"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def dovecot() -> Iterator[Path]:
    if shutil.which("dovecot") is None:
        pytest.skip("needs dovecot-core")
    folder = Path(tempfile.mkdtemp(prefix="dovecot-"))  # pytest's own folders are closed to other users
    folder.chmod(0o755)
    (folder / "users").write_text(f"{USER}:{{PLAIN}}right::::::addresses=ann@example.org,info@example.org\n")
    (folder / "users").chmod(0o644)
    (folder / "dovecot.conf").write_text(DOVECOT.format(folder=folder))
    process = subprocess.Popen(["dovecot", "-F", "-c", folder / "dovecot.conf"], stderr=subprocess.DEVNULL)
    try:
        wait_until((folder / "run" / "auth-client").is_socket, folder / "log")
        yield folder / "run" / "auth-client"
    finally:
        process.terminate()
        process.wait(10)
        shutil.rmtree(folder)


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
def slapd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, str]]:
    program = shutil.which("slapd") or shutil.which("slapd", path="/usr/sbin")
    if program is None:
        pytest.skip("needs slapd")
    folder = tmp_path_factory.mktemp("slapd")
    (folder / "db").mkdir()
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    certificate.private_key_pem.write_to_path(folder / "key.pem")
    certificate.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    authority.cert_pem.write_to_path(folder / "ca.pem")
    (folder / "slapd.conf").write_text(SLAPD.format(folder=folder))
    subprocess.run([program, "-T", "add", "-f", folder / "slapd.conf"], input=ENTRIES, text=True, check=True, capture_output=True)
    port = free_port()
    with (folder / "log").open("w") as log:
        command: list[str | Path] = [program, "-d", "0", "-f", folder / "slapd.conf", "-h", f"ldap://127.0.0.1:{port}"]
        process = subprocess.Popen(command, stderr=log)
    try:
        wait_until(lambda: socket.socket().connect_ex(("127.0.0.1", port)) == 0, folder / "log")
        yield port, str(folder / "ca.pem")
    finally:
        process.terminate()
        process.wait(10)


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
