"""The texts of notices in the languages that waymail brings along: a TOML file for each, data of the package.

They are read as a module is imported, once and when they are wanted first. Files of the operator's are read in `waymail.app`.
"""

from __future__ import annotations

import tomllib
from functools import lru_cache
from importlib.resources import files

from waymail.mail.notice_text import NoticeText, read

LANGUAGES = ("en", "de")


def template(language: str) -> str:
    """The file of one of the LANGUAGES."""
    return files(__name__).joinpath(f"{language}.toml").read_text("utf-8")


@lru_cache
def shipped(language: str = "en") -> NoticeText:
    """The texts in one of the LANGUAGES."""
    text, problems = read(tomllib.loads(template(language)))
    if problems:
        raise ValueError(f"{language}.toml: {problems[0]}")
    return text
