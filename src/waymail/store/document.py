"""A message's story as plain JSON data, for the file by which it moves (`archive`), and back.

What is read was perhaps written by a newer waymail, or by hand: what is unknown is passed over, what cannot be is `ValueError`.
Addresses without control characters: nothing that comes out of a file can end a line of SMTP.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

from waymail.mail.envelope import NO_OPTIONS, Envelope, Options, Origin, decode_id
from waymail.store.asked import asked, options_of, recipient_of
from waymail.store.contract import Event, RecipientState, State, Story

LATEST = 253_402_300_799.0  # seconds since the epoch: no date can be written for what is later than the year 9999
MOST_ATTEMPTS = 1_000_000
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_STATES = {state.name.lower(): state for state in State}
_ORIGIN = [one.name for one in fields(Origin)]
_ASKED = {one.name: one.default for one in fields(Options)}


def document(story: Story) -> dict[str, Any]:
    """A story as plain data."""
    envelope = story.envelope
    what = asked(envelope)
    return {
        "id": envelope.id,
        "sender": envelope.sender,
        "accepted_at": envelope.accepted_at,
        "body": envelope.body,
        "message_id": envelope.message_id,
        "origin": asdict(envelope.origin),
        "options": what["options"],
        "recipients": [_recipient(one) | {"asked": what["recipients"].get(str(one.number), {})} for one in story.recipients],
        "events": [{"at": one.at, "kind": one.kind, "detail": one.detail} for one in story.events],
    }


def story_of(data: Any, size: int) -> Story:
    """The story that `document` wrote, of a message of so many octets. Raises ValueError, whose text says what is wrong."""
    try:
        return _story(data, size)
    except KeyError as error:
        raise ValueError(f"{error.args[0]} is missing") from error
    except (TypeError, AttributeError, IndexError) as error:
        raise ValueError(str(error)) from error


def _story(data: Any, size: int) -> Story:
    people = _typed(data, "recipients", list)
    parameters = {str(number): _typed(one, "asked", dict) for number, one in enumerate(people)}
    for one in parameters.values():
        _check(one, {"notify": "", "orcpt": "", "expanded": False, "folder": ""})
    options = _typed(data, "options", dict)
    by = options.get("deliver_by")
    _check({name: value for name, value in options.items() if name != "deliver_by"}, _ASKED)
    if by is not None and not (_is_number(by[0]) and by[1] in ("R", "N") and isinstance(by[2], bool) and len(by) == 3):
        raise ValueError("deliver_by is none")
    if not -9 <= options.get("priority", 0) <= 9:  # RFC 6710 §3
        raise ValueError(f"priority is {options['priority']}")
    what = {"options": options, "recipients": parameters}
    states = tuple(_state(number, one) for number, one in enumerate(people))
    id = _text(data, "id")
    if decode_id(id) is None:
        raise ValueError(f"{id!r} is no queue id")
    if not any(one.state.is_live for one in states):
        raise ValueError("nobody waits for it")
    origin = _typed(data, "origin", dict)
    envelope = Envelope(
        id,
        _text(data, "sender"),
        tuple(recipient_of(what, one.number, one.address, one.original) for one in states),
        _number(data, "accepted_at"),
        _body(data),
        _text(data, "message_id"),
        Origin(**{name: _text(origin, name) for name in _ORIGIN if name in origin}),
        options_of(what) if options else NO_OPTIONS,
    )
    return Story(envelope, size, states, tuple(_event(one) for one in _typed(data, "events", list)))


def _recipient(one: RecipientState) -> dict[str, Any]:
    return {
        "address": one.address,
        "original": one.original,
        "state": one.state.name.lower(),
        "attempts": one.attempts,
        "next_at": one.next_at,
        "reply": one.reply,
        "warned": one.warned,
    }


def _state(number: int, data: Any) -> RecipientState:
    original = data["original"]
    return RecipientState(
        number,
        _text(data, "address"),
        None if original is None else _text(data, "original"),
        _STATES[_text(data, "state")],
        _attempts(data),
        _number(data, "next_at"),
        _unicode(_typed(data, "reply", str)),
        _typed(data, "warned", bool),
    )


def _attempts(data: Any) -> int:
    attempts: int = _typed(data, "attempts", int)
    if not 0 <= attempts <= MOST_ATTEMPTS:
        raise ValueError(f"attempts is {attempts!s:.20}")
    return attempts


def _body(data: Any) -> str:
    if (body := data["body"]) not in ("7BIT", "8BITMIME", "BINARYMIME"):
        raise ValueError(f"body is {body!r:.60}")
    return str(body)


def _event(data: Any) -> Event:
    return Event(_number(data, "at"), _text(data, "kind"), _typed(data, "detail", dict))


def _check(given: Mapping[str, Any], known: Mapping[str, Any]) -> None:
    """Each that is known has a value of the kind of its default."""
    for name in given.keys() & known.keys():
        default = known[name]
        if isinstance(default, float):
            _number(given, name)
        elif default is None or isinstance(default, str):
            _text(given, name)
        else:
            _typed(given, name, type(default))


def _typed(data: Any, name: str, kind: type[Any]) -> Any:
    value = data[name]
    if type(value) is not kind:
        raise ValueError(f"{name} is {value!r:.60}")
    return value


def _number(data: Any, name: str) -> float:
    value = data[name]
    if not _is_number(value):
        raise ValueError(f"{name} is {value!r:.60}")
    return float(value)


def _is_number(value: object) -> bool:
    """Whether it is a time: all numbers here are."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= LATEST


def _text(data: Any, name: str) -> str:
    value = _unicode(_typed(data, name, str))
    if _CONTROL.search(value):
        raise ValueError(f"{name} has control characters: {value!r:.60}")
    return value


def _unicode(text: str) -> str:
    """Without half a surrogate pair, which no store takes: UnicodeEncodeError is a ValueError."""
    text.encode()
    return text
