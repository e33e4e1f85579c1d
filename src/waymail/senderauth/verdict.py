"""Which rule decides what becomes of a message, given all that was found out about its sender.

Each line of `RULES` is a finding, and is called in the configuration what it is called here: `on_spf_fail` says what is done
where `spf_fail` applies. The most severe action of those that apply decides; of equally severe ones the first in the table. So
that it can be followed, the verdict keeps them all.

Three things stand above the rules, in this order. What an allow list holds is accepted. Where a trusted forwarder sealed that
DMARC passed when he got the message, the rules of DMARC do not apply. And mail for postmaster and abuse alone is never refused
nor put aside, for that is where people turn who were refused (RFC 5321 §4.5.1, RFC 2142 §4): it is marked.

Nothing here raises, asks DNS or looks at a clock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import field
from typing import Literal

from waymail.senderauth import codes
from waymail.senderauth.arc import ArcResult
from waymail.senderauth.dkim import DkimResult
from waymail.senderauth.dmarc import AuthorDomain, DmarcResult
from waymail.senderauth.dnsbl import DnsblResult
from waymail.senderauth.iprev import IprevResult
from waymail.senderauth.spf import SpfResult
from waymail.values import value
from waymail.wire.replies import Reply

Action = Literal["accept", "mark", "quarantine", "defer", "reject", "discard"]  # the last one only by a policy in Python
Stage = Literal["rcpt", "message"]

SEVERITY: Mapping[str, int] = {"accept": 0, "mark": 1, "quarantine": 2, "defer": 3, "reject": 4, "discard": 5}
_LONGEST_TEXT = 300  # characters of a refusal that were taken from elsewhere


@value
class Evidence:
    """What is known of a message and its sender. What was not looked at is None or empty.

    `blocked` and `allowed` name the entry of a list of the operator's and where it stands; `list_field` is the name of a header
    field that only mailing lists write.
    """

    ip: str
    helo: str = ""
    sender: str = ""
    talked_early: bool = False
    blocked: str = ""
    allowed: str = ""
    dnsbl: DnsblResult | None = None
    iprev: IprevResult | None = None
    spf_helo: SpfResult | None = None
    spf: SpfResult | None = None
    author: AuthorDomain | None = None
    dkim: tuple[DkimResult, ...] = ()
    dmarc: DmarcResult | None = None
    arc: ArcResult | None = None
    list_field: str = ""

    def with_message(
        self,
        author: AuthorDomain,
        dkim: tuple[DkimResult, ...],
        dmarc: DmarcResult,
        arc: ArcResult,
        list_field: str,
    ) -> Evidence:
        """The same, with what the whole message adds. (`dataclasses.replace` takes ten times as long.)"""
        known = (self.ip, self.helo, self.sender, self.talked_early, self.blocked, self.allowed, self.dnsbl, self.iprev)
        return Evidence(*known, self.spf_helo, self.spf, author, dkim, dmarc, arc, list_field)


@value
class Rules:
    """What the operator has set. `actions` leads from the names of rules to what is done; `help_url` may hold {code}, {rule} and
    {ip}."""

    actions: Mapping[str, Action] = field(default_factory=dict)
    dnsbl_score: float = 1.0
    arc_trusted: frozenset[str] = frozenset()
    help_url: str = ""


@value
class Match:
    """A rule that applies, what it does, and why: `text` for everybody, `reason` with what only the operator may know."""

    rule: str
    action: Action
    text: str
    reason: str


@value
class Override:
    """Why something else is done than the author's domain asks for, in the words of aggregate reports (RFC 9990 §3.1.1.9)."""

    type: Literal["local_policy", "policy_test_mode", "trusted_forwarder"]
    comment: str


@value
class Verdict:
    """What is done. `rule` is the one that decided, "" where none applies; `reply` is there where the message is refused."""

    action: Action
    rule: str = ""
    reason: str = ""
    reply: Reply | None = None
    override: Override | None = None
    matches: tuple[Match, ...] = ()


Finding = tuple[str, str]  # for everybody, and for the operator


