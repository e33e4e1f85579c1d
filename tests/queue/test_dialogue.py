"""What was said in a failed attempt reaches the store, and is bounded there."""

from __future__ import annotations

from typing import Any

import pytest

from waymail.mail.envelope import Recipient
from waymail.mail.outcome import Deferred, Delivered, Outcome
from waymail.testing.queue import Bench, ScriptedCarrier
from waymail.wire.replies import Reply

BUSY = Reply(451, "busy", "4.3.2")


async def dialogues(bench: Bench, id: str) -> list[list[str]]:
    story = await bench.store.get(id)
    assert story is not None
    return [event.detail["dialogue"] for event in story.events if "dialogue" in event.detail]


async def test_failed_attempts_keep_what_was_said_and_those_that_succeed_nothing() -> None:
    answers: list[Outcome] = [Deferred(BUSY, dialogue=("> 1",)), Delivered(Reply(250, "taken"))]
    bench = Bench(ScriptedCarrier(answer=lambda recipient: answers.pop(0)))
    async with bench.running():
        id = await bench.accept("bob@example.net")
        await bench.settled()
        await bench.pass_time(120)
        assert answers == []
        assert await dialogues(bench, id) == [["> 1"]]


async def test_a_message_that_is_tried_for_days_keeps_the_last_dialogues_only() -> None:
    made: list[str] = []

    def answer(recipient: Recipient) -> Outcome:
        if recipient.address != "bob@example.net":
            return Delivered(Reply(250, "taken"))  # the notice that it is late
        made.append(f"> {len(made)}")
        return Deferred(BUSY, dialogue=(made[-1],))

    bench = Bench(ScriptedCarrier(answer=answer))
    async with bench.running():
        id = await bench.accept("bob@example.net")
        await bench.settled()
        await bench.pass_time(6 * 3600)
        assert len(made) > 20
        kept = [line for (line,) in await dialogues(bench, id)]
        assert 5 <= len(kept) < 10
        assert kept == made[-len(kept) :]


async def test_a_failed_attempt_is_one_line_in_the_log_with_the_causes_that_stay_here(caplog: pytest.LogCaptureFixture) -> None:
    def answer(recipient: Recipient) -> Outcome:
        return Delivered(Reply(250, "taken")) if recipient.address[0] == "a" else Deferred(BUSY, cause=f"why {recipient.address}")

    bench = Bench(ScriptedCarrier(answer=answer))
    with caplog.at_level("INFO", "waymail.queue"):
        async with bench.running():
            await bench.accept(*(f"{name}@example.net" for name in "abcdef"))
            await bench.settled()
    said = {record.getMessage(): record for record in caplog.records}
    assert sorted(record.getMessage() for record in caplog.records) == ["deferred", "delivered"]
    fields: Any = vars(said["deferred"])["fields"]
    assert fields["cause"] == "why b@example.net; why c@example.net; why d@example.net"
    assert (len(fields["to"]), fields["destination"], fields["reply"]) == (5, "example.net", "451 4.3.2 busy")
    assert (said["deferred"].levelname, said["delivered"].levelname) == ("WARNING", "INFO")
