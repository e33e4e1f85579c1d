"""SCRAM-SHA-256 (RFC 5802, RFC 7677), without channel binding.

The password never crosses the wire, and each side proves to the other that it knows it, or its keys. What the server keeps
does not let its thief log in. An unknown user gets a salt that is made up, but always the same: the exchange looks like
any other until the proof fails.

SMTP has no room for data in the reply to success (RFC 4954 §4): the server's proof goes out as one more challenge, which the
client answers with an empty response.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache

from waymail.wire.sasl.mechanism import AuthenticationProtocolError, Challenge, Exchange, Refusal, Success, text_of, user_name
from waymail.wire.sasl.plain import check_authorization
from waymail.wire.sasl.saslprep import PreparationProblem, saslprep

NAME = "SCRAM-SHA-256"

# RFC 7677 §3 asks for 4096 at least, §4 for more where it can be had. 65,536 is the most that the Cyrus SASL library computes,
# and with it Postfix and others as clients.
ITERATIONS = 65_536
MIN_ITERATIONS = 4_096
MAX_ITERATIONS = 10_000_000  # some seconds of work: a server that asks for more only wants to keep us busy
SALT_LENGTH = 16

# RFC 5802 §7:
#   gs2-header = ("p=" cb-name / "n" / "y") "," ["a=" saslname] ","
#   client-first-message = gs2-header [reserved-mext ","] "n=" saslname ",r=" c-nonce ["," extensions]
#   server-first-message = [reserved-mext ","] "r=" c-nonce s-nonce ",s=" base64 ",i=" posit-number ["," extensions]
#   client-final-message = "c=" base64 ",r=" nonce ["," extensions] ",p=" base64
#   server-final-message = ("e=" server-error-value / "v=" base64) ["," extensions]
# §5.1: "m" is for extensions that must be understood, and there are none: with it a message does not match.
_NONCE = r"[!-+\--~]+"
_BASE64 = r"[A-Za-z0-9+/]+={0,2}"
_EXTENSIONS = r"(?:,[A-Za-ln-z]=[^,\0]+)*"
_CLIENT_FIRST = re.compile(
    rf"(?P<gs2>(?P<flag>n|y|p=[A-Za-z0-9.-]+),(?:a=(?P<authorization>[^,\0]+))?,)"
    rf"(?P<bare>n=(?P<user>[^,\0]+),r=(?P<nonce>{_NONCE}){_EXTENSIONS})"
)
_SERVER_FIRST = re.compile(rf"r=(?P<nonce>{_NONCE}),s=(?P<salt>{_BASE64}),i=(?P<iterations>[1-9][0-9]{{0,9}}){_EXTENSIONS}")
_CLIENT_FINAL = re.compile(rf"(?P<unproved>c=(?P<binding>{_BASE64}),r=(?P<nonce>{_NONCE}){_EXTENSIONS}),p=(?P<proof>{_BASE64})")
_SERVER_FINAL = re.compile(rf"(?:v=(?P<verifier>{_BASE64})|e=(?P<error>[^,\0]+)){_EXTENSIONS}")


@dataclass(frozen=True, slots=True)
class ScramKeys:
    """What a server keeps of a password (RFC 5802 §3)."""

    salt: bytes
    iterations: int
    stored_key: bytes = field(repr=False)
    server_key: bytes = field(repr=False)

    @classmethod
    def derive(cls, password: str, salt: bytes, iterations: int = ITERATIONS) -> ScramKeys:
        """The keys of a password that is going to be kept. Takes some 20 ms. Raises PreparationProblem."""
        return cls(salt, iterations, *_keys(saslprep(password, stored=True), salt, iterations)[1:])

    def matches(self, password: str) -> bool:
        """Whether the keys are those of a (prepared) password: for mechanisms that carry it. As slow as `derive`."""
        return hmac.compare_digest(_keys(password, self.salt, self.iterations)[1], self.stored_key)


Lookup = Callable[[str], ScramKeys | None]


def scram(initial: bytes | None, *, nonce: str, keys: Lookup, secret: bytes) -> Exchange:
    """The server's side. Ends with Success.

    `nonce` is random printable ASCII without a comma, new each time. `keys` finds a user by his name, in the form of
    `user_name`. `secret` is what the salts of unknown users are made from: the same over restarts, and known to nobody.
    """
    check_nonce(nonce)
    first = _match(_CLIENT_FIRST, (yield Challenge(b"")) if initial is None else initial)
    if first["flag"].startswith("p"):
        raise Refusal("the client demands channel binding, which was not offered")
    # RFC 5802 §6: "y" says that the client would bind if we could. We cannot and do not offer -PLUS: no downgrade.
    user = _user(first["user"])
    found = keys(user)
    kept = found or unknown_user_keys(user, secret)
    joint = first["nonce"] + nonce
    server_first = f"r={joint},s={_base64(kept.salt)},i={kept.iterations}"
    final = _match(_CLIENT_FINAL, (yield Challenge(server_first.encode())))
    if final["nonce"] != joint:
        raise Refusal(f"the nonce in the second message of {user} is not the one of this exchange")
    if final["binding"] != _base64(first["gs2"].encode()):
        raise Refusal(f"the channel binding in the second message of {user} is not that of the first")
    message = f"{first['bare']},{server_first},{final['unproved']}".encode()
    if not _proves(final["proof"], kept.stored_key, message) or found is None:
        raise Refusal(f"the proof of {user} is wrong" if found else f"there is no user {user} with keys for {NAME}")
    if first["authorization"]:
        check_authorization(_unescape(first["authorization"]), user)
    if (yield Challenge(f"v={_base64(_hmac(kept.server_key, message))}".encode())):
        raise Refusal(f"{user} answered the server's proof with more than nothing", malformed=True)
    return Success(user)


def unknown_user_keys(user: str, secret: bytes) -> ScramKeys:
    """Keys that no password has, with a salt as good as any, always the same for a name: asking twice tells nothing."""
    salt = _hmac(secret, b"salt\0" + user.encode())[:SALT_LENGTH]
    return ScramKeys(salt, ITERATIONS, *(_hmac(secret, kind + user.encode()) for kind in (b"stored\0", b"server\0")))


class ScramClient:
    """The client's side.

    `nonce` as for the server. Raises PreparationProblem where user name or password cannot be prepared. `step` may take as
    long as the server's iteration count demands, so a thread is the place for it.
    """

    name = NAME

    def __init__(self, user: str, password: str, nonce: str) -> None:
        check_nonce(nonce)
        name = saslprep(user).replace("=", "=3D").replace(",", "=2C")
        self._password = saslprep(password)
        self._nonce = nonce
        self._bare = f"n={name},r={nonce}"
        self._answer: Callable[[bytes], bytes] = self._first
        self._signature = b""
        self._verified = False

    def initial(self) -> bytes:
        # RFC 5802 §6: "n", since we cannot bind to a channel.
        return f"n,,{self._bare}".encode()

    def step(self, challenge: bytes) -> bytes:
        return self._answer(challenge)

    def succeeded(self) -> None:
        if not self._verified:
            raise AuthenticationProtocolError("the server accepted us without proving that it knows the password")

    def _first(self, challenge: bytes) -> bytes:
        self._answer = self._final
        return self.initial() if not challenge else self._final(challenge)

    def _final(self, challenge: bytes) -> bytes:
        found = _understand(_SERVER_FIRST, challenge)
        nonce, iterations = found["nonce"], int(found["iterations"])
        if not nonce.startswith(self._nonce) or nonce == self._nonce:
            raise AuthenticationProtocolError("the server's nonce does not extend ours")
        if not MIN_ITERATIONS <= iterations <= MAX_ITERATIONS:
            raise AuthenticationProtocolError(f"{iterations} iterations are not within {MIN_ITERATIONS} to {MAX_ITERATIONS}")
        client_key, stored_key, server_key = _cached_keys(self._password, _octets(found["salt"]), iterations)
        unproved = f"c={_base64(b'n,,')},r={nonce}"
        message = f"{self._bare},{found.string},{unproved}".encode()
        self._signature = _hmac(server_key, message)
        self._answer = self._verify
        return f"{unproved},p={_base64(_xor(client_key, _hmac(stored_key, message)))}".encode()

    def _verify(self, challenge: bytes) -> bytes:
        found = _understand(_SERVER_FINAL, challenge)
        self._answer = self._too_much
        if found["verifier"]:  # with "e=" the server says why it is going to refuse us: its reply will tell
            if not hmac.compare_digest(_octets(found["verifier"]), self._signature):
                raise AuthenticationProtocolError("the server's signature is wrong: it does not know the password")
            self._verified = True
        return b""

    def _too_much(self, challenge: bytes) -> bytes:
        raise AuthenticationProtocolError("the server goes on after its last message")


def check_nonce(nonce: str) -> None:
    """Raises ValueError where `nonce` is not printable ASCII without a comma, sixteen characters at least."""
    if len(nonce) < 16 or not re.fullmatch(_NONCE, nonce):
        raise ValueError("a nonce is sixteen or more printable ASCII characters, none of them a comma")


def _keys(password: str, salt: bytes, iterations: int) -> tuple[bytes, bytes, bytes]:
    """ClientKey, StoredKey and ServerKey of a prepared password (RFC 5802 §3)."""
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, iterations)
    client_key = _hmac(salted, b"Client Key")
    return client_key, hashlib.sha256(client_key).digest(), _hmac(salted, b"Server Key")


# RFC 5802 §5.1: a client may keep the keys, since the server will name the same salt next time.
_cached_keys = lru_cache(maxsize=64)(_keys)


def _proves(proof: str, stored_key: bytes, message: bytes) -> bool:
    """RFC 5802 §3: the proof hides ClientKey, whose hash is StoredKey."""
    octets = _octets_or_none(proof)
    if octets is None or len(octets) != len(stored_key):
        return False
    client_key = _xor(octets, _hmac(stored_key, message))
    return hmac.compare_digest(hashlib.sha256(client_key).digest(), stored_key)


def _user(name: str) -> str:
    try:
        return user_name(_unescape(name))
    except PreparationProblem as problem:
        raise Refusal(f"the user name cannot be one: {problem}") from None


def _unescape(name: str) -> str:
    # RFC 5802 §5.1: "=" not followed by "2C" or "3D" fails the authentication.
    if re.search("=(?!2C|3D)", name):
        raise Refusal("a stray '=' in a name", malformed=True)
    return name.replace("=2C", ",").replace("=3D", "=")


def _match(pattern: re.Pattern[str], message: bytes) -> re.Match[str]:
    found = pattern.fullmatch(text_of(message))
    if found is None:
        raise Refusal(f"not a message of {NAME}", malformed=True)
    return found


def _understand(pattern: re.Pattern[str], challenge: bytes) -> re.Match[str]:
    try:
        found = pattern.fullmatch(challenge.decode("utf-8"))
    except UnicodeDecodeError:
        found = None
    if found is None:
        raise AuthenticationProtocolError(f"the server's challenge is no message of {NAME}")
    return found


def _octets(text: str) -> bytes:
    octets = _octets_or_none(text)
    if octets is None:
        raise AuthenticationProtocolError("the server's challenge holds bad base64")
    return octets


def _octets_or_none(text: str) -> bytes | None:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        return None


def _base64(octets: bytes) -> str:
    return base64.b64encode(octets).decode("ascii")


def _hmac(key: bytes, message: bytes) -> bytes:
    return hmac.digest(key, message, "sha256")


def _xor(a: bytes, b: bytes) -> bytes:
    return bytes(x ^ y for x, y in zip(a, b, strict=True))
