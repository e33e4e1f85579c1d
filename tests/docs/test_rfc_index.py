"""docs/rfc/index.txt and the citations in src/ tell the same story."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

LINE = re.compile(r"(?P<number>\d{3,5}) *\| (?P<state>yes|partly|no) *\| (?P<title>[^|]+) \| (?P<remark>[^|]+)")
# "RFC 5321 §4.2", "RFCs 5321 and 5322", "RFC 5321/5322"; a line may end between the word and the number.
CITATION = re.compile(r"\bRFCs?[\s#]+\d{3,5}(?:(?:/|, | and )\d{3,5}\b)*")


@dataclass(frozen=True, slots=True)
class Entry:
    number: int
    state: str


def entries(text: str) -> list[Entry]:
    """The index's entries. A line that is neither an entry, nor empty, nor a comment, is a ValueError."""
    found = []
    for line in text.splitlines():
        if not line or line.startswith("#"):
            continue
        match = LINE.fullmatch(line)
        if match is None:
            raise ValueError(f"not an entry: {line}")
        found.append(Entry(int(match["number"]), match["state"]))
    return found


def citations(source: str) -> set[int]:
    """The numbers of the RFCs that a text cites."""
    return {int(number) for citation in CITATION.findall(source) for number in re.findall(r"\d+", citation)}


def index() -> list[Entry]:
    return entries((ROOT / "docs/rfc/index.txt").read_text())


def cited_in_source() -> dict[int, str]:
    """Each RFC cited in src/, and one file that cites it."""
    found: dict[int, str] = {}
    for path in sorted((ROOT / "src").rglob("*.py")):
        for number in citations(path.read_text()):
            found.setdefault(number, str(path.relative_to(ROOT)))
    return found


def test_citations_are_found_in_every_form_that_the_source_uses() -> None:
    text = "# RFC 5321 §4.5.3.1.10: 452\nRFCs 5322 and 6854, RFC 7504/7505, as in RFC\n    # 3463; rfc1234 is none"
    assert citations(text) == {5321, 5322, 6854, 7504, 7505, 3463}


def test_every_line_of_the_index_has_its_form_and_the_numbers_ascend() -> None:
    numbers = [entry.number for entry in index()]
    assert numbers
    assert numbers == sorted(set(numbers))


def test_every_rfc_cited_in_the_source_is_in_the_index() -> None:
    listed = {entry.number for entry in index()}
    assert {number: path for number, path in cited_in_source().items() if number not in listed} == {}


def test_every_yes_of_the_index_is_cited_in_the_source() -> None:
    cited = cited_in_source()
    assert [entry.number for entry in index() if entry.state == "yes" and entry.number not in cited] == []


def test_nothing_in_the_source_cites_an_rfc_without_the_space() -> None:
    """`RFC5321` would be a citation that the tests above do not see."""
    sources = (ROOT / "src").rglob("*.py")
    assert [str(path.relative_to(ROOT)) for path in sources if re.search(r"(?<!\.)\bRFCs?[-:_]?\d", path.read_text())] == []
