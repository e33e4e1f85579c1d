"""Verify the chain of a message while it arrives (RFC 8617 §5.2).

`Verifier` is given the header section, then the body in any pieces, and asks for the keys at the end: first for those of the last
set, which has to fit, then for all others at once. For a message without ARC fields it does next to nothing. No message makes it
raise; what it does for one is bounded by `Limits`.
"""

from __future__ import annotations

from collections.abc import Iterable

from waymail.lookups import Answer, Lookups, Query, Status
from waymail.mail import headers
from waymail.senderauth.arc import chain as chains
from waymail.senderauth.arc.chain import ArcSet, Broken, Limits
from waymail.senderauth.arc.result import ArcResult
from waymail.senderauth.authres.grammar import parse_arc
from waymail.senderauth.dkim import key as keys
from waymail.senderauth.dkim.body import Bodies
from waymail.senderauth.dkim.canonical import HeaderFields
from waymail.senderauth.dkim.signature import Signature, Unusable
from waymail.senderauth.dkim.verify import check_body, check_key, signed_octets

_DEFAULT = Limits()


class _Failed(Exception):
    """A signature does not verify. The text says why."""

    def __init__(self, reason: str, *, is_temporary: bool = False) -> None:
        super().__init__(reason)
        self.is_temporary = is_temporary


class Verifier:
    """The chain of one message: made with its header section, fed with its body, then asked."""

    def __init__(self, section: bytes, *, now: float, limits: Limits = _DEFAULT, bodies: Bodies | None = None) -> None:
        """`section` is the header section with its CRLFs, without the empty line; `now` is in seconds since the epoch.

        Where others want hashes of the body, too, `bodies` is what all share: then that is fed with the body, once.
        """
        self._limits = limits
        self._bodies = bodies or Bodies()
        self._sets: tuple[ArcSet, ...] = ()
        self._answers: dict[Query, Answer] = {}
        self._known = ArcResult("none")
        if not chains.has_any(section):
            return
        self._fields = HeaderFields(section)
        try:
            self._sets = chains.read(self._fields, now=now, limits=limits)
        except Broken as broken:
            self._known = ArcResult("fail", str(broken), instances=chains.next_instance(self._fields) - 1)
        for one in self._sets:
            if one.signature:
                self._bodies.want(one.signature.body_relaxed, one.signature.body_length)

    def update(self, chunk: bytes) -> None:
        """The next octets of the body."""
        self._bodies.update(chunk)

    def finish(self) -> Lookups[ArcResult]:
        """Ask for the keys, and say what became of the chain. To be run once."""
        self._bodies.finish()
        if not self._sets:
            return self._known
        last = self._sets[-1]
        try:
            yield from self._ask([last])
            self._check_message_signature(last)
            self._check_seal(last)
            yield from self._ask(self._sets[:-1])
            # RFC 8617 §5.2 has the older message signatures before the seals; but what they come to, no seal depends on.
            for one in reversed(self._sets[:-1]):
                self._check_seal(one)
        except _Failed as failed:
            return ArcResult(
                "fail", str(failed), len(self._sets), last.seal.domain, last.seal.selector, temperror=failed.is_temporary
            )
        return ArcResult(
            "pass",
            instances=len(self._sets),
            domain=last.seal.domain,
            selector=last.seal.selector,
            domains=tuple(one.seal.domain for one in self._sets),
            authserv_results=tuple(parse_arc(one.results.value) for one in self._sets),
            oldest_pass=self._oldest_pass(),
            authentic=all(answer.authentic for answer in self._answers.values()),
        )

    def _ask(self, sets: Iterable[ArcSet]) -> Lookups[None]:
        """Ask for the keys of these sets that were not asked for yet, all at once."""
        queries = dict.fromkeys(each.query for one in sets for each in (one.signature, one.seal) if each)
        missing = tuple(query for query in queries if query not in self._answers)
        if missing:
            self._answers.update(zip(missing, (yield missing), strict=True))

    def _oldest_pass(self) -> int:
        """RFC 8617 §5.2, step 5."""
        for one in reversed(self._sets[:-1]):
            try:
                self._check_message_signature(one)
            except _Failed:
                return one.instance + 1
        return 0

    def _check_message_signature(self, one: ArcSet) -> None:
        signature = one.signature
        if signature is None:
            raise _Failed(one.doubt)
        try:
            check_body(signature, self._bodies)
        except Unusable as unusable:
            raise _Failed(f"the {chains.SIGNATURE} of instance {one.instance}: {unusable}") from None
        covered = self._fields.picked(signature.header_fields, leave_out=signature.field)
        octets = signed_octets(covered, signature.field, signature.header_relaxed)
        self._check(f"the {chains.SIGNATURE} of instance {one.instance}", signature, octets)

    def _check_seal(self, one: ArcSet) -> None:
        before = self._sets[: one.instance - 1]
        octets = chains.sealed_octets(before, one.results, one.signature_field, one.seal_field)
        self._check(f"the {chains.SEAL} of instance {one.instance}", one.seal, octets)

    def _check(self, what: str, signature: Signature, octets: bytes) -> None:
        """Raises _Failed where the key's owner did not sign the octets."""
        name = signature.query.name
        answer = self._answers[signature.query]
        if answer.status is Status.FAILURE:
            raise _Failed(f"{what}: the key {name} could not be looked up: {answer.reason or 'no answer'}", is_temporary=True)
        reason = f"there is no key at {name}"
        for record in answer.records[: self._limits.keys.records]:
            try:
                key = keys.parse(record)
                check_key(signature, key, self._limits.keys)
                if key.verifies(signature.signature, octets):
                    return
                reason = "the signature does not fit: a field that it covers was changed, or its key"
            except ValueError as error:
                reason = f"the key record {name} is broken: {error}"
            except Unusable as unusable:
                reason = str(unusable)
        raise _Failed(f"{what}: {reason}")


def verify(message: bytes, *, now: float, limits: Limits = _DEFAULT) -> Lookups[ArcResult]:
    """The same for a whole message, whose lines end with CRLF."""
    section = headers.header_section(message)
    verifier = Verifier(section, now=now, limits=limits)
    verifier.update(message[len(section) + len(b"\r\n") :])
    return (yield from verifier.finish())
