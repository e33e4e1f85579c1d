"""`waymail queue` without more: what waits, by domain."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from waymail.app.cli.live import Live, condition, following, live, short
from waymail.app.cli.output import CommandFailed, Exit, clean, complain, say, say_json, span_text, table, time_json
from waymail.app.cli.stored import data_directory
from waymail.store.contract import Backlog, Waiting
from waymail.store.look import look
from waymail.store.select import waiting

COLUMNS = ("domain", "queued", "held", "trying", "oldest", "next", "goes to", "destination is", "last reply")


def overview(config_file: Path | None, limit: int, *, as_json: bool) -> int:
    """Tell it. Raises CommandFailed, ConfigError, StoreError."""
    directory = data_directory(config_file)
    sys.setswitchinterval(0.0005)  # seconds: the counting thread wants the interpreter's lock seldom, and then at once
    with ThreadPoolExecutor(1) as thread:
        counting = thread.submit(look, directory / "queue", lambda store: waiting(store, limit, ""))
        # While it counts: what asking the server needs takes as long to load as a million messages to count.
        import asyncio

        from waymail.app import asking  # noqa: F401
        from waymail.net.clock import SystemClock

        backlog = counting.result()
    trouble, code = "no server runs: nothing is attempted", Exit.OK
    try:
        known = asyncio.run(live(directory, [one.domain for one in backlog.largest]))
    except CommandFailed as failure:  # what the store knows is told all the same
        known, trouble, code = None, str(failure), failure.code
    now = SystemClock().now()
    if as_json:
        say_json(_as_json(backlog, known))
        if code:
            complain(f"waymail: {trouble}")
        return code
    rows = [_row(one, known, now) for one in backlog.largest] + _others(backlog, known, now)
    if rows:
        table(COLUMNS, rows)
        say()
    say(_sum(backlog, known))
    if known is None:
        complain(f"waymail: {trouble}")
    elif known.refusing:
        say(f"No mail is taken: {clean(known.refusing)}")
    return code


def _row(one: Waiting, known: Live | None, now: float) -> tuple[str, ...]:
    way = known.way(one.domain) if known else ""
    state = known.state(way) if known and way else None
    down_until = state["down_until"] if state and state["state"] == "down" else 0.0  # what is due already waits for that, too
    return (
        one.domain,
        f"{one.queued:,}",
        f"{one.held:,}",
        str(state["active"] + state["waiting"]) if state else "-",
        span_text(now - one.oldest),
        following(one.queued, max(one.next_at, down_until), now),
        way or "-",
        condition(state, now) if state else "-",
        short(one.reply) or "-",
    )


def _others(backlog: Backlog, known: Live | None, now: float) -> list[tuple[str, ...]]:
    """Destinations for which nothing waits in the store, but something is being attempted."""
    if known is None:
        return []
    shown = {known.way(one.domain) for one in backlog.largest}
    busy = [state for key, state in known.states.items() if key not in shown and state["active"] + state["waiting"]]
    return [
        ("-", "0", "0", str(one["active"] + one["waiting"]), "-", "now", str(one["destination"]), condition(one, now), "-")
        for one in sorted(busy, key=lambda one: -one["active"] - one["waiting"])[: len(COLUMNS)]
    ]


def _sum(backlog: Backlog, known: Live | None) -> str:
    trying = known.trying if known else 0
    if not (backlog.domains or trying):
        return "Nothing waits."
    words = [f"{backlog.queued:,} queued", f"{backlog.held:,} held"]
    if known:
        words.append(f"{trying:,} being attempted")
    domains = f"{backlog.domains:,} domain{'' if backlog.domains == 1 else 's'}"
    rest = backlog.domains - len(backlog.largest)
    return f"{', '.join(words)}; {domains}" + (f", {rest:,} of them not shown: see --limit" if rest else "")


def _as_json(backlog: Backlog, known: Live | None) -> Mapping[str, Any]:
    def domain(one: Waiting) -> dict[str, Any]:
        way = known.way(one.domain) if known else ""
        return {
            "domain": one.domain,
            "queued": one.queued,
            "held": one.held,
            "oldest": time_json(one.oldest),
            "next": time_json(one.next_at) if one.queued else None,
            "reply": one.reply,
            "destination": way or None,
        }

    return {
        "queued": backlog.queued,
        "held": backlog.held,
        "domains": [domain(one) for one in backlog.largest],
        "domains_in_all": backlog.domains,
        "server": known is not None,
        "refusing": (known.refusing or None) if known else None,
        "destinations": [timed(one) for one in known.states.values()] if known else [],
    }


def timed(state: Mapping[str, Any]) -> dict[str, Any]:
    """A destination's state with times as programs read them."""
    times = {key: time_json(state[key]) for key in ("down_since", "down_until") if state.get(key)}
    replies = [{"time": time_json(one["at"]), "reply": one["reply"]} for one in state["replies"]]
    return {**state, **times, "replies": replies}
