from __future__ import annotations

import io
import re
import sys

import pytest

from waymail.app.cli.output import clean, size_text, span_text, table, time_json, time_text


def test_a_plain_table_is_aligned_and_never_wrapped(capsys: pytest.CaptureFixture[str]) -> None:
    table(("id", "to"), [("1", "x" * 300), ("long-id", "b")])
    assert capsys.readouterr().out == f"ID       TO\n1        {'x' * 300}\nlong-id  b\n"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def drawn(monkeypatch: pytest.MonkeyPatch, room: int, columns: tuple[str, ...], *rows: tuple[str, ...]) -> list[str]:
    """The lines of a table on a terminal with so much room, without its styles."""
    monkeypatch.setenv("COLUMNS", str(room))
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    table(columns, rows)
    return [line.rstrip() for line in re.sub("\x1b\\[[0-9;]*m", "", terminal.getvalue()).splitlines()]


def test_on_a_narrow_terminal_no_cell_is_cut_and_what_does_not_fit_stands_below_its_row(monkeypatch: pytest.MonkeyPatch) -> None:
    row = ("dead.example", "3", "smtp://relay.example:2525", "451 4.4.1 no connection to relay.example")
    lines = drawn(monkeypatch, 40, ("domain", "queued", "goes to", "last reply"), row, ("a.example", "1", "-", "-"))
    assert lines == [
        "DOMAIN        QUEUED",
        "dead.example  3",
        "    goes to     smtp://relay.example:2525",
        "    last reply  451 4.4.1 no connection",
        "                to relay.example",
        "a.example     1",
    ]


def test_where_there_is_room_for_some_of_the_last_column_it_alone_is_wrapped(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = drawn(monkeypatch, 40, ("domain", "last reply"), ("dead.example", "451 4.4.1 no connection to relay.example"))
    assert lines == ["DOMAIN        LAST REPLY", "dead.example  451 4.4.1 no connection to", "              relay.example"]


def test_a_table_on_a_terminal_shows_what_looks_like_markup_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    table(("id", "reply"), [("1", "550 [red]no[/red]")])
    assert "550 [red]no[/red]" in terminal.getvalue()


def test_what_a_peer_said_cannot_drive_the_terminal() -> None:
    assert clean("a\x1b[2J\r\nb\u202e\x9bc\u00e9") == "a\\x1b[2J\\x0d\\x0ab\\x202e\\x9bc\u00e9"


def test_times_spans_and_sizes_are_short() -> None:
    assert time_text(1_700_000_000.9) == "2023-11-14 22:13:20"
    assert time_json(1_700_000_000.5) == "2023-11-14T22:13:20.500Z"
    assert [span_text(seconds) for seconds in (-1, 0.4, 59, 61, 3_600, 90_061)] == ["0s", "0s", "59s", "1m 1s", "1h", "1d 1h"]
    assert [size_text(octets) for octets in (0, 999, 1_000, 4_240, 999_960, 3 * 10**9)] == [
        "0 B",
        "999 B",
        "1.0 KB",
        "4.2 KB",
        "1.0 MB",
        "3.0 GB",
    ]
