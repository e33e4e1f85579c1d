"""Who counts as one, when addresses are counted: a client is an IPv4 address or an IPv6 /64, which is what one customer has (RFC
6177 gives a site no less); a network, one place, is an IPv4 /24 or an IPv6 /48.

An IPv4 address in the clothes of an IPv6 one is that IPv4 address. What is no address is itself. Nothing here raises.
"""

from __future__ import annotations

import ipaddress
from functools import lru_cache


def client_of(address: str) -> str:
    """The client that an address belongs to."""
    return _network(address, 32, 64) if ":" in address else address


def network_of(address: str) -> str:
    """The network that an address belongs to."""
    return _network(address, 24, 48)


def outgoing_of(address: str) -> str:
    """What the hosts by which one operator sends mail mostly share: an IPv4 /24 or an IPv6 /64 (RFC 6647 §5)."""
    return _network(address, 24, 64)


@lru_cache(maxsize=10_000)
def _network(address: str, prefix_4: int, prefix_6: int) -> str:
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    prefix = prefix_4 if ip.version == 4 else prefix_6
    return str(ip) if prefix == 32 else str(ipaddress.ip_network((ip, prefix), strict=False))
