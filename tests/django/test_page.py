"""The examples of docs/django.md do what they say, sent to a server of the test's."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.core import mail
from django.utils.module_loading import import_string

from waymail.testing import SmtpServer

PAGE = Path(__file__).parents[2] / "docs" / "django.md"


def snippets(kind: str) -> list[str]:
    return re.findall(rf"^```python {kind}\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)


def run(text: str, server: SmtpServer) -> dict[str, Any]:
    """The upper-case names that the example sets, its server being the test's."""
    text = text.replace("@mail.example.org", f"@{server.address}").replace("mail.example.org", server.host)
    names: dict[str, Any] = {}
    exec(text.replace("587", str(server.port)), names)  # noqa: S102 - it is our own page
    return names


def trusting(names: dict[str, Any], server: SmtpServer) -> dict[str, Any]:
    """The settings of the example, with the test's certification authority."""
    found = {name: value for name, value in names.items() if name.isupper()}
    if "WAYMAIL_OUTBOX" in found:
        return found | {"WAYMAIL_OUTBOX": {"path": found["WAYMAIL_OUTBOX"], "tls_context": server.tls_context}}
    return found | {"WAYMAIL_CLIENT": {**found.get("WAYMAIL_CLIENT", {}), "tls_context": server.tls_context}}


@pytest.fixture
def server(smtp_server: SmtpServer) -> SmtpServer:
    smtp_server.configure(tls="starttls", users={"ann": "secret"})
    return smtp_server


def test_no_example_is_left_out() -> None:
    assert (
        PAGE.read_text().count("```python") == 7 == sum(len(snippets(kind)) for kind in ("settings", "code", "mailers", "test"))
    )


@pytest.mark.parametrize("text", snippets("settings"), ids=["django", "url", "outbox"])
def test_with_the_settings_mail_is_sent(text: str, project_with: Any, server: SmtpServer) -> None:
    project_with(**{"EMAIL_HOST": "gone.invalid", **trusting(run(text, server), server)})
    assert mail.send_mail("Hello", "x", None, ["bob@example.net"]) == 1
    [received] = server.wait_for(1, timeout=10)
    assert (received.user, received.tls[:3]) == ("ann", "TLS")
    _end(mail.get_connection())


def test_each_mailer_sends(project_with: Any, server: SmtpServer) -> None:
    project_with(EMAIL_HOST="gone.invalid")
    mailers = run(snippets("mailers")[0], server)["MAILERS"]
    assert list(mailers) == ["default", "codes"]
    for number, (alias, mailer) in enumerate(mailers.items(), 1):
        backend = import_string(mailer["BACKEND"])(alias=alias, tls_context=server.tls_context, **mailer["OPTIONS"])
        assert backend.send_messages([mail.EmailMessage("Hello", "x", to=["bob@example.net"])]) == 1
        server.wait_for(number, timeout=10)
        _end(backend)


def test_the_code_tells_what_became_of_it(project_with: Any, smtp_server: SmtpServer, capsys: pytest.CaptureFixture[str]) -> None:
    project_with()
    text = snippets("code")[0]
    smtp_server.script("RCPT TO:<gone@", "550 5.1.1 no such user")
    run(text, smtp_server)
    smtp_server.script("END", lose_reply=True)
    run(text, smtp_server)
    assert capsys.readouterr().out.splitlines() == [
        "gone@example.net 550 5.1.1 no such user",
        "sent, but the answer was lost: once more may be twice",
    ]


def test_mail_is_sent_when_the_transaction_is_committed(smtp_server: SmtpServer) -> None:
    text = snippets("code")[1].replace("transaction.on_commit", "with transaction.atomic():\n    transaction.on_commit", 1)
    program = f"""
import django
from django.conf import settings
settings.configure(
    DATABASES={{"default": {{"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}}},
    EMAIL_BACKEND="waymail.django.EmailBackend",
    WAYMAIL_URL={smtp_server.url!r},
)
django.setup()
{text}"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=30)
    assert len(smtp_server.messages) == 1


def test_the_test_passes(project_with: Any, smtp_server: SmtpServer) -> None:
    project_with()
    run(snippets("test")[0], smtp_server)["test_the_welcome_arrives"](smtp_server)


def _end(backend: Any) -> None:
    if hasattr(backend, "outbox"):
        backend.outbox.close()
