r"""The grammar of command arguments (RFC 5321 §4.1.2, §4.1.3), each production quoted beside its rule.

Promises: time linear in the length of the argument; `SyntaxProblem`, with the reply that says so, for whatever does not
follow the grammar, and nothing else. The lengths of RFC 5321 §4.5.3.1 are part of the grammar here.

Beyond ASCII the grammar is that of RFC 6531 §3.3: UTF-8 in local parts and quoted strings, U-labels in domains. Whether the
client may use it (SMTPUTF8) is not decided here.

Where we deviate:
- Control characters and line separators beyond ASCII (U+0080 to U+009F, U+2028, U+2029) are in no address.
- IPv4-address-literal: no leading zeros. "010" is eight to some programs and ten to others.
- IPv6-address-literal: "::" may stand for a single group too, as it may everywhere but in mail.
- A label has 63 octets at most, because none longer is in DNS.
- The argument of EHLO may have underscores and one trailing dot (see `is_hello_name`); a Domain may not.
"""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import IPv6Address

from waymail.wire import domains
from waymail.wire.errors import SyntaxProblem
from waymail.wire.replies import Reply

# RFC 5321 §4.5.3.1.1 to §4.5.3.1.3, in octets; a path is counted with its angle brackets.
MAX_LOCAL_PART = 64
MAX_DOMAIN = 255
MAX_PATH = 256

# sub-domain = Let-dig [Ldh-str]          Let-dig = ALPHA / DIGIT          Ldh-str = *( ALPHA / DIGIT / "-" ) Let-dig
SUB_DOMAIN = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
# Domain = sub-domain *("." sub-domain)
DOMAIN = rf"{SUB_DOMAIN}(?:\.{SUB_DOMAIN})*"
# Atom = 1*atext, atext as in RFC 5322 §3.2.3
ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
# Dot-string = Atom *("." Atom)
DOT_STRING = rf"{ATOM}(?:\.{ATOM})*"
# Quoted-string   = DQUOTE *QcontentSMTP DQUOTE         QcontentSMTP = qtextSMTP / quoted-pairSMTP
# quoted-pairSMTP = %d92 %d32-126                       qtextSMTP    = %d32-33 / %d35-91 / %d93-126
QUOTED_STRING = r'"(?:[ !#-\[\]-~]|\\[ -~])*"'
# Snum = 1*3DIGIT ; representing a decimal integer value in the range 0 through 255
SNUM = r"(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
# IPv4-address-literal = Snum 3("." Snum)
IPV4 = rf"{SNUM}(?:\.{SNUM}){{3}}"
# General-address-literal = Standardized-tag ":" 1*dcontent      Standardized-tag = Ldh-str
# dcontent = %d33-90 / %d94-126 ; Printable US-ASCII excl. "[", "\", "]"
GENERAL = r"(?P<tag>(?:[A-Za-z0-9-]*[A-Za-z0-9])):(?P<dcontent>[!-Z^-~]+)"
# address-literal = "[" ( IPv4-address-literal / IPv6-address-literal / General-address-literal ) "]"
LITERAL = re.compile(rf"\[(?:{IPV4}|{GENERAL})\]")
# Mailbox = Local-part "@" ( Domain / address-literal )      Local-part = Dot-string / Quoted-string
MAILBOX = re.compile(rf"(?P<local>{DOT_STRING}|{QUOTED_STRING})@(?P<domain>\[.*\]|{DOMAIN})")
# RFC 6531 §3.3: atext, qtextSMTP, esmtp-value =/ UTF8-non-ascii; sub-domain =/ U-label
UTF8 = "\u00a0-\u2027\u202a-\ud7ff\ue000-\U0010ffff"
ATOM_UTF8 = rf"[A-Za-z0-9!#$%&'*+/=?^_`{{|}}~{UTF8}-]+"
DOT_STRING_UTF8 = rf"{ATOM_UTF8}(?:\.{ATOM_UTF8})*"
QUOTED_STRING_UTF8 = rf'"(?:[ !#-\[\]-~{UTF8}]|\\[ -~])*"'
MAILBOX_UTF8 = re.compile(rf"(?P<local>{DOT_STRING_UTF8}|{QUOTED_STRING_UTF8})@(?P<domain>\[.*\]|[A-Za-z0-9.{UTF8}-]+)")
# A-d-l = At-domain *( "," At-domain )      At-domain = "@" Domain
# It is thrown away, so a Domain is only looked at roughly: one way to read it, or a long route takes exponential time.
SOURCE_ROUTE = re.compile(rf"@[A-Za-z0-9.{UTF8}-]++(?:,@[A-Za-z0-9.{UTF8}-]++)*+:")
# esmtp-param   = esmtp-keyword ["=" esmtp-value]
# esmtp-keyword = (ALPHA / DIGIT) *(ALPHA / DIGIT / "-")      esmtp-value = 1*(%d33-60 / %d62-126)
PARAMETER = re.compile(rf"(?P<keyword>[A-Za-z0-9][A-Za-z0-9-]*)(?:=(?P<value>[!-<>-~{UTF8}]+))?")
# xtext = *( xchar / hexchar )      xchar = %d33-42 / %d44-60 / %d62-126      hexchar = "+" 2(%x30-39 / %x41-46)
XTEXT = re.compile(r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})*")
# RFC 6533 §3: utf-8-addr-xtext and utf-8-addr-unitext      EmbeddedUnicodeChar = %x5C.78 "{" HEXPOINT "}"
# HEXPOINT leaves out what xtext can hold, surrogates, what is beyond the last code point, and CR and LF.
HEXPOINT = (
    "[01][1-9]|[12]0|2B|3D|7F|5C|[89A-F][0-9A-F]|[1-9A-F][0-9A-F]{2}|[1-9A-CEF][0-9A-F]{3}|D[0-7][0-9A-F]{2}"
    "|[1-9A-F][0-9A-F]{4}|10[0-9A-F]{4}"
)
UTF8_XTEXT = re.compile(rf"(?:[!-*,-<>-\[\]-~{UTF8}]|\\x\{{(?:{HEXPOINT})\}})+")

