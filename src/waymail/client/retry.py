"""Trying once more where that is safe: which recipients, and after how long.

Safe is what cannot make a duplicate: no connection came about, it was lost before the content was complete, or the reply was
4yz. Never safe is a lost reply to the content (`UncertainDelivery`); of no use is another try after 5yz, and after what only a
change here or there can mend: a certificate that is not trusted, a mechanism that is not offered.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Protocol

from waymail.client.attempt import Result
from waymail.client.errors import ConnectionFailed, Disconnected, UncertainDelivery


@dataclass(frozen=True, slots=True)
class Retry:
    """How often and when: `times` more at most, `wait` seconds after the first try, then each time `factor` times as long, but
    never longer than `longest`. A random part of up to a half is taken off, so that many clients do not come back at once.

    Raises ValueError for numbers that make no sense.
    """

    times: int = 2
    wait: float = 1.0
    factor: float = 2.0
    longest: float = 60.0

    def __post_init__(self) -> None:
        if self.times < 0 or self.wait < 0 or self.factor < 1 or self.longest < 0 or not isfinite(self.wait * self.factor):
            raise ValueError("times, wait and longest are 0 or more, factor is 1 or more")

    def pause(self, tried: int, chance: float) -> float:
        """How many seconds to wait after so many tries. `chance` is a random number from 0 to 1."""
        pause = self.wait
        for _ in range(tried - 1):
            if pause >= self.longest:
                break
            pause *= self.factor
        return min(pause, self.longest) * (1 - chance / 2)


NO_RETRY = Retry(times=0)


class Clock(Protocol):
    """What waiting needs of the world (`client.io.Io`)."""

    def now(self) -> float: ...
    async def sleep(self, seconds: float) -> None: ...


def may_help(result: Result) -> bool:
    """Whether a recipient with this result may be tried once more."""
    if isinstance(result.trouble, UncertainDelivery):
        return False
    reply = result.reply or (result.trouble.reply if result.trouble is not None else None)
    if reply is not None:
        return 400 <= reply.code < 500
    return isinstance(result.trouble, ConnectionFailed | Disconnected)


async def persist(
    retry: Retry,
    recipients: Sequence[str],
    attempt: Callable[[Sequence[str]], Awaitable[Mapping[str, Result]]],
    *,
    clock: Clock,
    chance: Callable[[], float],
    deadline: float,
) -> dict[str, Result]:
    """The results of `attempt` for all recipients, after as many tries as it takes for those who may be helped by one, none of
    which begins after `deadline` (of the clock)."""
    results = dict(await attempt(recipients))
    for tried in range(1, retry.times + 1):
        left = [recipient for recipient in results if may_help(results[recipient])]
        pause = retry.pause(tried, chance()) if left else 0.0
        if not left or clock.now() + pause >= deadline:
            break
        await clock.sleep(pause)
        results |= await attempt(left)
    return results
