"""The client's side: which mechanism, and from its name to the exchange.

A password or a token goes only where nobody else listens (RFC 4954 §4, RFC 8314 §3, RFC 7628 §3): PLAIN, LOGIN, OAUTHBEARER and
XOAUTH2 are not chosen where the connection is not secure. CRAM-MD5 is chosen last of all. Over a secure connection the password
is safe with the server that proved who it is, which is more than CRAM-MD5 asks of one. Over another, whoever sits in the
middle could strike the other mechanisms from the offer, send a challenge of his own and have the password of the answer within
minutes: one round of HMAC-MD5 stands in his way, where SCRAM has thousands. So there it must be asked for by name.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from waymail.wire.sasl import bearer, cram_md5, external, login, plain
from waymail.wire.sasl.mechanism import NO_CHANNEL, Channel, ClientMechanism, UnknownMechanism
from waymail.wire.sasl.scram import PLUS
from waymail.wire.sasl.scram_client import BINDING_TYPES, ScramClient
from waymail.wire.sasl.scram_keys import HASHES, SHA_1, SHA_256

MECHANISMS = (
    external.NAME,
    SHA_256 + PLUS,
    SHA_1 + PLUS,
    SHA_256,
    SHA_1,
    bearer.OAUTHBEARER,
    bearer.XOAUTH2,
    plain.NAME,
    login.NAME,
    cram_md5.NAME,
)
"""What there is, the best first."""

TOKEN_MECHANISMS = frozenset({bearer.OAUTHBEARER, bearer.XOAUTH2})
"""Those that carry a bearer token."""


EXPECTED_BINDINGS = frozenset({"tls-exporter", "tls-unique"})
"""Those one of which every peer that binds to TLS 1.3, or to TLS 1.2, must have (RFC 9266 §3, RFC 5802 §6).

Python has no exporter, so on TLS 1.3 there is tls-server-end-point alone, and many peers refuse that there. So -PLUS is then not
offered, and chosen only where nothing else keeps somebody in the middle out, unless it is asked for by name."""


class Credentials(Protocol):
    """What the choice asks of what a client has: whether there is a password or a token, and whether one mechanism was named
    ("" for none). Where there is neither, a client certificate must prove who we are."""

    @property
    def password(self) -> str: ...

    @property
    def token(self) -> object: ...

    @property
    def mechanism(self) -> str: ...


def best_mechanism(
    offered: Collection[str], *, secure: bool, credentials: Credentials, bindings: Collection[str] = ()
) -> str | None:
    """The strongest mechanism that both sides have and for which the client has what it takes; None where there is none, or
    only such as would give away password or token.

    `secure`: nobody but the intended server can read the connection. `bindings` are the types of channel binding known of it.
    """
    names = {name.upper() for name in offered}
    return next((name for name in MECHANISMS if name in names and _is_usable(name, secure, credentials, bindings)), None)


def _is_usable(name: str, secure: bool, credentials: Credentials, bindings: Collection[str]) -> bool:
    is_named = credentials.mechanism.upper() == name
    if credentials.mechanism and not is_named:
        return False
    has_password = bool(credentials.password)
    if name == external.NAME:
        return is_named or not (has_password or credentials.token)
    if name in TOKEN_MECHANISMS:
        return secure and bool(credentials.token)
    if name.endswith(PLUS):
        wanted = EXPECTED_BINDINGS if secure and not is_named else BINDING_TYPES
        return has_password and any(kind in bindings for kind in wanted)
    if name in HASHES:
        return has_password
    return has_password and (secure or (name == cram_md5.NAME and is_named))


def client_mechanism(
    name: str, user: str, password: str, nonce: str, *, token: str = "", channel: Channel = NO_CHANNEL
) -> ClientMechanism:
    """One exchange, as the client sees it. `nonce` is sixteen or more random printable ASCII characters without a comma.

    Raises UnknownMechanism, and ValueError where user name, password or token cannot be used with the mechanism.
    """
    name = name.upper()
    if name.removesuffix(PLUS) in HASHES:
        return ScramClient(user, password, nonce, name=name, channel=channel)
    match name:
        case external.NAME:
            return external.ExternalClient(user)
        case bearer.OAUTHBEARER | bearer.XOAUTH2:
            return bearer.BearerClient(name, user, token, channel)
        case plain.NAME:
            return plain.PlainClient(user, password)
        case login.NAME:
            return login.LoginClient(user, password)
        case cram_md5.NAME:
            return cram_md5.CramMd5Client(user, password)
    raise UnknownMechanism(name)
