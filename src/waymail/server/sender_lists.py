"""Block and allow lists of an administrator's own: text files that count as they are changed, without a restart.

    192.0.2.7                   # an address
    2001:db8::/32               # a network
    example.org                 # senders of this domain
    .example.org                # and of all below it, too
    ann@example.org             # one sender
    helo:mail.example.org       # who calls himself so in EHLO or HELO; helo:.example.org with all below it

One entry a line; a "#" after a space or at the beginning of a line begins a comment. Where both kinds of lists have somebody, the
allow list counts. Addresses come before senders, senders before names in HELO, and what is more exact before what is less.

Promises: an entry that makes no sense is told with its file and line, and the others count; a file that cannot be read any more
is logged, and what was read of it before stays. A look-up takes microseconds, however long the lists are.
"""

from __future__ import annotations

import ipaddress
import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from waymail.mail import address as mail_address
from waymail.server import users_edit
from waymail.server.users_file import UsersFileError
from waymail.values import value
from waymail.wire import domains

log = logging.getLogger("waymail.server")

LOOK = 1.0  # seconds between two looks at the files
MOST_OCTETS = 64 * 2**20  # of one file
MOST_PROBLEMS = 20  # of one file that are told

_COMMENT = re.compile(r"(?:^|\s)#.*")  # not that of "a#b@example.org"
_NETWORK = re.compile(r"[0-9.]+(?:/.*)?|(?!helo:)[^@]*:[^@]*", re.IGNORECASE)
_DOMAIN = re.compile(r"\.?(?=[^.])(?:[a-z0-9_-]{1,63}\.)*[a-z0-9_-]{1,63}")

ListName = Literal["block", "allow"]
Kind = Literal["address", "sender", "helo"]
_Place = tuple[int, str]  # the line, and the entry as it stands there


class ListUnusable(Exception):
    """A file cannot be read; the text names it and the fix."""


@value
class Listed:
    """The entry that decided, and where it stands. `kind` says what it is about: only addresses cannot be forged."""

    list: ListName
    kind: Kind
    entry: str
    file: str
    line: int

    @property
    def where(self) -> str:
        return f"{self.entry} ({self.file}:{self.line})"


@dataclass(slots=True)
class Entries:
    """What one file says. `problems` name the lines that make no sense."""

    path: Path
    networks: dict[int, dict[int, dict[int, _Place]]] = field(default_factory=lambda: {4: {}, 6: {}})  # version, length, number
    names: dict[str, _Place] = field(default_factory=dict)  # senders, domains, ".domain", "helo:..."
    problems: list[str] = field(default_factory=list)

    def of_address(self, number: int, version: int) -> Iterator[tuple[int, _Place]]:
        """The networks with an address, by the length of their prefix: the longest first."""
        bits = 32 if version == 4 else 128
        for length, networks in self.networks[version].items():  # sorted by `read`
            if (place := networks.get(number >> (bits - length))) is not None:
                yield length, place


class SenderLists:
    """The lists of a server: `find` asks them, `look` sees whether they have changed."""

    def __init__(self, *, block: Sequence[Path] = (), allow: Sequence[Path] = (), before: SenderLists | None = None) -> None:
        """Reads the files, but for those that `before` has read as they are now. Raises ListUnusable."""
        self._paths: tuple[tuple[ListName, Path], ...] = (*(("allow", one) for one in allow), *(("block", one) for one in block))
        self._stamps: dict[Path, users_edit.Stamp | None] = {}
        self._read: dict[Path, Entries] = {}
        for _, path in self._paths:
            self._stamps[path] = stamp = _stamp(path)
            is_read = before is not None and stamp is not None and stamp == before._stamps.get(path)
            self._read[path] = before._read[path] if before is not None and is_read else _told(read(path))

    def __bool__(self) -> bool:
        """Whether there is any list."""
        return bool(self._paths)

    @property
    def problems(self) -> list[str]:
        """The lines that make no sense, with their files."""
        return [problem for entries in self._read.values() for problem in entries.problems]

    def find(self, ip: str, helo: str, sender: str) -> Listed | None:
        """The entry that decides about a client and its sender; `helo` and `sender` are "" where they are not known yet."""
        return self.find_in("allow", ip, helo, sender) or self.find_in("block", ip, helo, sender)

    def find_in(self, name: ListName, ip: str, helo: str, sender: str) -> Listed | None:
        """The same, of one kind of lists."""
        lists = [self._read[path] for one, path in self._paths if one == name]
        if not lists:
            return None
        if found := _by_address(lists, ip):
            return Listed(name, "address", found[1][1], str(found[0].path), found[1][0])
        kinds: tuple[tuple[Kind, list[str]], ...] = (("sender", _sender_keys(sender)), ("helo", _helo_keys(helo)))
        for kind, keys in kinds:
            for key in keys:
                for entries in lists:
                    if (place := entries.names.get(key)) is not None:
                        return Listed(name, kind, place[1], str(entries.path), place[0])
        return None

    def look(self) -> None:
        """Read again what has changed. Blocks for long files: belongs in a thread, every `LOOK` seconds. Raises nothing."""
        for _, path in self._paths:
            if (stamp := _stamp(path)) == self._stamps[path]:
                continue
            self._stamps[path] = stamp  # before the reading: what changes meanwhile is read the next time
            try:
                self._read = {**self._read, path: _told(read(path))}
            except ListUnusable as problem:
                log.error("a list cannot be read, what was read before stays", extra={"fields": {"error": str(problem)}})
            else:
                log.info("a list was read again", extra={"fields": {"file": str(path)}})


