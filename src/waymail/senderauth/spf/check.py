"""check_host() of RFC 7208 §4: may this client send for that domain?

`check` is for the MAIL FROM identity, `check_helo` for HELO. Both always come to a result: a domain without a record, a record
with mistakes and a DNS that does not answer are results, too. What a record can make them do is bounded (`Limits`).
"""

from __future__ import annotations

import re

from waymail.lookups import Answer, Lookups, Query, Status
from waymail.senderauth.spf import macros
from waymail.senderauth.spf.client import read
from waymail.senderauth.spf.macros import MacroString
from waymail.senderauth.spf.mechanisms import BY_NAME
from waymail.senderauth.spf.record import Directive, Record, RecordError, parse, select
from waymail.senderauth.spf.result import LIMITS, Ended, Limits, SpfResult, Step, shown, visible
from waymail.senderauth.spf.state import NoTarget, State, malformed, said
from waymail.values import value
from waymail.wire.domains import BadDomain, to_ascii

_PRINTABLE = re.compile(r"[ -~]*")


def check(
    ip: str, mail_from: str, helo: str, *, receiver: str = "", now: float = 0.0, limits: Limits = LIMITS
) -> Lookups[SpfResult]:
    """Whether the client at `ip`, which said `helo`, may use the reverse-path `mail_from`.

    "" and "<>" are the null path: postmaster at the `helo` domain is checked in its place (RFC 7208 §2.4). U-labels are put
    into A-labels (RFC 8616 §4). `receiver` is this host's name, for explanations; `now` in seconds since the epoch.

    Raises ValueError where `ip` is no IP address.
    """
    local_part, _, domain = mail_from.removeprefix("<").removesuffix(">").rpartition("@")
    # RFC 7208 §4.3: where there is no local-part it is "postmaster"
    sender = (local_part or "postmaster", _a_labels(domain)) if domain else ("postmaster", _a_labels(helo))
    return _result("mailfrom", State(read(ip), *sender, _a_labels(helo), receiver, now, limits))


def check_helo(ip: str, helo: str, *, receiver: str = "", now: float = 0.0, limits: Limits = LIMITS) -> Lookups[SpfResult]:
    """Whether the client at `ip` may call itself `helo` (RFC 7208 §2.3). Raises ValueError where `ip` is no IP address."""
    domain = _a_labels(helo)
    return _result("helo", State(read(ip), "postmaster", domain, domain, receiver, now, limits))


def _a_labels(domain: str) -> str:
    """RFC 8616 §4: in A-labels. Macros keep upper case as it came; "" for what is no domain name."""
    domain = domain.removesuffix(".")
    if domain.isascii():
        return domain
    try:
        return to_ascii(domain)
    except BadDomain:
        return ""


@value
class _Found:
    """What check_host() comes to for one domain. `exp` and `domain` are those of the record that decided."""

    result: str
    reason: str = ""
    mechanism: str = ""
    exp: MacroString | None = None
    domain: str = ""


def _result(identity: str, state: State) -> Lookups[SpfResult]:
    explanation = ""
    try:
        found = yield from _check_host(state, state.sender_domain, 0)
        if found.result == "fail" and found.exp is not None:
            explanation = yield from _explanation(state, found.exp, found.domain)
    except Ended as ended:
        found = _Found(ended.result, ended.reason)
    domain = state.sender_domain.lower()
    return SpfResult(found.result, explanation, identity, domain, found.mechanism, found.reason, tuple(state.steps))


def _check_host(state: State, domain: str, depth: int) -> Lookups[_Found]:
    """Raises Ended with temperror and permerror."""
    record = yield from _record(state, domain, depth)
    if isinstance(record, _Found):
        return record
    client, steps = state.client, state.steps
    for directive in record.directives:
        if directive.version:
            matches = directive.version == client.version and client.number >> directive.shift == directive.network
            steps.append(Step(depth, domain, directive.text, "match" if matches else "no match"))
        elif directive.name == "all":
            matches = True
            steps.append(Step(depth, domain, directive.text, "match"))
        else:
            matches = yield from _asking(state, directive, domain, depth)
        if matches:
            return _Found(directive.result, f"{shown(directive.text)} of {domain} matches", directive.text, record.exp, domain)
    if record.redirect is not None:
        return (yield from _redirected(state, record.redirect, domain, depth))
    return _no_match(domain)


def _no_match(domain: str) -> _Found:
    return _Found("neutral", f"nothing in the record of {domain} matches")  # RFC 7208 §4.7


