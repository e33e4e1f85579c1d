from __future__ import annotations

import logging
import logging.config
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import waymail
import waymail.sync
from waymail.logging import MailHandler
from waymail.testing import SmtpServer

Logging = Callable[..., logging.Logger]


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    found = logging.Logger("shop")  # noqa: LOG001 - one that no other test has
    yield found
    for handler in found.handlers:
        handler.close()


@pytest.fixture
def mailing(smtp_server: SmtpServer, logger: logging.Logger) -> Logging:
    """Makes the logger mail its records to the server, each one at once."""

    def start(url: Any = None, **arguments: Any) -> logging.Logger:
        whole: dict[str, Any] = {"sender": "shop@example.org", "to": "ann@example.org", "gather": 0, "digest": 0}
        logger.addHandler(MailHandler(url or smtp_server.url, **whole | arguments))
        return logger

    return start


def test_an_error_is_mailed_with_its_traceback(mailing: Logging, smtp_server: SmtpServer) -> None:
    log = mailing(to=["ann@example.org", ("Bob", "bob@example.org")])
    try:
        raise KeyError("missing")
    except KeyError:
        log.exception("order %d failed", 4711)
    log.warning("that is nothing")
    [mail] = smtp_server.wait_for(1)
    assert mail.recipients == ("ann@example.org", "bob@example.org")
    assert mail.subject.startswith("ERROR on ")
    assert mail.subject.endswith(": order 4711 failed")
    assert " ERROR shop: order 4711 failed\n" in mail.text
    assert "\nKeyError: 'missing'\n" in mail.text
    assert mail["Auto-Submitted"] == "auto-generated"


def test_what_is_gathered_goes_as_one_mail_at_flush(mailing: Logging, smtp_server: SmtpServer) -> None:
    log = mailing(gather=60)
    for number in range(500):
        log.error("order %d failed", number)
    log.critical("no room on the disk")
    log.handlers[0].flush()
    [mail] = smtp_server.messages
    assert mail.subject.endswith(": no room on the disk (and 500 more)")
    assert "500 times, " in mail.text


def test_who_logs_does_not_wait_for_a_server_that_is_silent(
    mailing: Logging, smtp_server: SmtpServer, capsys: pytest.CaptureFixture[str]
) -> None:
    smtp_server.script("GREETING", hang=True)
    log = mailing(timeout=0.2)
    log.error("one")
    log.error("two")
    log.handlers[0].flush()
    log.handlers[0].close()
    told = capsys.readouterr().err
    assert "not mailed yet: ConnectionFailed: " in told
    assert " ERROR shop: one\n" in told
    assert " ERROR shop: two\n" in told


def test_a_server_that_is_back_gets_at_the_end_what_waits(
    mailing: Logging, smtp_server: SmtpServer, capsys: pytest.CaptureFixture[str]
) -> None:
    smtp_server.stop()
    log = mailing(gather=60)
    log.error("one")
    log.handlers[0].flush()
    smtp_server.start()
    time.sleep(0.6)  # longer than it takes to be refused a connection
    log.handlers[0].close()
    [mail] = smtp_server.messages
    assert mail.subject.endswith(": one")
    assert "ERROR shop: one" not in capsys.readouterr().err


def test_the_end_does_not_wait_again_for_a_server_that_was_just_silent(mailing: Logging, smtp_server: SmtpServer) -> None:
    smtp_server.script("GREETING", hang=True)
    log = mailing(timeout=0.3, gather=60)
    log.error("one")
    log.handlers[0].flush()
    log.handlers[0].close()
    assert smtp_server.connections == 1


def test_what_is_refused_for_now_goes_with_the_next_mail(
    mailing: Logging, smtp_server: SmtpServer, capsys: pytest.CaptureFixture[str]
) -> None:
    smtp_server.script("MAIL", "451 4.3.2 later", times=1)
    log = mailing(gather=60)
    log.error("one")
    log.handlers[0].flush()
    assert "not mailed yet: SenderRefused: " in capsys.readouterr().err
    log.error("two")
    log.handlers[0].flush()
    [mail] = smtp_server.messages
    assert " ERROR shop: one\n" in mail.text
    assert " ERROR shop: two\n" in mail.text


