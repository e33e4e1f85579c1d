from __future__ import annotations

import logging
import sys

from waymail.logging.gathered import LONGEST, Gathered, line
from waymail.logging.report import SUBJECT, subject_of, text_of


def record(
    message: str, *args: object, level: int = logging.ERROR, at: int = 7, error: BaseException | None = None
) -> logging.LogRecord:
    trace = (type(error), error, error.__traceback__) if error is not None else None
    return logging.LogRecord("shop", level, "shop.py", at, message, args, trace)


def gathered(*records: logging.LogRecord, most: int = 10) -> Gathered:
    found = Gathered(most)
    for one in records:
        found.add(one, one.getMessage(), f"text of {one.getMessage()}")
    return found


def raised(kind: type[Exception]) -> Exception:
    try:
        raise kind("x")
    except kind as error:
        return error


def test_what_is_logged_with_other_arguments_is_the_same_thing_again() -> None:
    [entry] = gathered(record("order %d failed", 1), record("order %d failed", 2)).entries.values()
    assert (entry.count, entry.text, entry.latest) == (2, "text of order 1 failed", "order 2 failed")


def test_another_line_another_level_and_another_exception_are_other_things() -> None:
    again = record("x", error=raised(KeyError))
    found = gathered(
        record("x"), record("x", at=8), record("x", level=logging.CRITICAL), again, again, record("x", error=raised(OSError))
    )
    assert [entry.count for entry in found.entries.values()] == [1, 1, 1, 2, 1]


def test_what_has_no_place_is_counted() -> None:
    found = gathered(*(record(f"{number}") for number in range(5)), record("0"), most=2)
    assert ([entry.count for entry in found.entries.values()], found.dropped) == ([2, 1], 3)
    assert "3 of them were too many" in text_of(found, "here")


def test_what_is_put_back_goes_before_what_came_since() -> None:
    found = gathered(record("a"), record("b"), most=2)
    older = found.take()
    assert not found
    for one in (record("c"), record("b"), record("c")):
        found.add(one, one.getMessage(), "later")
    found.put_back(older)
    assert {entry.latest: entry.count for entry in found.entries.values()} == {"a": 1, "b": 2}
    assert found.dropped == 2


def test_of_a_long_text_beginning_and_end_are_kept() -> None:
    found = Gathered(1)
    found.add(record("x"), "x", "begin" + "x" * 2 * LONGEST + "end")
    [entry] = found.entries.values()
    assert entry.text.startswith("begin")
    assert entry.text.endswith("end")
    assert len(entry.text) < LONGEST + 100


def test_a_text_has_no_control_characters_and_no_half_ones() -> None:
    found = Gathered(1)
    found.add(record("x"), "x", "a\x1b[31m\tb\r\nc\udc80\n")
    [entry] = found.entries.values()
    assert entry.text == "a\\x1b[31m\tb\nc\\udc80\n"


def test_a_line_is_one_line() -> None:
    assert line(" a\tb\r\nc") == "a b..."
    assert len(line("x" * 1000)) < 210
    assert line("a\udc80\u2028b") == "a  b"


def test_the_subject_is_of_the_gravest_and_counts_the_others() -> None:
    found = gathered(record("a"), record("b\nc", level=logging.CRITICAL), record("a"))
    assert subject_of(SUBJECT, found, "host") == "CRITICAL on host: b... (and 2 more)"
    assert subject_of("{count} of {logger}", gathered(record("a")), "host") == "1 of shop"


def test_the_text_tells_how_often_and_what_the_last_one_said() -> None:
    text = text_of(gathered(record("order %d", 1), record("order %d", 2)), "shop.py, process 1 on host")
    assert text.startswith("2 records (1 different ones), ")
    assert "\ntext of order 1\n\n2 times, " in text
    assert text.endswith(". The last one: order 2")


def test_a_record_made_by_hand_is_taken_as_well() -> None:
    found = Gathered(1)
    one = logging.makeLogRecord({"msg": ["no", "text"], "exc_info": sys.exc_info()})
    found.add(one, one.getMessage(), one.getMessage())
    [entry] = found.entries.values()
    assert entry.latest == "['no', 'text']"