def _record(state: State, domain: str, depth: int) -> Lookups[Record | _Found]:
    """The record of a domain, or that it has none (RFC 7208 §4.3 to §4.6). Raises Ended."""
    reason = malformed(domain)
    text, parsed = "", None
    try:
        if not reason:
            answer: Answer = yield Query(domain, "TXT")
            text, reason = _chosen(domain, answer)
        if text:
            state.count_octets(len(text))
            parsed = parse(text)
    except RecordError as error:
        state.steps.append(Step(depth, domain, "", "permerror", visible(text)))
        raise Ended("permerror", f"mistake in the record of {domain}: {error}") from None
    except Ended as ended:
        state.steps.append(Step(depth, domain, "", ended.result, ended.reason))
        raise
    if parsed is None:
        state.steps.append(Step(depth, domain, "", "none", reason))
        return _Found("none", reason)
    state.steps.append(Step(depth, domain, "", "record", text))
    return parsed


def _chosen(domain: str, answer: Answer) -> tuple[str, str]:
    """The text of the SPF record, or "" and why there is none (RFC 7208 §4.4, §4.5). Raises Ended."""
    if answer.status is Status.FAILURE:
        raise Ended("temperror", said(domain, "TXT", answer))
    match select(answer.records):
        case []:
            return "", f"{domain} has no SPF record" if answer.records else said(domain, "TXT", answer)
        case [text]:
            return text, ""
        case several:
            raise Ended("permerror", f"{domain} has {len(several)} SPF records")


def _asking(state: State, directive: Directive, domain: str, depth: int) -> Lookups[bool]:
    """Whether a mechanism matches that asks DNS. Its step stands before those that it leads to. Raises Ended."""
    place = state.open_step()
    matches, outcome, note = False, "", ""
    try:
        state.count_lookup()
        if directive.domain is not None and directive.name == "include":
            matches, note = yield from _include(state, directive.domain, domain, depth)
        else:
            matches, note = yield from BY_NAME[directive.name](state, directive, domain)
    except NoTarget as none:
        note = str(none)
    except Ended as ended:
        outcome, note = ended.result, ended.reason
        raise
    finally:
        state.steps[place] = Step(depth, domain, directive.text, outcome or ("match" if matches else "no match"), note)
    return matches


def _include(state: State, spec: MacroString, domain: str, depth: int) -> Lookups[tuple[bool, str]]:
    """RFC 7208 §5.2. Raises Ended, and NoTarget."""
    target = yield from state.expand(spec, domain)
    found = yield from _check_host(state, target, depth + 1)
    if found.result == "none":
        raise Ended("permerror", found.reason)
    return found.result == "pass", f"{target} says {found.result}"


def _redirected(state: State, spec: MacroString, domain: str, depth: int) -> Lookups[_Found]:
    """RFC 7208 §6.1. Raises Ended."""
    place = state.open_step()
    outcome, note = "no match", ""
    try:
        state.count_lookup()
        target = yield from state.expand(spec, domain)
        found = yield from _check_host(state, target, depth + 1)
        if found.result == "none":
            raise Ended("permerror", found.reason)
        outcome = found.result
    except NoTarget as none:
        note = str(none)
        return _no_match(domain)
    except Ended as ended:
        outcome, note = ended.result, ended.reason
        raise
    finally:
        state.steps[place] = Step(depth, domain, f"redirect={spec.text}", outcome, note)
    return found


def _explanation(state: State, spec: MacroString, domain: str) -> Lookups[str]:
    """What the domain says to who fails; "" where that cannot be had or used, which is no error (RFC 7208 §6.2)."""
    text, note = "", ""
    try:
        name = yield from state.target(spec, domain, is_counted=False)
        answer: Answer = yield Query(name, "TXT")
        if len(answer.records) != 1:
            note = f"{name} has several TXT" if answer.records else said(name, "TXT", answer)
        else:
            words = macros.parse(answer.records[0])
            text = words.expand((yield from state.values(words, domain)), state.limits.explanation)
            if not _PRINTABLE.fullmatch(text):  # what the macros brought in: an explanation goes into a reply
                text, note = "", "it comes to text that is not ASCII"
    except NoTarget as none:
        note = str(none)
    except ValueError as error:
        note = str(error)
    state.steps.append(Step(0, domain, f"exp={spec.text}", "explained" if text else "ignored", text or note))
    return text
