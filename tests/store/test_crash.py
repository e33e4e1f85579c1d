"""A process that is killed while it accepts and settles has lost nothing that it said it has."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from waymail.mail.envelope import decode_id
from waymail.store.contract import State
from waymail.store.sqlite import SqliteStore
from waymail.testing.store_cases import octets

# Ten callers; each says on standard output, in one write, what has just been made durable.
CHILD = """
import asyncio, os, random, sys, time
from pathlib import Path
from waymail.mail.envelope import Envelope, QueueIds, Recipient
from waymail.store.contract import Change, Event, NewMessage, Settlement, State
from waymail.store.sqlite import SqliteStore

ids = QueueIds(int(sys.argv[2]))

def say(word, id):
    os.write(1, f"{word} {id}\\n".encode())

async def caller(store):
    while True:
        now = time.time()
        id = ids.next(now)
        spool = store.spool(id)
        spool.write(id.encode() * random.choice((10, 8000)))
        envelope = Envelope(id, "ann@example.org", (Recipient("bob@example.net"), Recipient("eve@example.net")), now)
        delivery = await store.accept(NewMessage(envelope, spool.finish()))
        say("accepted", id)
        ends = random.choice(((State.DELIVERED, State.DELIVERED), (State.QUEUED, State.FAILED)))
        changes = tuple(Change(number, end, 1, "said", now + 3600) for number, end in enumerate(ends))
        if random.random() < 0.8:
            await store.settle(Settlement(id, delivery.token, changes, (Event(now, "attempt", {"ms": 1}),)))
            say("settled" if ends[0] is State.DELIVERED else "deferred", id)

async def main():
    store = await SqliteStore.open(Path(sys.argv[1]), now=time.time)
    await asyncio.gather(*(caller(store) for _ in range(10)))

asyncio.run(main())
"""

LIVE = {State.QUEUED, State.ACTIVE}


def run_and_kill(directory: Path, round: int, seconds: float) -> list[tuple[str, str]]:
    """What the child said before it was killed."""
    with subprocess.Popen([sys.executable, "-c", CHILD, str(directory), str(round)], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        first = child.stdout.readline()  # it is under way
        time.sleep(seconds)  # the moment of death: any will do
        child.kill()
        said = (first + child.stdout.read()).decode().splitlines()
    return [(word, id) for word, _, id in (line.partition(" ") for line in said)]


@pytest.mark.timeout(60)
async def test_nothing_that_was_reported_is_lost_by_a_kill(tmp_path: Path) -> None:
    rng = random.Random()
    said: list[tuple[str, str]] = []
    for round in range(3):
        said += run_and_kill(tmp_path, round, rng.uniform(0.02, 0.3))
        store = await SqliteStore.open(tmp_path, now=time.time)
        accepted = {id for word, id in said if word == "accepted"}
        settled = {id for word, id in said if word == "settled"}
        deferred = {id for word, id in said if word == "deferred"}
        for id in accepted:
            story = await store.get(id)
            assert story is not None, f"{id} was accepted and is lost"
            states, kinds = [one.state for one in story.recipients], [event.kind for event in story.events]
            body = await store.body(id)
            if id in settled:
                assert states == [State.DELIVERED, State.DELIVERED]
                assert kinds == ["attempt"]
            if id in deferred:
                assert states == [State.QUEUED, State.FAILED]
            if LIVE & set(states):
                assert body is not None
                assert octets(body) == id.encode() * (body.size // len(id))
            else:
                assert body is None
        # Every file belongs to a live message, every live message to somebody who can claim it.
        live = await store.list(100_000)
        files = {path.name for path in (tmp_path / "bodies").iterdir()}
        assert files == {story.envelope.id for story in live if story.size > 65536}
        assert all(State.ACTIVE not in [one.state for one in story.recipients] for story in live)
        await store.abort()
    assert len(said) > 40
    assert all(decode_id(id) is not None for _, id in said)
