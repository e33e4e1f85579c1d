"""AUTH (RFC 4954), from the offer of the server to its 235.

The strongest mechanism first (`sasl.best_mechanism`), the next where the server takes back its offer (504, 534), but never after
it refused us: a second mechanism would give away a wrong password, or lock the account. Only a refused token is followed by
another one, if there is another, once.

Raises AuthenticationFailed, and ConnectionFailed where the connection ended meanwhile. ValueError for a user name or password
that the mechanism cannot carry, before anything is sent.
"""

from __future__ import annotations

import binascii
import secrets
from collections.abc import Mapping

from waymail.client.connection import Connection
from waymail.client.dialogue import ask
from waymail.client.errors import AuthenticationFailed
from waymail.client.io import Io
from waymail.client.target import Credentials
from waymail.client.transcript import hidden
from waymail.net import binding
from waymail.wire.commands import Auth, AuthResponse
from waymail.wire.replies import Reply
from waymail.wire.sasl import (
    MECHANISMS,
    TOKEN_MECHANISMS,
    AuthenticationProtocolError,
    Channel,
    ClientMechanism,
    best_mechanism,
    client_mechanism,
)

_LOOP_LIMIT = 10  # challenges in one exchange; SCRAM needs three
_LINE = 512  # octets of a command line with its CRLF (RFC 5321 §4.5.3.1.4)


async def authenticate(io: Io, connection: Connection, credentials: Credentials) -> None:
    """Log in. The connection stays open where it fails, unless the server broke the rules."""
    offered = connection.core.extensions.get("AUTH", "").upper().split()
    bindings = _bindings(connection)
    token, is_refreshed = "", False
    while True:
        name = _choose(connection, credentials, offered, bindings)
        if name in TOKEN_MECHANISMS and not token:
            token = await _token(io, connection, credentials)
        channel = _channel(connection, bindings, offered)
        reply = await _attempt(connection, name, credentials, token, channel)
        if reply.is_positive:
            return
        # RFC 4954 §6: 504 and 534 are about the mechanism; all else is about us.
        if reply.code in (504, 534):
            offered = [other for other in offered if other != name]
            continue
        if name in TOKEN_MECHANISMS and callable(credentials.token) and reply.is_permanent and not is_refreshed:
            old, is_refreshed = token, True
            token = await _token(io, connection, credentials)
            if token != old:
                continue
        raise AuthenticationFailed(_refused(connection, credentials, name, reply), reply)


def _choose(connection: Connection, credentials: Credentials, offered: list[str], bindings: Mapping[str, bytes]) -> str:
    secure = connection.is_confidential or credentials.cleartext
    name = best_mechanism(offered, secure=secure, credentials=credentials, bindings=bindings)
    if name is None:
        raise AuthenticationFailed(_no_mechanism(connection, credentials, offered, bindings))
    return name


async def _attempt(connection: Connection, name: str, credentials: Credentials, token: str, channel: Channel) -> Reply:
    mechanism = _mechanism(connection, name, credentials, token, channel)
    try:
        reply = await _exchange(connection, mechanism)
        if reply.is_positive:
            mechanism.succeeded()
        return reply
    except AuthenticationProtocolError as error:
        connection.abort("did not keep to the rules of authentication")
        raise AuthenticationFailed(f"{connection.peer.host}: {error}") from error


def _mechanism(connection: Connection, name: str, credentials: Credentials, token: str, channel: Channel) -> ClientMechanism:
    nonce = secrets.token_urlsafe(24)
    try:
        return client_mechanism(name, credentials.user, credentials.password, nonce, token=token, channel=channel)
    except ValueError as error:
        if name in TOKEN_MECHANISMS and callable(credentials.token):  # it came from outside of the program
            raise AuthenticationFailed(f"no token for {connection.peer.host}: {error}") from error
        raise


async def _exchange(connection: Connection, mechanism: ClientMechanism) -> Reply:
    initial = _initial(mechanism)
    said = [initial or b""]
    reply = await ask(connection, Auth(mechanism.name, initial), "AUTH")
    for _ in range(_LOOP_LIMIT):
        if reply.code != 334:
            # It is shown, and some servers say again what they did not take.
            return Reply(reply.code, hidden(reply.text, said), reply.enhanced)
        try:
            challenge = binascii.a2b_base64(reply.text.strip(), strict_mode=True)
        except ValueError:
            raise AuthenticationProtocolError("the server's challenge is not base64") from None
        # SCRAM hashes the password some thousand times: too long for the loop.
        answer = await connection.offload(mechanism.step, challenge)
        said.append(answer)
        reply = await ask(connection, AuthResponse(answer), "AUTH")
    raise AuthenticationProtocolError("the server's challenges do not end")


def _initial(mechanism: ClientMechanism) -> bytes | None:
    """RFC 4954 §4: what does not fit the line is sent when an empty challenge asks for it."""
    initial = mechanism.initial()
    if initial is None:
        return None
    length = len("AUTH  \r\n") + len(mechanism.name) + 4 * ((len(initial) + 2) // 3)
    return initial if length <= _LINE else None


async def _token(io: Io, connection: Connection, credentials: Credentials) -> str:
    """A token, from whoever has them. The server waits meanwhile, and so that has to end as well."""
    try:
        return await io.token(credentials.token, connection.within(connection.timeouts.command))
    except AuthenticationFailed:
        raise
    except TimeoutError as error:
        raise AuthenticationFailed(f"no token for {connection.peer.host} in time") from error
    except Exception as error:  # whatever the program's own function raises
        raise AuthenticationFailed(f"no token for {connection.peer.host}: {type(error).__name__}") from error


def _bindings(connection: Connection) -> Mapping[str, bytes]:
    return binding.of_client(connection.tls) if connection.tls is not None else {}


def _channel(connection: Connection, bindings: Mapping[str, bytes], offered: list[str]) -> Channel:
    # A -PLUS that was taken back with 504 counts as not offered: if the server did offer it, and somebody else took it back,
    # "y" tells.
    offers_plus = any(name.endswith("-PLUS") for name in offered)
    return Channel(bindings=bindings, host=connection.peer.host, port=connection.remote[1], offers_plus=offers_plus)


def _refused(connection: Connection, credentials: Credentials, name: str, reply: Reply) -> str:
    text = f"{connection.peer.host} refused user {credentials.user}: {reply}"
    if not name.endswith("-PLUS"):
        return text
    plain = name.removesuffix("-PLUS")
    return f'{text} (with {name}; if the password is right, the two ends may see different TLS: try mechanism="{plain}")'


def _no_mechanism(connection: Connection, credentials: Credentials, offered: list[str], bindings: Mapping[str, bytes]) -> str:
    host, names = connection.peer.host, " ".join(offered)
    wanted = credentials.mechanism.upper()
    if not offered:
        return f"{host} does not offer AUTH" + ("" if connection.peer.tls else " (it may offer it over TLS only)")
    if wanted and wanted not in offered:
        return f"{host} does not offer {wanted}, only {names}"
    if best_mechanism(offered, secure=True, credentials=credentials, bindings=bindings) is not None:
        what = "TLS without a verified certificate" if connection.peer.tls else "a cleartext connection"
        permit = "or permit it by Credentials(cleartext=True)"
        return f'{host} offers {names}: not used over {what}, for it gives the password away; use tls="require", {permit}'
    if any(name in MECHANISMS for name in offered):
        missing = "a channel to bind to, " if wanted.endswith("-PLUS") else ""
        return f"{host} offers {names}: none of them can be used with what there is ({missing}password, token or certificate)"
    return f"{host} offers no mechanism that is known here: {names}"
