"""Every key of the configuration file, with its type and its default; the one place that names them.

A default stands here as the file would spell it ("5d"), and goes through the same reading as what the file says. All objects
are frozen. docs/configuration.md is held against these classes by a test.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pydantic import Field, PrivateAttr

from waymail.app.config.inbound import Inbound
from waymail.app.config.listening import CertificateName, CountOrOff, FileMode, ListenAddress
from waymail.app.config.notices import DoubleBounce, NoticeLanguage
from waymail.app.config.positions import KeyPath
from waymail.app.config.problems import Problem
from waymail.app.config.section import Section as Section
from waymail.app.config.section import default, optional
from waymail.app.config.transports import Pipes, Webhooks
from waymail.app.config.users import AuthLimits, Submission, Users
from waymail.app.config.values import (
    AbsolutePath,
    AliasTargets,
    Count,
    Destination,
    DetailSeparator,
    DomainName,
    Flag,
    LocalPart,
    LocalParts,
    Octets,
    OctetsOrOff,
    RelayNetwork,
    ReplyText,
    ResolverAddress,
    RoutePattern,
    Seconds,
    SecondsOrNever,
    SecondsOrOff,
)


class RetryRule(Section):
    """[[queue.rule]]: another schedule for some of what is deferred; what it leaves out is as in [queue]."""

    domains: tuple[RoutePattern, ...] = default([])
    replies: tuple[ReplyText, ...] = default([])
    retry: tuple[Seconds, ...] | None = optional()
    expire: Seconds | None = optional()
    delay_warning: SecondsOrNever | None = optional()


class Queue(Section):
    """[queue]: times in seconds."""

    store: Literal["sqlite", "memory"] = default("sqlite")
    retry: tuple[Seconds, ...] = default(["1m", "5m", "15m", "30m", "1h", "2h", "4h"])
    expire: Seconds = default("5d")
    delay_warning: SecondsOrOff = default("4h")
    reserve: OctetsOrOff = default("100MB")
    rules: tuple[RetryRule, ...] = Field(default=(), alias="rule")


class History(Section):
    """[history]: `keep` in seconds, `size` in octets; None for "off"."""

    keep: SecondsOrOff = default("30d")
    size: OctetsOrOff = default("10GB")


class Notices(Section):
    """[notices]: `language` is one that waymail has, or a file of texts; `double_bounce` "drop", "postmaster" or an address."""

    language: NoticeLanguage = default("en")
    double_bounce: DoubleBounce = default("drop")


class Listener(Section):
    """[[listener]]"""

    kind: Literal["mx", "submission", "lmtp"]
    address: ListenAddress
    tls: Literal["starttls", "implicit", "off"] = default("starttls")
    line_ends: Literal["strict", "normalise"] = default("strict")
    mode: FileMode = default("0660")
    proxies: tuple[RelayNetwork, ...] = default([])
    client_certificates: Literal["off", "request", "require"] = default("off")


class Certificate(Section):
    """[[tls.certificates]]: no names means those in the certificate."""

    names: tuple[CertificateName, ...] = default([])
    certificate: AbsolutePath
    key: AbsolutePath


class Tls(Section):
    """[tls]"""

    certificate: AbsolutePath | None = optional()
    key: AbsolutePath | None = optional()
    self_signed: Flag = default(False)
    minimum: Literal["1.2", "1.3"] = default("1.2")
    client_ca: AbsolutePath | None = optional()
    certificates: tuple[Certificate, ...] = Field(default=())


class Relay(Section):
    """[relay]"""

    allow: tuple[RelayNetwork, ...] = default([])
    etrn: tuple[RelayNetwork, ...] = default([])
    xclient: tuple[RelayNetwork, ...] = default([])
    xforward: tuple[RelayNetwork, ...] = default([])


class Domain(Section):
    """[domains."NAME"]: `recipients` None takes any; local parts are in lower case. `quota` is in octets."""

    deliver: Destination = default("maildir:mail/{domain}/{local}")
    recipients: LocalParts = default([])
    aliases: Mapping[LocalPart, AliasTargets] = default({})
    detail: DetailSeparator = default("")
    folders: Literal["existing", "create"] = default("existing")
    quota: OctetsOrOff = default("off")
    quota_messages: CountOrOff = default("off")
    over_quota: Literal["defer", "fail"] = default("defer")


class Forwarding(Section):
    """[forwarding]: mail that an alias sends to another domain. No `domain` means that of the alias."""

    srs: Flag = default(True)
    domain: DomainName | None = optional()


class Dns(Section):
    """[dns]: no resolvers means the system's."""

    resolvers: tuple[ResolverAddress, ...] = default([])
    dnssec: Literal["trust-ad", "off"] = default("trust-ad")


class Limits(AuthLimits):
    """[limits]: bounds of the receiving side; sizes in octets, times in seconds. Named as in `waymail.server.limits`."""

    message_size: Octets = default("50MB")
    recipients: Count = default(1_000)
    sessions: Count = default(20_000)
    sessions_per_client: Count = default(1_000)
    sessions_per_network: CountOrOff = default("off")
    connections_per_minute: CountOrOff = default("off")
    messages_per_minute: CountOrOff = default("off")
    errors: Count = default(20)
    junk: Count = default(1_000)
    messages_per_session: Count = default(10_000)
    hold: Seconds = default("30d")
    received_hops: Count = default(100)
    auth_failures: Count = default(3)
    command_timeout: Seconds = default("5m")
    data_timeout: Seconds = default("10m")
    message_time: Seconds = default("1h")
    session_time: Seconds = default("1d")


class Delivery(Section):
    """[delivery]: bounds of the sending side; `idle` in seconds. Where the file gives no `hello`, it is the hostname."""

    per_destination: Count = default(20)
    total: Count = default(500)
    idle: Seconds = default("10s")
    hello: DomainName = optional()


class Log(Section):
    """[log]"""

    format: Literal["human", "json"] = default("human")
    level: Literal["debug", "info", "warning", "error"] = default("info")


@dataclass(frozen=True, slots=True)
class Source:
    """Where a configuration was read: `file` is None for the one of development; `lines` holds what the file says and where."""

    file: Path | None = None
    lines: Mapping[KeyPath, int] = field(default_factory=dict)
    warnings: tuple[Problem, ...] = ()


class Config(Section):
    """A whole configuration, checked. Every path is absolute."""

    hostname: DomainName
    data_dir: AbsolutePath = default("data")
    stop_after: Seconds = default("30s")
    queue: Queue
    notices: Notices
    history: History
    listeners: tuple[Listener, ...] = Field(default=(), alias="listener")
    tls: Tls
    users: Users
    submission: Submission
    relay: Relay
    inbound: Inbound
    domains: Mapping[DomainName, Domain] = default({})
    routes: Mapping[RoutePattern, Destination] = default({"*": "mx"})
    pipes: Pipes = default({})
    webhooks: Webhooks = default({})
    forwarding: Forwarding
    dns: Dns
    limits: Limits
    delivery: Delivery
    log: Log

    _source: Source = PrivateAttr(default_factory=Source)

    @property
    def source(self) -> Source:
        """Where this was read, and what is odd about it."""
        return self._source

    def read_from(self, source: Source) -> Config:
        """The same configuration with its source."""
        copy = self.model_copy()
        copy._source = source
        return copy


SECTIONS = (
    *("queue", "notices", "history", "tls", "users", "submission", "relay", "inbound", "forwarding", "dns", "limits", "delivery"),
    "log",
)
