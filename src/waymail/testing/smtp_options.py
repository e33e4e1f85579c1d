"""What a test's server offers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypedDict, get_args

from waymail.wire import extensions
from waymail.wire.limits import WireLimits
from waymail.wire.offer import Offer
from waymail.wire.replies import Reply

TlsMode = Literal["off", "starttls", "implicit"]

# CHUNKING is not among them: a script for DATA would never be met by a client that knows BDAT.
USUAL = ("PIPELINING", "SIZE", "8BITMIME", "ENHANCEDSTATUSCODES", "SMTPUTF8", "DSN")
MECHANISMS = ("SCRAM-SHA-256", "OAUTHBEARER", "XOAUTH2", "PLAIN", "LOGIN")
_HOLD = 7 * 86_400  # seconds, what FUTURERELEASE offers


class OptionWords(TypedDict, total=False):
    """The options as keywords: of `SmtpServer`, of `configure`, and of the marker `smtp_server`."""

    tls: TlsMode
    users: Mapping[str, str]
    mechanisms: Sequence[str]
    extensions: Sequence[str]
    size: int
    lmtp: bool
    hostname: str


def check_words(given: Iterable[str]) -> None:
    """Raises TypeError where one of them is no option."""
    there_are = OptionWords.__annotations__
    if unknown := [name for name in given if name not in there_are]:
        raise TypeError(f"there is no option {', '.join(unknown)} of an smtp_server; there are {', '.join(there_are)}")


@dataclass(frozen=True)
class Options:
    """`tls`: "off", "starttls", or "implicit", from the first octet. `users` maps names to passwords, or to bearer tokens: with
    any, mail is taken only from who has logged in, by one of `mechanisms`. `extensions` are all the EHLO keywords but STARTTLS
    and AUTH. `size` is the limit of a message in octets. `lmtp`: LMTP is spoken (RFC 2033).

    Raises ValueError for what there is not.
    """

    tls: TlsMode = "off"
    users: Mapping[str, str] = field(default_factory=dict)
    mechanisms: Sequence[str] = MECHANISMS
    extensions: Sequence[str] = USUAL
    size: int = 50_000_000
    lmtp: bool = False
    hostname: str = "mail.example.org"

    def __post_init__(self) -> None:
        if self.tls not in get_args(TlsMode):
            raise ValueError(f"tls is one of {', '.join(get_args(TlsMode))}")
        if unknown := [name for name in self.mechanisms if name not in MECHANISMS]:
            raise ValueError(f"mechanisms are some of {', '.join(MECHANISMS)}, and {', '.join(unknown)} is not")

    @property
    def offer(self) -> Offer:
        names = {name.upper() for name in self.extensions} & (extensions.EVERYWHERE | {"FUTURERELEASE"})
        if self.tls == "off":
            names -= {"REQUIRETLS"}
        return Offer(
            self.hostname,
            starttls=self.tls == "starttls",
            auth=tuple(self.mechanisms) if self.users else (),
            limits=WireLimits(message_size=self.size, hold=_HOLD),
            extensions=frozenset(names),
            lmtp=self.lmtp,
        )

    def offers(self, keyword: str) -> bool:
        return any(keyword == line.upper().split()[0] for line in self.extensions)

    def hello(self, *, secure: bool, now: float) -> Reply:
        """The answer to EHLO or LHLO; `secure` as in `wire.server`."""
        offer = self.offer
        lines = extensions.offered(
            offer.extensions,
            offer.limits,
            secure=secure,
            starttls=offer.starttls and not secure,
            auth=offer.auth if secure else (),
            now=now,
        )
        known = {line.split()[0] for line in lines}
        shown = [line for line in lines if line.split()[0] in ("STARTTLS", "AUTH") or self.offers(line.split()[0])]
        others = [line for line in self.extensions if line.upper().split()[0] not in known | extensions.EVERYWHERE]
        return Reply(250, "\n".join((self.hostname, *shown, *others)))