def test_what_is_refused_for_good_is_told_once_and_not_sent_again(
    mailing: Logging, smtp_server: SmtpServer, capsys: pytest.CaptureFixture[str]
) -> None:
    smtp_server.script("MAIL", "550 5.7.1 not you", times=1)
    log = mailing(gather=60)
    log.error("one")
    log.handlers[0].flush()
    assert " ERROR shop: one" in capsys.readouterr().err
    log.error("two")
    log.handlers[0].close()
    [mail] = smtp_server.messages
    assert "shop: one" not in mail.text
    assert capsys.readouterr().err == ""


def test_who_does_not_get_it_is_told(mailing: Logging, smtp_server: SmtpServer, capsys: pytest.CaptureFixture[str]) -> None:
    smtp_server.script("RCPT TO:<gone@", "550 5.1.1 no such user")
    log = mailing(to=["ann@example.org", "gone@example.org"])
    log.error("one")
    log.handlers[0].close()
    assert len(smtp_server.messages) == 1
    assert "not mailed to all: gone@example.org: 550 no such user" in capsys.readouterr().err


def test_after_close_a_record_is_shown(mailing: Logging, smtp_server: SmtpServer, capsys: pytest.CaptureFixture[str]) -> None:
    log = mailing()
    log.handlers[0].close()
    log.error("late")
    assert " ERROR shop: late" in capsys.readouterr().err
    assert smtp_server.connections == 0


@pytest.mark.smtp_server(tls="starttls", users={"ann": "t0ken"})
def test_what_sending_makes_others_log_is_not_mailed(mailing: Logging, smtp_server: SmtpServer, logger: logging.Logger) -> None:
    def token() -> str:
        logger.error("a token was needed")
        return "t0ken"

    log = mailing(auth=waymail.Credentials("ann", token=token), tls_context=smtp_server.tls_context, gather=60)
    log.error("one")
    log.handlers[0].flush()
    log.handlers[0].flush()
    [mail] = smtp_server.messages
    assert "token" not in mail.text


def test_what_waymail_logs_is_not_mailed(mailing: Logging, smtp_server: SmtpServer) -> None:
    handler = mailing().handlers[0]
    for name in ("waymail", "waymail.outbox", "waymailer"):
        handler.handle(logging.LogRecord(name, logging.ERROR, "x.py", 1, "x", (), None))
    handler.close()
    [mail] = smtp_server.messages
    assert " ERROR waymailer: x\n" in mail.text


def test_a_record_that_cannot_be_formatted_breaks_nothing(
    mailing: Logging, smtp_server: SmtpServer, capsys: pytest.CaptureFixture[str]
) -> None:
    log = mailing()
    log.error("%d", "no number")
    log.error("one")
    log.handlers[0].close()
    assert "--- Logging error ---" in capsys.readouterr().err
    assert smtp_server.messages[0].subject.endswith(": one")


def test_filters_and_the_formatter_are_those_of_any_handler(mailing: Logging, smtp_server: SmtpServer) -> None:
    log = mailing(level="INFO", subject="{logger} says {message}")
    log.handlers[0].addFilter(lambda record: record.getMessage() != "secret")
    log.handlers[0].setFormatter(logging.Formatter("<%(message)s>"))
    log.info("secret")
    log.info("hello")
    log.handlers[0].close()
    [mail] = smtp_server.messages
    assert (mail.subject, mail.text.splitlines()[-1]) == ("shop says hello", "<hello>")


def test_one_thread_sends_and_ends_with_the_handler(mailing: Logging, smtp_server: SmtpServer) -> None:
    log = mailing()
    before = set(threading.enumerate())
    log.error("one")
    log.error("two")
    [thread] = set(threading.enumerate()) - before
    assert (thread.name, thread.daemon) == ("waymail-logging", True)
    log.handlers[0].close()
    thread.join(5)
    assert not thread.is_alive()


def test_dictconfig_makes_one(smtp_server: SmtpServer) -> None:
    mail = {
        "class": "waymail.logging.MailHandler",
        "level": "CRITICAL",
        "url": smtp_server.url,
        "sender": ("The shop", "shop@example.org"),
        "to": ["ann@example.org"],
        "timeout": 5,
    }
    logging.config.dictConfig(
        {
            "version": 1,
            "incremental": False,
            "disable_existing_loggers": False,
            "handlers": {"mail": mail},
            "loggers": {"shop.configured": {"handlers": ["mail"]}},
        }
    )
    log = logging.getLogger("shop.configured")
    [handler] = log.handlers
    log.error("one")
    log.critical("two")
    log.removeHandler(handler)
    handler.close()
    assert smtp_server.messages[0].subject.endswith(": two")


