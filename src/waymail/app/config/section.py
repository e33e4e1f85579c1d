"""What every table of the configuration is made of."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


def default(value: Any) -> Any:
    """A key that may be left out; `value` is what the file would have to say for the same effect."""
    return Field(default=value, validate_default=True)


def optional() -> Any:
    """A key that may be left out, and is None then."""
    return Field(default=None)


class Section(BaseModel):
    """A table of the file."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True, hide_input_in_errors=True)
