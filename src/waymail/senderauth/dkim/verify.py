"""Verify the DKIM signatures of a message while it arrives (RFC 6376 §6).

`Verifier` is given the header section, then the body in any pieces, and asks for the keys at the end. For a message without
signatures it does next to nothing. No message makes it raise; what it does for one is bounded by `Limits`.
"""

from __future__ import annotations

from waymail.lookups import Answer, Lookups, Status
from waymail.mail import headers
from waymail.senderauth.dkim import key as keys
from waymail.senderauth.dkim import tags
from waymail.senderauth.dkim.body import Bodies
from waymail.senderauth.dkim.canonical import Field, HeaderFields, header, without_signature
from waymail.senderauth.dkim.signature import Limits, Signature, Unusable, identity, number, read
from waymail.values import value

NAME = b"dkim-signature"
SHOWN = 8  # octets of b= by which a signature is known: RFC 6008 §4

_MOST_SHOWN = 64
_MAX_TEXT = 255  # characters of a value that is told of a broken signature
_RANK = ("pass", "fail", "policy", "permerror")  # what is told of a signature where there are several key records
_DEFAULT = Limits()


@value
class DkimResult:
    """What became of one signature.

    `result` is pass, fail, policy, neutral, temperror or permerror, and `reason` says why, or what to know of one that passed.
    `domain` and `selector` are in A-labels and lower case where they are valid, and as they stand where not. `bits` is the length
    of the key, 0 where none was had. `signature` is the beginning of b=, long enough to tell it from the message's others.
    `body_length` is l=, and `unsigned` the number of canonical octets behind it. `is_testing`: RFC 6376 §3.6.1 wants the message
    to be treated as if this signature were not there. `authentic`: DNSSEC vouched for the key.
    """

    result: str
    domain: str = ""
    selector: str = ""
    identity: str = ""
    algorithm: str = ""
    bits: int = 0
    signature: str = ""
    reason: str = ""
    is_testing: bool = False
    authentic: bool = False
    header_fields: tuple[str, ...] = ()
    body_length: int | None = None
    unsigned: int = 0
    timestamp: int | None = None
    expires: int | None = None


@value
class _Found:
    """A signature field: its tags, and either what it says or why it cannot be used."""

    tags: dict[str, str]
    signature: Signature | None
    result: str
    reason: str


@value
class _Verdict:
    """What one key record makes of a signature."""

    result: str
    reason: str = ""
    bits: int = 0
    is_testing: bool = False


class Verifier:
    """The signatures of one message: made with its header section, fed with its body, then asked."""

    def __init__(self, section: bytes, *, now: float, limits: Limits = _DEFAULT, bodies: Bodies | None = None) -> None:
        """`section` is the header section with its CRLFs, without the empty line; `now` is in seconds since the epoch.

        Where others want hashes of the body, too, `bodies` is what all share: then that is fed with the body, once.
        """
        self._limits = limits
        self._fields = HeaderFields(section if headers.has(section, NAME) else b"")
        candidates = self._fields.named(NAME)
        self._found = [_found(field, now, limits) for field in candidates[: limits.signatures]]
        self._passed_over = len(candidates) - len(self._found)
        self._bodies = bodies or Bodies()
        for found in self._found:
            if found.signature:
                self._bodies.want(found.signature.body_relaxed, found.signature.body_length)

    def update(self, chunk: bytes) -> None:
        """The next octets of the body."""
        self._bodies.update(chunk)

    def finish(self) -> Lookups[list[DkimResult]]:
        """Ask for the keys, all at once, and say what became of each signature, from the top. To be run once.

        Signatures beyond the limit are told of with one result, the last.
        """
        self._bodies.finish()
        queries = tuple(dict.fromkeys(found.signature.query for found in self._found if found.signature))
        answers: dict[object, Answer] = dict(zip(queries, (yield queries), strict=True)) if queries else {}
        shown = _shown([found.tags.get("b", "") for found in self._found])
        results = []
        for found, beginning in zip(self._found, shown, strict=True):
            answer = answers[found.signature.query] if found.signature else None
            results.append(self._result(found, beginning, answer))
        if self._passed_over:
            most = self._limits.signatures
            results.append(DkimResult("policy", reason=f"{self._passed_over} more signatures: {most} at most are looked at"))
        return results

    def _result(self, found: _Found, beginning: str, answer: Answer | None) -> DkimResult:
        signature = found.signature
        if signature is None or answer is None:
            return _told(found, _Verdict(found.result, found.reason), beginning)
        verdict = self._verdict(signature, answer)
        unsigned = 0
        if signature.body_length is not None:
            unsigned = max(self._bodies.size(signature.body_relaxed) - signature.body_length, 0)
        return _told(found, verdict, beginning, unsigned=unsigned, authentic=answer.authentic)

    def _verdict(self, signature: Signature, answer: Answer) -> _Verdict:
        """RFC 6376 §6.1.2."""
        name = signature.query.name
        if answer.status is Status.FAILURE:
            return _Verdict("temperror", f"the key {name} could not be looked up: {answer.reason or 'no answer'}")
        if not answer.records:
            return _Verdict("permerror", f"there is no key at {name}")
        # Of several records any may be tried. Most are none of DKIM's, but a wildcard's.
        verdicts = [self._by_record(signature, record) for record in answer.records[: self._limits.records]]
        return min(verdicts, key=lambda verdict: _RANK.index(verdict.result))

    def _by_record(self, signature: Signature, record: str) -> _Verdict:
        try:
            key = keys.parse(record)
        except ValueError as error:
            return _Verdict("permerror", f"the key record {signature.query.name} is broken: {error}")
        try:
            check_key(signature, key, self._limits)
            check_body(signature, self._bodies)
            if not key.verifies(signature.signature, self._signed(signature)):
                raise Unusable("fail", "the signature does not fit: a header field that it covers was changed, or its key")
        except Unusable as unusable:
            return _Verdict(unusable.result, str(unusable), key.bits, key.is_testing)
        return _Verdict("pass", "", key.bits, key.is_testing)

    def _signed(self, signature: Signature) -> bytes:
        return signed_octets(
            self._fields.picked(signature.header_fields, signature.field), signature.field, signature.header_relaxed
        )


