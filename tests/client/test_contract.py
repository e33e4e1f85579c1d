"""What a client does, with asyncio and without: one suite that both faces pass (docs/decisions/0019)."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from tests.client.faces import MESSAGE, Face, PeerInThread, asyncio_face, sync_face

import waymail
from waymail import Pool, Timeouts
from waymail.testing import SmtpServer
from waymail.testing.loop import LoopThread

Make = Callable[..., SmtpServer]
LARGE = MESSAGE + b"0123456789" * 7 + b"\r\n." + b"9876543210" * 20_000
MECHANISMS = ["SCRAM-SHA-256", "OAUTHBEARER", "XOAUTH2", "PLAIN", "LOGIN"]


@pytest.fixture(scope="module")
def loop() -> Iterator[LoopThread]:
    loop = LoopThread("tests.client")
    loop.start()
    yield loop
    loop.stop()


@pytest.fixture(scope="module", params=["asyncio", "sync"])
def face(request: pytest.FixtureRequest, loop: LoopThread) -> Iterator[Face]:
    with ThreadPoolExecutor(8) as threads:
        yield asyncio_face(loop) if request.param == "asyncio" else sync_face(threads)


# --- a message and its recipients


def test_a_message_is_sent_and_the_result_says_so(face: Face, smtp_server: SmtpServer) -> None:
    message = EmailMessage()
    message["From"], message["To"], message["Bcc"] = "ann@example.com", "bob@example.org", "cid@example.org"
    message["Message-ID"] = "<1@example.com>"
    message.set_content("hello\n.\n")
    result = face.send(smtp_server.url, message)
    assert (result.accepted, result.refused, result.uncertain) == (("bob@example.org", "cid@example.org"), {}, ())
    assert result.reply is not None
    assert result.reply.code == 250
    assert result.message is message
    assert result.message_id == "<1@example.com>"
    [mail] = smtp_server.messages
    assert (mail.sender, mail.recipients, mail.text) == ("ann@example.com", result.accepted, "hello\n.\n")
    assert b"cid" not in mail.octets
    assert smtp_server.commands[-1] == "QUIT"


def test_refused_recipients_are_no_error_while_one_is_accepted(face: Face, smtp_server: SmtpServer) -> None:
    smtp_server.script("RCPT TO:<bob@", "450 4.2.1 later")
    result = face.send(smtp_server.url, asked={"recipients": ["bob@example.org", "cid@example.org"]})
    assert result.accepted == ("cid@example.org",)
    assert {address: str(reply) for address, reply in result.refused.items()} == {"bob@example.org": "450 4.2.1 later"}


@pytest.mark.parametrize(
    ("moment", "fault", "error", "code"),
    [
        ("GREETING", {"reply": "554 5.3.2 no mail here"}, waymail.ConnectionFailed, 554),
        ("GREETING", {"drop": True}, waymail.ConnectionFailed, None),
        ("EHLO", {"reply": "550 5.7.1 not you"}, waymail.ConnectionFailed, 550),
        ("MAIL", {"reply": "550 5.7.1 not you"}, waymail.SenderRefused, 550),
        ("RCPT", {"reply": "550 5.1.1 nobody"}, waymail.AllRecipientsRefused, 550),
        ("RCPT", {"reply": "421 4.3.2 bye", "drop": True}, waymail.Disconnected, 421),
        ("DATA", {"reply": "451 4.3.0 later"}, waymail.MessageRefused, 451),
        ("DATA", {"drop": True}, waymail.Disconnected, None),
        ("END", {"reply": "554 5.7.1 spam"}, waymail.MessageRefused, 554),
        ("END", {"lose_reply": True}, waymail.UncertainDelivery, None),
    ],
)
def test_each_failure_is_an_error_of_its_own(
    face: Face, smtp_server: SmtpServer, moment: str, fault: dict[str, Any], error: type[waymail.SMTPError], code: int | None
) -> None:
    smtp_server.script(moment, **fault)
    with pytest.raises(waymail.SMTPError) as caught:
        face.send(smtp_server.url)
    assert type(caught.value) is error
    assert (caught.value.reply.code if caught.value.reply else None) == code
    assert caught.value.peer is not None
    assert caught.value.peer.host == smtp_server.host


def test_nobody_there_is_a_connection_failed(face: Face, smtp_server: SmtpServer) -> None:
    smtp_server.stop()
    with pytest.raises(waymail.ConnectionFailed) as caught:
        face.send(smtp_server.url)
    assert caught.value.why == "refused"


# --- TLS and AUTH


@pytest.mark.parametrize("tls", ["starttls", "implicit"])
def test_tls_is_verified(face: Face, make_smtp_server: Make, tls: str) -> None:
    server = make_smtp_server(tls=tls)
    face.send(server.url, tls_context=server.tls_context)
    assert server.messages[0].tls.startswith("TLSv1")
    with pytest.raises(waymail.TlsError, match="certificate") as caught:
        face.send(server.url)
    assert caught.value.is_temporary
    assert "ssl.create_default_context(cafile=" in caught.value.__notes__[0]
    assert len(server.messages) == 1


def test_what_cannot_be_encrypted_is_not_sent_unless_that_is_said(face: Face, smtp_server: SmtpServer) -> None:
    url = f"smtp://{smtp_server.address}"
    with pytest.raises(waymail.TlsError, match="STARTTLS"):
        face.send(url)
    assert "MAIL" not in smtp_server.transcript
    face.send(url, tls="opportunistic")


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_each_mechanism_logs_in_and_a_wrong_password_is_told(face: Face, make_smtp_server: Make, mechanism: str) -> None:
    server = make_smtp_server(tls="starttls", users={"ann": "secret"}, mechanisms=[mechanism])

    def credentials(secret: str) -> waymail.Credentials:
        is_token = mechanism in ("OAUTHBEARER", "XOAUTH2")
        return waymail.Credentials("ann", token=secret) if is_token else waymail.Credentials("ann", secret)

    face.send(server.url, auth=credentials("secret"), tls_context=server.tls_context)
    assert server.messages[0].user == "ann"
    with pytest.raises(waymail.AuthenticationFailed) as caught:
        face.send(server.url, auth=credentials("wr0ng"), tls_context=server.tls_context)
    assert caught.value.reply is not None
    assert caught.value.reply.code == 535
    assert "wr0ng" not in repr(caught.value) + "".join(caught.value.dialogue)


def test_a_token_is_asked_of_its_function_and_asked_again_where_it_was_refused(face: Face, make_smtp_server: Make) -> None:
    server = make_smtp_server(tls="starttls", users={"ann": "new"}, mechanisms=["OAUTHBEARER"])
    tokens = iter(["old", "new"])
    auth = waymail.Credentials("ann", token=lambda: next(tokens))
    face.send(server.url, auth=auth, tls_context=server.tls_context)
    assert server.messages[0].user == "ann"


def test_a_function_that_has_no_token_is_a_failed_authentication(face: Face, make_smtp_server: Make) -> None:
    def failing() -> str:
        raise LookupError("secret-42")

    server = make_smtp_server(tls="starttls", users={"ann": "x"}, mechanisms=["OAUTHBEARER"])
    with pytest.raises(waymail.AuthenticationFailed, match=r"no token for 127\.0\.0\.1: LookupError") as caught:
        face.send(server.url, auth=waymail.Credentials("ann", token=failing), tls_context=server.tls_context)
    assert "secret-42" not in str(caught.value)


def test_a_coroutine_function_gives_the_token_where_there_is_a_loop(face: Face, make_smtp_server: Make) -> None:
    async def token() -> str:
        return "secret"

    class Tokens:
        def __call__(self) -> Any:
            return token()

    server = make_smtp_server(tls="starttls", users={"ann": "secret"}, mechanisms=["OAUTHBEARER"])
    for provider, error in ((token, ValueError), (Tokens(), waymail.AuthenticationFailed)):
        settings = {"auth": waymail.Credentials("ann", token=provider), "tls_context": server.tls_context}
        if face.name == "asyncio":
            face.send(server.url, **settings)
        else:
            with pytest.raises(error, match=r"plain function|event loop"):
                face.send(server.url, **settings)
    assert len(server.messages) == (2 if face.name == "asyncio" else 0)


# --- extensions


def test_smtputf8_is_asked_for_by_itself(face: Face, make_smtp_server: Make, smtp_server: SmtpServer) -> None:
    face.send(smtp_server.url, asked={"recipients": "jürgen@example.org"})
    assert smtp_server.messages[0].recipients == ("jürgen@example.org",)
    assert "SMTPUTF8" in smtp_server.messages[0].options
    with pytest.raises(waymail.SMTPError):
        face.send(make_smtp_server(extensions=["PIPELINING"]).url, asked={"recipients": "jürgen@example.org"})


def test_notices_are_asked_for_with_dsn(face: Face, smtp_server: SmtpServer) -> None:
    dsn = waymail.Dsn(waymail.Notify.SUCCESS | waymail.Notify.DELAY, "HDRS", "order 4+2")
    face.send(smtp_server.url, asked={"dsn": dsn})
    [mail] = smtp_server.messages
    assert (mail.options["RET"], mail.options["ENVID"]) == ("HDRS", "order+204+2B2")
    assert mail.recipient_options["bob@example.org"]["NOTIFY"] == "SUCCESS,DELAY"


def test_requiretls_is_kept_or_the_message_is_not_sent(face: Face, make_smtp_server: Make) -> None:
    asked = {"options": waymail.Options(require_tls=True)}
    server = make_smtp_server(tls="starttls", extensions=["REQUIRETLS", "PIPELINING"])
    face.send(server.url, asked=asked, tls_context=server.tls_context)
    assert "REQUIRETLS" in server.messages[0].options
    server.configure(extensions=["PIPELINING"])
    with pytest.raises(waymail.MessageRefused, match="REQUIRETLS"):
        face.send(server.url, asked=asked, tls_context=server.tls_context)
    assert len(server.messages) == 1


@pytest.mark.parametrize("extensions", [["PIPELINING", "CHUNKING"], ["CHUNKING"], ["PIPELINING"], []])
@pytest.mark.parametrize("message", [MESSAGE, LARGE], ids=["small", "large"])
def test_content_arrives_octet_for_octet(face: Face, make_smtp_server: Make, extensions: list[str], message: bytes) -> None:
    server = make_smtp_server(extensions=extensions)
    with face.client(server.url) as client:
        client.send(message)
        client.send(message)
    content = message if message.endswith(b"\r\n") else message + b"\r\n"
    assert [mail.octets for mail in server.messages] == [content] * 2
    assert any(line.startswith("BDAT") for line in server.commands) is ("CHUNKING" in extensions)
    assert server.connections == 1


def test_lmtp_answers_for_each_recipient(face: Face, make_smtp_server: Make) -> None:
    server = make_smtp_server(lmtp=True)
    server.script("END <bob@example.org>", "452 4.2.2 full")
    result = face.send(server.url, asked={"recipients": ["bob@example.org", "cid@example.org"]})
    assert result.accepted == ("cid@example.org",)
    assert result.refused["bob@example.org"].code == 452
    assert server.commands[0].startswith("LHLO")


@pytest.mark.parametrize("scheme", ["smtp", "lmtp"])
def test_a_unix_domain_socket_takes_mail_and_a_password(face: Face, loop: LoopThread, tmp_path: Path, scheme: str) -> None:
    rules = [("AUTH", b"235 2.7.0 welcome\r\n")]
    path = str(tmp_path / "socket")
    with PeerInThread(loop, rules, path=path, lmtp=scheme == "lmtp", extensions=["AUTH PLAIN"]) as peer:
        face.send(f"{scheme}:{path}", auth=("ann", "secret"))
        assert [mail.content for mail in peer.messages] == [MESSAGE]
        assert b"AUTH PLAIN AGFubgBzZWNyZXQ=" in peer.commands
    with pytest.raises(waymail.ConnectionFailed):
        face.send(f"{scheme}:{path}.gone")


# --- the pool


@pytest.mark.parametrize(
    ("pool", "connections"),
    [(Pool(), 1), (Pool(messages=1), 3), (Pool(messages=2), 2), (Pool(age=1e-9), 3), (Pool(idle=1e-9), 3)],
    ids=["kept", "one message", "two messages", "too old", "idle for too long"],
)
def test_a_connection_is_used_again_within_the_limits(face: Face, smtp_server: SmtpServer, pool: Pool, connections: int) -> None:
    with face.client(smtp_server.url, pool=pool) as client:
        for _ in range(3):
            client.send()
    assert len(smtp_server.messages) == 3
    assert smtp_server.connections == connections
    assert smtp_server.commands.count("QUIT") == connections


def test_many_at_once_share_the_places_of_the_pool(face: Face, smtp_server: SmtpServer) -> None:
    with face.client(smtp_server.url, pool=Pool(max=3)) as client:
        sends = [client.begin(asked) for asked in [MESSAGE] * 40]
        assert all(send.result().accepted for send in sends)
    assert len(smtp_server.messages) == 40
    assert 1 <= smtp_server.connections <= 3


def test_waiting_for_a_place_ends_with_the_time(face: Face, smtp_server: SmtpServer) -> None:
    reached = threading.Event()
    smtp_server.script("MAIL", lambda line: reached.set(), hang=True)
    with face.client(smtp_server.url, pool=Pool(max=1), timeout=Timeouts(command=0.3)) as slow:
        first = slow.begin()
        assert reached.wait(5)
        slow._client._own._total = 0.02  # type: ignore[attr-defined]  # of the sends from here on
        with pytest.raises(waymail.ConnectionFailed, match="no connection of the pool was free"):
            slow.send()
        with pytest.raises(waymail.Disconnected):
            first.result()
    assert smtp_server.connections == 1


def test_a_connection_that_the_server_closed_is_replaced(face: Face, smtp_server: SmtpServer) -> None:
    with face.client(smtp_server.url) as client:
        client.send()
        smtp_server.stop()
        smtp_server.start()
        client.send()
    assert [mail.connection for mail in smtp_server.messages] == [1, 2]


def test_a_connection_that_died_while_idle_is_noticed_before_anything_is_said_on_it(face: Face) -> None:
    """A server that closes its direction after a message, and listens on."""
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        gone = threading.Event()

        def serve() -> None:
            for at in range(2):
                sock, _ = listener.accept()
                with sock, sock.makefile("rb") as lines:
                    sock.sendall(b"220 x\r\n")
                    in_content = False
                    for line in lines:
                        heard.append(b"%d %s" % (at, line[:4]))
                        if line == b".\r\n":
                            break
                        if not in_content:
                            in_content = line.startswith(b"DATA")
                            sock.sendall(b"354 x\r\n" if in_content else b"250 x\r\n")
                    sock.sendall(b"250 x\r\n")
                    sock.shutdown(socket.SHUT_WR)
                    gone.set()
                    heard.extend(b"%d late %s" % (at, line[:4]) for line in lines)

        server = threading.Thread(target=serve, daemon=True)
        server.start()
        message = b"From: ann@example.com\nTo: bob@example.org\n\nhello\n"
        with face.client(f"smtp://127.0.0.1:{listener.getsockname()[1]}?tls=off") as client:
            client.send(message)
            assert gone.wait(5)
            face.settle()
            client.send(message)
        server.join(5)
    assert [line for line in heard if line.startswith(b"0 late")] == []
    assert b"1 MAIL" in heard


def test_what_is_still_sent_when_the_client_is_closed_is_sent(face: Face, smtp_server: SmtpServer) -> None:
    reached = threading.Event()
    smtp_server.script("DATA", lambda line: reached.set(), delay=0.05)
    with face.client(smtp_server.url) as client:
        sent = client.begin()
        assert reached.wait(5)
        client.close()
        assert sent.result().accepted
    assert smtp_server.commands[-1] == "QUIT"


def test_a_check_says_who_is_there_and_keeps_the_session(face: Face, make_smtp_server: Make) -> None:
    server = make_smtp_server(tls="starttls", users={"ann": "secret"})
    with face.client(server.url, auth=("ann", "secret"), tls_context=server.tls_context) as client:
        found = client.check()
        assert (found.host, found.address, found.is_authenticated) == ("127.0.0.1", "127.0.0.1", True)
        assert found.tls.startswith("TLSv1")
        assert "PIPELINING" in found.extensions
        client.send()
    assert server.connections == 1
    stranger = face.client(server.url, auth=("ann", "x"), tls_context=server.tls_context)
    with pytest.raises(waymail.AuthenticationFailed):
        stranger.check()


# --- time


@pytest.mark.parametrize(
    ("moment", "timeouts", "error"),
    [
        ("GREETING", Timeouts(greeting=0.04), waymail.ConnectionFailed),
        ("EHLO", Timeouts(command=0.04), waymail.ConnectionFailed),
        ("STARTTLS", Timeouts(command=0.04), waymail.TlsError),
        ("TLS", Timeouts(tls=0.04), waymail.TlsError),
        ("RCPT", Timeouts(command=0.04), waymail.Disconnected),
        ("DATA", Timeouts(data=0.04), waymail.Disconnected),
        ("END", Timeouts(final=0.04), waymail.UncertainDelivery),
        ("END", Timeouts(total=0.1), waymail.UncertainDelivery),
        ("AUTH", Timeouts(total=0.1), waymail.ConnectionFailed),
    ],
)
def test_each_step_has_its_time(
    face: Face, make_smtp_server: Make, moment: str, timeouts: Timeouts, error: type[waymail.SMTPError]
) -> None:
    server = make_smtp_server(tls="starttls", users={"ann": "secret"}, extensions=["8BITMIME"])
    server.script(moment, hang=True)
    with pytest.raises(waymail.SMTPError) as caught:
        face.send(server.url, auth=("ann", "secret"), tls_context=server.tls_context, timeout=timeouts)
    assert type(caught.value) is error


def test_the_reply_to_data_has_its_own_time_also_behind_those_to_a_group(face: Face, smtp_server: SmtpServer) -> None:
    smtp_server.script("DATA", hang=True)
    began = time.monotonic()
    with pytest.raises(waymail.Disconnected, match="no answer in time"):
        face.send(smtp_server.url, timeout=Timeouts(data=0.04, command=20))
    assert time.monotonic() - began < 10


def test_a_host_that_takes_no_connection_is_given_up_in_time(face: Face) -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting = [socket.socket() for _ in range(3)]  # more than its queue holds
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        with pytest.raises(waymail.ConnectionFailed) as caught:
            face.send(f"smtp://127.0.0.1:{full.getsockname()[1]}", timeout=Timeouts(connect=0.05))
        assert caught.value.why == "timed out"
        for one in waiting:
            one.close()


@pytest.mark.parametrize("moment", ["QUIT", "END"])
def test_a_server_that_is_silent_at_quit_does_not_keep_a_send_past_its_time(
    face: Face, smtp_server: SmtpServer, moment: str
) -> None:
    smtp_server.script("QUIT", hang=True)
    if moment == "END":
        smtp_server.script("MAIL", "550 5.7.1 no")
    with face.client(smtp_server.url, pool=Pool(messages=1), timeout=0.1) as client:
        for _ in range(2):
            if moment == "QUIT":
                client.send()
            else:
                with pytest.raises(waymail.SenderRefused):
                    client.send()


# --- of one face alone


def test_a_client_of_another_loop_is_refused(loop: LoopThread, smtp_server: SmtpServer) -> None:
    other = LoopThread("tests.client.other")
    other.start()
    client = waymail.Client(smtp_server.url)
    loop.run(client.send(MESSAGE))
    with pytest.raises(RuntimeError, match="another event loop"):
        other.run(client.send(MESSAGE))
    loop.run(client.close())
    other.stop()


def test_a_token_that_does_not_come_is_not_waited_for(loop: LoopThread, make_smtp_server: Make) -> None:
    async def token() -> str:
        await never.wait()
        return ""

    async def sent() -> None:
        auth = waymail.Credentials("ann", token=token)
        await waymail.send(MESSAGE, server.url, auth=auth, tls_context=server.tls_context, timeout=0.1)

    never = asyncio.Event()
    server = make_smtp_server(tls="starttls", users={"ann": "x"}, mechanisms=["OAUTHBEARER"])
    with pytest.raises(waymail.AuthenticationFailed, match="in time"):
        loop.run(sent())


def test_after_a_fork_the_child_has_connections_of_its_own(smtp_server: SmtpServer) -> None:
    with waymail.sync.Client(smtp_server.url) as client:
        client.send(MESSAGE)
        child = os.fork()
        if child == 0:
            try:
                client.send(MESSAGE)
                client.close()
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        client.send(MESSAGE)
    assert [mail.connection for mail in smtp_server.messages] == [1, 2, 1]
