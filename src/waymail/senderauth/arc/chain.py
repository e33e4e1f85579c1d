"""The ARC sets of a message, and whether they form a chain at all (RFC 8617 §4.2, and steps 1 to 3 of §5.2).

Pure text: no key is asked for. `read` raises `Broken` with the reason for whatever is no chain.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field as dataclass_field

from waymail.senderauth.authres.grammar import arc_instance
from waymail.senderauth.dkim import signature as dkim
from waymail.senderauth.dkim import tags
from waymail.senderauth.dkim.canonical import Field, HeaderFields, header, without_signature
from waymail.senderauth.dkim.signature import Signature, Unusable
from waymail.values import value

RESULTS = "ARC-Authentication-Results"
SIGNATURE = "ARC-Message-Signature"
SEAL = "ARC-Seal"
MAX_INSTANCE = 50  # RFC 8617 §4.2.1

_SOME = re.compile(rb"^arc-(?:authentication-results|message-signature|seal)[ \t]*:", re.IGNORECASE | re.MULTILINE)
_INSTANCE = re.compile(r"[0-9]{1,2}\Z")  # RFC 8617 §3.9: position = 1*2DIGIT
# RFC 8617 §4.1.2 says as DKIM, whose default is "simple/simple". The published test suite and those who made it have this one.
_DEFAULT_CANONICALIZATION = "relaxed/relaxed"
_STATUS = ("none", "pass", "fail")


class Broken(Exception):
    """This is no chain. The text says why."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What is done for one chain at most. A chain beyond it fails."""

    octets: int = 262_144  # of all ARC fields together: each seal covers all before it, so the work grows with the square
    keys: dkim.Limits = dataclass_field(default_factory=dkim.Limits)


@value
class ArcSet:
    """The three fields of one instance. `status` is cv= of the seal. `signature` is None where the message signature can be no
    valid one, and `doubt` then says why: an older one may be invalid without harm (RFC 8617 §5.2, step 5)."""

    instance: int
    results: Field
    signature_field: Field
    seal_field: Field
    seal: Signature
    status: str
    signature: Signature | None
    doubt: str = ""


def has_any(section: bytes) -> bool:
    """Whether a header section has an ARC field."""
    return _SOME.search(section) is not None


def read(fields: HeaderFields, *, now: float, limits: Limits) -> tuple[ArcSet, ...]:
    """The sets from the first on. Raises Broken for what is no chain, and where the last seal says that the chain is broken."""
    candidates = {name: fields.named(name.lower().encode()) for name in (RESULTS, SIGNATURE, SEAL)}
    if sum(len(field.value) for found in candidates.values() for field in found) > limits.octets:
        raise Broken(f"the ARC fields have more than {limits.octets} octets")
    by_name = {name: _by_instance(name, found) for name, found in candidates.items()}
    count = max(max(found, default=0) for found in by_name.values())
    for name, found in by_name.items():
        if missing := [str(instance) for instance in range(1, count + 1) if instance not in found]:
            raise Broken(f"there is no {name} of instance {', '.join(missing)}")
    sets = []
    for instance in range(count, 0, -1):  # from the last on: it says whether there is anything to look at
        message_signature = by_name[SIGNATURE][instance]
        seal_field, seal_tags = by_name[SEAL][instance]
        seal, status = _seal(instance, seal_field, seal_tags)
        own, doubt = _message_signature(*message_signature, now, limits.keys)
        if own is None and instance == count:
            raise Broken(f"the {SIGNATURE} of instance {instance}: {doubt}")
        sets.append(ArcSet(instance, by_name[RESULTS][instance][0], message_signature[0], seal_field, seal, status, own, doubt))
    return tuple(reversed(sets))


def next_instance(fields: HeaderFields) -> int:
    """One more than the highest instance that is there, however broken the chain is (RFC 8617 §5.1, step 3); 51 where there are
    more fields than fifty sets have."""
    candidates = [(name, field) for name in (RESULTS, SIGNATURE, SEAL) for field in fields.named(name.lower().encode())]
    if len(candidates) > 3 * MAX_INSTANCE:
        return MAX_INSTANCE + 1
    return 1 + max((_instance(name, field)[0] or 0 for name, field in candidates), default=0)


def last_status(fields: HeaderFields) -> str:
    """cv= of the seal with the highest instance, "" where there is none or it cannot be read."""
    statuses = {0: ""}
    for field in fields.named(SEAL.lower().encode())[:MAX_INSTANCE]:
        instance, found = _instance(SEAL, field)
        statuses[instance or 0] = found.get("cv", "").lower()
    return statuses[max(statuses)]


