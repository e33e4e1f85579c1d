"""What one DKIM-Signature field says (RFC 6376 §3.5), and whether it can be used at all (§6.1.1).

`read` raises Unusable for each thing that ends a verification before the key is asked for, with the result it then has. Which
one that is, RFC 8601 §2.7.1 leaves to the verifier's reading; this is ours:

neutral    the field breaks the grammar, lacks a tag, or names something that this specification does not have
permerror  the field is well formed, and RFC 6376 or RFC 8301 say that it has failed for good
policy     it might verify, but it is too old, from the future, or more work than is done for one message
"""

from __future__ import annotations

import re
from base64 import b64decode
from binascii import Error as NoBase64
from collections.abc import Iterable
from dataclasses import dataclass

from waymail.lookups import Query
from waymail.senderauth.dkim import key, tags
from waymail.senderauth.dkim.canonical import RELAXED, SIMPLE, Field
from waymail.values import value

REQUIRED = ("v", "a", "b", "bh", "d", "h", "s")  # RFC 6376 §6.1.1
HASH_OCTETS = 32  # SHA-256

_NUMBER = re.compile(r"[0-9]{1,76}\Z")  # l=: RFC 6376 §3.5
_TIME = re.compile(r"[0-9]{1,12}\Z")  # t= and x=
_FIELD_NAMES = re.compile(r"[!-9;-~]+(?::[!-9;-~]+)*\Z")  # RFC 5322 §3.6.8
_QUOTED = re.compile(r"=([0-9A-F]{2})")


@dataclass(frozen=True, slots=True)
class Limits:
    """What is done for one message at most. A signature beyond it gets "policy"."""

    signatures: int = 20  # that are looked at, from the top, where the latest are
    fields: int = 500  # names in one h=
    records: int = 4  # key records under one name: there should be one
    key_bits: int = 8192  # RFC 8301 §3.2 asks for 4096; the work grows with the square
    clock_skew: float = 3600.0  # seconds by which t= may be ahead of our clock


class Unusable(Exception):
    """A signature cannot be verified. `result` is a word of RFC 8601 §2.7.1, the text is for a person."""

    def __init__(self, result: str, reason: str) -> None:
        super().__init__(reason)
        self.result = result


@value
class Signature:
    """A signature that can be verified. `domain`, `selector` and `identity_domain` are in A-labels and lower case."""

    field: Field
    algorithm: str
    signature: bytes
    body_hash: bytes
    header_relaxed: bool
    body_relaxed: bool
    domain: str
    selector: str
    identity_domain: str
    header_fields: tuple[str, ...]
    body_length: int | None
    query: Query


def read(field: Field, found: dict[str, str], now: float, limits: Limits) -> Signature:
    """The signature of a field whose tags were found to be these. Raises Unusable where there is nothing to verify."""
    require(found, REQUIRED)
    if found["v"] != "1":
        raise Unusable("neutral", "v= names another version than 1")
    algorithm = algorithm_of(found["a"].lower())
    header_relaxed, body_relaxed = canonicalization_of(found.get("c", SIMPLE).lower())
    domain, selector, query = key_of(found)
    if not any(method.lower() == "dns/txt" for method in tags.listed(found.get("q", "dns/txt"))):
        raise Unusable("neutral", "q= names no way to get the key but ones that nobody knows")
    signature = Signature(
        field=field,
        algorithm=algorithm,
        signature=octets_of(found, "b"),
        body_hash=body_hash_of(found),
        header_relaxed=header_relaxed,
        body_relaxed=body_relaxed,
        domain=domain,
        selector=selector,
        identity_domain=_identity_domain(found, domain),
        header_fields=_header_fields(found["h"], limits),
        body_length=body_length_of(found),
        query=query,
    )
    check_times(number(found, "t"), number(found, "x"), now, limits)
    return signature


def identity(found: dict[str, str]) -> str:
    """i= decoded (RFC 6376 §2.11), or its default, "@" and the domain."""
    if "i" not in found:
        return "@" + found.get("d", "")
    return _QUOTED.sub(lambda octet: chr(int(octet[1], 16)), tags.compact(found["i"]))


def body_length_of(found: dict[str, str]) -> int | None:
    """l=, None without it."""
    return number(found, "l", _NUMBER)


