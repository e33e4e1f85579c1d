"""What each check found, as it stands in an Authentication-Results field: the method, and the properties registered for it."""

from __future__ import annotations

import re

from waymail.senderauth.arc.result import ArcResult
from waymail.senderauth.authres.grammar import Method
from waymail.senderauth.dkim.verify import DkimResult
from waymail.senderauth.dmarc.evaluate import DmarcResult
from waymail.senderauth.dnsbl import DnsblResult
from waymail.senderauth.iprev import IprevResult
from waymail.senderauth.spf.result import SpfResult

_LOCAL_PART_MACRO = re.compile(r"%\{[ls]", re.IGNORECASE)  # RFC 7208 §7.2: %{l} and %{s} expand to it


def of_spf(result: SpfResult, sender: str, helo: str) -> Method:
    """RFC 8601 §2.7.2: of the two identities only the one that was checked is told. `sender` is that of MAIL, `helo` the name in
    HELO or EHLO. Without a sender it is helo: what is checked then is made of it (RFC 7208 §2.4)."""
    if result.identity == "helo" or sender in ("", "<>"):
        return _method("spf", result, ("smtp", "helo", helo))
    # §2.7.2: without the local part, where the domain's record has nothing to do with it
    has_local_part = _LOCAL_PART_MACRO.search(result.mechanism) is not None
    return _method("spf", result, ("smtp", "mailfrom", sender if has_local_part else sender.rpartition("@")[2]))


def of_dkim(result: DkimResult) -> Method:
    """RFC 8601 §2.7.1; header.b tells one signature from another (RFC 6008)."""
    return _method(
        "dkim",
        result,
        ("header", "d", result.domain),
        ("header", "i", result.identity),
        ("header", "s", result.selector),
        ("header", "a", result.algorithm),
        ("header", "b", result.signature),
    )


def of_dmarc(result: DmarcResult) -> Method:
    """header.from is registered for DMARC, and policy.dmarc for what the domain asks to be done with mail that fails."""
    return _method("dmarc", result, ("header", "from", result.domain), ("policy", "dmarc", result.policy))


def of_arc(result: ArcResult, ip: str) -> Method:
    """RFC 8617 §6. `ip` is the client's address."""
    oldest = (("header", "oldest-pass", str(result.oldest_pass)),) if result.result == "pass" else ()
    return _method("arc", result, *oldest, ("smtp", "remote-ip", ip))


def of_iprev(result: IprevResult, ip: str) -> Method:
    """RFC 8601 §2.7.3. `ip` is the client's address."""
    return _method("iprev", result, ("policy", "iprev", ip))


def of_dnsbl(result: DnsblResult) -> tuple[Method, ...]:
    """What allow lists say, as "dnswl" (RFC 8904 §2).

    Nothing of block lists: no method is registered for them, and RFC 8601 §2.7.6 has readers ignore the whole field for one
    that they do not know.
    """
    return tuple(
        Method(
            "dnswl",
            "pass",
            "",
            (
                ("dns", "zone", hit.zone),
                ("policy", "ip", hit.answer),
                *((("policy", "txt", hit.text),) if hit.text else ()),
                ("dns", "sec", "yes" if hit.is_authentic else "na"),
            ),
        )
        for hit in result.hits
        if hit.allow
    )


def _method(
    name: str, result: SpfResult | DkimResult | DmarcResult | ArcResult | IprevResult, *properties: tuple[str, str, str]
) -> Method:
    """The method, with those properties that have a value."""
    return Method(name, result.result, result.reason, tuple(one for one in properties if one[2]))
