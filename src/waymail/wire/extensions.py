"""The service extensions that the cores speak, and how a server offers them in its answer to EHLO (RFC 5321 §4.1.1.1).

Always: PIPELINING (RFC 2920), SIZE (RFC 1870), 8BITMIME (RFC 6152), ENHANCEDSTATUSCODES (RFC 2034), HELP. Where the state of the
session allows it: STARTTLS (RFC 3207), AUTH (RFC 4954), REQUIRETLS (RFC 8689). The others are named in `Offer.extensions`, for a
listener offers only what works behind it. What they add to MAIL and RCPT is in `parameters`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from types import MappingProxyType

from waymail.wire.limits import WireLimits
from waymail.wire.replies import Reply

# RFC 5321 §4.1.1.1: ehlo-keyword = (ALPHA / DIGIT) *(ALPHA / DIGIT / "-")
KEYWORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*")
# What every server here can do with every message. RFC 8616 §3 has no keyword of its own: it comes with SMTPUTF8.
EVERYWHERE = frozenset({"CHUNKING", "BINARYMIME", "SMTPUTF8", "DSN", "DELIVERBY", "MT-PRIORITY", "REQUIRETLS", "LIMITS"})
# What a listener offers to some clients: to users FUTURERELEASE (RFC 4865 §4.2), to those that are named ETRN (RFC 1985), and the
# two by which a proxy tells for whom it speaks.
TO_SOME = frozenset({"FUTURERELEASE", "ETRN", "XCLIENT", "XFORWARD"})

XCLIENT_ATTRIBUTES = ("NAME", "ADDR", "PORT", "PROTO", "HELO", "LOGIN", "DESTADDR", "DESTPORT")
XFORWARD_ATTRIBUTES = ("NAME", "ADDR", "PORT", "PROTO", "HELO", "IDENT", "SOURCE")


def offered(
    names: Collection[str], limits: WireLimits, *, secure: bool, starttls: bool, auth: tuple[str, ...], now: float
) -> tuple[str, ...]:
    """The ehlo-lines after the first. HELP is among them: it is no required command (RFC 5321 §4.5.1). `now`, in seconds since
    the epoch, is for FUTURERELEASE, which says until when messages are held."""
    lines = ["PIPELINING", f"SIZE {limits.message_size}", "8BITMIME", "ENHANCEDSTATUSCODES", "HELP"]
    if starttls:
        lines.append("STARTTLS")
    if auth:
        lines.append(f"AUTH {' '.join(auth)}")
    if not names:
        return tuple(lines)
    lines += [name for name in ("CHUNKING", "BINARYMIME", "SMTPUTF8", "DSN", "DELIVERBY", "MT-PRIORITY", "ETRN") if name in names]
    if "REQUIRETLS" in names and secure:
        lines.append("REQUIRETLS")  # RFC 8689 §2: only inside TLS
    if "FUTURERELEASE" in names:
        until = datetime.fromtimestamp(int(now) + limits.hold, UTC)
        lines.append(f"FUTURERELEASE {limits.hold} {until:%Y-%m-%dT%H:%M:%SZ}")
    if "LIMITS" in names:
        # RFC 9422 §4: what is said here must hold in every transaction of the session.
        transactions = f" MAILMAX={limits.transactions}" if limits.transactions else ""
        lines.append(f"LIMITS RCPTMAX={limits.recipients}{transactions}")
    for name, attributes in (("XCLIENT", XCLIENT_ATTRIBUTES), ("XFORWARD", XFORWARD_ATTRIBUTES)):
        if name in names:
            lines.append(f"{name} {' '.join(attributes)}")
    return tuple(lines)


@lru_cache(maxsize=1024)  # the same hosts are greeted again and again
def parse_offered(reply: Reply) -> Mapping[str, str]:
    """What a server's answer to EHLO offers: keywords in upper case, each with the text behind it.

    A line that is no ehlo-line is passed over. Old servers write "AUTH=LOGIN PLAIN" for clients as old as they are: it
    is read as AUTH where there is no other.
    """
    extensions: dict[str, str] = {}
    old_form = ""
    for line in reply.text.split("\n")[1:]:
        keyword, _, argument = line.strip().partition(" ")
        keyword = keyword.upper()
        if KEYWORD.fullmatch(keyword):
            extensions.setdefault(keyword, argument.strip())
        elif keyword.startswith("AUTH="):
            old_form = f"{keyword[5:]} {argument}".strip()
    if old_form:
        extensions.setdefault("AUTH", old_form)
    return MappingProxyType(extensions)
