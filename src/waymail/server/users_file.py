"""The text of the users file: who may log in, and what he may send as.

    secret = "..."                        # base64; what the salts of unknown users are made from

    [users."ann@example.org"]
    password = "$argon2id$v=19$m=19456,t=2,p=1$..."
    scram-sha-256 = "SCRAM-SHA-256$65536:<salt>$<StoredKey>:<ServerKey>"
    addresses = ["ann@example.org", "*@lists.example.org"]
    scram-sha-1 = "SCRAM-SHA-1$65536:<salt>$<StoredKey>:<ServerKey>"   # only where asked for, as the next one
    cram-md5 = "the password in clear"
    certificates = ["sha256:<fingerprint>", "email:ann@example.org"]
    frozen = "why the account is closed"
    messages_per_hour = 500                # these three as in [submission], for this user
    recipients_per_day = "off"
    recipients_per_message = 50

At least one of `password` (for PLAIN and LOGIN; without it they are checked against the SCRAM keys) and `scram-sha-256` must be
there. `addresses` holds addresses, "*@domain", or "*"; without it a user may send as his own name, where that is an address.
`certificates` say which client certificates are the user's, by SHA-256 or by an address in them.

Promises: what `serialise` writes, `parse` reads back to the same. Whatever is wrong with a file is a `UsersFileError` that names
the file, the entry and the remedy.
"""

from __future__ import annotations

import base64
import binascii
import difflib
import hashlib
import json
import re
import tomllib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from waymail.mail import address as mail_address
from waymail.wire.sasl import PreparationProblem, ScramKeys, user_name
from waymail.wire.sasl.scram_keys import HASHES, MAX_ITERATIONS, MIN_ITERATIONS, SHA_1, SHA_256

HEADER = "# Written by `waymail user`, which keeps no comments. Passwords are changed with `waymail user passwd NAME`.\n"
ALLOWANCES = ("messages_per_hour", "recipients_per_day", "recipients_per_message")
KEYS = ("password", "scram-sha-256", "scram-sha-1", "cram-md5", "addresses", "certificates", "frozen", *ALLOWANCES)

_PHC = re.compile(
    r"\$argon2id\$v=19\$m=(?P<memory>[1-9][0-9]{0,6}),t=[1-9][0-9]{0,2},p=(?P<lanes>[1-9][0-9]?)"
    r"\$[A-Za-z0-9+/]{11,86}\$[A-Za-z0-9+/]{22,86}"
)
_SCRAM = re.compile(r"(SCRAM-SHA-(?:256|1))\$([1-9][0-9]{0,7}):([A-Za-z0-9+/=]+)\$([A-Za-z0-9+/=]+):([A-Za-z0-9+/=]+)")
_CERTIFICATE = re.compile(r"sha256:[0-9a-f]{64}|email:[^@\s]+@[^@\s]+")


class UsersFileError(Exception):
    """The users file cannot be used or changed as it is."""

    def __init__(self, path: Path, entry: str | None, problem: str, fix: str) -> None:
        where = f"{path}: users.{_quoted(entry)}" if entry is not None else f"{path}"
        super().__init__(f"{where}: {problem}; {fix}")
        self.path, self.entry, self.problem, self.fix = path, entry, problem, fix


@dataclass(frozen=True, slots=True)
class Allowance:
    """What one user may send, where it is not what [submission] says. None: as there; 0: without limit."""

    messages_per_hour: int | None = None
    recipients_per_day: int | None = None
    recipients_per_message: int | None = None


AS_EVERYBODY = Allowance()


@dataclass(frozen=True, slots=True)
class User:
    """One user. `name` has the form of `user_name`; `password` is a PHC string of Argon2id; `addresses` as in the file; `frozen`
    says why the account is closed, and is "" where it is open; `cram_md5` is the password itself."""

    name: str
    password: str | None = field(default=None, repr=False)
    scram: ScramKeys | None = None
    addresses: tuple[str, ...] = ()
    scram_sha_1: ScramKeys | None = None
    cram_md5: str | None = field(default=None, repr=False)
    certificates: tuple[str, ...] = ()
    frozen: str = ""
    allowance: Allowance = AS_EVERYBODY
    senders: frozenset[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "senders", frozenset(sender_key(address) for address in self.addresses))


@dataclass(frozen=True, slots=True)
class Contents:
    """What a users file says. `secret` is empty where the file has none."""

    users: Mapping[str, User]
    secret: bytes = field(default=b"", repr=False)


_ASCII_LOWER = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}


