"""pydantic's errors in the words of the configuration file: which key, and what would be right."""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Literal, Union, get_args, get_origin

from pydantic_core import ErrorDetails

from waymail.app.config.positions import KeyPath
from waymail.app.config.schema import Config, Section
from waymail.app.units import shown


def explain(errors: Sequence[ErrorDetails]) -> Iterator[tuple[KeyPath, str]]:
    """Key path and message of each error."""
    for error in errors:
        path = tuple(part for part in error["loc"] if part != "[key]")
        yield path, _message(error, path)


def _message(error: ErrorDetails, path: KeyPath) -> str:
    match error["type"]:
        case "extra_forbidden":
            return unknown_key(path)
        case "missing":
            return f"is missing{_example(path)}"
        case "value_error":
            return str(error["ctx"]["error"])
        case "literal_error":
            return _not_one_of(path, error["input"])
        case "tuple_type" | "frozen_set_type":
            return f"must be a list, in [ ], not {shown(error['input'])}"
        case "model_type" | "model_attributes_type" | "mapping_type" | "dict_type":
            return f"must be a table, not {shown(error['input'])}"
        case _:
            return error["msg"]


_EXAMPLES = {
    "hostname": 'the name by which this server greets others, like hostname = "mail.example.org"',
    "kind": '"mx" takes mail from other servers, "submission" from users',
    "address": 'where to listen, like "0.0.0.0:25"',
}


def _example(path: KeyPath) -> str:
    example = _EXAMPLES.get(str(path[-1]))
    return f": {example}" if example else ""


# What a choice means, where its name alone misleads: listeners of all kinds speak SMTP.
_MEANINGS = {
    "kind": {"mx": "from other servers", "submission": "from your users", "lmtp": "from a mail server beside this one, in LMTP"},
}


def _not_one_of(path: KeyPath, value: object) -> str:
    allowed = [name for name in choices(path) if isinstance(name, str)]
    meanings = _MEANINGS.get(str(path[-1]), {})
    wanted = " or ".join(f'"{name}"' + (f" (mail {meanings[name]})" if name in meanings else "") for name in allowed)
    # "smtp" is close to "lmtp", and means something else
    close = get_close_matches(value, allowed, n=1, cutoff=0.8 if meanings else 0.6) if isinstance(value, str) else []
    return f"must be {wanted}, not {shown(value)}" + (f'; did you mean "{close[0]}"?' if close else "")


def unknown_key(path: KeyPath) -> str:
    """What to say of a key that does not exist: the nearest one that does, here or elsewhere, or all that do."""
    *outer, name = path
    here = list(keys(tuple(outer)))
    elsewhere = {key: section for section in reversed(_sections()) if section not in path[:1] for key in keys((section,))}
    if name in elsewhere:
        return f'no such key here; did you mean "{name}" in [{elsewhere[str(name)]}]?'
    # A key of the top level that stands below a table's header belongs to that table: TOML's most common trap.
    if outer and name in keys(()):
        return f'no such key here; "{name}" has to stand at the top of the file, or as a section of its own'
    if close := get_close_matches(str(name), here, n=1, cutoff=0.6):
        return f'no such key; did you mean "{close[0]}"?'
    if close := get_close_matches(str(name), elsewhere, n=1, cutoff=0.75):
        return f'no such key here; did you mean "{close[0]}" in [{elsewhere[close[0]]}]?'
    return f"no such key; here may stand {', '.join(here)}"


def keys(path: KeyPath) -> Mapping[str, Any]:
    """The keys that may stand in the table at `path`, each with its type; none where the names are free."""
    section = _type_at(path)
    if not (isinstance(section, type) and issubclass(section, Section)):
        return {}
    return {field.alias or name: field.annotation for name, field in section.model_fields.items()}


def choices(path: KeyPath) -> Sequence[object]:
    """The values that a key may have, where they are few."""
    found = _type_at(path)
    return get_args(found) if get_origin(found) is Literal else ()


def _type_at(path: KeyPath) -> Any:
    """The type that the schema has for a key path."""
    found: Any = Config
    for part in path:
        if isinstance(found, type) and issubclass(found, Section):
            fields = {field.alias or name: field for name, field in found.model_fields.items()}
            found = fields[str(part)].annotation if part in fields else None
        else:
            arguments = get_args(found)
            found = (arguments[0] if isinstance(part, int) else arguments[-1]) if arguments else None
        if get_origin(found) in (Union, types.UnionType):
            found = get_args(found)[0]
    return found


def _sections() -> list[str]:
    return [name for name in keys(()) if keys((name,))]
