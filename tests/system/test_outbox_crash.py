"""kill -9 while four processes submit to one outbox, and deliver from it: each ticket is delivered, or taken back."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.system.outbox_crash import crash

pytestmark = pytest.mark.interop

MESSAGES = int(os.environ.get("WAYMAIL_OUTBOX_MESSAGES", "10000"))


@pytest.mark.timeout(300)
async def test_kill_9_while_four_processes_submit_loses_no_message_for_which_submit_returned(tmp_path: Path) -> None:
    report = await crash(tmp_path, MESSAGES)
    assert not report.wrong, "\n".join([*report.wrong[:20], f"{report.kills} kills"])
    assert report.submitted >= MESSAGES
    assert report.kills >= 5, "hardly anything was tried: the test proves nothing"
    assert report.doubts, "no process was killed while it delivered"
    assert report.removed > 10
    assert report.late, "nothing was ever being sent when it was taken back"
