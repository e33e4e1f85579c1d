"""`waymail trace`: what became of a message?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from waymail.app.cli.output import CommandFailed, Exit, clean, complain, say_json, say_styled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from waymail.store.contract import Story

Became = Literal["queued", "deferred", "held", "delivered", "failed", "removed", "refused"]


async def trace(
    text: str = "",
    /,
    *,
    since: str = "",
    state: Became | None = None,
    limit: int = 20,
    verbose: Annotated[bool, Parameter(name=["--verbose", "-v"], negative="")] = False,
    config: Path | None = None,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> int:
    """Tell what happened to a message: every attempt, what the other side said, and what comes next. Times are in UTC.

    Exits with 69 where nothing was found; with --json, with 0 and an empty list.

    Parameters
    ----------
    text
        A queue id, a Message-ID, or the address of a sender or recipient; without it, all messages.
    since
        Only what was accepted within this time until now, like 2h or 7d.
    state
        Only messages of which a recipient is queued, deferred, held, delivered, failed, removed or refused.
    limit
        How many messages at most, newest first.
    verbose
        Show what was said in every failed attempt, not only in the last one, and leave out no attempt.
    config
        The configuration file of the server.
    as_json
        Print a JSON list of messages, each with its events.
    """
    from waymail.app.cli.stored import reading
    from waymail.app.cli.story import as_json as story_json
    from waymail.app.units import duration
    from waymail.net.clock import SystemClock
    from waymail.store.search import Search, search

    now = SystemClock().now()
    if text.startswith("@"):
        raise CommandFailed(
            Exit.USAGE, f"{text}: a domain alone is not searched for; say a whole address, or --since and --state"
        )
    if limit < 1:
        raise CommandFailed(Exit.USAGE, f"--limit must be 1 or more, not {limit}")
    try:
        accepted = now - duration(since) if since else float("-inf")
    except ValueError as error:
        raise CommandFailed(Exit.USAGE, f"--since {error}") from None
    async with reading(config) as store:
        stories = await store.run(search, Search(text, accepted, state or "", limit + 1))
    stories, are_more = stories[:limit], len(stories) > limit
    if as_json:
        say_json([story_json(story) for story in stories])
        return Exit.OK
    tell(stories, now, verbose=verbose)
    if are_more:
        complain(f"waymail: there are more; these are the newest {limit} (--limit)")
    if not stories:
        complain(f"waymail: {_nothing(text, since, state)}")
    return Exit.OK if stories else Exit.UNAVAILABLE


def tell(stories: Sequence[Story], now: float, *, verbose: bool) -> None:
    """What happened to each."""
    from waymail.app.cli.story import heading, told, verdict

    for number, story in enumerate(stories):
        outcome = verdict(story)
        say_styled(("\n" if number else "") + heading(story), "bold")
        say_styled(clean(f"  {outcome.text}"), outcome.style)
        for line in told(story, now, verbose=verbose):
            say_styled(f"  {line}", line.style)


def _nothing(text: str, since: str, state: str | None) -> str:
    found = f"no message with this id, Message-ID, sender or recipient: {text}" if text else "no message"
    return found + (f", accepted within {since}" if since else "") + (f", of which a recipient is {state}" if state else "")
