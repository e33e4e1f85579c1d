"""The service extensions that the cores speak: how they are offered, and what they add to MAIL and RCPT.

SIZE (RFC 1870), 8BITMIME (RFC 6152), PIPELINING (RFC 2920), ENHANCEDSTATUSCODES (RFC 2034), STARTTLS (RFC 3207), AUTH (RFC 4954).
What is not offered is refused, never passed over (RFC 5321 §4.1.1.11).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from waymail.wire.errors import SyntaxProblem
from waymail.wire.grammar import decode_xtext, is_mailbox
from waymail.wire.replies import Reply

# RFC 5321 §4.1.1.1: ehlo-keyword = (ALPHA / DIGIT) *(ALPHA / DIGIT / "-")
KEYWORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*")
# RFC 1870 §3: size-value = 1*20DIGIT
SIZE_VALUE = re.compile(r"[0-9]{1,20}")
# RFC 6152 §2: body-value = "7BIT" / "8BITMIME"
BODY_VALUES = ("7BIT", "8BITMIME")

EHLO_FIRST = Reply(555, "parameters need EHLO", "5.5.4")
BAD_SIZE = Reply(501, "SIZE is a number of octets", "5.5.4")
BAD_BODY = Reply(501, "BODY is 7BIT or 8BITMIME", "5.5.4")
BAD_SUBMITTER = Reply(501, "AUTH is <> or a mailbox as xtext", "5.5.4")


def offered(*, message_size: int, starttls: bool, auth: tuple[str, ...]) -> tuple[str, ...]:
    """The ehlo-lines after the first (RFC 5321 §4.1.1.1). HELP is among them: it is no required command (§4.5.1)."""
    lines = ["PIPELINING", f"SIZE {message_size}", "8BITMIME", "ENHANCEDSTATUSCODES", "HELP"]
    if starttls:
        lines.append("STARTTLS")
    if auth:
        lines.append(f"AUTH {' '.join(auth)}")
    return tuple(lines)


def parse_offered(reply: Reply) -> dict[str, str]:
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
    return extensions


def checked_mail_parameters(
    parameters: Mapping[str, str | None], *, extended: bool, message_size: int, auth: bool
) -> Mapping[str, str | None]:
    """The parameters of MAIL, where they are all known and right; BODY's value in upper case.

    `extended`: the client said EHLO; `auth`: AUTH is offered. Raises SyntaxProblem: 555 for an unknown one, 501 for a bad value,
    552 5.3.4 for a SIZE over `message_size`.
    """
    if parameters and not extended:
        raise SyntaxProblem(EHLO_FIRST)
    for keyword, value in parameters.items():
        if keyword == "SIZE":
            _check_size(value, message_size)
        elif keyword == "BODY":
            if value is None or value.upper() not in BODY_VALUES:
                raise SyntaxProblem(BAD_BODY)
        elif keyword == "AUTH" and auth:
            # RFC 4954 §5: it is read whether or not the client has authenticated itself; who trusts it is another matter.
            if value is None or not (value == "<>" or is_mailbox(decode_xtext(value))):
                raise SyntaxProblem(BAD_SUBMITTER)
        else:
            raise SyntaxProblem(_unknown(keyword))
    body = parameters.get("BODY")
    return parameters if body is None or body in BODY_VALUES else {**parameters, "BODY": body.upper()}


def check_rcpt_parameters(parameters: Mapping[str, str | None]) -> None:
    """The parameters of RCPT: none is known yet. Raises SyntaxProblem (555 5.5.4)."""
    for keyword in parameters:
        raise SyntaxProblem(_unknown(keyword))


def _check_size(value: str | None, message_size: int) -> None:
    if value is None or SIZE_VALUE.fullmatch(value) is None:
        raise SyntaxProblem(BAD_SIZE)
    if int(value) > message_size:
        # RFC 1870 §6.1: refused before it is sent.
        raise SyntaxProblem(Reply(552, f"the limit is {message_size} octets", "5.3.4"))


def _unknown(keyword: str) -> Reply:
    # The keyword is not repeated whole: it may be as long as a command line.
    return Reply(555, f"the parameter {keyword[:32]} is not offered", "5.5.4")
