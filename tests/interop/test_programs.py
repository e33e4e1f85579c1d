"""Users submit with the programs and libraries that they have: those that stand in for sendmail, those of languages, and git."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.interop.conftest import PASSWORD, USER, Box
from tests.interop.jail import Jail

pytestmark = pytest.mark.interop

TEXT = f"From: {USER}\nTo: x@any.example\nSubject: a test\n\nfirst\n.dot\nlast\n"


def run(command: Sequence[str | Path], input: str = "", environment: dict[str, str] | None = None) -> str:
    """Run a program that must succeed; what it printed."""
    done = subprocess.run(
        command, check=False, input=input, capture_output=True, text=True, timeout=40, env=os.environ | (environment or {})
    )
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def arrived(box: Box, text: bytes = b"\n\nfirst\n.dot\nlast\n") -> None:
    (message,) = box.wait()
    assert b"with ESMTPSA" in message
    assert text in message


# Libraries

NODEMAILER = """
const options = { host: 'localhost', port: %(port)d, secure: %(secure)s, requireTLS: true,
                  auth: { user: '%(user)s', pass: '%(password)s' },
                  tls: { ca: require('fs').readFileSync('%(certificate)s') }, authMethod: '%(mechanism)s' };
const transport = require('/usr/share/nodejs/nodemailer').createTransport(options);
transport.sendMail({ from: '%(user)s', to: '%(to)s', subject: 'a test', text: 'first\\n.dot\\nlast\\n' })
    .then(info => { console.log(info.response); transport.close(); }, error => { console.error(error); process.exit(1); });
