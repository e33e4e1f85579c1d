from __future__ import annotations

import struct
from ipaddress import ip_address

import pytest

from waymail.net.proxy import MOST_OF_VERSION_2, SIGNATURE, Header, ProxyProblem, crc32c, parse

V1 = b"PROXY TCP4 192.0.2.1 198.51.100.7 56324 25\r\n"


def v2(block: bytes = b"", *, command: int = 0x21, family: int = 0x11) -> bytes:
    return SIGNATURE + struct.pack(">BBH", command, family, len(block)) + block


def addresses(source: str, destination: str, port: int = 4711) -> bytes:
    return ip_address(source).packed + ip_address(destination).packed + struct.pack(">HH", port, 25)


INET = addresses("192.0.2.1", "198.51.100.7")
INET6 = addresses("2001:db8::1", "2001:db8::2")


def tlv(kind: int, value: bytes) -> bytes:
    return struct.pack(">BH", kind, len(value)) + value


@pytest.mark.parametrize(
    ("octets", "source", "port"),
    [
        (V1, "192.0.2.1", 56324),
        (b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", "255.255.255.255", 65535),
        (b"PROXY TCP6 2001:DB8::1 ::1 0 25\r\n", "2001:db8::1", 0),
        (b"PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ::1 1 25\r\n", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 1),
        (b"PROXY TCP6 ::ffff:192.0.2.9 ::1 1 25\r\n", "192.0.2.9", 1),
        (b"PROXY UNKNOWN\r\n", "", 0),
        (b"PROXY UNKNOWN ffff:: \x00 anything\r\n", "", 0),
        (v2(INET), "192.0.2.1", 4711),
        (v2(INET6, family=0x21), "2001:db8::1", 4711),
        (v2(addresses("::ffff:192.0.2.9", "::1"), family=0x21), "192.0.2.9", 4711),
        (v2(INET + tlv(0x05, b"id") + tlv(0x04, b"")), "192.0.2.1", 4711),
        (v2(b"\0" * 216, family=0x31), "", 0),
        (v2(INET, family=0x12), "", 0),  # a datagram's address
        (v2(b"", family=0x00), "", 0),
        (v2(b"whatever", family=0x01), "", 0),
        (v2(b"", command=0x20, family=0x00), "", 0),
        (v2(b"a health check", command=0x20, family=0xFF), "", 0),
    ],
)
def test_a_header_names_the_client_and_ends_where_it_ends(octets: bytes, source: str, port: int) -> None:
    assert parse(octets) == Header(source, port, len(octets))
    assert parse(octets + b"EHLO x\r\n") == Header(source, port, len(octets))
    assert {parse(octets[:size]) for size in range(len(octets))} == {None}, "and no earlier"


@pytest.mark.parametrize(
    "octets",
    [
        b"EHLO client.example\r\n",
        b"\x16\x03\x01",  # a TLS handshake
        b"proxy TCP4 192.0.2.1 198.51.100.7 56324 25\r\n",
        b"PROXY  TCP4 192.0.2.1 198.51.100.7 56324 25\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.7 56324 25 \r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.7 56324\r\n",
        b"PROXY TCP4 192.0.2.01 198.51.100.7 56324 25\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.7 056 25\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.7 65536 25\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.7 1 65536\r\n",
        b"PROXY TCP4 192.0.2.256 198.51.100.7 1 25\r\n",
        b"PROXY TCP4 2001:db8::1 2001:db8::2 1 25\r\n",
        b"PROXY TCP6 192.0.2.1 198.51.100.7 1 25\r\n",
        b"PROXY TCP6 2001:db8::1%eth0 ::1 1 25\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.7 1 25\nEHLO x\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.7 1 25\rEHLO x\r\n",
        b"PROXY UDP4 192.0.2.1 198.51.100.7 1 25\r\n",
        b"PROXY UNKNOWNS\r\n",
        b"PROXY UNKNOWN a\nEHLO x\r\n",
        b"PROXY UNKNOWN " + b"x" * 107,
        b"PROXY UNKNOWN " + b"x" * 92 + b"\r\n",  # 108 octets
        SIGNATURE + b"\x11\x11\0\0",
        SIGNATURE + b"\x22",
        v2(INET[:11]),
        v2(INET, family=0x21),
        v2(INET, family=0x41),
        v2(INET, family=0x13),
        v2(b"\0" * 215, family=0x31),
        v2(INET + b"\x04"),
        v2(INET + b"\x04\0"),
        v2(INET + b"\x04\0\x02\0"),
        v2(INET + tlv(0x03, b"abc")),
        v2(INET + tlv(0x03, b"\0\0\0\0")),
        v2(INET + tlv(0x03, b"\0\0\0\0") * 2),
        SIGNATURE + struct.pack(">BBH", 0x21, 0x11, MOST_OF_VERSION_2),
    ],
)
def test_what_is_no_header_to_the_letter_is_a_problem(octets: bytes) -> None:
    with pytest.raises(ProxyProblem):
        parse(octets)


def test_the_longest_line_that_the_specification_knows_is_read() -> None:
    longest = b"PROXY UNKNOWN " + b" ".join([b"f" * 39] * 2 + [b"65535"] * 2) + b"\r\n"
    assert len(longest) == 107
    assert parse(longest) == Header("", 0, 107)


def test_the_checksum_is_crc32c() -> None:
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(b"") == 0


def test_a_header_with_the_right_checksum_is_taken_and_with_any_bit_flipped_is_not() -> None:
    blank = v2(INET + tlv(0x05, b"unique") + tlv(0x03, bytes(4)))
    good = blank[:-4] + crc32c(blank).to_bytes(4, "big")
    assert parse(good) == Header("192.0.2.1", 4711, len(good))
    flipped = bytearray(good)
    flipped[17] ^= 1  # in the source address
    with pytest.raises(ProxyProblem, match="checksum"):
        parse(bytes(flipped))
