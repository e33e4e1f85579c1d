"""The messages of SCRAM (RFC 5802 §7), as both sides read and write them."""

from __future__ import annotations

import base64
import binascii
import re

from waymail.wire.sasl.mechanism import NONCE, Refusal

#   gs2-header = ("p=" cb-name / "n" / "y") "," ["a=" saslname] ","
#   client-first-message = gs2-header [reserved-mext ","] "n=" saslname ",r=" c-nonce ["," extensions]
#   server-first-message = [reserved-mext ","] "r=" c-nonce s-nonce ",s=" base64 ",i=" posit-number ["," extensions]
#   client-final-message = "c=" base64 ",r=" nonce ["," extensions] ",p=" base64
#   server-final-message = ("e=" server-error-value / "v=" base64) ["," extensions]
# §5.1: "m" is for extensions that must be understood, and there are none: with it a message does not match.
_BASE64 = r"[A-Za-z0-9+/]+={0,2}"
_EXTENSIONS = r"(?:,[A-Za-ln-z]=[^,\0]+)*"
CLIENT_FIRST = re.compile(
    rf"(?P<gs2>(?P<flag>n|y|p=(?P<type>[A-Za-z0-9.-]+)),(?:a=(?P<authorization>[^,\0]+))?,)"
    rf"(?P<bare>n=(?P<user>[^,\0]+),r=(?P<nonce>{NONCE}){_EXTENSIONS})"
)
SERVER_FIRST = re.compile(rf"r=(?P<nonce>{NONCE}),s=(?P<salt>{_BASE64}),i=(?P<iterations>[1-9][0-9]{{0,9}}){_EXTENSIONS}")
CLIENT_FINAL = re.compile(rf"(?P<unproved>c=(?P<binding>{_BASE64}),r=(?P<nonce>{NONCE}){_EXTENSIONS}),p=(?P<proof>{_BASE64})")
SERVER_FINAL = re.compile(rf"(?:v=(?P<verifier>{_BASE64})|e=(?P<error>[^,\0]+)){_EXTENSIONS}")


def escaped(name: str) -> str:
    """A user name as it stands in a message (RFC 5802 §5.1; RFC 5801 §4 has the same)."""
    return name.replace("=", "=3D").replace(",", "=2C")


def unescaped(name: str) -> str:
    """The other way round. Raises Refusal."""
    # RFC 5802 §5.1: "=" not followed by "2C" or "3D" fails the authentication.
    if re.search("=(?!2C|3D)", name):
        raise Refusal("a stray '=' in a name", malformed=True)
    return name.replace("=2C", ",").replace("=3D", "=")


def written(octets: bytes) -> str:
    """Octets in base64."""
    return base64.b64encode(octets).decode("ascii")


def octets(text: str) -> bytes | None:
    """The octets behind base64; None where it is none."""
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        return None


def combined(a: bytes, b: bytes) -> bytes:
    """The XOR of two of the same length."""
    return bytes(x ^ y for x, y in zip(a, b, strict=True))
