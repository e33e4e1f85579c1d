"""From nothing to a session in which a transaction can begin: connect, greeting, EHLO, STARTTLS, AUTH.

What is asked of TLS decides, never what the server says: with REQUIRED and IMPLICIT there is no way past this module that
leaves a session in cleartext, or one whose certificate was not verified by the context given for it. With OPPORTUNISTIC, a
host that offers STARTTLS and then fails at it gives a TlsError too: the caller may try again, once, with OFF, on a new
connection (`attempt` does). Raises ConnectionFailed, TlsError, AuthenticationFailed; nothing stays open then.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from math import inf

from waymail.client.authenticate import authenticate
from waymail.client.connection import Connection
from waymail.client.dialogue import ask, lost
from waymail.client.errors import AuthenticationFailed, ConnectionFailed, TlsError
from waymail.client.io import Io
from waymail.client.target import Credentials, Host, Tls
from waymail.client.transaction import Timeouts
from waymail.client.transcript import session_lines
from waymail.net import streams
from waymail.net import tls as tls_contexts
from waymail.wire.commands import Hello, StartTls
from waymail.wire.errors import ProtocolError


@dataclass(frozen=True, slots=True)
class Contexts:
    """The TLS contexts to use: `demanded` for REQUIRED and IMPLICIT, `opportunistic` for OPPORTUNISTIC.

    None means: verified by the system's certification authorities, and any certificate.
    """

    demanded: ssl.SSLContext | None = None
    opportunistic: ssl.SSLContext | None = None

    def of(self, demand: Tls) -> ssl.SSLContext:
        if demand is Tls.OPPORTUNISTIC:
            return self.opportunistic or tls_contexts.unverified()
        return self.demanded or tls_contexts.verified()


async def open_session(
    io: Io,
    host: Host,
    address: str | None = None,
    *,
    tls: Tls,
    contexts: Contexts = Contexts(),
    hello_name: str | None = None,
    timeouts: Timeouts = Timeouts(),  # noqa: B008 - frozen
    credentials: Credentials | None = None,
    deadline: float = inf,
    lmtp: bool = False,
) -> Connection:
    """A session with `host` at `address` (None: the system resolves its name), in LMTP (RFC 2033) where `lmtp` says so.

    `hello_name` names us in EHLO; None takes the address literal of the connection's own end (RFC 5321 §4.1.4). `deadline`
    (by `io.now`) bounds it all, over and above `timeouts`.
    """
    connection = await _connect(io, host, address, tls, contexts, timeouts, deadline)
    connection.is_lmtp, connection.is_local = lmtp, bool(host.path)
    connection.is_confidential |= connection.is_local  # nobody else listens on this machine's own socket
    try:
        connection.bound(deadline)
        await _greeting(connection)
        name = hello_name or _own_address(connection)
        await _hello(connection, name)
        if tls in (Tls.REQUIRED, Tls.OPPORTUNISTIC) and await _start_tls(connection, host, tls, contexts, deadline):
            # RFC 3207 §4.2: what was learnt before the handshake is forgotten, and asked again.
            await _hello(connection, name)
        if credentials is not None:
            await authenticate(io, connection, credentials)
            connection.is_authenticated = True
    except (ConnectionFailed, TlsError, AuthenticationFailed) as error:
        error.peer = connection.peer
        error.dialogue = tuple(session_lines(connection.peer, connection.heard, connection.core.pending))
        await connection.quit(deadline)  # RFC 5321 §4.1.1.10: also after a refusal
        raise
    except BaseException:
        connection.abort()
        raise
    connection.opening = connection.heard
    return connection


async def _connect(
    io: Io, host: Host, address: str | None, demand: Tls, contexts: Contexts, timeouts: Timeouts, deadline: float
) -> Connection:
    context = contexts.of(demand) if demand is Tls.IMPLICIT else None
    seconds = _remaining(timeouts.connect, deadline, io.now())
    try:
        connection = await io.dial(host, address, context=context, timeouts=timeouts, seconds=seconds)
    except streams.ConnectFailed as error:
        raise ConnectionFailed(error.text, why=error.why) from error
    except streams.TlsFailed as error:
        raise _not_secured(host, error) from error
    if context is not None:
        _secured(connection, context, demand)
    return connection


async def _greeting(connection: Connection) -> None:
    responses = await connection.replies(connection.timeouts.greeting)
    if not responses:
        raise lost(connection, "greeting")
    greeting = responses[0].reply
    # RFC 5321 §3.1, RFC 7504 §3: 220, or 554 or 521; RFC 5321 §4.3.2: others by their first digit.
    if not greeting.is_positive:
        raise ConnectionFailed(f"{connection.peer.host} refused the connection: {greeting}", greeting)


async def _hello(connection: Connection, name: str) -> None:
    lmtp = connection.is_lmtp
    reply = await ask(connection, Hello(name, lmtp=lmtp), "LHLO" if lmtp else "EHLO")
    if reply.code in (500, 502) and not lmtp:
        # RFC 5321 §3.2, §4.1.1.1: a server that does not know EHLO is greeted with HELO, once.
        reply = await ask(connection, Hello(name, extended=False), "HELO")
    if not reply.is_positive:
        raise ConnectionFailed(f"{connection.peer.host} refused {name}: {reply}", reply)
    connection.learn_extensions()


async def _start_tls(connection: Connection, host: Host, demand: Tls, contexts: Contexts, deadline: float) -> bool:
    """Returns False where TLS is not demanded and the host does not offer it."""
    if "STARTTLS" not in connection.core.extensions:
        if demand is Tls.OPPORTUNISTIC:
            return False
        # RFC 8314 §5, RFC 3207 §6: whoever sits in the middle may have taken the keyword out.
        raise TlsError(f'{host.name} does not offer STARTTLS; to send in cleartext all the same, say tls="off"')
    try:
        reply = await ask(connection, StartTls(), "STARTTLS")
    except ConnectionFailed as error:
        raise TlsError(str(error), error.reply) from error
    if reply.code != 220:
        raise TlsError(f"{host.name} refused STARTTLS: {reply}", reply)
    try:
        # RFC 3207 §4.2: octets behind the 220 that are not TLS were put there by somebody else.
        connection.core.tls_started()
    except ProtocolError as error:
        raise TlsError(f"{host.name}: cleartext behind the reply to STARTTLS: {error}") from error
    if connection.trouble is not None:
        raise TlsError(str(connection.trouble))
    context = contexts.of(demand)
    seconds = _remaining(connection.timeouts.tls, deadline, connection.now())
    try:
        await connection.start_tls(context, host.name, seconds)
    except streams.TlsFailed as error:
        connection.abort(error.text)
        raise _not_secured(host, error) from error
    _secured(connection, context, demand)
    return True


def _not_secured(host: Host, failure: streams.TlsFailed) -> TlsError:
    error = TlsError(f"{host.name}: {failure.text}")
    if failure.certificate:  # a note is for programmers: it stands below the traceback, and not in logs and notices
        error.add_note(
            f"Is {host.name} the name that is in the certificate? An authority of your own that issued it is trusted with"
            ' tls_context=ssl.create_default_context(cafile="ca.pem").'
        )
    return error


def _secured(connection: Connection, context: ssl.SSLContext, demand: Tls) -> None:
    is_verified = context.verify_mode is ssl.CERT_REQUIRED
    tls = connection.tls
    described = tls_contexts.describe(tls, is_verified) if tls is not None else ""
    # Who demanded TLS and gave a context of his own has decided what is safe enough for a password.
    is_demanded = demand is not Tls.OPPORTUNISTIC
    connection.describe(described, confidential=is_verified or is_demanded, verified=is_verified and is_demanded)


def _remaining(seconds: float, deadline: float, now: float) -> float:
    return max(0.001, min(seconds, deadline - now))


def _own_address(connection: Connection) -> str:
    address = connection.local.partition("%")[0] or "127.0.0.1"
    return f"[IPv6:{address}]" if ":" in address else f"[{address}]"
