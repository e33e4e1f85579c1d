"""What a client is answered where a program takes the mail, and what the program gets."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import smtplib
import threading
from typing import Any

import pytest
from tests.embedded.conftest import Connect, Inbox, Serve
from tests.server.real_sockets import code

import waymail
from waymail.delivery.handler import Reject, Retry
from waymail.server.policy import Client, Decision, Recipient, Sender
from waymail.wire.replies import Reply

ENVELOPE = ("MAIL FROM:<ann@example.org>", "RCPT TO:<bob@example.net>", "DATA")
CONTENT = ("Subject: hi", "", "hello", ".")


def test_the_program_gets_envelope_and_octets_and_the_client_a_250(serve: Serve) -> None:
    inbox = Inbox()
    server = serve(inbox, hostname="mx.example.net")
    with smtplib.SMTP("127.0.0.1", server.port, "c.example.org") as client:
        client.sendmail("ann@example.org", ["bob@example.net", "eve@example.net"], b"Subject: hi\r\n\r\n.dot\r\n")
    [mail] = inbox.mails
    assert (mail.sender, mail.recipients) == ("ann@example.org", ("bob@example.net", "eve@example.net"))
    assert inbox.contents == [b"Subject: hi\r\n\r\n.dot\r\n"]
    assert mail.raw().startswith(b"Received: from c.example.org ([127.0.0.1])")
    assert b"by mx.example.net" in mail.raw()
    assert mail.raw().endswith(inbox.contents[0])
    assert mail.email()["Subject"] == mail.view().subject == mail.header("subject") == "hi"
    assert mail.client == Client("127.0.0.1", "c.example.org")


def test_the_250_comes_after_the_hook_has_returned(serve: Serve, connect: Connect) -> None:
    entered, go_on = threading.Event(), threading.Event()

    def message(mail: waymail.IncomingMail) -> None:
        entered.set()
        go_on.wait(5)

    client = connect(serve(message))
    client.say(*ENVELOPE)
    client.send(*CONTENT)
    assert entered.wait(5)
    client.socket.settimeout(0.05)
    with pytest.raises(TimeoutError):
        client.reply()
    client.socket.settimeout(5)
    go_on.set()
    assert code(client.reply()) == "250 2.0.0"


class Choosy:
    """Answers at each hook as its table says; plain functions and asynchronous ones take turns."""

    def __init__(self, **answers: Any) -> None:
        self.answers = answers
        self.asked: list[tuple[str, Any]] = []

    def _answer(self, hook: str, what: Any) -> Any:
        self.asked.append((hook, what))
        answer = self.answers.get(hook)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def connect(self, client: Client) -> Any:
        return self._answer("connect", client)

    async def mail(self, mail: Sender) -> Any:
        return self._answer("mail", mail)

    def rcpt(self, rcpt: Recipient) -> Any:
        return self._answer("rcpt", rcpt)

    async def message(self, mail: waymail.IncomingMail) -> Any:
        return self._answer("message", mail)


def test_each_hook_is_asked_with_what_is_known_then(serve: Serve, connect: Connect) -> None:
    program = Choosy()
    client = connect(serve(program))
    client.say(*ENVELOPE)
    assert client.say(".") == ["250 2.0.0"]
    (_, first), (_, mail), (_, rcpt), (_, message) = program.asked
    assert [hook for hook, _ in program.asked] == ["connect", "mail", "rcpt", "message"]
    assert first == Client("127.0.0.1")
    assert (mail.client.helo, mail.address) == ("c.example.org", "ann@example.org")
    assert (rcpt.sender, rcpt.address, rcpt.evidence.ip) == ("ann@example.org", "bob@example.net", "127.0.0.1")
    assert message.evidence.sender == "ann@example.org"


NO = waymail.reject(550, "5.7.1", "no")


@pytest.mark.parametrize(
    ("hook", "answer", "codes"),
    [
        ("mail", NO, ["550 5.7.1", "503 5.5.1", "503 5.5.1"]),
        ("mail", Retry("later"), ["451 4.3.0", "503 5.5.1", "503 5.5.1"]),
        ("rcpt", NO, ["250 2.1.0", "550 5.7.1", "554 5.5.1"]),
        ("rcpt", Reject("gone", enhanced="5.1.6"), ["250 2.1.0", "550 5.1.6", "554 5.5.1"]),
        ("rcpt", ValueError("a bug"), ["250 2.1.0", "451 4.3.0", "554 5.5.1"]),
        ("rcpt", waymail.accept(), ["250 2.1.0", "250 2.1.5", "354"]),
        ("rcpt", waymail.discard(), ["250 2.1.0", "451 4.3.0", "554 5.5.1"]),  # which is for messages
    ],
)
def test_what_a_hook_says_before_the_content_is_what_the_client_is_told(
    serve: Serve, connect: Connect, hook: str, answer: Any, codes: list[str]
) -> None:
    assert connect(serve(Choosy(**{hook: answer}))).say(*ENVELOPE) == codes


def test_a_client_that_is_refused_when_it_connects_is_told_554(serve: Serve) -> None:
    with pytest.raises(smtplib.SMTPConnectError, match="554"):
        smtplib.SMTP("127.0.0.1", serve(Choosy(connect=NO)).port)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (None, "250 2.0.0"),
        (waymail.accept(), "250 2.0.0"),
        (waymail.discard("spam"), "250 2.0.0"),
        (NO, "550 5.7.1"),
        (waymail.defer(452, "4.2.2", "full"), "452 4.2.2"),
        (Reject("no"), "550 5.7.1"),
        (Retry("later"), "451 4.3.0"),
        (OSError("disk"), "451 4.3.0"),
        (SystemExit(1), "451 4.3.0"),
        ("250 OK", "451 4.3.0"),
        (Reply(250, "yes"), "451 4.3.0"),
        (waymail.quarantine("odd"), "451 4.3.0"),
    ],
)
def test_what_is_said_of_the_message_is_what_the_client_is_told(
    serve: Serve, connect: Connect, answer: Any, expected: str
) -> None:
    client = connect(serve(Choosy(message=answer)))
    client.say(*ENVELOPE)
    client.send(*CONTENT)
    assert code(client.reply()) == expected
    assert client.say("NOOP") == ["250 2.0.0"]


def test_a_hook_that_fails_is_in_the_log_with_its_trace(serve: Serve, connect: Connect, caplog: pytest.LogCaptureFixture) -> None:
    client = connect(serve(Choosy(message=ZeroDivisionError("by design"))))
    client.say(*ENVELOPE)
    assert client.say(".") == ["451 4.3.0"]
    [record] = [one for one in caplog.records if one.levelno == logging.ERROR]
    assert record.exc_info is not None
    assert record.exc_info[0] is ZeroDivisionError


@pytest.mark.parametrize(("hook", "answer"), [("rcpt", "550 5.1.2 no"), ("message", "250 OK")])
def test_where_a_hook_answers_with_the_line_of_a_reply_the_log_says_what_to_answer_with(
    serve: Serve, connect: Connect, caplog: pytest.LogCaptureFixture, hook: str, answer: str
) -> None:
    client = connect(serve(Choosy(**{hook: answer})))
    client.say(*ENVELOPE)
    client.say(".")
    [record] = [one for one in caplog.records if one.levelno == logging.ERROR]
    fields: dict[str, str] = record.__dict__["fields"]
    assert fields["hook"] == hook
    said, _, advice = fields["error"].partition(": answer with ")
    assert said == f"it answered '{answer}'"
    for call in re.findall(r"waymail\.\w+\([^)]*\)", advice):
        eval(call)  # noqa: S307 - it can be written down like that
    assert all(one in advice for one in ("waymail.reject(", "waymail.accept()", "or None"))
    assert ("waymail.discard()" in advice) == (hook == "message")


def test_a_hook_that_takes_too_long_defers(serve: Serve, connect: Connect) -> None:
    client = connect(serve(lambda mail: asyncio.sleep(60), timeout=0.05))
    client.say(*ENVELOPE)
    assert client.say(".") == ["451 4.3.0"]


def test_a_client_that_leaves_in_data_leaves_nothing_behind(serve: Serve, connect: Connect) -> None:
    inbox = Inbox()
    server = serve(inbox)
    client = connect(server)
    client.say(*ENVELOPE)
    client.send("x" * 70, *["y" * 70] * 2000)  # enough for a file
    client.close()
    again = connect(server)
    again.say(*ENVELOPE)
    assert again.say(".") == ["250 2.0.0"]
    assert inbox.contents == [b""]


def test_a_client_that_leaves_while_the_hook_works_does_not_interrupt_it(serve: Serve, connect: Connect) -> None:
    entered, go_on, done = threading.Event(), asyncio.Event(), threading.Event()

    async def handle(mail: waymail.IncomingMail) -> None:
        entered.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.1):
                await go_on.wait()
        done.set()

    client = connect(serve(handle))
    client.say(*ENVELOPE)
    client.send(*CONTENT)
    assert entered.wait(5)
    client.close()
    assert done.wait(5)


def test_a_pipelined_group_is_answered_in_order(serve: Serve, connect: Connect) -> None:
    class Policy(waymail.Policy):
        async def rcpt(self, rcpt: Recipient) -> Decision | None:
            await asyncio.sleep(0)
            return NO if rcpt.address.startswith("old") else None

        def message(self, message: Any) -> None:
            assert message.recipients == ("bob@example.net",)

    client = connect(serve(Policy()))
    said = client.say("MAIL FROM:<ann@example.org>", "RCPT TO:<old@example.net>", "RCPT TO:<bob@example.net>", "DATA")
    assert said == ["250 2.1.0", "550 5.7.1", "250 2.1.5", "354"]
    assert client.say(".", "NOOP") == ["250 2.0.0", "250 2.0.0"]


def test_chunks_and_addresses_beyond_ascii_come_as_they_are(serve: Serve, connect: Connect) -> None:
    inbox = Inbox()
    client = connect(serve(inbox))
    client.say("MAIL FROM:<ännchen@example.org> SMTPUTF8 BODY=BINARYMIME", "RCPT TO:<böb@example.net>")
    client.socket.sendall(b"BDAT 5\r\n\r\n\x00\r\nBDAT 3 LAST\r\n\n\xffx")
    assert [code(client.reply()), code(client.reply())] == ["250 2.0.0", "250 2.0.0"]
    assert inbox.contents == [b"\r\n\x00\r\n\n\xffx"]
    assert (inbox.mails[0].sender, inbox.mails[0].recipients) == ("ännchen@example.org", ("böb@example.net",))
    assert inbox.mails[0].envelope.body == "BINARYMIME"


def test_a_message_above_the_size_is_refused(serve: Serve, connect: Connect) -> None:
    client = connect(serve(Inbox(), size=1000))
    assert client.say("MAIL FROM:<> SIZE=1001") == ["552 5.3.4"]
    client.say(*ENVELOPE)
    client.send("x" * 998, "y" * 10, ".")
    assert code(client.reply()) == "552 5.3.4"


def test_what_the_program_does_not_undertake_is_not_offered(serve: Serve) -> None:
    def offered(**settings: Any) -> set[str]:
        with smtplib.SMTP("127.0.0.1", serve(Inbox(), **settings).port) as client:
            client.ehlo()
            return set(client.esmtp_features)

    assert offered().isdisjoint({"dsn", "deliverby", "mt-priority", "auth", "starttls", "requiretls"})
    assert offered(extensions=["DSN"]) - offered() == {"dsn"}


def test_dsn_options_are_in_the_envelope_where_the_program_undertakes_them(serve: Serve, connect: Connect) -> None:
    inbox = Inbox()
    client = connect(serve(inbox, extensions=["DSN"]))
    client.say("MAIL FROM:<ann@example.org> RET=HDRS ENVID=a1", "RCPT TO:<bob@example.net> NOTIFY=SUCCESS", "DATA")
    client.say(".")
    envelope = inbox.mails[0].envelope
    assert (envelope.options.ret, envelope.options.envid, envelope.recipients[0].notify) == ("HDRS", "a1", "SUCCESS")


BOTH = (
    "MAIL FROM:<ann@example.org>",
    "RCPT TO:<bob@example.net>",
    "RCPT TO:<eve@example.net>",
    "RCPT TO:<bob@EXAMPLE.NET>",
    "DATA",
)


def test_lmtp_answers_each_recipient_by_itself_in_the_order_of_rcpt(serve: Serve, connect: Connect) -> None:
    inbox = Inbox({"bob@example.net": None, "eve@example.net": waymail.reject(552, "5.2.2", "full")})
    client = connect(serve(inbox, lmtp=True))
    client.say(*BOTH)
    client.send(*CONTENT)
    assert [code(client.reply()) for _ in range(3)] == ["250 2.0.0", "552 5.2.2", "250 2.0.0"]
    assert inbox.mails[0].recipients == ("bob@example.net", "eve@example.net")
    assert client.say("NOOP") == ["250 2.0.0"]


def test_lmtp_repeats_an_answer_that_is_for_all(serve: Serve, connect: Connect) -> None:
    client = connect(serve(Inbox(NO), lmtp=True))
    client.say(*BOTH)
    client.send(*CONTENT)
    assert [code(client.reply()) for _ in range(3)] == ["550 5.7.1"] * 3


def test_a_recipient_without_an_answer_is_deferred(serve: Serve, connect: Connect) -> None:
    client = connect(serve(Inbox({"bob@example.net": None}), lmtp=True))
    client.say(*BOTH)
    client.send(*CONTENT)
    assert [code(client.reply()) for _ in range(3)] == ["250 2.0.0", "451 4.3.0", "250 2.0.0"]


@pytest.mark.parametrize(("second", "expected"), [(None, "250 2.0.0"), (NO, "451 4.3.0")])
def test_over_smtp_answers_for_each_have_to_agree(serve: Serve, connect: Connect, second: Decision | None, expected: str) -> None:
    client = connect(serve(Inbox({"bob@example.net": None, "eve@example.net": second})))
    client.say(*BOTH)
    assert client.say(".") == [expected]


def test_a_program_at_a_unix_socket_is_reached_over_lmtp(serve: Serve, connect: Connect, tmp_path: Any) -> None:
    inbox = Inbox()
    server = serve(inbox, f"unix:{tmp_path}/in", lmtp=True)
    assert server.url == f"lmtp:{tmp_path}/in"
    client = connect(server)
    client.say(*ENVELOPE)
    assert client.say(".") == ["250 2.0.0"]
    with pytest.raises(RuntimeError, match="no port"):
        _ = server.port
