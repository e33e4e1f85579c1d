"""What a test's server is to do wrong, and when.

A moment is the beginning of a command line, compared without regard to case ("RCPT", "RCPT TO:<bob@"), or one of three words:
"GREETING", before anything was said; "TLS", when the handshake is due; "END", when the whole message has come. In LMTP, where
every recipient has an answer of his own to the message, that is "END <bob@example.org>".
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock

from waymail.testing.certificates import CERTIFICATE_WORDS, CertificateWord
from waymail.wire.replies import Reply, encode

WORDS = ("GREETING", "TLS", "END")
VERBS = ("EHLO", "HELO", "LHLO", "STARTTLS", "AUTH", "MAIL", "RCPT", "DATA", "BDAT", "RSET", "NOOP", "VRFY", "HELP", "QUIT")

_REPLY = re.compile(r"([2-5][0-9]{2})(?: ([245]\.[0-9]{1,3}\.[0-9]{1,3}))?(?: (.*))?", re.DOTALL)

Said = str | bytes | Callable[[str], "str | bytes | None"] | None


@dataclass(slots=True)
class Fault:
    """One thing that goes wrong, as `SmtpServer.script` was told it. `happened` counts how often it did."""

    moment: str
    reply: Said = None
    times: int | None = None
    delay: float = 0.0
    drop: bool = False
    hang: bool = False
    lose_reply: bool = False
    trickle: float = 0.0
    endless: bool = False
    certificate: CertificateWord = "good"
    happened: int = 0

    def __post_init__(self) -> None:
        verb = re.match(r"\w*", self.moment.upper())
        if verb is None or verb[0] not in (*WORDS, *VERBS):
            raise ValueError(f"{self.moment!r} is no moment: it begins with a command, or is one of {', '.join(WORDS)}")
        if isinstance(self.reply, str):
            octets_of(self.reply)
        if self.certificate not in CERTIFICATE_WORDS:
            raise ValueError(f"{self.certificate!r} is none of {', '.join(CERTIFICATE_WORDS)}")
        if self.certificate != "good" and self.moment.upper() != "TLS":
            raise ValueError('a certificate is shown when the moment is "TLS"')
        if self.drop + self.hang + self.lose_reply > 1:
            raise ValueError("drop, hang and lose_reply exclude each other")

    @property
    def ends(self) -> bool:
        """Whether nothing more is said afterwards."""
        return self.drop or self.hang or self.lose_reply

    def meets(self, moment: str) -> bool:
        return (self.times is None or self.happened < self.times) and moment.upper().startswith(self.moment.upper())

    def said(self, line: str) -> bytes | None:
        """The octets that are said in place of the usual reply; None where that one stands."""
        reply = self.reply(line) if callable(self.reply) else self.reply
        return reply if reply is None or isinstance(reply, bytes) else octets_of(reply)


class Script:
    """The faults of one server. It is written in the test's thread and followed in the server's."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._lock = Lock()

    def add(self, fault: Fault) -> Fault:
        with self._lock:
            self._faults.append(fault)
        return fault

    def forget(self) -> None:
        with self._lock:
            self._faults.clear()

    def next(self, *moments: str) -> Fault | None:
        """What happens now: of several faults that one which was asked for last."""
        with self._lock:
            for fault in reversed(self._faults):
                if any(fault.meets(moment) for moment in moments):
                    fault.happened += 1
                    return fault
        return None


def octets_of(text: str) -> bytes:
    """A reply as it is sent. `text` is a code, an enhanced status code or none, and words; further lines of words may follow.
    Raises ValueError."""
    return encode(reply_of(text))


def reply_of(text: str) -> Reply:
    found = _REPLY.fullmatch(text)
    if found is None:
        raise ValueError(f'{text!r} is no reply: write it as "451 4.7.1 later", or give the octets')
    return Reply(int(found[1]), found[3] or "", found[2])
