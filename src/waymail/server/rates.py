"""How often somebody may do something: a bucket of tokens for each, in bounded memory, on a clock that is given.

A bucket is full at first, so a burst of `limit` is allowed, and `limit` in every `per_seconds` from then on. The bucket that was
asked for longest ago makes room for a new one: who has so many names that his buckets are forgotten is no single client any more.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable

MOST_KEYS = 10_000


class Rates:
    """`limit` in `per_seconds`, for each of the `most_keys` keys that were seen last."""

    def __init__(self, limit: int, per_seconds: float, most_keys: int = MOST_KEYS) -> None:
        self._limit = float(limit)
        self._per_second = limit / per_seconds
        self._most_keys = most_keys
        self._buckets: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()  # tokens left, and when that was so

    def allows(self, key: Hashable, now: float, cost: float = 1) -> bool:
        """Whether `key` may do it now (seconds, on a clock that does not go back). Only what is allowed is counted."""
        tokens, then = self._buckets.pop(key, (self._limit, now))
        tokens = min(self._limit, tokens + (now - then) * self._per_second)
        is_allowed = tokens >= cost
        self._buckets[key] = (tokens - cost if is_allowed else tokens, now)
        if len(self._buckets) > self._most_keys:
            self._buckets.popitem(last=False)
        return is_allowed

    def __len__(self) -> int:
        return len(self._buckets)
