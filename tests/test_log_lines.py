"""What a program reads of waymail that has not set up logging, and what one that has."""

from __future__ import annotations

import subprocess
import sys

WARNING = 'logging.getLogger("waymail.queue").warning("deferred", extra={"fields": {"to": "bob@example.org", "password": "x"}})'


def said(*lines: str) -> str:
    program = "\n".join(("import logging", "from waymail import log_lines", *lines, WARNING))
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stderr


def test_without_logging_a_warning_has_its_fields_and_no_secret() -> None:
    [line] = said("log_lines.speak_up()", "log_lines.speak_up()").splitlines()
    assert line.endswith("warning waymail.queue: deferred                 to=bob@example.org password=***")


def test_with_logging_the_program_decides() -> None:
    assert said("log_lines.speak_up()", "logging.basicConfig()") == "WARNING:waymail.queue:deferred\n"
    own = "logging.getLogger('waymail').addHandler(logging.StreamHandler())"
    assert said("log_lines.speak_up()", own) == "deferred\n"


def test_what_is_not_a_warning_is_not_shown() -> None:
    assert said("log_lines.speak_up()", "logging.getLogger('waymail.queue').info('delivered')").count("\n") == 1
