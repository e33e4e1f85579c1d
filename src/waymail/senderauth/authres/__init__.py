"""Authentication-Results (RFC 8601): what was found about the sender, for whoever reads the message later."""

from __future__ import annotations

from waymail.senderauth.authres.forged import Forged, forged, without
from waymail.senderauth.authres.grammar import AuthenticationResults, Method, arc_instance, parse, parse_arc
from waymail.senderauth.authres.results import of_arc, of_dkim, of_dmarc, of_dnsbl, of_iprev, of_spf
from waymail.senderauth.authres.writing import field

__all__ = [
    "AuthenticationResults",
    "Forged",
    "Method",
    "arc_instance",
    "field",
    "forged",
    "of_arc",
    "of_dkim",
    "of_dmarc",
    "of_dnsbl",
    "of_iprev",
    "of_spf",
    "parse",
    "parse_arc",
    "without",
]