def _by_address(lists: Sequence[Entries], ip: str) -> tuple[Entries, _Place] | None:
    try:
        address = ipaddress.ip_address(ip)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    address = mapped or address
    best: tuple[int, Entries, _Place] | None = None
    for entries in lists:
        found = next(entries.of_address(int(address), address.version), None)
        if found is not None and (best is None or found[0] > best[0]):
            best = found[0], entries, found[1]
    return best[1:] if best is not None else None


def _sender_keys(sender: str) -> list[str]:
    """What a sender may be listed as, the most exact first."""
    if not (domain := mail_address.domain_of(sender)):
        return []
    return [_sender_key(sender), domain, *_above(domain)]


def _helo_keys(helo: str) -> list[str]:
    if not helo:
        return []
    name = domains.normal(helo)
    return [f"helo:{key}" for key in (name, *_above(name))]


def _above(domain: str) -> Iterator[str]:
    """ ".mail.example.org", ".example.org", ".org" """
    while domain:
        yield f".{domain}"
        domain = domain.partition(".")[2]


def _sender_key(address: str) -> str:
    return f"{mail_address.folded(mail_address.mailbox_name(address))}@{mail_address.domain_of(address)}"


# --- files ---


def read(path: Path) -> Entries:
    """What a file says. Raises ListUnusable."""
    try:
        with path.open("rb") as file:
            octets = file.read(MOST_OCTETS + 1)
    except OSError as error:
        raise ListUnusable(f"{path}: cannot be read: {error.strerror}; make it, or let the server's user read it") from None
    if len(octets) > MOST_OCTETS:
        raise ListUnusable(f"{path}: longer than {MOST_OCTETS >> 20} MiB; split it, or use a list in DNS")
    entries, wrong = Entries(path), 0
    for number, line in enumerate(octets.decode("utf-8-sig", "replace").split("\n"), 1):
        if not (text := _COMMENT.sub("", line).strip()):
            continue
        try:
            _add(entries, text, number)
        except ValueError as problem:
            wrong += 1
            if wrong <= MOST_PROBLEMS:
                entries.problems.append(f"{path}:{number}: {text[:80]!r} {problem}")
    if wrong > MOST_PROBLEMS:
        entries.problems.append(f"{path}: and {wrong - MOST_PROBLEMS} lines more")
    for version, networks in entries.networks.items():
        entries.networks[version] = dict(sorted(networks.items(), reverse=True))
    return entries


def _add(entries: Entries, text: str, line: int) -> None:
    """The first of two equal entries stays. Raises ValueError with what is wrong."""
    place = line, text
    if _NETWORK.fullmatch(text):
        network = _network(text)
        bits, length = network.max_prefixlen, network.prefixlen
        number = int(network.network_address) >> (bits - length)
        entries.networks[network.version].setdefault(length, {}).setdefault(number, place)
        return
    entries.names.setdefault(_name(text), place)


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        network = ipaddress.ip_network(text)
    except ValueError as error:
        if "host bits" in str(error):
            raise ValueError(f"has bits beyond its prefix: write {ipaddress.ip_network(text, strict=False)}") from None
        raise ValueError('is no address or network, like "192.0.2.7", "192.0.2.0/24" or "2001:db8::/32"') from None
    mapped = network.network_address.ipv4_mapped if isinstance(network, ipaddress.IPv6Network) else None
    if mapped is not None and network.prefixlen >= 96:
        return ipaddress.ip_network((mapped, network.prefixlen - 96))
    return network


def _name(text: str) -> str:
    """The key of a sender, a domain or a name in HELO."""
    is_helo = text.lower().startswith("helo:")
    name = text[len("helo:") :].strip() if is_helo else text
    if not is_helo and "@" in name:
        local, domain = mail_address.split(name)
        if local and " " not in domain and _DOMAIN.fullmatch(domains.normal(domain)) and not domain.startswith("."):
            return _sender_key(name)
        if not local:
            raise ValueError(f'is no address: for a whole domain write "{domain}"')
        raise ValueError('is no address, like "ann@example.org"')
    dot = "." if name.startswith(".") else ""
    key = dot + domains.normal(name.removeprefix("."))
    if not _DOMAIN.fullmatch(key):
        raise ValueError('is neither a network, nor a domain like "example.org" or ".example.org", nor "helo:" and a name')
    return f"helo:{key}" if is_helo else key


def _stamp(path: Path) -> users_edit.Stamp | None:
    """What tells one version of a file from the next; None where it cannot be read, for whatever reason."""
    try:
        return users_edit.stamp(path)
    except UsersFileError:
        return None


def _told(entries: Entries) -> Entries:
    for problem in entries.problems:
        log.error("a line of a list makes no sense and is left out", extra={"fields": {"error": problem}})
    return entries
