"""`waymail why`: why does mail for a domain not go?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from waymail.app.cli.output import CommandFailed, Exit, clean, say, say_json

if TYPE_CHECKING:
    from collections.abc import Iterator

    from waymail.app.cli.reasons import Reasons

SHOWN = 5  # messages and replies


async def why(
    domain: str,
    /,
    *,
    config: Path | None = None,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> int:
    """Tell where mail for a domain goes, whether it goes, what was said last, who waits, and what happens next. Times are in UTC.

    Without a running server it tells what the queue and the configuration know.

    Parameters
    ----------
    domain
        The domain of recipients, or an address in it.
    config
        The configuration file of the server.
    as_json
        Print a JSON object.
    """
    from waymail.app.cli.chosen import domain_of
    from waymail.app.cli.reasons import find

    if not (name := domain_of(domain)):
        raise CommandFailed(Exit.USAGE, "which domain?")
    reasons = await find(name, config, SHOWN)
    if as_json:
        say_json(_as_json(reasons))
        return Exit.OK
    say(clean(reasons.domain))
    for label, text in _told(reasons):
        say(f"  {label:<12}  {clean(text)}")
    return Exit.OK


def _told(found: Reasons) -> Iterator[tuple[str, str]]:
    yield "goes to", found.way_text()
    yield "destination", found.condition_text()
    yield from _labelled("last said", found.replies_text())
    yield from _labelled("waits", found.waiting_text())
    yield from _labelled("next", found.next_text())
    yield from _labelled("you can", found.advice())


def _labelled(label: str, lines: list[str]) -> Iterator[tuple[str, str]]:
    for number, line in enumerate(lines):
        yield "" if number else label, line


def _as_json(found: Reasons) -> dict[str, Any]:
    from waymail.app.cli.output import time_json
    from waymail.app.cli.overview import timed
    from waymail.app.cli.story import summary_json

    waiting = found.waiting
    return {
        "domain": found.domain,
        "server": found.live is not None or bool(found.trouble),
        "route": found.route,
        "destination": found.key or None,
        "hosts": list(found.hosts),
        "state": timed(found.state) if found.state else None,
        "replies": [{"time": time_json(at), "reply": reply} for at, reply in found.replies],
        "queued": waiting.queued if waiting else 0,
        "held": waiting.held if waiting else 0,
        "oldest": time_json(waiting.oldest) if waiting else None,
        "next": time_json(waiting.next_at) if waiting and waiting.queued else None,
        "given_up": time_json(found.given_up) if found.given_up else None,
        "messages": [summary_json(story) for story in found.stories],
    }
