"""TLS as openssl, curl and msmtp see it: versions, certificates by name, tickets, changed certificates, those of clients."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from tests.interop.conftest import USER, Box, Mail, numbers
from tests.interop.test_postfix import wait
from tests.net.certificates import AUTHORITY, write_pair

pytestmark = pytest.mark.interop

NAMED = "second.example.net"
TEXT = f"From: {USER}\nTo: x@any.example\nSubject: a test\n\nhello\n"


class Certified(Mail):
    """With a certificate for localhost and another for `NAMED`; users may show one of our authority, which is `authority`."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir()
        write_pair(directory / "default", "localhost")
        write_pair(directory / "named", NAMED)
        self.authority = directory / "authority.pem"
        AUTHORITY.cert_pem.write_to_path(self.authority)
        named = '\n[[tls.certificates]]\ncertificate = "named/cert.pem"\nkey = "named/key.pem"\n'
        super().__init__(directory, more=named)
        tls = 'certificate = "default/cert.pem"\nkey = "default/key.pem"\nclient_ca = "authority.pem"'
        config = self.config.read_text().replace("self_signed = true", tls)
        self.config.write_text(config.replace('kind = "submission"', 'kind = "submission"\nclient_certificates = "request"'))

    @property
    def certificate(self) -> Path:
        return self.authority


@pytest.fixture(scope="module")
def certified(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Certified]:
    with Certified(tmp_path_factory.mktemp("certified") / "waymail") as mail:
        yield mail


@pytest.fixture
def mine(certified: Certified) -> Box:
    return Box(certified, f"box{next(numbers)}")


def openssl(mail: Certified, *arguments: str, name: str = "localhost") -> subprocess.CompletedProcess[str]:
    """A session of s_client by STARTTLS, which has to verify the certificate and its name."""
    command = ["openssl", "s_client", "-connect", f"localhost:{mail.mx}", "-starttls", "smtp", "-crlf", "-ign_eof"]
    command += ["-CAfile", str(mail.authority), "-verify_return_error", "-verify_hostname", name]
    return subprocess.run([*command, *arguments], check=False, input="QUIT\n", capture_output=True, text=True, timeout=15)


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_openssl_resumes_a_session_by_its_ticket(certified: Certified, tmp_path: Path, version: str) -> None:
    option, ticket = f"-tls{version.replace('.', '_')}", str(tmp_path / "ticket")
    first = openssl(certified, option, "-sess_out", ticket)
    assert first.returncode == 0, first.stderr
    assert f"New, TLSv{version}" in first.stdout
    assert "221 2.0.0" in first.stdout
    again = openssl(certified, option, "-sess_in", ticket)
    assert again.returncode == 0, again.stderr
    assert f"Reused, TLSv{version}" in again.stdout
    assert "221 2.0.0" in again.stdout


def test_openssl_and_curl_do_not_get_in_with_tls_1_1(certified: Certified) -> None:
    done = openssl(certified, "-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0")
    assert done.returncode != 0
    assert "Cipher is (NONE)" in done.stdout
    assert openssl(certified, "-tls1_2", "-cipher", "DEFAULT@SECLEVEL=0").returncode == 0
    refused = curl(certified, "localhost", "--tlsv1.1", "--tls-max", "1.1", "--ciphers", "DEFAULT@SECLEVEL=0")
    assert refused.returncode == 35, refused.stderr


def test_a_client_gets_the_certificate_of_the_name_that_it_asks_for(certified: Certified) -> None:
    assert openssl(certified, "-servername", NAMED, name=NAMED).returncode == 0
    assert openssl(certified, "-servername", "localhost").returncode == 0
    assert openssl(certified, "-servername", "else.example.net").returncode == 0, "the default"
    assert openssl(certified, "-noservername").returncode == 0, "the default"
    assert "hostname mismatch" in openssl(certified, "-servername", "localhost", name=NAMED).stderr.lower()
    for name in (NAMED, "localhost"):
        done = curl(certified, name)
        assert done.returncode == 0, done.stderr
        assert "502" not in done.stdout


