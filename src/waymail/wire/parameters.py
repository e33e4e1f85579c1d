"""The parameters that extensions add to MAIL and RCPT: one function for each, which checks its value.

SIZE (RFC 1870), BODY (RFC 6152, RFC 3030), AUTH (RFC 4954), SMTPUTF8 (RFC 6531), RET, ENVID, NOTIFY, ORCPT (RFC 3461), REQUIRETLS
(RFC 8689), HOLDFOR, HOLDUNTIL (RFC 4865), BY (RFC 2852), MT-PRIORITY (RFC 6710).

A parameter of an extension that is not offered is refused, never passed over (RFC 5321 §4.1.1.11: 555), and so is a value that
does not follow its grammar (501). What a value means is not decided here: see `waymail.mail.options`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime

from waymail.wire.errors import SyntaxProblem
from waymail.wire.grammar import ATOM, UTF8_XTEXT, XTEXT, decode_xtext, encode_utf8_xtext, is_mailbox
from waymail.wire.replies import Reply

# RFC 1870 §3: size-value = 1*20DIGIT
SIZE_VALUE = re.compile(r"[0-9]{1,20}")
# RFC 2852 §4: by-value = by-time ";" by-mode [by-trace]      by-time = ["-" / "+"] 1*9digit
BY_VALUE = re.compile(r"(?P<time>[-+]?[0-9]{1,9});(?P<mode>[NR])(?P<trace>T?)", re.IGNORECASE)
# RFC 6710 §7: priority-value = (["-"] NZDIGIT) / "0"
PRIORITY_VALUE = re.compile(r"-?[1-9]|0")
# RFC 4865 §3: future-release-integer = %x31-39 *8DIGIT
HOLDFOR_VALUE = re.compile(r"[1-9][0-9]{0,8}")
# RFC 4865 §3: a date-time of RFC 3339, in UTC
HOLDUNTIL_VALUE = re.compile(
    r"[0-9]{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,6})?Z",
    re.IGNORECASE,
)
# RFC 3461 §4.1: notify-esmtp-value = "NEVER" / 1#notify-list-element
NOTIFY_VALUE = re.compile(r"NEVER|(?:SUCCESS|FAILURE|DELAY)(?:,(?:SUCCESS|FAILURE|DELAY)){0,2}", re.IGNORECASE)
# RFC 3461 §4.2: original-recipient-address = addr-type ";" xtext
ORCPT_VALUE = re.compile(rf"(?P<type>{ATOM});(?P<address>.+)")

MAX_ENVID = 100  # RFC 3461 §5.4
MAX_ORCPT = 500  # RFC 3461 §5.4

EHLO_FIRST = Reply(555, "parameters need EHLO", "5.5.4")
NEEDS_UTF8 = Reply(501, "only with SMTPUTF8 may a parameter hold characters beyond ASCII", "5.5.4")


def _bad(text: str) -> Reply:
    return Reply(501, text, "5.5.4")


BAD_SIZE = _bad("SIZE is a number of octets")
BAD_BODY = _bad("BODY is 7BIT or 8BITMIME")
BAD_BINARY_BODY = _bad("BODY is 7BIT, 8BITMIME or BINARYMIME")
BAD_SUBMITTER = _bad("AUTH is <> or a mailbox as xtext")
BAD_RET = _bad("RET is FULL or HDRS")
BAD_ENVID = _bad("ENVID is at most 100 characters of xtext")
BAD_NOTIFY = _bad("NOTIFY is NEVER, or some of SUCCESS, FAILURE and DELAY")
BAD_ORCPT = _bad("ORCPT is an address type, a semicolon and an address as xtext, at most 500 characters")
NO_VALUE = _bad("this parameter takes no value")
TLS_ONLY = Reply(530, "REQUIRETLS needs TLS in this session too", "5.7.10")
BAD_HOLD = _bad("HOLDFOR is a number of seconds, HOLDUNTIL a date and time in UTC, and one of them is enough")
BAD_BY = _bad("BY is a number of seconds, a semicolon, and N or R; with R the number is above zero")
BAD_PRIORITY = _bad("MT-PRIORITY is a number from -9 to 9")


@dataclass(frozen=True, slots=True)
class Terms:
    """Under which terms parameters are read: what the server offers in the present state, to a client that said EHLO
    (`extended`) or not, with TLS (`secure`) or without."""

    extended: bool
    secure: bool
    message_size: int
    extensions: Collection[str]
    auth: bool = False


def checked_mail_parameters(parameters: Mapping[str, str | None], terms: Terms) -> Mapping[str, str | None]:
    """The parameters of MAIL, where they are all known and right; values without regard to case come in upper case.

    Raises SyntaxProblem: 555 for an unknown one, 501 for a bad value, 552 5.3.4 for a SIZE over `message_size`.
    """
    checked = _checked(parameters, MAIL_PARAMETERS, terms)
    if "HOLDFOR" in checked and "HOLDUNTIL" in checked:
        raise SyntaxProblem(BAD_HOLD)  # RFC 4865 §4.2
    return checked


def checked_rcpt_parameters(parameters: Mapping[str, str | None], terms: Terms, *, utf8: bool) -> Mapping[str, str | None]:
    """The parameters of RCPT, as for MAIL. `utf8`: MAIL had SMTPUTF8. Raises SyntaxProblem."""
    return _checked(parameters, RCPT_PARAMETERS, terms, utf8=utf8)


def _checked(
    parameters: Mapping[str, str | None], known: Mapping[str, Parameter], terms: Terms, *, utf8: bool | None = None
) -> Mapping[str, str | None]:
    if not terms.extended:
        raise SyntaxProblem(EHLO_FIRST)
    utf8 = "SMTPUTF8" in parameters if utf8 is None else utf8
    checked: dict[str, str | None] = {}
    for keyword, value in parameters.items():
        parameter = known.get(keyword)
        if parameter is None or not parameter.is_offered(terms):
            # The keyword is not repeated whole: it may be as long as a command line.
            raise SyntaxProblem(Reply(555, f"the parameter {keyword[:32]} is not offered", "5.5.4"))
        if value is not None and not utf8 and not value.isascii():
            raise SyntaxProblem(NEEDS_UTF8)
        checked[keyword] = parameter.check(value, terms)
    return checked


def _check_size(value: str | None, terms: Terms) -> str | None:
    if value is None or SIZE_VALUE.fullmatch(value) is None:
        raise SyntaxProblem(BAD_SIZE)
    if int(value) > terms.message_size:
        # RFC 1870 §6.1: refused before it is sent.
        raise SyntaxProblem(Reply(552, f"the limit is {terms.message_size} octets", "5.3.4"))
    return value


def _check_body(value: str | None, terms: Terms) -> str | None:
    # RFC 6152 §2: body-value = "7BIT" / "8BITMIME"; RFC 3030 §3 adds "BINARYMIME"
    binary = "BINARYMIME" in terms.extensions
    body = (value or "").upper()
    if body in ("7BIT", "8BITMIME") or (binary and body == "BINARYMIME"):
        return body
    raise SyntaxProblem(BAD_BINARY_BODY if binary else BAD_BODY)


def _check_auth(value: str | None, terms: Terms) -> str | None:
    # RFC 4954 §5: it is read whether or not the client has authenticated itself; who trusts it is another matter.
    if value == "<>":
        return value
    submitter = decode_xtext(value) if value else ""
    if is_mailbox(submitter):
        return value
    if submitter and "@" not in submitter and submitter.isprintable():
        return "<>"  # a user's name, as Dovecot's submission server sends it: it says no more than that
    raise SyntaxProblem(BAD_SUBMITTER)


def _check_ret(value: str | None, terms: Terms) -> str | None:
    ret = (value or "").upper()
    if ret not in ("FULL", "HDRS"):
        raise SyntaxProblem(BAD_RET)
    return ret


def _check_envid(value: str | None, terms: Terms) -> str | None:
    if value is None or len(value) > MAX_ENVID or XTEXT.fullmatch(value) is None:
        raise SyntaxProblem(BAD_ENVID)
    if not _is_printable(value):
        raise SyntaxProblem(BAD_ENVID)
    return value


def _is_printable(xtext: str) -> bool:
    """RFC 3461 §4.2, §4.4: what goes into a notice consists, decoded, of printable ASCII characters."""
    text = decode_xtext(xtext)
    return text.isascii() and text.isprintable()


def _check_notify(value: str | None, terms: Terms) -> str | None:
    if value is None or NOTIFY_VALUE.fullmatch(value) is None:
        raise SyntaxProblem(BAD_NOTIFY)
    return value.upper()


def _check_orcpt(value: str | None, terms: Terms) -> str | None:
    found = ORCPT_VALUE.fullmatch(value or "")
    if value is None or found is None or len(value) > MAX_ORCPT:
        raise SyntaxProblem(BAD_ORCPT)
    # RFC 6533 §3: the address type utf-8 has its own encoding, and with SMTPUTF8 none at all.
    kind, address = found["type"].lower(), found["address"]
    if kind == "utf-8":
        if UTF8_XTEXT.fullmatch(address) is None:
            raise SyntaxProblem(BAD_ORCPT)
        return value
    if XTEXT.fullmatch(address) is None:
        raise SyntaxProblem(BAD_ORCPT)
    if _is_printable(address):
        return value
    # Postfix calls an address beyond ASCII rfc822, and writes its octets as xtext.
    address = encode_utf8_xtext(decode_xtext(address))
    if kind != "rfc822" or UTF8_XTEXT.fullmatch(address) is None or len(address) > MAX_ORCPT - len("utf-8;"):
        raise SyntaxProblem(BAD_ORCPT)
    return f"utf-8;{address}"


def _check_flag(value: str | None, terms: Terms) -> str | None:
    if value is not None:
        raise SyntaxProblem(NO_VALUE)
    return None


def _check_require_tls(value: str | None, terms: Terms) -> str | None:
    if not terms.secure:
        raise SyntaxProblem(TLS_ONLY)  # RFC 8689 §2
    return _check_flag(value, terms)


def _matching(form: re.Pattern[str], reply: Reply) -> Check:
    def check_form(value: str | None, terms: Terms) -> str | None:
        if value is None or form.fullmatch(value) is None:
            raise SyntaxProblem(reply)
        return value.upper()

    return check_form


def _check_by(value: str | None, terms: Terms) -> str | None:
    found = BY_VALUE.fullmatch(value or "")
    if found is None or (found["mode"] in "Rr" and int(found["time"]) <= 0):
        raise SyntaxProblem(BAD_BY)
    return found.string.upper()


def _check_hold_until(value: str | None, terms: Terms) -> str | None:
    text = (value or "").upper()
    if HOLDUNTIL_VALUE.fullmatch(text) is None:
        raise SyntaxProblem(BAD_HOLD)
    try:
        datetime.fromisoformat(text)
    except ValueError:  # RFC 3339 §5.7: the 31st of a shorter month
        raise SyntaxProblem(BAD_HOLD) from None
    return text


Check = Callable[[str | None, Terms], str | None]


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter: the extension that has it, "" for those that are always offered, and what checks its value."""

    extension: str
    check: Check

    def is_offered(self, terms: Terms) -> bool:
        if self.extension == "AUTH":
            return terms.auth
        return not self.extension or self.extension in terms.extensions


MAIL_PARAMETERS: Mapping[str, Parameter] = {
    "SIZE": Parameter("", _check_size),
    "BODY": Parameter("", _check_body),
    "AUTH": Parameter("AUTH", _check_auth),
    "SMTPUTF8": Parameter("SMTPUTF8", _check_flag),
    "RET": Parameter("DSN", _check_ret),
    "ENVID": Parameter("DSN", _check_envid),
    "REQUIRETLS": Parameter("REQUIRETLS", _check_require_tls),
    "HOLDFOR": Parameter("FUTURERELEASE", _matching(HOLDFOR_VALUE, BAD_HOLD)),
    "HOLDUNTIL": Parameter("FUTURERELEASE", _check_hold_until),
    "BY": Parameter("DELIVERBY", _check_by),
    "MT-PRIORITY": Parameter("MT-PRIORITY", _matching(PRIORITY_VALUE, BAD_PRIORITY)),
}
RCPT_PARAMETERS: Mapping[str, Parameter] = {
    "NOTIFY": Parameter("DSN", _check_notify),
    "ORCPT": Parameter("DSN", _check_orcpt),
}
