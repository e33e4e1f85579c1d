"""From the parameters of MAIL and RCPT to what they mean.

The wire core has judged their syntax (`waymail.wire.parameters`); here a number becomes a time. `now` is seconds since the epoch.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from waymail.mail.envelope import NO_OPTIONS, DeliverBy, Options, Recipient
from waymail.wire.grammar import decode_xtext

_PLAIN = frozenset({"SIZE", "BODY"})  # what has nothing to do with options


def options_of(parameters: Mapping[str, str | None], now: float) -> Options:
    """What the sender asked for in MAIL. Raises nothing for parameters that `checked_mail_parameters` let through."""
    if parameters.keys() <= _PLAIN:
        return NO_OPTIONS
    submitter = parameters.get("AUTH")
    hold, hold_until = _hold(parameters, now)
    return Options(
        smtputf8="SMTPUTF8" in parameters,
        require_tls="REQUIRETLS" in parameters,
        ret=parameters.get("RET") or "",
        envid=parameters.get("ENVID") or "",
        submitter=None if submitter is None else "" if submitter == "<>" else decode_xtext(submitter),
        hold=hold,
        hold_until=hold_until,
        deliver_by=_deliver_by(parameters.get("BY"), now),
        priority=int(parameters.get("MT-PRIORITY") or 0),
    )


def with_parameters(recipient: Recipient, parameters: Mapping[str, str | None]) -> Recipient:
    """The recipient with what the sender asked for in RCPT (RFC 3461 §4)."""
    if not parameters:
        return recipient
    notify, orcpt = parameters.get("NOTIFY") or "", parameters.get("ORCPT") or ""
    return Recipient(recipient.address, recipient.original, notify, orcpt)


def _hold(parameters: Mapping[str, str | None], now: float) -> tuple[str, float]:
    """RFC 4865 §3: the request, as §5.1.2 has it in a notice, and until when it holds the message."""
    if seconds := parameters.get("HOLDFOR"):
        return f"for;{seconds}", now + int(seconds)
    if text := parameters.get("HOLDUNTIL"):
        try:
            return f"until;{text}", datetime.fromisoformat(text).timestamp()
        except ValueError:  # the 31st of a shorter month
            return f"until;{text}", float("inf")
    return "", 0.0


def _deliver_by(value: str | None, now: float) -> DeliverBy | None:
    """RFC 2852 §4: by-time ";" by-mode [by-trace]"""
    if value is None:
        return None
    seconds, _, mode = value.partition(";")
    return DeliverBy(now + int(seconds), "R" if mode[0] == "R" else "N", mode.endswith("T"))
