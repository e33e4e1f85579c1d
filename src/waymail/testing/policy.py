"""Tries a policy, or the rules of [inbound], without a server and without the network.

    async def test_the_bank_is_believed_only_when_it_signs() -> None:
        zone = Zone({"bank.example": {"TXT": ["v=spf1 -all"]}})
        trial = await judge(MESSAGE, sender="x@bank.example", zone=zone, policy=Ours())
        assert trial.folder == "Junk"

What comes back is a `waymail.server.trial.Trial`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from waymail.app.config.load import parse
from waymail.app.wiring_inbound import open_judging
from waymail.net.clock import SystemClock
from waymail.server.directory import Directory, LocalDomain
from waymail.server.hooks import Hooks
from waymail.server.inbound import Inbound, Trust
from waymail.server.policy import Policy
from waymail.server.reception import Client, Networks
from waymail.server.trial import Trial, attempt
from waymail.testing.zone import Zone

NOW = 1_700_000_000.0


async def judge(
    message: bytes,
    *,
    zone: Zone,
    policy: Policy | None = None,
    ip: str = "203.0.113.9",
    helo: str = "client.example",
    sender: str = "x@client.example",
    recipients: Sequence[str] = ("ann@example.org",),
    inbound: str = "",
    folder: Path = Path("/nonexistent"),
    talked_early: bool = False,
    now: float = NOW,
) -> Trial:
    """What becomes of `message` (CRLF line ends), which the client at `ip` sends to recipients at example.org, each of whom
    exists. `zone` is all there is in DNS; `inbound` the text of the configuration's section, without its header; `folder` that of
    the configuration, where relative paths begin. `now` is in seconds since the epoch. Raises ValueError for a
    message whose lines end in LF alone."""
    if b"\n" in message and b"\r\n" not in message:
        raise ValueError("the message has lines that end in LF alone, which a server refuses: replace them by CRLF")
    text = f'hostname = "mail.example.org"\ndata_dir = "{folder}"\n[inbound]\n{inbound}'
    config = parse(text, folder / "waymail.toml")
    judging = open_judging(config, zone, SystemClock())
    if judging is None:
        raise ValueError("judge = false judges nobody")
    await judging.health.look()
    hooks = judging.hooks if policy is None else Hooks(policy, config.inbound.policy_timeout)
    judging = replace(judging, hooks=hooks, settings=replace(judging.settings, trusted=Networks(())))
    directory = Directory("mail.example.org", {"example.org": LocalDomain(None)})
    client = Client(ip, helo, extended=True, talked_early=talked_early)
    return await attempt(judging.judge(Inbound(directory, Trust())), client, sender, recipients, message, now=now)
