"""Subaddresses (RFC 5233): "ann+lists@example.org" is the user ann, with the detail "lists". The domain says what separates."""

from __future__ import annotations

from collections.abc import Callable


def split(name: str, separator: str, is_user: Callable[[str], bool] | None) -> tuple[str, str] | None:
    """The user and the detail ("" where there is none) of a mailbox's name; None where nobody is meant.

    A user of exactly this name comes before all others, then the longest: where "-" separates, mary-ann-lists may be Mary Ann's.
    `is_user` None is for domains where anybody is a user: there, the first separator counts. An empty `separator` splits nothing.
    """
    if is_user is not None and is_user(name):
        return name, ""
    cuts = [at for at in range(1, len(name)) if name.startswith(separator, at)] if separator else []
    for at in cuts[:1] if is_user is None else reversed(cuts):
        if is_user is None or is_user(name[:at]):
            return name[:at], name[at + len(separator) :]
    return (name, "") if is_user is None else None
