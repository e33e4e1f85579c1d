"""The plugin, as the pytest of somebody else's project runs it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path

import pytest

PROGRAM = """
import smtplib

def sign_up(server):
    with smtplib.SMTP(server.host, server.port) as client:
        client.sendmail("ann@example.com", ["bob@example.org"], "Subject: Welcome\\r\\n\\r\\nHello\\r\\n")
"""

# The tests of a project that has pytest-asyncio, anyio and pytest-xdist, two processes of which run them.
FILES = {
    # That line was needed once, and does no harm.
    "conftest.py": 'pytest_plugins = ["waymail.testing.plugin"]',
    "test_plain.py": """
from program import sign_up

def test_signup(smtp_server):
    sign_up(smtp_server)
    assert smtp_server.messages[0].subject == "Welcome"

def test_two(make_smtp_server):
    first, second = make_smtp_server(), make_smtp_server(tls="implicit")
    sign_up(first)
    assert (len(first.messages), len(second.messages)) == (1, 0)
    assert second.url.startswith("smtps://")

def test_former_names(dns_zone, waymail_zone, dns_server, waymail_dns, mail_clock, waymail_clock, mail_judge, waymail_judge):
    assert dns_zone is waymail_zone
    assert dns_server is waymail_dns
    assert mail_clock is waymail_clock
    assert mail_judge is waymail_judge
    assert dns_server.zone is dns_zone

def test_that_fails(smtp_server, fake_internet):
    sign_up(smtp_server)
    assert smtp_server.messages[0].subject == "Goodbye"
""",
    "test_marker.py": """
import smtplib
import pytest

def hello(server):
    with smtplib.SMTP(server.host, server.port) as client:
        return client.ehlo()[1]

@pytest.mark.smtp_server(hostname="class.example", size=1000)
class TestMarked:
    def test_of_the_class(self, smtp_server):
        assert hello(smtp_server).startswith(b"class.example")

    @pytest.mark.smtp_server(hostname="own.example")
    def test_of_its_own(self, smtp_server):
        assert hello(smtp_server).startswith(b"own.example")
        assert b"SIZE 1000" in hello(smtp_server)

@pytest.mark.smtp_server(user={"ann": "secret"})
def test_slip(smtp_server):
    pass
""",
    "test_unittest.py": """
import unittest
import pytest
from program import sign_up

class Signup(unittest.TestCase):
    @pytest.fixture(autouse=True)
    def with_server(self, smtp_server):
        self.smtp = smtp_server

    def test_method(self):
        sign_up(self.smtp)
        self.assertEqual(len(self.smtp.messages), 1)
""",
    "test_coroutines.py": """
import asyncio
import pytest
from program import sign_up

@pytest.fixture
def anyio_backend():
    return "asyncio"

async def signed_up(server):
    sending = asyncio.create_task(asyncio.to_thread(sign_up, server))
    [mail] = await server.arrival()
    await sending
    return mail.text

@pytest.mark.asyncio
async def test_of_asyncio(smtp_server, fake_internet):
    assert await signed_up(smtp_server) == "Hello\\n"

@pytest.mark.anyio
async def test_of_anyio(smtp_server, fake_internet):
    assert await signed_up(smtp_server) == "Hello\\n"
""",
    "test_django.py": """
from django.conf import settings
from django.core.mail import EmailMessage, get_connection

settings.configure()

def test_program_in_django(smtp_server):
    smtp = "django.core.mail.backends.smtp.EmailBackend"
    with get_connection(smtp, host=smtp_server.host, port=smtp_server.port) as connection:
        EmailMessage("Welcome", "Hello", "ann@example.com", ["bob@example.org"], connection=connection).send()
    assert smtp_server.messages[0].subject == "Welcome"
""",
    "own/conftest.py": "import pytest\n@pytest.fixture\ndef smtp_server():\n    return 7\n",
    "own/test_own.py": "def test_own_fixture(smtp_server):\n    assert smtp_server == 7\n",
}


def pytest_says(folder: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-c", os.devnull, "--rootdir", str(folder), "-v"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "COV"))}
    environment["PYTHONPATH"] = str(folder)
    options = ["-W", "error", "--strict-markers", *arguments]
    ended = subprocess.run(
        [*command, *options], cwd=folder, capture_output=True, text=True, timeout=50, check=False, env=environment
    )
    return ended.stdout + ended.stderr


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What pytest said of all files."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "own").mkdir()
    (folder / "program.py").write_text(PROGRAM)
    for name, text in FILES.items():
        (folder / name).write_text(text)
    return pytest_says(folder, "-n", "2", "-o", "asyncio_default_fixture_loop_scope=function")


def has_passed(test: str, said: str) -> bool:
    return re.search(rf"::{test} PASSED| PASSED \S+::{test}\s", said) is not None


def test_it_is_an_entry_point_by_the_name_of_its_module() -> None:
    found = [point for point in distribution("waymail").entry_points if point.group == "pytest11"]
    assert [(point.name, point.value) for point in found] == [("waymail.testing.plugin", "waymail.testing.plugin")]


def test_a_run_that_names_no_fixture_imports_nothing_of_waymail_but_the_plugin(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text("""
import sys

def test_nothing():
    names = sorted(name for name in sys.modules if name.startswith(("waymail", "dns.", "cryptography")))
    assert names == ["waymail", "waymail.testing", "waymail.testing.plugin"]
    assert "asyncio" not in sys.modules

def test_that_names_one(smtp_server):
    assert smtp_server.port
""")
    said = pytest_says(tmp_path, "--disable-plugin-autoload", "-p", "waymail.testing.plugin")
    assert has_passed("test_nothing", said), said
    assert has_passed("test_that_names_one", said), said


def test_a_test_needs_to_do_nothing_but_name_the_fixture(said: str) -> None:
    assert has_passed("test_signup", said), said


def test_the_marker_has_options_and_the_nearest_one_decides(said: str) -> None:
    assert has_passed("test_of_the_class", said), said
    assert has_passed("test_of_its_own", said), said


def test_a_slip_in_the_marker_is_told_which_options_there_are(said: str) -> None:
    assert "TypeError: there is no option user of an smtp_server; there are tls, users, " in said, said


def test_servers_are_made_as_many_as_are_needed(said: str) -> None:
    assert has_passed("test_two", said), said


def test_tests_of_unittest_have_it_too(said: str) -> None:
    assert has_passed("test_method", said), said


@pytest.mark.parametrize("runner", ["asyncio", "anyio"])
def test_coroutines_have_it_whoever_runs_them(runner: str, said: str) -> None:
    assert has_passed(rf"test_of_{runner}(\[\w+\])?", said), said


def test_programs_in_django_are_programs(said: str) -> None:
    assert has_passed("test_program_in_django", said), said


def test_several_processes_do_not_meet(said: str) -> None:
    assert "1 failed, 10 passed, 1 error" in said, said
    assert "[gw0]" in said
    assert "[gw1]" in said


def test_what_was_said_is_shown_where_a_test_fails(said: str) -> None:
    assert "What was said at smtp_server ---" in said
    assert "1 C: rcpt to:<bob@example.org>" in said.replace("rcpt TO", "rcpt to")
    assert "What was said at fake_internet ---" in said
    assert "Nobody connected." in said


def test_a_fixture_of_the_project_by_the_same_name_is_the_one_that_counts(said: str) -> None:
    assert has_passed("test_own_fixture", said), said


def test_former_names_are_the_same_fixtures(said: str) -> None:
    assert has_passed("test_former_names", said), said
