"""What people read in a notice, as a value: every text by its name, and what may be put into it.

The value comes from plain data, as a TOML file has it (`notices/en.toml` says what each text is for), and `read` tells all that
is wrong with that. A text is one paragraph; what is put in is named in braces, and nothing else that Python's formats know is
understood. So a text that was read can always be said.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from difflib import get_close_matches
from string import Formatter
from typing import Any

KeyPath = tuple[str | int, ...]
Problem = tuple[KeyPath, str]

MOST = 1000  # characters in a text

# Every text, and what may stand in it.
_TEXTS: Mapping[str, str] = {
    "date": "day month year time",
    "subject.failed": "to",
    "subject.delayed": "to",
    "subject.delivered": "to",
    "subject.relayed": "to",
    "subject.expanded": "to",
    "subject.double_bounce": "to",
    "subject.several": "number",
    "news.greeting": "hostname",
    "news.one": "",
    "news.many": "number",
    "news.failed": "who",
    "news.expired": "who since",
    "news.late": "who by",
    "news.delayed": "who",
    "news.delayed_until": "who until",
    "news.asked_by": "by",
    "news.others": "",
    "news.delivered": "who",
    "news.relayed": "who",
    "news.expanded": "who",
    "news.double_bounce": "who",
    "label.subject": "",
    "label.sent": "",
    "label.happened": "",
    "label.do": "",
    "label.alias": "address",
    "label.alias_do": "",
    "label.given_up": "",
    "label.given_up_do": "",
    "label.said": "host",
    "label.this_server": "",
    "label.last_said": "host",
    "label.last_here": "",
    "label.help": "contact id",
}
_PLAIN = ("language", "sender", "contact")
_SECTIONS = ("subject", "news", "label", "reasons")
_REASON = re.compile(r"[45X](?:\.(?:0|[1-9]\d{0,2})){0,2}", re.ASCII)
_LANGUAGE = re.compile(r"[A-Za-z]{2,8}(?:-[A-Za-z0-9]{1,8})*")


@dataclass(frozen=True, slots=True)
class Reason:
    """What a status code means, and what the sender can do about it, with {domain} in them."""

    what: str
    do: str


@dataclass(frozen=True, slots=True)
class NoticeText:
    """All texts in one language. `language` is its tag (RFC 5646), `sender` the display name in From, `contact` whom to ask for
    help, "" for the postmaster."""

    language: str
    sender: str
    contact: str
    months: tuple[str, ...]
    texts: Mapping[str, str] = field(repr=False)
    reasons: Mapping[str, Reason] = field(repr=False)

    def say(self, name: str, **values: object) -> str:
        """A text, with what belongs into it."""
        return self.texts[name].format(**values)

    def date(self, time: float) -> str:
        """`time`, in seconds since the epoch, as people write it."""
        at = datetime.fromtimestamp(time, UTC)
        return self.say("date", day=at.day, month=self.months[at.month - 1], year=at.year, time=f"{at:%H:%M}")

    def reason(self, status: str, domain: str) -> Reason:
        """What there is to say about a status code: that of the most exact code that is known."""
        code = status.split(".")
        for length in (3, 2, 1):
            for kind in (code[0], "X"):
                if found := self.reasons.get(".".join([kind, *code[1:length]])):
                    return Reason(found.what.format(domain=domain), found.do.format(domain=domain))
        return Reason("", "")


def read(data: Mapping[str, Any], base: NoticeText | None = None) -> tuple[NoticeText, Sequence[Problem]]:
    """The texts in `data`, those that it leaves out from `base`; and what is wrong with it, by key. Without `base` nothing may be
    left out. What is wrong is left out of the value."""
    problems = list(_strangers(data))
    texts: dict[str, str] = {}
    for name, allowed in _TEXTS.items():
        path = tuple(name.split("."))
        section = data if len(path) == 1 else _table(data, path[0])
        if path[-1] in section:
            texts[name] = str(section[path[-1]])
            problems += [(path, message) for message in _wrong(section[path[-1]], allowed.split())]
        elif base is None:
            problems.append((path, "is missing"))
    wrong = {".".join(map(str, path)) for path, _ in problems}
    good = {name: text for name, text in texts.items() if name not in wrong}
    more, of_reasons = _reasons(_table(data, "reasons"), base)
    problems += of_reasons
    plain, of_plain = _plain(data, whole=base is None)
    problems += of_plain
    start = base or NoticeText("en", "", "", ("",) * 12, {}, {})
    made = replace(start, **plain, texts={**start.texts, **good}, reasons={**start.reasons, **more})
    return made, problems


def _table(data: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = data.get(name)
    return found if isinstance(found, dict) else {}


def _strangers(data: Mapping[str, Any]) -> Iterator[Problem]:
    known = {*_PLAIN, "months", *_SECTIONS, *(name for name in _TEXTS if "." not in name)}
    for key, value in data.items():
        if key not in known:
            yield (key,), _unknown(key, known)
        elif key in _SECTIONS and not isinstance(value, dict):
            yield (key,), "must be a table"
        elif key in _SECTIONS and key != "reasons":
            here = [name.partition(".")[2] for name in _TEXTS if name.startswith(f"{key}.")]
            yield from (((key, name), _unknown(name, here)) for name in value if name not in here)


def _unknown(name: str, known: Any) -> str:
    close = get_close_matches(name, sorted(known), n=1)
    return f'no such text; did you mean "{close[0]}"?' if close else f"no such text; here may stand {', '.join(sorted(known))}"


def _wrong(text: object, allowed: Sequence[str], *, may_be_empty: bool = False) -> Iterator[str]:
    """What is wrong with one text."""
    if not isinstance(text, str):
        yield "must be a text, in quotes"
        return
    if not text.strip() and not may_be_empty:
        yield "must not be empty"
    if len(text) > MOST:
        yield f"must have {MOST} characters at most"
    if not text.isprintable():
        yield "must be one paragraph, without line ends and other characters that cannot be printed"
    try:
        parts = list(Formatter().parse(text))
    except ValueError:
        yield "has a brace without its other half; a brace itself is written {{ or }}"
        return
    for _, name, form, conversion in parts:
        if name is not None and (name not in allowed or form or conversion):
            may = " and ".join(f"{{{one}}}" for one in allowed)
            yield f"{{{name}}} cannot stand here; " + (f"what can is {may}" if may else "nothing is put into this text")


def _plain(data: Mapping[str, Any], *, whole: bool) -> tuple[dict[str, Any], Sequence[Problem]]:
    """What is no text with places in it."""
    good: dict[str, Any] = {}
    problems: list[Problem] = []
    for name in (*_PLAIN, "months"):
        if name not in data:
            problems += [((name,), "is missing")] if whole else []
        elif message := _wrong_plain(name, data[name]):
            problems.append(((name,), message))
        else:
            good[name] = tuple(data[name]) if name == "months" else data[name]
    return good, problems


def _wrong_plain(name: str, value: object) -> str:
    if name == "months":
        is_right = isinstance(value, list) and len(value) == 12 and not any(m for one in value for m in _wrong(one, ()))
        return "" if is_right else "must be a list of the names of the twelve months"
    if name == "language":
        is_tag = isinstance(value, str) and _LANGUAGE.fullmatch(value)
        return "" if is_tag else 'must be a language tag, like "en" or "pt-BR"'
    return next(_wrong(value, (), may_be_empty=name == "contact"), "")


def _reasons(data: Mapping[str, Any], base: NoticeText | None) -> tuple[dict[str, Reason], Sequence[Problem]]:
    good: dict[str, Reason] = {}
    problems: list[Problem] = []
    names = [one.name for one in fields(Reason)]
    for code, table in data.items():
        path: KeyPath = ("reasons", code)
        if not _REASON.fullmatch(code):
            problems.append((path, 'is no status code: write it like "5.7.1", "X.2.2" (for 4.2.2 and 5.2.2) or "5.7"'))
            continue
        if not isinstance(table, dict):
            problems.append((path, "must be a table with what and do"))
            continue
        found: list[Problem] = [((*path, name), _unknown(name, names)) for name in table if name not in names]
        known = base.reasons.get(code) if base else None
        values: dict[str, Any] = {name: table.get(name, getattr(known, name, None)) for name in names}
        for name, value in values.items():
            if value is None:
                found.append((path, f"{name} is missing"))
            elif name in table:
                found += [((*path, name), message) for message in _wrong(value, ("domain",), may_be_empty=name == "do")]
        problems += found
        if not found:
            good[code] = Reason(**values)
    return good, problems
