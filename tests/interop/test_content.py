"""What a message needs or asks for (SMTPUTF8, DSN, BINARYMIME, 8BITMIME), carried to other servers, from them, and past those
that lack it."""

from __future__ import annotations

import contextlib
import re
import smtplib
import ssl
from collections.abc import Callable, Iterator, Sequence
from email import message_from_bytes, message_from_string
from email.message import Message

import pytest
from tests.interop.conftest import PASSWORD, USER, Box, Mail
from tests.interop.dovecot import Dovecot
from tests.interop.exim import Exim
from tests.interop.jail import NextHop, Peer
from tests.interop.opensmtpd import OpenSMTPD
from tests.interop.sendmail import Sendmail
from tests.interop.test_servers import BODY, RELAY, TEXT, wait_for_delivery
from tests.interop.town import Town

pytestmark = pytest.mark.interop


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Mail, dict[str, Peer]]]:
    """A server of ours, and those that it relays to, each in the domain of its name: exim.example, opensmtpd.example, ..."""
    with contextlib.ExitStack() as running:
        peers = {kind.name: running.enter_context(kind()) for kind in (Exim, OpenSMTPD, Sendmail)}
        routes = "".join(f'"{name}.example" = "smtp://127.0.0.1:{peer.port}?tls=off"\n' for name, peer in peers.items())
        mail = Mail(tmp_path_factory.mktemp("servers") / "waymail", "mx", f"\n{routes}{RELAY}")
        yield running.enter_context(mail), peers


def send(port: int, sender: str, to: str, content: bytes, mail: Sequence[str] = (), rcpt: Sequence[str] = ()) -> None:
    """Send with Python's smtplib, and these parameters of MAIL and RCPT. Raises smtplib.SMTPException where it is refused."""
    with smtplib.SMTP("127.0.0.1", port, "client.example.org", timeout=15) as client:
        assert client.sendmail(sender, [to], content, mail, rcpt) == {}


def submit(mail: Mail, to: str, content: bytes, options: Sequence[str] = ()) -> None:
    """Send as a user of ours, over TLS with a certificate that OpenSSL has verified."""
    with smtplib.SMTP("localhost", mail.submission, timeout=15) as client:
        client.starttls(context=ssl.create_default_context(cafile=str(mail.certificate)))
        client.login(USER, PASSWORD)
        assert client.sendmail(USER, [to], content, options) == {}


def report(notice: bytes, kind: str = "message/delivery-status") -> tuple[Message, Message]:
    """The fields of a notice about one recipient as Python's parser has them: those of the message, and of the recipient."""
    parsed = message_from_bytes(notice)
    assert parsed.get_content_type() == "multipart/report"
    status = parsed.get_payload()[1]  # type: ignore[index]
    assert status.get_content_type() == kind  # type: ignore[union-attr]
    found: list[Message] = status.get_payload()  # type: ignore[assignment,union-attr]
    # The parser takes one kind apart at the empty lines, and the other, which it does not know, for a message.
    fields, recipient = found if len(found) > 1 else [*found, message_from_string(str(found[0].get_payload()))]
    return fields, recipient


def parts(message: bytes) -> list[bytes]:
    """The content of each leaf, decoded, with LF line ends but for what is binary."""
    leaves = [part for part in message_from_bytes(message).walk() if not part.is_multipart()]
    content: list[bytes] = [leaf.get_payload(decode=True) for leaf in leaves]  # type: ignore[misc]
    return [
        octets.replace(b"\r\n", b"\n") if leaf.get_content_maintype() == "text" else octets
        for leaf, octets in zip(leaves, content, strict=True)
    ]


# SMTPUTF8 (RFC 6531)

AS_UTF8 = ["SMTPUTF8", "BODY=8BITMIME"]
GREETING = "To: größe@bücher.example\r\nSubject: Grüße aus Köln\r\n\r\nEin Gruß.\r\n".encode()
UTF8 = "From: jürgen@bücher.example\r\n".encode() + GREETING


def test_postfix_relays_addresses_beyond_ascii_to_us(town: Town, local: str) -> None:
    send(town.postfix.port, "jürgen@bücher.example", f"grüße-{local}@größe.example", UTF8, AS_UTF8)
    (message,) = town.mail.wait_for_mail(f"mail/any.example/grüße-{local}")
    assert message.startswith("Return-Path: <jürgen@bücher.example>\n".encode())
    assert re.search(rb"\swith UTF8SMTP\s", message), "RFC 6531 §3.7.3"
    assert b"by postfix.example.net (Postfix)" in message
    assert "\nSubject: Grüße aus Köln\n".encode() in message
    assert message.endswith("\n\nEin Gruß.\n".encode())


