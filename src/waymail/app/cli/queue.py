"""`waymail queue`: what waits, and for what; and what is to become of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from waymail.app.cli import OVERVIEW, steer, transfer
from waymail.app.cli.chosen import Narrowed
from waymail.app.cli.output import CommandFailed, Exit, complain, say, say_json, size_text, span_text, table, time_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from waymail.store.contract import Story

app = App(name="queue", help="Look at the queue and steer it.")

Json = Annotated[bool, Parameter(name="--json", negative="")]
Switch = Annotated[bool, Parameter(negative="")]
EVERYBODY = Narrowed()


@app.default
def overview(*, config: Path | None = None, limit: int = OVERVIEW, as_json: Json = False) -> int:
    """Tell what waits, by the domain of its recipients, most first: how many, since when, why, and what comes next.

    Parameters
    ----------
    config
        The configuration file of the server.
    limit
        How many domains at most.
    as_json
        Print a JSON object.
    """
    from waymail.app.cli.overview import overview as tell

    return tell(config, limit, as_json=as_json)


@app.command(name="list")
async def list_(
    *,
    narrowed: Narrowed = EVERYBODY,
    via: steer.Via = None,
    held: Switch = False,
    queued: Switch = False,
    config: Path | None = None,
    limit: int = 1000,
    as_json: Json = False,
) -> int:
    """List the messages that are not done yet, oldest first.

    By --destination, --held and --queued, those are not listed that are being attempted at this moment.

    Parameters
    ----------
    via
        Recipients whose mail goes to this destination, as `waymail queue` names it.
    held
        Only those with recipients that are held.
    queued
        Only those with recipients that wait for their next attempt.
    config
        The configuration file of the server.
    limit
        How many messages at most.
    as_json
        Print a JSON list.
    """
    from waymail.app.cli.stored import reading
    from waymail.app.cli.story import summary_json
    from waymail.net.clock import SystemClock
    from waymail.store.contract import State

    if limit < 1:
        raise CommandFailed(Exit.USAGE, f"--limit must be 1 or more, not {limit}")
    now = SystemClock().now()
    states = [state for state, is_asked in ((State.HELD, held), (State.QUEUED, queued)) if is_asked]
    selection = replace(await steer.selected((), narrowed, via, config), states=tuple(states))
    async with reading(config) as store:
        stories = await store.list(limit + 1, selection)
    stories, are_more = stories[:limit], len(stories) > limit
    if as_json:
        say_json([summary_json(story) for story in stories])
    elif not stories:
        say("The queue is empty." if not (narrowed.is_given or states or via) else "Nothing like that is in the queue.")
    else:
        listing(stories, now)
    if are_more:
        complain(f"waymail: there are more; these are the oldest {limit} (--limit)")
    return Exit.OK


@app.command
async def show(id: str, /, *, config: Path | None = None, as_json: Json = False) -> int:
    """Show one message: its envelope and where each recipient stands.

    Parameters
    ----------
    id
        The queue id.
    config
        The configuration file of the server.
    as_json
        Print a JSON object, with all that happened.
    """
    from waymail.app.cli.stored import reading
    from waymail.app.cli.story import accepted_text, sender, standing
    from waymail.app.cli.story import as_json as story_json
    from waymail.net.clock import SystemClock

    async with reading(config) as store:
        story = await store.get(id)
    if story is None:
        raise CommandFailed(Exit.UNAVAILABLE, f"there is no message {id} in the queue or its history")
    if as_json:
        say_json(story_json(story))
        return Exit.OK
    now, envelope = SystemClock().now(), story.envelope
    facts = [
        ("id", envelope.id),
        ("message-id", envelope.message_id or "-"),
        ("from", sender(envelope)),
        ("accepted", f"{time_text(envelope.accepted_at)} UTC, {span_text(now - envelope.accepted_at)} ago"),
        ("came", accepted_text(envelope, story.size)),
    ]
    table(("message", ""), facts)
    say()
    recipients = [
        (
            recipient.address,
            recipient.original or "-",
            standing(recipient, now, envelope.options.hold_until),
            recipient.reply or "-",
        )
        for recipient in story.recipients
    ]
    table(("recipient", "sent to", "state", "last reply"), recipients)
    return Exit.OK


steer.add_to(app)
transfer.add_to(app)


def listing(stories: Sequence[Story], now: float) -> None:
    """A table of messages that wait."""
    from waymail.app.cli.story import sender

    rows = [
        (
            story.envelope.id,
            span_text(now - story.envelope.accepted_at),
            size_text(story.size),
            sender(story.envelope),
            *_waiting(story, now),
        )
        for story in stories
    ]
    table(("id", "age", "size", "from", "to", "next", "last reply"), rows)


def _waiting(story: Story, now: float) -> tuple[str, str, str]:
    """Of the recipients that wait: who, until when, why."""
    from waymail.app.cli.story import people
    from waymail.store.contract import State

    live = [recipient for recipient in story.recipients if recipient.state.is_live]
    queued = [recipient for recipient in live if recipient.state is State.QUEUED]
    if any(recipient.state is State.ACTIVE for recipient in live):
        following = "under way"
    elif queued and story.envelope.options.hold_until > now:
        following = f"in {span_text(story.envelope.options.hold_until - now)}, as its sender wants"
    elif queued:
        due = min(recipient.next_at for recipient in queued)
        following = f"in {span_text(due - now)}" if due > now else "now"
    else:
        following = "held"
    reply = next((recipient.reply for recipient in live if recipient.reply), "-")
    return people([recipient.address for recipient in live]), following, reply
