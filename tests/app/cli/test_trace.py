from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from waymail.app.cli import main
from waymail.app.cli.output import Exit
from waymail.app.cli.story import ENDS, LONG, as_json, told, verdict
from waymail.mail.envelope import Body, Envelope, QueueIds, Recipient
from waymail.net.clock import SystemClock
from waymail.store.contract import Change, Event, NewMessage, RecipientState, Settlement, State, Story
from waymail.store.sqlite import SqliteStore

BOB, CARL = "bob@example.net", "carl@example.net"
HOUR = 3600.0
SAID = ["* connected to mx.example.net [192.0.2.5]", "> RCPT TO:<bob@example.net>", "< 450 4.2.1 busy"]


def attempt(at: float, outcome: str, *to: str, dialogue: list[str] | None = None) -> Event:
    detail = {
        "destination": "example.net",
        "host": "mx.example.net",
        "address": "192.0.2.5",
        "results": [{"to": list(to), "outcome": outcome, "reply": "450 4.2.1 busy"}],
    }
    return Event(at, "attempt", detail | ({"dialogue": dialogue} if dialogue else {}))


def story(*events: Event, bob: State = State.QUEUED, carl: State | None = None, attempts: int = 1, reply: str = "450 x") -> Story:
    states = [(BOB, bob)] + ([(CARL, carl)] if carl is not None else [])
    recipients = tuple(
        RecipientState(at, address, None, state, attempts, 0.0, reply) for at, (address, state) in enumerate(states)
    )
    envelope = Envelope("id", "ann@example.org", tuple(Recipient(address) for address, _ in states), 0.0)
    return Story(envelope, 10, recipients, events)


def dialogues(told_story: Story, *, verbose: bool = False) -> list[str]:
    return [line.text for line in told(told_story, 100.0, verbose=verbose) if line.kind == "said"]


# --- the story


def test_the_times_of_events_stand_in_json_as_numbers_and_as_iso_8601() -> None:
    tried = attempt(1.5, "deferred", BOB)
    tried.detail["results"][0]["next"] = 61.5
    _, first, second = as_json(story(tried, Event(2.0, "waiting", {"to": [BOB], "next": 99.0})))["events"]
    assert (first["at"], first["time"]) == (1.5, "1970-01-01T00:00:01.500Z")
    assert "next_time" not in first["detail"]
    (result,) = first["detail"]["results"]
    assert (result["next"], result["next_time"]) == (61.5, "1970-01-01T00:01:01.500Z")
    assert (second["detail"]["next"], second["detail"]["next_time"]) == (99.0, "1970-01-01T00:01:39.000Z")
    assert "next_time" not in tried.detail["results"][0], "what was given stays as it was"


def test_what_was_said_in_the_last_failed_attempt_is_told_and_with_verbose_of_all() -> None:
    found = story(*(attempt(at, "deferred", BOB, dialogue=[f"> {at}"]) for at in (1, 2, 3)))
    assert dialogues(found) == ["> 3"]
    assert dialogues(found, verbose=True) == ["> 1", "> 2", "> 3"]


def test_the_dialogue_of_what_was_delivered_in_the_end_is_told_with_verbose_only() -> None:
    events = (attempt(1, "deferred", BOB, dialogue=SAID), attempt(2, "delivered", BOB))
    assert dialogues(story(*events, bob=State.DELIVERED)) == []
    assert dialogues(story(*events, bob=State.DELIVERED), verbose=True) == SAID


def test_the_dialogue_is_that_of_somebody_who_has_not_got_the_message() -> None:
    events = (attempt(1, "deferred", BOB, dialogue=["> bob"]), attempt(2, "deferred", CARL, dialogue=["> carl"]))
    assert dialogues(story(*events, bob=State.FAILED, carl=State.DELIVERED)) == ["> bob"]


def test_a_line_of_the_dialogue_stands_below_its_attempt() -> None:
    lines = [str(line) for line in told(story(attempt(1, "deferred", BOB, dialogue=SAID)), 100.0)]
    assert lines[2].endswith("bob@example.net: deferred: 450 4.2.1 busy")
    assert lines[3:6] == [" " * 21 + line for line in SAID]


def test_a_host_that_was_not_reached_is_not_said_to_lack_tls() -> None:
    reached, not_reached = (
        str(list(told(story(attempt(1, "deferred", BOB, dialogue=lines)), 100.0))[1])
        for lines in (SAID, ["* mx.example.net: connect to 192.0.2.5:25: Connection refused"])
    )
    assert reached.endswith("mx.example.net [192.0.2.5], no TLS")
    assert not_reached.endswith("mx.example.net [192.0.2.5]")


def test_the_middle_of_many_attempts_is_counted_and_with_verbose_told() -> None:
    events = [attempt(at, "deferred", BOB) for at in range(1, 21)]
    lines = [line for line in told(story(*events), 100.0) if line.at is None or line.kind == "attempt"]
    assert sum(line.kind == "attempt" for line in lines) == 2 * ENDS
    assert [line.text for line in lines if line.text.startswith("...")] == ["... 14 more attempts; --verbose shows them"]
    assert sum(line.kind == "attempt" for line in told(story(*events), 100.0, verbose=True)) == 20
    assert sum(line.kind == "attempt" for line in told(story(*events[:LONG]), 100.0)) == LONG