def number(found: dict[str, str], name: str, form: re.Pattern[str] = _TIME) -> int | None:
    """The number of a tag, None without one. Raises Unusable where it is none."""
    if name not in found:
        return None
    if not form.match(found[name]):
        raise Unusable("neutral", f"{name}= is no number, or one with too many digits")
    return int(found[name])


def require(found: dict[str, str], names: Iterable[str]) -> None:
    """Raises Unusable where one of these tags is not there, or empty."""
    if missing := [f"{name}=" for name in names if not found.get(name)]:
        raise Unusable("neutral", f"the signature lacks {', '.join(missing)}")


def algorithm_of(name: str) -> str:
    """The algorithm, where it is one that is believed."""
    if name == "rsa-sha1":
        raise Unusable("permerror", "rsa-sha1 is too weak to be believed (RFC 8301 §3.1)")
    if name not in key.ALGORITHMS:
        raise Unusable("neutral", "a= names an algorithm that nobody knows here")
    return name


def canonicalization_of(text: str) -> tuple[bool, bool]:
    """Whether header fields, and whether the body, are in relaxed form."""
    header, _, body = text.partition("/")
    if {header, body or SIMPLE} <= {SIMPLE, RELAXED} and not text.endswith("/"):
        return header == RELAXED, body == RELAXED
    raise Unusable("neutral", "c= names a canonicalization that nobody knows here")


def key_of(found: dict[str, str]) -> tuple[str, str, Query]:
    """The domain and the selector, in A-labels and lower case, and the question for their key."""
    domain = _name(found, "d")
    if "." not in domain:  # domain-name = sub-domain 1*("." sub-domain)
        raise Unusable("neutral", "the domain in d= has one label only")
    selector = _name(found, "s")
    try:
        return domain, selector, key.query(selector, domain)
    except ValueError as error:
        raise Unusable("neutral", str(error)) from None


def _name(found: dict[str, str], tag: str) -> str:
    try:
        return key.domain_name(found[tag])
    except ValueError:
        raise Unusable("neutral", f"{tag}= is no domain name") from None


def octets_of(found: dict[str, str], tag: str) -> bytes:
    """What a tag says in base64."""
    try:
        return b64decode(tags.compact(found[tag]), validate=True)
    except (NoBase64, ValueError):
        raise Unusable("neutral", f"{tag}= is no base64") from None


def body_hash_of(found: dict[str, str]) -> bytes:
    """bh=, the hash of the body."""
    digest = octets_of(found, "bh")
    if len(digest) != HASH_OCTETS:
        raise Unusable("neutral", f"bh= has {len(digest)} octets, not the {HASH_OCTETS} of SHA-256")
    return digest


def _identity_domain(found: dict[str, str], domain: str) -> str:
    _, at, text = identity(found).rpartition("@")
    try:
        name = key.domain_name(text)
    except ValueError:
        raise Unusable("neutral", "i= ends with no domain name") from None
    if not at:
        raise Unusable("neutral", 'i= has no "@"')
    if name != domain and not name.endswith("." + domain):  # RFC 6376 §6.1.1: domain mismatch
        raise Unusable("permerror", "the domain of i= is neither that of d= nor one below it")
    return name


def _header_fields(text: str, limits: Limits) -> tuple[str, ...]:
    names = tags.listed(text)
    if not _FIELD_NAMES.match(":".join(names)):
        raise Unusable("neutral", "h= names something that is no header field")
    if "from" not in map(str.lower, names):  # RFC 6376 §6.1.1
        raise Unusable("permerror", "the signature does not cover From")
    if len(names) > limits.fields:
        raise Unusable("policy", f"h= names {len(names)} fields, more than the {limits.fields} that are looked at")
    return names


def check_times(signed: int | None, expires: int | None, now: float, limits: Limits) -> None:
    """Raises Unusable for a signature that is too old, or from the future."""
    if signed is not None and expires is not None and expires <= signed:  # RFC 6376 §3.5, x=
        raise Unusable("neutral", "the signature expires (x=) before it was made (t=)")
    if expires is not None and expires < now:
        raise Unusable("policy", f"the signature expired {now - expires:.0f} seconds ago")
    if signed is not None and signed > now + limits.clock_skew:
        raise Unusable("policy", f"the signature says that it was made {signed - now:.0f} seconds from now")
