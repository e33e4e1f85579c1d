"""What sending raises, when something outside of the program went wrong.

    SMTPError
        ConnectionFailed            no session came about
        TlsError                    no session that is as safe as was asked for
        AuthenticationFailed        the server does not believe who we are
        SenderRefused               the message was not accepted for anybody
        AllRecipientsRefused
        MessageRefused
        Disconnected                the session ended too early; nothing was accepted
            UncertainDelivery       ... and nobody can say whether the message was

What the caller got wrong is a ValueError instead: a URL that cannot be read, an address with a line break in it, a message
without recipients. Some recipients refused and some accepted is no error: `SendResult.refused` has the replies.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from waymail.mail.outcome import Peer
from waymail.wire.replies import Reply


class SMTPError(Exception):
    """The base of all that sending raises. `reply` is what was said, where something was; `peer` who it was, where known.

    Where no session came about, `dialogue` is what was said until it ended, in lines (`transcript`), without what is secret, and
    `port` where it was tried.
    """

    def __init__(self, text: str, reply: Reply | None = None, peer: Peer | None = None) -> None:
        super().__init__(text)
        self.reply = reply
        self.peer = peer
        self.dialogue: tuple[str, ...] = ()
        self.port = 25

    def __reduce__(self) -> tuple[Any, ...]:
        """An error goes from a worker process to the one that asked, with all that it knows."""
        return _restored, (type(self), self.args, self.__dict__)

    @property
    def is_temporary(self) -> bool:
        """Whether the same thing may work later: everything but a 5yz reply (RFC 5321 §4.2.1)."""
        return self.reply is None or not self.reply.is_permanent


def _restored(kind: type[SMTPError], args: tuple[object, ...], state: Mapping[str, object]) -> SMTPError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(state)
    return error


class ConnectionFailed(SMTPError):
    """No connection, or no welcome: the host does not answer, or refused in its greeting or to EHLO (then `reply` is set).
    `why` is the cause in a few fixed words that anybody may read: "refused"; "" where none fit."""

    def __init__(self, text: str, reply: Reply | None = None, peer: Peer | None = None, why: str = "") -> None:
        super().__init__(text, reply, peer)
        self.why = why


class TlsError(SMTPError):
    """TLS was demanded, and STARTTLS is not offered or was refused (`reply`), or the handshake failed, or the certificate is
    not trusted or for another name. Nothing was sent in cleartext."""

    @property
    def is_temporary(self) -> bool:
        """True: what is in the way may be a mistake, or an attack, and either may be over tomorrow."""
        return True


class AuthenticationFailed(SMTPError):
    """The server refused the user name, password or token (`reply`), could not prove its own knowledge of the password, or offers
    no mechanism that may be used here: what shows password or token goes only over TLS with a verified certificate. Or else no
    token could be had."""


class SenderRefused(SMTPError):
    """The reply to MAIL FROM was negative."""


class AllRecipientsRefused(SMTPError):
    """No recipient was accepted. `refused` has the reply for each, `reply` is the last of them."""

    def __init__(self, text: str, refused: Mapping[str, Reply], peer: Peer | None = None) -> None:
        super().__init__(text, list(refused.values())[-1] if refused else None, peer)
        self.refused = refused


class MessageRefused(SMTPError):
    """The message itself was refused: by the server, or already here because the server does not offer what it needs (it is
    larger than SIZE says, or has 8-bit content without 8BITMIME). In that case `reply` is one that we made."""


class Disconnected(SMTPError):
    """The session ended before the message was complete: the connection was lost, the server said 421 (`reply`), was silent
    for too long, or said what no server says. Nothing of the transaction was accepted, so it may be sent again."""


class UncertainDelivery(Disconnected):
    """The session ended after the whole message was sent, before its reply came. The server may have taken it, or not: sending
    again may make a duplicate, not sending again may lose the message."""
