"""What an outbox is told: where its mail goes, when it is tried again, and for how long it is remembered."""

from __future__ import annotations

import math
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from typing import SupportsFloat

from waymail.client import url as urls
from waymail.client.arguments import check_type
from waymail.client.sending import TlsChoice, check_network, credentials_of, demand
from waymail.client.session import Contexts
from waymail.client.signing import DkimKey, keys_of
from waymail.client.target import Credentials, Host, NextHop, Tls
from waymail.net.network import DIRECT, Network
from waymail.queue.retry import DAY, HOUR, Schedule

RETRY = Schedule().intervals
EXPIRE = 5 * DAY
WARNING = 4 * HOUR
KEEP = 30 * DAY
PER_DESTINATION = 10  # connections at once: what a submission server likes to see of one client
GRACE = 5.0  # seconds


@dataclass(frozen=True, slots=True)
class Settings:
    """`next_hop` is None where DNS says which hosts take the mail; `tls` is what is asked of them then. `hello` names us in EHLO,
    None for our address; `hostname` in notices and for those hosts, "" for the machine's own name. `keep` is in seconds."""

    next_hop: NextHop | None
    tls: Tls
    contexts: Contexts
    hello: str | None
    hostname: str
    network: Network
    schedule: Schedule
    notices: bool
    keep: float | None
    per_destination: int
    keys: tuple[DkimKey, ...]
    grace: float


def settings_of(
    url: str,
    *,
    auth: Credentials | tuple[str, str] | None = None,
    tls: TlsChoice | None = None,
    tls_context: ssl.SSLContext | None = None,
    dkim: DkimKey | Sequence[DkimKey] | None = None,
    network: Network | None = None,
    hostname: str | None = None,
    retry: Sequence[float] = RETRY,
    expire: float = EXPIRE,
    delay_warning: float | None = WARNING,
    notices: bool = True,
    keep: float | None = KEEP,
    per_destination: int = PER_DESTINATION,
    grace: float = GRACE,
) -> Settings:
    """The arguments of `Outbox` as values. Raises ValueError (UrlError for the URL) for what cannot be meant, TypeError for what
    is of another type."""
    check_network(tls_context, network)
    target = urls.parse(url)
    credentials = credentials_of(auth) or target.credentials
    next_hop = None
    if target.scheme == "mx":
        # RFC 7435: some TLS is better than none, where nobody said more.
        demanded = target.tls or Tls.OPPORTUNISTIC if tls is None else demand(target, tls)
        if credentials is not None:
            raise ValueError('auth is for a server of yours: the hosts that "mx:" leads to know no user')
    else:
        demanded = demand(target, tls)
        host = Host(target.host, target.port, path=target.path)
        next_hop = NextHop(_key(target), (host,), demanded, credentials, target.scheme == "lmtp")
    _check_times(retry, expire=expire, delay_warning=delay_warning, keep=keep, grace=grace)
    check_type(per_destination, SupportsFloat, "per_destination is a number of connections, as 10")
    if per_destination < 1:
        raise ValueError("per_destination is 1 or more")
    return Settings(
        next_hop,
        demanded,
        Contexts(tls_context, tls_context),
        hostname or target.options.get("hello"),
        hostname or "",
        network or DIRECT,
        Schedule(tuple(map(float, retry)), float(expire), delay_warning),
        notices,
        keep,
        per_destination,
        keys_of(dkim),
        grace,
    )


def own_name() -> str:
    """This machine's name, a full one where it has one. May ask DNS, and blocks then."""
    name = socket.gethostname()
    return name if "." in name else socket.getfqdn()


def _key(target: urls.Target) -> str:
    """What the trace calls the server: its URL without user and password."""
    if target.path:
        return f"{target.scheme}:{target.path}"
    host = f"[{target.host}]" if ":" in target.host else target.host
    return f"{target.scheme}://{host}:{target.port}"


def _check_times(retry: Sequence[float], *, expire: float, delay_warning: float | None, keep: float | None, grace: float) -> None:
    waits = "retry is a sequence of seconds, as (60, 300, 3600)"
    check_type(retry, Sequence, waits)
    for wait in retry:
        check_type(wait, SupportsFloat, waits)
    if not retry or not all(map(_is_time, retry)):
        raise ValueError("retry has the waits between attempts, in seconds: at least one, each above 0")
    check_type(expire, SupportsFloat, "expire is a number of seconds, as 5 * 86400")
    check_type(delay_warning, SupportsFloat | None, "delay_warning is a number of seconds, as 4 * 3600, or None")
    check_type(keep, SupportsFloat | None, "keep is a number of seconds, as 30 * 86400, or None")
    check_type(grace, SupportsFloat, "grace is a number of seconds, as 5.0")
    for name, seconds in (("expire", expire), ("keep", keep), ("delay_warning", delay_warning)):
        if seconds is not None and not _is_time(seconds):
            raise ValueError(f"{name} is in seconds, and above 0")
    if not (0 <= grace < math.inf):
        raise ValueError("grace is in seconds, and 0 or more")


def _is_time(seconds: float) -> bool:
    return 0 < seconds < math.inf