def sealed_octets(before: Sequence[ArcSet], results: Field, message_signature: Field, seal: Field) -> bytes:
    """What a seal signs (RFC 8617 §5.1.1): the sets before it, then its own, without the value of its b= and without a CRLF."""
    octets = []
    for one in before:
        octets += [field.canonical(relaxed=True) for field in (one.results, one.signature_field, one.seal_field)]
    octets += [results.canonical(relaxed=True), message_signature.canonical(relaxed=True)]
    octets.append(header(seal.name, without_signature(seal.value), relaxed=True).removesuffix(b"\r\n"))
    return b"".join(octets)


def _by_instance(name: str, candidates: Sequence[Field]) -> dict[int, tuple[Field, dict[str, str]]]:
    """The fields of one name by their instance, each with its tags."""
    if len(candidates) > MAX_INSTANCE:
        raise Broken(f"there are {len(candidates)} fields {name}, more than {MAX_INSTANCE}")
    by_instance: dict[int, tuple[Field, dict[str, str]]] = {}
    for field in candidates:
        instance, found = _instance(name, field)
        if instance is None:
            raise Broken(f"there is a field {name} without an instance from 1 to {MAX_INSTANCE}")
        if instance in by_instance:
            raise Broken(f"the {name} of instance {instance} stands twice")
        by_instance[instance] = (field, found)
    return by_instance


def _instance(name: str, field: Field) -> tuple[int | None, dict[str, str]]:
    """The instance of a field and its tags; None where it has none."""
    found: dict[str, str] = {}
    instance = 0
    if name == RESULTS:
        instance = arc_instance(field.value) or 0
    else:
        try:
            found = tags.parse(field.value)
        except ValueError:
            return None, {}
        if _INSTANCE.match(text := found.get("i", "")):
            instance = int(text)
    return (instance, found) if 1 <= instance <= MAX_INSTANCE else (None, found)


def _seal(instance: int, field: Field, found: dict[str, str]) -> tuple[Signature, str]:
    """What a seal says, and its cv=. Raises Broken where that is nothing a chain can be made of (RFC 8617 §4.1.3)."""
    status = found.get("cv", "").lower()
    if status not in _STATUS:
        raise Broken(f"the {SEAL} of instance {instance}: cv= is none of none, pass and fail")
    if status == "fail":
        raise Broken(f"the {SEAL} of instance {instance} says that the chain was broken before it")
    if (status == "none") != (instance == 1):
        raise Broken(f"the {SEAL} of instance {instance} says cv={status}")
    if "h" in found:
        raise Broken(f"the {SEAL} of instance {instance}: h= is not allowed in it")
    try:
        dkim.require(found, ("a", "b", "d", "s"))
        dkim.number(found, "t")
        domain, selector, query = dkim.key_of(found)
        seal = Signature(
            field=field,
            algorithm=dkim.algorithm_of(found["a"].lower()),
            signature=dkim.octets_of(found, "b"),
            body_hash=b"",
            header_relaxed=True,
            body_relaxed=True,
            domain=domain,
            selector=selector,
            identity_domain=domain,
            header_fields=(),
            body_length=None,
            query=query,
        )
    except Unusable as unusable:
        raise Broken(f"the {SEAL} of instance {instance}: {unusable}") from None
    return seal, status


def _message_signature(field: Field, found: dict[str, str], now: float, limits: dkim.Limits) -> tuple[Signature | None, str]:
    """What a message signature says, or why it can be no valid one (RFC 8617 §4.1.2): a DKIM-Signature without v= and i=."""
    try:
        dkim.require(found, ("a", "b", "bh", "d", "s"))
        domain, selector, query = dkim.key_of(found)
        header_relaxed, body_relaxed = dkim.canonicalization_of(found.get("c", _DEFAULT_CANONICALIZATION).lower())
        signature = Signature(
            field=field,
            algorithm=dkim.algorithm_of(found["a"].lower()),
            signature=dkim.octets_of(found, "b"),
            body_hash=dkim.body_hash_of(found),
            header_relaxed=header_relaxed,
            body_relaxed=body_relaxed,
            domain=domain,
            selector=selector,
            identity_domain=domain,
            header_fields=_header_fields(found, limits),
            body_length=dkim.body_length_of(found),
            query=query,
        )
        dkim.check_times(dkim.number(found, "t"), dkim.number(found, "x"), now, limits)
    except Unusable as unusable:
        return None, str(unusable)
    return signature, ""


def _header_fields(found: dict[str, str], limits: dkim.Limits) -> tuple[str, ...]:
    """The names in h=.

    RFC 8617 §4.1.2 forbids those of ARC fields to the signer. Only a seal is refused here, which comes after the signature: the
    other two are met, and the published test suite has them pass, as it has an h= that is empty, or has an empty name in it.
    """
    if "h" not in found:
        raise Unusable("neutral", "the signature lacks h=")
    names = tags.listed(found["h"])
    if len(names) > limits.fields:
        raise Unusable("policy", f"h= names {len(names)} fields, more than the {limits.fields} that are looked at")
    if SEAL.lower() in map(str.lower, names):
        raise Unusable("permerror", f"h= names {SEAL}")
    return names
