"""Seal a message (RFC 8617 §5.1): the three fields of the next ARC set, to be put in front of it.

A seal testifies how the message reached us, so it is made last, when nothing else will be changed. It never says more than is
known: over a broken chain only cv=fail can be written.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence

from waymail.mail import headers
from waymail.senderauth.arc import chain as chains
from waymail.senderauth.arc.chain import Broken, Limits
from waymail.senderauth.authres import writing
from waymail.senderauth.authres.grammar import Method
from waymail.senderauth.dkim import key as keys
from waymail.senderauth.dkim.body import BodyHash
from waymail.senderauth.dkim.canonical import Field, HeaderFields
from waymail.senderauth.dkim.sign import OVER_SIGNED, SIGNED, SigningKey, covered_names, folded, signing_domain, wrapped
from waymail.senderauth.dkim.verify import signed_octets

# RFC 8617 §4.1.2: a message signature SHOULD cover the DKIM signatures. Authentication-Results and ARC fields it must not cover.
_SIGNED = (*SIGNED, "DKIM-Signature")


def seal(
    message: bytes,
    key: SigningKey,
    *,
    domain: str,
    selector: str,
    authserv_id: str,
    methods: Sequence[Method],
    cv: str,
    now: float,
    is_utf8: bool = True,
) -> bytes:
    """The three fields, the seal first; nothing where no seal can be of use: the last one says already that the chain is broken
    (RFC 8617 §5.1, step 2), or there are fifty.

    `message` has lines that end with CRLF. `cv` is what `arc.verify` said of it: "none", "pass" or "fail". `methods` is what was
    found about the sender when it arrived, and `authserv_id` who found it. `now` is in seconds since the epoch.

    Raises ValueError where `cv` cannot be true of this message, where it has no From field, and where `domain` or `selector`
    cannot stand in a signature.
    """
    section = headers.header_section(message)
    fields = HeaderFields(section)
    instance = chains.next_instance(fields)
    if chains.last_status(fields) == "fail" or instance > chains.MAX_INSTANCE:
        return b""
    before = _before(section, fields, cv, now)
    if not fields.named(b"from"):
        raise ValueError("the message has no From field, which a signature has to cover")
    name = signing_domain(domain, selector)
    common = [f"i={instance}", f"a={key.algorithm}", f"d={name}", f"s={keys.domain_name(selector)}", f"t={int(now)}"]
    results = _field(writing.field(authserv_id, methods, name=chains.RESULTS.encode(), instance=instance, is_utf8=is_utf8))
    names = covered_names(fields, OVER_SIGNED, _SIGNED)
    body = BodyHash(relaxed=True)
    body.update(message[len(section) + len(b"\r\n") :])
    body.finish()
    digest = b64encode(body.digest() or b"").decode()
    unsigned = _unsigned(chains.SIGNATURE, [*common, "c=relaxed/relaxed", f"h={':'.join(names)}", f"bh={digest}"])
    signature = _signed(unsigned, key.sign(signed_octets(fields.picked(names), unsigned, relaxed=True)))
    unsealed = _unsigned(chains.SEAL, [*common, f"cv={cv}"])
    # RFC 8617 §5.1.2: over a broken chain a seal covers its own set only.
    sealed = _signed(unsealed, key.sign(chains.sealed_octets(before, results, signature, unsealed)))
    return b"".join(b"%b:%b\r\n" % (field.name, field.value) for field in (sealed, signature, results))


def _before(section: bytes, fields: HeaderFields, cv: str, now: float) -> tuple[chains.ArcSet, ...]:
    """The sets that the seal covers beside its own. Raises ValueError where `cv` cannot be true."""
    if cv not in ("none", "pass", "fail"):
        raise ValueError("cv has to be none, pass or fail")
    if (cv == "none") == chains.has_any(section):
        raise ValueError("cv=none is for a message without a chain, and for no other")
    if cv != "pass":
        return ()
    try:
        return chains.read(fields, now=now, limits=Limits())
    except Broken as broken:
        raise ValueError(f"cv=pass is not true of this chain: {broken}") from None


def _unsigned(name: str, tags: Sequence[str]) -> Field:
    return Field(name.encode(), folded(name, tags))


def _signed(field: Field, signature: bytes) -> Field:
    return Field(field.name, field.value + wrapped(b64encode(signature)))


def _field(written: bytes) -> Field:
    name, _, value = written.removesuffix(b"\r\n").partition(b":")
    return Field(name, value)
