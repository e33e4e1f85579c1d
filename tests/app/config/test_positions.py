from __future__ import annotations

import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waymail.app.config.positions import KeyPath, positions

DOCUMENT = '''
# a comment with "quotes" and [brackets]
hostname = "mail.example.org"   # = not a key

[queue] # the queue
retry = [
  "1m",  # one
  "5m", "15m",
]
expire = "5d"

[[listener]]
kind = "mx"
[[listener]]
kind = "submission"
  [listener.extra]
  deep = 1
  [[listener.more]]
  a = 1
  [[listener.more]]
  a = 2

[domains."example.org"]
deliver = 'maildir:x]y}z#'
aliases = { postmaster = "ann", sales = ["bob", "carol@elsewhere.org"], "dotted.key".'q' = 1 }

[ routes . "a\\u0062" ]
dotted . key = """
several "lines" = 1
[not.a.table]
"""""
literal = \'\'\'
x = 2
\'\'\'
when = 1979-05-27 07:32:00
number = 1_000
[empty]
'''


def paths(value: Any, path: KeyPath = ()) -> set[KeyPath]:
    """Every key path of a parsed document."""
    found: set[KeyPath] = {path} if path else set()
    if isinstance(value, dict):
        return found.union(*(paths(item, (*path, key)) for key, item in value.items()))
    if isinstance(value, list):
        return found.union(*(paths(item, (*path, index)) for index, item in enumerate(value)))
    return found


def test_the_walk_finds_exactly_the_keys_that_tomllib_finds() -> None:
    assert set(positions(DOCUMENT)) == paths(tomllib.loads(DOCUMENT))


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("hostname",), 3),
        (("queue",), 5),
        (("queue", "retry"), 6),
        (("queue", "retry", 0), 7),
        (("queue", "retry", 2), 8),
        (("queue", "expire"), 10),
        (("listener", 0), 12),
        (("listener", 0, "kind"), 13),
        (("listener", 1), 14),
        (("listener", 1, "kind"), 15),
        (("listener", 1, "extra", "deep"), 17),
        (("listener", 1, "more", 1, "a"), 21),
        (("domains",), 23),
        (("domains", "example.org", "aliases", "sales", 1), 25),
        (("routes", "ab", "dotted", "key"), 28),
        (("routes", "ab", "literal"), 32),
        (("routes", "ab", "when"), 35),
        (("empty",), 37),
    ],
)
def test_each_key_has_its_line(path: KeyPath, line: int) -> None:
    assert positions(DOCUMENT)[path] == line


def test_an_inline_table_over_several_array_lines_has_each_line() -> None:
    lines = positions("a = [\n  { x = 1 },\n  { x = 2,\n    }\n]\n".replace("2,\n    ", "2 "))
    assert lines[("a", 1, "x")] == 3


KEYS = st.text(st.sampled_from("ab.-_ \"'\\]#=é"), max_size=4)
SCALARS = st.one_of(st.integers(-9, 9), st.booleans(), st.text(st.sampled_from("a\"'\\#]}=,[{\n"), max_size=6))
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=6)


def quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def written(value: Any) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return quoted(value)
        case dict():
            return "{ " + ", ".join(f"{quoted(key)} = {written(item)}" for key, item in value.items()) + " }"
        case list():
            return "[" + "".join(f"\n {written(item)}, # ]\n" for item in value) + "]"
        case _:
            return str(value)


@given(st.dictionaries(KEYS, VALUES, max_size=3), st.dictionaries(KEYS, st.dictionaries(KEYS, VALUES, max_size=2), max_size=3))
def test_whatever_is_written_every_key_is_found(top: dict[str, Any], tables: dict[str, Any]) -> None:
    tables = {key: table for key, table in tables.items() if key not in top}
    text = "".join(f"{quoted(key)} = {written(value)}\n" for key, value in top.items())
    for name, table in tables.items():
        text += f"[ {quoted(name)} ] # x\n" + "".join(f"{quoted(key)}={written(value)}\n" for key, value in table.items())
    assert set(positions(text)) == paths(tomllib.loads(text)) == paths(top | tables)
