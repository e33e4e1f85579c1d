"""The server that tests of programs get, looked at by the standard library's client and by bare sockets."""

from __future__ import annotations

import asyncio
import smtplib
import socket
import ssl
import threading
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from waymail.testing import SmtpServer
from waymail.wire import sasl

MAIL = b"From: ann@example.com\r\nSubject: News\r\n\r\n.one\r\n..two\r\n"
NEWS = ("ann@example.com", ["bob@example.org", "carl@example.org"], MAIL)


@contextmanager
def client(server: SmtpServer, timeout: float = 5.0) -> Iterator[smtplib.SMTP]:
    connection = smtplib.SMTP(server.host, server.port, local_hostname="client.example", timeout=timeout)
    try:
        yield connection
    finally:
        connection.close()


def send(server: SmtpServer, timeout: float = 5.0) -> dict[str, tuple[int, bytes]]:
    with client(server, timeout) as connection:
        return connection.sendmail(*NEWS)


def talk(server: SmtpServer, octets: bytes, *, until: bytes, times: int = 1) -> bytes:
    """All that the server says to these octets, sent at once."""
    with socket.create_connection((server.host, server.port), 5) as connection:
        connection.sendall(octets)
        said = b""
        while said.count(until) < times and (more := connection.recv(65536)):
            said += more
        return said


# --- a server as it should be ---


def test_a_message_is_kept_with_its_envelope_octet_for_octet() -> None:
    with SmtpServer() as server:
        assert send(server) == {}
        [mail] = server.messages
    assert (mail.sender, mail.recipients) == ("ann@example.com", ("bob@example.org", "carl@example.org"))
    assert (mail.octets, mail.helo, mail.tls, mail.user, mail.options["SIZE"]) == (MAIL, "client.example", "", "", "53")


def test_commands_stand_as_they_were_sent_and_the_transcript_has_both_sides() -> None:
    with SmtpServer() as server:
        with client(server) as connection:
            connection.noop()
            connection.quit()
        assert server.commands == ["noop", "quit"]
        assert server.transcript.splitlines()[:2] == ["1 S: 220 mail.example.org ESMTP", "1 C: noop"]
        assert server.connections == 1
        server.clear()
        assert (server.commands, server.transcript, server.connections) == ([], "", 0)


@pytest.mark.parametrize(
    ("said", "reply"),
    [
        (b"MAIL FROM:<a@b.example>\r\n", b"503 5.5.1"),
        (b"EHLO x\r\nMAIL FROM:a@b.example\r\n", b"501 5.5.4"),
        (b"EHLO x\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example> COLOUR=RED\r\n", b"555 5.5.4"),
        (b"EHLO x\r\nRCPT TO:<c@d.example>\r\n", b"503 5.5.1"),
        (b"EHLO x\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nDATA\r\na\nb\r\n.\r\n", b"550 5.6.11"),
        (b"EHLO x\r\nMAIL FROM:<a@b.example> SIZE=2000000\r\n", b"552 5.3.4"),
        (b"EHLO x\r\nAUTH PLAIN\r\n", b"502 5.5.1"),
        (b"BDAT x\r\n", b"501"),
    ],
)
def test_what_no_server_takes_is_refused(said: bytes, reply: bytes) -> None:
    with SmtpServer(size=1_000_000) as server:
        assert b"\r\n" + reply in talk(server, said, until=b"\r\n" + reply)


def test_a_pipelined_dialogue_is_answered_in_order_however_it_is_cut() -> None:
    session = b"EHLO x\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nDATA\r\n"
    with SmtpServer() as server:
        stuffed = MAIL.replace(b"\r\n.", b"\r\n..")
        said = talk(server, session + stuffed + b".\r\nQUIT\r\n", until=b"221 ")
        assert [line[:4] for line in said.split(b"\r\n") if line[3:4] == b" "] == [
            *(b"220 ", b"250 ", b"250 ", b"250 ", b"354 ", b"250 ", b"221 ")
        ]
        assert server.messages[0].octets == MAIL
        with socket.create_connection((server.host, server.port), 5) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for octet in session + b".\r\nQUIT\r\n":
                connection.send(bytes([octet]))
            assert server.wait_for(2)[1].octets == b""


