from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.core import mail
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command

from waymail.testing import SmtpServer

OUTBOX = {"path": "outbox.db", "carry": False}

PROJECT = """
import sys, pathlib, django
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management import execute_from_command_line
settings.configure(
    INSTALLED_APPS=["waymail.django"], EMAIL_BACKEND="waymail.django.OutboxBackend", BASE_DIR=pathlib.Path({folder!r}),
    WAYMAIL_URL={url!r}, WAYMAIL_OUTBOX={outbox!r},
)
django.setup()
execute_from_command_line(["manage.py", "waymail_outbox"])
"""


def test_the_command_delivers_what_waits(project_with: Any, smtp_server: SmtpServer) -> None:
    project_with(EMAIL_BACKEND="waymail.django.OutboxBackend", WAYMAIL_OUTBOX=OUTBOX)
    mail.send_mail("Hello", "x", None, ["bob@example.net"])
    assert smtp_server.messages == []
    call_command("waymail_outbox", drain=True)
    assert len(smtp_server.messages) == 1
    mail.get_connection().outbox.close()


def test_the_command_runs_until_it_is_told_to_end(project_with: Any, smtp_server: SmtpServer, tmp_path: Path) -> None:
    project_with(EMAIL_BACKEND="waymail.django.OutboxBackend", WAYMAIL_OUTBOX=OUTBOX)
    mail.send_mail("Hello", "x", None, ["bob@example.net"])
    text = PROJECT.format(folder=str(tmp_path), url=smtp_server.url, outbox=OUTBOX)
    with subprocess.Popen([sys.executable, "-c", text]) as running:
        smtp_server.wait_for(1, timeout=20)
        mail.send_mail("Hello again", "x", None, ["bob@example.net"])
        smtp_server.wait_for(2, timeout=20)
        os.kill(running.pid, signal.SIGTERM)
        assert running.wait(20) == 0
    mail.get_connection().outbox.close()


def test_where_mail_is_sent_otherwise_the_command_says_so(project_with: Any) -> None:
    project_with()
    with pytest.raises(CommandError, match="which has no outbox"):
        call_command("waymail_outbox")
    with pytest.raises((CommandError, ImproperlyConfigured), match=r"no MAILERS|not configured"):
        call_command("waymail_outbox", using="later")
