"""[notices]: in which words senders are told, and who is told where there is no sender."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import PlainSerializer, PlainValidator, ValidationInfo

from waymail.app.config.positions import KeyPath, positions
from waymail.app.config.problems import ConfigError, Problem
from waymail.app.config.values import folder, mailbox
from waymail.app.units import shown
from waymail.delivery.routes import ByMx, Routes
from waymail.mail import notice_text
from waymail.mail.notices import LANGUAGES, shipped

if TYPE_CHECKING:
    from waymail.app.config.schema import Config

_SMALL = 1_000_000  # octets: no file of texts is larger


def language(value: object, info: ValidationInfo) -> str | Path:
    """One of the languages that waymail has, or the path of a file of texts, seen from the folder of the configuration file."""
    if isinstance(value, str) and value in LANGUAGES:
        return value
    known = " or ".join(f'"{one}"' for one in LANGUAGES)
    if not isinstance(value, str) or not value.endswith(".toml") or "\0" in value:
        raise ValueError(f'must be {known}, or the path of a file of texts, like "notices.toml", not {shown(value)}')
    return folder(info) / Path(value).expanduser()


def double_bounce(value: object) -> str:
    """ "drop", "postmaster", or an address."""
    if value in ("drop", "postmaster"):
        return str(value)
    if not isinstance(value, str) or "@" not in value:
        raise ValueError(f'must be "drop", "postmaster" or an address, like "ann@example.org", not {shown(value)}')
    return mailbox(value)


NoticeLanguage = Annotated[str | Path, PlainValidator(language), PlainSerializer(str)]
DoubleBounce = Annotated[str, PlainValidator(double_bounce)]


def read_texts(language: str | Path) -> notice_text.NoticeText:
    """The texts of notices. What a file leaves out is in the language that it names, or else in English. Raises ConfigError with
    all that is wrong with the file."""
    if isinstance(language, str):
        return shipped(language)
    data, lines = _toml(language)
    base = str(data.get("language", "")).partition("-")[0].lower()
    texts, found = notice_text.read(data, shipped(base if base in LANGUAGES else "en"))
    if found:
        problems = [Problem(language, _line(lines, path), ".".join(map(str, path)), message) for path, message in found]
        raise ConfigError(sorted(problems, key=lambda problem: problem.line))
    return texts


def unusable(config: Config) -> Iterator[tuple[KeyPath, str]]:
    """What is wrong with the file that has the texts."""
    try:
        read_texts(config.notices.language)
    except ConfigError as error:
        yield from ((("notices", "language"), str(problem)) for problem in error.problems)


def unreachable(config: Config) -> Iterator[tuple[KeyPath, str]]:
    """Where the postmaster of the server's name, from whom notices come, cannot be written to (RFC 5321 §4.5.1)."""
    if config.domains:
        return  # where that name is no domain of its own, the postmaster of the first one has his mail
    way = Routes({}, config.routes).match(config.hostname)
    if way == ByMx() or any(one.kind == "mx" and not one.address.is_loopback for one in config.listeners):
        who = f"postmaster@{config.hostname}"
        told = config.notices.double_bounce == "postmaster"
        whose = "whom it names" if told else "from whom notices come"
        lines = f'[domains."{config.hostname}"] and below it aliases = {{ postmaster = "SOMEBODY@ELSEWHERE" }}'
        message = f"nobody gets the mail to {who}, {whose}: this server has no domains, and refuses it; add {lines}"
        yield ("notices", "double_bounce") if told else ("hostname",), message


def _toml(file: Path) -> tuple[dict[str, object], dict[KeyPath, int]]:
    try:
        with file.open("rb") as opened:
            text = opened.read(_SMALL).decode("utf-8")
        return tomllib.loads(text), positions(text)
    except OSError as error:
        raise ConfigError([Problem(file, 0, "", f"cannot be read: {error.strerror}")]) from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ConfigError([Problem(file, line, "", "is not UTF-8, as TOML has to be")]) from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([Problem(file, 0, "", f"not valid TOML: {error}")]) from None


def _line(lines: dict[KeyPath, int], path: KeyPath) -> int:
    while path and path not in lines:
        path = path[:-1]
    return lines.get(path, 1)
