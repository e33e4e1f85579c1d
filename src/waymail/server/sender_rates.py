"""How much may come from one network, from one sender and from one domain in an hour.

Each has a bucket of tokens for messages and one for recipients, full at first: a burst of a whole hour's worth is allowed. A
sender is whoever MAIL names, so anybody could use up what another one may send. Hence what SPF vouches for and what it does not
have buckets of their own.

Promises: what is refused is not counted, and is told when to come again; memory is bounded; what was counted is kept over
restarts. A clock that is set back gives nobody more, one that is set forward gives everybody a full bucket.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

from waymail.mail import address as mail_address
from waymail.server.kept import KeptFile, Recent, Row
from waymail.server.networks import outgoing_of
from waymail.values import value
from waymail.wire.replies import Reply

HOUR = 3_600.0
MOST = 100_000  # buckets of each kind
MOST_NAME = 320  # characters of a sender that tell it from others
KINDS = ("network", "sender", "domain")


@value
class RateLimits:
    """In an hour; 0 is without bound."""

    messages_per_network: int = 0
    recipients_per_network: int = 0
    messages_per_sender: int = 0
    recipients_per_sender: int = 0
    messages_per_domain: int = 0
    recipients_per_domain: int = 0


@value
class Exceeded:
    """Who sent as much as he may: `what` are "messages" or "recipients", `kind` is one of `KINDS`. In `seconds` there is room for
    one more."""

    what: str
    kind: str
    name: str
    limit: int
    seconds: int

    @property
    def reply(self) -> Reply:
        # RFC 3463 §3.8: a policy, and one that passes
        text = f"too many {self.what} from the {self.kind} {self.name}: {self.limit} an hour; try again in {self.seconds} seconds"
        return Reply(450, text, "4.7.1")


class SenderRates:
    """What came lately. `path` is the file in which that is kept, None for none."""

    def __init__(
        self, limits: RateLimits, path: Path | None = None, *, before: SenderRates | None = None, most: int = MOST
    ) -> None:
        """Reads the file, or goes on with what `before` has counted, whose limits were different."""
        self._limits = {
            (what, kind): limit
            for what in ("messages", "recipients")
            for kind in KINDS
            if (limit := getattr(limits, f"{what}_per_{kind}"))
        }
        # A bucket that nobody used for an hour is full: it need not be remembered.
        self._buckets: dict[str, Recent[float]] = {kind: Recent(most * 2, HOUR) for kind in KINDS}
        self._file = KeptFile(path, "what senders have sent")
        if before is not None:
            self._go_on_from(before)
        else:
            self._file.load(self._take)

    def allows(
        self, ip: str, sender: str, now: float, *, messages: int = 0, recipients: int = 0, vouched: bool = False
    ) -> Exceeded | None:
        """Count so many messages and recipients, unless they are too many: ask at MAIL for one message, at each RCPT for one
        recipient. `now` is Unix time; `vouched` where SPF passed for the sender's domain. The null path is nobody to count."""
        if not self._limits:
            return None
        names = _names(ip, sender)
        costs = {"messages": messages, "recipients": recipients}
        charged: list[tuple[Recent[float], str, float]] = []
        for (what, kind), limit in self._limits.items():
            if not costs[what] or not (name := names[kind]):
                continue
            key = f"{what} {'vouched ' if vouched and kind != 'network' else ''}{name}"
            left = self._left(kind, key, limit, now) - costs[what]
            if left < 0:
                return Exceeded(what, kind, name, limit, math.ceil(-left * HOUR / limit))
            charged.append((self._buckets[kind], key, left))
        for buckets, key, left in charged:
            buckets.put(key, left, now)
            self._file.has_changed = True
        return None

    def _left(self, kind: str, key: str, limit: int, now: float) -> float:
        """The tokens in a bucket."""
        held = self._buckets[kind].timed(key)
        if held is None:
            return float(limit)
        then, tokens = held
        return min(float(limit), tokens + max(0.0, now - then) * limit / HOUR)

    def _go_on_from(self, other: SenderRates) -> None:
        for kind, buckets in self._buckets.items():
            buckets.go_on_from(other._buckets[kind])
        self._file.has_changed = True

    def save(self, now: float, *, stopping: bool = False) -> None:
        """Write the file, every few minutes at most unless the server is `stopping`. Blocks: belongs in a thread."""
        self._file.save(lambda: self._rows(now), now, stopping=stopping)

    def __len__(self) -> int:
        return sum(map(len, self._buckets.values()))

    def _rows(self, now: float) -> Iterator[Row]:
        for kind, buckets in self._buckets.items():
            for key, at, tokens in buckets.items(now):
                yield [kind, key, at, round(tokens, 3)]

    def _take(self, rows: Iterator[Row]) -> None:
        """Raises one of `DAMAGED`, and has taken nothing then."""
        read = [(self._buckets[kind], str(key), float(at), float(tokens)) for kind, key, at, tokens in rows]
        for buckets, key, at, tokens in read:
            buckets.put(key, tokens, at)


def _names(ip: str, sender: str) -> dict[str, str]:
    """Who is counted; "" for nobody."""
    normal = mail_address.normalise(sender).lower()[:MOST_NAME]
    return {"network": outgoing_of(ip), "sender": normal, "domain": mail_address.domain_of(normal)}
