"""docs/configuration.md and the schema say the same: every key is there, with its default, and no other."""

from __future__ import annotations

import json
import re
import tomllib
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Union, get_args, get_origin

from waymail.app.config import parse
from waymail.app.config.schema import Config, Section

PAGE = Path(__file__).resolve().parents[2] / "docs" / "configuration.md"

ROW = re.compile(r"^\| `([a-z_]+(?:\.[A-Za-z_]+)*)` \| (.+?) \| (.+) \|$", re.MULTILINE)
# What free names in a path are called on the page.
NAMES = {"domains": "NAME", "routes": "PATTERN", "pipes": "NAME", "webhooks": "URL"}


def documented() -> dict[str, str]:
    """Key and default of each row of the page's tables."""
    return {key: default for key, default, _ in ROW.findall(PAGE.read_text())}


def in_schema(section: type[Section] = Config, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Key and default of each key that a file may have, as the page has to spell them."""
    for name, field in section.model_fields.items():
        key = prefix + (field.alias or name)
        inner = _section_in(field.annotation)
        if inner is not None:
            free_name = f".{NAMES[key]}" if key in NAMES else ""
            yield from in_schema(inner, f"{key}{free_name}.")
        else:
            yield f"{key}.{NAMES[key]}" if key in NAMES else key, _default(field.is_required(), field.default)


def _section_in(annotation: Any) -> type[Section] | None:
    """The section that a type is, or is a list or a mapping of."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    if get_origin(annotation) in (Union, types.UnionType):
        return None
    return next((found for part in get_args(annotation) if (found := _section_in(part)) is not None), None)


def _default(is_required: bool, default: Any) -> str:
    if is_required:
        return "required"
    if isinstance(default, dict) and default:
        return "`{ " + ", ".join(f"{json.dumps(key)} = {json.dumps(value)}" for key, value in default.items()) + " }`"
    return "none" if default is None else f"`{json.dumps(default)}`"


def test_every_key_is_documented_with_its_default_and_every_documented_one_exists() -> None:
    assert documented() == dict(in_schema())


def test_there_are_keys_at_all() -> None:
    assert {"hostname", "listener.kind", "domains.NAME.aliases", "routes.PATTERN", "limits.message_size"} <= documented().keys()


def test_no_key_is_documented_twice() -> None:
    keys = [key for key, _, _ in ROW.findall(PAGE.read_text())]
    assert len(keys) == len(set(keys))


def test_each_key_stands_below_the_heading_of_its_section() -> None:
    for heading, text in re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", PAGE.read_text(), re.MULTILINE | re.DOTALL):
        for key, _, _ in ROW.findall(text):
            section = key.rpartition(".")[0].partition(".")[0]
            assert heading.strip("[]").partition(".")[0] == (section or "At the top of the file"), key


def test_the_toml_on_the_page_is_a_configuration() -> None:
    examples = re.findall(r"^```toml\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert examples
    for text in examples:
        assert parse('hostname = "mail.example.org"\n' + text, PAGE).routes


def test_defaults_are_spelled_as_toml() -> None:
    spelled = {key: default.strip("`") for key, default in documented().items() if default.startswith("`")}
    assert len(spelled) > 30
    for key, default in spelled.items():
        name = key.rpartition(".")[2]
        assert tomllib.loads(f"{name} = {default}").keys() == {name}
