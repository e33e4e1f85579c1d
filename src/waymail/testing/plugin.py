"""A pytest plugin that hands waymail's doubles to tests of programs that use waymail. In your `conftest.py`:

    pytest_plugins = ["waymail.testing.plugin"]

It needs no other plugin: its fixtures serve plain tests and those of pytest-asyncio, anyio or trio alike. Nothing is made, nor
imported, until a test names a fixture.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from waymail.server.trial import Trial
    from waymail.testing.clock import JumpingClock
    from waymail.testing.dns import DnsServer
    from waymail.testing.zone import Zone


@pytest.fixture
def waymail_zone() -> Zone:
    """All there is in DNS: nothing, until the test puts it there."""
    from waymail.testing.zone import Zone

    return Zone({})


@pytest.fixture
def waymail_dns(waymail_zone: Zone) -> Iterator[DnsServer]:
    """A DNS server on loopback, from a thread of its own, that serves `waymail_zone`, with faults on request."""
    from waymail.testing.dns import serving

    with serving(waymail_zone) as server:
        yield server


@pytest.fixture
def waymail_clock() -> JumpingClock:
    """A clock that stands still until the test lets time pass."""
    from waymail.testing.clock import JumpingClock

    return JumpingClock()


@pytest.fixture
def waymail_judge(waymail_zone: Zone) -> Callable[..., Awaitable[Trial]]:
    """`waymail.testing.policy.judge`, where `waymail_zone` is all there is in DNS: what becomes of a message under the rules of
    [inbound], or under a `Policy` of your own."""
    from waymail.testing.policy import judge

    return partial(judge, zone=waymail_zone)
