"""What is wrong with a configuration, as values that a person can act upon."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Problem:
    """`line` is 0 where no line is to blame (the file cannot be read); `key` is "" where no key is."""

    path: Path
    line: int
    key: str
    message: str

    def __str__(self) -> str:
        """FILE:LINE: key: message"""
        place = f"{self.path}:{self.line}" if self.line else str(self.path)
        return ": ".join(part for part in (place, self.key, self.message) if part)


class ConfigError(Exception):
    """A configuration that cannot be used. Holds all problems, in the order of their lines."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)
