"""`waymail outbox flush`, `hold`, `release`, `remove`: changing what waits in an outbox, also while a process delivers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cyclopts import App

from waymail.app.cli.chosen import Chosen
from waymail.app.cli.output import Exit, complain, say, say_json
from waymail.app.cli.steer import COUNTED, DONE, FITS, Json, Yes, confirm, done_text, left_alone

if TYPE_CHECKING:
    from collections.abc import Sequence

    from waymail.store.contract import Changed, Selection, Story
    from waymail.store.place import Place

NOTHING = Chosen()


def flush(path: Path, /, *ids: str, chosen: Chosen = NOTHING, as_json: Json = False) -> int:
    """Try at once what waits for a later time. A destination that was down is probed, whatever was known of it.

    What was submitted for a later time is left alone, and what is held.

    Parameters
    ----------
    path
        The file.
    ids
        The ids of tickets.
    as_json
        Print a JSON object.
    """
    return _steer("flush", path, ids, chosen, as_json)


def hold(path: Path, /, *ids: str, chosen: Chosen = NOTHING, as_json: Json = False) -> int:
    """Let messages wait until they are released. Nothing is attempted, and nothing given up.

    Parameters
    ----------
    path
        The file.
    ids
        The ids of tickets.
    as_json
        Print a JSON object.
    """
    return _steer("hold", path, ids, chosen, as_json)


def release(path: Path, /, *ids: str, chosen: Chosen = NOTHING, as_json: Json = False) -> int:
    """Let go what is held, and try it at once.

    Parameters
    ----------
    path
        The file.
    ids
        The ids of tickets.
    as_json
        Print a JSON object.
    """
    return _steer("release", path, ids, chosen, as_json)


def remove(path: Path, /, *ids: str, chosen: Chosen = NOTHING, yes: Yes = False, as_json: Json = False) -> int:
    """Give messages up without telling anybody.

    Parameters
    ----------
    path
        The file.
    ids
        The ids of tickets.
    yes
        Do not ask.
    as_json
        Print a JSON object.
    """
    return _steer("remove", path, ids, chosen, as_json, asks=not yes)


def add_to(app: App) -> None:
    """Make the commands those of `app`."""
    for command in (flush, hold, release, remove):
        app.command(command)


def _steer(action: str, path: Path, ids: tuple[str, ...], chosen: Chosen, as_json: bool, *, asks: bool = False) -> int:
    from waymail.net.clock import SystemClock
    from waymail.store.lock import is_held
    from waymail.store.look import look
    from waymail.store.place import beside
    from waymail.store.read import live_stories

    now, place = SystemClock().now(), beside(path)
    selection = chosen.strictly(ids, now=now, or_by="")
    # Looking makes no outbox where there is none.
    found = look(place, lambda store: live_stories(store, COUNTED, selection))
    if asks and not ids:
        confirm(action, len(found))
    changed = _done(action, place, selection, now)
    done = {"recipients": changed.recipients, "messages": changed.messages, "active": changed.active}
    if as_json:
        say_json(done)
        return Exit.OK
    if not changed.recipients:
        complain(f"waymail: nothing that is {FITS[action]} was chosen{_why_nothing(path, action, ids, found, now)}")
        return Exit.UNAVAILABLE
    say(f"{DONE[action]}: {done_text(done)}{left_alone(done)}")
    if action in ("flush", "release") and not is_held(place):
        say(f"Nobody delivers from this outbox at the moment: `waymail outbox run {path}` does.")
    return Exit.OK


def _why_nothing(path: Path, action: str, ids: tuple[str, ...], found: Sequence[Story], now: float) -> str:
    """What there is in place of what fits."""
    from waymail.store.contract import State

    if not found:
        return f": `waymail outbox trace {path} {ids[0]}` tells what became of it" if len(ids) == 1 else ""
    waits = [(one.state, story.envelope.options.hold_until > now) for story in found for one in story.recipients]
    reasons = {
        "being attempted now": sum(state is State.ACTIVE for state, _ in waits),
        "held": sum(state is State.HELD for state, _ in waits) * (action in ("flush", "hold")),
        "not held": sum(state is State.QUEUED for state, _ in waits) * (action == "release"),
        "submitted for a later time": sum(state is State.QUEUED and later for state, later in waits) * (action == "flush"),
    }
    told = [f"{number} {'is' if number == 1 else 'are'} {what}" for what, number in reasons.items() if number]
    return f": {', '.join(told)}" if told else ""


def _done(action: str, place: Place, selection: Selection, now: float) -> Changed:
    from waymail.outbox.nudge import FLUSHED, nudge
    from waymail.store import operate
    from waymail.store.apart import steer
    from waymail.store.deposit import Depositor

    moves = {"flush": operate.FLUSH, "hold": operate.HOLD, "release": operate.RELEASE, "remove": operate.REMOVE}
    depositor = Depositor(place)
    try:
        changed = steer(depositor, moves[action], selection, now)
    finally:
        depositor.close()
    if action in ("flush", "release"):
        nudge(place, FLUSHED)
    return changed
