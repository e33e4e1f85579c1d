"""How much a Maildir may hold: the quota of Maildir++, as Courier, maildrop, Exim and Dovecot keep it in the file "maildirsize".

    1000000000S,10000C        the quota: octets, messages; 0 or missing is without limit
    734003200 8122            a count of everything, octets and messages
    4711 1                    what came or went since then
    -2048 -1

Nobody locks it. Whoever delivers or removes a message appends a line; whoever finds it long, broken, with another quota than his
own, or saying "full" for longer than a quarter of an hour counts everything again. So the numbers are nearly right, and become
right: a mailbox may end up a few messages above its quota, where several were delivered at once. Nothing is synced: what a crash
takes away is counted again.

Every folder counts but Trash. The size of a message stands in its name (",S=4711"); a file without one is asked for it.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from waymail.delivery import maildir_folders as folders

FILE = "maildirsize"
LONGEST = 5_120  # octets of the file, from which on all is counted again
STALE = 900.0  # seconds after which a mailbox that was full is counted again
_NOT_COUNTED = ".Trash"
_SIZE = re.compile(r",S=(\d+)(?=[,:]|\Z)", re.ASCII)
_LINES = re.compile(r"(?: *-?\d{1,18} +-?\d{1,18} *\n)+", re.ASCII)
_counting = Lock()  # one thread counts; who waits for it finds the count


@dataclass(frozen=True, slots=True)
class Usage:
    octets: int = 0
    messages: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(self.octets + other.octets, self.messages + other.messages)


@dataclass(frozen=True, slots=True)
class Quota:
    """What a mailbox may hold: octets, messages. 0 is without limit."""

    octets: int = 0
    messages: int = 0

    def __str__(self) -> str:
        """As the first line of the file has it."""
        return ",".join(f"{number}{kind}" for number, kind in ((self.octets, "S"), (self.messages, "C")) if number) or "0S"

    def holds(self, usage: Usage) -> bool:
        return not (0 < self.octets < usage.octets or 0 < self.messages < usage.messages)


def has_room(maildir: Path, quota: Quota, size: int, now: float) -> bool:
    """Whether one more message of `size` octets fits in. `now` is in seconds since the epoch. Raises OSError."""
    return quota.holds(used(maildir, quota, size, now) + Usage(size, 1))


def told(quota: Quota, usage: Usage) -> str:
    """For the operator: "quota of 1GB: 0.99GB used", and the same of messages where they are bounded."""
    parts = []
    if quota.octets:
        parts.append(f"quota of {_size(quota.octets)}: {_size(usage.octets)} used")
    if quota.messages:
        parts.append(f"quota of {quota.messages:,} messages: {usage.messages:,} there")
    return "; ".join(parts)


def _size(octets: int) -> str:
    """In the largest unit of which there is one at least, to four digits: three could make "1e+03KB" of 999.9."""
    power = min((len(str(octets)) - 1) // 3, 4)
    return f"{octets / 1000**power:.4g}{('B', 'KB', 'MB', 'GB', 'TB')[power]}"


def used(maildir: Path, quota: Quota, size: int, now: float) -> Usage:
    """What is in the mailbox: as it was counted last, unless that would leave no room for a message of `size` octets and may be
    wrong. Raises OSError."""
    added = Usage(size, 1)
    usage = _remembered(maildir, quota, added, now)
    if usage is None:
        with _counting:
            usage = _remembered(maildir, quota, added, now)
            if usage is None:
                usage = _count_anew(maildir, quota)
    return usage


def note(maildir: Path, size: int) -> None:
    """Say that a message has been delivered, in the file where there is one: also for others whose quota it is."""
    # The message is there, whatever becomes of the count.
    with suppress(OSError):
        descriptor = os.open(f"{maildir}/{FILE}", os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        try:
            os.write(descriptor, b"%d 1\n" % size)
        finally:
            os.close(descriptor)


def _remembered(maildir: Path, quota: Quota, added: Usage, now: float) -> Usage | None:
    """What the file says, or None where it cannot be relied on."""
    try:
        with (maildir / FILE).open("rb") as file:
            text, written = file.read(LONGEST), os.fstat(file.fileno()).st_mtime
    except FileNotFoundError:
        return None
    if len(text) >= LONGEST:
        return None
    first, _, rest = text.decode("ascii", "replace").partition("\n")
    lines = rest[: rest.rfind("\n") + 1]  # a last line without its end is just being written
    if not _LINES.fullmatch(lines) or _parsed(first) != quota:
        return None
    numbers = [*map(int, lines.split())]
    usage = Usage(sum(numbers[::2]), sum(numbers[1::2]))
    if usage.octets < 0 or usage.messages < 0:
        return None
    # Full is believed only where everything was counted, and not long ago: a reader that keeps no count may have removed mail.
    if not quota.holds(usage + added) and (len(numbers) > 2 or now - written > STALE):
        return None
    return usage


def _parsed(definition: str) -> Quota | None:
    """The quota of the first line; None where it cannot be read."""
    numbers = {"S": 0, "C": 0}
    for part in definition.strip().split(","):
        if not re.fullmatch(r"\d{1,18}[SC]", part, re.ASCII):
            return None
        numbers[part[-1]] = int(part[:-1])
    return Quota(numbers["S"], numbers["C"])


def _count_anew(maildir: Path, quota: Quota) -> Usage:
    """Count everything, and write it down, unless something changed meanwhile."""
    counted = [maildir, *(maildir / name for name in folders.present(maildir) if name != _NOT_COUNTED)]
    places = [folder / part for folder in counted for part in ("new", "cur")]
    before = [_changed(place) for place in places]
    usage = Usage()
    for place in places:
        usage += _content(place)
    if [_changed(place) for place in places] == before:
        temporary = maildir / "tmp" / f"{FILE}.{os.getpid()}.{os.urandom(8).hex()}"
        with suppress(OSError):  # a count that cannot be kept holds up no mail
            try:
                temporary.touch(0o600, exist_ok=False)
                temporary.write_text(f"{quota}\n{usage.octets} {usage.messages}\n", "ascii")
                temporary.rename(maildir / FILE)
            finally:
                temporary.unlink(missing_ok=True)
    return usage


def _changed(directory: Path) -> int | None:
    try:
        return directory.stat().st_mtime_ns
    except FileNotFoundError:
        return None


def _content(directory: Path) -> Usage:
    octets = messages = 0
    try:
        entries = os.scandir(directory)
    except (FileNotFoundError, NotADirectoryError):
        return Usage()
    with entries:
        for entry in entries:
            if entry.name[0] == ".":
                continue
            found = _SIZE.search(entry.name)
            with suppress(FileNotFoundError):  # a reader has moved or removed it
                octets += int(found[1]) if found else entry.stat().st_size
                messages += 1
    return Usage(octets, messages)
