"""What an aggregate report would say of one message (RFC 9990 §3.1.1): kept, so that reports can be made of it. None are sent.

An `Observation` compares and hashes by its fields: messages that are the same to a report are equal, so that they can be counted.
The names are those of the report's elements. `to_dict` and `from_dict` are a form that stays what it is: fields may be added.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields
from typing import Any, Protocol

from waymail.mail import address as addresses
from waymail.senderauth.dmarc import record as records
from waymail.senderauth.dmarc.evaluate import DkimEvidence, DmarcResult, SpfEvidence
from waymail.senderauth.dmarc.walk import domain_name
from waymail.values import value

# RFC 9990 §3.1.3: "A report SHOULD contain no more than 100 signatures for a given row".
MAX_SIGNATURES = 100
_MAX_TEXT = 200

# RFC 9990 §3.1.6
OVERRIDES = ("local_policy", "mailing_list", "other", "policy_test_mode", "trusted_forwarder")


class SpfOutcome(SpfEvidence, Protocol):
    @property
    def reason(self) -> str: ...


class DkimOutcome(DkimEvidence, Protocol):
    @property
    def selector(self) -> str: ...
    @property
    def reason(self) -> str: ...


@value
class Override:
    """Why what was done is not what the policy asks for: `type` is one of OVERRIDES, `comment` is for a person."""

    type: str
    comment: str = ""


@value
class Signature:
    """One DKIM signature: element "dkim" (§3.1.1.12)."""

    domain: str
    selector: str
    result: str
    human_result: str = ""


@value
class Observation:
    """One message, as the domain's owner would see it.

    policy_published: `policy_domain` to `testing`; row: `source_ip` to `reasons`; identifiers: `header_from` to `envelope_to`;
    auth_results: `signatures` and the three of SPF, which are "" where SPF was not checked for MAIL FROM. `errors` is what
    report_metadata would say of the record; `report_to` is where the report would go.
    """

    policy_domain: str
    p: str
    sp: str
    np: str
    adkim: str
    aspf: str
    fo: str
    testing: str
    source_ip: str
    disposition: str
    dkim: str
    spf: str
    reasons: tuple[Override, ...]
    header_from: str
    envelope_from: str
    envelope_to: str
    signatures: tuple[Signature, ...]
    spf_domain: str
    spf_result: str
    spf_human_result: str
    errors: tuple[str, ...]
    report_to: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> Observation:
        """What `to_dict` gave. Names that are unknown here are passed over; raises KeyError for one that is missing."""
        known: dict[str, Any] = {name: plain[name] for name in _NAMES}
        known["reasons"] = tuple(Override(**one) for one in known["reasons"])
        known["signatures"] = tuple(Signature(**one) for one in known["signatures"])
        return cls(**known | {name: tuple(known[name]) for name in ("errors", "report_to")})


_NAMES = tuple(field.name for field in fields(Observation))


def observe(
    dmarc: DmarcResult,
    *,
    ip: str,
    mail_from: str,
    recipient_domain: str = "",
    spf: SpfOutcome | None,
    dkim: Sequence[DkimOutcome],
    disposition: str,
    overrides: Sequence[Override] = (),
) -> Observation | None:
    """What a report would say of this message; None where no report is to be made.

    That is so where no record applies, where DMARC came to no result, and where the record has no `rua` (RFC 9989 §4.7: then
    reports MUST NOT be generated). `disposition` is what was done with the message: "none", "quarantine" or "reject"; where it is
    not what the policy asks for, `overrides` says why (RFC 9990 §3.1.1.9). Where the owner is testing (`t=y`), they may be empty.
    """
    record = records.parse(dmarc.record)
    if record is None or not dmarc.report_to or dmarc.result not in ("pass", "fail"):
        return None
    passed = dmarc.result == "pass"
    reasons = list(overrides)
    if not passed and disposition == dmarc.policy != dmarc.published and not reasons:
        reasons.append(Override("policy_test_mode", "t=y"))
    by_mail_from = spf if spf is not None and spf.identity == "mailfrom" else None
    return Observation(
        policy_domain=dmarc.record_domain,
        p=record.p,
        sp=record.sp,
        np=record.np,
        adkim=record.adkim,
        aspf=record.aspf,
        fo=record.fo,
        testing="y" if record.is_testing else "n",
        source_ip=ip,
        # Appendix A: "pass" is "No action, passing DMARC w/enforcing policy".
        disposition="pass" if passed and disposition == "none" and dmarc.published != "none" else disposition,
        dkim="pass" if dmarc.dkim_aligned else "fail",
        spf="pass" if dmarc.spf_aligned else "fail",
        reasons=tuple(reasons),
        header_from=dmarc.domain,
        envelope_from=addresses.domain_of(mail_from),
        envelope_to=recipient_domain,
        signatures=_signatures(dmarc, dkim),
        spf_domain=by_mail_from.domain if by_mail_from else "",
        spf_result=by_mail_from.result if by_mail_from else "",
        spf_human_result=by_mail_from.reason[:_MAX_TEXT] if by_mail_from else "",
        errors=dmarc.notes,
        report_to=dmarc.report_to,
    )


def _signatures(dmarc: DmarcResult, dkim: Sequence[DkimOutcome]) -> tuple[Signature, ...]:
    """§3.1.3: those that pass first, and of them those that are aligned strictly, then those within the Organizational Domain."""
    top = dmarc.organizational_domain or dmarc.record_domain

    def rank(one: DkimOutcome) -> int:
        name = domain_name(one.domain)
        if one.result != "pass":
            return 3
        return 0 if name == dmarc.domain else 1 if name == top or name.endswith("." + top) else 2

    ordered = sorted(dkim, key=rank)[:MAX_SIGNATURES]
    return tuple(Signature(one.domain, one.selector, one.result, one.reason[:_MAX_TEXT]) for one in ordered)