def verify(message: bytes, *, now: float, limits: Limits = _DEFAULT) -> Lookups[list[DkimResult]]:
    """The same for a whole message, whose lines end with CRLF."""
    section = headers.header_section(message)
    verifier = Verifier(section, now=now, limits=limits)
    verifier.update(message[len(section) + len(b"\r\n") :])
    return (yield from verifier.finish())


def check_key(signature: Signature, key: keys.Key, limits: Limits) -> None:
    """Raises Unusable where the key is not for this signature."""
    name = signature.query.name
    if key.hashes and "sha256" not in key.hashes:
        raise Unusable("permerror", f"the key {name} is not for SHA-256 (h=)")
    if key.is_revoked:
        raise Unusable("permerror", f"the key {name} is revoked")
    if key.type != keys.ALGORITHMS[signature.algorithm]:
        raise Unusable("permerror", f"the key {name} is not for {signature.algorithm} (k=)")
    if not {"*", "email"} & set(key.services):  # RFC 6376 §3.6.1, s=
        raise Unusable("permerror", f"the key {name} is not for mail (s=)")
    if key.is_strict and signature.identity_domain != signature.domain:  # RFC 6376 §3.6.1, t=s
        raise Unusable("permerror", f"the key {name} allows no domain below d= in i= (t=s)")
    if key.type == keys.RSA and key.bits < keys.MIN_RSA_BITS:
        raise Unusable("permerror", f"the key {name} has {key.bits} bits, too few to be believed (RFC 8301 §3.2)")
    if key.bits > limits.key_bits:
        raise Unusable("policy", f"the key {name} has {key.bits} bits, more than the {limits.key_bits} that are tried")


def check_body(signature: Signature, bodies: Bodies) -> None:
    """Raises Unusable where the body is not the one that was signed."""
    digest = bodies.digest(signature.body_relaxed, signature.body_length)
    if digest is None:
        raise Unusable("fail", f"the body is shorter than the {signature.body_length} octets that were signed (l=)")
    if digest != signature.body_hash:
        raise Unusable("fail", "the body was changed")


def signed_octets(covered: list[Field], own: Field, relaxed: bool) -> bytes:
    """What a signature signs (RFC 6376 §3.7): the fields, then its own without the value of b= and without a CRLF."""
    octets = [field.canonical(relaxed) for field in covered]
    octets.append(header(own.name, without_signature(own.value), relaxed).removesuffix(b"\r\n"))
    return b"".join(octets)


def _found(field: Field, now: float, limits: Limits) -> _Found:
    try:
        found = tags.parse(field.value)
    except ValueError as error:
        return _Found({}, None, "neutral", f"the signature breaks the grammar: {error}")
    try:
        return _Found(found, read(field, found, now, limits), "", "")
    except Unusable as unusable:
        return _Found(found, None, unusable.result, str(unusable))


def _shown(values: list[str]) -> list[str]:
    """RFC 6008 §4: the beginnings of b=, eight octets, or as many more as it takes to tell them apart."""
    beginnings = [tags.compact(text[: 2 * _MOST_SHOWN])[:_MOST_SHOWN] for text in values]
    distinct = len(set(beginnings))
    length = SHOWN
    while len({text[:length] for text in beginnings}) < distinct:
        length += 1
    return [text[:length] for text in beginnings]


def _told(found: _Found, verdict: _Verdict, beginning: str, *, unsigned: int = 0, authentic: bool = False) -> DkimResult:
    signature = found.signature
    return DkimResult(
        result=verdict.result,
        domain=signature.domain if signature else _on_one_line(found.tags.get("d", "")),
        selector=signature.selector if signature else _on_one_line(found.tags.get("s", "")),
        identity=_on_one_line(identity(found.tags)),
        algorithm=signature.algorithm if signature else _on_one_line(found.tags.get("a", "")),
        bits=verdict.bits,
        signature=beginning,
        reason=verdict.reason or _remarks(verdict, unsigned),
        is_testing=verdict.is_testing,
        authentic=authentic,
        header_fields=signature.header_fields if signature else (),
        body_length=signature.body_length if signature else None,
        unsigned=unsigned,
        timestamp=_time(found, "t"),
        expires=_time(found, "x"),
    )


def _on_one_line(text: str) -> str:
    """What a stranger wrote, for header fields, replies and logs: not endless, and without line ends and other controls, which
    folds and the quoting in i= can bring in."""
    text = text[:_MAX_TEXT]
    if text.isprintable():
        return text
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())


def _remarks(verdict: _Verdict, unsigned: int) -> str:
    """What to know of a signature that passed."""
    remarks = []
    if unsigned:
        remarks.append(f"the last {unsigned} octets of the body are not signed (l=)")
    if verdict.is_testing:
        remarks.append("the domain is trying DKIM out (t=y)")
    return "; ".join(remarks)


def _time(found: _Found, name: str) -> int | None:
    try:
        return number(found.tags, name)
    except Unusable:
        return None
