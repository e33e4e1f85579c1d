"""The DNS Tree Walk (RFC 9989 §4.10): which domains have DMARC records, and which one of them is the Organizational Domain.

`Tree` holds what one evaluation has learned, so that no name is asked for twice, however many walks pass it. A walk asks eight
questions at most, whatever the number of labels, and stops at the first record that says `psd=y` or `psd=n`. Where DNS gives no
answer, the walk ends there, and says so: nothing may be concluded from what could not be asked.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

from waymail.lookups import Answer, Lookups, Query, Status
from waymail.senderauth.dmarc import record as records
from waymail.senderauth.dmarc.record import Record
from waymail.values import value
from waymail.wire import domains

# §4.10: "eight was chosen as the query limit": the domain itself, and its last seven labels.
MAX_PARENT_LABELS = 7

_LABEL = re.compile(r"[a-z0-9_-]{1,63}")
_MAX_NAME = 253
_PREFIX = "_dmarc."


@value
class Found:
    """What is known of one name: its record, if any. `failure` says why nothing is known; `exists` is true where the
    answer shows that the domain itself exists, since something stands below it (RFC 8020 §2)."""

    record: Record | None = None
    failure: str = ""
    exists: bool = False


@value
class Walk:
    """The records met on the way from `start` to the root, the longest name first. `failure` is "" where it was completed."""

    start: str
    records: tuple[tuple[str, Record], ...]
    failure: str = ""


class Tree:
    """The names that were asked for, and what came back.

    `authentic` is true as long as DNSSEC vouched for every answer. `notes` says what is wrong with records that were met.
    """

    def __init__(self) -> None:
        self.authentic = True
        self.notes: list[str] = []
        self._known: dict[str, Found] = {}

    def at(self, domain: str) -> Lookups[Found]:
        """The DMARC record of `domain` (A-labels, lower case)."""
        if (known := self._known.get(domain)) is not None:
            return known
        name = _PREFIX + domain
        if len(name) > _MAX_NAME:  # no such name can be in DNS
            found = Found()
        else:
            answer: Answer = yield Query(name, "TXT")
            found = self._read(name, answer)
        self._known[domain] = found
        return found

    def _read(self, name: str, answer: Answer) -> Found:
        if answer.status is Status.FAILURE:
            return Found(failure=f"{name}: {answer.reason or 'no answer'}")
        self.authentic &= answer.authentic
        if answer.status is not Status.RECORDS:
            return Found(exists=answer.status is Status.NO_RECORDS)
        record, trouble = records.of(answer.records)
        self.notes.extend(f"{name}: {note}" for note in ([trouble] if trouble else record.notes if record else ()))
        return Found(record, exists=True)

    def walk(self, start: str) -> Lookups[Walk]:
        """The records for `start` and the domains above it, in the order in which the RFC has them asked for."""
        met: list[tuple[str, Record]] = []
        for domain in targets(start):
            found: Found = yield from self.at(domain)
            if found.failure:
                return Walk(start, tuple(met), found.failure)
            if found.record is not None:
                met.append((domain, found.record))
                if found.record.psd != "u":
                    break
        return Walk(start, tuple(met))


def domain_name(text: str) -> str:
    """The domain in A-labels and lower case, without a trailing dot; "" where it cannot be a mail domain in DNS.

    RFC 9989 §5.3.1: a U-label is converted to an A-label before anything else.
    """
    # An A-label has no fewer characters than its U-label. What is longer is not worth remembering, either.
    return _domain_name(text) if len(text) <= _MAX_NAME + 1 else ""


@lru_cache(maxsize=4096)
def _domain_name(text: str) -> str:
    try:
        name = domains.to_ascii(text).removesuffix(".")
    except domains.BadDomain:
        return ""
    return name if len(name) <= _MAX_NAME and all(map(_LABEL.fullmatch, name.split("."))) else ""


def targets(start: str) -> Iterator[str]:
    """The domains of a walk (§4.10, steps 3, 4 and 7): `start`, its parent or last seven labels, then one label less each."""
    yield start
    labels = start.split(".")
    for count in range(min(len(labels) - 1, MAX_PARENT_LABELS), 0, -1):
        yield ".".join(labels[-count:])


def organizational_domain(walk: Walk) -> str:
    """The Organizational Domain of the walk's start (§4.10.2). The walk is complete."""
    for domain, record in walk.records:
        if record.psd == "n":
            return domain
        if record.psd == "y":
            return _one_label_below(domain, walk.start)
    return walk.records[-1][0] if walk.records else walk.start


def policy_of(walk: Walk) -> tuple[str, Record] | None:
    """The domain and the record that apply to the walk's start (§4.10.1): its own, else that of its Organizational
    Domain, else that of the Public Suffix Domain above it. The walk is complete, or begins with a record."""
    found = dict(walk.records)
    for domain in (walk.start, organizational_domain(walk)):
        if domain in found:
            return domain, found[domain]
    if walk.records and walk.records[-1][1].psd == "y":
        return walk.records[-1]
    return None


def _one_label_below(parent: str, start: str) -> str:
    """The part of `start` that has one label more than `parent`; all of it where they are the same (§4.10.2, rule 2)."""
    count = parent.count(".") + 2
    return ".".join(start.split(".")[-count:])
