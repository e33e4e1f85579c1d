"""What went wrong, in the exceptions that programs with Django know: smtplib's."""

from __future__ import annotations

from smtplib import (
    SMTPAuthenticationError,
    SMTPConnectError,
    SMTPDataError,
    SMTPException,
    SMTPRecipientsRefused,
    SMTPResponseException,
    SMTPSenderRefused,
    SMTPServerDisconnected,
)

from waymail.client.errors import (
    AllRecipientsRefused,
    AuthenticationFailed,
    ConnectionFailed,
    Disconnected,
    MessageRefused,
    SenderRefused,
    SMTPError,
)
from waymail.wire.replies import Reply


def translated(error: SMTPError, sender: str = "") -> SMTPException:
    """smtplib's exception for `error`, of a message from `sender`. It is to be raised from that error, whose class says more:
    whether trying again may help, or whether the message may have arrived."""
    if isinstance(error, AllRecipientsRefused):
        return SMTPRecipientsRefused({address: (reply.code, _text(reply)) for address, reply in error.refused.items()})
    reply = error.reply
    if isinstance(error, Disconnected) or (isinstance(error, ConnectionFailed) and reply is None):
        return SMTPServerDisconnected(str(error))
    if reply is None:
        return SMTPException(str(error))
    if isinstance(error, SenderRefused):
        return SMTPSenderRefused(reply.code, _text(reply), sender)
    return _KINDS.get(type(error), SMTPResponseException)(reply.code, _text(reply))


_KINDS: dict[type[SMTPError], type[SMTPResponseException]] = {
    AuthenticationFailed: SMTPAuthenticationError,
    ConnectionFailed: SMTPConnectError,
    MessageRefused: SMTPDataError,
}


def _text(reply: Reply) -> bytes:
    """As smtplib has it: octets, with the enhanced status code."""
    return str(reply)[4:].encode("utf-8", "replace")