def test_a_message_may_come_in_chunks_where_they_are_offered() -> None:
    session = b"EHLO x\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\n"
    chunks = b"BDAT 20\r\nSubject: x\r\n\r\nQUIT\r\nBDAT 9 LAST\r\n\r\n.\r\nDATAQUIT\r\n"
    with SmtpServer(extensions=["PIPELINING", "CHUNKING"]) as server:
        assert b"CHUNKING\r\n" in talk(server, session + chunks, until=b"221 ")
        assert server.messages[0].octets == b"Subject: x\r\n\r\nQUIT\r\n\r\n.\r\nDATA"
        assert server.commands[-1] == "QUIT"
        server.script("BDAT", "452 4.3.1 no room", times=1)
        assert b"452 4.3.1 no room" in talk(server, session + b"BDAT 2 LAST\r\nxx", until=b"452 ")
    with SmtpServer() as server:
        assert b"502 5.5.1" in talk(server, session + b"BDAT 2 LAST\r\nxx", until=b"502 ")


def test_a_connection_carries_many_messages_and_reset_forgets_one() -> None:
    with SmtpServer() as server, client(server) as connection:
        connection.sendmail(*NEWS)
        connection.mail("left@example.com")
        connection.rset()
        connection.sendmail(*NEWS)
        assert [mail.sender for mail in server.messages] == ["ann@example.com"] * 2
        assert server.connections == 1


def test_what_is_offered_is_what_was_asked_for() -> None:
    with SmtpServer(extensions=["8BITMIME", "X-COLOUR red"], hostname="mx.example") as server, client(server) as connection:
        assert connection.ehlo() == (250, b"mx.example\n8BITMIME\nX-COLOUR red")
        server.configure(extensions=[], hostname="other.example")
        assert connection.ehlo()[1].startswith(b"mx.example"), "an open connection stays as it was"
        with client(server) as later:
            assert later.ehlo() == (250, b"other.example")
            assert later.docmd("MAIL FROM:<a@b.example> BODY=8BITMIME")[0] == 555
            assert later.docmd("MAIL FROM:<a@b.example> SMTPUTF8")[0] == 555


def test_lmtp_answers_for_each_recipient() -> None:
    with SmtpServer(lmtp=True) as server:
        server.script("END <bob@", "452 4.2.2 over quota")
        session = b"LHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<bob@example.org>\r\nRCPT TO:<carl@example.org>\r\nDATA\r\n.\r\nQUIT\r\n"
        said = talk(server, session, until=b"221 ")
        assert said.endswith(b"354 go on\r\n452 4.2.2 over quota\r\n250 2.0.0 taken\r\n221 2.0.0 bye\r\n")
        assert server.messages[0].recipients == ("carl@example.org",)
        assert server.url == f"lmtp://{server.address}?tls=off"
        assert b"500 5.5.1" in talk(server, b"EHLO x\r\n", until=b"500 ")


# --- TLS and AUTH ---


def test_starttls_with_a_certificate_that_can_be_verified() -> None:
    with SmtpServer(tls="starttls") as server, client(server) as connection:
        assert b"STARTTLS" in connection.ehlo()[1]
        connection.starttls(context=ssl.create_default_context(cafile=server.ca_file))
        assert b"STARTTLS" not in connection.ehlo()[1]
        connection.sendmail(*NEWS)
        assert server.messages[0].tls.startswith("TLSv1.")
        assert server.url == f"smtp://{server.address}"


def test_tls_from_the_first_octet() -> None:
    with SmtpServer(tls="implicit") as server:
        with smtplib.SMTP_SSL(server.host, server.port, context=server.tls_context) as connection:
            connection.sendmail(*NEWS)
        assert server.messages[0].tls
        assert server.url == f"smtps://{server.address}"


def test_its_authority_is_trusted_by_nobody_else() -> None:
    with SmtpServer(tls="implicit") as server, pytest.raises(ssl.SSLCertVerificationError):
        smtplib.SMTP_SSL(server.host, server.port, context=ssl.create_default_context())


@pytest.mark.parametrize(("word", "reason"), [("expired", "expired"), ("other name", "mismatch"), ("self-signed", "self-signed")])
def test_a_bad_certificate_is_bad_in_the_way_that_was_asked_for(word: Any, reason: str) -> None:
    with SmtpServer(tls="starttls") as server:
        server.script("TLS", certificate=word, times=1)
        with client(server) as connection, pytest.raises(ssl.SSLCertVerificationError, match=reason):
            connection.starttls(context=server.tls_context)
        with client(server) as connection:
            connection.starttls(context=server.tls_context)
        assert "(TLS failed: " in server.transcript


@pytest.mark.parametrize("fault", [{"drop": True}, {"reply": b"250 what?\r\n"}])
def test_a_handshake_can_fail(fault: dict[str, Any]) -> None:
    with SmtpServer(tls="implicit") as server:
        server.script("TLS", **fault)
        with pytest.raises(OSError, match=r"SSL|reset|EOF"):
            smtplib.SMTP_SSL(server.host, server.port, context=server.tls_context)


