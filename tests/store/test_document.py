from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waymail.mail.envelope import DeliverBy, Envelope, Options, Origin, Recipient
from waymail.store.contract import Event, RecipientState, State, Story
from waymail.store.document import document, story_of

ID = "35qzpt8hj8005"
TEXT = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=20)
NUMBER = st.floats(0, 4e9, allow_nan=False)
OPTIONS = st.builds(
    Options,
    smtputf8=st.booleans(),
    require_tls=st.booleans(),
    ret=st.sampled_from(["", "FULL", "HDRS"]),
    envid=TEXT,
    submitter=st.none() | TEXT,
    hold_until=NUMBER,
    deliver_by=st.none() | st.builds(DeliverBy, NUMBER, st.sampled_from("RN"), st.booleans()),
    priority=st.integers(-9, 9),
    hold=TEXT,
)
RECIPIENT = st.builds(Recipient, TEXT, st.none() | TEXT, TEXT, TEXT, st.booleans())
STANDING = st.tuples(st.sampled_from(State), st.integers(0, 99), NUMBER, TEXT, st.booleans())
EVENTS = st.lists(st.builds(Event, NUMBER, TEXT, st.dictionaries(TEXT, TEXT | st.lists(TEXT))), max_size=3)


@st.composite
def stories(draw: st.DrawFn) -> Story:
    people = draw(st.lists(st.tuples(RECIPIENT, STANDING), min_size=1, max_size=4))
    people[0] = (people[0][0], (State.QUEUED, *people[0][1][1:]))
    envelope = Envelope(
        ID,
        draw(TEXT),
        tuple(one for one, _ in people),
        draw(NUMBER),
        draw(st.sampled_from(["7BIT", "8BITMIME", "BINARYMIME"])),
        draw(TEXT),
        draw(st.builds(Origin, TEXT, TEXT, TEXT, TEXT, TEXT)),
        draw(OPTIONS),
    )
    recipients = tuple(
        RecipientState(number, one.address, one.original, *standing) for number, (one, standing) in enumerate(people)
    )
    return Story(envelope, 100, recipients, tuple(draw(EVENTS)))


@given(stories())
def test_what_is_read_is_what_was_written(story: Story) -> None:
    assert story_of(json.loads(json.dumps(document(story))), 100) == story


def plain() -> dict[str, Any]:
    envelope = Envelope(ID, "ann@example.org", (Recipient("bob@example.net"),), 1.0, options=Options(envid="x"))
    recipients = (RecipientState(0, "bob@example.net", None, State.QUEUED, 0, 1.0, ""),)
    data: dict[str, Any] = json.loads(json.dumps(document(Story(envelope, 100, recipients))))
    return data


def test_what_a_newer_version_added_is_passed_over() -> None:
    data = plain()
    expected = story_of(data, 100)
    data["new"] = data["options"]["new"] = data["recipients"][0]["new"] = data["origin"]["new"] = "x"
    assert story_of(data, 100) == expected


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data.pop("sender"),
        lambda data: data.update(sender="ann@example.org>\r\nRCPT TO:<eve@example.com"),
        lambda data: data["recipients"][0].update(address="bob@example.net\n"),
        lambda data: data["recipients"][0].update(original="\x00"),
        lambda data: data["recipients"][0]["asked"].update(orcpt="rfc822;x\r\n"),
        lambda data: data["recipients"][0]["asked"].update(notify=5),
        lambda data: data["recipients"][0].update(reply="\udcff"),
        lambda data: data["recipients"][0].update(state="waiting"),
        lambda data: data["recipients"][0].update(state="delivered"),
        lambda data: data["recipients"][0].update(attempts=True),
        lambda data: data["recipients"][0].update(attempts=-9),
        lambda data: data["recipients"][0].update(attempts=10**30),
        lambda data: data["recipients"][0].update(next_at=float("nan")),
        lambda data: data["recipients"][0].update(next_at=1e300),
        lambda data: data.update(recipients=[]),
        lambda data: data.update(recipients={}),
        lambda data: data.update(recipients=[5]),
        lambda data: data.update(id="nonsense"),
        lambda data: data.update(body="8BITMIME AUTH=<>"),
        lambda data: data.update(accepted_at="now"),
        lambda data: data.update(accepted_at=10**400),
        lambda data: data.update(accepted_at=-1.0),
        lambda data: data["options"].update(hold_until=1e12),
        lambda data: data["options"].update(deliver_by=[1e12, "R", False]),
        lambda data: data["options"].update(envid="x\r\nX: y"),
        lambda data: data["options"].update(priority=10),
        lambda data: data["options"].update(priority="high"),
        lambda data: data["options"].update(smtputf8="yes"),
        lambda data: data["options"].update(deliver_by=[1.0, "X", True]),
        lambda data: data["options"].update(deliver_by=[1.0]),
        lambda data: data["options"].update(deliver_by=5),
        lambda data: data["origin"].update(user="a\nb"),
        lambda data: data.update(events=[{"at": 1}]),
        lambda data: data.update(events=[{"at": 1, "kind": "x", "detail": []}]),
    ],
)
def test_what_cannot_be_is_refused(damage: Callable[[dict[str, Any]], object]) -> None:
    data = plain()
    damage(data)
    with pytest.raises(ValueError, match=r"\w"):
        story_of(data, 100)


@pytest.mark.parametrize("data", [None, 5, [], "x", {}])
def test_what_is_no_story_at_all_is_refused(data: object) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        story_of(data, 100)
