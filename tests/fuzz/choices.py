"""One run's input, taken apart: the decisions of the harness first, and then the octets for what is tested.

The first octet says how many octets of decisions follow. They are used one after the other and then from the beginning again, so
a short input is a whole run, and a changed octet changes one decision.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TypeVar

T = TypeVar("T")
MOST_DECISIONS = 64


class Choices:
    """`stream` is what the decisions left."""

    def __init__(self, data: bytes) -> None:
        size = data[0] % MOST_DECISIONS if data else 0
        self._octets = data[1 : 1 + size] or b"\0"
        self._at = 0
        self.stream = data[1 + size :]

    def number(self, below: int) -> int:
        """The next decision: 0 or more, less than `below`, which is 256 at most."""
        octet = self._octets[self._at % len(self._octets)]
        self._at += 1
        return octet % below

    def one_of(self, values: Sequence[T]) -> T:
        """The next decision: one of `values`."""
        return values[self.number(len(values))]

    def is_set(self) -> bool:
        """The next decision: yes or no."""
        return bool(self.number(2))

    def cut(self, octets: bytes) -> list[bytes]:
        """`octets` in pieces, cut anywhere, empty pieces among them."""
        places = [int((self.number(256) << 8 | self.number(256)) % (len(octets) + 1)) for _ in range(self.number(8))]
        return [octets[start:end] for start, end in pairwise([0, *sorted(places), len(octets)])]


def input_of(decisions: bytes, stream: bytes) -> bytes:
    """The input from which `Choices` takes these apart."""
    if len(decisions) >= MOST_DECISIONS:
        raise ValueError("too many decisions")
    return bytes([len(decisions)]) + decisions + stream