def test_octets_behind_the_220_to_starttls_are_sent_in_clear() -> None:
    with SmtpServer(tls="starttls") as server:
        server.script("STARTTLS", b"220 2.0.0 go on\r\n250 injected\r\n")
        assert talk(server, b"EHLO x\r\nSTARTTLS\r\n", until=b"injected").endswith(b"220 2.0.0 go on\r\n250 injected\r\n")


def test_commands_behind_starttls_are_never_carried_out() -> None:
    with SmtpServer(tls="starttls") as server, client(server) as connection:
        connection.ehlo()
        assert connection.sock is not None
        connection.sock.sendall(b"STARTTLS\r\nMAIL FROM:<injected@example.com>\r\n")
        assert connection.getreply()[0] == 220
        connection.sock = server.tls_context.wrap_socket(connection.sock, server_hostname="localhost")
        connection.file = None
        connection.ehlo_resp = connection.helo_resp = None
        connection.sendmail(*NEWS)
        assert [mail.sender for mail in server.messages] == ["ann@example.com"]


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
@pytest.mark.parametrize("tls", ["off", "starttls"])
def test_users_log_in_and_nobody_else_may_send(mechanism: str, tls: Any) -> None:
    with SmtpServer(tls=tls, users={"ann": "secret"}, mechanisms=[mechanism]) as server:
        with client(server) as connection:
            assert (f"AUTH {mechanism}\n".encode() in connection.docmd("EHLO x")[1]) is (tls == "off")
            if tls == "starttls":
                connection.starttls(context=server.tls_context)
            connection.ehlo()
            assert connection.docmd("MAIL FROM:<a@b.example>") == (530, b"5.7.0 log in first")
            with pytest.raises(smtplib.SMTPAuthenticationError, match="535"):
                connection.login("ann", "wrong")
            connection.login("ann", "secret")
            connection.sendmail(*NEWS)
        assert server.messages[0].user == "ann"


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "XOAUTH2", "OAUTHBEARER"])
@pytest.mark.parametrize(("secret", "code"), [("s3cret-token", 235), ("wrong-token", 535)])
def test_it_knows_scram_and_bearer_tokens(mechanism: str, secret: str, code: int) -> None:
    with SmtpServer(users={"ann": "s3cret-token"}) as server, client(server) as connection:
        exchange = sasl.client_mechanism(mechanism, "ann", secret, "n" * 24, token=secret)
        connection.ehlo()
        reply = connection.docmd("AUTH", f"{mechanism} {b64encode(exchange.initial() or b'').decode()}")
        while reply[0] == 334:
            reply = connection.docmd(b64encode(exchange.step(b64decode(reply[1]))).decode())
        assert reply[0] == code


def test_a_client_may_cancel_or_answer_nonsense() -> None:
    with SmtpServer(users={"ann": "secret"}) as server, client(server) as connection:
        connection.ehlo()
        assert connection.docmd("AUTH PLAIN")[0] == 334
        assert connection.docmd("*")[0] == 501
        assert connection.docmd("AUTH PLAIN x")[0] == 501
        assert connection.docmd("AUTH CRAM-MD5")[0] == 504
        assert connection.docmd("AUTH PLAIN AGFubgBzZWNyZXQ=")[0] == 235
        assert connection.docmd("AUTH PLAIN AGFubgBzZWNyZXQ=")[0] == 503


THERE_ARE = "no option user of .*; there are tls, users, mechanisms, extensions, size, lmtp, hostname"


@pytest.mark.parametrize("options", [{"tls": "yes"}, {"mechanisms": ["GSSAPI"]}, {"user": {"ann": "secret"}}])
def test_an_option_that_does_not_exist_is_refused_at_once(options: dict[str, Any]) -> None:
    with pytest.raises((ValueError, TypeError), match=rf"starttls|PLAIN|{THERE_ARE}"):
        SmtpServer(**options)
    with SmtpServer() as server, pytest.raises((ValueError, TypeError), match=rf"starttls|PLAIN|{THERE_ARE}"):
        server.configure(**options)


# --- scripts ---


def test_greylisting_a_script_for_once() -> None:
    with SmtpServer() as server:
        fault = server.script("RCPT TO:<BOB@", "451 4.7.1 greylisted", times=1)
        assert send(server) == {"bob@example.org": (451, b"4.7.1 greylisted")}
        assert send(server) == {}
        assert [mail.recipients for mail in server.messages] == [
            ("carl@example.org",),
            ("bob@example.org", "carl@example.org"),
        ]
        assert fault.happened == 1