def test_we_relay_addresses_beyond_ascii_to_postfix(town: Town, local: str) -> None:
    send(town.mail.mx, "jürgen@bücher.example", f"größe-{local}@bücher.example", UTF8, AS_UTF8)
    message = town.postfix.wait_for(f"\nDelivered-To: größe-{local}@")
    assert message.startswith("Return-Path: <jürgen@bücher.example>\n".encode())
    assert "\nSubject: Grüße aus Köln\n".encode() in message


def test_we_relay_addresses_beyond_ascii_to_exim(servers: tuple[Mail, dict[str, Peer]], local: str) -> None:
    mail, peers = servers
    send(mail.mx, "jürgen@bücher.example", f"größe-{local}@exim.example", UTF8, AS_UTF8)
    exim = peers["exim"]
    exim.wait(lambda: any(f"größe-{local}@exim.example".encode() in message for message in exim.kept()))
    (message,) = (message for message in exim.kept() if f"größe-{local}@exim.example".encode() in message)
    assert "\nSubject: Grüße aus Köln\n".encode() in message
    assert re.search(" P=utf8esmtp .*K S=", exim.logs()), "and it came by BDAT"


def test_a_user_submits_a_message_beyond_ascii(house: Mail, local: str) -> None:
    submit(house, f"größe-{local}@any.example", b"From: ann@example.org\r\n" + GREETING, AS_UTF8)
    (message,) = house.wait_for_mail(f"mail/any.example/größe-{local}")
    assert re.search(rb"\swith UTF8SMTPSA\s", message)
    assert "\nSubject: Grüße aus Köln\n".encode() in message


def test_a_local_part_beyond_ascii_comes_back_where_the_next_hop_lacks_smtputf8(town: Town, local: str) -> None:
    send(town.mail.mx, f"{local}@any.example", f"größe-{local}@sink.example", TEXT, AS_UTF8)
    _, recipient = report(town.notice_to(local), "message/global-delivery-status")
    assert (recipient["Action"], recipient["Status"]) == ("failed", "5.6.7")


def test_postfix_finds_no_smtputf8_at_its_next_hop_and_its_notice_reaches_the_sender_through_us(town: Town, local: str) -> None:
    send(town.mail.mx, f"{local}@any.example", f"größe-{local}@beyond.example", TEXT, AS_UTF8)
    notice = town.notice_to(local)
    assert b"by postfix.example.net (Postfix)" in notice
    assert "größe-".encode() in notice
    assert b"\nStatus: 5.6.7\n" in notice


def test_a_domain_beyond_ascii_goes_in_its_other_form_where_the_next_hop_lacks_smtputf8(town: Town, local: str) -> None:
    send(town.mail.mx, USER, f"{local}@sïnk.example", TEXT, AS_UTF8)
    assert town.sink.wait_for(f"\nX-Rcpt-Args: <{local}@xn--snk-zma.example>")


# DSN (RFC 3461)

ASKED = ["RET=HDRS", "ENVID=QQ314159", "BODY=8BITMIME"]
NOTIFY = ["NOTIFY=SUCCESS,FAILURE", "ORCPT=rfc822;first+2Bchoice@elsewhere.example"]


def assert_unchanged(kept: bytes) -> None:
    """What stood behind MAIL and RCPT, as smtp-sink has it."""
    fields = message_from_bytes(kept)
    assert set(ASKED[:2]) <= set(fields["X-Mail-Args"].split())
    recipient = fields["X-Rcpt-Args"].split()
    assert NOTIFY[1] in recipient
    # Sendmail turns them round; the order means nothing.
    assert [sorted(word[7:].split(",")) for word in recipient if word.startswith("NOTIFY=")] == [["FAILURE", "SUCCESS"]]


def test_what_postfix_hands_to_us_of_dsn_is_answered_and_what_we_hand_to_it_goes_on_unchanged(town: Town, local: str) -> None:
    send(town.mail.mx, f"{local}@any.example", f"{local}@beyond.example", TEXT, ASKED, NOTIFY)
    assert_unchanged(town.sink.wait_for(f"<{local}@beyond.example>"))
    wait_for_delivery(town.mail, f"{local}@beyond.example")
    (story,) = town.mail.trace(f"{local}@beyond.example")
    assert [event["kind"] for event in story["events"]] == ["accepted", "attempt"], "the next hop takes over what is to be told"
    send(town.postfix.port, f"{local}-sender@any.example", f"{local}-other@any.example", TEXT, ASKED, NOTIFY)
    fields, recipient = report(town.notice_to(f"{local}-sender"))
    assert "mail.example.org" in fields["Reporting-MTA"]
    assert fields["Original-Envelope-Id"] == "QQ314159"
    assert (recipient["Action"], recipient["Status"][:2]) == ("delivered", "2.")
    assert recipient["Original-Recipient"] == "rfc822; first+choice@elsewhere.example"
    assert recipient["Final-Recipient"] == f"rfc822; {local}-other@any.example"


