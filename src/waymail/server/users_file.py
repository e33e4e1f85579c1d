"""The text of the users file: who may log in, and what he may send as.

    secret = "..."                        # base64; what the salts of unknown users are made from

    [users."ann@example.org"]
    password = "$argon2id$v=19$m=19456,t=2,p=1$..."
    scram-sha-256 = "SCRAM-SHA-256$65536:<salt>$<StoredKey>:<ServerKey>"
    addresses = ["ann@example.org", "*@lists.example.org"]

At least one of `password` (for PLAIN and LOGIN; without it they are checked against the SCRAM keys) and `scram-sha-256` must be
there. `addresses` holds addresses, "*@domain", or "*"; without it a user may send as his own name, where that is an address.

Promises: what `serialise` writes, `parse` reads back to the same. Whatever is wrong with a file is a `UsersFileError` that names
the file, the entry and the remedy.
"""

from __future__ import annotations

import base64
import binascii
import difflib
import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from waymail.mail import address as mail_address
from waymail.wire.sasl import PreparationProblem, ScramKeys, user_name
from waymail.wire.sasl.scram import MAX_ITERATIONS, MIN_ITERATIONS

HEADER = "# Written by `waymail user`, which keeps no comments. Passwords are changed with `waymail user passwd NAME`.\n"
KEYS = ("password", "scram-sha-256", "addresses")

_PHC = re.compile(
    r"\$argon2id\$v=19\$m=(?P<memory>[1-9][0-9]{0,6}),t=[1-9][0-9]{0,2},p=(?P<lanes>[1-9][0-9]?)"
    r"\$[A-Za-z0-9+/]{11,86}\$[A-Za-z0-9+/]{22,86}"
)
_SCRAM = re.compile(r"SCRAM-SHA-256\$([1-9][0-9]{0,7}):([A-Za-z0-9+/=]+)\$([A-Za-z0-9+/=]{44}):([A-Za-z0-9+/=]{44})")


class UsersFileError(Exception):
    """The users file cannot be used or changed as it is."""

    def __init__(self, path: Path, entry: str | None, problem: str, fix: str) -> None:
        where = f"{path}: users.{_quoted(entry)}" if entry is not None else f"{path}"
        super().__init__(f"{where}: {problem}; {fix}")
        self.path, self.entry, self.problem, self.fix = path, entry, problem, fix


@dataclass(frozen=True, slots=True)
class User:
    """One user. `name` has the form of `user_name`; `password` is a PHC string of Argon2id; `addresses` as in the file."""

    name: str
    password: str | None = field(default=None, repr=False)
    scram: ScramKeys | None = None
    addresses: tuple[str, ...] = ()
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
    """The form in which senders are compared: without regard to the case of ASCII letters, quoting or a dot at the end.

    RFC 5321 §2.4 leaves the case of the local part to its domain, which here is us. Only ASCII is folded: other letters fold
    into ASCII ones (the Kelvin sign into "k"), and nobody should be able to pass for somebody else by that.
    """
    domain = mail_address.split(address)[1]
    folded = f"{mail_address.mailbox_name(address)}@{domain.removesuffix('.')}" if domain else address
    return folded.translate(_ASCII_LOWER)


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
    password, scram, listed = (value.get(one) for one in KEYS)
    if password is None and scram is None:
        raise UsersFileError(path, key, "no password", f"run `waymail user passwd {name}`")
    return User(
        name,
        _checked_password(path, key, password),
        _checked_scram(path, key, scram),
        checked_addresses(path, key, name, listed),
    )


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


def _checked_scram(path: Path, key: str, value: object) -> ScramKeys | None:
    if value is None:
        return None
    found = _SCRAM.fullmatch(value) if isinstance(value, str) else None
    fix = f"run `waymail user passwd {key}`"
    if found is None:
        raise UsersFileError(path, key, "'scram-sha-256' is not of the form SCRAM-SHA-256$count:salt$key:key", fix)
    iterations = int(found[1])
    if not MIN_ITERATIONS <= iterations <= MAX_ITERATIONS:
        raise UsersFileError(path, key, f"{iterations} iterations are not within {MIN_ITERATIONS} to {MAX_ITERATIONS}", fix)
    try:
        salt, stored_key, server_key = (base64.b64decode(found[at], validate=True) for at in (2, 3, 4))
    except binascii.Error:
        raise UsersFileError(path, key, "'scram-sha-256' holds bad base64", fix) from None
    if not salt or len(stored_key) != 32 or len(server_key) != 32:
        raise UsersFileError(path, key, "the keys in 'scram-sha-256' have not 32 octets each", fix)
    return ScramKeys(salt, iterations, stored_key, server_key)


def checked_addresses(path: Path, key: str, name: str, value: object) -> tuple[str, ...]:
    """What `addresses` says, or its default for the user `name` where `value` is None. Raises UsersFileError."""
    if value is None:
        return (name,) if _is_sender(name) else ()
    if not isinstance(value, list | tuple):
        raise UsersFileError(path, key, "'addresses' is not a list", 'write addresses = ["ann@example.org"]')
    for one in value:
        if not isinstance(one, str) or not _is_sender(one):
            raise UsersFileError(path, key, f"{one!r} is not an address", 'write "ann@example.org", "*@example.org" or "*"')
    return tuple(value)


def _is_sender(text: str) -> bool:
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
    return "".join(lines)


def scram_line(keys: ScramKeys) -> str:
    """SCRAM keys in one line, as PostgreSQL keeps them too."""
    salt, stored_key, server_key = (base64.b64encode(octets).decode() for octets in (keys.salt, keys.stored_key, keys.server_key))
    return f"SCRAM-SHA-256${keys.iterations}:{salt}${stored_key}:{server_key}"


def _quoted(text: str) -> str:
    """A TOML basic string: JSON's escapes are among TOML's, which forbids DEL besides."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
