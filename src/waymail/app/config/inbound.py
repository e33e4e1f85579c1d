"""[inbound] and its tables: what is done about mail whose sender is not who he says, or is known for no good."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import PlainSerializer, PlainValidator

from waymail.app.config.listening import CountOrOff
from waymail.app.config.positions import KeyPath
from waymail.app.config.section import Section, default, optional
from waymail.app.config.users import PythonClass, Text
from waymail.app.config.values import AbsolutePath, DomainName, Flag, RelayNetwork, Seconds, SecondsOrOff
from waymail.app.units import duration_text, shown
from waymail.senderauth import dnsbl

if TYPE_CHECKING:
    from waymail.app.config.schema import Config

Action = Literal["accept", "mark", "quarantine", "defer", "reject"]

LONGEST = 30.0  # seconds that DNS may take, and a hook: both together less than `Limits.decision_time`
_PLACEHOLDERS = frozenset({"code", "rule", "ip"})


def score(value: object) -> float:
    """How much a listing counts."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not -1000 <= value <= 1000:
        raise ValueError(f"must be a number, like 1 or 0.5, not {shown(value)}")
    return float(value)


def help_url(value: object) -> str:
    """Where a sender who was refused finds help."""
    wanted = 'must be a URL, like "https://example.org/mail-help?{code}"'
    if not isinstance(value, str) or not re.fullmatch(r"https?://[!-~]{1,300}", value):
        raise ValueError(f"{wanted}, not {shown(value)}")
    if unknown := set(re.findall(r"\{(.*?)\}", value)) - _PLACEHOLDERS:
        raise ValueError(f"{{{min(unknown)}}} means nothing here: there are {{code}}, {{rule}} and {{ip}}")
    return value


def quarantine(value: object) -> str:
    """The folder that quarantined mail goes to; "" where a header field is all."""
    if value == "header":
        return ""
    name = value.removeprefix("folder:") if isinstance(value, str) and value.startswith("folder:") else ""
    # A name of Maildir++: no dots (they separate levels), no slashes.
    if not re.fullmatch(r"[\w][\w +-]{0,62}", name):
        raise ValueError(f'must be "folder:Junk", with the name of a folder, or "header", not {shown(value)}')
    return name


def codes(value: object) -> dict[str, float]:
    """What each answer of a list counts."""
    if not isinstance(value, dict):
        raise ValueError(f'must be a table, like {{ "127.0.0.2-4" = 1, "127.0.0.10" = 0.5 }}, not {shown(value)}')
    for answer in value:
        try:
            dnsbl.code(answer)
        except ValueError as error:
            raise ValueError(f"{shown(answer)} {error}") from None
    return {answer: score(points) for answer, points in value.items()}


Score = Annotated[float, PlainValidator(score)]
Codes = Annotated[Mapping[str, float], PlainValidator(codes)]
HelpUrl = Annotated[str, PlainValidator(help_url)]
Quarantine = Annotated[str, PlainValidator(quarantine), PlainSerializer(lambda name: f"folder:{name}" if name else "header")]


class Dnsbl(Section):
    """[[inbound.dnsbl]]: one list in DNS. `codes` leads from an answer ("127.0.0.4") to what that one counts."""

    zone: DomainName
    kind: Literal["ip", "domain"] = default("ip")
    allow: Flag = default(False)
    score: Score = default(1)
    codes: Codes = default({})
    title: Text | None = optional()


class Lists(Section):
    """[inbound.lists]: files of addresses, networks, domains and senders."""

    block: tuple[AbsolutePath, ...] = default([])
    allow: tuple[AbsolutePath, ...] = default([])


class Greylist(Section):
    """[inbound.greylist]: times in seconds; `delay` None is no greylisting."""

    delay: SecondsOrOff = default("off")
    window: Seconds = default("1d")
    keep: Seconds = default("36d")
    known_after: CountOrOff = default(5)


class Rates(Section):
    """[inbound.rates]: in an hour; None is without bound."""

    messages_per_network: CountOrOff = default("off")
    recipients_per_network: CountOrOff = default("off")
    messages_per_sender: CountOrOff = default("off")
    recipients_per_sender: CountOrOff = default("off")
    messages_per_domain: CountOrOff = default("off")
    recipients_per_domain: CountOrOff = default("off")


class Inbound(Section):
    """[inbound]: times in seconds. Each `on_...` is a rule of `waymail.senderauth.verdict`."""

    judge: Flag = default(True)
    trusted: tuple[RelayNetwork, ...] = default(["127.0.0.0/8", "::1/128"])
    authserv_id: DomainName | None = optional()
    on_block_list: Action = default("reject")
    on_dnsbl: Action = default("reject")
    on_early_talker: Action = default("reject")
    on_iprev_fail: Action = default("accept")
    on_helo_fail: Action = default("mark")
    on_spf_fail: Action = default("mark")
    on_spf_softfail: Action = default("accept")
    on_spf_permerror: Action = default("accept")
    on_dkim_fail: Action = default("accept")
    on_no_author: Action = default("mark")
    on_dmarc_reject: Action = default("reject")
    on_dmarc_reject_forwarded: Action = default("quarantine")
    on_dmarc_quarantine: Action = default("quarantine")
    on_dmarc_none: Action = default("accept")
    on_temperror: Action = default("defer")
    quarantine: Quarantine = default("folder:Junk")
    help_url: HelpUrl | None = optional()
    arc_trusted: tuple[DomainName, ...] = default([])
    greeting_delay: SecondsOrOff = default("off")
    dns_timeout: Seconds = default("20s")
    policy: PythonClass | None = optional()
    policy_timeout: Seconds = default("30s")
    dnsbl_score: Score = default(1)
    dnsbl: tuple[Dnsbl, ...] = default([])
    lists: Lists = default({})
    greylist: Greylist = default({})
    rates: Rates = default({})


def problems(config: Config) -> Iterator[tuple[KeyPath, str]]:
    """What cannot be meant."""
    inbound = config.inbound
    for name in ("dns_timeout", "policy_timeout", "greeting_delay"):
        seconds = getattr(inbound, name)
        if seconds is not None and seconds > LONGEST:
            yield ("inbound", name), f"must be {duration_text(LONGEST)} or less: the client waits all that time"
    if inbound.dnsbl_score <= 0:
        yield ("inbound", "dnsbl_score"), "must be more than 0: nobody would be below it"
    seen: set[tuple[str, str]] = set()
    for index, one in enumerate(inbound.dnsbl):
        if (one.zone, one.kind) in seen:
            yield ("inbound", "dnsbl", index, "zone"), f"{one.zone} is asked already"
        seen.add((one.zone, one.kind))


def oddities(config: Config) -> Iterator[tuple[KeyPath, str]]:
    """What is allowed, and perhaps not meant."""
    inbound = config.inbound
    if inbound.on_temperror == "reject":
        yield ("inbound", "on_temperror"), "refuses mail for good because of trouble that may be over in a minute"
    for index, network in enumerate(inbound.trusted):
        if network.prefixlen == 0:
            yield ("inbound", "trusted", index), f"{network} is everybody: nothing is judged"
    if inbound.on_early_talker != "reject" and inbound.on_early_talker != "accept" and inbound.greeting_delay is None:
        yield ("inbound", "on_early_talker"), "has no effect without greeting_delay"
