"""What one SPF check knows, and what it has used up: identities for macros, names of the client, limits, the steps so far."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache

from waymail.lookups import Answer, Lookups, Query, Status
from waymail.senderauth.spf.client import Client, number
from waymail.senderauth.spf.macros import LONGEST_NAME, MacroString
from waymail.senderauth.spf.result import Ended, Limits, Step

UNKNOWN = "unknown"
_LABELS = re.compile(r"[ -\-/-~]{1,63}(?:\.[ -\-/-~]{1,63})*")  # DNS takes more, but no name needs it
_DOMAIN = re.compile(r"(?:[!-\-/-Z\\^-~]{1,63}\.)+[!-\-/-Z\\^-~]{1,63}")  # visible ASCII; no literal in brackets
_OPEN = Step(0, "", "", "")
_OF_LOCAL_PART = frozenset("sl")
_SHOWN = 10  # records


class NoTarget(Exception):
    """A domain-spec leads to no name that DNS could be asked for: the term does not match. The text says why."""


class State:
    """`local_part` and `sender_domain` are those of <sender>, `helo` the client's word, all domains in A-labels."""

    def __init__(
        self, client: Client, local_part: str, sender_domain: str, helo: str, receiver: str, now: float, limits: Limits
    ) -> None:
        self.client = client
        self.limits = limits
        self.steps: list[Step] = []
        self._local_part = local_part
        self.sender_domain = sender_domain
        self._helo = helo
        self._receiver = receiver
        self._now = now
        self._lookups = 0
        self._void_lookups = 0
        self._octets = 0
        self._names: tuple[tuple[str, ...], str] | None = None

    def count_lookup(self) -> None:
        """A term is about to ask DNS. Raises Ended past the limit of RFC 7208 §4.6.4."""
        self._lookups += 1
        if self._lookups > self.limits.lookups:
            raise Ended("permerror", f"more than {self.limits.lookups} terms ask DNS")

    def count_void(self) -> None:
        """There was nothing for a term. Raises Ended past the limit: §4.6.4 counts terms, whatever each asked for."""
        self._void_lookups += 1
        if self._void_lookups > self.limits.void_lookups:
            raise Ended("permerror", f"more than {self.limits.void_lookups} terms ask DNS for what does not exist")

    def count_octets(self, octets: int) -> None:
        """A record of this length is about to be read. Raises Ended past the limit."""
        self._octets += octets
        if self._octets > self.limits.octets:
            raise Ended("permerror", f"the records are longer than {self.limits.octets} octets")

    def open_step(self) -> int:
        """A place in `steps` for a term whose outcome is not known yet: what it leads to stands behind it."""
        self.steps.append(_OPEN)
        return len(self.steps) - 1

    def target(self, spec: MacroString | None, domain: str, *, is_counted: bool = True) -> Lookups[str]:
        """The <target-name> (RFC 7208 §4.8), one that DNS can be asked for. Raises NoTarget, and Ended past a limit."""
        if spec is None:
            return domain
        name = yield from self.expand(spec, domain, is_counted=is_counted)
        if len(name) > LONGEST_NAME or not _LABELS.fullmatch(name):
            raise NoTarget(f"{name!r} is no domain name" if name else "that comes to no domain name")
        return name

    def expand(self, spec: MacroString, domain: str, *, is_counted: bool = True) -> Lookups[str]:
        """The <target-name>, whatever it is. Raises NoTarget, and Ended past a limit; `is_counted` says whether one holds."""
        if not spec.letters:
            return spec.expand_name({})
        if spec.letters & _OF_LOCAL_PART and not self._local_part.isascii():
            # RFC 8616 §4: a local part that is not ASCII is no label, and terms that need it match nothing
            raise NoTarget("the local part of the sender is not ASCII")
        if is_counted and "p" in spec.letters and self._names is None:
            self.count_lookup()  # RFC 7208 §4.6.4: the PTR query of %{p} counts, too
        return spec.expand_name((yield from self.values(spec, domain)))

    def values(self, spec: MacroString, domain: str) -> Lookups[Mapping[str, str]]:
        """What the letters stand for while the record of `domain` is evaluated (RFC 7208 §7.2)."""
        client = self.client
        return {
            "s": f"{self._local_part}@{self.sender_domain}",
            "l": self._local_part,
            "o": self.sender_domain,
            "d": domain,
            "i": client.dotted,
            "p": (yield from self._validated_name(domain)) if "p" in spec.letters else UNKNOWN,
            "v": "in-addr" if client.version == 4 else "ip6",
            "h": self._helo,
            "c": client.text,
            "r": self._receiver or UNKNOWN,
            "t": str(int(self._now)),
        }

    def _validated_name(self, domain: str) -> Lookups[str]:
        """%{p}: the domain itself, else a name below it, else any (RFC 7208 §7.3)."""
        names, _ = yield from self.validated_names()
        return min(names, key=lambda name: 0 if name == domain.lower() else 1 if is_within(name, domain) else 2, default=UNKNOWN)

    def validated_names(self) -> Lookups[tuple[tuple[str, ...], str]]:
        """The client's names that lead back to it (RFC 7208 §5.5), and in words what DNS said. They are asked for once in a
        check. Trouble with DNS is no error here: there are just no names."""
        if self._names is None:
            self._names = yield from self._find_names()
        return self._names

    def _find_names(self) -> Lookups[tuple[tuple[str, ...], str]]:
        client = self.client
        pointers: Answer = yield Query(client.reverse_name, "PTR")
        if pointers.status is Status.FAILURE:
            return (), said(client.reverse_name, "PTR", pointers)
        # §4.6.4: all records other than the first 10 are ignored
        names = tuple(dict.fromkeys(str(name).lower().removesuffix(".") for name in pointers.records))[: self.limits.ptr_names]
        if not names:
            return (), f"{client.text} has no name"
        answers: tuple[Answer, ...] = yield tuple(Query(name, address_type(client)) for name in names)
        valid = tuple(
            name
            for name, answer in zip(names, answers, strict=True)
            if any(number(record, client.version) == client.number for record in answer.records)
        )
        return valid, f"{client.text} is {', '.join(valid)}" if valid else f"no name of {client.text} leads back to it"


def address_type(client: Client) -> str:
    return "A" if client.version == 4 else "AAAA"


def is_within(name: str, domain: str) -> bool:
    """Whether a name in lower case is the domain, or below it."""
    domain = domain.lower()
    return name == domain or name.endswith("." + domain)


@lru_cache(maxsize=4096)
def malformed(domain: str) -> str:
    """Why a <domain> cannot have a record (RFC 7208 §4.3); "" where it can."""
    if not domain:
        return "there is no domain"
    if len(domain) > LONGEST_NAME or not _DOMAIN.fullmatch(domain):
        return f"{domain[:LONGEST_NAME]!r} is not a domain name of several labels"
    return ""


def said(name: str, kind: str, answer: Answer) -> str:
    """What DNS answered, for a person."""
    match answer.status:
        case Status.FAILURE:
            return f"{name} {kind}: {answer.reason or 'no answer'}"
        case Status.NO_NAME:
            return f"{name} does not exist"
        case Status.NO_RECORDS:
            return f"{name} has no {kind}"
        case _:
            told = [str(record) for record in answer.records[:_SHOWN]]
            return f"{name} {kind} {', '.join(told)}{', ...' if len(answer.records) > _SHOWN else ''}"