def sender_key(address: str) -> str:
    """The form in which senders are compared: without regard to the case of ASCII letters, quoting, a dot at the end, or whether
    the domain is written in U-labels or A-labels.

    RFC 5321 §2.4 leaves the case of the local part to its domain, which here is us. Only ASCII is folded in it: other letters
    fold into ASCII ones (the Kelvin sign into "k"), and nobody should be able to pass for somebody else by that.
    """
    domain = mail_address.domain_of(address)
    folded = f"{mail_address.mailbox_name(address)}@{domain}" if domain else address
    return folded.translate(_ASCII_LOWER)


def may_use(senders: Collection[str], address: str) -> bool:
    """Whether `address` is among `senders`, which are in the form of `sender_key`."""
    if not address or "*" in senders or sender_key(address) in senders:
        return True
    domain = mail_address.split(address)[1]
    return bool(domain) and sender_key(f"*@{domain}") in senders


# --- the file's text ---


def parse(text: str, path: Path) -> Contents:
    """Raises UsersFileError. `path` is for its message."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsersFileError(path, None, f"not TOML: {error}", "correct the line") from None
    _check_keys(path, None, data, ("secret", "users"))
    table = data.get("users", {})
    if not isinstance(table, dict):
        raise UsersFileError(path, None, "'users' is not a table", 'write [users."ann@example.org"]')
    users: dict[str, User] = {}
    for key, value in table.items():
        user = _user(path, key, value)
        if user.name in users:
            raise UsersFileError(path, key, "the same user stands twice in the file", "remove one of the entries")
        users[user.name] = user
    return Contents(users, _secret(path, data.get("secret", "")))


def _secret(path: Path, value: object) -> bytes:
    try:
        if isinstance(value, str):
            return base64.b64decode(value, validate=True)
    except ValueError:
        pass
    raise UsersFileError(path, None, "'secret' is not base64", "remove it: the next `waymail user` makes one")


def _user(path: Path, key: str, value: object) -> User:
    if not isinstance(value, dict):
        raise UsersFileError(path, key, "not a table", f"write [users.{_quoted(key)}] and the keys below it")
    _check_keys(path, key, value, KEYS)
    name = checked_name(path, key)
    if value.get("password") is None and value.get("scram-sha-256") is None:
        raise UsersFileError(path, key, "no password", f"run `waymail user passwd {name}`")
    return User(
        name,
        _checked_password(path, key, value.get("password")),
        _checked_scram(path, key, SHA_256, value.get("scram-sha-256")),
        checked_addresses(path, key, name, value.get("addresses")),
        _checked_scram(path, key, SHA_1, value.get("scram-sha-1")),
        _checked_text(path, key, "cram-md5", value.get("cram-md5")) or None,
        _checked_certificates(path, key, value.get("certificates", [])),
        _checked_text(path, key, "frozen", value.get("frozen")),
        _checked_allowances(path, key, value),
    )


def _checked_text(path: Path, key: str, what: str, value: object) -> str:
    if value is None:
        return ""
    if not isinstance(value, str) or not value:
        raise UsersFileError(path, key, f"{what!r} is not a text", "write it in quotes, or leave it out")
    return value


def _checked_certificates(path: Path, key: str, value: object) -> tuple[str, ...]:
    fix = 'write certificates = ["sha256:0123...", "email:ann@example.org"]'
    if not isinstance(value, list):
        raise UsersFileError(path, key, "'certificates' is not a list", fix)
    found = [one.replace(":", "").lower().replace("sha256", "sha256:", 1) if _is_fingerprint(one) else one for one in value]
    for one in found:
        if not isinstance(one, str) or not _CERTIFICATE.fullmatch(one):
            raise UsersFileError(path, key, f"{one!r} names no certificate", fix)
    return tuple(found)


def _is_fingerprint(value: object) -> bool:
    """OpenSSL writes fingerprints in capitals, with colons between the octets."""
    return isinstance(value, str) and value.lower().startswith("sha256:")


def _checked_allowances(path: Path, key: str, table: Mapping[str, Any]) -> Allowance:
    if not any(one in table for one in ALLOWANCES):
        return AS_EVERYBODY
    return Allowance(*(_checked_allowance(path, key, one, table.get(one)) for one in ALLOWANCES))


def _checked_allowance(path: Path, key: str, what: str, value: object) -> int | None:
    if value == "off":
        return 0
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        raise UsersFileError(path, key, f"{what!r} is not a number of at least 1", 'write a number, or "off"')
    return value


def _check_keys(path: Path, entry: str | None, table: Mapping[str, Any], known: tuple[str, ...]) -> None:
    for key in table:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            fix = f"did you mean {near[0]!r}?" if near else f"the keys are {', '.join(known)}"
            raise UsersFileError(path, entry, f"unknown key {key!r}", fix)


def checked_name(path: Path, key: str) -> str:
    """The form of `user_name`. Raises UsersFileError."""
    try:
        return user_name(key, stored=True)
    except PreparationProblem as problem:
        raise UsersFileError(path, key, f"this cannot be a user name: {problem}", "choose another name") from None


def _checked_password(path: Path, key: str, value: object) -> str | None:
    if value is None:
        return None
    found = _PHC.fullmatch(value) if isinstance(value, str) else None
    if found is None or int(found["memory"]) < 8 * int(found["lanes"]):
        raise UsersFileError(path, key, "'password' is not an Argon2id hash in PHC form", f"run `waymail user passwd {key}`")
    return found.string


def _checked_scram(path: Path, key: str, hash: str, value: object) -> ScramKeys | None:
    if value is None:
        return None
    try:
        return scram_keys_of(hash, value if isinstance(value, str) else "")
    except ValueError as problem:
        raise UsersFileError(path, key, f"{hash.lower()!r} {problem}", f"run `waymail user passwd {key}`") from None


def scram_keys_of(hash: str, text: str) -> ScramKeys:
    """The keys that `scram_line` wrote, or PostgreSQL. Raises ValueError with what is wrong."""
    found = _SCRAM.fullmatch(text)
    if found is None or found[1] != hash:
        raise ValueError(f"is not of the form {hash}$count:salt$key:key")
    iterations = int(found[2])
    if not MIN_ITERATIONS <= iterations <= MAX_ITERATIONS:
        raise ValueError(f"has {iterations} iterations, which are not within {MIN_ITERATIONS} to {MAX_ITERATIONS}")
    try:
        salt, stored_key, server_key = (base64.b64decode(found[at], validate=True) for at in (3, 4, 5))
    except binascii.Error:
        raise ValueError("holds bad base64") from None
    length = hashlib.new(HASHES[hash], usedforsecurity=False).digest_size
    if not salt or len(stored_key) != length or len(server_key) != length:
        raise ValueError(f"has keys that are not of {length} octets each")
    return ScramKeys(salt, iterations, stored_key, server_key, hash)


def checked_addresses(path: Path, key: str, name: str, value: object) -> tuple[str, ...]:
    """What `addresses` says, or its default for the user `name` where `value` is None. Raises UsersFileError."""
    if value is None:
        return (name,) if is_sender(name) else ()
    if not isinstance(value, list | tuple):
        raise UsersFileError(path, key, "'addresses' is not a list", 'write addresses = ["ann@example.org"]')
    for one in value:
        if not isinstance(one, str) or not is_sender(one):
            raise UsersFileError(path, key, f"{one!r} is not an address", 'write "ann@example.org", "*@example.org" or "*"')
    return tuple(value)


def is_sender(text: str) -> bool:
    """Whether this is an address, "*@domain" or "*"."""
    if text == "*":
        return True
    local, domain = mail_address.split(text)
    # A star elsewhere would look like a pattern and be none.
    return bool(local and domain and text.isprintable() and " " not in domain and "*" not in text.removeprefix("*@"))


def serialise(contents: Contents) -> str:
    """The text of a users file, which `parse` reads back to the same."""
    lines = [HEADER, f"secret = {_quoted(base64.b64encode(contents.secret).decode())}\n"]
    for user in contents.users.values():
        lines.append(f"\n[users.{_quoted(user.name)}]\n")
        if user.password is not None:
            lines.append(f"password = {_quoted(user.password)}\n")
        if user.scram is not None:
            lines.append(f"scram-sha-256 = {_quoted(scram_line(user.scram))}\n")
        lines.append(f"addresses = [{', '.join(map(_quoted, user.addresses))}]\n")
        lines += _extras(user)
    return "".join(lines)


def _extras(user: User) -> Iterator[str]:
    """What few users have."""
    if user.scram_sha_1 is not None:
        yield f"scram-sha-1 = {_quoted(scram_line(user.scram_sha_1))}\n"
    if user.cram_md5:
        yield f"cram-md5 = {_quoted(user.cram_md5)}\n"
    if user.certificates:
        yield f"certificates = [{', '.join(map(_quoted, user.certificates))}]\n"
    if user.frozen:
        yield f"frozen = {_quoted(user.frozen)}\n"
    for name in ALLOWANCES:
        if (value := getattr(user.allowance, name)) is not None:
            yield f"{name} = {value or _quoted('off')}\n"


def scram_line(keys: ScramKeys) -> str:
    """SCRAM keys in one line, as PostgreSQL keeps them too."""
    salt, stored_key, server_key = (base64.b64encode(octets).decode() for octets in (keys.salt, keys.stored_key, keys.server_key))
    return f"{keys.hash}${keys.iterations}:{salt}${stored_key}:{server_key}"


def _quoted(text: str) -> str:
    """A TOML basic string: JSON's escapes are among TOML's, which forbids DEL besides."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
