"""`waymail queue flush`, `hold`, `release`, `remove`, `bounce`: changing what waits, with a running server or without."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from waymail.app.cli.chosen import Chosen, Narrowed
from waymail.app.cli.locate import data_place, existing
from waymail.app.cli.output import CommandFailed, Exit, complain, say, say_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from waymail.app.config import Config
    from waymail.store.contract import Changed, Selection

Json = Annotated[bool, Parameter(name="--json", negative="")]
Via = Annotated[str | None, Parameter(negative="")]
Yes = Annotated[bool, Parameter(negative="")]
NOTHING = Chosen()

DONE = {"hold": "held", "release": "released", "flush": "flushed", "remove": "removed", "bounce": "returned to their senders"}
FITS = {"hold": "queued", "release": "held", "flush": "queued", "remove": "queued or held", "bounce": "queued or held"}
UNFIT = {  # what there may be in place of what fits, by its state, and what to say of it
    "hold": {"HELD": "held already"},
    "release": {"QUEUED": "not held: `waymail queue flush` tries at once what waits"},
    "flush": {"HELD": "held: `waymail queue release` lets go what is", "QUEUED": "held by its sender, and left alone"},
}
COUNTED = 1001  # messages that are counted before somebody is asked whether he means it


async def flush(*ids: str, chosen: Chosen = NOTHING, via: Via = None, config: Path | None = None, as_json: Json = False) -> int:
    """Try at once what waits for a later time. A destination that was down is probed, whatever was known of it.

    What its sender wants held (RFC 4865) is left alone, and what is held by `waymail queue hold`.

    Parameters
    ----------
    ids
        Queue ids.
    via
        Recipients whose mail goes to this destination, as `waymail queue` names it.
    config
        The configuration file of the server.
    as_json
        Print a JSON object.
    """
    return await _steer("flush", ids, chosen, via, config, as_json)


async def hold(*ids: str, chosen: Chosen = NOTHING, via: Via = None, config: Path | None = None, as_json: Json = False) -> int:
    """Let messages wait until they are released. Nothing is attempted, and nothing given up.

    Parameters
    ----------
    ids
        Queue ids.
    via
        Recipients whose mail goes to this destination, as `waymail queue` names it.
    config
        The configuration file of the server.
    as_json
        Print a JSON object.
    """
    return await _steer("hold", ids, chosen, via, config, as_json)


async def release(*ids: str, chosen: Chosen = NOTHING, via: Via = None, config: Path | None = None, as_json: Json = False) -> int:
    """Let go what is held, and try it at once.

    Parameters
    ----------
    ids
        Queue ids.
    via
        Recipients whose mail goes to this destination, as `waymail queue` names it.
    config
        The configuration file of the server.
    as_json
        Print a JSON object.
    """
    return await _steer("release", ids, chosen, via, config, as_json)


async def remove(
    *ids: str, chosen: Chosen = NOTHING, via: Via = None, yes: Yes = False, config: Path | None = None, as_json: Json = False
) -> int:
    """Give messages up without telling anybody.

    Parameters
    ----------
    ids
        Queue ids.
    via
        Recipients whose mail goes to this destination, as `waymail queue` names it.
    yes
        Do not ask.
    config
        The configuration file of the server.
    as_json
        Print a JSON object.
    """
    return await _steer("remove", ids, chosen, via, config, as_json, confirm=not yes)


async def bounce(
    *ids: str,
    chosen: Chosen = NOTHING,
    via: Via = None,
    reason: str = "",
    yes: Yes = False,
    config: Path | None = None,
    as_json: Json = False,
) -> int:
    """Give messages up, and return them to their senders with a notice. Whoever asked not to be told is not told.

    Parameters
    ----------
    ids
        Queue ids.
    via
        Recipients whose mail goes to this destination, as `waymail queue` names it.
    reason
        What the notice says of why, behind "given up by the administrator".
    yes
        Do not ask.
    config
        The configuration file of the server.
    as_json
        Print a JSON object.
    """
    if len(reason) > 200 or not reason.isprintable():
        raise CommandFailed(Exit.USAGE, "--reason: one line of at most 200 characters")
    return await _steer("bounce", ids, chosen, via, config, as_json, confirm=not yes, reason=reason)


def add_to(app: App) -> None:
    """Make the commands those of `app`."""
    for command in (flush, hold, release, remove, bounce):
        app.command(command)


async def _steer(
    action: str,
    ids: tuple[str, ...],
    chosen: Chosen,
    via: str | None,
    config_file: Path | None,
    as_json: bool,
    *,
    confirm: bool = False,
    **more: str,
) -> int:
    selection = await selected(ids, chosen, via, config_file)
    if confirm and not selection.ids:
        await _confirm(action, selection, config_file)
    done = await _asked(action, selection, config_file, more)
    if as_json:
        say_json(done)
        return Exit.OK
    if not done["recipients"]:
        why = "" if done["active"] else await _why_nothing(action, selection, config_file)
        complain(f"waymail: nothing that is {FITS[action]} was chosen{left_alone(done)}{why}")
        return Exit.UNAVAILABLE
    say(f"{DONE[action]}: {done_text(done)}{left_alone(done)}")
    if not done["server"] and action != "remove":
        say("No server runs: nothing is attempted before it is started.")
    return Exit.OK


async def selected(ids: tuple[str, ...], chosen: Narrowed, via: str | None, config_file: Path | None) -> Selection:
    """What was chosen. Raises CommandFailed where that cannot be meant, and where nothing that waits goes to the destination."""
    from dataclasses import replace

    from waymail.net.clock import SystemClock
    from waymail.store.contract import Selection

    now = SystemClock().now()
    if via is None:
        return chosen.strictly(ids, now=now) if isinstance(chosen, Chosen) else chosen.selection(ids, now=now)
    from waymail.app.cli.via import domains_via

    rest = chosen.selection(ids, now=now) if ids or chosen.is_given else Selection()
    return replace(rest, domains=await domains_via(config_file, via))


def done_text(done: Mapping[str, Any]) -> str:
    """To how many."""
    return f"{_count(done['recipients'], 'recipient')} of {_count(done['messages'], 'message')}"


def left_alone(done: Mapping[str, Any]) -> str:
    """What was chosen and is not to be changed now, behind a semicolon; "" where nothing is."""
    if active := done["active"]:
        return (
            f"; {active} {'is' if active == 1 else 'are'} being attempted now and {'was' if active == 1 else 'were'} left alone"
        )
    if in_hand := done.get("in_hand"):
        return f"; besides, {_count(in_hand, 'message')} in the server's hands at this moment, which are attempted first"
    return ""


async def _why_nothing(action: str, selection: Selection, config_file: Path | None) -> str:
    """What became of what was chosen, where that explains why nothing was done; as far as the store can be read."""
    from dataclasses import replace

    from waymail.app.cli.stored import reading
    from waymail.store.contract import State, StoreError

    try:
        async with reading(config_file) as store:
            for state, words in UNFIT.get(action, {}).items():
                if found := await store.list(COUNTED, replace(selection, states=(State[state],))):
                    number = f"more than {COUNTED - 1:,} messages are" if len(found) == COUNTED else _are(len(found))
                    return f": {number} {words}"
            if len(selection.ids) == 1:
                is_known = await store.get(selection.ids[0]) is not None
                return (
                    f": `waymail trace {selection.ids[0]}` tells what became of it" if is_known else ": there is no such message"
                )
    except (CommandFailed, StoreError):
        pass
    return ""


def _are(messages: int) -> str:
    return f"{_count(messages, 'message')} {'is' if messages == 1 else 'are'}"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


async def _confirm(action: str, selection: Selection, config_file: Path | None) -> None:
    """Raises CommandFailed."""
    from waymail.app.cli.stored import reading

    async with reading(config_file) as store:
        found = len(await store.list(COUNTED, selection))
    confirm(action, found)


def confirm(action: str, found: int) -> None:
    """Somebody chose by what messages are, and not by their ids: he is asked whether he means so many, of at most `COUNTED`.
    Raises CommandFailed."""
    if found <= 1:
        return
    number = f"more than {COUNTED - 1:,} messages" if found == COUNTED else _count(found, "message")
    if not sys.stdin.isatty():
        raise CommandFailed(Exit.USAGE, f"this is about {number}: say --yes to {action} them")
    complain(f"{action} {number}? [y/N] ")
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise CommandFailed(Exit.UNAVAILABLE, "nothing was changed")


async def _asked(action: str, selection: Selection, config_file: Path | None, more: Mapping[str, str]) -> dict[str, Any]:
    """What the server did, or what was done here where none runs."""
    from waymail.app.asking import NobodyThere, Refused, ask, changed_json, selection_json

    done: dict[str, Any] = {}
    try:
        async for answer in ask(data_place(config_file).directory, action, selection=selection_json(selection), **more):
            if "working" in answer and sys.stderr.isatty():
                complain(f"still working, {answer['working']:.0f} s")
            done = dict(answer.get("done", {}))
        return done | {"server": True}
    except Refused as refusal:
        raise CommandFailed(Exit(refusal.code), str(refusal)) from None
    except NobodyThere:
        changed = await _done_here(action, selection, existing(config_file), more.get("reason", ""))
        return changed_json(changed) | {"server": False}


async def _done_here(action: str, selection: Selection, config: Config, reason: str) -> Changed:
    from random import SystemRandom
    from secrets import randbits

    from waymail.app.cli.stored import changing
    from waymail.app.wiring import notice_writer
    from waymail.mail.envelope import QueueIds
    from waymail.net.clock import SystemClock
    from waymail.queue.operators import ACTIONS, Operators
    from waymail.store import schema

    if config.queue.store != "memory" and not (config.data_dir / "queue" / schema.FILE).exists():
        raise CommandFailed(Exit.IO, f"there is no queue in {config.data_dir}/queue: is data_dir right?")
    clock = SystemClock()
    async with changing(config) as store:
        operators = Operators(store, notice_writer(config, QueueIds(randbits(11))), clock=clock, rng=SystemRandom())
        if action == "bounce":
            return await operators.bounce(selection, reason)
        return await operators.act(next(one for one in ACTIONS if one == action), selection)
