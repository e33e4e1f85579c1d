"""Extensions of SMTP with other people's programs: who else has one, uses it with us, and whom we use it with."""

from __future__ import annotations

import re
import shutil
import smtplib
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from bench.postfix import PrivatePostfix
from tests.interop.conftest import Mail
from tests.interop.keepers import PostfixBox
from tests.interop.test_postfix import wait

from waymail.testing.process import free_port, wait_for_port

pytestmark = pytest.mark.interop

StartMail = Callable[..., Mail]
StartPostfix = Callable[..., tuple[PrivatePostfix, int]]
LOCAL = '\n[relay]\nallow = ["127.0.0.0/8"]\n'  # anybody on this host may send anywhere
SOON = '\n[queue]\nretry = ["1s"]\n'

ETRN = [sys.executable, "-m", "waymail", "etrn"]


def swaks(port: int, *arguments: str) -> str:
    """The whole dialogue, whether it went well or not."""
    command = ["swaks", "--server", "127.0.0.1", "--port", str(port), "--timeout", "15", "--from", "stranger@example.net"]
    return said([*command, *arguments])


def said(command: list[str], input: str = "", status: int | None = None) -> str:
    """What the command prints. With `status`, it has to end with that."""
    done = subprocess.run(command, check=False, input=input, capture_output=True, text=True, timeout=30)
    assert status is None or done.returncode == status, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


