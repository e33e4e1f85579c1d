"""Greylisting (RFC 6647): whom this server has not met is asked to come again, since most who send spam do not.

Known by its network (an IPv4 /24, an IPv6 /64), its sender and its recipient, a message that comes again after `delay` and within
`window` has passed. From then on its client's address is known, whatever it sends (§5, the first recommendation). Once
`known_after` addresses of a network have passed, so is the network: the hosts of a large sender take turns. All is forgotten
when it was not used for `keep`.

Promises: memory is bounded, and a network that sends from a million addresses makes itself be forgotten first; what is known is
kept over restarts; of senders and recipients only hashes are kept, and the domains that SPF vouches for. A clock that jumps
delays somebody once more at worst.
"""

from __future__ import annotations

import math
import re
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path

from waymail.mail import address as mail_address
from waymail.server.kept import KeptFile, Recent, Row, digest
from waymail.server.networks import client_of, outgoing_of
from waymail.values import value
from waymail.wire.replies import Reply

MOST = 100_000  # of each: messages that are waited for, that have passed, addresses, networks
MOST_OF_ONE = 1_000  # messages of one network that are waited for

# What changes from one message of a list to the next (VERP, SRS, BATV): a part of a local part with a digit in it, or a long one.
_SIGNED = re.compile(r"\A(?:srs0[=+-][^=]*=[^=]*=|srs1[=+-][^=]*=|(?:ms)?prvs\d*=[^=]*=)(?=.)")
_CHANGING = re.compile(r"[^\W_]*\d[^\W_]*|[^\W_]{20,}")


@value
class GreylistTimes:
    """In seconds; `known_after` is a number of addresses, 0 knows no networks."""

    delay: float = 60.0
    window: float = 86_400.0
    keep: float = 36 * 86_400.0
    known_after: int = 5


@value
class Wait:
    """The answer to a message that is to come again in so many seconds. `is_first` where it was not seen before."""

    seconds: int
    is_first: bool

    @property
    def reply(self) -> Reply:
        # RFC 6647 §5: 450, the session goes on. RFC 3463 §3.8: X.7.1, by policy.
        text = f"greylisted: this server has not had mail from you yet; try again in {self.seconds} seconds or later"
        return Reply(450, text, "4.7.1")


DEFAULT_TIMES = GreylistTimes()


