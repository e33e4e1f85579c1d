"""The commands of SMTP as values: what the server core reports and what the client core sends (RFC 5321 §4.1.1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

NO_PARAMETERS: Mapping[str, str | None] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Hello:
    """EHLO, or HELO where `extended` is false (§4.1.1.1). `name` is a domain or an address literal, as it was sent."""

    name: str
    extended: bool = True


@dataclass(frozen=True, slots=True)
class StartTls:
    """STARTTLS (RFC 3207)."""


@dataclass(frozen=True, slots=True)
class Auth:
    """AUTH (RFC 4954). `initial` is the decoded initial response: None where there was none, b"" where it was "="."""

    mechanism: str
    initial: bytes | None = None


@dataclass(frozen=True, slots=True)
class AuthResponse:
    """One decoded line of an authentication exchange; None is the client's "*", which cancels it (RFC 4954 §4)."""

    response: bytes | None


@dataclass(frozen=True, slots=True)
class Mail:
    """MAIL FROM (§4.1.1.2). `sender` is the reverse-path without its angle brackets: "" is the null path.

    `parameters` has keywords in upper case; the value is None where there is no "=".
    """

    sender: str
    parameters: Mapping[str, str | None] = field(default_factory=lambda: NO_PARAMETERS)


@dataclass(frozen=True, slots=True)
class Rcpt:
    """RCPT TO (§4.1.1.3). `recipient` is the forward-path, its source route dropped; "postmaster" may lack a domain."""

    recipient: str
    parameters: Mapping[str, str | None] = field(default_factory=lambda: NO_PARAMETERS)


@dataclass(frozen=True, slots=True)
class Data:
    """DATA (§4.1.1.4)."""


@dataclass(frozen=True, slots=True)
class Reset:
    """RSET (§4.1.1.5)."""


@dataclass(frozen=True, slots=True)
class Verify:
    """VRFY (§4.1.1.6)."""

    argument: str


@dataclass(frozen=True, slots=True)
class Help:
    """HELP (§4.1.1.8)."""

    argument: str = ""


@dataclass(frozen=True, slots=True)
class Noop:
    """NOOP (§4.1.1.9)."""


@dataclass(frozen=True, slots=True)
class Quit:
    """QUIT (§4.1.1.10)."""


Command = Hello | StartTls | Auth | AuthResponse | Mail | Rcpt | Data | Reset | Verify | Help | Noop | Quit
