from __future__ import annotations

import pytest

from waymail.app.config.values import Endpoint, domain_name, endpoint, local_part, mailbox, network, route_pattern


@pytest.mark.parametrize(
    ("text", "host", "port"), [("192.0.2.1:25", "192.0.2.1", 25), ("[::]:587", "::", 587), ("127.0.0.1:0", "127.0.0.1", 0)]
)
def test_a_listen_address_is_an_ip_address_and_a_port(text: str, host: str, port: int) -> None:
    assert endpoint(text) == Endpoint(host, port)
    assert str(endpoint(text)) == text


@pytest.mark.parametrize(
    "value", ["25", ":25", "*:25", "localhost:25", "::1:25", "192.0.2.1", "192.0.2.1:smtp", "1.2.3.4:70000", "[1.2.3.4]:25", 25]
)
def test_any_other_listen_address_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match=r"IP address and a port|no port"):
        endpoint(value)


@pytest.mark.parametrize(
    ("text", "shown"),
    [("127.0.0.53", "127.0.0.53:53"), ("127.0.0.53:5353", "127.0.0.53:5353"), ("::1", "[::1]:53"), ("[::1]", "[::1]:53")],
)
def test_a_resolver_may_leave_out_the_port(text: str, shown: str) -> None:
    assert str(endpoint(text, default_port=53)) == shown


def test_loopback_is_known_in_both_families() -> None:
    assert [Endpoint(host, 1).is_loopback for host in ("127.9.9.9", "::1", "10.0.0.1", "::", "192.0.2.1")] == [
        True,
        True,
        False,
        False,
        False,
    ]


@pytest.mark.parametrize(
    ("value", "name"),
    [("Mail.Example.ORG.", "mail.example.org"), ("localhost", "localhost"), ("xn--bcher-kva.example", "xn--bcher-kva.example")],
)
def test_a_domain_name_comes_in_lower_case_without_the_last_dot(value: str, name: str) -> None:
    assert domain_name(value) == name


@pytest.mark.parametrize(
    "value",
    [
        "",
        ".",
        "a..b",
        "-a.example",
        "a-.example",
        "a_b.example",
        "a b",
        "192.0.2.1",
        "[192.0.2.1]",
        "::1",
        "x" * 64 + ".org",
        "a." * 130,
        5,
        "a\n",
    ],
)
def test_what_is_no_domain_name_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="domain name"):
        domain_name(value)


def test_a_name_in_other_letters_is_kept_in_its_ascii_form() -> None:
    assert domain_name("Bücher.example") == "xn--bcher-kva.example"
    with pytest.raises(ValueError, match="is no domain name"):
        domain_name("☃.example")


def test_a_pattern_for_the_domains_below_one_may_be_written_in_two_ways() -> None:
    assert [route_pattern(text) for text in ("*", "Example.org", ".example.org", "*.example.org")] == [
        "*",
        "example.org",
        "*.example.org",
        "*.example.org",
    ]


@pytest.mark.parametrize("value", ["*x", "a.*.b", "", "x@example.org", ".", "*."])
def test_other_patterns_are_refused(value: str) -> None:
    with pytest.raises(ValueError, match="domain name"):
        route_pattern(value)


def test_local_parts_lose_their_case_and_may_hold_no_at() -> None:
    assert local_part("Ann.O+tag") == "ann.o+tag"
    for value in ("ann@example.org", "a b", "", ".a", "a..b", 'a"b', "x" * 65):
        with pytest.raises(ValueError, match="@"):
            local_part(value)


def test_an_alias_leads_to_a_local_part_or_an_address_whose_case_is_not_ours() -> None:
    assert mailbox("Bob") == "bob"
    assert mailbox("Carol.X@Elsewhere.ORG") == "Carol.X@elsewhere.org"
    with pytest.raises(ValueError, match="no domain name"):
        mailbox("carol@-")


def test_a_network_with_bits_behind_its_prefix_is_refused_with_the_right_one() -> None:
    assert str(network("10.0.0.0/8")) == "10.0.0.0/8"
    assert str(network("::1")) == "::1/128"
    with pytest.raises(ValueError, match=r'"10\.0\.0\.0/8" is the network'):
        network("10.1.2.3/8")
    with pytest.raises(ValueError, match="no network"):
        network("ten")
