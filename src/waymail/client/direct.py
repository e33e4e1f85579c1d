"""Direct delivery: which hosts take the mail of which recipients, decided before any of them is connected to.

Recipients whose domains have the same hosts share a next hop, and so a transaction. What DNS decides by itself is a result at
once: that a domain does not exist, or takes no mail, is its refusal; that DNS gave no answer is one for now.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from waymail.client import mx
from waymail.client.attempt import Result, Stage
from waymail.client.target import Host, NextHop, Tls
from waymail.lookups import Lookups, together
from waymail.mail.envelope import Recipient
from waymail.mail.outcome import Deferred, Failed
from waymail.wire.replies import Reply

LOOKUP_SECONDS = 60.0  # for all questions about the recipients of a message


@dataclass(frozen=True, slots=True)
class Plan:
    """The next hops with the addresses that go there, and the results that need none."""

    hops: tuple[tuple[NextHop, tuple[str, ...]], ...]
    results: dict[str, Result]


def plan(
    addresses: Sequence[str], *, tls: Tls, rng: mx.Shuffler, source_address: str = "", allow_loopback: bool = False
) -> Lookups[Plan]:
    """Where the addresses go. `tls` is asked of each host. Where there is a `source_address`, hosts are reached by addresses of
    its family alone. Mail does not go to this machine, whatever DNS says, unless `allow_loopback`."""
    by_domain: dict[str, list[str]] = {}
    results: dict[str, Result] = {}
    for address in addresses:
        if "@" in address:
            by_domain.setdefault(Recipient(address).domain, []).append(address)
        else:
            results[address] = _decided(Failed(Reply(550, f"{address} names no domain to deliver to", "5.1.2")))
    found = yield from together(
        [mx.next_hop(domain, own_names=(), rng=rng, allow_literal=True, allow_loopback=allow_loopback) for domain in by_domain]
    )
    hops: dict[str, NextHop] = {}
    groups: dict[str, list[str]] = {}
    for (domain, some), hop in zip(by_domain.items(), found, strict=True):
        if source_address and isinstance(hop, NextHop):
            hop = _of_family(hop, domain, is_ipv6=":" in source_address)
        if isinstance(hop, NextHop):
            hops.setdefault(hop.key, replace(hop, tls=tls))
            groups.setdefault(hop.key, []).extend(some)
        else:
            results |= dict.fromkeys(some, _decided(hop))
    return Plan(tuple((hops[key], tuple(some)) for key, some in groups.items()), results)


def _decided(outcome: Deferred | Failed) -> Result:
    return Result(Stage.RCPT, outcome.reply)


def _of_family(hop: NextHop, domain: str, *, is_ipv6: bool) -> NextHop | Failed:
    hosts = [replace(host, addresses=tuple(one for one in host.addresses if (":" in one) is is_ipv6)) for host in hop.hosts]
    reachable: tuple[Host, ...] = tuple(host for host in hosts if host.addresses)
    if reachable:
        return replace(hop, hosts=reachable)
    family = "IPv6" if is_ipv6 else "IPv4"
    return Failed(Reply(550, f"no mail host of {domain} has an address of {family}, as our own is", "5.4.4"))
