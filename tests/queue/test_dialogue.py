"""What was said in a failed attempt reaches the store, and is bounded there."""

from __future__ import annotations

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
