"""What a back end outside of this process said of a user, kept while he is logged in: the session asks for rights at each
message."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from waymail.server.users_file import ALLOWANCES, AS_EVERYBODY, Allowance, is_sender, scram_keys_of, sender_key
from waymail.wire.sasl import ScramKeys
from waymail.wire.sasl.scram_keys import SHA_1, SHA_256

MOST = 65_536  # users


@dataclass(frozen=True, slots=True)
class Account:
    """One user. `password` is in a form of `stored`, or "" where there is none."""

    senders: frozenset[str] = frozenset()
    password: str = field(default="", repr=False)
    keys: Mapping[str, ScramKeys] = field(default_factory=dict)
    cram_md5: str = field(default="", repr=False)
    is_frozen: bool = False
    allowance: Allowance = AS_EVERYBODY


class Accounts:
    """The accounts seen last, up to a bound."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._accounts: OrderedDict[str, Account] = OrderedDict()

    def remember(self, name: str, account: Account) -> Account:
        self._accounts[name] = account
        self._accounts.move_to_end(name)
        while len(self._accounts) > self._most:
            self._accounts.popitem(last=False)
        return account

    def forget(self, name: str) -> None:
        self._accounts.pop(name, None)

    def senders(self, user: str) -> Collection[str] | None:
        found = self._accounts.get(user)
        return None if found is None else found.senders

    def is_frozen(self, user: str) -> bool:
        found = self._accounts.get(user)
        return found is not None and found.is_frozen

    def allowance(self, user: str) -> Allowance:
        found = self._accounts.get(user)
        return AS_EVERYBODY if found is None else found.allowance

    def __len__(self) -> int:
        return len(self._accounts)


def account_of(name: str, row: Mapping[str, Any]) -> Account:
    """An account from columns by name; what is NULL, missing or unreadable counts as not there."""
    password = _text(row.get("password"))
    keys = {}
    for hash_name, column in ((SHA_256, "scram_sha_256"), (SHA_1, "scram_sha_1")):
        try:
            keys[hash_name] = scram_keys_of(hash_name, _text(row.get(column)))
        except ValueError:
            continue
    return Account(
        senders_of(name, row.get("addresses")),
        password or (_text(row.get("scram_sha_256")) if SHA_256 in keys else ""),
        keys,
        _text(row.get("cram_md5")),
        row.get("frozen") not in (None, "", 0, False),
        _allowance(row),
    )


def senders_of(name: str, value: object) -> frozenset[str]:
    """What a user may send as: a list, or a text with commas, spaces or lines between the addresses; None stands for his name."""
    if value is None:
        listed: Iterable[str] = (name,)
    elif isinstance(value, list | tuple):
        listed = map(_text, value)
    else:
        listed = re.split(r"[,\s]+", _text(value))
    return frozenset(sender_key(one) for one in listed if one and is_sender(one))


def _text(value: object) -> str:
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).decode("utf-8", "replace")
    return "" if value is None else str(value)


def _allowance(row: Mapping[str, Any]) -> Allowance:
    counts = [_count(row.get(one)) for one in ALLOWANCES]
    return AS_EVERYBODY if counts == [None] * len(ALLOWANCES) else Allowance(*counts)


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
