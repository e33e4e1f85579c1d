"""`waymail explain`: why was a message taken, marked or refused?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from waymail.app.cli.output import CommandFailed, Exit, clean, complain, say_json, say_styled

if TYPE_CHECKING:
    from waymail.lookups import Answer, Query
    from waymail.store.contract import Event, Story

STYLES = {"accept": "green", "mark": "yellow", "quarantine": "magenta", "defer": "yellow", "reject": "red", "discard": "red"}


async def explain(
    text: str,
    /,
    *,
    limit: int = 20,
    again: Annotated[bool, Parameter(negative="")] = False,
    config: Path | None = None,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> int:
    """Tell why a message was taken, marked or refused: each check, the rule that decided, and what DNS was asked and answered.

    Everything is told as it was when the message came; nothing is asked again. Messages that were refused are found, too. Exits
    with 69 where nothing was found; with --json, with 0 and an empty list.

    Parameters
    ----------
    text
        A queue id, a Message-ID, or the address of a sender or recipient.
    limit
        How many messages at most, newest first.
    again
        Go through SPF once more, term by term as `waymail spf` does, with the answers of DNS that were kept.
    config
        The configuration file of the server.
    as_json
        Print a JSON list of messages, each with all that was judged.
    """
    from waymail.app.cli.stored import reading
    from waymail.app.cli.story import heading, summary_json
    from waymail.store.search import Search, search

    if text.startswith("@") or not text.strip():
        raise CommandFailed(Exit.USAGE, f"{text}: say a queue id, a Message-ID or a whole address")
    if limit < 1:
        raise CommandFailed(Exit.USAGE, f"--limit must be 1 or more, not {limit}")
    async with reading(config) as store:
        stories = await store.run(search, Search(text, limit=limit + 1))
    if as_json:
        say_json([summary_json(one) | {"judged": [_json(event) for event in _judged(one)]} for one in stories[:limit]])
        return Exit.OK
    for number, story in enumerate(stories[:limit]):
        say_styled(("\n" if number else "") + heading(story), "bold")
        for line, style in explained(story, again=again):
            say_styled(clean(f"  {line}").rstrip(), style)
    if len(stories) > limit:
        complain(f"waymail: there are more; these are the newest {limit} (--limit)")
    if not stories:
        complain(f"waymail: no message with this id, Message-ID, sender or recipient: {text}")
    return Exit.OK if stories else Exit.UNAVAILABLE


def explained(story: Story, *, again: bool = False) -> Iterator[tuple[str, str]]:
    """The lines about a message, each with its style."""
    from waymail.app.cli.output import time_text
    from waymail.app.cli.story import accepted_text, began

    envelope = story.envelope
    yield f"{time_text(envelope.accepted_at)}  {began(story)} {accepted_text(envelope, story.size)}", ""
    judged = _judged(story)
    if not judged:
        yield _why_not(story), ""
    for event in judged:
        yield from told(event.detail)
        if again and "spf" in event.detail.get("checks", {}):
            yield "SPF once more, with these answers", "bold"
            yield from ((f"  {line}", "") for line in _spf_again(story, event.detail))


def _judged(story: Story) -> list[Event]:
    return [event for event in story.events if event.kind == "judged"]


def _why_not(story: Story) -> str:
    origin = story.envelope.origin
    if origin.user:
        return f"not judged: {origin.user} authenticated"
    if not origin.address:
        return "not judged: it was made on this machine"
    return "not judged: its client is trusted, or this server checked nothing when it came"


def told(detail: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What was judged, as lines with their styles. `detail` is that of the event."""
    action = str(detail.get("action", ""))
    yield ": ".join(one for one in (action, _text(detail, "rule"), _text(detail, "reason")) if one), STYLES.get(action, "")
    if reply := _text(detail, "reply"):
        yield f"  the client was told: {reply}", ""
    if override := _text(detail, "override"):
        yield f"  not as the sender's domain asks: {override}", ""
    if withheld := detail.get("withheld"):
        yield f"  not forwarded to {', '.join(withheld)}: it would have gone on in this server's name", ""
    if forged := detail.get("forged"):
        yield f"  taken out: {forged} header field{'' if forged == 1 else 's'} that claimed to be this server's", ""
    if matches := detail.get("matches"):
        yield "rules that applied", "bold"
        rows = [(_text(one, "rule"), _text(one, "action"), _text(one, "reason")) for one in matches]
        yield from _aligned(rows)
    if checks := detail.get("checks"):
        yield "checks", "bold"
        yield from _aligned([row for name, found in checks.items() for row in _checked(name, found)])
    if asked := detail.get("dns"):
        yield "asked of DNS", "bold"
        yield from _aligned([row for one in asked for row in _answered(*one)])


def _checked(name: str, found: Any) -> Iterator[tuple[str, ...]]:
    """A check, or each of several of its kind: the result and the reason, and below it what else is known."""
    for one in found if isinstance(found, list) else [found]:
        yield name, _text(one, "result"), _text(one, "reason")
        for key, value in one.items():
            if key not in ("result", "reason"):
                for item in value if isinstance(value, list) else [value]:
                    yield "", "", f"{key}: {_plain(item)}"


def _answered(name: str, type: str, status: str, records: Sequence[object], is_authentic: bool) -> Iterator[tuple[str, ...]]:
    """A question and its answer, one record a line."""
    vouched = "  (DNSSEC)" if is_authentic else ""
    said = [_plain(record) for record in records] or [status]
    yield f"{name} {type}", said[0] + vouched
    for record in said[1:]:
        yield "", record


def _spf_again(story: Story, detail: Mapping[str, Any]) -> Iterator[str]:
    """The evaluation of SPF as it went then. Where the history has not all of a long answer, it may come to something else."""
    from waymail.app.cli.spf import told
    from waymail.lookups import Replay, run
    from waymail.senderauth import spf

    envelope, origin = story.envelope, story.envelope.origin
    record = [_answer(*one) for one in detail.get("dns", ())]
    found = run(spf.check(origin.address, envelope.sender, origin.helo, now=envelope.accepted_at), Replay(record))
    yield from told(found)
    if found.result != (then := detail["checks"]["spf"].get("result")):
        yield f"this is {found.result}, and then it was {then}: the history does not have all that DNS said"


def _answer(name: str, type: str, status: str, records: Sequence[str], is_authentic: bool) -> tuple[Query, Answer]:
    """A question and its answer as they were, of what the history has."""
    from waymail.lookups import Answer, Mx, Query, Status

    kind, _, reason = status.partition(": ")
    said = [Mx(int(one.partition(" ")[0]), one.partition(" ")[2]) for one in records] if type == "MX" else records
    return Query(name, type), Answer(Status(kind), tuple(said), is_authentic, reason=reason)


def _aligned(rows: Sequence[Sequence[str]]) -> Iterator[tuple[str, str]]:
    """Rows as columns, the last one as long as it is."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    for row in rows:
        cells = [f"{cell:<{width}}" for cell, width in zip(row, widths, strict=False)]
        yield "  " + "  ".join([*cells, row[-1]]), ""


def _text(said: Mapping[str, Any], name: str) -> str:
    return str(said.get(name, ""))


def _plain(value: object) -> str:
    """A value of an event as a person reads it."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {one}" for key, one in value.items() if one != "")
    if isinstance(value, bool):
        return "yes" if value else "no"
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _json(event: Event) -> dict[str, Any]:
    from waymail.app.cli.output import time_json

    names = ("name", "type", "status", "records", "authentic")
    asked = [dict(zip(names, one, strict=False)) for one in event.detail.get("dns", ())]
    return {"time": time_json(event.at), **event.detail, "dns": asked}
