"""Macros of SPF (RFC 7208 §7): text of a record, and what it becomes for one message.

`parse` raises ValueError for what the grammar does not allow; what has been parsed can always be expanded.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import quote

from waymail.values import value

TERM_LETTERS = frozenset("slodipvh")
EXPLANATION_LETTERS = TERM_LETTERS | frozenset("crt")  # RFC 7208 §7.2: c, r and t are allowed only in the text of "exp"
LONGEST_NAME = 253

# macro-expand = ( "%{" macro-letter transformers *delimiter "}" ) / "%%" / "%_" / "%-"
_MACRO = re.compile(r"%(?:\{([slodiphcrtv])([0-9]*)(r?)([.\-+,/_=]*)\}|([%_-]))", re.ASCII | re.IGNORECASE)
_LITERAL = {"%": "%", "_": " ", "-": "%20"}
_VISIBLE = re.compile(r"[ -~]*")
# domain-end = ( "." toplabel [ "." ] ) / macro-expand; toplabel has a letter or a hyphen, and no hyphen at either end
_DOMAIN_END = re.compile(r"\.(?:[0-9]*[a-z][a-z0-9]*|[a-z0-9]+-[a-z0-9-]*[a-z0-9])\.?\Z", re.ASCII | re.IGNORECASE)
_MOST_PARTS = 999  # more than any name has


@value
class Macro:
    """One macro-expand with a letter. `parts` right-hand parts are kept; 0 for all of them."""

    letter: str
    is_escaped: bool
    parts: int
    is_reversed: bool
    delimiters: str

    def expand(self, values: Mapping[str, str]) -> str:
        text = values[self.letter]
        if self.parts or self.is_reversed or self.delimiters:
            pieces = re.split(f"[{re.escape(self.delimiters or '.')}]", text)
            if self.is_reversed:
                pieces.reverse()
            text = ".".join(pieces[-self.parts :])
        # RFC 7208 §7.3: upper case escapes all but the "unreserved" of RFC 3986
        return quote(text, safe="", errors="replace") if self.is_escaped else text


@value
class MacroString:
    """A parsed macro-string. `text` is what it was parsed from, `plain` what it says where no letter stands in it, else None."""

    text: str
    parts: tuple[str | Macro, ...]
    letters: frozenset[str]
    plain: str | None

    def expand(self, values: Mapping[str, str], longest: int) -> str:
        """The text with all macros expanded, its first `longest` characters. `values` has a value for each of `letters`."""
        return "".join(_pieces(self.parts, values, longest))[:longest]

    def expand_name(self, values: Mapping[str, str]) -> str:
        """As `expand`, for a question to DNS: without the dot at the end, and cut at the left to 253 octets (§7.3)."""
        if self.plain is not None:
            return _cut(self.plain)
        # From the right: what is further to the left than a name is long cannot be seen in the end.
        pieces = _pieces(self.parts[::-1], values, LONGEST_NAME + 2)
        return _cut("".join(pieces[::-1]))


def _pieces(parts: tuple[str | Macro, ...], values: Mapping[str, str], enough: int) -> list[str]:
    """The parts, expanded, until they have `enough` characters: ten thousand macros cost no more than a few."""
    pieces: list[str] = []
    for part in parts:
        pieces.append(part if isinstance(part, str) else part.expand(values))
        enough -= len(pieces[-1])
        if enough <= 0:
            break
    return pieces


def parse(text: str, letters: frozenset[str] = EXPLANATION_LETTERS) -> MacroString:
    """A macro-string or explain-string with macros of these letters. Raises ValueError."""
    if not _VISIBLE.fullmatch(text):
        raise ValueError("there are characters in it that are not visible ASCII")
    parts: list[str | Macro] = []
    at = 0
    while (percent := text.find("%", at)) >= 0:
        found = _MACRO.match(text, percent)
        if found is None:
            raise ValueError(f"no macro begins with {text[percent : percent + 8]!r}")
        _add_literal(parts, text[at:percent])
        if found[5]:
            _add_literal(parts, _LITERAL[found[5]])
        else:
            parts.append(_macro(found, letters))
        at = found.end()
    _add_literal(parts, text[at:])
    used = frozenset(part.letter for part in parts if isinstance(part, Macro))
    return MacroString(text, tuple(parts), used, None if used else "".join(map(str, parts)))


def parse_domain(text: str) -> MacroString:
    """A domain-spec (RFC 7208 §7.1). Raises ValueError."""
    spec = parse(text, TERM_LETTERS)
    last = 0
    for found in _MACRO.finditer(text):
        last = found.end()
    if not (text and last == len(text)) and not _DOMAIN_END.search(text, last):
        raise ValueError(f"{text!r} is no domain name: it ends in no dot and top-level domain" if text else "a domain is missing")
    return spec


def _macro(found: re.Match[str], letters: frozenset[str]) -> Macro:
    letter = found[1].lower()
    if letter not in letters:
        raise ValueError(f"the macro {found[0]} is for explanations only")
    digits = found[2].lstrip("0")
    if found[2] and not digits:
        raise ValueError(f"the macro {found[0]} keeps no part at all")
    parts = min(int(digits[:4]), _MOST_PARTS) if digits else 0
    return Macro(letter, found[1].isupper(), parts, bool(found[3]), found[4])


def _add_literal(parts: list[str | Macro], text: str) -> None:
    if text:
        parts.append(text)


def _cut(name: str) -> str:
    name = name.removesuffix(".")
    if len(name) <= LONGEST_NAME:
        return name
    # RFC 7208 §7.3: labels go from the left until it fits. Where not even the last one does, nothing is left.
    _, _, rest = name[-LONGEST_NAME - 1 :].partition(".")
    return rest
