"""The part of `app.wiring` about those who send to this server: every constructor call between [inbound] and the judge."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from waymail.app.config.inbound import Inbound as Section
from waymail.app.config.problems import ConfigError, Problem
from waymail.app.config.schema import Config
from waymail.net.clock import SystemClock
from waymail.net.drive import Asks
from waymail.senderauth.dnsbl import Zone
from waymail.senderauth.verdict import Action, Rules
from waymail.server.checks import Checks
from waymail.server.dnsbl_health import DnsblHealth
from waymail.server.early_talker import EarlyTalkers
from waymail.server.greylist import Greylist, GreylistTimes
from waymail.server.hooks import Hooks, PolicyUnusable, load
from waymail.server.inbound import Inbound
from waymail.server.judge import Judge, Memory, Settings
from waymail.server.policy import Policy
from waymail.server.reception import Networks
from waymail.server.sender_lists import LOOK, ListUnusable, SenderLists
from waymail.server.sender_rates import RateLimits, SenderRates


@dataclass(frozen=True, slots=True)
class Judging:
    """What the judge of all "mx" listeners goes by, and what has to be looked after while it does."""

    checks: Checks
    hooks: Hooks
    settings: Settings
    memory: Memory
    health: DnsblHealth
    zones: tuple[Zone, ...]
    clock: SystemClock

    def judge(self, inbound: Inbound) -> Judge:
        return Judge(inbound, self.checks, self.hooks, self.settings, self.memory, now=self.clock.now)

    async def watch(self) -> None:
        """Test the lists in DNS, read files that have changed, write what is remembered; never returns."""
        async with asyncio.TaskGroup() as group:
            if self.zones:
                group.create_task(self.health.run())
            while True:
                if self.checks.lists or self.memory.rates or self.memory.greylist:
                    await asyncio.to_thread(self._look)
                await asyncio.sleep(LOOK)

    def save(self, *, stopping: bool = False) -> None:
        """Write what is remembered. Blocks."""
        for one in (self.memory.rates, self.memory.greylist):
            if one is not None:
                one.save(self.clock.now(), stopping=stopping)

    def _look(self) -> None:
        if self.checks.lists is not None:
            self.checks.lists.look()
        self.save()


def open_judging(
    config: Config, resolver: Asks, clock: SystemClock, before: Judging | None = None, policy: Policy | None = None
) -> Judging | None:
    """None where nobody is judged. What `before` has learnt is known on; a `policy` is asked instead of the one that is named.
    Raises ConfigError where a file or the policy cannot be used."""
    section = config.inbound
    if not section.judge:
        return None
    key = "lists"
    try:
        lists = SenderLists(
            block=section.lists.block, allow=section.lists.allow, before=before.checks.lists if before is not None else None
        )
        key = "policy"
        policy = policy or (load(section.policy) if section.policy else None)
    except (ListUnusable, PolicyUnusable) as error:
        path = ("inbound", key)
        file = config.source.file or config.data_dir
        raise ConfigError([Problem(file, config.source.lines.get(path, 0), f"inbound.{key}", str(error))]) from None
    trusted = Networks([*section.trusted, *config.relay.allow])
    zones = tuple(Zone(one.zone, one.kind, one.codes, one.score, one.allow, one.title or "") for one in section.dnsbl)
    is_same = before is not None and before.zones == zones and before.checks.resolver is resolver
    health = before.health if before is not None and is_same else DnsblHealth(zones, resolver, clock=clock)
    checks = Checks(resolver, config.hostname, lambda: health.usable, lists or None, section.dns_timeout)
    settings = Settings(section.authserv_id or config.hostname, rules(section), trusted, section.quarantine)
    memory = open_memory(config, before.memory if before is not None else Memory())
    return Judging(checks, Hooks(policy, section.policy_timeout), settings, memory, health, zones, clock)


def rules(section: Section) -> Rules:
    """What is done about each finding: the keys on_... have the names of the rules."""
    actions: dict[str, Action] = {key.removeprefix("on_"): value for key, value in section if key.startswith("on_")}
    return Rules(actions, section.dnsbl_score, frozenset(section.arc_trusted), section.help_url or "")


def open_memory(config: Config, before: Memory) -> Memory:
    """What is remembered of those who sent before."""
    section, folder = config.inbound, config.data_dir
    early = EarlyTalkers(section.greeting_delay) if section.greeting_delay else None
    limits = RateLimits(**{name: value or 0 for name, value in section.rates})
    rates = SenderRates(limits, folder / "rates.json", before=before.rates) if limits != RateLimits() else None
    grey = section.greylist
    times = GreylistTimes(grey.delay or 0.0, grey.window, grey.keep, grey.known_after or 0)
    greylist = Greylist(folder / "greylist.json", times, before=before.greylist) if grey.delay else None
    if early is not None and before.early_talkers is not None:
        early.go_on_from(before.early_talkers)
    return Memory(early, rates, greylist)
