"""Bearer tokens of OAuth 2.0 (RFC 6750): OAUTHBEARER (RFC 7628), and XOAUTH2, which has no RFC and is what Google and Microsoft
had before. To be used inside TLS only, which is the caller's business: who has the token is the user.

Whether a token is good nobody can tell here: the server's side asks with NeedsToken. A refused one is answered with a challenge
that tells why, in JSON; the client's answer to that means nothing, and then the exchange fails.
"""

from __future__ import annotations

import json
import re

from waymail.wire.sasl.mechanism import (
    NO_CHANNEL,
    AuthenticationProtocolError,
    Challenge,
    Channel,
    Exchange,
    NeedsToken,
    Refusal,
    Success,
    known_name,
    text_of,
)
from waymail.wire.sasl.saslprep import saslprep
from waymail.wire.sasl.scram_messages import escaped, unescaped

OAUTHBEARER = "OAUTHBEARER"
XOAUTH2 = "XOAUTH2"

_PAIRS = r"(?P<pairs>(?:[A-Za-z]+=[\t\n\r -~]*\x01)*)"
# RFC 7628 §3.1: client-resp = gs2-header kvsep *kvpair kvsep; kvpair = key "=" value kvsep. There is no channel to bind to, so
# "p=" does not match. §4.4 has "user=" for the "a=" of RFC 5801 §4, and so have clients that were written after it.
_OAUTHBEARER = re.compile(rf"[ny],(?:(?:a|user)=(?P<user>[^,\0\x01]+))?,\x01{_PAIRS}\x01")
# "user=" {user} "^A" "auth=Bearer " {token} "^A^A"
_XOAUTH2 = re.compile(rf"user=(?P<user>[^\0\x01]+)\x01{_PAIRS}\x01")
# RFC 6750 §2.1: credentials = "Bearer" 1*SP b64token; RFC 7628 §4: "Bearer" in any case.
_B64TOKEN = r"[A-Za-z0-9._~+/-]+=*"
_AUTHORIZATION = re.compile(rf"(?i:bearer) +({_B64TOKEN}) *")


def oauthbearer(initial: bytes | None, *, channel: Channel) -> Exchange:
    """The server's side of OAUTHBEARER. Asks with NeedsToken, ends with Success.

    `host` and `port` of the channel are what the client must have connected to, if it says (RFC 7628 §3.2).
    """
    found, pairs = _understand(_OAUTHBEARER, (yield Challenge(b"")) if initial is None else initial)
    user = known_name(unescaped(found["user"])) if found["user"] else ""
    # RFC 7628 §3.2.2
    error = json.dumps({"status": "invalid_token"}).encode()
    return (yield from _judged(user, pairs, channel, error, b"\x01"))


def xoauth2(initial: bytes | None) -> Exchange:
    """The server's side of XOAUTH2. Asks with NeedsToken, ends with Success."""
    found, pairs = _understand(_XOAUTH2, (yield Challenge(b"")) if initial is None else initial)
    error = json.dumps({"status": "401", "schemes": "bearer"}).encode()
    return (yield from _judged(known_name(found["user"]), pairs, NO_CHANNEL, error, b""))


def _understand(pattern: re.Pattern[str], message: bytes) -> tuple[re.Match[str], dict[str, str]]:
    found = pattern.fullmatch(text_of(message))
    if found is None:
        raise Refusal("not a message with a token", malformed=True)
    listed = [pair.partition("=")[::2] for pair in found["pairs"].split("\x01")[:-1]]
    pairs = dict(listed)
    if len(pairs) != len(listed):
        raise Refusal("a message with one key twice", malformed=True)
    return found, pairs


def _judged(user: str, pairs: dict[str, str], channel: Channel, error: bytes, acknowledgement: bytes) -> Exchange:
    authorization = _AUTHORIZATION.fullmatch(pairs.get("auth", ""))
    whose = f"the token for {user or 'whomever it names'}"
    if authorization is None:
        cause = f"{whose} is missing, or none"
    elif not _is_meant_for(channel, pairs):
        cause = f"{whose} was meant for another server"
    else:
        verified = (yield NeedsToken(user, authorization[1])).decode()
        name = known_name(verified) if verified else ""
        if name and user in ("", name):
            return Success(name)
        cause = f"{whose} is the token of {name}" if name else f"{whose} was refused"
    answer = yield Challenge(error)
    raise Refusal(cause, malformed=answer != acknowledgement)


def _is_meant_for(channel: Channel, pairs: dict[str, str]) -> bool:
    """RFC 7628 §3.2: what the client says of host and port must match what the server knows of them."""
    host, port = pairs.get("host", ""), pairs.get("port", "")
    if host and channel.host and host.lower().removesuffix(".") != channel.host.lower().removesuffix("."):
        return False
    return not port or not channel.port or port == str(channel.port)


class BearerClient:
    """The client's side of both. Raises ValueError for a token that is none (RFC 6750 §2.1), PreparationProblem for a user name
    that cannot be one; it may be empty with OAUTHBEARER.

    `host` and `port` of the channel are sent along where they are known.
    """

    def __init__(self, name: str, user: str, token: str, channel: Channel = NO_CHANNEL) -> None:
        if not re.fullmatch(_B64TOKEN, token):
            raise ValueError("a bearer token consists of letters, digits, -._~+/ and = at its end")
        self.name = name
        self.error = ""
        self._sent = False
        authorization = f"auth=Bearer {token}\x01\x01"
        if name == XOAUTH2:
            self._message, self._acknowledgement = f"user={saslprep(user)}\x01{authorization}".encode(), b""
            return
        identity = f"a={escaped(saslprep(user))}" if user else ""
        host = f"host={channel.host}\x01" if channel.host else ""
        port = f"port={channel.port}\x01" if channel.port else ""
        self._message, self._acknowledgement = f"n,{identity},\x01{host}{port}{authorization}".encode(), b"\x01"

    def initial(self) -> bytes:
        return self._message

    def step(self, challenge: bytes) -> bytes:
        """An empty challenge asks for the message, any other tells why it was refused: `error` has that then."""
        if self.error or (not challenge and self._sent):
            raise AuthenticationProtocolError(f"the server sent a challenge that {self.name} does not have")
        if not challenge:
            self._sent = True
            return self._message
        self.error = challenge.decode("utf-8", "replace")
        return self._acknowledgement

    def succeeded(self) -> None:
        """A token proves nothing about the server: TLS must. But one that refused it cannot have accepted it."""
        if self.error:
            raise AuthenticationProtocolError("the server accepted a token that it had refused")
