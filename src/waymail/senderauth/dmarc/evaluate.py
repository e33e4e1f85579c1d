"""Whether the author's domain stands behind a message (RFC 9989 §5.3).

`evaluate_author` is for a message, `evaluate` for one domain. They are given what SPF and DKIM have found, ask for the records
that they need, and come to one of five results:

    none       no record applies, or its policy cannot be read and no reports are asked for (§4.10.1)
    pass       a domain that SPF or DKIM authenticated is aligned with the author's
    fail       none is
    temperror  DNS gave no answer that was needed, here or to SPF or DKIM for a domain that would be aligned (§5.3.6)
    permerror  there is no author domain, or one that cannot be in DNS

What is asked: the author domain's record; those above it where it has none, or where an authenticated domain is another one that
may share its Organizational Domain; and the author domain itself where only its existence tells which policy is meant (`np`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from waymail.lookups import Answer, Lookups, Query, Status
from waymail.senderauth.dmarc import walk as walks
from waymail.senderauth.dmarc.author import AuthorDomain
from waymail.senderauth.dmarc.record import Record
from waymail.senderauth.dmarc.walk import Found, Tree, Walk, domain_name
from waymail.values import value

# More domains than that, each another one and each authenticated, are not compared by their Organizational Domains.
MAX_IDENTIFIERS = 20

_ONE_LEVEL_BELOW = {"reject": "quarantine", "quarantine": "none", "none": "none"}


class SpfEvidence(Protocol):
    """What DMARC needs of `spf.SpfResult`."""

    @property
    def result(self) -> str: ...
    @property
    def identity(self) -> str: ...
    @property
    def domain(self) -> str: ...


class DkimEvidence(Protocol):
    """What DMARC needs of `dkim.DkimResult`."""

    @property
    def result(self) -> str: ...
    @property
    def domain(self) -> str: ...


@value
class DmarcResult:
    """What DMARC says of a message, and all of it that an aggregate report wants to know (RFC 9990).

    `policy` is what the domain's owner asks for where a message of this author domain fails: "none", "quarantine" or "reject", by
    `p`, `sp` or `np`, and one step lower where the owner is testing (`t=y`); `published` is the same without that step; both are
    "" where no record applies. `record` is the record's text and `record_domain` where it was found.
    `organizational_domain` is "" where nobody had to ask for it. `notes` says what is wrong with the records that were met.
    `authentic` is true where DNSSEC vouched for every answer.
    """

    result: str
    domain: str
    reason: str = ""
    policy: str = ""
    published: str = ""
    record_domain: str = ""
    organizational_domain: str = ""
    record: str = ""
    spf_aligned: bool = False
    dkim_aligned: bool = False
    is_testing: bool = False
    report_to: tuple[str, ...] = ()
    failure_report_to: tuple[str, ...] = ()
    fo: str = "0"
    notes: tuple[str, ...] = ()
    authentic: bool = False


def evaluate(author_domain: str, *, spf: SpfEvidence | None, dkim: Sequence[DkimEvidence]) -> Lookups[DmarcResult]:
    """Evaluate DMARC for a message whose Author Domain is `author_domain` ("" where it has none; see `author`).

    `spf` is the result for MAIL FROM, or None where SPF was not checked. Its questions count, too: a temporary error of SPF or
    DKIM for an aligned domain is one of DMARC.
    """
    author = domain_name(author_domain)
    if not author:
        reason = f"{author_domain[:80]!a} is no domain in DNS" if author_domain else "there is no single author domain"
        return DmarcResult("permerror", author_domain, reason)
    tree = Tree()
    own: Found = yield from tree.at(author)
    # The author domain's own record applies, wherever a walk would lead.
    walk: Walk = Walk(author, ((author, own.record),)) if own.record else (yield from tree.walk(author))
    if walk.failure:
        return DmarcResult("temperror", author, walk.failure, notes=tuple(tree.notes))
    applicable = walks.policy_of(walk)
    if applicable is None or not applicable[1].applies:
        reason = f"the policy of {applicable[0]} cannot be read" if applicable else "no DMARC record"
        return DmarcResult("none", author, reason, notes=tuple(tree.notes), authentic=tree.authentic)
    organizational_domain = "" if own.record else walks.organizational_domain(walk)
    return (yield from _Evaluation(author, tree, *applicable, organizational_domain).of(spf, dkim))


def evaluate_author(author: AuthorDomain, *, spf: SpfEvidence | None, dkim: Sequence[DkimEvidence]) -> Lookups[DmarcResult]:
    """Evaluate DMARC for a message with this author, also where it is not to be known who that is.

    §11.5: a message that names several domains, or one in a way that not everybody can read, may be made so to get around
    DMARC. Each domain that it names is evaluated, ten at most, and the worst result is that of the message: a fail, by the
    strictest policy, or a temperror. No result makes it pass: without such a one it is a permerror. Where it names more than ten,
    a domain that asks for the strictest policy may be among those that nobody asks about: it is taken for such a one.
    """
    if author.domain:
        return (yield from evaluate(author.domain, spf=spf, dkim=dkim))
    if author.is_crowded:
        return DmarcResult("fail", "", f"{author.reason}, more than can be asked about", policy="reject", published="reject")
    worst = DmarcResult("permerror", "", author.reason)
    for domain in author.domains:
        found: DmarcResult = yield from evaluate(domain, spf=spf, dkim=dkim)
        if _severity(found) > _severity(worst):
            worst = replace(found, reason=f"{author.reason}; {domain}: {found.reason}")
    return worst


class _Evaluation:
    """One author domain and the record that applies to it, before the authenticated domains are looked at."""

    def __init__(self, author: str, tree: Tree, record_domain: str, record: Record, organizational_domain: str) -> None:
        self._author = author
        self._tree = tree
        self._record_domain = record_domain
        self._record = record
        self._organizational = organizational_domain
        self._failure = ""

    def of(self, spf: SpfEvidence | None, dkim: Sequence[DkimEvidence]) -> Lookups[DmarcResult]:
        # §4.4.2: "DMARC relies solely on SPF validation of the MAIL FROM identity."
        by_spf = [spf] if spf is not None and spf.identity == "mailfrom" else []
        record = self._record
        spf_aligned = yield from self._aligned(_domains(by_spf, "pass"), record.aspf)
        dkim_aligned = yield from self._aligned(_domains(dkim, "pass"), record.adkim)
        if spf_aligned or dkim_aligned:
            published, _ = yield from self._published()
            return self._result("pass", published, f"aligned: {_methods(spf_aligned, dkim_aligned)}", spf_aligned, dkim_aligned)
        # §5.3.6: a question that was not answered for SPF or DKIM may be the one that would have made the message pass.
        undecided_spf = yield from self._aligned(_domains(by_spf, "temperror"), record.aspf)
        undecided_dkim = yield from self._aligned(_domains(dkim, "temperror"), record.adkim)
        published, failure = yield from self._published()
        if undecided_spf or undecided_dkim:
            failure = f"no answer for {_methods(undecided_spf, undecided_dkim)}, whose domain is aligned"
        if failure := failure or self._failure:
            return self._result("temperror", published, failure)
        return self._result("fail", published, self._why_failed(by_spf, dkim))

    def _aligned(self, identifiers: list[str], mode: str) -> Lookups[bool]:
        """Whether one of these domains is aligned with the author's (§4.10.2). What could not be found out is in `_failure`."""
        if self._author in identifiers:
            return True
        if mode == "s":
            return False
        for domain in identifiers[:MAX_IDENTIFIERS]:
            if (yield from self._shares_organizational_domain(domain)):
                return True
        return False

    def _shares_organizational_domain(self, domain: str) -> Lookups[bool]:
        # The Organizational Domain of both is an ancestor of both, or one of them: nothing needs to be asked where there is none.
        if not _is_within(domain, self._author.rpartition(".")[2]):
            return False
        top = self._organizational = self._organizational or (yield from self._organizational_domain(self._author))
        return bool(top) and _is_within(domain, top) and (yield from self._organizational_domain(domain)) == top

    def _organizational_domain(self, domain: str) -> Lookups[str]:
        """The Organizational Domain, "" where it could not be found out."""
        walk: Walk = yield from self._tree.walk(domain)
        self._failure = walk.failure or self._failure
        return "" if walk.failure else walks.organizational_domain(walk)

    def _published(self) -> Lookups[tuple[str, str]]:
        """The policy for the author domain, t=y aside, and why it is not known for certain (§4.10.1)."""
        record = self._record
        if self._record_domain == self._author:
            return record.p, ""
        existing = record.sp or record.p
        if record.np in ("", existing):
            return existing, ""
        # §3.2.13: it does not exist where a query for it is answered with NXDOMAIN, whatever its type.
        if (yield from self._tree.at(self._author)).exists:
            return existing, ""
        answer: Answer = yield Query(self._author, "TXT")
        if answer.status is Status.FAILURE:
            return existing, f"{self._author}: {answer.reason or 'no answer'}"
        return record.np if answer.status is Status.NO_NAME else existing, ""

    def _why_failed(self, by_spf: Sequence[SpfEvidence], dkim: Sequence[DkimEvidence]) -> str:
        strays = list(dict.fromkeys(_domains(by_spf, "pass") + _domains(dkim, "pass")))
        if not strays:
            return "neither SPF nor DKIM authenticated a domain"
        return f"authenticated, but not aligned with {self._author}: {', '.join(strays[:3])}{', ...' if len(strays) > 3 else ''}"

    def _result(
        self, result: str, published: str, reason: str, spf_aligned: bool = False, dkim_aligned: bool = False
    ) -> DmarcResult:
        record = self._record
        return DmarcResult(
            result=result,
            domain=self._author,
            reason=reason,
            policy=_ONE_LEVEL_BELOW[published] if record.is_testing else published,  # §4.7, t
            published=published,
            record_domain=self._record_domain,
            organizational_domain=self._organizational,
            record=record.text,
            spf_aligned=spf_aligned,
            dkim_aligned=dkim_aligned,
            is_testing=record.is_testing,
            report_to=record.rua,
            failure_report_to=record.ruf,
            fo=record.fo,
            notes=tuple(self._tree.notes),
            authentic=self._tree.authentic,
        )


def _severity(result: DmarcResult) -> int:
    """A fail by its policy, a temperror, all others."""
    if result.result == "fail":
        return {"reject": 4, "quarantine": 3, "none": 1}[result.policy]
    return 2 if result.result == "temperror" else 0


def _domains(evidence: Sequence[SpfEvidence] | Sequence[DkimEvidence], result: str) -> list[str]:
    """The domains for which a method came to `result`, each once. Those with the fewest labels come first: they cost least."""
    found = {name for one in evidence if one.result == result and (name := domain_name(one.domain))}
    return sorted(found, key=lambda name: (name.count("."), name)) if len(found) > 1 else list(found)


def _is_within(domain: str, top: str) -> bool:
    return domain == top or domain.endswith("." + top)


def _methods(spf: bool, dkim: bool) -> str:
    return " and ".join(method for method, is_meant in (("SPF", spf), ("DKIM", dkim)) if is_meant)
