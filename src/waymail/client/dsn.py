"""What a program asks for of notices about its message (RFC 3461), typed: no xtext and no commas to be written."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Flag, auto
from functools import reduce
from operator import or_

from waymail.mail.envelope import Options
from waymail.wire.grammar import encode_xtext
from waymail.wire.parameters import MAX_ENVID, NOTIFY_VALUE


class Notify(Flag):
    """When to send a notice (RFC 3461 §4.1): `Notify.SUCCESS | Notify.FAILURE`, or NEVER alone."""

    NEVER = auto()
    SUCCESS = auto()
    FAILURE = auto()
    DELAY = auto()


def notify_of(words: str) -> Notify | None:
    """What a value of NOTIFY says, in any case; None for "". Raises ValueError for what is none."""
    if not words:
        return None
    if NOTIFY_VALUE.fullmatch(words) is None:
        raise ValueError("notify is NEVER, or some of SUCCESS, FAILURE and DELAY with commas between them")
    return reduce(or_, (Notify[word] for word in words.upper().split(",")))


@dataclass(frozen=True, slots=True)
class Dsn:
    """Which notices to send, and what they say. Where the server does not offer DSN, it is left out.

    `notify` is None where nothing is asked for: then there are notices of failure. `ret` is how much of the message a notice of
    failure returns, "HDRS" for the header section or "FULL"; "" leaves it to the server. `envid` is a text that notices repeat,
    by which a program knows what they are about: printable ASCII, spaces among it, 100 characters at most as it is sent.

    Raises ValueError for what the standard has no room for.
    """

    notify: Notify | None = None
    ret: str = ""
    envid: str = ""

    def __post_init__(self) -> None:
        if self.notify is not None and (not self.notify or (self.notify & Notify.NEVER and self.notify != Notify.NEVER)):
            raise ValueError("notify is Notify.NEVER, or some of SUCCESS, FAILURE and DELAY")  # RFC 3461 §4.1: never both
        if self.ret not in ("", "HDRS", "FULL"):
            raise ValueError('ret is "HDRS" or "FULL"')
        if not (self.envid.isascii() and self.envid.isprintable()):
            raise ValueError("envid is printable ASCII")
        if len(encode_xtext(self.envid)) > MAX_ENVID:
            raise ValueError(f'envid has {MAX_ENVID} characters at most, and spaces, "+" and "=" count for three')

    @property
    def value(self) -> str:
        """The value of NOTIFY, "" where it is not given."""
        if not self.notify:
            return ""
        return ",".join(str(occasion.name) for occasion in Notify if occasion & self.notify)

    def within(self, options: Options) -> Options:
        """The options of MAIL, with RET and ENVID."""
        return replace(options, ret=self.ret or options.ret, envid=encode_xtext(self.envid) or options.envid)
