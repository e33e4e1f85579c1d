"""Which lines of some files run: a tracer of one page, so that fuzzing needs no other package than its fuzzer.

Lines of functions count and those of modules and classes do not: those ran at import, before anything was traced.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from types import CodeType, FrameType
from typing import Any


class LineCoverage:
    """A context: what runs within it is counted."""

    def __init__(self, files: Iterable[Path]) -> None:
        self._there = {str(file): _lines_of_functions(file) for file in files}
        self._ran: dict[str, set[int]] = {file: set() for file in self._there}

    def __enter__(self) -> None:
        sys.settrace(self._call)

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)

    def _call(self, frame: FrameType, event: str, argument: Any) -> Any:
        return self._line if frame.f_code.co_filename in self._ran else None

    def _line(self, frame: FrameType, event: str, argument: Any) -> Any:
        if event == "line":
            self._ran[frame.f_code.co_filename].add(frame.f_lineno)
        return self._line

    def report(self) -> list[str]:
        """A line for each file of which anything ran."""
        lines = []
        for file, there in sorted(self._there.items()):
            ran = self._ran[file] & there
            if ran:
                missing = " ".join(str(line) for line in sorted(there - ran)[:40])
                lines.append(f"  {Path(file).name:<16}{len(ran):>5} of {len(there):<5}{missing and 'not: '}{missing}")
        return lines


def _lines_of_functions(file: Path) -> set[int]:
    lines: set[int] = set()
    waiting = [compile(file.read_text(), str(file), "exec")]
    while waiting:
        code = waiting.pop()
        waiting += [constant for constant in code.co_consts if isinstance(constant, CodeType)]
        if code.co_flags & 1:  # CO_OPTIMIZED: a function, no class and no module
            lines |= {line for _, _, line in code.co_lines() if line} - {code.co_firstlineno}
    return lines