def test_a_changed_certificate_is_served_and_old_tickets_end_with_the_old_one(tmp_path: Path) -> None:
    with Certified(tmp_path / "waymail") as mail:
        ticket = str(tmp_path / "ticket")
        assert openssl(mail, "-sess_out", ticket).returncode == 0
        write_pair(mail.directory / "default", "localhost", "new.example.net")
        wait(lambda: openssl(mail, name="new.example.net").returncode == 0, 10)
        after = openssl(mail, "-sess_in", ticket)
        assert after.returncode == 0, after.stderr
        assert "New, TLSv1.3" in after.stdout
        assert openssl(mail, "-servername", NAMED, name=NAMED).returncode == 0


def curl(mail: Certified, host: str, *arguments: str, submit: str = "") -> subprocess.CompletedProcess[str]:
    """By STARTTLS, with a verified certificate. Asks for HELP, or else submits to the address `submit`."""
    port = mail.submission if submit else mail.mx
    command = ["curl", "--silent", "--show-error", "--max-time", "20", "--ssl-reqd", "--crlf", "--cacert", str(mail.authority)]
    command += ["--resolve", f"{host}:{port}:127.0.0.1", *arguments, f"smtp://{host}:{port}/client"]
    if submit:
        command += ["--mail-from", USER, "--mail-rcpt", submit, "--upload-file", "-"]
    return subprocess.run(command, check=False, input=TEXT, capture_output=True, text=True, timeout=30)


def shown(directory: Path, authority: trustme.CA = AUTHORITY, name: str = USER) -> tuple[str, str]:
    """The files of a client's certificate and key."""
    certificate, key = write_pair(directory, name, authority=authority)
    key.chmod(0o600)
    return str(certificate), str(key)


def msmtp(mine: Box, folder: Path, certificate: tuple[str, str] | None, *, tls: str = "starttls") -> str:
    """Submit with AUTH EXTERNAL; what msmtp complains of."""
    port = mine.mail.submission if tls == "starttls" else mine.mail.implicit
    settings = folder / "msmtprc"
    pair = f"tls_cert_file {certificate[0]}\ntls_key_file {certificate[1]}\n" if certificate else ""
    settings.write_text(
        f"account a\nhost localhost\nport {port}\ntls on\ntls_starttls {'on' if tls == 'starttls' else 'off'}\n"
        f"tls_trust_file {mine.mail.certificate}\n{pair}"
        f"auth external\nuser {USER}\nfrom {USER}\naccount default : a\n"
    )
    settings.chmod(0o600)
    command = ["msmtp", "-C", str(settings), mine.address]
    done = subprocess.run(command, check=False, input=TEXT, capture_output=True, text=True, timeout=30)
    assert (done.returncode == 0) == (not done.stderr), done.stderr
    return done.stderr


@pytest.mark.parametrize("tls", ["starttls", "implicit"])
def test_msmtp_submits_with_a_certificate_instead_of_a_password(mine: Box, tmp_path: Path, tls: str) -> None:
    assert msmtp(mine, tmp_path, shown(tmp_path), tls=tls) == ""
    assert re.search(rb"with ESMTPSA\s", mine.wait()[0])


def test_curl_submits_with_a_certificate_instead_of_a_password(certified: Certified, mine: Box, tmp_path: Path) -> None:
    certificate, key = shown(tmp_path)
    external = ["--cert", certificate, "--key", key, "--login-options", "AUTH=EXTERNAL", "--user", f"{USER}:"]
    done = curl(certified, "localhost", *external, submit=mine.address)
    assert done.returncode == 0, done.stderr
    assert re.search(rb"with ESMTPSA\s", mine.wait()[0])


def test_a_certificate_that_names_no_user_or_comes_from_elsewhere_opens_nothing(mine: Box, tmp_path: Path) -> None:
    assert "EXTERNAL" in msmtp(mine, tmp_path, None), "it is not offered to who shows none"
    assert msmtp(mine, tmp_path, shown(tmp_path / "stranger", name="stranger@example.org"))
    assert msmtp(mine, tmp_path, shown(tmp_path / "forged", trustme.CA()))
    assert mine.mail.mailbox(f"mail/any.example/{mine.address.partition('@')[0]}") == []
