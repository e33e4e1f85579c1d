"""SASLprep (RFC 4013): the one form in which user names and passwords are compared and hashed.

Two keyboards may send different code points for what a person sees as the same password. `saslprep` maps both to one string,
or raises `PreparationProblem` where a string holds what no name or password may hold. The tables are those of RFC 3454, which
are defined over Unicode 3.2; later characters are "unassigned" and pass in a query, but not in what is stored.
"""

from __future__ import annotations

import stringprep
from collections.abc import Callable
from unicodedata import ucd_3_2_0

# RFC 4013 §2.3. C.1.2 is among them, although §2.1 maps it away: normalisation could bring it back.
PROHIBITED: tuple[tuple[Callable[[str], bool], str], ...] = (
    (stringprep.in_table_c21_c22, "a control character"),
    (stringprep.in_table_c12, "a space that is not U+0020"),
    (stringprep.in_table_c3, "a private-use character"),
    (stringprep.in_table_c4, "a noncharacter"),
    (stringprep.in_table_c5, "a surrogate"),
    (stringprep.in_table_c6, "a character not for plain text"),
    (stringprep.in_table_c7, "a character not for canonical representation"),
    (stringprep.in_table_c8, "a character that changes the display"),
    (stringprep.in_table_c9, "a tagging character"),
)


class PreparationProblem(ValueError):
    """The string cannot be a user name or a password. The text says why, without repeating the string."""


def saslprep(text: str, *, stored: bool = False) -> str:
    """The prepared form of `text`. `stored` is true for what is going to be kept (RFC 3454 §7).

    Raises PreparationProblem where the result would be empty or holds what RFC 4013 §2.3-2.5 prohibits.
    """
    prepared = text if text.isascii() else _normalised(text)
    if not prepared:
        raise PreparationProblem("it is empty")
    for character in prepared:
        for is_prohibited, what in PROHIBITED:
            if is_prohibited(character):
                raise PreparationProblem(f"it holds {what}")
    if not prepared.isascii():
        _check_direction(prepared)
        if stored and any(map(stringprep.in_table_a1, prepared)):
            raise PreparationProblem("it holds a character newer than Unicode 3.2, which programs do not agree on")
    return prepared


def _normalised(text: str) -> str:
    """RFC 4013 §2.1, §2.2: other spaces become U+0020, soft hyphens and the like vanish; then NFKC."""
    # U+200B is in both tables; the spaces come first, as in the RFC.
    spaced = (" " if stringprep.in_table_c12(character) else character for character in text)
    return ucd_3_2_0.normalize("NFKC", "".join(character for character in spaced if not stringprep.in_table_b1(character)))


def _check_direction(text: str) -> None:
    """RFC 3454 §6: a string with right-to-left letters has no left-to-right ones, and begins and ends with the former."""
    if not any(map(stringprep.in_table_d1, text)):
        return
    if any(map(stringprep.in_table_d2, text)):
        raise PreparationProblem("it mixes right-to-left and left-to-right letters")
    if not (stringprep.in_table_d1(text[0]) and stringprep.in_table_d1(text[-1])):
        raise PreparationProblem("right-to-left letters must stand first and last in it")
