"""From the parameters of MAIL and RCPT to what they mean, and back again for the next hop.

The wire core has judged their syntax (`waymail.wire.parameters`); here a number becomes a time. `now` is seconds since the epoch.
"""

from __future__ import annotations

import re
from collections.abc import Container, Mapping
from datetime import datetime

from waymail.mail.envelope import NO_OPTIONS, DeliverBy, Options, Recipient
from waymail.wire.commands import NO_PARAMETERS
from waymail.wire.grammar import decode_xtext, encode_xtext
from waymail.wire.parameters import MAX_ORCPT

_PLAIN = frozenset({"SIZE", "BODY"})  # what has nothing to do with options
_MOST_SECONDS = 999_999_999  # RFC 2852 §4: by-time has nine digits


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


def _hold(parameters: Mapping[str, str | None], now: float) -> tuple[str, float]:
    """RFC 4865 §3: the request, as §5.1.2 has it in a notice, and until when it holds the message."""
    if seconds := parameters.get("HOLDFOR"):
        return f"for;{seconds}", now + int(seconds)
    if text := parameters.get("HOLDUNTIL"):
        return f"until;{text}", datetime.fromisoformat(text).timestamp()
    return "", 0.0


def _deliver_by(value: str | None, now: float) -> DeliverBy | None:
    """RFC 2852 §4: by-time ";" by-mode [by-trace]"""
    if value is None:
        return None
    seconds, _, mode = value.partition(";")
    return DeliverBy(now + int(seconds), "R" if mode[0] == "R" else "N", mode.endswith("T"))


def mail_parameters(
    options: Options, offered: Container[str], now: float, *, authenticated: bool = False
) -> dict[str, str | None]:
    """The parameters of MAIL that hand on what the sender asked for, as far as the next hop offers it.

    `offered` are the keywords of its EHLO; `authenticated` says whether it knows who we are (RFC 4954 §5: to others it listens
    not). Whether the message may go without what is not offered is not decided here.
    """
    parameters: dict[str, str | None] = {}
    if options.smtputf8 and "SMTPUTF8" in offered:
        parameters["SMTPUTF8"] = None
    if options.require_tls and "REQUIRETLS" in offered:
        parameters["REQUIRETLS"] = None
    if "DSN" in offered:
        # RFC 3461 §5.2.1: with the same value, and never where there was none.
        if options.ret:
            parameters["RET"] = options.ret
        if options.envid:
            parameters["ENVID"] = options.envid
    if authenticated and "AUTH" in offered and options.submitter is not None and options.submitter.isascii():
        parameters["AUTH"] = encode_xtext(options.submitter) or "<>"
    if options.deliver_by is not None and "DELIVERBY" in offered:
        parameters["BY"] = _by(options.deliver_by, now)
    if options.priority and "MT-PRIORITY" in offered:
        parameters["MT-PRIORITY"] = str(options.priority)
    if options.hold and "FUTURERELEASE" in offered:
        kind, _, value = options.hold.partition(";")
        parameters[f"HOLD{kind.upper()}"] = value
    return parameters


def rcpt_parameters(recipient: Recipient, offered: Container[str], options: Options = NO_OPTIONS) -> Mapping[str, str | None]:
    """The parameters of RCPT that hand on what the sender asked for; none where the next hop does not offer DSN (RFC 3461
    §5.2.2)."""
    if "DSN" not in offered:
        return NO_PARAMETERS
    parameters: dict[str, str | None] = {}
    notify = recipient.notify
    if options.deliver_by is not None and options.deliver_by.mode == "N" and "DELIVERBY" not in offered:
        notify = _with_delay(notify)
    if notify:
        parameters["NOTIFY"] = notify
    if orcpt := _orcpt(recipient, "SMTPUTF8" in offered and options.smtputf8):
        parameters["ORCPT"] = orcpt
    return parameters


def _by(deliver_by: DeliverBy, now: float) -> str:
    # RFC 2852 §4.1.4: what is left of the time; with "N" it may be over.
    left = int(deliver_by.until - now)
    seconds = max(-_MOST_SECONDS, min(left, _MOST_SECONDS))
    return f"{seconds};{deliver_by.mode}{'T' if deliver_by.trace else ''}"


def _with_delay(notify: str) -> str:
    """RFC 2852 §4.1.4.2: whom nobody else will tell that it is late, the next hop shall tell."""
    if notify == "NEVER" or "DELAY" in notify:
        return notify
    return f"{notify},DELAY" if notify else "FAILURE,DELAY"


def _orcpt(recipient: Recipient, utf8: bool) -> str:
    """RFC 3461 §5.2.1: ORCPT as it came, or else the address that we were given; "" where that is too long."""
    if recipient.orcpt:
        return recipient.orcpt if utf8 or recipient.orcpt.isascii() else _embedded(recipient.orcpt)
    address = recipient.original or recipient.address
    if address.isascii():
        orcpt = f"rfc822;{encode_xtext(address)}"
    else:
        # RFC 6533 §3: what xtext cannot hold, and "\\", "+", "=" besides, are EmbeddedUnicodeChar.
        orcpt = _embedded("utf-8;" + re.sub(r"[^!-*,-<>-\[\]-~\x80-\U0010ffff]", _embedded_character, address))
    return orcpt if len(orcpt) <= MAX_ORCPT else ""


def _embedded(text: str) -> str:
    """RFC 6533 §3: utf-8-addr-xtext, for servers that do not offer SMTPUTF8; with it, too, it is understood."""
    return re.sub(r"[^\x00-\x7f]", _embedded_character, text)


def _embedded_character(found: re.Match[str]) -> str:
    return f"\\x{{{ord(found[0]):02X}}}"