def test_an_outbox_takes_its_mails(mailing: Logging, smtp_server: SmtpServer, tmp_path: Path) -> None:
    with waymail.sync.Outbox(tmp_path / "outbox.db", smtp_server.url) as outbox:
        log = mailing(outbox)
        log.error("one")
        [mail] = smtp_server.wait_for(1)
        assert mail.subject.endswith(": one")
        log.handlers[0].close()
        assert outbox.drain(5)


def test_a_client_of_the_program_stays_open(mailing: Logging, smtp_server: SmtpServer) -> None:
    with waymail.sync.Client(smtp_server.url) as client:
        log = mailing(client)
        log.error("one")
        log.handlers[0].close()
        client.send(b"Subject: x\n\n", sender="shop@example.org", recipients="ann@example.org")
    assert smtp_server.connections == 1


PROGRAM = """
import logging, os, sys
import waymail.sync, waymail.logging

def where():
    return waymail.sync.Outbox(sys.argv[2], sys.argv[1]) if len(sys.argv) > 2 else sys.argv[1]

logging.getLogger().addHandler(waymail.logging.MailHandler(where(), sender="shop@example.org", to="ann@example.org", gather=60))
logging.error("before the end, in %s", "the parent")
"""


def run(program: str, *arguments: str) -> str:
    """What it wrote to standard error. Newer Pythons warn of any fork of a program that has threads."""
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", program, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stderr


def test_the_end_of_a_program_mails_what_is_left(smtp_server: SmtpServer) -> None:
    assert run(PROGRAM, smtp_server.url) == ""
    assert smtp_server.messages[0].subject.endswith(": before the end, in the parent")


def test_what_an_outbox_takes_at_the_end_is_there_at_the_next_start(smtp_server: SmtpServer, tmp_path: Path) -> None:
    path = tmp_path / "outbox.db"
    assert run(PROGRAM, smtp_server.url, str(path)) == ""
    with waymail.sync.Outbox(path, smtp_server.url):
        smtp_server.wait_for(1)


FORK = """
logging.getLogger().handlers[0].flush()
logging.error("before the fork")
if os.fork() == 0:
    logging.error("in the child")
    logging.shutdown()
    os._exit(0)
os.wait()
"""


def test_a_forked_child_mails_what_it_has_logged_itself(smtp_server: SmtpServer) -> None:
    assert run(PROGRAM + FORK, smtp_server.url) == ""
    said = sorted(mail.subject.rpartition(": ")[2] for mail in smtp_server.wait_for(3))
    assert said == ["before the end, in the parent", "before the fork", "in the child"]


def test_what_a_forked_child_cannot_put_into_the_outbox_of_its_parent_it_tells(smtp_server: SmtpServer, tmp_path: Path) -> None:
    told = run(PROGRAM + FORK, smtp_server.url, str(tmp_path / "outbox.db"))
    assert "after the fork" in told
    assert "in the child" in told
    with waymail.sync.Outbox(tmp_path / "outbox.db", smtp_server.url):
        mails = smtp_server.wait_for(2)
    said = sorted(mail.subject.rpartition(": ")[2] for mail in mails)
    assert said == ["before the end, in the parent", "before the fork"]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"url": "http://mail.example.org"}, "smtp://"),
        ({"url": 25}, "url is a URL, a waymail.sync.Client or a waymail.sync.Outbox, not int"),
        ({"sender": "nobody"}, "sender: 'nobody' is no address"),
        ({"to": []}, "to: whom are mails for"),
        ({"subject": "{nonsense}"}, "in braces may stand level, logger"),
        ({"hourly": 0}, "hourly and records at least 1"),
        ({"level": "LOUD"}, "LOUD"),
        ({"url": waymail.sync.Client("smtp://127.0.0.1"), "timeout": 5}, "timeout: belongs to the client or outbox"),
    ],
)
def test_what_cannot_be_meant_is_said_at_once(arguments: dict[str, Any], text: str) -> None:
    whole = {"url": "smtp://127.0.0.1", "sender": "shop@example.org", "to": "ann@example.org"} | arguments
    with pytest.raises(ValueError, match=text):
        MailHandler(**whole)
