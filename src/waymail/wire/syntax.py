"""Command lines and command values, both ways (RFC 5321 §4.1.1).

`parse` reads what a client sent; it raises SyntaxProblem with the reply that says what is wrong. `encode` writes what a client
sends; it raises ValueError rather than let an argument become a second line or a second argument. Neither knows about the
order of commands, or about what was offered.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from waymail.octets import CR, LF
from waymail.wire import grammar
from waymail.wire.commands import (
    NO_PARAMETERS,
    Auth,
    AuthResponse,
    Bdat,
    Command,
    Data,
    Etrn,
    Hello,
    Help,
    Mail,
    Noop,
    Quit,
    Rcpt,
    Reset,
    StartTls,
    Verify,
    XClient,
    XForward,
)
from waymail.wire.errors import SyntaxProblem
from waymail.wire.replies import Reply

NOT_RECOGNISED = Reply(500, "command not recognised", "5.5.2")
BARE_LINE_END = Reply(500, "a line ends with CRLF, and CR and LF stand nowhere else", "5.5.2")
NOT_IMPLEMENTED = Reply(502, "command not implemented", "5.5.1")
NO_ARGUMENT = Reply(501, "this command takes no argument", "5.5.4")
NEEDS_ARGUMENT = Reply(501, "this command takes an argument", "5.5.4")
MAIL_FORM = Reply(501, "the form is MAIL FROM:<address>", "5.5.4")
RCPT_FORM = Reply(501, "the form is RCPT TO:<address>", "5.5.4")
AUTH_FORM = Reply(501, "the form is AUTH mechanism [initial-response]", "5.5.4")
BDAT_FORM = Reply(501, "the form is BDAT octets [LAST]; what follows cannot be told apart, closing", "5.5.4")
ETRN_FORM = Reply(501, "the form is ETRN domain, or ETRN @domain for the domains below it too", "5.5.4")
ATTRIBUTES_FORM = Reply(501, "attributes are NAME=value, the value in xtext", "5.5.4")
VERIFY_UTF8 = Reply(553, "beyond ASCII, VRFY needs the parameter SMTPUTF8, and UTF-8", "5.6.7")
BAD_BASE64 = Reply(501, "this is not base64", "5.5.2")
# RFC 2034 §4: no enhanced code in an answer to EHLO or HELO.
HELLO_FORM = Reply(501, "the argument is a domain or an address literal")

# The ordinary path: a Dot-string at a Domain, and none too long for any limit. All others go through `grammar`.
# RFC 5321 §3.3: no space may stand behind the colon. So many devices put one there that it is passed over.
_PLAIN = rf"(?:{grammar.DOT_STRING}@{grammar.DOMAIN})"
_ARGUMENT = rb'(?P<path><(?:"(?:[^"\\]|\\.)*"|[^">])*>)(?: +(?P<parameters>.*))?'
_PLAIN_MAIL = re.compile(rf"(?i:FROM:) ?<({_PLAIN}?)>(?: ([!-~ ]+))?".encode())
_PLAIN_RCPT = re.compile(rf"(?i:TO:) ?<({_PLAIN})>(?: ([!-~ ]+))?".encode())
_MAIL = re.compile(rb"(?i:FROM:) *" + _ARGUMENT)
_RCPT = re.compile(rb"(?i:TO:) *" + _ARGUMENT)
# RFC 4422 §3.1: sasl-mech = 1*20mech-char, upper case letters, digits, "-" and "_".
_BDAT = re.compile(rb"(?P<octets>[0-9]{1,19})(?P<last> +LAST)?", re.IGNORECASE)  # RFC 3030 §2: chunk-size = 1*DIGIT
_ATTRIBUTE = re.compile(rf"(?P<name>[A-Za-z]{{1,20}})=(?P<value>{grammar.XTEXT.pattern})")
UNKNOWN_VALUES = ("[UNAVAILABLE]", "[TEMPUNAVAIL]")
_MECHANISM = re.compile(r"[A-Z0-9_-]{1,20}")


def _parse_hello(argument: bytes, *, extended: bool, lmtp: bool = False) -> Hello:
    # RFC 5321 §4.1.1.1: old clients put words behind their name; they are passed over.
    name = argument.split(b" ", 1)[0].decode("latin-1")
    if not grammar.is_hello_name(name):
        raise SyntaxProblem(HELLO_FORM)
    return Hello(name, extended, lmtp)


def _parse_mail(argument: bytes) -> Mail:
    found = _PLAIN_MAIL.fullmatch(argument)
    if found is not None and len(found[1]) <= grammar.MAX_LOCAL_PART:
        path, parameters = found.groups()
        sender = path.decode("ascii")
    else:
        found = _MAIL.fullmatch(argument)
        if found is None:
            raise SyntaxProblem(MAIL_FORM)
        sender = grammar.parse_path(found["path"], enhanced="5.1.7")
        parameters = found["parameters"]
    return Mail(sender, grammar.parse_parameters(parameters) if parameters else NO_PARAMETERS)


def _parse_rcpt(argument: bytes) -> Rcpt:
    found = _PLAIN_RCPT.fullmatch(argument)
    if found is not None and len(found[1]) <= grammar.MAX_LOCAL_PART:
        path, parameters = found.groups()
        recipient = path.decode("ascii")
    else:
        found = _RCPT.fullmatch(argument)
        if found is None:
            raise SyntaxProblem(RCPT_FORM)
        recipient = grammar.parse_forward_path(found["path"])
        parameters = found["parameters"]
    return Rcpt(recipient, grammar.parse_parameters(parameters) if parameters else NO_PARAMETERS)


def _parse_auth(argument: bytes) -> Auth:
    mechanism, space, initial = argument.partition(b" ")
    name = mechanism.decode("latin-1").upper()
    if _MECHANISM.fullmatch(name) is None or (space and not initial):
        raise SyntaxProblem(AUTH_FORM)
    if not space:
        return Auth(name)
    return Auth(name, b"" if initial == b"=" else decode_base64(initial))


def _parse_verify(argument: bytes) -> Verify:
    if not argument:
        raise SyntaxProblem(NEEDS_ARGUMENT)
    # RFC 6531 §3.7.4.2
    name, space, parameter = argument.rpartition(b" ")
    utf8 = bool(space) and parameter.upper() == b"SMTPUTF8"
    name = name.strip(b" ") if utf8 else argument
    if not name:
        raise SyntaxProblem(NEEDS_ARGUMENT)
    try:
        return Verify(name.decode("utf-8" if utf8 else "ascii"), utf8)
    except UnicodeDecodeError:
        raise SyntaxProblem(VERIFY_UTF8) from None


def parse_bdat(argument: bytes) -> Bdat:
    """The argument of BDAT. Raises SyntaxProblem."""
    found = _BDAT.fullmatch(argument)
    if found is None:
        raise SyntaxProblem(BDAT_FORM)
    return Bdat(int(found["octets"]), found["last"] is not None)


def _parse_etrn(argument: bytes) -> Etrn:
    # RFC 1985 §5.3: "@" for the domains below too; "#" is for queues with names, which are not here.
    node = argument.decode("latin-1")
    below = node.startswith("@")
    if not grammar.is_domain(node.removeprefix("@")):
        raise SyntaxProblem(ETRN_FORM)
    return Etrn(node.removeprefix("@"), below)


def _parse_attributes(argument: bytes) -> dict[str, str | None]:
    if not argument:
        raise SyntaxProblem(NEEDS_ARGUMENT)
    attributes: dict[str, str | None] = {}
    for word in argument.decode("latin-1").split(" "):
        found = _ATTRIBUTE.fullmatch(word)
        if found is None:
            raise SyntaxProblem(ATTRIBUTES_FORM)
        value = None if found["value"].upper() in UNKNOWN_VALUES else grammar.decode_xtext(found["value"])
        if value is not None and not value.isprintable():
            raise SyntaxProblem(ATTRIBUTES_FORM)  # it goes into the log and into trace fields
        attributes[found["name"].upper()] = value
    return attributes


def _without_argument(command: Command) -> Callable[[bytes], Command]:
    def parse_alone(argument: bytes) -> Command:
        if argument:
            raise SyntaxProblem(NO_ARGUMENT)
        return command

    return parse_alone


@dataclass(frozen=True, slots=True)
class Verb:
    """A verb we know: the kind of its commands, and what reads its argument."""

    kind: type
    parse: Callable[[bytes], Command]


VERBS: Mapping[bytes, Verb] = {
    b"EHLO": Verb(Hello, lambda argument: _parse_hello(argument, extended=True)),
    b"HELO": Verb(Hello, lambda argument: _parse_hello(argument, extended=False)),
    b"LHLO": Verb(Hello, lambda argument: _parse_hello(argument, extended=True, lmtp=True)),
    b"STARTTLS": Verb(StartTls, _without_argument(StartTls())),
    b"AUTH": Verb(Auth, _parse_auth),
    b"MAIL": Verb(Mail, _parse_mail),
    b"RCPT": Verb(Rcpt, _parse_rcpt),
    b"DATA": Verb(Data, _without_argument(Data())),
    b"BDAT": Verb(Bdat, parse_bdat),
    b"RSET": Verb(Reset, _without_argument(Reset())),
    b"VRFY": Verb(Verify, _parse_verify),
    b"HELP": Verb(Help, lambda argument: Help(argument.decode("latin-1"))),
    b"NOOP": Verb(Noop, lambda _: Noop()),  # RFC 5321 §4.1.1.9: an argument is passed over
    b"QUIT": Verb(Quit, _without_argument(Quit())),
    b"ETRN": Verb(Etrn, _parse_etrn),
    b"XCLIENT": Verb(XClient, lambda argument: XClient(_parse_attributes(argument))),
    b"XFORWARD": Verb(XForward, lambda argument: XForward(_parse_attributes(argument))),
}
# RFC 5321 §4.2.4: 502 where the command is known, but not implemented.
KNOWN_ELSEWHERE = frozenset({b"EXPN", b"TURN", b"ATRN", b"SEND", b"SOML", b"SAML", b"BURL"})


def split_line(line: bytes) -> tuple[Verb, bytes]:
    """The verb of a command line without its CRLF, and its argument, b"" where there is none.

    Raises SyntaxProblem: 500 for a bare CR or LF and for an unknown verb, 502 for one that other servers have.
    """
    if CR in line or LF in line:
        raise SyntaxProblem(BARE_LINE_END)
    # RFC 5321 §4.1.1: white space before the CRLF is tolerated; §2.4: a verb may be written in any case.
    word, _, argument = line.rstrip(b" \t").partition(b" ")
    verb = VERBS.get(word) or VERBS.get(word.upper())
    if verb is None:
        raise SyntaxProblem(NOT_IMPLEMENTED if word.upper() in KNOWN_ELSEWHERE else NOT_RECOGNISED)
    return verb, argument


def parse(line: bytes) -> Command:
    """The command in a line without its CRLF. Raises SyntaxProblem."""
    verb, argument = split_line(line)
    return verb.parse(argument)


def decode_base64(text: bytes) -> bytes:
    """The octets that `text` stands for. Raises SyntaxProblem (501 5.5.2) for anything outside RFC 4954 §4."""
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except binascii.Error:
        raise SyntaxProblem(BAD_BASE64) from None


# What may stand in a path that goes out although it is no Mailbox: some mailboxes in use ("a..b@example.org") are none, and their
# servers know them. It cannot end the path or the line.
_HARMLESS_PATH = re.compile(rf"[!#-;=?-~{grammar.UTF8}]+")
_HARMLESS_WORD = re.compile(r"[!-~]+")
_HARMLESS_TEXT = re.compile(r"[ -~]*")
_HARMLESS_UTF8 = re.compile(rf"[ -~{grammar.UTF8}]*")


def encode(command: Command) -> bytes:
    """The command's line, CRLF included. Raises ValueError where an argument cannot stand in it."""
    match command:
        case Mail(sender, parameters):
            line = f"MAIL FROM:<{_path(sender) if sender else ''}>{_parameters(parameters)}"
            if not line.isascii() and "SMTPUTF8" not in parameters:
                raise ValueError(f"beyond ASCII this cannot stand in a command without SMTPUTF8: {line!r}")  # RFC 6531 §3.4
        case Rcpt(recipient, parameters):
            line = f"RCPT TO:<{_path(recipient)}>{_parameters(parameters)}"
        case Hello(name, extended, lmtp):
            line = f"{'LHLO' if lmtp else 'EHLO' if extended else 'HELO'} {_checked(_HARMLESS_WORD, name)}"
        case Auth(mechanism, initial):
            line = f"AUTH {_checked(_MECHANISM, mechanism)}"
            if initial is not None:
                line += f" {_base64(initial) or '='}"  # RFC 4954 §4: "=" is a response of no octets
        case AuthResponse(response):
            line = "*" if response is None else _base64(response)
        case Bdat(octets, last):
            if octets < 0:
                raise ValueError(f"a chunk cannot stand in a command with so many octets: {octets}")
            line = f"BDAT {octets}{' LAST' if last else ''}"
        case Verify(argument, utf8):
            line = f"VRFY {_checked(_HARMLESS_UTF8 if utf8 else _HARMLESS_TEXT, argument)}{' SMTPUTF8' if utf8 else ''}"
        case Help(argument):
            line = f"HELP {_checked(_HARMLESS_TEXT, argument)}".rstrip()
        case _:
            line = _rare(command)
    return f"{line}\r\n".encode()


