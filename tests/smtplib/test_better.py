"""Where the stand-in does better than smtplib."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from email.message import Message
from pathlib import Path
from typing import Any

import pytest

import waymail.smtplib as smtplib
from waymail.testing import SmtpServer

ANN, BOB = "ann@example.org", "bob@example.org"
ME = "me@example.com"
MESSAGE = b"Subject: Hello\n\nHello!\n"
MakeServer = Callable[..., SmtpServer]


def connected(server: SmtpServer, **options: Any) -> smtplib.SMTP:
    kind = smtplib.LMTP if server.url.startswith("lmtp") else smtplib.SMTP
    return kind(server.host, server.port, local_hostname="pc.example.org", **{"timeout": 5, **options})


def verbs(server: SmtpServer) -> list[str]:
    return [command.split()[0].upper() for command in server.commands]


# --- fewer round trips


def test_with_pipelining_data_does_not_wait_for_the_reply_to_mail(
    smtp_server: SmtpServer, capsys: pytest.CaptureFixture[str]
) -> None:
    with connected(smtp_server) as client:
        client.set_debuglevel(1)
        client.sendmail(ME, [ANN, BOB], MESSAGE)
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("send:")]
    assert [line.count("\\r\\n") for line in said] == [1, 4, 4, 1]  # EHLO; MAIL, RCPT, RCPT, DATA; the content; QUIT


def test_with_chunking_the_message_is_one_chunk(make_smtp_server: MakeServer) -> None:
    server = make_smtp_server(extensions=("PIPELINING", "CHUNKING"))
    large = b"Subject: Large\r\n\r\n" + b".dots\r\n" * 20_000
    with connected(server) as client:
        client.sendmail(ME, ANN, MESSAGE)
        client.sendmail(ME, ANN, large)
    assert [mail.octets for mail in server.messages] == [MESSAGE.replace(b"\n", b"\r\n"), large]
    assert verbs(server) == ["EHLO", "MAIL", "RCPT", "BDAT", "MAIL", "RCPT", "BDAT", "QUIT"]


def test_a_binary_message_goes_octet_for_octet(make_smtp_server: MakeServer) -> None:
    server = make_smtp_server(extensions=("PIPELINING", "CHUNKING", "BINARYMIME", "8BITMIME"))
    with connected(server) as client:
        client.sendmail(ME, ANN, b"Subject: x\r\n\r\n\0\n\r", mail_options=["BODY=BINARYMIME"])
    assert server.messages[0].octets == b"Subject: x\r\n\r\n\0\n\r"


def test_hundreds_of_recipients_each_have_their_reply(smtp_server: SmtpServer) -> None:
    people = [f"user{number}@example.org" for number in range(250)]
    smtp_server.script("RCPT TO:<user7", "550 5.1.1 no such user")
    with connected(smtp_server) as client:
        refused = client.sendmail(ME, people, MESSAGE)
    assert sorted(refused) == sorted(person for person in people if person.startswith("user7"))
    assert len(smtp_server.messages[0].recipients) == 250 - len(refused)


def test_a_server_that_wants_content_for_nobody_gets_a_dot_and_the_next_message(smtp_server: SmtpServer) -> None:
    smtp_server.script("RCPT", "550 5.1.1 no such user", times=1)
    smtp_server.script("DATA", b"354 go on\r\n", times=1)
    with connected(smtp_server) as client:
        with pytest.raises(smtplib.SMTPRecipientsRefused):
            client.sendmail(ME, ANN, MESSAGE)
        assert client.sendmail(ME, ANN, MESSAGE) == {}
    assert len(smtp_server.messages) == 1


def test_8_bit_content_is_said_to_be_that(smtp_server: SmtpServer) -> None:
    with connected(smtp_server) as client:
        client.sendmail(ME, ANN, "Subject: x\n\nGrüße\n".encode())
    assert any("BODY=8BITMIME" in command for command in smtp_server.commands)


def test_a_program_may_take_an_extension_out_of_the_offer(smtp_server: SmtpServer) -> None:
    with connected(smtp_server) as client:
        client.ehlo()
        del client.esmtp_features["size"]
        client.sendmail(ME, ANN, MESSAGE)
    assert not any("size=" in command.lower() for command in smtp_server.commands)


# --- TLS


def test_starttls_refuses_a_certificate_that_nobody_vouches_for(make_smtp_server: MakeServer) -> None:
    server = make_smtp_server(tls="starttls")
    client = connected(server)
    with pytest.raises(ssl.SSLCertVerificationError) as caught:
        client.starttls()
    assert ' context=ssl.create_default_context(cafile="ca.pem")' in caught.value.__notes__[0]
    with pytest.raises(smtplib.SMTPServerDisconnected):
        client.sendmail(ME, ANN, MESSAGE)
    assert server.messages == []


def test_smtp_ssl_refuses_it_too(make_smtp_server: MakeServer) -> None:
    server = make_smtp_server(tls="implicit")
    with pytest.raises(ssl.SSLCertVerificationError) as caught:
        smtplib.SMTP_SSL(server.host, server.port, timeout=5)
    assert ' context=ssl.create_default_context(cafile="ca.pem")' in caught.value.__notes__[0]


def test_a_context_of_the_programs_own_is_used_as_it_is(make_smtp_server: MakeServer) -> None:
    server = make_smtp_server(tls="implicit")
    with smtplib.SMTP_SSL(server.host, server.port, timeout=5, context=server.tls_context) as client:
        client.sendmail(ME, ANN, MESSAGE)
    trusting = ssl.create_default_context()
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    server = make_smtp_server(tls="starttls")
    server.script("TLS", certificate="self-signed")
    with connected(server) as client:
        assert client.starttls(context=trusting)[0] == 220
        assert client.esmtp_features == {}
        client.sendmail(ME, ANN, MESSAGE)
        assert "starttls" not in client.esmtp_features
    assert server.messages[0].tls


def test_what_stands_in_clear_behind_the_reply_to_starttls_is_refused(make_smtp_server: MakeServer) -> None:
    server = make_smtp_server(tls="starttls")
    server.script("STARTTLS", b"220 2.0.0 go on\r\n250 and skip the rest\r\n")
    client = connected(server)
    with pytest.raises(smtplib.SMTPException, match="cleartext behind the reply to STARTTLS"):
        client.starttls(context=server.tls_context)
    assert client.sock is None


def test_a_context_and_a_certificate_at_once_are_refused_before_anything_is_said(make_smtp_server: MakeServer) -> None:
    server = make_smtp_server(tls="starttls")
    with pytest.raises(ValueError, match="mutually exclusive"):
        connected(server).starttls(certfile="x.pem", context=server.tls_context)
    assert "STARTTLS" not in verbs(server)


# --- AUTH


@pytest.mark.parametrize("initial_response_ok", [True, False])
@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "PLAIN", "LOGIN"])
def test_login_by(make_smtp_server: MakeServer, mechanism: str, initial_response_ok: bool) -> None:
    server = make_smtp_server(users={"ann": "pässword"}, mechanisms=(mechanism,))
    with connected(server) as client:
        assert client.login("ann", "pässword", initial_response_ok=initial_response_ok)[0] == 235
        client.sendmail(ME, ANN, MESSAGE)
    assert server.messages[0].user == "ann"


def test_login_prefers_scram(make_smtp_server: MakeServer) -> None:
    server = make_smtp_server(users={"ann": "secret"})
    with connected(server) as client:
        client.login("ann", "secret")
    assert [command.split()[1] for command in server.commands if command.startswith("AUTH")] == ["SCRAM-SHA-256"]


def test_in_clear_no_password_follows_a_scram_that_was_refused(make_smtp_server: MakeServer) -> None:
    server = make_smtp_server(users={"ann": "secret"})
    with connected(server) as client, pytest.raises(smtplib.SMTPAuthenticationError):
        client.login("ann", "wrong")
    assert sum(command.startswith("AUTH") for command in server.commands) == 1


def test_over_tls_the_next_mechanism_is_tried_as_smtplib_does(make_smtp_server: MakeServer) -> None:
    server = make_smtp_server(tls="starttls", users={"ann": "secret"}, mechanisms=("SCRAM-SHA-256", "PLAIN"))
    server.script("AUTH SCRAM-SHA-256", "535 5.7.8 not for you")
    with connected(server) as client:
        client.starttls(context=server.tls_context)
        assert client.login("ann", "secret")[0] == 235


def test_a_server_that_does_not_know_the_password_is_left(make_smtp_server: MakeServer) -> None:
    server = make_smtp_server(users={"ann": "secret"}, mechanisms=("SCRAM-SHA-256",))
    server.script("AUTH", "235 2.7.0 whatever you say")
    client = connected(server)
    with pytest.raises(smtplib.SMTPException, match="without proving"):
        client.login("ann", "secret")
    assert client.sock is None


def test_a_token_goes_by_docmd_as_programs_do_it(make_smtp_server: MakeServer) -> None:
    server = make_smtp_server(users={"ann": "token"}, mechanisms=("XOAUTH2",))
    with connected(server) as client:
        client.ehlo()
        assert client.auth("XOAUTH2", lambda challenge=None: "user=ann\1auth=Bearer token\1\1")[0] == 235


def test_debug_output_has_no_password(make_smtp_server: MakeServer, capsys: pytest.CaptureFixture[str]) -> None:
    server = make_smtp_server(users={"ann": "secret"}, mechanisms=("PLAIN", "LOGIN"))
    with connected(server) as client:
        client.set_debuglevel(1)
        client.login("ann", "secret")
    said = capsys.readouterr().err
    assert "AUTH PLAIN" in said
    assert "AGFubgBzZWNyZXQ" not in said  # the beginning of "\0ann\0secret"


# --- servers that go wrong


def test_nobody_waits_for_ever(smtp_server: SmtpServer) -> None:
    with smtplib.SMTP(smtp_server.host, smtp_server.port, "pc.example.org") as client:
        assert client.sock.gettimeout() == 300
    with smtplib.SMTP(smtp_server.host, smtp_server.port, "pc.example.org", timeout=None) as client:
        assert client.sock.gettimeout() is None


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ({"hang": True}, smtplib.SMTPServerDisconnected),
        ({"trickle": 0.06}, smtplib.SMTPServerDisconnected),
        ({"drop": True}, smtplib.SMTPServerDisconnected),
        ({"endless": True}, smtplib.SMTPException),
        ({"reply": b"250 " + b"x" * 100_000}, smtplib.SMTPResponseException),
        ({"reply": b"250-a\r\n251 b\r\n"}, smtplib.SMTPResponseException),
    ],
    ids=str,
)
@pytest.mark.parametrize("moment", ["GREETING", "EHLO", "MAIL", "END"])
def test_an_error_comes_within_the_timeout(
    smtp_server: SmtpServer, fault: dict[str, Any], error: type[smtplib.SMTPException], moment: str
) -> None:
    smtp_server.script(moment, **fault)
    timeout = 0.15 if {"hang", "trickle"} & fault.keys() else 5.0
    with pytest.raises(error):
        connected(smtp_server, timeout=timeout).sendmail(ME, ANN, MESSAGE)


def test_what_is_no_reply_has_the_code_of_smtplib(smtp_server: SmtpServer) -> None:
    smtp_server.script("NOOP", b"eggs and ham\r\n")
    client = connected(smtp_server)
    assert client.noop() == (-1, b"eggs and ham")
    with pytest.raises(smtplib.SMTPServerDisconnected):
        client.noop()


def test_what_was_said_unasked_is_not_taken_for_a_reply(smtp_server: SmtpServer) -> None:
    smtp_server.script("NOOP", b"250 2.0.0 fine\r\n250 2.0.0 and whatever you say next\r\n")
    client = connected(smtp_server)
    client.noop()
    with pytest.raises(smtplib.SMTPServerDisconnected, match="spoke unasked"):
        client.mail(ME)


def test_a_421_that_came_unasked_answers_the_next_command(smtp_server: SmtpServer) -> None:
    smtp_server.script("NOOP", b"250 2.0.0 fine\r\n421 4.3.2 closing\r\n")
    client = connected(smtp_server)
    client.ehlo()
    client.noop()
    with pytest.raises(smtplib.SMTPSenderRefused) as raised:
        client.sendmail(ME, ANN, MESSAGE)
    assert raised.value.smtp_code == 421


# --- content and messages


def test_line_ends_become_crlf_whatever_they_were(smtp_server: SmtpServer) -> None:
    with connected(smtp_server) as client:
        client.sendmail(ME, ANN, b"Subject: x\n\n.\n.\r\nMAIL FROM:<eve@example.net>\rend")
    assert smtp_server.messages[0].octets == b"Subject: x\r\n\r\n.\r\n.\r\nMAIL FROM:<eve@example.net>\r\nend\r\n"


def test_no_field_of_a_message_can_add_another(smtp_server: SmtpServer) -> None:
    message = Message()  # of the older kind, which takes anything
    message["From"], message["To"] = ME, ANN
    message["Subject"] = "x\nBcc: eve@example.net"
    with connected(smtp_server) as client, pytest.raises(ValueError, match="Subject"):
        client.send_message(message)
    assert smtp_server.messages == []


def test_a_message_without_a_sender_is_a_value_error(smtp_server: SmtpServer) -> None:
    with connected(smtp_server) as client, pytest.raises(ValueError, match="neither Sender nor From"):
        client.send_message(Message())


# --- LMTP


def test_in_lmtp_who_is_refused_at_the_end_is_returned(make_smtp_server: MakeServer) -> None:
    server = make_smtp_server(lmtp=True)
    server.script("END <bob@", "552 5.2.2 over quota")
    with connected(server) as client:
        assert client.sendmail(ME, [ANN, BOB], MESSAGE) == {BOB: (552, b"5.2.2 over quota")}
        assert client.sendmail(ME, [ANN], MESSAGE) == {}
    assert [mail.recipients for mail in server.messages] == [(ANN,), (ANN,)]


def test_in_lmtp_nobody_having_it_is_an_error(make_smtp_server: MakeServer) -> None:
    server = make_smtp_server(lmtp=True, extensions=("PIPELINING", "CHUNKING"))
    server.script("END", "552 5.2.2 over quota")
    with connected(server) as client, pytest.raises(smtplib.SMTPDataError):
        client.sendmail(ME, [ANN, BOB], MESSAGE)


def test_a_path_that_is_no_socket_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        smtplib.LMTP(str(tmp_path / "lmtp.sock"))
