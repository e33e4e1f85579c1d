"""The commands of SMTP and LMTP as values: what the server core reports and what the client core sends (RFC 5321 §4.1.1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from types import MappingProxyType

from waymail.values import value

NO_PARAMETERS: Mapping[str, str | None] = MappingProxyType({})


@value
class Hello:
    """EHLO, or HELO where `extended` is false (§4.1.1.1), or LHLO where `lmtp` is true (RFC 2033 §4.1). `name` is a domain or
    an address literal, as it was sent."""

    name: str
    extended: bool = True
    lmtp: bool = False


@value
class StartTls:
    """STARTTLS (RFC 3207)."""


@value
class Auth:
    """AUTH (RFC 4954). `initial` is the decoded initial response: None where there was none, b"" where it was "="."""

    mechanism: str
    initial: bytes | None = field(default=None, repr=False)  # it holds the password, or proves it


@value
class AuthResponse:
    """One decoded line of an authentication exchange; None is the client's "*", which cancels it (RFC 4954 §4)."""

    response: bytes | None = field(repr=False)


@value
class Mail:
    """MAIL FROM (§4.1.1.2). `sender` is the reverse-path without its angle brackets: "" is the null path.

    `parameters` has keywords in upper case; the value is None where there is no "=".
    """

    sender: str
    parameters: Mapping[str, str | None] = field(default_factory=lambda: NO_PARAMETERS)


@value
class Rcpt:
    """RCPT TO (§4.1.1.3). `recipient` is the forward-path, its source route dropped; "postmaster" may lack a domain."""

    recipient: str
    parameters: Mapping[str, str | None] = field(default_factory=lambda: NO_PARAMETERS)


@value
class Data:
    """DATA (§4.1.1.4)."""


@value
class Bdat:
    """BDAT (RFC 3030 §2): `octets` of content follow, the message's last ones where `last` is true.

    The server core does not report it: what it reports are the octets, and an `EndOfChunk` or `EndOfData` behind them.
    """

    octets: int
    last: bool = False


@value
class Reset:
    """RSET (§4.1.1.5)."""


@value
class Verify:
    """VRFY (§4.1.1.6). `utf8`: with the parameter SMTPUTF8 (RFC 6531 §3.7.4.2), which the argument has no more."""

    argument: str
    utf8: bool = False


@value
class Help:
    """HELP (§4.1.1.8)."""

    argument: str = ""


@value
class Noop:
    """NOOP (§4.1.1.9)."""


@value
class Quit:
    """QUIT (§4.1.1.10)."""


@value
class Etrn:
    """ETRN (RFC 1985 §5): send what waits for `node`, and with `below` for the domains below it too."""

    node: str
    below: bool = False


@value
class XClient:
    """XCLIENT: the client that a proxy speaks for. `attributes` has names in upper case and decoded values; a value is None
    where the proxy says that it is not known ("[UNAVAILABLE]", "[TEMPUNAVAIL]")."""

    attributes: Mapping[str, str | None]


@value
class XForward:
    """XFORWARD: where a filter's client had the message from, for the log. `attributes` as for XCLIENT."""

    attributes: Mapping[str, str | None]


Command = (
    Hello
    | StartTls
    | Auth
    | AuthResponse
    | Mail
    | Rcpt
    | Data
    | Bdat
    | Reset
    | Verify
    | Help
    | Noop
    | Quit
    | Etrn
    | XClient
    | XForward
)
