from __future__ import annotations

from typing import Any

import pytest

from waymail.lookups import Mx, Query, Status
from waymail.testing import Zone

ZONE = Zone.from_text(
    """
    $ORIGIN example.org.
    $TTL 1h
    @            SOA   ns hostmaster ( 2026 7200 3600
                       86400 60 )      ; what is not there is remembered for a minute
                 NS    ns
             300 MX    10 mx
                 MX    20 mx.example.net.
                 TXT   "v=spf1 " "mx -all"
                 CAA   0 issue "ca.example"
    MX           IN A  192.0.2.1
                 AAAA  2001:db8::1
    _25._tcp.mx  TLSA  3 1 0 ( abababab
                               cdcdcdcd )
    certified    CAA   0 issue "ca.example"
    www          CNAME @
    odd          TXT   "\\255\\065;\\""
    *.wild       TXT   anything
    null.example. MX   0 .
    $ORIGIN 2.0.192.in-addr.arpa.
    @            SOA   ns.example.org. hostmaster.example.org. 1 7200 3600 86400 30
    1            PTR   mx.example.org.
    """,
    authentic={"mx.example.org"},
)


@pytest.mark.parametrize(
    ("name", "kind", "records", "ttl"),
    [
        ("example.org", "MX", (Mx(10, "mx.example.org"), Mx(20, "mx.example.net")), 300),
        ("example.org", "TXT", ("v=spf1 mx -all",), 3600),
        ("example.org", "NS", ("ns.example.org",), 3600),
        ("mx.example.org", "A", ("192.0.2.1",), 3600),
        ("mx.example.org", "AAAA", ("2001:db8::1",), 3600),
        ("_25._tcp.mx.example.org", "TLSA", ((3, 1, 0, b"\xab\xab\xab\xab\xcd\xcd\xcd\xcd"),), 3600),
        ("www.example.org", "TXT", ("v=spf1 mx -all",), 3600),
        ("odd.example.org", "TXT", ('\udcffA;"',), 3600),
        ("x.wild.example.org", "TXT", ("anything",), 3600),
        ("null.example", "MX", (Mx(0, ""),), 3600),
        ("1.2.0.192.in-addr.arpa", "PTR", ("mx.example.org",), 3600),
        ("certified.example.org", "CAA", (), 60),
        ("example.org", "A", (), 60),
        ("2.2.0.192.in-addr.arpa", "PTR", (), 30),
        ("nowhere.example", "A", (), 300),
    ],
)
def test_a_zone_file_is_read_as_name_servers_read_it(name: str, kind: str, records: tuple[Any, ...], ttl: int) -> None:
    answer = ZONE.answer(Query(name, kind))
    assert (answer.records, answer.ttl) == (records, ttl)


def test_a_name_with_records_that_are_passed_over_exists() -> None:
    assert ZONE.answer(Query("certified.example.org", "A")).status is Status.NO_RECORDS
    assert ZONE.answer(Query("2.2.0.192.in-addr.arpa", "PTR")).status is Status.NO_NAME


def test_names_are_authentic_where_it_is_said() -> None:
    assert ZONE.answer(Query("mx.example.org", "A")).authentic
    assert not ZONE.answer(Query("example.org", "MX")).authentic


@pytest.mark.parametrize("origin", ["example.org", "example.org."])
def test_relative_names_are_below_the_origin_and_records_have_the_ttl_given(origin: str) -> None:
    zone = Zone.from_text("mx A 192.0.2.1\n@ MX 10 mx", origin, ttl=7)
    assert zone.answer(Query("example.org", "MX")).records == (Mx(10, "mx.example.org"),)
    assert zone.answer(Query("mx.example.org", "A")).ttl == 7


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a A 192.0.2", "zone file:1: "),
        ("a A 192.0.2.1\nb NONSENSE x", "zone file:2: .*NONSENSE"),
        ('a TXT "open\n', "newline in quoted string"),
        ("$INCLUDE /etc/passwd", "INCLUDE"),
        ("a A 192.0.2.1\na CNAME b", "a.example.org has a CNAME record and others"),
        ("a CNAME b\na A 192.0.2.1", "a.example.org has a CNAME record and others"),
    ],
)
def test_what_is_no_zone_file_is_refused_with_the_place(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Zone.from_text(text, "example.org")
