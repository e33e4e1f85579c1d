"""What the judge writes down: the header fields of a message, and the event in its history.

Nothing of it is secret from the recipient; in the header fields every octet that came from elsewhere is escaped, and in the
history every text and list has a bound.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from waymail.lookups import Answer, Mx, Query
from waymail.mail import headers
from waymail.senderauth import authres
from waymail.senderauth.verdict import Evidence, Verdict
from waymail.store.contract import Event

VERDICT = "X-Waymail-Verdict"

MOST_QUESTIONS = 200  # of one message that its history keeps
MOST_RECORDS = 30  # of one answer
MOST_TEXT = 500  # characters of one text
MOST_OF_KEY = 80  # characters of a public key's record: what kind of key it was, and a beginning by which it is known
_WIDTH = 76


def results_field(authserv_id: str, evidence: Evidence) -> bytes:
    """The Authentication-Results field, CRLF-ended."""
    return authres.field(authserv_id, tuple(methods(evidence)))


def without_forgeries(head: bytes, authserv_id: str) -> bytes:
    """Octets that begin with a header section, without the fields of it that say that they come from us (RFC 8601 §5)."""
    section = headers.header_section(head)
    kept = headers.without(authres.without(section, authserv_id), VERDICT.lower().encode())
    return head if kept == section else kept + head[len(section) :]


def methods(evidence: Evidence) -> Iterator[authres.Method]:
    """What was found out, as RFC 8601 writes it: the domains of the sender first."""
    if evidence.spf is not None:
        yield authres.of_spf(evidence.spf, evidence.sender, evidence.helo)
    if evidence.spf_helo is not None:
        yield authres.of_spf(evidence.spf_helo, evidence.sender, evidence.helo)
    if evidence.dmarc is not None:  # the whole message was there
        if not evidence.dkim:
            yield authres.Method("dkim", "none")
        for one in evidence.dkim:
            yield authres.of_dkim(one)
        yield authres.of_dmarc(evidence.dmarc)
    if evidence.arc is not None and evidence.arc.result != "none":
        yield authres.of_arc(evidence.arc, evidence.ip)
    if evidence.iprev is not None:
        yield authres.of_iprev(evidence.iprev, evidence.ip)
    if evidence.dnsbl is not None:
        yield from authres.of_dnsbl(evidence.dnsbl)


def verdict_field(verdict: Verdict) -> bytes:
    """The field by which filters find what was marked or quarantined, CRLF-ended; b"" for all else."""
    if verdict.action not in ("mark", "quarantine"):
        return b""
    reason = "".join(letter if " " <= letter <= "~" and letter not in '"\\' else "?" for letter in verdict.reason[:MOST_TEXT])
    lines = [f"{VERDICT}: {verdict.action}; rule={verdict.rule};"]
    words = iter(f'reason="{reason}"'.split(" "))
    line = f" {next(words)}"
    for word in words:
        if len(line) + 1 + len(word) > _WIDTH and line.strip():
            lines.append(line)
            line = ""
        line += f" {word}"
    return "\r\n".join((*lines, line, "")).encode("ascii")


def judged_event(
    at: float,
    verdict: Verdict,
    evidence: Evidence,
    record: Sequence[tuple[Query, Answer]],
    forged: int = 0,
    withheld: Sequence[str] = (),
) -> Event:
    """What `waymail explain` tells. `forged` fields that claimed to be ours were taken out; `withheld` are those elsewhere to
    whom the message was not forwarded."""
    detail: dict[str, Any] = {
        "action": verdict.action,
        "rule": verdict.rule,
        "reason": verdict.reason[:MOST_TEXT],
        "reply": str(verdict.reply) if verdict.reply else "",
        "checks": dict(checks(evidence)),
        "matches": [{"rule": one.rule, "action": one.action, "reason": one.reason[:MOST_TEXT]} for one in verdict.matches],
        "dns": [_asked(query, answer) for query, answer in record[:MOST_QUESTIONS]],
    }
    if verdict.override:
        detail["override"] = f"{verdict.override.type}: {verdict.override.comment}"
    if forged:
        detail["forged"] = forged
    if withheld:
        detail["withheld"] = list(withheld)
    return Event(at, "judged", detail)


def checks(evidence: Evidence) -> Iterator[tuple[str, Any]]:
    """Each check that was made, with its result and the reason for it, as plain data."""
    if spf := evidence.spf:
        yield "spf", _check(spf.result, spf.reason, domain=spf.domain, mechanism=spf.mechanism, explanation=spf.explanation)
    if spf := evidence.spf_helo:
        yield "helo", _check(spf.result, spf.reason, domain=spf.domain, mechanism=spf.mechanism)
    if evidence.dmarc is not None:
        signatures = [
            _check(
                one.result,
                one.reason,
                domain=one.domain,
                selector=one.selector,
                algorithm=one.algorithm,
                bits=one.bits or "",
                dnssec=one.authentic or "",
            )
            for one in evidence.dkim
        ]
        yield "dkim", signatures or _check("none", "no signature")
    if dmarc := evidence.dmarc:
        aligned = " ".join(name for name, is_so in (("spf", dmarc.spf_aligned), ("dkim", dmarc.dkim_aligned)) if is_so)
        yield (
            "dmarc",
            _check(
                dmarc.result,
                dmarc.reason,
                domain=dmarc.domain,
                policy=dmarc.policy,
                published=dmarc.published,
                record_domain=dmarc.record_domain,
                record=dmarc.record,
                aligned=aligned,
                dnssec=dmarc.authentic or "",
            ),
        )
    if arc := evidence.arc:
        yield "arc", _check(arc.result, arc.reason, domain=arc.domain, instances=arc.instances or "")
    if iprev := evidence.iprev:
        yield "iprev", _check(iprev.result, iprev.reason, name=iprev.name)
    if dnsbl := evidence.dnsbl:
        hits = [{"zone": hit.zone, "answer": hit.answer, "score": hit.score, "text": hit.text} for hit in dnsbl.hits]
        failures = list(dnsbl.failures)
        yield "dnsbl", _check("listed" if hits else "none", dnsbl.reason, score=dnsbl.score, hits=hits, failures=failures)
    listed = {"blocked": evidence.blocked, "allowed": evidence.allowed}
    for name, entry in listed.items():
        if entry:
            yield name, _check(name, entry)
    if evidence.talked_early:
        yield "early", _check("fail", "the client spoke before it was greeted")


def _check(result: str, reason: str, **others: Any) -> dict[str, Any]:
    """What is empty is left out."""
    told = {"result": result, "reason": reason[:MOST_TEXT]} | others
    return {name: value[:MOST_TEXT] if isinstance(value, str) else value for name, value in told.items() if value not in ("", [])}


def _asked(query: Query, answer: Answer) -> list[Any]:
    most = MOST_OF_KEY if "._domainkey." in query.name else MOST_TEXT
    records = [_text(record)[:most] for record in answer.records[:MOST_RECORDS]]
    status = answer.status.value
    return [query.name, query.type, f"{status}: {answer.reason}" if answer.reason else status, records, answer.authentic]


def _text(record: object) -> str:
    """A record as one reads it: an MX as "10 mx.example.org"."""
    match record:
        case str():
            text = record
        case Mx(preference, host):
            text = f"{preference} {host}"
        case tuple():
            text = " ".join(map(str, record))
        case _:
            text = str(record)
    return text[:MOST_TEXT].encode("utf-8", "backslashreplace").decode()  # what is no UTF-8 in a TXT record