def test_what_sendmail_hands_to_us_of_dsn_goes_on_unchanged(town: Town, local: str) -> None:
    with Sendmail(NextHop(town.mail.mx)) as sendmail:
        send(sendmail.port, USER, f"{local}@sink.example", TEXT, ASKED, NOTIFY)
        assert_unchanged(town.sink.wait_for(f"<{local}@sink.example>"))


def test_what_we_hand_to_sendmail_of_dsn_goes_on_unchanged(town: Town, start_mail: Callable[..., Mail], local: str) -> None:
    with Sendmail(NextHop(town.sink.port)) as sendmail:
        send(start_mail(f"smtp://127.0.0.1:{sendmail.port}", RELAY).mx, USER, f"{local}@remote.example", TEXT, ASKED, NOTIFY)
        assert_unchanged(town.sink.wait_for(f"<{local}@remote.example>"))


def test_postfix_takes_our_notice_of_a_delivery(town: Town, local: str) -> None:
    send(town.mail.mx, f"{local}@postfix.example", f"{local}-kept@any.example", TEXT, ASKED, NOTIFY)
    notice = town.postfix.wait_for(f"\nDelivered-To: {local}@postfix.example", "report-type=delivery-status")
    fields, recipient = report(notice)
    assert notice.startswith(b"Return-Path: <>\n")
    assert fields["Original-Envelope-Id"] == "QQ314159"
    assert recipient["Action"] == "delivered"


def test_postfix_tells_the_sender_of_the_delivery_that_we_handed_to_it(town: Town, local: str) -> None:
    send(town.mail.mx, f"{local}@any.example", f"{local}-kept@postfix.example", TEXT, ASKED, NOTIFY)
    fields, recipient = report(town.notice_to(local))
    assert "postfix.example.net" in fields["Reporting-MTA"]
    assert fields["Original-Envelope-Id"] == "QQ314159"
    assert recipient["Action"] == "delivered"
    assert recipient["Original-Recipient"].replace(" ", "") == "rfc822;first+choice@elsewhere.example"


def test_the_sender_hears_relayed_where_nobody_behind_will_tell_him(town: Town, local: str) -> None:
    send(town.mail.mx, f"{local}@any.example", f"{local}@silent.example", TEXT, ASKED, NOTIFY)
    assert b"NOTIFY" not in town.silent.wait_for(f"<{local}@silent.example>")
    _, recipient = report(town.notice_to(local))
    assert recipient["Action"] == "relayed"


# BINARYMIME and CHUNKING (RFC 3030)

OCTETS = bytes(range(256)) * 40 + b"\r\n\r\n\n.\r\n\0"  # a bare LF, a lone dot, NULs
SIGNATURE = b"DKIM-Signature: v=1; a=rsa-sha256; d=example.org; s=x; h=from; bh=YWJj; b=YWJj\r\n"
BINARY = (
    b"From: ann@example.org\r\nTo: x@remote.example\r\nSubject: binary\r\nMIME-Version: 1.0\r\n"
    b'Content-Type: multipart/mixed; boundary="==b=="\r\nContent-Transfer-Encoding: binary\r\n\r\n'
    b"--==b==\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" + BODY + b"\r\n"
    b"--==b==\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: binary\r\n\r\n" + OCTETS + b"\r\n"
    b"--==b==--\r\n"
)


def say_in_chunks(client: smtplib.SMTP, sender: str, to: str, content: bytes) -> None:
    client.ehlo("client.example.org")
    assert client.has_extn("BINARYMIME")
    assert client.docmd(f"MAIL FROM:<{sender}> BODY=BINARYMIME")[0] == 250
    assert client.docmd(f"RCPT TO:<{to}>")[0] == 250
    half = len(content) // 2
    for chunk, last in (content[:half], ""), (content[half:], " LAST"):
        client.send(b"BDAT %d%s\r\n" % (len(chunk), last.encode()) + chunk)
        code, said = client.getreply()
        assert code == 250, said


def send_in_chunks(port: int, sender: str, to: str, content: bytes) -> None:
    with smtplib.SMTP("127.0.0.1", port, timeout=15) as client:
        say_in_chunks(client, sender, to, content)


