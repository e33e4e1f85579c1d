"""Addresses as they are compared and routed.

An address here is what stands between the angle brackets of MAIL and RCPT: `Local-part "@" ( Domain / address-literal )`
(RFC 5321 §4.1.2), or a local part alone ("postmaster"). These functions do not judge syntax, `waymail.wire.grammar` does
that; they give some answer for every string and never raise.

The domain is compared without regard to case, and a U-label is the same as its A-label. The local part belongs to the domain
alone: nobody else may change its case or its spelling (RFC 5321 §2.4), so it is kept byte for byte. Only `same` looks through its
quoting.
"""

from __future__ import annotations

import re
import unicodedata

from waymail.wire import domains, grammar

_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_DOT_STRING = re.compile(grammar.DOT_STRING_UTF8)  # RFC 5321 §4.1.2, RFC 6531 §3.3
_QUOTED_PAIR = re.compile(r"\\(.)", re.DOTALL)
# RFC 5322 §3.4, RFC 6532 §3: name-addr = [display-name] angle-addr. Dots may stand in a name (§4.1), comments are a part of it.
_IN_NAME = rf"[ !#-'*+\--9=?A-\[\]-~{grammar.UTF8}]"
_NAMED = re.compile(
    rf'(?:"(?P<quoted>(?:[ !#-\[\]-~{grammar.UTF8}]|\\[ -~{grammar.UTF8}])*+)" *+|(?P<plain>(?:{_IN_NAME}|\({_IN_NAME}*+\))*+))'
    "<(?P<address>[^<>]*+)>"
)


def split(address: str) -> tuple[str, str]:
    """The local part and the domain, as they are spelled; the domain is "" where there is none.

    An "@" inside a quoted local part does not separate, nor does one inside an address literal.
    """
    if address.startswith('"') and (quoted := _QUOTED.match(address)):
        rest = address[quoted.end() :]
        if not rest:
            return address, ""
        if rest.startswith("@"):
            return quoted.group(), rest[1:]
    if address.endswith("]") and "@[" in address:
        local, _, literal = address.partition("@[")
        return local, f"[{literal}"
    local, at, domain = address.rpartition("@")
    return (local, domain) if at else (address, "")


def domain_of(address: str) -> str:
    """The domain in its normal form: lower case, without a trailing dot; "" where there is none."""
    return _normal_domain(split(address)[1])


def normalise(address: str) -> str:
    """The form to use as a key: the domain in its normal form, the local part untouched."""
    local, domain = split(address)
    return f"{local}@{_normal_domain(domain)}" if domain else address


def mailbox_name(address: str) -> str:
    """The local part with its quoting taken off: the name to look up among a domain's mailboxes."""
    local = split(address)[0]
    if len(local) > 1 and local[0] == local[-1] == '"':
        return _QUOTED_PAIR.sub(r"\1", local[1:-1])
    return local


def from_name(name: str, domain: str) -> str:
    """The address of a mailbox: `mailbox_name` turned round. Quoted only where it must be."""
    if _DOT_STRING.fullmatch(name):
        return f"{name}@{domain}"
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + f'"@{domain}'


def named(mailbox: str) -> tuple[str, str] | None:
    """The display name and the address of "Ann <ann@example.org>"; of a quoted name, what is in the quotes. None for whatever may
    be more or less than one such mailbox, and where the name has a control character."""
    found = _NAMED.fullmatch(mailbox)
    if found is None:
        return None
    quoted, plain, spec = found.groups()
    return (plain.strip() if quoted is None else _QUOTED_PAIR.sub(r"\1", quoted)), spec


def folded(name: str) -> str:
    """A local part, or the name of a mailbox, as a domain compares it that does not tell Ann from ann: lower case, and beyond
    ASCII in the normal form C, in which RFC 6530 §10.1 would have all mailbox names."""
    return name.lower() if name.isascii() else unicodedata.normalize("NFC", name).lower()


def same(a: str, b: str) -> bool:
    """Whether both are the same mailbox.

    RFC 5321 §4.1.2: where local parts are compared, all quoted forms are equivalent: "joe"@example.org is
    joe@example.org. Joe@example.org is not: only its own domain could know.
    """
    return a == b or (domain_of(a) == domain_of(b) and mailbox_name(a) == mailbox_name(b))


def is_postmaster(address: str) -> bool:
    """Whether the local part is "postmaster", in any case, with or without a domain (RFC 5321 §4.5.1)."""
    return mailbox_name(address).lower() == "postmaster"


def _normal_domain(domain: str) -> str:
    # One trailing dot is how DNS spells "complete"; in mail it is no part of the name (RFC 5321 §2.3.5), and two
    # spellings of a domain must not be two destinations, or one local and one foreign.
    return domain.lower().removesuffix(".") if domain.isascii() else domains.normal(domain)
