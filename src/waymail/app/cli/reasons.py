"""What is known of the mail for one domain: from the configuration, the store and the running server; and in words."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

from waymail.app.cli.live import Live, live, short
from waymail.app.cli.locate import existing
from waymail.app.cli.output import CommandFailed, span_text, time_text
from waymail.app.cli.stored import reading
from waymail.app.cli.story import people, sender
from waymail.app.config import Config
from waymail.app.wiring_schedules import schedules
from waymail.delivery.routes import ByMx, Routes
from waymail.mail.envelope import Recipient
from waymail.net.clock import SystemClock
from waymail.queue.retry import Schedules, ends_at
from waymail.store.contract import Selection, State, Story, Waiting
from waymail.store.read import SqliteReader
from waymail.wire.replies import Reply

BY_MX = "the hosts that DNS names (MX)"


@dataclass(frozen=True, slots=True)
class Reasons:
    """All that is known. `live` is None where no server runs, or where one did not answer, as `trouble` says. `replies` are
    (time, reply), newest first; `given_up` when the oldest message is, 0.0 for never."""

    domain: str
    now: float
    route: str
    live: Live | None
    waiting: Waiting | None
    stories: Sequence[Story]
    replies: Sequence[tuple[float, str]]
    given_up: float
    trouble: str = ""

    @property
    def key(self) -> str:
        """The destination."""
        if self.live is not None and self.live.way(self.domain):
            return self.live.way(self.domain)
        return "" if self.route == BY_MX else self.route

    @property
    def hosts(self) -> Sequence[str]:
        """Its hosts, where the server knows them."""
        return self.live.ways[self.domain]["hosts"] if self.live is not None and self.domain in self.live.ways else ()

    @property
    def state(self) -> Mapping[str, Any] | None:
        """How the destination is; None where nobody can know."""
        return self.live.state(self.key) if self.live is not None and self.key else None

    def way_text(self) -> str:
        """Where it goes."""
        if self.route != BY_MX:
            return f"{self.route}, as the configuration says"
        if self.hosts:
            return f"{', '.join(self.hosts)}: {BY_MX}"
        if self.live is None:
            return f"{BY_MX}; which those are, a running server would say"
        return f"{BY_MX}, and at this moment there are none: {self.live.ways.get(self.domain, {}).get('why', '')}"

    def condition_text(self) -> str:
        """How the destination is."""
        state = self.state
        if state is None:
            return f"unknown: {self.trouble or 'no server runs'}" if self.live is None else "unknown: no way there"
        busy = [
            f"{state[key]:,} {word}" for key, word in (("active", "being attempted"), ("waiting", "about to be")) if state[key]
        ]
        busy_text = f"; {', '.join(busy)}" if busy else ""
        if state["state"] == "up":
            return f"up{busy_text}" if busy or self.waiting or state["replies"] else "nothing bad is known of it"
        if state["state"] == "slow":
            return f"slow: its last attempt took long{busy_text}"
        since = f"since {time_text(state['down_since'])} (for {span_text(self.now - state['down_since'])})"
        return f"down {since}, {state['failures']} failure{'' if state['failures'] == 1 else 's'} in a row{busy_text}"

    def replies_text(self) -> list[str]:
        """What was said last."""
        if self.replies:
            return [_said_text(reply, [at for at, _ in said]) for reply, said in groupby(self.replies, key=itemgetter(1))]
        return [f"{self.waiting.reply}"] if self.waiting and self.waiting.reply else ["nothing"]

    def waiting_text(self) -> list[str]:
        """Who waits."""
        if self.waiting is None:
            return ["nobody"]
        held = f", {self.waiting.held:,} of them held" if self.waiting.held else ""
        number = self.waiting.queued + self.waiting.held
        head = (
            f"{number:,} recipient{'' if number == 1 else 's'}{held}, the oldest for {span_text(self.now - self.waiting.oldest)}"
        )
        lines = [f"  {self._line(story)}" for story in self.stories]
        return [head, *lines]

    def _line(self, story: Story) -> str:
        there = [one for one in story.recipients if one.state.is_live and Recipient(one.address).domain == self.domain]
        age = span_text(self.now - story.envelope.accepted_at)
        reply = next((short(one.reply) for one in there if one.reply), "not attempted yet")
        is_held = any(one.state is State.HELD for one in there)
        to = people([one.address for one in there])
        return f"{story.envelope.id}  {age}  {sender(story.envelope)} to {to}: {'held; ' if is_held else ''}{reply}"

    def next_text(self) -> list[str]:
        """What will happen."""
        if self.waiting is None:
            return ["nothing: nobody waits"]
        lines = []
        state = self.state
        if self.live is None:
            lines.append("unknown: only the server knows" if self.trouble else "nothing before the server is started")
        elif state is not None and state["state"] == "down":
            at = state["down_until"]
            lines.append(
                f"one message probes it at {time_text(at)} (in {span_text(at - self.now)}); the others follow when it is up"
            )
        elif state is not None and state["state"] == "probing":
            lines.append("one message probes it now; the others follow when it is up")
        elif self.waiting.queued and self.waiting.next_at > self.now:
            at = self.waiting.next_at
            lines.append(f"the next attempt is at {time_text(at)} (in {span_text(at - self.now)})")
        elif self.waiting.queued:
            lines.append("attempts are due now")
        if self.waiting.held:
            lines.append(f"{self.waiting.held:,} held: they wait until they are released")
        if self.given_up:
            left = self.given_up - self.now
            when = f"at {time_text(self.given_up)} (in {span_text(left)})" if left > 0 else "at its next attempt"
            lines.append(f"the oldest message is given up {when}, and its sender told")
        return lines

    @property
    def _is_under_way(self) -> bool:
        """Whether what is queued goes as fast as the destination lets it: then a flush changes nothing."""
        state, waiting = self.state, self.waiting
        is_limited = state is not None and state["state"] in ("slow", "probing")
        return is_limited and waiting is not None and waiting.next_at <= self.now

    def advice(self) -> list[str]:
        """What a person can do about it."""
        if self.waiting is None:
            return [f"waymail trace ADDRESS@{self.domain}: what became of a message that is done"]
        option = f"--destination {self.domain}"
        at_once = "try it now" if self.live is not None or self.trouble else "try it as soon as the server is started"
        lines = [f"waymail queue flush {option}: {at_once}"] if self.waiting.queued and not self._is_under_way else []
        if self._is_under_way and self.state is not None and self.state["state"] == "slow":
            lines.append("delivery.per_destination and delivery.total in the configuration: let more attempts go side by side")
        lines += [f"waymail queue release {option}: let go what is held"] if self.waiting.held else []
        if self.stories:
            lines.append(f"waymail trace {self.stories[0].envelope.id}: all that was said to one of them")
        return [*lines, f"waymail queue bounce {option}: give up, and tell the senders"]


def _said_text(reply: str, times: Sequence[float]) -> str:
    """A reply, and when it was given: newest first, several times in a row."""
    more = f" ({len(times)} times since {time_text(times[-1])})" if len(times) > 1 else ""
    return f"{time_text(times[0])}  {reply}{more}"


async def find(domain: str, config_file: Path | None, limit: int) -> Reasons:
    """Gather it. Raises CommandFailed, ConfigError, StoreError."""
    config = existing(config_file)
    async with reading(config_file) as store:
        backlog = await store.waiting(1, domain)
        stories = [await store.get(one.envelope.id) or one for one in await store.list(limit, Selection(domain=domain))]
        newest = await _newest(store, domain, stories)
    known, trouble = None, ""
    try:
        known = await live(config.data_dir, [domain])
    except CommandFailed as failure:  # what the store knows is told all the same
        trouble = str(failure)
    replies = _from_live(known, domain) or newest
    waiting = backlog.largest[0] if backlog.largest else None
    now, route = SystemClock().now(), _route(config, domain)
    found = Reasons(domain, now, route, known, waiting, stories, replies[:limit], 0.0, trouble)
    ends = (end for story in stories for end in _ends(story, domain, found.key, schedules(config.queue)))
    return replace(found, given_up=min(ends, default=0.0))


def _route(config: Config, domain: str) -> str:
    routes = Routes({name: one.deliver for name, one in config.domains.items()}, config.routes)
    target = routes.match(domain)
    return BY_MX if isinstance(target, ByMx) else target.key


def _from_live(known: Live | None, domain: str) -> list[tuple[float, str]]:
    state = known.state(known.way(domain)) if known is not None else {"replies": []}
    return [(one["at"], one["reply"]) for one in reversed(state["replies"])]


async def _newest(store: SqliteReader, domain: str, stories: Sequence[Story]) -> list[tuple[float, str]]:
    """What was said of the oldest messages that wait, newest first."""
    said = {one for story in stories for one in _said(story, domain)}
    return sorted(said, reverse=True)


def _said(story: Story, domain: str) -> Iterator[tuple[float, str]]:
    for event in story.events:
        for result in event.detail.get("results", ()) if event.kind == "attempt" else ():
            if any(Recipient(address).domain == domain for address in result.get("to", ())):
                yield event.at, str(result.get("reply", ""))


def _ends(story: Story, domain: str, destination: str, by: Schedules) -> Iterator[float]:
    """When the recipients that wait are given up."""
    for one in story.recipients:
        if one.state is State.QUEUED and Recipient(one.address).domain == domain:
            yield ends_at(story.envelope, by.of(domain, destination, _reply(one.reply)))


def _reply(text: str) -> Reply:
    """A reply from its text; of nothing, one that says nothing."""
    found = re.match(r"(\d{3}) (?:(\d\.\d{1,3}\.\d{1,3}) )?(.*)", text, re.DOTALL)
    return Reply(int(found[1]), found[3], found[2]) if found else Reply(400, text)
