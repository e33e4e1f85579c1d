"""Extensions of SMTP with other people's programs: who else has one, uses it with us, and whom we use it with."""

from __future__ import annotations

import re
import shutil
import smtplib
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from email import message_from_bytes
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest
from bench.postfix import PrivatePostfix
from tests.interop.conftest import PASSWORD, USER, Mail
from tests.interop.keepers import PostfixBox, SmtpSink, having, wait_until
from tests.interop.test_postfix import wait

from waymail.net.self_signed import self_signed
from waymail.testing.process import free_port, wait_for_port

pytestmark = pytest.mark.interop

StartMail = Callable[..., Mail]
StartPostfix = Callable[..., tuple[PrivatePostfix, int]]

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


def test_xclient_and_xforward_are_for_those_who_are_named(sender: Mail) -> None:
    with smtplib.SMTP("127.0.0.1", sender.mx, timeout=15) as client:
        client.ehlo()
        assert not client.has_extn("xclient")
        assert not client.has_extn("xforward")
        for command in ("XCLIENT ADDR=192.0.2.7", "XFORWARD ADDR=192.0.2.7"):
            assert client.docmd(command)[0] >= 500


@pytest.fixture(scope="module")
def receiver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mail]:
    """It believes filters on this host, and takes two recipients at a time."""
    more = '\n[relay]\nxforward = ["127.0.0.0/8"]\n[limits]\nrecipients = 2\n'
    with Mail(tmp_path_factory.mktemp("receiver") / "waymail", more=more) as mail:
        yield mail


@pytest.fixture(scope="module")
def front(receiver: Mail) -> Iterator[PostfixBox]:
    """A Postfix that sends everything on to the receiver, and says by XFORWARD from whom; it is told by XCLIENT."""
    with PostfixBox(
        relayhost=f"[127.0.0.1]:{receiver.mx}",
        disable_dns_lookups="yes",
        smtp_tls_security_level="none",
        smtp_send_xforward_command="yes",
        smtpd_authorized_xclient_hosts="127.0.0.0/8",
        mynetworks="127.0.0.0/8, 192.0.2.0/24",
    ) as postfix:
        yield postfix


def test_postfix_forwards_by_xforward_whom_a_message_is_from(receiver: Mail, front: PostfixBox) -> None:
    dialogue = swaks(front.port, "--to", "bob@example.org", "--xclient-addr", "192.0.2.9", "--helo", "far.example.net")
    assert "250 2.0.0" in dialogue
    assert receiver.wait_for_mail("mail/example.org/bob")
    told = r"a filter says .*addr=192\.0\.2\.9 port=.*\n.*a filter says .*proto=ESMTP helo=far\.example\.net ident="
    wait(lambda: re.search(told, receiver.log.read_text()), 5)


def test_postfix_sends_the_rest_later_where_we_take_two_recipients_at_a_time(receiver: Mail, front: PostfixBox) -> None:
    assert "LIMITS RCPTMAX=2" in swaks(receiver.mx, "--quit-after", "EHLO")
    swaks(front.port, "--to", "a@any.example,b@any.example,c@any.example")
    for box in "ab":
        assert receiver.wait_for_mail(f"mail/any.example/{box}")
    wait(lambda: re.search(r"to=<c@any\.example>.*status=deferred .*452 4\.5\.3", front.log))
    front.server.flush()
    assert receiver.wait_for_mail("mail/any.example/c")


def test_mail_that_waits_here_goes_by_etrn_when_its_host_is_back(start_mail: StartMail) -> None:
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
    with SmtpSink(port=port) as back:
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


@pytest.fixture(scope="module")
def plain_hop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostfixBox]:
    """A Postfix with TLS, without DELIVERBY, MT-PRIORITY and REQUIRETLS; it takes two recipients at a time."""
    certificate, key = self_signed(tmp_path_factory.mktemp("hop"), "localhost")
    with PostfixBox(
        smtpd_recipient_limit="2",
        smtpd_recipient_overshoot_limit="1000",
        smtpd_tls_security_level="may",
        smtpd_tls_cert_file=str(certificate),
        smtpd_tls_key_file=str(key),
    ) as box:
        yield box