class Greylist:
    """Who is known. `path` is the file in which it is kept, None for none."""

    def __init__(
        self,
        path: Path | None = None,
        times: GreylistTimes = DEFAULT_TIMES,
        *,
        before: Greylist | None = None,
        most: int = MOST,
    ) -> None:
        """Reads the file, or goes on with what `before` knows, whose times were different."""
        self._times = times
        self._waiting = _Waiting(most, times.window)
        self._passed: Recent[int] = Recent(most, times.keep)
        self._clients: Recent[int] = Recent(most, times.keep)
        self._networks: Recent[int] = Recent(most, times.keep)  # how many addresses of each have passed
        self._file = KeptFile(path, "the greylist")
        if before is not None:
            self._go_on_from(before)
        else:
            self._file.load(self._take)

    def judge(self, ip: str, sender: str, recipient: str, now: float, *, vouched: str = "") -> Wait | None:
        """Whether a message from this client has to wait; ask at RCPT, for each recipient. `now` is Unix time. `vouched` is a
        domain for which SPF passed: it is known as an address is, and a retry may come from any host that it vouches for."""
        client, network = client_of(ip), outgoing_of(ip)
        if self._is_known(client, network, vouched, now):
            return None
        place = vouched or network
        key = digest(place, sender_pattern(sender), mail_address.normalise(recipient).lower())
        self._file.has_changed = True
        if self._passed.get(key, now) is None:
            first = self._waiting.first(place, key, now)
            if first is None:
                return Wait(math.ceil(self._times.delay), is_first=True) if self._times.delay > 0 else None
            if (remaining := first + self._times.delay - now) > 0:
                return Wait(math.ceil(remaining), is_first=False)
            self._waiting.forget(place, key)
        self._passed.put(key, 1, now)
        self._networks.put(network, (self._networks.get(network, now) or 0) + 1, now)
        for name in filter(None, (client, vouched)):
            self._clients.put(name, 1, now)
        return None

    def _is_known(self, client: str, network: str, vouched: str, now: float) -> bool:
        """Who is known and comes again is known for longer."""
        is_known = False
        for name in (client, vouched):
            if name and self._clients.get(name, now) is not None:
                self._clients.put(name, 1, now)
                is_known = True
        passes = self._networks.get(network, now) or 0
        if passes >= self._times.known_after > 0:
            self._networks.put(network, passes, now)
            is_known = True
        self._file.has_changed |= is_known
        return is_known

    def _go_on_from(self, other: Greylist) -> None:
        for own, table in zip(self._tables().values(), other._tables().values(), strict=True):
            own.go_on_from(table)
        self._waiting.go_on_from(other._waiting)
        self._file.has_changed = True

    def save(self, now: float, *, stopping: bool = False) -> None:
        """Write the file, every few minutes at most unless the server is `stopping`. Blocks: belongs in a thread."""
        self._file.save(lambda: self._rows(now), now, stopping=stopping)

    def __len__(self) -> int:
        return len(self._waiting) + sum(map(len, self._tables().values()))

    # --- the file ---

    def _tables(self) -> dict[str, Recent[int]]:
        return {"passed": self._passed, "client": self._clients, "network": self._networks}

    def _rows(self, now: float) -> Iterator[Row]:
        for network, key, first in self._waiting.items(now):
            yield ["waiting", network, key, first]
        for name, table in self._tables().items():
            for key, at, number in table.items(now):
                yield [name, key, at, number]

    def _take(self, rows: Iterator[Row]) -> None:
        """Raises one of `DAMAGED`, and has taken nothing then."""
        tables = self._tables()
        waiting: list[tuple[str, str, float]] = []
        known: list[tuple[Recent[int], str, float, int]] = []
        for name, key, *others in rows:
            if name == "waiting":
                waiting.append((str(key), str(others[0]), float(others[1])))
            else:
                known.append((tables[name], str(key), float(others[0]), int(others[1])))
        for network, message, first in waiting:
            self._waiting.first(network, message, first)
        for table, key, at, number in known:
            table.put(key, number, at)


class _Waiting:
    """When each message that has to come again came first, by network. Where there are too many, the oldest goes of the network
    that has more than its share, else of the one that was here longest ago."""

    def __init__(self, most: int, window: float) -> None:
        self._most = most
        self._window = window
        self._networks: OrderedDict[str, dict[str, float]] = OrderedDict()
        self._number = 0

    def first(self, network: str, key: str, now: float) -> float | None:
        """When it came first; None where that is now, or so long ago that it counts as another message. It is remembered."""
        messages = self._networks.setdefault(network, {})
        self._networks.move_to_end(network)
        first = messages.get(key)
        if first is not None and 0 <= now - first <= self._window:
            return first
        self._number += messages.pop(key, None) is None
        messages[key] = now
        if len(messages) > min(MOST_OF_ONE, self._most):
            self.forget(network, next(iter(messages)))
        while self._number > self._most:
            oldest = next(iter(self._networks))
            self.forget(oldest, next(iter(self._networks[oldest])))
        return None

    def forget(self, network: str, key: str) -> None:
        """A message that is waited for has passed."""
        messages = self._networks[network]
        del messages[key]
        self._number -= 1
        if not messages:
            del self._networks[network]

    def items(self, now: float) -> Iterator[tuple[str, str, float]]:
        """What still counts. May be called in another thread meanwhile."""
        for network, messages in list(self._networks.items()):
            for key, first in list(messages.items()):
                if now - first <= self._window:
                    yield network, key, first

    def go_on_from(self, other: _Waiting) -> None:
        """Take over what another one holds."""
        self._networks, self._number = other._networks, other._number

    def __len__(self) -> int:
        return self._number


def sender_pattern(sender: str) -> str:
    """What stays of a sender from one message to the next: the local part without signatures (SRS, BATV), without what follows a
    "+", with a "#" in place of every part that has a digit in it or is very long; in lower case, as the domain.

    RFC 6647 §4.2: some clients put into the address what changes with each attempt, and would never pass.
    """
    local, domain = mail_address.split(mail_address.normalise(sender).lower())
    local = _SIGNED.sub("", local)
    local = local[:1] + local[1:].partition("+")[0]
    return f"{_CHANGING.sub('#', local)}@{domain}"