@value
class Rule:
    """`status` is the enhanced status code of a refusal without its class: RFC 7372 §3; RFC 3463 §3.8 for what that has no code
    for, and §3.5 for DNS that does not answer (X.4.3)."""

    name: str
    stage: Stage
    status: str
    find: Callable[[Evidence, Rules], Finding | None]


def decide(evidence: Evidence, rules: Rules, stage: Stage, *, is_spared: bool = False) -> Verdict:
    """The verdict on a recipient ("rcpt") or on the whole message. `is_spared`: it is for postmaster or abuse alone."""
    matches = tuple(_matches(evidence, rules, stage))
    if evidence.allowed:
        override = override_of(evidence, rules, "accept", "allow_list")
        return Verdict("accept", "allow_list", evidence.allowed, None, override, matches)
    decisive = max(matches, key=lambda match: SEVERITY[match.action], default=None)
    if decisive is None or decisive.action == "accept":
        return Verdict("accept", "", "", None, override_of(evidence, rules, "accept", ""), matches)
    if is_spared and SEVERITY[decisive.action] > SEVERITY["mark"]:
        reason = f"{decisive.reason}; spared, for it is for postmaster or abuse"
        return Verdict("mark", decisive.rule, reason, None, override_of(evidence, rules, "mark", "postmaster"), matches)
    override = override_of(evidence, rules, decisive.action, decisive.rule)
    return Verdict(decisive.action, decisive.rule, decisive.reason, _reply(decisive, evidence, rules), override, matches)


def trusted_forwarder(evidence: Evidence, rules: Rules) -> str:
    """In which words a forwarder who is believed vouches that the message passed DMARC when he got it; "" where none does.

    RFC 8617 §7.2.1: what an intermediary says it saw counts as far as it is trusted.
    """
    arc = evidence.arc
    if arc is None or arc.result != "pass" or not _is_within(arc.domain, rules.arc_trusted):
        return ""
    seen = arc.authserv_results[-1] if arc.authserv_results else None
    if seen is None or not any(method.method == "dmarc" and method.result == "pass" for method in seen.methods):
        return ""
    return f"{arc.domain}, which is trusted, saw DMARC pass (ARC instance {arc.instances})"


def refusal(match: Match, rules: Rules, status: str, ip: str) -> Reply:
    """The reply that refuses for this rule."""
    kind = 4 if match.action == "defer" else 5
    code, enhanced = (451 if kind == 4 else 550), f"{kind}.{status}"
    # Not str.format: the URL may hold braces of its own.
    url = rules.help_url.replace("{code}", enhanced).replace("{rule}", match.rule).replace("{ip}", ip)
    return Reply(code, f"{match.text[:_LONGEST_TEXT]}; see {url}" if url else match.text[:_LONGEST_TEXT], enhanced)


def _matches(evidence: Evidence, rules: Rules, stage: Stage) -> Iterator[Match]:
    for rule in RULES:
        if (stage == "message" or rule.stage == "rcpt") and (found := rule.find(evidence, rules)) is not None:
            yield Match(rule.name, rules.actions.get(rule.name, "accept"), *found)


def _reply(match: Match, evidence: Evidence, rules: Rules) -> Reply | None:
    if match.action not in ("defer", "reject"):
        return None
    status = next(rule.status for rule in RULES if rule.name == match.rule)
    return refusal(match, rules, status, evidence.ip)


def override_of(evidence: Evidence, rules: Rules, action: Action, rule: str) -> Override | None:
    """What an aggregate report has to say where the disposition is not what the domain publishes."""
    dmarc = evidence.dmarc
    if dmarc is None or dmarc.result != "fail" or action == "defer":
        return None
    done = {"quarantine": "quarantine", "reject": "reject", "discard": "reject"}.get(action, "none")
    if done == dmarc.published:
        return None
    if forwarder := trusted_forwarder(evidence, rules):
        return Override("trusted_forwarder", forwarder)
    if dmarc.is_testing and done == dmarc.policy:
        return Override("policy_test_mode", "t=y")
    return Override("local_policy", rule or f"on_dmarc_{dmarc.policy}")