_DOMAIN = re.compile(DOMAIN)
_PLAIN_XTEXT = re.compile(r"[!-*,-<>-~]*")
_HELLO_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?\.?")

NOT_UTF8 = Reply(553, "the address is neither ASCII nor UTF-8", "5.6.7")
NOT_XTEXT = Reply(501, "this is not xtext", "5.5.4")
BAD_PARAMETERS = Reply(501, "parameters are KEYWORD or KEYWORD=value, one space between two", "5.5.4")


def is_domain(text: str) -> bool:
    """Whether `text` is a Domain of at most 255 octets: no trailing dot, no underscore, no U-label."""
    return len(text) <= MAX_DOMAIN and _DOMAIN.fullmatch(text) is not None


def is_address_literal(text: str) -> bool:
    """Whether `text` is an address-literal, brackets included."""
    found = LITERAL.fullmatch(text)
    if found is None or len(text) > MAX_DOMAIN:
        return False
    return found["tag"] is None or found["tag"].lower() != "ipv6" or _is_ipv6(found["dcontent"])


def is_mailbox(text: str) -> bool:
    """Whether `text` is a Mailbox within the lengths of RFC 5321 §4.5.3.1, beyond ASCII as RFC 6531 §3.3 has it."""
    return len(text) <= MAX_PATH - 2 and _is_mailbox(text)


@lru_cache(maxsize=2048)  # who sends a message looks at each address twice, and at his own all the time
def _is_mailbox(text: str) -> bool:
    if not text.isascii():
        return _is_mailbox_utf8(text)
    found = MAILBOX.fullmatch(text)
    if found is None or len(found["local"]) > MAX_LOCAL_PART:
        return False
    domain = found["domain"]
    return is_address_literal(domain) if domain[0] == "[" else len(domain) <= MAX_DOMAIN


def is_hello_name(text: str) -> bool:
    """Whether `text` will do as the argument of EHLO.

    RFC 5321 §4.1.1.1 asks for a Domain or an address-literal. Host names with underscores, or with the dot that says
    "complete" in DNS, are sent by honest clients of all sizes; refusing their mail would help nobody (§4.1.4).
    """
    return is_address_literal(text) or (len(text) <= MAX_DOMAIN and _HELLO_NAME.fullmatch(text) is not None)


