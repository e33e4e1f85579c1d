"""How one program asks a running server: the words of the control socket, and the side that asks.

`data_dir/control` is a Unix socket. A request is one line of JSON, an object with "version" and "ask" (what is asked for);
answers are lines of JSON, too:

    {"item": {...}}       a part of the answer
    {"working": 4.0}      it takes long, and goes on; the number is the seconds so far
    {"done": {...}}       the end
    {"error": "...", "code": 74}    the end, too; the code is one of sysexits.h

Whoever closes the connection before the end calls off what is not done yet. Only the server's user and root may ask.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from waymail.net import unix
from waymail.net.lines import Lines, LinesFailed
from waymail.store.contract import Changed, Selection, State

VERSION = 1
FILE = "control"
MOST = 1_048_576  # octets of a request
BEAT = 2.0  # seconds between signs of life
SILENCE = 30.0  # seconds without one after which the server is taken for dead


class NobodyThere(Exception):
    """No server listens at the control socket."""


class Refused(Exception):
    """The server's answer is an error; `code` is one of sysexits.h."""

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)
        self.code = code


async def ask(directory: Path, what: str, **more: Any) -> AsyncIterator[Mapping[str, Any]]:
    """Ask the server of the data directory. Yields each "item" and "working", and "done" last. Raises NobodyThere, before all,
    and Refused."""
    lines = await _connect(directory / FILE)
    try:
        lines.write(json.dumps({"version": VERSION, "ask": what} | more))
        while True:
            answer = json.loads(await lines.read(timeout=SILENCE))
            if "error" in answer:
                raise Refused(answer["error"], answer["code"])
            yield answer
            if "done" in answer:
                return
    except LinesFailed as error:
        raise Refused(f"the server did not answer: {error}", 75) from None
    finally:
        lines.close()


async def _connect(path: Path) -> Lines:
    if not path.is_socket():  # noqa: ASYNC240 - a look at a local file
        raise NobodyThere(str(path))
    with unix.reachable(path) as name:
        try:
            return await Lines.connect(str(name), timeout=SILENCE)
        except LinesFailed as error:
            raise NobodyThere(str(error)) from None


def selection_json(selection: Selection) -> dict[str, Any]:
    """A selection as it stands in a request: what is given."""
    given = {one.name: value for one in fields(Selection) if (value := getattr(selection, one.name)) != one.default}
    states = [state.name.lower() for state in selection.states]
    lists = {"ids": list(selection.ids), "domains": sorted(selection.domains), "states": states}
    return given | {name: values for name, values in lists.items() if values}


def selection_of(data: object) -> Selection:
    """The selection of a request. Raises ValueError with a sentence."""
    if not isinstance(data, dict):
        raise ValueError("selection: must be an object")
    if unknown := data.keys() - _CHECKS.keys():
        raise ValueError(f"selection: there is no {min(unknown)!r}")
    for name, value in data.items():
        if not _CHECKS[name](value):
            raise ValueError(f"selection: {name}: {value!r} cannot be")
    states = tuple(State[one.upper()] for one in data.get("states", ()))
    several = {"ids": tuple(data.get("ids", ())), "domains": frozenset(data.get("domains", ())), "states": states}
    return Selection(**(data | several))


def changed_json(changed: Changed) -> dict[str, Any]:
    """What was done, as it stands in an answer."""
    return {"recipients": changed.recipients, "messages": changed.messages, "active": changed.active}


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _are_texts(value: object) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


def _is_truth(value: object) -> bool:
    return isinstance(value, bool)


_CHECKS = {
    "ids": _are_texts,
    "sender": _is_text,
    "recipient": _is_text,
    "domain": _is_text,
    "below": _is_truth,
    "domains": _are_texts,
    "older": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "states": lambda value: isinstance(value, list) and all(one in ("queued", "active", "held") for one in value),
    "everything": _is_truth,
}