def _is_within(domain: str, domains: frozenset[str]) -> bool:
    """Whether a domain is one of these, or below one of them."""
    labels = domain.lower().split(".")
    return any(".".join(labels[at:]) in domains for at in range(len(labels)))


# --- what each rule looks for ---


def _passes(evidence: Evidence) -> bool:
    """Whether the author's domain stands behind the message, whatever way it took."""
    return evidence.dmarc is not None and evidence.dmarc.result == "pass"


def _block_list(evidence: Evidence, rules: Rules) -> Finding | None:
    return ("mail from you is not taken here", evidence.blocked) if evidence.blocked else None


def _dnsbl(evidence: Evidence, rules: Rules) -> Finding | None:
    found = evidence.dnsbl
    if found is None or found.score < rules.dnsbl_score:
        return None
    bad = [hit for hit in found.hits if hit.score > 0]
    names = " and ".join(dict.fromkeys(hit.zone for hit in bad))
    text = "; ".join(hit.text for hit in bad if hit.text)
    return f"{evidence.ip} or its domain is listed by {names}" + (f": {text}" if text else ""), f"score {found.score:g}: {names}"


def _early_talker(evidence: Evidence, rules: Rules) -> Finding | None:
    # RFC 5321 §4.3.1: the client waits for the greeting.
    said = "you spoke before you were greeted"
    return (said, "the client spoke before it was greeted") if evidence.talked_early else None


def _iprev_fail(evidence: Evidence, rules: Rules) -> Finding | None:
    found = evidence.iprev
    if found is None or found.result not in ("fail", "permerror"):
        return None
    text = f"{evidence.ip} has no name that leads back to it"
    return text, _with(text, found.reason)


def _helo_fail(evidence: Evidence, rules: Rules) -> Finding | None:
    found = evidence.spf_helo
    if found is None or found.result != "fail":
        return None
    text = f"{evidence.ip} may not call itself {found.domain} (SPF)"
    return text, _with(text, found.reason)


def _spf_fail(evidence: Evidence, rules: Rules) -> Finding | None:
    found = evidence.spf
    if found is None or found.result != "fail" or _passes(evidence):
        return None
    text = f"{evidence.ip} may not send for {found.domain} (SPF)"
    # RFC 7208 §6.2: the domain's own words; whoever shows them says whose they are.
    return text + (f"; {found.domain} explains: {found.explanation}" if found.explanation else ""), _with(text, found.reason)


def _spf_softfail(evidence: Evidence, rules: Rules) -> Finding | None:
    found = evidence.spf
    if found is None or found.result != "softfail" or _passes(evidence):
        return None
    text = f"{evidence.ip} probably may not send for {found.domain} (SPF softfail)"
    return text, _with(text, found.reason)


def _spf_permerror(evidence: Evidence, rules: Rules) -> Finding | None:
    found = evidence.spf
    if found is None or found.result != "permerror" or _passes(evidence):
        return None
    text = _with(f"the SPF record of {found.domain} cannot be used", found.reason)
    return text, text


def _dkim_fail(evidence: Evidence, rules: Rules) -> Finding | None:
    if not evidence.dkim or _passes(evidence) or any(one.result in ("pass", "temperror") for one in evidence.dkim):
        return None
    text = "no DKIM signature is valid"
    return text, _with(text, "; ".join(f"{one.domain}: {one.reason or one.result}" for one in evidence.dkim[:3]))


def _no_author(evidence: Evidence, rules: Rules) -> Finding | None:
    found = evidence.author
    if found is None or found.domain:
        return None
    text = _with("the From field names no one author", found.reason)
    return text, text


def _dmarc(evidence: Evidence, rules: Rules, policy: str) -> Finding | None:
    found = evidence.dmarc
    if found is None or found.result != "fail" or found.policy != policy or trusted_forwarder(evidence, rules):
        return None
    asks = {"reject": "asks to refuse", "quarantine": "asks to distrust", "none": "does not vouch for"}[policy]
    text = _with(f"{found.domain} {asks} mail that is not authenticated as its own (DMARC)", found.reason)
    if not found.domain:  # there are too many
        text = found.reason
    return text, text