def test_an_operator_is_named_and_what_the_sender_was_told() -> None:
    held = Event(1, "held", {"to": [BOB], "by": "operator"})
    returned = Event(2, "returned", {"to": [BOB], "by": "operator", "reply": "550 5.7.1 no"})
    lines = [line.text for line in told(story(held, returned, bob=State.FAILED), 100.0)]
    assert lines[1:] == [f"{BOB} (by operator)", f"{BOB} (by operator): 550 5.7.1 no"]


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (story(attempt(0.42, "delivered", BOB), bob=State.DELIVERED), "delivered in 0.4s"),
        (story(attempt(303, "delivered", BOB), bob=State.DELIVERED, attempts=2), "delivered after 5m 3s, at attempt 2"),
        (story(bob=State.FAILED, reply="550 5.1.1 no"), "failed: 550 5.1.1 no"),
        (story(bob=State.ACTIVE, attempts=0), "queued"),
        (story(attempts=3), "deferred, at attempt 3: 450 x"),
        (story(bob=State.HELD), "held"),
        (story(bob=State.DELIVERED, carl=State.FAILED), "1 delivered, 1 failed"),
    ],
)
def test_the_first_line_says_what_became_of_it(found: Story, text: str) -> None:
    assert verdict(found).text == text


# --- the command


@pytest.fixture
def server(tmp_path: Path) -> tuple[Path, dict[str, str]]:
    """A configuration whose store holds a message in each state; the older, the further down in the list."""
    config = tmp_path / "waymail.toml"
    config.write_text('hostname = "mail.example.org"\n')
    now = SystemClock().now()
    new_id = QueueIds(1)
    states = {"held": State.HELD, "removed": State.REMOVED, "failed": State.FAILED, "delivered": State.DELIVERED}
    ids: dict[str, str] = {}

    async def fill() -> None:
        store = await SqliteStore.open(tmp_path / "data" / "queue", now=lambda: now)
        for age, name in enumerate(("queued", "deferred", "delivered", "failed", "removed", "held")[::-1]):
            at = now - (6 - age) * 24 * HOUR
            ids[name] = new_id.next(at)
            envelope = Envelope(ids[name], "ann@example.org", (Recipient(f"{name}@example.net"),), at)
            delivery = await store.accept(NewMessage(envelope, Body(b"x\r\n", 3)))
            if name != "queued":
                change = Change(0, states.get(name, State.QUEUED), 1, "450 4.2.1 busy", now + HOUR)
                event = attempt(at + 1, name, f"{name}@example.net", dialogue=SAID)
                await store.settle(Settlement(ids[name], delivery.token, (change,), (event,)))
        await store.close()

    asyncio.run(fill())
    return config, ids


def traced(config: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    assert main(["trace", *arguments, "--json", "--config", str(config)]) == Exit.OK
    return [found["id"] for found in json.loads(capsys.readouterr().out)]


@pytest.mark.parametrize("state", ["delivered", "failed", "removed", "held", "deferred"])
def test_messages_are_found_by_what_became_of_them(
    state: str, server: tuple[Path, dict[str, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    config, ids = server
    assert traced(config, capsys, "--state", state) == [ids[state]]
    assert traced(config, capsys, f"{state}@example.net", "--state", state) == [ids[state]]
    assert traced(config, capsys, "queued@example.net", "--state", state) == []


def test_without_a_text_all_are_found_newest_first_up_to_the_limit(
    server: tuple[Path, dict[str, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    config, ids = server
    newest = [ids[name] for name in ("queued", "deferred", "delivered", "failed", "removed", "held")]
    assert traced(config, capsys) == newest
    assert traced(config, capsys, "--limit", "2") == newest[:2]
    assert traced(config, capsys, "--state", "queued") == newest[:2]
    assert traced(config, capsys, "ann@example.org", "--limit", "3") == newest[:3]


def test_since_leaves_out_what_was_accepted_before(
    server: tuple[Path, dict[str, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    config, ids = server
    assert traced(config, capsys, "--since", "3d1h") == [ids[name] for name in ("queued", "deferred", "delivered")]
    assert traced(config, capsys, "ann@example.org", "--since", "1d1h") == [ids["queued"]]
    assert traced(config, capsys, ids["held"], "--since", "1d1h") == []


def test_more_than_the_limit_is_said(server: tuple[Path, dict[str, str]], capsys: pytest.CaptureFixture[str]) -> None:
    config, _ = server
    assert main(["trace", "--limit", "6", "--config", str(config)]) == Exit.OK
    assert capsys.readouterr().err == ""
    assert main(["trace", "--limit", "5", "--config", str(config)]) == Exit.OK
    captured = capsys.readouterr()
    assert "the newest 5" in captured.err
    assert captured.out.count("from ann@example.org to") == 5


def test_json_has_what_was_said(server: tuple[Path, dict[str, str]], capsys: pytest.CaptureFixture[str]) -> None:
    config, ids = server
    assert main(["trace", ids["failed"], "--json", "--config", str(config)]) == Exit.OK
    [found] = json.loads(capsys.readouterr().out)
    assert found["events"][-1]["detail"]["dialogue"] == SAID


@pytest.mark.parametrize("arguments", [("--since", "yesterday"), ("--state", "lost"), ("--limit", "0"), ("@example.net",)])
def test_what_cannot_be_looked_for_is_told_with_64(
    arguments: tuple[str, ...], server: tuple[Path, dict[str, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    config, _ = server
    assert main(["trace", *arguments, "--config", str(config)]) == Exit.USAGE
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("waymail: ")


def test_nothing_found_says_what_was_looked_for(server: tuple[Path, dict[str, str]], capsys: pytest.CaptureFixture[str]) -> None:
    config, _ = server
    assert main(["trace", "eve@example.net", "--since", "2d", "--state", "failed", "--config", str(config)]) == Exit.UNAVAILABLE
    assert capsys.readouterr().err == (
        "waymail: no message with this id, Message-ID, sender or recipient: eve@example.net, accepted within 2d,"
        " of which a recipient is failed\n"
    )
