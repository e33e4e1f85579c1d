"""A DNS zone as a literal, for tests and for replaying a recorded verdict.

    zone = Zone({
        "example.org": {"MX": [(10, "mx.example.org")], "TXT": ["v=spf1 mx -all"]},
        "mx.example.org": {"A": ["192.0.2.1"], "TLSA": "SERVFAIL"},
        "www.example.org": {"CNAME": ["example.org"]},
        "broken.example": "TIMEOUT",
    }, authentic={"example.org"})

It answers at once, as a recursive resolver would after it had asked everybody: `answer` for `waymail.lookups.run`, and
`cached` and `ask` for `waymail.net.drive`. It knows nothing else: a name that it does not hold does not exist.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
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
        self._authentic = {_key(name) for name in authentic}
        self._ttl = ttl
        for name, by_type in names.items():
            if isinstance(by_type, str):
                self._names[_key(name)] = _failure(by_type)
            else:
                self._names[_key(name)] = {kind.upper(): _records(kind.upper(), records) for kind, records in by_type.items()}
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
        by_type = self._names.get(name)
        aliases = by_type.get("CNAME") if isinstance(by_type, dict) else None
        return _key(aliases[0]) if isinstance(aliases, tuple) and aliases else None

    def _own_answer(self, name: str, kind: str, authentic: bool) -> Answer:
        by_type = self._names.get(name)
        if by_type is None:
            # RFC 8020 §2: a name that has names below it exists, though it has no records itself.
            status = Status.NO_RECORDS if name in self._empty_non_terminals else Status.NO_NAME
            return Answer(status, authentic=authentic, ttl=self._ttl)
        records = by_type if isinstance(by_type, str) else by_type.get(kind, ())
        if isinstance(records, str):
            return Answer(Status.FAILURE, reason=records)
        return Answer(Status.RECORDS if records else Status.NO_RECORDS, records, authentic=authentic, ttl=self._ttl)


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
