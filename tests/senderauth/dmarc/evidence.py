"""What SPF and DKIM found, and zones that say which names were asked for."""

from __future__ import annotations

from dataclasses import dataclass, field

from waymail.lookups import Answer, Query
from waymail.testing import Zone


@dataclass(frozen=True)
class Spf:
    domain: str
    result: str = "pass"
    identity: str = "mailfrom"
    reason: str = ""


@dataclass(frozen=True)
class Dkim:
    domain: str
    result: str = "pass"
    selector: str = "s1"
    reason: str = ""


@dataclass
class Asked:
    """A zone that remembers what it was asked for."""

    zone: Zone
    questions: list[str] = field(default_factory=list)

    def answer(self, query: Query) -> Answer:
        self.questions.append(query.name)
        return self.zone.answer(query)


def dmarc_zone(records: dict[str, str], *names: str, authentic: bool = False) -> Asked:
    """A zone with these DMARC records, by domain ("TIMEOUT" for one that does not answer), and with names that exist besides."""
    zone = {f"_dmarc.{domain}": {"TXT": text if text == "TIMEOUT" else [text]} for domain, text in records.items()}
    zone |= {name: {"A": ["192.0.2.1"]} for name in names}
    return Asked(Zone(zone, authentic=zone if authentic else ()))
