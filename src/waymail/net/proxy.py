"""The PROXY protocol (HAProxy's proxy-protocol.txt): what a proxy says of the client behind it, before the client's own octets.

`parse` looks at octets and does no I/O. Both versions are strict: what does not match the specification to the letter is a
`ProxyProblem`, as early as it can be told. Whom to believe is not decided here: the header is read from configured proxies only,
and from those always, since guessing whether one is there would let anybody choose his address (§2).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"  # §2.2, of version 2
MOST_OF_VERSION_1 = 107  # octets, CRLF included (§2.1)
MOST_OF_VERSION_2 = 8_192  # octets; a sender keeps below a segment (§2), but a client's certificate may be among the TLVs
_FIXED = 16  # octets of version 2 that are always there
_PREFIX = b"PROXY "
_UNKNOWN = re.compile(rb"PROXY UNKNOWN(?: [^\r\n]*)?", re.DOTALL)
_TCP = re.compile(rb"PROXY TCP([46]) ([0-9A-Fa-f:.]+) ([0-9A-Fa-f:.]+) (0|[1-9][0-9]{0,4}) (0|[1-9][0-9]{0,4})")
_CRC32C = 0x03  # type of the TLV with the checksum (§2.2.3)
# Octets of the address block by family (§2.2): AF_INET, AF_INET6, AF_UNIX.
_BLOCKS = {1: 12, 2: 36, 3: 216}


class ProxyProblem(Exception):
    """Octets that are no PROXY header. The text is for the log."""


@dataclass(frozen=True, slots=True)
class Header:
    """`source` is the client's IP address, "" where the header names none (a health check, an unknown family): then the
    connection is the proxy's own. `port` is the client's, and `length` how many octets the header has."""

    source: str
    port: int
    length: int


def parse(octets: bytes) -> Header | None:
    """The header that `octets` begin with; None where it has not ended yet, so that all of them belong to it. Raises
    ProxyProblem."""
    if octets.startswith(SIGNATURE):
        return _version_2(octets)
    if octets.startswith(_PREFIX):
        return _version_1(octets)
    if SIGNATURE.startswith(octets) or _PREFIX.startswith(octets):
        return None
    raise ProxyProblem("the connection does not begin with a PROXY header")


def crc32c(octets: bytes) -> int:
    """The checksum with Castagnoli's polynomial that §2.2.3 asks for."""
    value = 0xFFFFFFFF
    for octet in octets:
        value = _TABLE[(value ^ octet) & 0xFF] ^ (value >> 8)
    return value ^ 0xFFFFFFFF


def _crc_of(octet: int) -> int:
    for _ in range(8):
        octet = (octet >> 1) ^ (0x82F63B78 if octet & 1 else 0)
    return octet


_TABLE = tuple(_crc_of(octet) for octet in range(256))


def _version_1(octets: bytes) -> Header | None:
    end = octets.find(b"\r\n", 0, MOST_OF_VERSION_1)
    if end < 0:
        if len(octets) >= MOST_OF_VERSION_1:
            raise ProxyProblem(f"version 1: no end of line within {MOST_OF_VERSION_1} octets")
        return None
    line, length = octets[:end], end + 2
    if _UNKNOWN.fullmatch(line):
        return Header("", 0, length)
    found = _TCP.fullmatch(line)
    if found is None:
        raise ProxyProblem(f"version 1: not as specified: {line[:MOST_OF_VERSION_1]!r}")
    family, source, destination, port, other_port = (part.decode("ascii") for part in found.groups())
    kind = IPv4Address if family == "4" else IPv6Address
    try:
        client, _ = kind(source), kind(destination)
    except ValueError as error:
        raise ProxyProblem(f"version 1: {error}") from None
    if int(port) > 65_535 or int(other_port) > 65_535:
        raise ProxyProblem("version 1: a port above 65535")
    return Header(_text(client), int(port), length)


def _version_2(octets: bytes) -> Header | None:
    if len(octets) < _FIXED:
        if len(octets) > 12:
            _command(octets[12])
        return None
    is_proxied = _command(octets[12])
    length = _FIXED + int.from_bytes(octets[14:16], "big")
    if length > MOST_OF_VERSION_2:
        raise ProxyProblem(f"version 2: {length} octets, more than the {MOST_OF_VERSION_2} that are read")
    if len(octets) < length:
        return None
    if not is_proxied:
        return Header("", 0, length)  # LOCAL: the block is skipped, whatever it says (§2.2)
    family, transport = octets[13] >> 4, octets[13] & 0x0F
    if family > 3 or transport > 2:
        raise ProxyProblem(f"version 2: unknown family and protocol {octets[13]:#04x}")
    if family == 0 or transport == 0:
        return Header("", 0, length)  # UNSPEC: where its addresses end, and TLVs begin, is not said
    block = _BLOCKS[family]
    if length < _FIXED + block:
        raise ProxyProblem(f"version 2: {length - _FIXED} octets, where the address alone takes {block}")
    _check_sum(octets[:length], _FIXED + block)
    if family == 3 or transport != 1:
        return Header("", 0, length)  # no TCP: no address that could be a mail client's (§2.2 lets it count as UNSPEC)
    if family == 1:
        source, port = struct.unpack_from(">4s4xH", octets, _FIXED)
        return Header(_text(IPv4Address(source)), port, length)
    source, port = struct.unpack_from(">16s16xH", octets, _FIXED)
    return Header(_text(IPv6Address(source)), port, length)


def _command(octet: int) -> bool:
    """Whether the connection is on behalf of somebody else (PROXY, not LOCAL)."""
    if octet not in (0x20, 0x21):
        raise ProxyProblem(f"version 2: unknown version and command {octet:#04x}")
    return octet == 0x21


def _check_sum(header: bytes, start: int) -> None:
    found = [(at, size) for kind, at, size in _type_length_values(header, start) if kind == _CRC32C]
    if not found:
        return
    if len(found) > 1 or found[0][1] != 4:
        raise ProxyProblem("version 2: not one checksum of 4 octets")
    at = found[0][0]
    if crc32c(header[:at] + bytes(4) + header[at + 4 :]) != int.from_bytes(header[at : at + 4], "big"):
        raise ProxyProblem("version 2: the checksum is wrong")


def _type_length_values(header: bytes, at: int) -> Iterator[tuple[int, int, int]]:
    """Type, start of the value and its size, of each TLV."""
    while at < len(header):
        if at + 3 > len(header):
            raise ProxyProblem("version 2: a TLV is cut off")
        size = int.from_bytes(header[at + 1 : at + 3], "big")
        if at + 3 + size > len(header):
            raise ProxyProblem("version 2: a TLV goes beyond the header")
        yield header[at], at + 3, size
        at += 3 + size


def _text(address: IPv4Address | IPv6Address) -> str:
    """As policy should see it: IPv4 in IPv6's clothes is IPv4."""
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(address)
