"""PLAIN (RFC 4616): one message with user name and password. To be used inside TLS only, which is the caller's business."""

from __future__ import annotations

from waymail.wire.sasl.mechanism import (
    AuthenticationProtocolError,
    Challenge,
    Exchange,
    Refusal,
    check_authorization,
    credentials,
    sendable,
    text_of,
)

NAME = "PLAIN"


def plain(initial: bytes | None) -> Exchange:
    """The server's side. Ends with NeedsVerification."""
    message = (yield Challenge(b"")) if initial is None else initial
    # RFC 4616 §2: message = [authzid] UTF8NUL authcid UTF8NUL passwd
    parts = text_of(message).split("\0")
    if len(parts) != 3 or not parts[1] or not parts[2]:
        raise Refusal("not a PLAIN message", malformed=True)
    authorization, user, password = parts
    found = credentials(user, password)
    check_authorization(authorization, found.user)
    return found


class PlainClient:
    """The client's side. Raises ValueError for an empty user name or password, or one that holds NUL.

    Both are sent as they are: RFC 4616 §2 leaves their preparation to the server, which may do none.
    """

    name = NAME

    def __init__(self, user: str, password: str) -> None:
        self._message = b"\0" + sendable(user, "user name") + b"\0" + sendable(password, "password")
        self._asked = False

    def initial(self) -> bytes:
        return self._message

    def step(self, challenge: bytes) -> bytes:
        if challenge or self._asked:
            raise AuthenticationProtocolError("the server sent a challenge that PLAIN does not have")
        self._asked = True
        return self._message

    def succeeded(self) -> None:
        """PLAIN proves nothing about the server: TLS must."""
