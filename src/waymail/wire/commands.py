"""The commands of SMTP as values: what the server core reports and what the client core sends (RFC 5321 §4.1.1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from types import MappingProxyType

from waymail.values import value

NO_PARAMETERS: Mapping[str, str | None] = MappingProxyType({})


@value
class Hello:
    """EHLO, or HELO where `extended` is false (§4.1.1.1). `name` is a domain or an address literal, as it was sent."""

    name: str
    extended: bool = True


@value
class StartTls:
    """STARTTLS (RFC 3207)."""


@value
class Auth:
    """AUTH (RFC 4954). `initial` is the decoded initial response: None where there was none, b"" where it was "="."""

    mechanism: str
    initial: bytes | None = None


@value
class AuthResponse:
    """One decoded line of an authentication exchange; None is the client's "*", which cancels it (RFC 4954 §4)."""

    response: bytes | None


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
class Reset:
    """RSET (§4.1.1.5)."""


@value
class Verify:
    """VRFY (§4.1.1.6)."""

    argument: str


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


Command = Hello | StartTls | Auth | AuthResponse | Mail | Rcpt | Data | Reset | Verify | Help | Noop | Quit
