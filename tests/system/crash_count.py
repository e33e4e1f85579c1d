"""What was promised against what came: each recipient of a message that got a 250 has one outcome, and nothing else came."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.system.crash_mail import Arrival, Sent, opened
from tests.system.crash_town import ALIASES, Town

Key = tuple[str, str]  # a queue id and a recipient
Story = Mapping[str, Any]

_NOTICE = re.compile(rb"^X-Waymail-Queue-ID: (\S+)", re.MULTILINE)
_FAILED = re.compile(rb"^Final-Recipient: rfc822; (\S+)\nAction: failed", re.MULTILINE)
_SINK = re.compile(rb"^X-Rcpt-Args: <([^>]+)>", re.MULTILINE)
_DELIVERED_TO = re.compile(rb"^Delivered-To: (\S+)", re.MULTILINE)
_LOST = re.compile(
    r"^(\S+ +\d+ \S+) \S+ postfix/smtp\[(\d+)\]: (\w+): .* while sending (?:end of data|message body)", re.MULTILINE
)


@dataclass(slots=True)
class Found:
    """What came, wherever it came."""

    arrivals: list[Arrival] = field(default_factory=list)
    notices: int = 0
    failed: Counter[Key] = field(default_factory=Counter)  # whom the notices name


@dataclass(slots=True)
class Count:
    """The result. `wrong` has a line for each thing that must not be."""

    messages: int = 0
    unknown: int = 0  # messages that are there although the 250 was lost
    recipients: int = 0
    delivered: int = 0
    failed: int = 0
    twice: int = 0  # recipients that got more than one copy, and the trace says why
    doubts: int = 0  # recipients of which the trace says that they may have been delivered twice
    wrong: list[str] = field(default_factory=list)


def found(town: Town) -> Found:
    """Look everywhere."""
    result = Found([*town.own.arrivals, *town.down.arrivals])
    for file in town.server.directory.glob("mail/*/*/new/*"):
        content = file.read_bytes()
        if content.startswith(b"Return-Path: <>"):
            result.notices += 1
            about = _NOTICE.search(content)
            for address in _FAILED.findall(content):
                result.failed[about[1].decode() if about else file.name, address.decode()] += 1
        else:
            result.arrivals.append(_arrival("Maildir", _all(_DELIVERED_TO, content)[0], content))
    for content in town.postfix.kept():
        result.arrivals.append(_arrival("Postfix", _all(_DELIVERED_TO, content)[0], content))
    for file in town.kept.glob("*.whole"):
        content = file.read_bytes()
        result.arrivals.append(_arrival("program", _all(_DELIVERED_TO, content)[0], content))
    for content in town.sink.kept():
        arrivals = [_arrival("smtp-sink", address, content) for address in _all(_SINK, content)]
        result.arrivals += [one for one in arrivals if one.whole]  # it keeps the beginning of what was cut off, too
    return result


def _all(pattern: re.Pattern[bytes], content: bytes) -> list[str]:
    return [text.decode() for text in pattern.findall(content)] or ["nobody"]


def _arrival(place: str, recipient: str, content: bytes) -> Arrival:
    mail = opened(content)
    return Arrival(place, recipient, mail.id, mail.marker, mail.whole)


def resent(postfix_log: str) -> Counter[str]:
    """How often Postfix did not learn what became of a message, by its queue id."""
    # It says so once for each recipient, or once in all.
    return Counter(id for _time, _process, id in set(_LOST.findall(postfix_log)))


def count(sent: Sequence[Sent], stories: Sequence[Story], found: Found, resent: Mapping[str, int]) -> Count:
    """Hold them against each other. `stories` are what `waymail trace` tells of all messages."""
    result = Count()
    mail = {story["id"]: story for story in stories if story["sender"]}
    copies = Counter((one.id, one.recipient) for one in found.arrivals)
    by_marker: dict[str, list[Story]] = defaultdict(list)
    for story in mail.values():
        by_marker[story["message_id"].strip("<>")].append(story)
    known = {one.marker for one in sent}
    result.wrong += [f"nobody sent {marker}" for marker in by_marker if marker not in known]
    for one in sent:
        stories_of_it = by_marker.get(one.marker, [])
        result.wrong += _kept(one, stories_of_it, resent)
        result.messages += one.became == "taken"
        result.unknown += one.became != "taken" and bool(stories_of_it)
        for story in stories_of_it:
            _outcomes(result, one, story, copies, found.failed)
    result.wrong += [f"{one} was never accepted" for one in found.arrivals if one.id not in mail]
    result.wrong += [f"{one} is not what was sent" for one in found.arrivals if not one.whole]
    result.wrong += [f"a notice about {key}, which was never accepted" for key in found.failed if key[0] not in mail]
    if found.notices != len(stories) - len(mail):
        result.wrong.append(f"{found.notices} notices came, the queue made {len(stories) - len(mail)}")
    return result


def _kept(sent: Sent, stories: Sequence[Story], resent: Mapping[str, int]) -> Iterator[str]:
    """What is wrong with how often a message was accepted."""
    if sent.became == "refused" and stories:
        yield f"{sent} was refused, and taken"
    if sent.became == "taken" and not stories:
        yield f"{sent} got a 250 and is lost"
    if sent.became == "taken" and sent.way != "postfix" and sent.id not in {story["id"] for story in stories}:
        yield f"{sent} got a 250 for an id that is not there"
    most = 1 + (resent.get(sent.id, 0) if sent.way == "postfix" else 0)
    if len(stories) > most:
        yield f"{sent} is there as {[story['id'] for story in stories]}, which is more than {most}"


def _outcomes(result: Count, sent: Sent, story: Story, copies: Mapping[Key, int], failed: Mapping[Key, int]) -> None:
    """Judge each recipient of an accepted message."""
    addresses = [one["address"] for one in story["recipients"]]
    wanted = [address for one in sent.recipients for address in ALIASES.get(one, (one,))]
    # Postfix sends to some recipients later than to others.
    if set(addresses) != set(wanted) and not (sent.way == "postfix" and set(addresses) <= set(wanted)):
        result.wrong.append(f"{sent} was accepted for {addresses}")
    for one in story["recipients"]:
        address, state = one["address"], one["state"]
        key = story["id"], address
        came, told, doubts = copies.get(key, 0), failed.get(key, 0), doubted(story, address)
        result.recipients += 1
        result.delivered += state == "delivered"
        result.failed += state == "failed"
        result.twice += came > 1
        result.doubts += doubts > 0
        is_right = 1 <= came <= 1 + doubts and not told if state == "delivered" else told == 1 and came <= doubts
        if state not in {"delivered", "failed"} or not is_right:
            result.wrong.append(f"{key} of {sent.marker} is {state}: {came} copies, {told} notices, {doubts} doubts in the trace")
        if (state == "failed") != address.startswith("no") and not address.endswith("@full.example"):
            result.wrong.append(f"{key} is {state}: {one['reply']}")


def doubted(story: Story, address: str) -> int:
    """How often the trace says that an attempt may have been a delivery, although another followed."""
    number = 0
    for event in story["events"]:
        results: Iterable[Mapping[str, Any]] = [event["detail"], *event["detail"].get("results", ())]
        number += sum(1 for one in results if one.get("uncertain") and address in one.get("to", ()))
    return number


def left_over(data: Path) -> list[str]:
    """What an empty queue must not have."""
    return [f"left over: {file}" for file in (data / "queue" / "bodies").iterdir()]
