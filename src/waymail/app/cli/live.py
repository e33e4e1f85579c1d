"""What a running server knows and the store does not: where mail goes, and how it goes there at this moment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from waymail.app.cli.output import CommandFailed, Exit, span_text

SHORT = 100  # characters of a reply in a table


@dataclass(frozen=True, slots=True)
class Live:
    """The server's answer: `ways` by domain; `states` by the key of the destination, of those that the ways lead to and of the
    busiest others; and how many recipients are `trying`: being attempted, or about to be. `refusing` is why no mail
    is taken, "" where it is."""

    ways: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    states: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    trying: int = 0
    refusing: str = ""

    def way(self, domain: str) -> str:
        """The destination of a domain; "" where it has none, or none could be found so soon."""
        return str(self.ways.get(domain, {}).get("to") or "")

    def state(self, destination: str) -> Mapping[str, Any]:
        """What is known of a destination; "up" where nothing else is."""
        return self.states.get(destination, UP)


UP = {"state": "up", "waiting": 0, "active": 0, "failures": 0, "last_reply": "", "replies": []}


async def live(directory: Path, domains: Sequence[str]) -> Live | None:
    """Ask the server of the data directory; None where none runs. Raises CommandFailed."""
    from waymail.app.asking import NobodyThere, Refused, ask

    ways, states, done = {}, {}, dict[str, Any]()
    try:
        async for answer in ask(directory, "destinations", domains=list(domains)):
            item = answer.get("item", {})
            if "way" in item:
                ways[item["way"]] = item
            elif "destination" in item:
                states[item["destination"]] = item
            done = answer.get("done", {})
    except NobodyThere:
        return None
    except Refused as refusal:
        raise CommandFailed(Exit(refusal.code), str(refusal)) from None
    return Live(ways, states, done.get("trying", 0), done.get("refusing", ""))


def condition(state: Mapping[str, Any], now: float) -> str:
    """How a destination is, in a few words."""
    if state["state"] == "down":
        since, until = now - state["down_since"], state["down_until"] - now
        return f"down for {span_text(since)}, probed in {span_text(until)}"
    return {"probing": "down, being probed"}.get(state["state"], str(state["state"]))


def following(queued: int, next_at: float, now: float) -> str:
    """When something is tried next."""
    if not queued:
        return "held"
    return f"in {span_text(next_at - now)}" if next_at > now else "now"


def short(reply: str) -> str:
    """The beginning of a reply."""
    return reply if len(reply) <= SHORT else reply[: SHORT - 1] + "…"
