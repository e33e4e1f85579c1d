"""Asks DNS and the lists about a message and its sender, and gathers what they say as `Evidence`.

Promises: all that can be asked at once is; what the resolver remembers costs no task; nothing takes longer than the seconds that
the message has for DNS; each question and its answer is kept for `waymail explain`. Trouble with DNS is a result, no exception.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from waymail.lookups import Answer, Lookups, Query, recorded
from waymail.mail import headers
from waymail.net.drive import Asks, drive
from waymail.senderauth import arc, dkim, dmarc, dnsbl, iprev, spf
from waymail.senderauth.verdict import Evidence
from waymail.server.sender_lists import SenderLists
from waymail.values import value

RCPT_SHARE = 0.5  # of the seconds for DNS: a list that does not answer must not take the time that DKIM and DMARC need
KEPT = 60.0  # seconds for which what was found out about an envelope is kept, at most: DNS may say less
RECENT = 1_000  # envelopes of which it is kept
_LIST_FIELDS = ("List-Id", "List-Post")  # RFC 2919, RFC 2369: what only lists write


class Asking:
    """The questions of one message. `seconds` is what is left for them."""

    def __init__(self, resolver: Asks, seconds: float) -> None:
        self.record: list[tuple[Query, Answer]] = []
        self.seconds = seconds
        self._resolver = resolver

    async def all(self, *lookups: Lookups[Any], share: float = 1.0) -> list[Any]:
        """The results of all, which are driven side by side, within a share of the seconds that are left."""
        results: list[Any] = [None] * len(lookups)
        waiting: list[tuple[int, Lookups[Any]]] = []
        for at, one in enumerate(lookups):
            rest = self._as_far_as_known(recorded(one, self.record), results, at)
            if rest is not None:
                waiting.append((at, rest))
        if not waiting:
            return results
        await asyncio.sleep(0)  # what comes needs a task: see `soon.at_once`
        loop = asyncio.get_running_loop()
        started = loop.time()
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(drive(rest, self._resolver, deadline=self.seconds * share)) for _, rest in waiting]
        self.seconds = max(self.seconds - (loop.time() - started), 0.0)
        for (at, _), task in zip(waiting, tasks, strict=True):
            results[at] = task.result()
        return results

    def _as_far_as_known(self, lookups: Lookups[Any], results: list[Any], at: int) -> Lookups[Any] | None:
        """Run it while the answers are known: the result goes into `results`. What is left, where one is not."""
        try:
            asked = next(lookups)
            while (answer := self._known(asked)) is not None:
                asked = lookups.send(answer)
        except StopIteration as stop:
            results[at] = stop.value
            return None
        return _resumed(lookups, asked)

    def _known(self, asked: Query | tuple[Query, ...]) -> Answer | tuple[Answer, ...] | None:
        if isinstance(asked, Query):
            return self._resolver.cached(asked)
        answers = [self._resolver.cached(query) for query in asked]
        known = tuple(answer for answer in answers if answer is not None)
        return known if len(known) == len(answers) else None


def _resumed(lookups: Lookups[Any], asked: Query | tuple[Query, ...]) -> Generator[Query | tuple[Query, ...], Any, Any]:
    try:
        while True:
            asked = lookups.send((yield asked))
    except StopIteration as stop:
        return stop.value


class Signatures:
    """Sees the body of one message as it comes, for DKIM and ARC."""

    def __init__(self, section: bytes, now: float) -> None:
        self.section = section
        self.size = len(section) + len(b"\r\n")  # of the message, in octets
        self._bodies = dkim.Bodies()  # one pass for both
        self.dkim = dkim.Verifier(section, now=now, bodies=self._bodies)
        self.arc = arc.Verifier(section, now=now, bodies=self._bodies)

    def update(self, chunk: bytes) -> None:
        self.size += len(chunk)
        self._bodies.update(chunk)


@value
class _Found:
    """What was found out about an envelope, and from when until when that holds, in seconds since the epoch."""

    evidence: Evidence
    zones: Sequence[dnsbl.Zone]
    record: tuple[tuple[Query, Answer], ...]
    since: float
    until: float


@dataclass(frozen=True, slots=True)
class Checks:
    """What is checked of every message. `hostname` is this server's, for SPF's explanations; `seconds` is for DNS.

    `lists` are the operator's own.
    """

    resolver: Asks
    hostname: str
    zones: Callable[[], Sequence[dnsbl.Zone]] = field(default=tuple)
    lists: SenderLists | None = None
    seconds: float = 20.0
    _recent: dict[tuple[object, ...], _Found] = field(default_factory=dict, init=False, repr=False, compare=False)

    def asking(self) -> Asking:
        """For one message."""
        return Asking(self.resolver, self.seconds)

    async def of_envelope(self, asking: Asking, ip: str, helo: str, sender: str, *, talked_early: bool, now: float) -> Evidence:
        """What can be said before the message has come. Whoever sends many messages is looked at once, as long as DNS lets its
        answers be kept."""
        key = (ip, helo, sender, talked_early)
        known = self._recent.get(key)
        if known is None or known.zones != self.zones() or not known.since <= now < known.until:
            known = self._recent[key] = await self._of_envelope(asking, ip, helo, sender, talked_early=talked_early, now=now)
            if len(self._recent) > RECENT:
                del self._recent[next(iter(self._recent))]
        else:
            asking.record += known.record
        return self._looked_up(known.evidence)

    async def _of_envelope(self, asking: Asking, ip: str, helo: str, sender: str, *, talked_early: bool, now: float) -> _Found:
        named = "." in helo and not helo.startswith("[")
        helo_domain = helo if named else ""
        zones = self.zones()
        lookups: list[Lookups[Any]] = [
            spf.check(ip, sender, helo_domain, receiver=self.hostname, now=now),
            iprev.check(ip),
        ]
        # Of the null path HELO is checked in its place (RFC 7208 §2.4).
        if helo_domain and sender:
            lookups.append(spf.check_helo(ip, helo_domain, receiver=self.hostname, now=now))
        if zones:
            domains = [name for name in (sender.rpartition("@")[2], helo_domain) if name]
            lookups.append(dnsbl.check(ip, domains, zones))
        found = await asking.all(*lookups, share=RCPT_SHARE)
        of_helo, listed = found[2] if helo_domain and sender else None, found[-1] if zones else None
        evidence = Evidence(ip, helo, sender, talked_early, spf=found[0], iprev=found[1], spf_helo=of_helo, dnsbl=listed)
        keep = min((answer.ttl for _, answer in asking.record), default=0)
        return _Found(evidence, zones, tuple(asking.record), now, now + min(keep, KEPT))

    def _looked_up(self, evidence: Evidence) -> Evidence:
        """With what the operator's lists say. Who is let in by a name that anybody can give has to be who he says."""
        listed = self.lists.find(evidence.ip, evidence.helo, evidence.sender) if self.lists is not None else None
        if listed is None:
            return evidence
        place = f"{listed.entry} in {listed.file}, line {listed.line}"
        if listed.list == "block":
            return replace(evidence, blocked=place)
        vouches = {"sender": evidence.spf, "helo": evidence.spf_helo}.get(listed.kind)
        is_proved = listed.kind == "address" or (vouches is not None and vouches.result == "pass")
        return replace(evidence, allowed=place) if is_proved else evidence

    async def of_message(self, asking: Asking, evidence: Evidence, signatures: Signatures) -> Evidence:
        """What the whole message adds to that."""
        section = signatures.section
        author = dmarc.author_domain(section)
        signed, chain = await asking.all(signatures.dkim.finish(), signatures.arc.finish())
        found = await asking.all(dmarc.evaluate_author(author, spf=evidence.spf, dkim=signed))
        list_field = next((name for name in _LIST_FIELDS if headers.has(section, name.lower().encode())), "")
        return evidence.with_message(author, tuple(signed), found[0], chain, list_field)