def _rare(command: Command) -> str:
    match command:
        case Etrn(node, below):
            return f"ETRN {'@' if below else ''}{_checked(_HARMLESS_WORD, node)}"
        case XClient(attributes):
            return f"XCLIENT{_attributes(attributes)}"
        case XForward(attributes):
            return f"XFORWARD{_attributes(attributes)}"
    return BARE_COMMANDS[type(command)]


BARE_COMMANDS: Mapping[type, str] = {StartTls: "STARTTLS", Data: "DATA", Reset: "RSET", Noop: "NOOP", Quit: "QUIT"}


def _checked(pattern: re.Pattern[str], text: str) -> str:
    if pattern.fullmatch(text) is None:
        raise ValueError(f"this cannot stand in a command: {text!r}")
    return text


def _path(text: str) -> str:
    return text if grammar.is_mailbox(text) else _checked(_HARMLESS_PATH, text)


def _parameters(parameters: Mapping[str, str | None]) -> str:
    if not parameters or parameters is NO_PARAMETERS:
        return ""
    words = (keyword if value is None else f"{keyword}={value}" for keyword, value in parameters.items())
    return "".join(f" {_checked(grammar.PARAMETER, word)}" for word in words)


def _attributes(attributes: Mapping[str, str | None]) -> str:
    if not attributes:
        raise ValueError("at least one attribute is to be said")
    values = {name: UNKNOWN_VALUES[0] if value is None else grammar.encode_xtext(value) for name, value in attributes.items()}
    words = (f"{name}={value}" for name, value in values.items())
    return "".join(f" {_checked(_ATTRIBUTE, word)}" for word in words)


def _base64(octets: bytes) -> str:
    return binascii.b2a_base64(octets, newline=False).decode("ascii")