@pytest.fixture(scope="module")
def sender(plain_hop: PostfixBox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mail]:
    """It sends everything to the Postfix, and does not try again soon. Proxies and filters are elsewhere."""
    more = '\n[queue]\nretry = ["1h"]\n[relay]\nxclient = ["192.0.2.0/24"]\nxforward = ["192.0.2.0/24"]\n'
    with Mail(tmp_path_factory.mktemp("sender") / "waymail", f"smtp://127.0.0.1:{plain_hop.port}", more) as mail:
        yield mail


def submit(mail: Mail, to: Sequence[str], *options: str) -> None:
    """As a user of ours, with these parameters of MAIL, by Python's smtplib; the certificate is verified."""
    text = f"From: {USER}\r\nSubject: a test\r\n\r\nhello\r\n"
    with smtplib.SMTP("localhost", mail.submission, timeout=15) as client:
        client.starttls(context=ssl.create_default_context(cafile=str(mail.certificate)))
        client.login(USER, PASSWORD)
        assert client.sendmail(USER, to, text, options) == {}


def test_a_message_is_held_for_as_long_as_its_sender_wants_before_postfix_gets_it(sender: Mail, plain_hop: PostfixBox) -> None:
    before = time.time()
    submit(sender, ["held@remote.example"], "HOLDFOR=2")
    message = plain_hop.wait_for("held@remote.example")
    assert time.time() - before >= 2
    came, sent = (parsedate_to_datetime(field.rpartition(";")[2]) for field in reversed(received(message)))
    assert 1 <= (sent - came).total_seconds() < 20, "in whole seconds"


def test_what_must_be_delivered_in_time_comes_back_where_postfix_promises_nothing(sender: Mail, plain_hop: PostfixBox) -> None:
    submit(sender, ["intime@remote.example"], "BY=3600;R")
    (notice,) = notices(sender, "intime@remote.example")
    assert b"Action: failed" in notice
    assert b"Status: 5.3.3" in notice
    assert "intime@remote.example" not in plain_hop.log


def test_what_needs_tls_all_the_way_comes_back_where_postfix_does_not_promise_it(sender: Mail, plain_hop: PostfixBox) -> None:
    submit(sender, ["secret@remote.example"], "REQUIRETLS")
    (notice,) = notices(sender, "secret@remote.example")
    assert b"Action: failed" in notice
    assert b"Status: 5.7.30" in notice
    assert "secret@remote.example" not in plain_hop.log


def test_a_priority_goes_on_in_the_received_field_where_postfix_has_no_parameter_for_it(
    sender: Mail, plain_hop: PostfixBox
) -> None:
    submit(sender, ["urgent@remote.example"], "MT-PRIORITY=3")
    message = plain_hop.wait_for("urgent@remote.example")
    assert re.search(r"with ESMTPSA\s.*\spriority 3;", received(message)[-1], re.DOTALL)


def test_five_recipients_go_to_a_postfix_that_takes_two_at_a_time_in_one_attempt(sender: Mail, plain_hop: PostfixBox) -> None:
    everybody = [f"many{number}@remote.example" for number in range(5)]
    submit(sender, everybody)
    for one in everybody:
        plain_hop.wait_for(f"Delivered-To: {one}")
    (attempt,) = (event["detail"] for event in sender.trace(everybody[4])[0]["events"] if event["kind"] == "attempt")
    assert [result["to"] for result in attempt["results"]] == [everybody[:2], everybody[2:4], everybody[4:]]


def received(message: bytes) -> list[str]:
    return message_from_bytes(message).get_all("Received", [])


def notices(mail: Mail, recipient: str) -> list[bytes]:
    """The notices to the sender about this recipient, once there is one."""

    def found() -> list[bytes]:
        return having(mail.mailbox("mail/example.org/ann"), f"Final-Recipient: rfc822; {recipient}")

    wait_until(found)
    return found()
