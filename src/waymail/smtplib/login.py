"""AUTH for smtplib's callers (RFC 4954): by what a program answers to challenges, and by user name and password."""

from __future__ import annotations

import binascii
import hmac
import secrets
import ssl
from collections.abc import Callable, Mapping, Sequence
from smtplib import SMTPAuthenticationError, SMTPException
from typing import TYPE_CHECKING, Any

from waymail.net import binding
from waymail.wire.commands import Noop
from waymail.wire.sasl import AuthenticationProtocolError, Channel, best_mechanism, client_mechanism
from waymail.wire.sasl.choice import Credentials

if TYPE_CHECKING:
    from waymail.smtplib.smtp import SMTP

_MOST_CHALLENGES = 5
_LINE = 512  # octets of a command line with its CRLF (RFC 5321 §4.5.3.1.4)
# In clear, what shows the password last. Over TLS the order is that of `best_mechanism`.
_IN_CLEAR = ("CRAM-MD5", "PLAIN", "LOGIN")


class _Password:
    """What the choice of a mechanism is told of: there is a password."""

    password = "yes"  # noqa: S105
    token = None
    mechanism = ""


def exchange(smtp: SMTP, mechanism: str, answer: Callable[..., Any], initial_response_ok: bool) -> tuple[int, bytes]:
    """What `SMTP.auth` says."""
    initial = _base64(answer()) if initial_response_ok else None
    # RFC 4954 §4: what does not fit the line is sent when an empty challenge asks for it.
    is_sent = initial is not None and len(f"AUTH {mechanism} {initial}\r\n") <= _LINE
    reply = _say(smtp, f"AUTH {mechanism} {initial or '='}" if is_sent else f"AUTH {mechanism}", f"AUTH {mechanism} ...")
    smtp._auth_challenge_count = int(is_sent)
    while reply[0] == 334:
        smtp._auth_challenge_count += 1
        response = _base64(answer(_challenge(smtp, reply[1])))
        reply = _say(smtp, response or "", "...")
        # If the server keeps sending challenges, something is wrong.
        if smtp._auth_challenge_count > _MOST_CHALLENGES:
            raise SMTPException(f"Server AUTH mechanism infinite loop. Last response: {reply!r}")
    if reply[0] in (235, 503):
        return reply
    raise SMTPAuthenticationError(*reply)


def _say(smtp: SMTP, line: str, shown: str) -> tuple[int, bytes]:
    smtp._say(line, Noop(), shown)
    return smtp.getreply()


def _challenge(smtp: SMTP, text: bytes) -> bytes:
    try:
        return binascii.a2b_base64(text)
    except ValueError as error:
        smtp.docmd("*")  # RFC 4954 §4: the client gives up
        raise SMTPException(f"The server's challenge is not base64: {text[:80]!r}") from error


def _base64(answer: str | bytes | None) -> str | None:
    if answer is None:
        return None
    octets = answer.encode() if isinstance(answer, str) else answer
    return binascii.b2a_base64(octets, newline=False).decode()


def cram_md5(smtp: SMTP, challenge: bytes | None) -> str | None:
    """RFC 2195 §2. The server begins."""
    if challenge is None:
        return None
    return f"{smtp.user} {hmac.new(smtp.password.encode(), challenge, 'md5').hexdigest()}"


def by_password(smtp: SMTP, initial_response_ok: bool) -> tuple[int, bytes]:
    """What `SMTP.login` says."""
    offered = [name.upper() for name in smtp.esmtp_features["auth"].split()]
    sock = smtp.sock
    bindings = binding.of_client(sock) if isinstance(sock, ssl.SSLSocket) else {}
    names = _in_order(offered, secure=hasattr(sock, "cipher"), bindings=bindings)
    if not names:
        raise SMTPException("No suitable authentication method found.")
    refusal: SMTPAuthenticationError | None = None
    while names:
        name = names.pop(0)
        try:
            return _by_mechanism(smtp, name, offered, bindings, initial_response_ok)
        except SMTPAuthenticationError as error:
            refusal = error
        if not smtp.sock:
            break
        if name.startswith("SCRAM") and refusal.smtp_code not in (504, 534):
            # RFC 4954 §6: 504 and 534 are about the mechanism; all else is about us, and the next SCRAM would be told the same.
            names = [other for other in names if not other.startswith("SCRAM")]
    assert refusal is not None  # noqa: S101
    raise refusal


def _in_order(offered: Sequence[str], *, secure: bool, bindings: Mapping[str, bytes]) -> list[str]:
    """The mechanisms to try. In clear: SCRAM alone, where there is one; whoever sits in between could have made it fail."""
    left = list(offered)
    names: list[str] = []
    password: Credentials = _Password()
    while (name := best_mechanism(left, secure=secure, credentials=password, bindings=bindings)) is not None:
        names.append(name)
        left = [other for other in left if other != name]
    return names or [name for name in _IN_CLEAR if name in left]


def _by_mechanism(
    smtp: SMTP, name: str, offered: Sequence[str], bindings: Mapping[str, bytes], initial_response_ok: bool
) -> tuple[int, bytes]:
    if not name.startswith("SCRAM"):
        answer = getattr(smtp, f"auth_{name.lower().replace('-', '_')}")
        return smtp.auth(name, answer, initial_response_ok=initial_response_ok)
    channel = Channel(bindings=bindings, offers_plus=any(other.endswith("-PLUS") for other in offered))
    mechanism = client_mechanism(name, smtp.user, smtp.password, secrets.token_urlsafe(24), channel=channel)
    try:
        reply = smtp.auth(
            name,
            lambda challenge=None: mechanism.initial() if challenge is None else mechanism.step(challenge),
            initial_response_ok=initial_response_ok,
        )
        if reply[0] == 235:
            mechanism.succeeded()
    except AuthenticationProtocolError as error:
        smtp.close()  # it does not know the password: nothing more is to be told to it
        raise SMTPException(f"{name}: {error}") from error
    return reply