@pytest.mark.parametrize("name", ["exim", "opensmtpd", "sendmail"])
def test_binary_content_is_converted_for_a_server_without_binarymime(servers: tuple[Mail, dict[str, Peer]], name: str) -> None:
    mail, peers = servers
    send_in_chunks(mail.mx, USER, f"x@{name}.example", BINARY)
    peer = peers[name]
    peer.wait(lambda: any(b"Subject: binary" in message for message in peer.kept()))
    (message,) = (message for message in peer.kept() if b"Subject: binary" in message)
    assert parts(message) == [BODY, OCTETS]
    assert b"\nContent-Transfer-Encoding: base64" in message
    assert b"\nContent-Transfer-Encoding: 8bit" in message, "8-bit text is not converted for it"


def test_binary_content_is_converted_for_postfix(town: Town, local: str) -> None:
    send_in_chunks(town.mail.mx, USER, f"{local}@postfix.example", BINARY)
    assert parts(town.postfix.wait_for(f"\nDelivered-To: {local}@postfix.example")) == [BODY, OCTETS]


def test_binary_content_is_converted_for_a_hop_of_seven_bits(town: Town, local: str) -> None:
    send_in_chunks(town.mail.mx, USER, f"{local}@seven.example", BINARY)
    message = town.seven.wait_for(f"<{local}@seven.example>")
    assert message.isascii()
    assert parts(message) == [BODY, OCTETS]


def test_binary_content_survives_the_line_ends_of_a_mailbox_of_ours(town: Town, local: str) -> None:
    send_in_chunks(town.mail.mx, USER, f"{local}@any.example", BINARY)
    (message,) = town.mail.wait_for_mail(f"mail/any.example/{local}")
    assert parts(message) == [BODY, OCTETS]


def test_dovecot_hands_binary_content_on_to_us(box: Box) -> None:
    # Its submission server offers what its own next hop offers, which is us.
    hop = NextHop(box.mail.submission, "starttls", USER, PASSWORD)
    with Dovecot(hop, box.mail.certificate.read_text()) as dovecot:
        context = ssl.create_default_context(cafile=str(dovecot.folder / "cert.pem"))
        with smtplib.SMTP("localhost", dovecot.port, timeout=15) as client:
            client.starttls(context=context)
            client.login("somebody", "theirs")
            say_in_chunks(client, USER, box.address, BINARY)
    (message,) = box.wait()
    text, octets = parts(message)
    assert text == BODY
    assert octets == re.sub(b"\r?\n", b"\r\n", OCTETS), "all is there; Dovecot 2.3 makes every bare LF a CRLF"


def test_signed_binary_content_goes_to_dovecot_as_it_is(
    town: Town, start_mail: Callable[..., Mail], local: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Nothing else here offers BINARYMIME. The signature leaves no other form, neither to Dovecot nor in the mailbox behind it.
    hop, trusted = NextHop(town.mail.submission, "starttls", USER, PASSWORD), town.mail.certificate.read_text()
    with Dovecot(hop, trusted, "8BITMIME BINARYMIME CHUNKING") as dovecot:
        monkeypatch.setenv("SSL_CERT_FILE", str(dovecot.folder / "cert.pem"))
        mail = start_mail(f"smtp://somebody:theirs@localhost:{dovecot.port}", RELAY)
        send_in_chunks(mail.mx, USER, f"{local}@xn--gre-6ka8i.example", SIGNATURE + BINARY)
        (message,) = town.mail.wait_for_mail(f"mail/any.example/{local}")
    assert b"\nReceived: from dovecot.example.net " in message
    assert b"\r\n\r\n" + re.sub(b"\r?\n", b"\r\n", OCTETS) + b"\r\n" in message, "but for its bare LFs, see above"


# 8BITMIME (RFC 6152)


def test_text_of_eight_bits_is_converted_for_a_hop_of_seven(town: Town, local: str) -> None:
    send(town.mail.mx, USER, f"{local}@seven.example", TEXT, ["BODY=8BITMIME"])
    message = town.seven.wait_for(f"<{local}@seven.example>")
    assert message.isascii()
    (text,) = parts(message)
    assert text.replace(b"\r\n", b"\n").strip() == BODY.strip().removesuffix(b"\n")


def test_signed_text_of_eight_bits_comes_back_from_a_hop_of_seven(town: Town, local: str) -> None:
    send(town.mail.mx, f"{local}@any.example", f"{local}@seven.example", SIGNATURE + TEXT, ["BODY=8BITMIME"])
    _, recipient = report(town.notice_to(local))
    assert (recipient["Action"], recipient["Status"]) == ("failed", "5.6.3")
