"""The client's IP address, in the forms that SPF compares and writes."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address

from waymail.values import value


@value
class Client:
    """`version` is 4 or 6, `number` the address; `text` is for people, `dotted` for %{i}, `reverse_name` for PTR."""

    version: int
    number: int
    text: str
    dotted: str
    reverse_name: str


@lru_cache(maxsize=1024)
def read(ip: str) -> Client:
    """The client at this address; an IPv4-mapped one is IPv4 (RFC 7208 §5). Raises ValueError for what is no address."""
    address = ip_address(ip.partition("%")[0])
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is None:
            dotted = ".".join(address.exploded.replace(":", "").upper())  # in upper case, as others write it
            return Client(6, int(address), str(address), dotted, address.reverse_pointer)
        address = address.ipv4_mapped
    return Client(4, int(address), str(address), str(address), address.reverse_pointer)


@lru_cache(maxsize=4096)
def number(text: str, version: int) -> int:
    """The address of an A or AAAA record as a number; -1 for what is none, which is nobody's."""
    try:
        return int(IPv4Address(text) if version == 4 else IPv6Address(text))
    except ValueError:
        return -1
