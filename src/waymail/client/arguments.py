"""What a program got wrong in an argument is said where it is given, and not where it is used first."""

from __future__ import annotations

from typing import Any


def check_type(given: object, kind: Any, what: str) -> None:
    """Raises TypeError where `given` is not of the `kind`, a class or a union of some. `what` says which argument it is, what it
    takes and an example: "pool is a waymail.Pool, as waymail.Pool(max=5)"."""
    if not isinstance(given, kind):
        raise TypeError(f"{what}, not {type(given).__name__}")