def parse_path(path: bytes, *, enhanced: str = "5.1.7") -> str:
    """The mailbox in a Reverse-path, its source route dropped; "" for the null path "<>".

        Reverse-path = Path / "<>"          Path = "<" [ A-d-l ":" ] Mailbox ">"

    Raises SyntaxProblem: 501 with the `enhanced` code, or 553 5.6.7 for octets that are no UTF-8 (overlong forms and
    surrogates among them).
    """
    if path == b"<>":
        return ""
    try:
        text = path.decode("utf-8")
    except UnicodeDecodeError:
        raise SyntaxProblem(NOT_UTF8) from None
    if len(path) > MAX_PATH:
        raise SyntaxProblem(Reply(501, "path too long", enhanced))  # RFC 5321 §4.5.3.1.10
    if not (text.startswith("<") and text.endswith(">")):
        raise SyntaxProblem(Reply(501, "a path stands between < and >", enhanced))
    mailbox = text[1:-1]
    # RFC 5321 §4.1.1.3 and Appendix C: the route is recognised, and then treated as if it had not been given.
    if mailbox.startswith("@") and (route := SOURCE_ROUTE.match(mailbox)):
        mailbox = mailbox[route.end() :]
    if not is_mailbox(mailbox):
        raise SyntaxProblem(Reply(501, "this is not a mailbox", enhanced))
    return mailbox


def parse_forward_path(path: bytes) -> str:
    """The mailbox in a Forward-path, or "postmaster" as it is spelled (RFC 5321 §4.1.1.3).

        "<Postmaster@" Domain ">" / "<Postmaster>" / Forward-path          Forward-path = Path

    Raises SyntaxProblem as `parse_path` does, and for "<>".
    """
    if path.lower() == b"<postmaster>":
        return path[1:-1].decode("ascii")
    if path == b"<>":
        raise SyntaxProblem(Reply(501, "a recipient has a mailbox", "5.1.3"))
    return parse_path(path, enhanced="5.1.3")


def parse_parameters(octets: bytes) -> dict[str, str | None]:
    """The parameters of MAIL or RCPT: keywords in upper case, None for a value that is not there.

        Mail-parameters = esmtp-param *(SP esmtp-param)

    Raises SyntaxProblem (501 5.5.4), also where a keyword comes twice.
    """
    parameters: dict[str, str | None] = {}
    try:
        text = octets.decode("utf-8")
    except UnicodeDecodeError:
        raise SyntaxProblem(BAD_PARAMETERS) from None
    for parameter in text.split(" "):
        found = PARAMETER.fullmatch(parameter)
        if found is None:
            raise SyntaxProblem(BAD_PARAMETERS)
        keyword, value = found.groups()
        keyword = keyword.upper()
        if keyword in parameters:
            raise SyntaxProblem(Reply(501, f"{keyword} comes twice", "5.5.4"))
        parameters[keyword] = value
    return parameters


def decode_xtext(text: str) -> str:
    """The text that xtext stands for (RFC 3461 §4): its octets are ASCII, or else UTF-8. Raises SyntaxProblem (501 5.5.4)."""
    if XTEXT.fullmatch(text) is None:
        raise SyntaxProblem(NOT_XTEXT)
    if "+" not in text:
        return text
    octets = re.sub(rb"\+([0-9A-F]{2})", lambda pair: bytes([int(pair[1], 16)]), text.encode("ascii"))
    try:
        return octets.decode("utf-8")
    except UnicodeDecodeError:
        raise SyntaxProblem(NOT_XTEXT) from None


def encode_xtext(text: str) -> str:
    """`text` as xtext (RFC 3461 §4). Raises ValueError where it has characters beyond ASCII."""
    if not text.isascii():
        raise ValueError(f"xtext is ASCII: {text!r}")
    if _PLAIN_XTEXT.fullmatch(text):
        return text
    return re.sub(r"[^!-*,-<>-~]", lambda character: f"+{ord(character[0]):02X}", text)


def encode_utf8_xtext(text: str) -> str:
    """`text` as utf-8-addr-xtext (RFC 6533 §3), which is ASCII."""
    return re.sub(r"[^!-*,-<>-\[\]-~]", lambda character: f"\\x{{{ord(character[0]):02X}}}", text)


def _is_ipv6(text: str) -> bool:
    try:
        return IPv6Address(text).scope_id is None
    except ValueError:
        return False


def _is_mailbox_utf8(text: str) -> bool:
    found = MAILBOX_UTF8.fullmatch(text)
    if found is None or _size(text) > MAX_PATH - 2 or _size(found["local"]) > MAX_LOCAL_PART:
        return False
    domain = found["domain"]
    if domain[0] == "[":
        return is_address_literal(domain)
    try:
        return is_domain(domains.to_ascii(domain))
    except domains.BadDomain:
        return False


def _size(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))