def test_of_several_scripts_the_last_is_followed_and_forget_ends_them() -> None:
    with SmtpServer() as server:
        server.script("RCPT", "550 5.1.1 nobody")
        server.script("RCPT TO:<bob@", "250 fine", times=1)
        assert send(server) == {"carl@example.org": (550, b"5.1.1 nobody")}
        with pytest.raises(smtplib.SMTPRecipientsRefused):
            send(server)
        server.forget()
        assert send(server) == {}


@pytest.mark.parametrize("reply", ["552 5.2.2 over quota", "550 5.7.1 refused by policy", "451 4.3.0 later"])
def test_a_message_that_is_refused_at_its_end_is_not_kept(reply: str) -> None:
    with SmtpServer() as server:
        server.script("END", reply, times=1)
        with pytest.raises(smtplib.SMTPDataError, match=reply[:3]):
            send(server)
        assert server.messages == []


@pytest.mark.parametrize("moment", ["GREETING", "EHLO", "MAIL", "RCPT", "DATA", "END"])
def test_it_can_drop_the_connection(moment: str) -> None:
    with SmtpServer() as server:
        server.script(moment, drop=True, times=1)
        with pytest.raises((smtplib.SMTPServerDisconnected, ConnectionError)):
            send(server)
        assert server.messages == []
        assert send(server) == {}


def test_it_can_drop_in_the_middle_of_the_content() -> None:
    with SmtpServer() as server:
        server.script("DATA", "354 go on", drop=True)
        with pytest.raises((smtplib.SMTPServerDisconnected, ConnectionError)):
            send(server)
        assert server.commands[-1] == "data"


def test_the_reply_that_is_lost_leaves_the_message_there() -> None:
    with SmtpServer() as server:
        server.script("END", lose_reply=True, times=1)
        with pytest.raises((smtplib.SMTPServerDisconnected, ConnectionError)):
            send(server)
        send(server)
        assert len(server.messages) == 2, "who sends again makes a duplicate"


@pytest.mark.parametrize("fault", [{"hang": True}, {"delay": 5.0}, {"reply": "250 x", "trickle": 5.0}, {"reply": b"250-x"}])
def test_it_can_be_silent_or_slow(fault: dict[str, Any]) -> None:
    with SmtpServer() as server:
        server.script("MAIL", **fault)
        with pytest.raises((smtplib.SMTPServerDisconnected, TimeoutError)):
            send(server, timeout=0.05)


def test_a_message_is_not_taken_where_the_client_does_not_wait_for_a_slow_reply() -> None:
    with SmtpServer() as server:
        server.script("END", delay=0.1, times=1)
        with pytest.raises((smtplib.SMTPServerDisconnected, TimeoutError)):
            send(server, timeout=0.02)
        assert send(server) == {}
        assert len(server.messages) == 1


def test_a_reply_may_come_late_or_octet_by_octet() -> None:
    with SmtpServer() as server:
        server.script("MAIL", delay=0.01)
        server.script("RCPT", "250 2.1.5 you are\nwelcome", trickle=0.0001)
        assert send(server) == {}


@pytest.mark.parametrize("pace", [{}, {"trickle": 0.0001}], ids=["fast", "slow"])
@pytest.mark.parametrize("reply", ["250 DSN", "250 one\nDSN", b"250-one\r\n250 DSN\r\n", None])
def test_a_reply_may_have_no_end_however_many_lines_it_has(reply: Any, pace: dict[str, Any]) -> None:
    with SmtpServer() as server:
        server.script("EHLO", reply, endless=True, **pace)
        lines = talk(server, b"EHLO x\r\n", until=b"DSN\r\n250-", times=2).split(b"\r\n")[1:-1]
        assert {line[:4] for line in lines} == {b"250-"}, "no line is the last one"
        assert "\n1 S: 250-DSN" in server.transcript


def test_a_wrong_reply_moves_nothing() -> None:
    with SmtpServer() as server:
        server.script("MAIL", "354 what?", times=1)
        with client(server) as connection:
            connection.ehlo()
            assert connection.mail("a@b.example") == (354, b"what?")
            assert connection.rcpt("c@d.example")[0] == 503
            server.script("NOOP", b"junk\r\n", times=1)
            assert connection.docmd("NOOP")[0] == -1


def test_a_function_decides_and_may_leave_the_usual_reply() -> None:
    seen: list[str] = []

    def decide(line: str) -> str | None:
        seen.append(line)
        return None if "carl" in line else "550 5.1.1 no"

    with SmtpServer() as server:
        server.script("RCPT", decide)
        assert send(server) == {"bob@example.org": (550, b"5.1.1 no")}
        assert [line.upper() for line in seen] == ["RCPT TO:<BOB@EXAMPLE.ORG>", "RCPT TO:<CARL@EXAMPLE.ORG>"]