@pytest.fixture
def anybodys_folder() -> Iterator[Path]:
    """A folder that other users can look into, which they cannot in pytest's own."""
    folder = Path(tempfile.mkdtemp(prefix="waymail-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def test_postfix_and_swaks_deliver_to_us_by_lmtp(
    start_mail: StartMail, start_postfix: StartPostfix, anybodys_folder: Path
) -> None:
    socket, port = anybodys_folder / "lmtp.sock", free_port()
    unix = f'\n[[listener]]\nkind = "lmtp"\naddress = "unix:{socket}"\ntls = "off"\nmode = "0666"\n'
    mail = start_mail("mx", f'{unix}\n[[listener]]\nkind = "lmtp"\naddress = "127.0.0.1:{port}"\ntls = "off"\n')
    wait_for_port(port)
    transports = f"inline:{{ example.org=lmtp:unix:{socket}, any.example=lmtp:inet:127.0.0.1:{port} }}"
    postfix, smtp = start_postfix(transport_maps=transports, disable_dns_lookups="yes")
    swaks(smtp, "--to", "bob@example.org,nobody@example.org,ann@example.org,x@any.example")
    for box in ("example.org/ann", "example.org/bob", "any.example/x"):
        (message,) = mail.wait_for_mail(f"mail/{box}")
        assert re.search(rb"with LMTP\s", message)
    wait(lambda: postfix.log.read_text().count("status=sent (250 2.") == 3)
    refused = r"to=<nobody@example\.org>.*status=bounced \(.*550 5\.1\.1"
    wait(lambda: re.search(refused, postfix.log.read_text()))

    for number, where in enumerate((["--socket", str(socket)], ["--server", "127.0.0.1", "--port", str(port)]), 2):
        both = ["--from", "stranger@example.net", "--to", "bob@example.org,ann@example.org"]
        dialogue = said(["swaks", "--protocol", "LMTP", "--timeout", "15", *where, *both], status=0)
        assert "-> LHLO" in dialogue
        assert dialogue.partition(" -> .\n")[2].count("<-  250 2.") == 2, "an answer for each recipient"
        assert len(mail.wait_for_mail("mail/example.org/bob", number)) == number


def test_xclient_from_swaks_makes_it_another_client(start_mail: StartMail) -> None:
    trusting = '\n[relay]\nallow = ["192.0.2.7/32"]\nxclient = ["127.0.0.0/8"]\n'
    mail = start_mail("maildir:else/{domain}/{local}", trusting)
    other = ["--xclient-addr", "192.0.2.7", "--xclient-name", "client.example.net", "--xclient-helo", "other.example.net"]
    dialogue = swaks(mail.mx, "--to", "x@remote.example", *other, "--xclient-proto", "ESMTP")
    assert re.search(r"<-  250[ -]XCLIENT .*ADDR", dialogue)
    assert re.search(r" -> XCLIENT .*ADDR=192\.0\.2\.7.*\n<-  220 ", dialogue)
    (message,) = mail.wait_for_mail("else/remote.example/x")
    assert b"([192.0.2.7])" in message
    # Nobody may relay but him.
    assert "550 5.7.1" in swaks(mail.mx, "--to", "x@remote.example")
    assert "550 5.7.1" in swaks(mail.mx, "--to", "x@remote.example", "--xclient-addr", "192.0.2.8")


def test_xclient_and_xforward_are_for_those_who_are_named(start_mail: StartMail) -> None:
    mail = start_mail("mx", '\n[relay]\nxclient = ["192.0.2.0/24"]\nxforward = ["192.0.2.0/24"]\n')
    with smtplib.SMTP("127.0.0.1", mail.mx, timeout=15) as client:
        client.ehlo()
        assert not client.has_extn("xclient")
        assert not client.has_extn("xforward")
        for command in ("XCLIENT ADDR=192.0.2.7", "XFORWARD ADDR=192.0.2.7"):
            assert client.docmd(command)[0] >= 500


def test_postfix_forwards_by_xforward_whom_a_message_is_from(start_mail: StartMail, start_postfix: StartPostfix) -> None:
    mail = start_mail("mx", '\n[relay]\nxforward = ["127.0.0.0/8"]\n')
    _, smtp = start_postfix(
        relayhost=f"[127.0.0.1]:{mail.mx}",
        disable_dns_lookups="yes",
        smtp_send_xforward_command="yes",
        smtpd_authorized_xclient_hosts="127.0.0.0/8",
        mynetworks="192.0.2.0/24",
    )
    dialogue = swaks(smtp, "--to", "bob@example.org", "--xclient-addr", "192.0.2.9", "--helo", "far.example.net")
    assert "250 2.0.0" in dialogue
    assert mail.wait_for_mail("mail/example.org/bob")
    told = r"a filter says .*addr=192\.0\.2\.9 port=.*\n.*a filter says .*proto=ESMTP helo=far\.example\.net ident="
    wait(lambda: re.search(told, mail.log.read_text()), 5)


def test_mail_that_waits_here_goes_by_etrn_when_postfix_is_back(start_mail: StartMail) -> None:
    port = free_port()
    mail = start_mail(
        f"smtp://127.0.0.1:{port}", '\n[queue]\nretry = ["1h"]\n[relay]\nallow = ["127.0.0.1/32"]\netrn = ["127.0.0.1/32"]\n'
    )
    swaks(mail.mx, "--to", "waiting@remote.example")
    wait(lambda: "4.4.1" in str(mail.trace("waiting@remote.example")))
    with smtplib.SMTP("127.0.0.1", mail.mx, timeout=15) as client:
        client.ehlo()
        assert client.has_extn("etrn")
        assert client.docmd("ETRN other.example")[0] == 251
    with PostfixBox(port=port) as back:
        asked = ["--url", f"smtp://localhost:{mail.mx}", "--tls-ca", str(mail.certificate)]
        assert "253 2.0.0 1 messages" in said([*ETRN, "remote.example", *asked], status=0)
        back.wait_for("waiting@remote.example")


def test_mail_that_waits_at_postfix_comes_to_us_by_etrn(start_mail: StartMail, start_postfix: StartPostfix) -> None:
    port = free_port()
    flush = {"fast_flush_domains": "any.example", "disable_dns_lookups": "yes", "smtp_tls_security_level": "none"}
    postfix, smtp = start_postfix(relayhost=f"[127.0.0.1]:{port}", **flush)
    swaks(smtp, "--to", "waiting@any.example")
    wait(lambda: "status=deferred" in postfix.log.read_text())
    mail = start_mail("mx", f'\n[[listener]]\nkind = "mx"\naddress = "127.0.0.1:{port}"\ntls = "off"\n')
    wait_for_port(port)
    assert "250 Queuing started" in said([*ETRN, "any.example", "--url", f"smtp://127.0.0.1:{smtp}?tls=off"], status=0)
    assert mail.wait_for_mail("mail/any.example/waiting")
