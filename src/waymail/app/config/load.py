"""From a TOML file to a checked `Config`, or to all that is wrong with it at once.

Three steps: tomllib reads the text (a slip in the syntax ends it there), pydantic reads each key, and `check` compares keys
with each other, as far as those were readable; where a server is to be run, `check_files` looks at the files that they name.
Each problem carries the line of the key that it is about.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from waymail.app.config.check import check
from waymail.app.config.explain import explain
from waymail.app.config.positions import KeyPath, positions
from waymail.app.config.problems import ConfigError, Problem
from waymail.app.config.schema import SECTIONS, Config, Source
from waymail.wire import domains

_SYNTAX_AT = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")


def load(path: Path, *, to_serve: bool = False) -> Config:
    """The configuration in the file at `path`. `to_serve` demands that the files are there that a server needs to start, and
    that this process may read them: whoever only looks into the queue does without them. Raises ConfigError."""
    path = path.expanduser().absolute()
    try:
        text = path.read_bytes().decode("utf-8")
    except OSError as error:
        raise ConfigError([Problem(path, 0, "", f"cannot be read: {error.strerror}")]) from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ConfigError([Problem(path, line, "", "is not UTF-8, as TOML has to be")]) from None
    return parse(text, path, to_serve=to_serve)


def parse(text: str, path: Path, *, to_serve: bool = False) -> Config:
    """The configuration that `text` is; `path` is the file that it is, or would be, in. `to_serve` as for `load`. Raises
    ConfigError."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([_syntax(str(error), text, path)]) from None
    return _checked(data, path, Lines(path, positions(text)), to_serve=to_serve)


def from_mapping(data: Mapping[str, Any], folder: Path) -> Config:
    """The configuration of a server that a program has as a mapping: what a file in `folder` would be read as. Raises
    ConfigError."""
    path = folder.absolute() / "config"
    return _checked(dict(data), path, Lines(path, {}, first=0), to_serve=True).read_from(Source())


def _checked(data: dict[str, Any], path: Path, lines: Lines, *, to_serve: bool) -> Config:
    config, unreadable, problems = _read(data, path.parent, lines)
    problems += [lines.problem(key, message) for key, message in _said_twice(data)]
    findings = list(check(config, unreadable))
    if to_serve:
        from waymail.app.config.files import check_files  # here, for it brings TLS and password hashing along

        findings += check_files(config, unreadable)
    problems += [lines.problem(finding.path, finding.message) for finding in findings if not finding.is_warning]
    if problems:
        raise ConfigError(sorted(problems, key=lambda problem: problem.line))
    warnings = [lines.problem(finding.path, finding.message) for finding in findings if finding.is_warning]
    return config.read_from(Source(path, lines.spelled, tuple(warnings)))


class Lines:
    """Finds lines by key path. Names of domains are found in any spelling that means the same."""

    def __init__(self, path: Path, found: Mapping[KeyPath, int], *, first: int = 1) -> None:
        """`first` is the line of what stands nowhere."""
        self._path = path
        self._first = first
        self.spelled = {_meaning(key): line for key, line in found.items()}

    def problem(self, key: KeyPath, message: str) -> Problem:
        """At the line of the key, or of the innermost table around it that is written out."""
        place = _meaning(key)
        if place not in self.spelled and key and isinstance(key[-1], int):
            key = key[:-1]  # a lone value where a list could be is no [0] to whoever wrote it
        while place and place not in self.spelled:
            place = place[:-1]
        return Problem(self._path, self.spelled.get(place, self._first), dotted(key), message)


def dotted(key: KeyPath) -> str:
    """A key path as a person writes it: domains."example.org".aliases.sales[0]"""
    text = ""
    for part in key:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            quoted = part if re.fullmatch(r"[A-Za-z0-9_-]+", part) else '"' + part.replace("\\", "\\\\").replace('"', '\\"') + '"'
            text += f".{quoted}" if text else quoted
    return text


def _meaning(key: KeyPath) -> KeyPath:
    """The path with all spellings of a domain name or pattern made one: case, the trailing dot, ".x" for "*.x"."""
    return tuple(part if isinstance(part, int) else _one_spelling(part) for part in key)


def _one_spelling(name: str) -> str:
    return domains.normal("*" + name if name.startswith(".") else name)


def _said_twice(data: Mapping[str, Any]) -> Iterator[tuple[KeyPath, str]]:
    """Names that are two keys for TOML, but the same domain or local part here."""
    tables: list[tuple[KeyPath, Any]] = [((section,), data.get(section)) for section in ("domains", "routes")]
    domains = data.get("domains")
    for name, domain in domains.items() if isinstance(domains, dict) else ():
        if isinstance(domain, dict):
            tables.append((("domains", name, "aliases"), domain.get("aliases")))
    for path, table in tables:
        seen: dict[str, str] = {}
        for name in table if isinstance(table, dict) else ():
            if (first := seen.setdefault(_one_spelling(name), name)) != name:
                yield (*path, name), f'means the same as "{first}", which is there already'


def _read(data: dict[str, Any], folder: Path, lines: Lines) -> tuple[Config, frozenset[str], list[Problem]]:
    """The configuration, the names of the sections that stand in it by their defaults only because they could not be read, and
    why they could not."""
    context = {"folder": folder}
    try:
        return _complete(Config.model_validate(_with_sections(data), context=context)), frozenset(), []
    except ValidationError as error:
        errors = error.errors(include_url=False)
    problems = [lines.problem(path, message) for path, message in explain(errors)]
    unreadable = frozenset(str(error["loc"][0]) for error in errors)
    # What was readable before is readable without the rest too, so this does not fail.
    rest = {"hostname": "unreadable.invalid"} | {name: value for name, value in data.items() if name not in unreadable}
    return _complete(Config.model_validate(_with_sections(rest), context=context)), unreadable, problems


def _with_sections(data: Mapping[str, Any]) -> dict[str, Any]:
    """Each section is read even where the file leaves it out, so that its defaults are."""
    complete: dict[str, Any] = {name: {} for name in SECTIONS} | dict(data)
    if isinstance(routes := complete.get("routes"), dict) and "*" not in routes:
        complete["routes"] = {**routes, "*": "mx"}
    return complete


def _complete(config: Config) -> Config:
    """With the defaults that stand in other keys."""
    if config.delivery.hello:
        return config
    return config.model_copy(update={"delivery": config.delivery.model_copy(update={"hello": config.hostname})})


def _syntax(message: str, text: str, path: Path) -> Problem:
    at = _SYNTAX_AT.search(message)
    line = int(at[1]) if at and at[1] else text.count("\n") + (not text.endswith("\n"))
    return Problem(path, max(line, 1), "", f"not valid TOML: {_SYNTAX_AT.sub('', message)}")