def test_what_a_function_raises_is_raised_where_the_test_sees_it() -> None:
    def decide(line: str) -> str | None:
        raise ZeroDivisionError(line)

    server = SmtpServer().open()
    server.script("MAIL", decide)
    with pytest.raises((smtplib.SMTPServerDisconnected, ConnectionError)):
        send(server)
    assert "the script raised ZeroDivisionError" in server.transcript
    with pytest.raises(ZeroDivisionError):
        server.close()


def test_a_script_for_data_is_not_followed_at_the_end_of_the_message() -> None:
    with SmtpServer() as server:
        fault = server.script("DATA", "354 2.0.0 go on")
        assert send(server) == {}
        assert fault.happened == 1


@pytest.mark.parametrize(("greeting", "code"), [("554 5.3.2 no service", 554), ("421 4.3.2 shutting down", 421)])
def test_a_client_may_be_turned_away_at_the_greeting(greeting: str, code: int) -> None:
    with SmtpServer() as server:
        server.script("GREETING", greeting)
        with pytest.raises(smtplib.SMTPConnectError, match=str(code)):
            send(server)
        assert (b"503 5.5.1" in talk(server, b"EHLO x\r\nQUIT\r\n", until=b"221 ")) is (code == 554)


def test_after_421_the_connection_is_closed() -> None:
    with SmtpServer() as server:
        server.script("MAIL", "421 4.3.2 shutting down")
        assert talk(server, b"EHLO x\r\nMAIL FROM:<a@b.example>\r\nNOOP\r\n", until=b"never").endswith(
            b"421 4.3.2 shutting down\r\n"
        )


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (("RCTP", "450 later"), {}, "moment"),
        (("", "450 later"), {}, "moment"),
        (("RCPT", "later"), {}, "451 4.7.1 later"),
        (("RCPT",), {"certificate": "expired"}, "TLS"),
        (("TLS",), {"certificate": "stolen"}, "expired"),
        (("RCPT",), {"drop": True, "hang": True}, "exclude"),
    ],
)
def test_a_script_that_makes_no_sense_is_refused(arguments: Any, options: Any, message: str) -> None:
    with SmtpServer() as server, pytest.raises(ValueError, match=message):
        server.script(*arguments, **options)


# --- its life ---


def test_a_stopped_server_refuses_connections_until_it_starts_again_at_its_port() -> None:
    with SmtpServer() as server, client(server) as connection:
        server.stop()
        server.stop()
        assert connection.sock is not None
        assert connection.sock.recv(1) == b""
        with pytest.raises(ConnectionRefusedError):
            send(server)
        with socket.socket() as other, pytest.raises(OSError, match="in use"):
            other.bind((server.host, server.port))
        server.start()
        server.start()
        assert send(server) == {}


def test_it_ends_with_clients_still_there_and_leaves_nothing_behind() -> None:
    with SmtpServer() as server, client(server) as idle, client(server) as hanging:
        server.script("NOOP", hang=True)
        hanging.putcmd("NOOP")
        idle.ehlo()
        port = server.port
        server.close()
        assert idle.sock is not None
        assert idle.sock.recv(1) == b""
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((server.host, port))
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("waymail.testing")]


def later(work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_a_message_that_comes_in_the_background_is_waited_for() -> None:
    with SmtpServer() as server:
        thread = later(lambda: (send(server), send(server)))
        assert len(server.wait_for(2)) == 2
        thread.join()


def test_a_message_that_does_not_come_is_an_error_that_shows_what_was_said() -> None:
    with SmtpServer() as server:
        talk(server, b"EHLO wrong.example\r\n", until=b"250 ")
        with pytest.raises(TimeoutError, match=r"0 of 1 messages .*\n1 S: 220[^*]*1 C: EHLO wrong.example"):
            server.wait_for(timeout=0.01)


async def test_coroutines_wait_without_blocking_and_are_told_where_they_would() -> None:
    with SmtpServer() as server:
        with pytest.raises(RuntimeError, match=r"await server\.arrival"):
            server.wait_for()
        with pytest.raises(TimeoutError, match="0 of 1 messages"):
            await server.arrival(timeout=0.01)
        sending = asyncio.create_task(asyncio.to_thread(send, server))
        assert len(await server.arrival()) == 1
        assert len(server.wait_for()) == 1, "what is there already may be asked for anywhere"
        await sending
