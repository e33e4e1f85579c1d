"""Every SASL mechanism that other people's programs have, over both kinds of TLS, against a server that offers all of ours."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from joserfc import jwk, jwt
from tests.interop.conftest import PASSWORD, Box, Mail, numbers

from waymail.wire.sasl import MECHANISMS

pytestmark = pytest.mark.interop

# A user with everything that old mechanisms want to be kept.
OLD = "bob@example.org"
TEXT = f"From: {OLD}\nTo: x@any.example\nSubject: a test\n\nhello\n"
ISSUER = "https://login.example.org/"


@pytest.fixture(scope="module")
def token(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A token that is bob's, and the file with the issuer's keys."""
    key = jwk.ECKey.generate_key("P-256", {"kid": "1"})  # msmtp takes lines up to 500 characters
    now = int(time.time())
    claims = {"iss": ISSUER, "aud": "mail", "email": OLD, "email_verified": True, "iat": now, "exp": now + 600}
    keys = tmp_path_factory.mktemp("issuer") / "keys.json"
    keys.write_text(json.dumps({"keys": [key.as_dict(private=False)]}))
    return jwt.encode({"alg": "ES256", "kid": "1"}, claims, key), keys


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory, token: tuple[str, Path]) -> Iterator[Mail]:
    mail = Mail(tmp_path_factory.mktemp("mechanisms") / "waymail")
    names = ", ".join(f'"{name}"' for name in MECHANISMS if name != "EXTERNAL")
    oauth = f'{{ issuer = "{ISSUER}", jwks_file = "{token[1]}", audience = "mail", user_claim = "email" }}'
    config = mail.config.read_text()
    mail.config.write_text(config.replace("[users]\n", f"[users]\nmechanisms = [{names}]\noauth = {oauth}\n"))
    mail.run("user", "add", OLD, "--password-stdin", "--scram-sha-1", "--cram-md5", input=f"{PASSWORD}\n")
    with mail:
        yield mail


@pytest.fixture
def mine(everything: Mail) -> Box:
    return Box(everything, f"box{next(numbers)}")


def run(command: list[str], input: str = "") -> str:
    done = subprocess.run(command, check=False, input=input, capture_output=True, text=True, timeout=15)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout + done.stderr


PASSWORDS = ["plain", "login", "cram-md5", "scram-sha-1", "scram-sha-256"]


@pytest.mark.parametrize("tls", ["starttls", "implicit"])
@pytest.mark.parametrize("mechanism", [*PASSWORDS, "oauthbearer", "xoauth2"])
def test_msmtp(mine: Box, token: tuple[str, Path], tmp_path: Path, mechanism: str, tls: str) -> None:
    port = mine.mail.submission if tls == "starttls" else mine.mail.implicit
    secret = token[0] if "oauth" in mechanism else PASSWORD
    settings = tmp_path / "msmtprc"
    settings.write_text(
        f"account a\nhost localhost\nport {port}\ntls on\ntls_starttls {'on' if tls == 'starttls' else 'off'}\n"
        f"tls_trust_file {mine.mail.certificate}\n"
        f"auth {mechanism}\nuser {OLD}\npassword {secret}\nfrom {OLD}\naccount default : a\n"
    )
    settings.chmod(0o600)
    run(["msmtp", "-C", str(settings), mine.address], TEXT)
    assert b"with ESMTPSA" in mine.wait()[0]


@pytest.fixture
def greeted(everything: Mail) -> Iterator[int]:
    """A port that leads to the submission listener, where EHLO has been said already: gsasl says STARTTLS without it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=say_ehlo, args=(listener, everything.submission), daemon=True).start()
        yield listener.getsockname()[1]


def say_ehlo(listener: socket.socket, port: int) -> None:
    client, _ = listener.accept()
    with client, socket.create_connection(("127.0.0.1", port), 15) as server:
        client.settimeout(15)
        greeting = server.recv(4096)
        server.sendall(b"EHLO client.example.org\r\n")
        reply = b""
        while b"\n250 " not in reply:
            reply += server.recv(4096)
        client.sendall(greeting)
        back = threading.Thread(target=copy, args=(server, client), daemon=True)
        back.start()
        copy(client, server)
        back.join(15)


def copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while octets := source.recv(4096):
            target.sendall(octets)
        target.shutdown(socket.SHUT_WR)


@pytest.mark.parametrize("mechanism", [*(name.upper() for name in PASSWORDS), "SCRAM-SHA-1-PLUS", "SCRAM-SHA-256-PLUS"])
def test_gsasl(everything: Mail, greeted: int, mechanism: str) -> None:
    command = ["gsasl", "--smtp", f"--connect=localhost:{greeted}", "--starttls", f"--mechanism={mechanism}"]
    command += [f"--x509-ca-file={everything.certificate}", f"--authentication-id={OLD}"]
    # It binds to tls-exporter on TLS 1.3, which Python's ssl does not have; and it suspects somebody in the middle where it could
    # have bound and is not to.
    command += ["--priority=NORMAL:-VERS-TLS1.3"] if mechanism.endswith("-PLUS") else ["--no-cb"]
    said = run([*command, f"--password={PASSWORD}", "--verbose"])
    assert "235 2.7.0" in said


@pytest.mark.parametrize("tls", ["starttls", "implicit"])
@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "CRAM-MD5"])
def test_swaks(mine: Box, mechanism: str, tls: str) -> None:
    port = mine.mail.submission if tls == "starttls" else mine.mail.implicit
    command = ["swaks", "--server", "127.0.0.1", "--port", str(port), "--timeout", "15", "--from", OLD, "--to", mine.address]
    command += ["--tls" if tls == "starttls" else "--tlsc", "--auth", mechanism, "--auth-user", OLD, "--auth-password", PASSWORD]
    run([*command, "--pipeline"])
    assert b"with ESMTPSA" in mine.wait()[0]


@pytest.mark.parametrize("mechanism", ["OAUTHBEARER", "XOAUTH2"])
def test_curl_with_a_token(mine: Box, token: tuple[str, Path], mechanism: str) -> None:
    command = ["curl", "--silent", "--show-error", "--max-time", "20", "--cacert", str(mine.mail.certificate), "--crlf"]
    command += ["--login-options", f"AUTH={mechanism}", "--user", OLD, "--oauth2-bearer", token[0], "--upload-file", "-"]
    command += ["--mail-from", OLD, "--mail-rcpt", mine.address, f"smtps://localhost:{mine.mail.implicit}/client"]
    run(command, TEXT)
    assert b"with ESMTPSA" in mine.wait()[0]
