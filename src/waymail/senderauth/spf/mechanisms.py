"""The mechanisms that ask DNS about hosts: a, mx, ptr, exists (RFC 7208 §5.3 to §5.5, §5.7).

Each says whether it matches, and in words why. They raise Ended where the whole check ends, and NoTarget where the domain-spec
comes to no name, which is no match.
"""

from __future__ import annotations

from collections.abc import Callable

from waymail.lookups import Answer, Lookups, Query, Status
from waymail.senderauth.spf.client import Client, number
from waymail.senderauth.spf.record import Directive
from waymail.senderauth.spf.result import Ended
from waymail.senderauth.spf.state import State, address_type, is_within, said


def _a(state: State, directive: Directive, domain: str) -> Lookups[tuple[bool, str]]:
    name = yield from state.target(directive.domain, domain)
    kind = address_type(state.client)
    answer: Answer = yield Query(name, kind)
    note = said(name, kind, answer)
    if answer.status is Status.FAILURE:
        raise Ended("temperror", note)
    if not answer.records:
        state.count_void()
    return _holds(answer, directive, state.client), note


def _mx(state: State, directive: Directive, domain: str) -> Lookups[tuple[bool, str]]:
    name = yield from state.target(directive.domain, domain)
    answer: Answer = yield Query(name, "MX")
    if answer.status is Status.FAILURE:
        raise Ended("temperror", said(name, "MX", answer))
    hosts = [mx.host for mx in answer.records if mx.host]  # RFC 7505 §3: "" is no host
    if len(hosts) > state.limits.mx_names:
        raise Ended("permerror", f"{name} has more than {state.limits.mx_names} MX")
    if not hosts:
        state.count_void()
        return False, f"{name} has no MX" if answer.records else said(name, "MX", answer)
    kind = address_type(state.client)
    answers: tuple[Answer, ...] = yield tuple(Query(host, kind) for host in hosts)
    found = next((at for at, one in enumerate(answers) if _holds(one, directive, state.client)), None)
    if found is not None:
        return True, f"{name} MX {said(hosts[found], kind, answers[found])}"
    # The MX records have no order among equals: one that matches counts, whichever of the others could not be asked for.
    failed = next((said(host, kind, one) for host, one in zip(hosts, answers, strict=True) if one.status is Status.FAILURE), "")
    if failed:
        raise Ended("temperror", failed)
    if not any(one.records for one in answers):
        state.count_void()
    return False, f"{name} MX " + "; ".join(said(host, kind, one) for host, one in zip(hosts, answers, strict=True))


def _ptr(state: State, directive: Directive, domain: str) -> Lookups[tuple[bool, str]]:
    # A client without a name does not count as a void lookup: whoever sends from there could turn a fail into a permerror.
    target = yield from state.target(directive.domain, domain)
    names, note = yield from state.validated_names()
    return any(is_within(name, target) for name in names), note


def _exists(state: State, directive: Directive, domain: str) -> Lookups[tuple[bool, str]]:
    name = yield from state.target(directive.domain, domain)
    answer: Answer = yield Query(name, "A")  # RFC 7208 §5.7: for clients of IPv6, too
    note = said(name, "A", answer)
    if answer.status is Status.FAILURE:
        raise Ended("temperror", note)
    if not answer.records:
        state.count_void()
    return bool(answer.records), note


def _holds(answer: Answer, directive: Directive, client: Client) -> bool:
    """Whether one of the addresses has the client's high-order bits."""
    shift = directive.shifts[0 if client.version == 4 else 1]
    wanted = client.number >> shift
    return any(number(record, client.version) >> shift == wanted for record in answer.records)


BY_NAME: dict[str, Callable[[State, Directive, str], Lookups[tuple[bool, str]]]] = {
    "a": _a,
    "mx": _mx,
    "ptr": _ptr,
    "exists": _exists,
}