def _dmarc_reject(evidence: Evidence, rules: Rules) -> Finding | None:
    return None if _signs_of_forwarding(evidence) else _dmarc(evidence, rules, "reject")


def _dmarc_reject_forwarded(evidence: Evidence, rules: Rules) -> Finding | None:
    # RFC 9989 §7.4: p=reject alone is no reason to reject; it takes other knowledge. Where that speaks for a list, it is taken
    # for p=quarantine.
    signs, found = _signs_of_forwarding(evidence), _dmarc(evidence, rules, "reject")
    return (found[0], f"{found[1]}; but {signs}") if signs and found else None


def _signs_of_forwarding(evidence: Evidence) -> str:
    if evidence.list_field:
        return f"it has a field {evidence.list_field}, as mailing lists write it"
    arc = evidence.arc
    return f"{arc.domain} forwarded it (ARC)" if arc is not None and arc.result == "pass" else ""


def _dmarc_quarantine(evidence: Evidence, rules: Rules) -> Finding | None:
    return _dmarc(evidence, rules, "quarantine")


def _dmarc_none(evidence: Evidence, rules: Rules) -> Finding | None:
    return _dmarc(evidence, rules, "none")


def _temperror(evidence: Evidence, rules: Rules) -> Finding | None:
    """Where DNS owes an answer that could have put the message aside, or worse; what could not is no reason to wait for it."""
    spf, dmarc = evidence.spf, evidence.dmarc
    if _passes(evidence):
        return None
    if dmarc is not None and dmarc.result == "temperror" and _is_grave(rules, _BY_DMARC):
        return f"DNS gave no answer about {dmarc.domain}", _with(f"DMARC of {dmarc.domain}", dmarc.reason)
    if spf is not None and spf.result == "temperror" and _is_grave(rules, _BY_SPF):
        return f"DNS gave no answer about {spf.domain}", _with(f"SPF of {spf.domain}", spf.reason)
    return None


_BY_DMARC = ("dmarc_reject", "dmarc_reject_forwarded", "dmarc_quarantine", "dmarc_none")
_BY_SPF = ("spf_fail", "spf_softfail", "spf_permerror")


def _is_grave(rules: Rules, names: tuple[str, ...]) -> bool:
    return any(SEVERITY[rules.actions.get(name, "accept")] > SEVERITY["mark"] for name in names)


def _with(text: str, reason: str) -> str:
    return f"{text}: {reason}" if reason else text


RULES: tuple[Rule, ...] = (
    Rule("block_list", "rcpt", "7.1", _block_list),
    Rule("dnsbl", "rcpt", "7.1", _dnsbl),
    Rule("early_talker", "rcpt", "7.0", _early_talker),
    Rule("iprev_fail", "rcpt", codes.REVERSE_DNS_FAILED.number, _iprev_fail),
    Rule("helo_fail", "rcpt", codes.SPF_FAILED.number, _helo_fail),
    Rule("dmarc_reject", "message", codes.SEVERAL_FAILED.number, _dmarc_reject),
    Rule("dmarc_reject_forwarded", "message", codes.SEVERAL_FAILED.number, _dmarc_reject_forwarded),
    Rule("dmarc_quarantine", "message", codes.SEVERAL_FAILED.number, _dmarc_quarantine),
    Rule("spf_fail", "message", codes.SPF_FAILED.number, _spf_fail),
    Rule("no_author", "message", "7.1", _no_author),
    Rule("dkim_fail", "message", codes.NO_PASSING_DKIM.number, _dkim_fail),
    Rule("dmarc_none", "message", codes.SEVERAL_FAILED.number, _dmarc_none),
    Rule("spf_softfail", "message", codes.SPF_FAILED.number, _spf_softfail),
    Rule("spf_permerror", "message", codes.SPF_ERROR.number, _spf_permerror),
    Rule("temperror", "message", "4.3", _temperror),
)
