"""SCRAM-SHA-256 and SCRAM-SHA-1 (RFC 5802, RFC 7677), with channel binding (-PLUS) and without: the server's side.

The password never crosses the wire, and each side proves to the other that it knows it, or its keys. An unknown user gets a salt
that is made up, but always the same: the exchange looks like any other until the proof fails. With -PLUS the proof covers
what only the two ends of this TLS connection know, so that nobody who sits between two TLS connections can pass it on.

SMTP has no room for data in the reply to success (RFC 4954 §4): the server's proof goes out as one more challenge, which the
client answers with an empty response.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable

from waymail.wire.sasl.mechanism import (
    NO_CHANNEL,
    Challenge,
    Channel,
    Exchange,
    Refusal,
    Success,
    check_authorization,
    check_nonce,
    known_name,
    text_of,
)
from waymail.wire.sasl.scram_keys import (
    HASHES,
    ITERATIONS,
    MAX_ITERATIONS,
    MIN_ITERATIONS,
    SALT_LENGTH,
    SHA_256,
    ScramKeys,
    unknown_user_keys,
)
from waymail.wire.sasl.scram_messages import CLIENT_FINAL, CLIENT_FIRST, combined, octets, unescaped, written

__all__ = ["ITERATIONS", "MAX_ITERATIONS", "MIN_ITERATIONS", "PLUS", "SALT_LENGTH", "ScramKeys", "scram", "unknown_user_keys"]

PLUS = "-PLUS"

Lookup = Callable[[str], ScramKeys | None]


def scram(
    initial: bytes | None,
    *,
    nonce: str,
    keys: Lookup,
    secret: bytes,
    name: str = SHA_256,
    channel: Channel = NO_CHANNEL,
) -> Exchange:
    """The server's side. Ends with Success.

    `name` is the mechanism's. `nonce` is random printable ASCII without a comma, new each time. `keys` finds a user's keys of the
    mechanism's hash by his name, in the form of `user_name`. `secret` is what the salts of unknown users are made from: the
    same over restarts, and known to nobody.
    """
    check_nonce(nonce)
    hash_name = name.removesuffix(PLUS)
    digest = HASHES[hash_name]
    first = _match(CLIENT_FIRST, (yield Challenge(b"")) if initial is None else initial)
    expected = first["gs2"].encode() + _binding(first["flag"], first["type"], name, channel)
    user = known_name(unescaped(first["user"]))
    found = keys(user)
    kept = found or unknown_user_keys(user, secret, hash_name)
    joint = first["nonce"] + nonce
    server_first = f"r={joint},s={written(kept.salt)},i={kept.iterations}"
    final = _match(CLIENT_FINAL, (yield Challenge(server_first.encode())))
    if final["nonce"] != joint:
        raise Refusal(f"the nonce in the second message of {user} is not the one of this exchange")
    # RFC 5802 §6: the server MUST validate "c=", with the header that came first and the binding of its own end.
    if not hmac.compare_digest(final["binding"], written(expected)):
        raise Refusal(f"the channel binding in the second message of {user} is not the one expected")
    message = f"{first['bare']},{server_first},{final['unproved']}".encode()
    if not _proves(final["proof"], kept.stored_key, message, digest) or found is None:
        raise Refusal(f"the proof of {user} is wrong" if found else f"there is no user {user} with keys for {hash_name}")
    if first["authorization"]:
        check_authorization(unescaped(first["authorization"]), user)
    signature = hmac.digest(kept.server_key, message, digest)
    if (yield Challenge(f"v={written(signature)}".encode())):
        raise Refusal(f"{user} answered the server's proof with more than nothing", malformed=True)
    return Success(user)


def _binding(flag: str, kind: str | None, name: str, channel: Channel) -> bytes:
    """The channel binding data that "c=" must hold behind the header. Raises Refusal (RFC 5802 §6, RFC 7677 §4)."""
    if kind is None:
        if name.endswith(PLUS):
            raise Refusal(f"the client chose {name} and binds to no channel")
        # "y": the client would bind, but saw no offer. If there was one, somebody took it away.
        if flag == "y" and channel.offers_plus:
            raise Refusal("the client did not see that channel binding is offered: somebody changed the offer")
        return b""
    if not name.endswith(PLUS):
        raise Refusal(f"the client demands channel binding, which {name} does not have")
    data = channel.bindings.get(kind)
    if data is None:
        raise Refusal(f"the client binds to the channel by {kind}, which is not known of this connection")
    return data


def _proves(proof: str, stored_key: bytes, message: bytes, digest: str) -> bool:
    """RFC 5802 §3: the proof hides ClientKey, whose hash is StoredKey."""
    hidden = octets(proof)
    if hidden is None or len(hidden) != len(stored_key):
        return False
    client_key = combined(hidden, hmac.digest(stored_key, message, digest))
    return hmac.compare_digest(hashlib.new(digest, client_key).digest(), stored_key)


def _match(pattern: re.Pattern[str], message: bytes) -> re.Match[str]:
    found = pattern.fullmatch(text_of(message))
    if found is None:
        raise Refusal("not a message of SCRAM", malformed=True)
    return found
