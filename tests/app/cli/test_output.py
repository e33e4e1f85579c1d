from __future__ import annotations

import io
import sys

import pytest

from waymail.app.cli.output import clean, size_text, span_text, table, time_json, time_text


def test_a_plain_table_is_aligned_and_never_wrapped(capsys: pytest.CaptureFixture[str]) -> None:
    table(("id", "to"), [("1", "x" * 300), ("long-id", "b")])
    assert capsys.readouterr().out == f"ID       TO\n1        {'x' * 300}\nlong-id  b\n"


def test_a_table_on_a_terminal_shows_what_looks_like_markup_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

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
