"""EXTERNAL (RFC 4422 Appendix A): who the client is has been proved already, by its certificate in the TLS handshake."""

from __future__ import annotations

from waymail.wire.sasl.mechanism import (
    AuthenticationProtocolError,
    Challenge,
    Channel,
    Exchange,
    Refusal,
    Success,
    check_authorization,
    known_name,
    text_of,
)

NAME = "EXTERNAL"


def external(initial: bytes | None, *, channel: Channel) -> Exchange:
    """The server's side. Ends with Success: the user is whom the certificate names, who may say so himself."""
    identity = text_of((yield Challenge(b"")) if initial is None else initial)
    if "\0" in identity:
        raise Refusal("NUL in an identity", malformed=True)
    if not channel.external:
        raise Refusal("the client has no certificate that says who it is")
    user = known_name(channel.external)
    check_authorization(identity, user)
    return Success(user)


class ExternalClient:
    """The client's side. `user` is whom we ask to be, "" whom the server takes us for. Raises ValueError where it holds NUL."""

    name = NAME

    def __init__(self, user: str) -> None:
        if "\0" in user:
            raise ValueError("the user name must not hold NUL")
        self._identity = user.encode("utf-8")
        self._asked = False

    def initial(self) -> bytes:
        return self._identity

    def step(self, challenge: bytes) -> bytes:
        if challenge or self._asked:
            raise AuthenticationProtocolError("the server sent a challenge that EXTERNAL does not have")
        self._asked = True
        return self._identity

    def succeeded(self) -> None:
        """The TLS handshake proved what there is to prove."""
