from __future__ import annotations

import io
import json
import logging
import re
from collections.abc import Iterator
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waymail import log_lines
from waymail.app import log as logs


@pytest.fixture(autouse=True)
def root_as_before() -> Iterator[None]:
    root, asyncio_log = logging.getLogger(), logging.getLogger("asyncio")
    before = root.handlers[:], root.level, asyncio_log.level
    yield
    root.handlers[:] = before[0]
    root.setLevel(before[1])
    asyncio_log.setLevel(before[2])


def logged(format: Literal["human", "json"], message: str, fields: dict[str, Any] | None = None, **options: Any) -> str:
    stream = io.StringIO()
    logs.configure(format, "info", stream)
    logging.getLogger("waymail.test").info(message, extra={"fields": fields} if fields is not None else None, **options)
    return stream.getvalue()


def test_a_human_line_has_time_level_logger_message_and_fields() -> None:
    line = logged("human", "delivered", {"id": "06b1", "ms": 12, "reply": "250 2.0.0 ok", "to": ["a@x"], "tls": None})
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z info    waymail\.test: delivered +"
        r'id=06b1 ms=12 reply="250 2\.0\.0 ok" to=\["a@x"\] tls=null\n',
        line,
    )


def test_a_human_line_says_when_the_next_attempt_is_as_a_time_and_json_in_seconds() -> None:
    assert logged("human", "deferred", {"next": 1_700_000_000.5, "id": "x"}).rstrip().endswith(" next=2023-11-14T22:13:20Z id=x")
    assert json.loads(logged("json", "deferred", {"next": 1_700_000_000.5}))["next"] == 1_700_000_000.5


def test_a_json_line_is_one_object_with_the_fields_beside_the_rest() -> None:
    entry = json.loads(logged("json", "delivered", {"id": "06b1", "ms": 12.5, "level": "mine", "to": ("a@x",)}))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", entry.pop("time"))
    assert entry == {
        "level": "info",
        "logger": "waymail.test",
        "message": "delivered",
        "id": "06b1",
        "ms": 12.5,
        "level_": "mine",
        "to": ["a@x"],
    }


@pytest.mark.parametrize("format", ["human", "json"])
def test_secrets_do_not_appear(format: Literal["human", "json"]) -> None:
    fields = {
        "password": "hunter2",
        "auth_token": "hunter2",
        "url": "smtp://ann:hunter2@host",
        "command": "AUTH PLAIN hunter2",
        "nested": {"client_secret": "hunter2", "urls": ["smtps://u:hunter2@h"]},
        "raw": b"AUTH LOGIN hunter2",
    }
    line = logged(format, "to smtp://ann:hunter2@host: auth plain hunter2", fields)
    assert "hunter2" not in line
    assert "ann" in line


@pytest.mark.parametrize("format", ["human", "json"])
def test_a_peer_cannot_add_a_line_or_drive_the_terminal(format: Literal["human", "json"]) -> None:
    line = logged(format, "said\nforged", {"text": "a\r\nforged\x1b[2J\u2028b", "list": ["\x1b"]})
    assert line.count("\n") == 1
    assert line.endswith("\n")
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028]", line)


def test_a_traceback_is_set_in_below_the_line_or_in_the_object() -> None:
    try:
        raise ValueError("smtp://u:hunter2@h")
    except ValueError:
        human = logged("human", "failed", exc_info=True)
        entry = json.loads(logged("json", "failed", exc_info=True))
    assert all(row.startswith("    ") for row in human.splitlines()[1:])
    assert "ValueError: smtp://u:***@h" in human
    assert entry["exception"].endswith("ValueError: smtp://u:***@h")


def test_only_what_is_of_the_level_or_above_is_told_and_by_one_handler() -> None:
    first, second = io.StringIO(), io.StringIO()
    logs.configure("human", "debug", first)
    logs.configure("human", "warning", second)
    logging.getLogger("x").info("no")
    logging.getLogger("x").warning("yes")
    assert first.getvalue() == ""
    assert "yes" in second.getvalue()
    assert "no\n" not in second.getvalue()


VALUES = st.one_of(
    st.text(max_size=30),
    st.sampled_from(["250 2.0.0 Ok", "smtp://u:secret@h:25", "AUTH PLAIN abc", 'say "hi"', "a=b", "", "smtp://h:25", "\u2028"]),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.none(),
    st.booleans(),
    st.lists(st.text(max_size=10), max_size=2),
)


@given(
    fields=st.dictionaries(st.sampled_from(["id", "to", "reply", "password", "peer"]), VALUES, max_size=4),
    message=st.text(max_size=30),
)
def test_the_short_way_to_a_line_gives_what_the_long_one_gives(fields: dict[str, object], message: str) -> None:
    record = logging.LogRecord("waymail.x", logging.INFO, "", 0, message, None, None)
    record.fields = fields
    short = log_lines._plain_line(record)
    if short is not None:
        record.msg, record.args = "%s", (message,)  # which the short way leaves to the long one
        assert short == log_lines.HumanFormatter().format(record)


def test_an_ordinary_line_takes_the_short_way() -> None:
    record = logging.LogRecord("waymail.queue", logging.INFO, "", 0, "delivered", None, None)
    record.fields = {
        "id": "35qzpt5p0j005",
        "destination": "smtp://h:25",
        "to": ["b@example.org"],
        "reply": "250 2.0.0 Ok",
        "ms": 1.5,
    }
    assert log_lines._plain_line(record) is not None
