"""How a webhook is signed: as the Standard Webhooks specification says, by HMAC-SHA256 over id, time and body."""

from __future__ import annotations

import hmac
from base64 import b64decode, b64encode
from collections.abc import Iterable, Sequence
from hashlib import sha256

from waymail.mail.envelope import Envelope, Recipient


class BadSecret(ValueError):
    """A secret that is none. The text says what would be one, and never what it was."""


def secret(text: str) -> bytes:
    """The key of "whsec_" and base64, of 24 to 64 octets. Raises BadSecret."""
    prefix, mark, encoded = text.strip().partition("whsec_")
    try:
        key = b64decode(encoded, validate=True)
    except ValueError:
        key = b""
    if prefix or not mark or not 24 <= len(key) <= 64:
        raise BadSecret(
            'must be "whsec_" and the base64 of 24 to 64 random octets; '
            "this makes one: python3 -c \"import base64, os; print('whsec_' + base64.b64encode(os.urandom(32)).decode())\""
        )
    return key


def message_id(envelope: Envelope, recipients: Sequence[Recipient]) -> str:
    """The webhook-id: the same for a message and these recipients in every attempt, and for no others."""
    who = "\0".join(sorted(recipient.address for recipient in recipients)).encode("utf-8", "surrogateescape")
    return f"msg_{envelope.id}_{sha256(who).hexdigest()[:16]}"


def signed(content: Iterable[bytes], id: str, timestamp: int, keys: Sequence[bytes]) -> tuple[int, str]:
    """The size of the content, and the webhook-signature: one for each key."""
    macs = [hmac.new(key, f"{id}.{timestamp}.".encode(), sha256) for key in keys]
    size = 0
    for piece in content:
        size += len(piece)
        for mac in macs:
            mac.update(piece)
    return size, " ".join(f"v1,{b64encode(mac.digest()).decode()}" for mac in macs)
