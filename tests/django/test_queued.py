from __future__ import annotations

import os
import smtplib
from pathlib import Path
from typing import Any

import pytest
from django.core import mail
from django.core.exceptions import ImproperlyConfigured

import waymail
import waymail.sync
from waymail.django import OutboxBackend
from waymail.testing import SmtpServer

BACKEND = "waymail.django.OutboxBackend"


def note(to: str = "bob@example.net", **others: Any) -> Any:
    return mail.EmailMessage("Hello", "Grüße\n", to=[to], **others)


def test_mail_is_taken_while_the_server_is_away_and_delivered_once_it_is_there(
    project_with: Any, smtp_server: SmtpServer, tmp_path: Path
) -> None:
    smtp_server.stop()
    project_with(EMAIL_BACKEND=BACKEND, WAYMAIL_OUTBOX={"path": "outbox.db", "retry": [0.1]})
    message = note(bcc=["ann@example.net"])
    assert message.send() == 1
    smtp_server.start()
    outbox = mail.get_connection().outbox
    try:
        assert outbox.ticket(message.ticket.id).outcome(10).is_delivered
    finally:
        outbox.close()
    [received] = smtp_server.messages
    assert received.recipients == ("bob@example.net", "ann@example.net")
    assert received.text == "Grüße\n"
    assert (tmp_path / "outbox.db").exists()


def test_backends_that_are_configured_alike_share_one_outbox(project_with: Any) -> None:
    project_with(EMAIL_BACKEND=BACKEND, WAYMAIL_OUTBOX={"path": "outbox.db", "carry": False})
    assert mail.get_connection().outbox is mail.get_connection().outbox
    assert mail.get_connection(host="127.0.0.2").outbox is not mail.get_connection().outbox


def test_a_child_of_fork_has_an_outbox_of_its_own_where_its_parent_had_none_open(
    project_with: Any, smtp_server: SmtpServer
) -> None:
    project_with(EMAIL_BACKEND=BACKEND, WAYMAIL_OUTBOX={"path": "outbox.db", "carry": False})
    connection = mail.get_connection()
    for expected in (0, 3):
        child = os.fork()
        if not child:
            try:
                os._exit(0 if connection.send_messages([note()]) == 1 else 1)
            except RuntimeError as error:
                os._exit(3 if "after the fork" in str(error) else 4)
            finally:
                os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == expected
        if expected == 0:
            connection.send_messages([note()])
    connection.outbox.close()
    with connection.made(waymail.sync.Outbox, carry="thread") as outbox:
        assert outbox.drain(10)
    assert len(smtp_server.messages) == 2


def test_a_mailer_of_its_own_is_configured_by_its_options(project_with: Any, smtp_server: SmtpServer, tmp_path: Path) -> None:
    project_with(EMAIL_HOST="gone.invalid", WAYMAIL_OUTBOX="elsewhere.db")
    backend = OutboxBackend(alias="later", path="outbox.db", url=smtp_server.url)
    try:
        message = note()
        assert backend.send_messages([message, mail.EmailMessage("To nobody")]) == 1
        assert message.ticket.outcome(10).is_delivered
    finally:
        backend.outbox.close()
    assert not (tmp_path / "elsewhere.db").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"url": "mx:"}, "which file"),
        ({"path": "o.db"}, 'say "url" or "host"'),
        ({"path": "o.db", "url": "mx:", "pool": 1}, "unknown option pool: there are .*carry"),
        ({"path": "o.db", "url": "mx:", "expire": 0}, "expire is in seconds"),
    ],
)
def test_what_cannot_be_meant_is_said_when_the_backend_is_made(project_with: Any, arguments: dict[str, Any], words: str) -> None:
    project_with()
    with pytest.raises(ImproperlyConfigured, match=words):
        OutboxBackend(alias="later", **arguments)


def test_a_disk_that_does_not_take_it_is_an_smtpexception(project_with: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    project_with(EMAIL_BACKEND=BACKEND, WAYMAIL_OUTBOX="file/outbox.db")
    with pytest.raises(smtplib.SMTPException) as raised:
        note().send()
    assert isinstance(raised.value.__cause__, waymail.StoreError)
    assert note().send(fail_silently=True) == 0
