"""Stored passwords as other programs keep them: is this password the one?

Understood are Argon2id in PHC form ("$argon2id$v=19$..."), scrypt as passlib writes it ("$scrypt$ln=16,r=8,p=1$salt$hash"),
SCRAM keys as PostgreSQL keeps them, PBKDF2 with SHA-256 or SHA-512 as passlib writes it ("$pbkdf2-sha256$rounds$salt$hash"); each
with or without a scheme in braces before it, as Dovecot writes it ("{ARGON2ID}$argon2id$..."). bcrypt, crypt(3), MD5, salted SHA
and passwords in clear are not: such a value matches nothing, and `is_understood` says so.

Promises: a value costs at most `MOST_MEMORY` and some seconds, whatever a database says; nothing here raises for a bad value.
All of it blocks: it belongs in a thread.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re

from cryptography.exceptions import InvalidKey
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from waymail.server import users_edit
from waymail.server.users_file import scram_keys_of
from waymail.wire.sasl import ScramKeys

MOST_MEMORY = 1 << 28  # octets
MOST_ROUNDS = 10_000_000

# What the password of an unknown user is compared with: the same parameters as those of a new user, and no password's hash.
NOBODY = f"$argon2id$v=19$m={users_edit.MEMORY_KIB},t={users_edit.PASSES},p={users_edit.LANES}${'A' * 22}${'A' * 43}"

_SCHEME = re.compile(r"\{[A-Za-z0-9.-]+\}")
_ARGON2ID = re.compile(
    r"\$argon2id\$v=19\$m=(?P<memory>[1-9][0-9]{0,6}),t=(?P<passes>[1-9][0-9]{0,2}),p=(?P<lanes>[1-9][0-9]?)"
    r"\$[A-Za-z0-9+/]{11,86}\$[A-Za-z0-9+/]{22,86}"
)
_SCRYPT = re.compile(
    r"\$scrypt\$ln=(?P<cost>[1-9][0-9]?),r=(?P<block>[1-9][0-9]?),p=(?P<lanes>[1-9][0-9]?)"
    r"\$(?P<salt>[A-Za-z0-9+/]{1,86})\$(?P<hash>[A-Za-z0-9+/]{22,86})"
)
_PBKDF2 = re.compile(
    r"\$pbkdf2-(?P<digest>sha256|sha512)\$(?P<rounds>[1-9][0-9]{0,7})\$(?P<salt>[A-Za-z0-9./]{1,86})\$(?P<hash>[A-Za-z0-9./]{22,86})"
)


def is_understood(stored: str) -> bool:
    """Whether a stored value has a form that `matches` can check."""
    text = _SCHEME.sub("", stored, count=1) if stored.startswith("{") else stored
    return any(form.fullmatch(text) for form in (_ARGON2ID, _SCRYPT, _PBKDF2)) or _scram(text) is not None


def matches(stored: str, password: str) -> bool:
    """Whether `password` (prepared) is the one that was stored. Blocks."""
    text = _SCHEME.sub("", stored, count=1) if stored.startswith("{") else stored
    if found := _ARGON2ID.fullmatch(text):
        return int(found["memory"]) * 1024 <= MOST_MEMORY and argon2id(text, password)
    if found := _SCRYPT.fullmatch(text):
        return _scrypt(found, password)
    if found := _PBKDF2.fullmatch(text):
        return _pbkdf2(found, password)
    keys = _scram(text)
    return keys is not None and keys.matches(password)


def argon2id(phc: str, password: str) -> bool:
    """The same for a PHC string of Argon2id."""
    try:
        Argon2id.verify_phc_encoded(password.encode("utf-8"), phc)
    except (InvalidKey, ValueError):
        return False
    return True


def _scrypt(found: re.Match[str], password: str) -> bool:
    cost, block, lanes = (int(found[name]) for name in ("cost", "block", "lanes"))
    memory = 128 * block * (lanes + (1 << cost))
    if memory > MOST_MEMORY:
        return False
    try:
        salt, kept = _octets(found["salt"]), _octets(found["hash"])
        made = hashlib.scrypt(
            password.encode("utf-8"), salt=salt, n=1 << cost, r=block, p=lanes, maxmem=memory + (1 << 20), dklen=len(kept)
        )
    except ValueError:
        return False
    return hmac.compare_digest(made, kept)


def _pbkdf2(found: re.Match[str], password: str) -> bool:
    rounds = int(found["rounds"])
    if rounds > MOST_ROUNDS:
        return False
    try:
        # passlib's base64 has "." for "+"
        salt, kept = (_octets(found[name].replace(".", "+")) for name in ("salt", "hash"))
    except ValueError:
        return False
    made = hashlib.pbkdf2_hmac(found["digest"], password.encode("utf-8"), salt, rounds, len(kept))
    return hmac.compare_digest(made, kept)


def _scram(text: str) -> ScramKeys | None:
    for hash_name in ("SCRAM-SHA-256", "SCRAM-SHA-1"):
        try:
            return scram_keys_of(hash_name, text)
        except ValueError:
            continue
    return None


def _octets(text: str) -> bytes:
    """Raises ValueError."""
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from None
