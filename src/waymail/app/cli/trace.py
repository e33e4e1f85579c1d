"""`waymail trace`: what became of a message?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from waymail.app.cli.output import Exit, complain, say, say_json


async def trace(
    text: str,
    /,
    *,
    config: Path | None = None,
    limit: int = 20,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> int:
    """Tell what happened to a message: every attempt, what the other side said, and what comes next. Times are in UTC.

    Exits with 69 where nothing was found; with --json, with 0 and an empty list.

    Parameters
    ----------
    text
        A queue id, a Message-ID, or the address of a sender or recipient.
    config
        The configuration file of the server.
    limit
        How many messages at most, newest first.
    as_json
        Print a JSON list of messages, each with its events.
    """
    from waymail.app.cli.stored import reading
    from waymail.app.cli.story import as_json as story_json
    from waymail.app.cli.story import heading, told
    from waymail.net.clock import SystemClock

    async with reading(config) as store:
        stories = [await store.get(story.envelope.id) or story for story in await store.find(text, limit)]
    if as_json:
        say_json([story_json(story) for story in stories])
    elif not stories:
        complain(f"waymail: no message with this id, Message-ID, sender or recipient: {text}")
    now = SystemClock().now()
    for number, story in enumerate(() if as_json else stories):
        say(("\n" if number else "") + heading(story))
        for line in told(story, now):
            say(f"  {line}")
    return Exit.OK if stories or as_json else Exit.UNAVAILABLE
