"""A DNS zone as a literal, for tests and for replaying a recorded verdict.

    zone = Zone({
        "example.org": {"MX": [(10, "mx.example.org")], "TXT": ["v=spf1 mx -all"]},
        "mx.example.org": {"A": ["192.0.2.1"], "TLSA": "SERVFAIL"},
        "www.example.org": {"CNAME": ["example.org"]},
        "broken.example": "TIMEOUT",
    }, authentic={"example.org"})

    zone = Zone.from_text('''
        $ORIGIN example.org.
        @    MX   10 mx
             TXT  "v=spf1 mx -all"
        mx   A    192.0.2.1
    ''')

It answers at once, as a recursive resolver would after it had asked everybody: `answer` for `waymail.lookups.run`, and
`cached` and `ask` for `waymail.net.drive`. It knows nothing else: a name that it does not hold does not exist,
unless a wildcard ("*.example.org") stands for it (RFC 4592).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from textwrap import dedent
from typing import Any

from waymail.lookups import Answer, Mx, Query, Status

FAILURES = {"TIMEOUT": "timeout", "SERVFAIL": "SERVFAIL"}
_NAMES = frozenset({"CNAME", "NS", "PTR"})
_CHAIN = 16  # as many CNAMEs as resolvers follow

Records = Sequence[Any] | str


class Zone:
    """Names and their records.

    `names` maps a name to its records by type, or to "TIMEOUT" or "SERVFAIL"; either word may also stand in place of the
    records of one type. A record is text (A, AAAA, PTR, CNAME, TXT), a preference and a host (MX; "." is the null MX of RFC
    7505), or usage, selector, matching type and data (TLSA; the data as octets or in hex). A TXT record of several strings
    is a tuple of them. `authentic` holds the names for which DNSSEC vouches; `ttl` is in seconds.

    Raises ValueError for a record that cannot be one.
    """

    def __init__(
        self, names: Mapping[str, Mapping[str, Records] | str], *, authentic: Collection[str] = (), ttl: int = 300
    ) -> None:
        self._names: dict[str, dict[str, tuple[Any, ...] | str] | str] = {}
        self._empty_non_terminals: set[str] = set()
        self._authentic = {_key(name) for name in authentic}
        self._ttl = ttl
        self._ttls: dict[tuple[str, str], int] = {}
        self._negative_ttls: dict[str, int] = {}
        self._put(names)

    @classmethod
    def from_text(cls, text: str, origin: str = "", *, authentic: Collection[str] = (), ttl: int = 300) -> Zone:
        """The zone that the text of a zone file has, or of several zones one after the other. Indentation that all lines have
        is taken off. `origin` is the name below which relative names are, until $ORIGIN says another; `ttl` is for records
        without one. Types that waymail does not ask for (CAA, DNSSEC's) are passed over.

        Raises ValueError, with the line or the name, for what is no zone file.
        """
        from waymail.testing import zone_file  # here, because it needs dnspython, and nothing else of this module does

        found = zone_file.read(dedent(text), origin, ttl)
        zone = cls(found.names, authentic=authentic, ttl=ttl)
        zone._ttls.update(found.ttls)
        zone._negative_ttls.update(found.negative)
        return zone

    def put(self, name: str, records: Mapping[str, Records] | str) -> None:
        """From now on `name` has these records and no others; in the form that `names` has them. Raises ValueError."""
        self._put({name: records})

    def add(self, name: str, records: Mapping[str, Records]) -> None:
        """The same for the types that are in `records`; those of other types stay. Raises ValueError."""
        before = self._names.get(_key(name), {})
        others = before if isinstance(before, dict) else {}
        self._put({name: {**others, **{kind.upper(): found for kind, found in records.items()}}})

    def drop(self, name: str) -> None:
        """From now on `name` does not exist. Nothing happens where it did not."""
        self._names.pop(_key(name), None)
        self._find_empty_non_terminals()

    def _put(self, names: Mapping[str, Mapping[str, Records] | str]) -> None:
        for name, by_type in names.items():
            if isinstance(by_type, str):
                self._names[_key(name)] = _failure(by_type)
            else:
                self._names[_key(name)] = {kind.upper(): _records(kind.upper(), records) for kind, records in by_type.items()}
        changed = {_key(name) for name in names}
        self._ttls = {owned: ttl for owned, ttl in self._ttls.items() if owned[0] not in changed}
        self._find_empty_non_terminals()

    def _find_empty_non_terminals(self) -> None:
        self._empty_non_terminals = {parent for name in self._names for parent in _parents(name) if parent not in self._names}

    def answer(self, query: Query) -> Answer:
        """The answer, CNAMEs followed."""
        return self.chain(query)[1]

    def cached(self, query: Query) -> Answer | None:
        """The same: everything is known already."""
        return self.answer(query)

    async def ask(self, query: Query) -> Answer:
        """The same, for code that awaits its answers."""
        return self.answer(query)

    def chain(self, query: Query) -> tuple[list[str], Answer]:
        """The names passed on the way, the one asked for first and the one that gave the answer last; and the answer."""
        passed = [_key(query.name)]
        while True:
            name = passed[-1]
            target = self._alias(name) if query.type.upper() != "CNAME" else None
            if target is None:
                return passed, self._own_answer(name, query.type.upper(), self._authentic.issuperset(passed))
            if target in passed or len(passed) > _CHAIN:
                return passed, Answer(Status.FAILURE, reason="CNAME loop")
            passed.append(target)

    def _alias(self, name: str) -> str | None:
        by_type = self._names.get(self._owner(name))
        aliases = by_type.get("CNAME") if isinstance(by_type, dict) else None
        return _key(aliases[0]) if isinstance(aliases, tuple) and aliases else None

    def _own_answer(self, name: str, kind: str, authentic: bool) -> Answer:
        owner = self._owner(name)
        by_type = self._names.get(owner)
        if by_type is None:
            # RFC 8020 §2: a name that has names below it exists, though it has no records itself.
            status = Status.NO_RECORDS if name in self._empty_non_terminals else Status.NO_NAME
            return Answer(status, authentic=authentic, ttl=self._negative_ttl(name))
        records = by_type if isinstance(by_type, str) else by_type.get(kind, ())
        if isinstance(records, str):
            return Answer(Status.FAILURE, reason=records)
        if not records:
            return Answer(Status.NO_RECORDS, authentic=authentic, ttl=self._negative_ttl(name))
        return Answer(Status.RECORDS, records, authentic=authentic, ttl=self._ttls.get((owner, kind), self._ttl))

    def _owner(self, name: str) -> str:
        """The name that has the records of `name`: itself, or the wildcard of the nearest name above that exists."""
        if name in self._names or name in self._empty_non_terminals:
            return name
        for parent in _parents(name):  # RFC 4592 §3.3.1: the closest encloser, and no other
            if f"*.{parent}" in self._names:
                return f"*.{parent}"
            if parent in self._names or parent in self._empty_non_terminals:
                break
        return name

    def _negative_ttl(self, name: str) -> int:
        """What the SOA of the zone says that `name` is in."""
        zones = [zone for zone in (name, *_parents(name)) if zone in self._negative_ttls]
        return self._negative_ttls[zones[0]] if zones else self._ttl


def _key(name: str) -> str:
    return name.lower().rstrip(".")


def _parents(name: str) -> list[str]:
    labels = name.split(".")
    return [".".join(labels[at:]) for at in range(1, len(labels))]


def _failure(word: str) -> str:
    if word not in FAILURES:
        raise ValueError(f"{word!r} is neither records nor one of {', '.join(FAILURES)}")
    return FAILURES[word]


def _records(kind: str, records: Records) -> tuple[Any, ...] | str:
    if isinstance(records, str):
        return FAILURES[records] if records in FAILURES else (_record(kind, records),)
    return tuple(_record(kind, record) for record in records)


def _record(kind: str, record: Any) -> Any:
    match kind, record:
        case "MX", Mx():
            return record
        case "MX", (int(preference), str(host)):
            return Mx(preference, host.rstrip("."))
        case "TLSA", (int(usage), int(selector), int(matching), bytes() | str() as data):
            return usage, selector, matching, data if isinstance(data, bytes) else bytes.fromhex(data)
        case "TXT", tuple() | list():
            return "".join(record)
        case _, str() if kind in _NAMES:
            return record.rstrip(".")
        case _, str() if kind not in ("MX", "TLSA"):
            return record
    raise ValueError(f"{record!r} is no {kind} record")
