"""LOGIN, which has no RFC: the server asks for the user name, then for the password. For clients and servers without PLAIN.

The words of the two challenges differ between servers, so the client goes by their order alone. Many clients send the user
name with AUTH although the server is to begin; RFC 4954 §4 would have that refused, but nothing is gained by it.
"""

from __future__ import annotations

from waymail.wire.sasl.mechanism import AuthenticationProtocolError, Challenge, Exchange, credentials, sendable, text_of

NAME = "LOGIN"


def login(initial: bytes | None) -> Exchange:
    """The server's side. Ends with NeedsVerification."""
    user = (yield Challenge(b"Username:")) if initial is None else initial
    password = yield Challenge(b"Password:")
    return credentials(text_of(user), text_of(password))


class LoginClient:
    """The client's side. Raises ValueError for an empty user name or password, or one that holds NUL."""

    name = NAME

    def __init__(self, user: str, password: str) -> None:
        self._answers = [sendable(password, "password"), sendable(user, "user name")]

    def initial(self) -> None:
        return None

    def step(self, challenge: bytes) -> bytes:
        if not self._answers:
            raise AuthenticationProtocolError("the server asked for more than user name and password")
        return self._answers.pop()

    def succeeded(self) -> None:
        """LOGIN proves nothing about the server: TLS must. But one that did not ask for the password had no reason."""
        if self._answers:
            raise AuthenticationProtocolError("the server accepted a password that it did not ask for")