"""


@pytest.mark.parametrize(("secure", "mechanism"), [("false", "PLAIN"), ("true", "LOGIN")])
def test_nodemailer(box: Box, secure: str, mechanism: str) -> None:
    port = box.mail.implicit if secure == "true" else box.mail.submission
    values = {"port": port, "secure": secure, "user": USER, "password": PASSWORD, "to": box.address, "mechanism": mechanism}
    said = run(["node", "-e", NODEMAILER % (values | {"certificate": box.mail.certificate})])
    assert "250 2.0.0" in said
    arrived(box)


PERL = """
my ($port, $secure, $certificate, $user, $password, $to) = @ARGV;
use Net::SMTP;
my $smtp = Net::SMTP->new('localhost', Port => $port, SSL => $secure, SSL_ca_file => $certificate) or die "$@";
$secure or $smtp->starttls(SSL_ca_file => $certificate) or die $smtp->message;
$smtp->auth($user, $password) or die $smtp->message;
$smtp->mail($user) or die $smtp->message;
$smtp->to($to) or die $smtp->message;
$smtp->data("From: $user\\nSubject: a test\\n\\nfirst\\n.dot\\nlast\\n") or die $smtp->message;
$smtp->quit;
"""


@pytest.mark.parametrize("secure", ["0", "1"])
def test_the_net_smtp_of_perl(box: Box, secure: str) -> None:
    port = box.mail.implicit if secure == "1" else box.mail.submission
    run(["perl", "-e", PERL, str(port), secure, box.mail.certificate, USER, PASSWORD, box.address])
    arrived(box)


# Programs


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
@pytest.mark.parametrize("scheme", ["smtp", "smtps"])
def test_curl(box: Box, scheme: str, mechanism: str) -> None:
    port = box.mail.implicit if scheme == "smtps" else box.mail.submission
    command: list[str | Path] = [
        "curl",
        "--silent",
        "--show-error",
        "--max-time",
        "20",
        "--ssl-reqd",
        "--cacert",
        box.mail.certificate,
    ]
    command += ["--login-options", f"AUTH={mechanism}", "--user", f"{USER}:{PASSWORD}"]
    command += [
        "--mail-from",
        USER,
        "--mail-rcpt",
        box.address,
        "--crlf",
        "--upload-file",
        "-",
        f"{scheme}://localhost:{port}/client",
    ]
    run(command, TEXT)
    arrived(box)


@pytest.mark.parametrize("mechanism", ["plain", "login"])
def test_s_nail(box: Box, tmp_path: Path, mechanism: str) -> None:
    settings = tmp_path / "mailrc"
    user, password = USER.replace("@", "%40"), PASSWORD.replace(" ", "%20")
    settings.write_text(
        f"set v15-compat=yes mta=smtp://{user}:{password}@localhost:{box.mail.submission}\n"
        f"set smtp-use-starttls smtp-auth={mechanism} tls-verify=strict tls-ca-file={box.mail.certificate} from={USER}\n"
    )
    run(["s-nail", "-:/", "-X", f"source {settings}", "-S", "sendwait", "-s", "a test", box.address], "first\n.dot\nlast\n")
    arrived(box)


@pytest.mark.parametrize("encryption", ["tls", "ssl"])
def test_git_send_email(box: Box, tmp_path: Path, encryption: str) -> None:
    patch = tmp_path / "0001-a-change.patch"
    patch.write_text(
        f"From {'0' * 40} Mon Sep 17 00:00:00 2001\nFrom: Ann <{USER}>\nSubject: [PATCH] a change\n\nfirst\n.dot\nlast\n"
    )
    port = box.mail.implicit if encryption == "ssl" else box.mail.submission
    command = ["git", "send-email", "--smtp-server=localhost", f"--smtp-server-port={port}", f"--smtp-encryption={encryption}"]
    command += [f"--smtp-ssl-cert-path={box.mail.certificate}", f"--smtp-user={USER}", f"--smtp-pass={PASSWORD}"]
    command += [f"--from={USER}", f"--to={box.address}", "--confirm=never", "--suppress-cc=all", str(patch)]
    environment = {"GIT_CONFIG_GLOBAL": "/dev/null", "HOME": str(tmp_path), "EMAIL": USER}
    run(command, environment=environment)
    arrived(box)


# Those that stand in for sendmail on machines without a mail server


def test_ssmtp(box: Box) -> None:
    with Jail("ssmtp") as jail:
        settings = (
            f"mailhub=localhost:{box.mail.submission}\nUseSTARTTLS=YES\nhostname=client.example.org\nFromLineOverride=YES\n"
        )
        login = ["-au", USER, "-ap", PASSWORD, "-am", "LOGIN"]
        jail.run("ssmtp", "-C", jail.write("ssmtp.conf", settings), *login, "-f", USER, box.address, input=TEXT.encode())
    arrived(box)


def test_dma(box: Box) -> None:
    with Jail("dma") as jail:
        login = jail.write("auth.conf", f"{USER}|localhost:{PASSWORD}\n")
        settings = f"SMARTHOST localhost\nPORT {box.mail.submission}\nSECURETRANSFER\nSTARTTLS\nAUTHPATH {login}\n"
        settings += f"SPOOLDIR {jail.inside}/spool\nMAILNAME client.example.org\nALIASES /dev/null\n"
        # It knows no other place for its configuration.
        jail.run("install", "-D", jail.write("dma.conf", settings), "/etc/dma/dma.conf")
        jail.run("install", "-d", "-m", "2775", "-o", "mail", "-g", "mail", f"{jail.inside}/spool")
        jail.run("dma", "-D", "-f", USER, box.address, input=TEXT.encode())
        arrived(box)


def test_nullmailer(box: Box) -> None:
    with Jail("nullmailer") as jail:
        message = jail.write("message", f"{USER}\n{box.address}\n\n{TEXT}")
        options = f"host=localhost\nport={box.mail.submission}\nstarttls\ninsecure\nuser={USER}\npass={PASSWORD}\n\n"
        command = f"HELOHOST=client.example.org exec /usr/lib/nullmailer/smtp 3<{message}"
        done = jail.run("sh", "-c", command, input=options.encode())
        assert b"250" in done.stdout
    arrived(box)
