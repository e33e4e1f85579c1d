from __future__ import annotations

import time

from waymail.net.clock import SystemClock


async def test_the_system_clock_tells_the_machines_time_and_sleeps() -> None:
    clock = SystemClock()
    assert abs(clock.now() - time.time()) < 5
    before = clock.monotonic()
    await clock.sleep(0.01)
    assert clock.monotonic() - before >= 0.009
