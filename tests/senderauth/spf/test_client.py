from __future__ import annotations

import pytest

from waymail.senderauth.spf.client import number, read


def test_an_ipv4_client_has_its_number_and_its_name_below_in_addr_arpa() -> None:
    client = read("192.0.2.1")
    assert (client.version, client.number, client.text, client.dotted) == (4, 0xC0000201, "192.0.2.1", "192.0.2.1")
    assert client.reverse_name == "1.2.0.192.in-addr.arpa"


def test_an_ipv6_client_is_dotted_nibble_by_nibble() -> None:
    client = read("2001:DB8::cb01")
    assert (client.version, client.number, client.text) == (6, 0x20010DB800000000000000000000CB01, "2001:db8::cb01")
    assert client.dotted == "2.0.0.1.0.D.B.8.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.C.B.0.1"
    assert client.reverse_name == "1.0.b.c.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa"


def test_an_ipv4_mapped_client_is_an_ipv4_client() -> None:
    assert read("::ffff:192.0.2.1") == read("192.0.2.1")


def test_the_interface_of_a_link_local_address_is_no_part_of_it() -> None:
    assert read("fe80::1%eth0").text == "fe80::1"


@pytest.mark.parametrize("text", ["", "localhost", "192.0.2", "unix:/run/x"])
def test_what_is_no_address_is_no_client(text: str) -> None:
    with pytest.raises(ValueError, match="does not appear"):
        read(text)


def test_a_record_that_is_no_address_is_nobodys() -> None:
    assert (number("192.0.2.1", 4), number("::1", 6)) == (0xC0000201, 1)
    assert number("192.0.2.1", 6) == number("::1", 4) == number("hello", 4) == -1
