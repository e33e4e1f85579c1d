"""Internationalised domain names (IDNA 2008: RFC 5890, RFC 5891, with the mapping of UTS 46, non-transitional).

On the wire, in DNS and as keys, a domain is in A-labels: "xn--bcher-kva.example". People write U-labels: "bücher.example". Both
directions are cached, and neither raises anything but `BadDomain`. The tables, the rules of context (RFC 5892) and those of
right-to-left names (RFC 5893) are those of the idna package.
"""

from __future__ import annotations

from functools import lru_cache


class BadDomain(ValueError):
    """The text is no domain name that can be used with IDNA. The message says why."""


@lru_cache(maxsize=4096)
def to_ascii(domain: str) -> str:
    """The domain in A-labels and lower case; a dot at its end is kept. Names in ASCII are only put into lower case.

    Raises BadDomain for what is no internationalised domain name.
    """
    if domain.isascii():
        return domain.lower()
    import idna  # its tables take some milliseconds to load, and most who start need none of them

    try:
        return idna.encode(domain, uts46=True, std3_rules=True).decode("ascii")
    except (idna.IDNAError, UnicodeError) as error:
        raise BadDomain(str(error)) from None


@lru_cache(maxsize=4096)
def to_unicode(domain: str) -> str:
    """The domain in U-labels, to be shown. A name that has no such form, or a forged one, is given back in lower case."""
    if "xn--" not in (lowered := domain.lower()):
        return lowered
    import idna

    try:
        return idna.decode(lowered)
    except (idna.IDNAError, UnicodeError):
        return lowered


def normal(domain: str) -> str:
    """The domain as a key: A-labels, lower case, no dot at the end. What is no domain name is only put into lower case: it is
    no other name's key."""
    try:
        return to_ascii(domain).removesuffix(".")
    except BadDomain:
        return domain.lower().removesuffix(".")
