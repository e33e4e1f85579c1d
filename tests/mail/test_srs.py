"""The Sender Rewriting Scheme."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waymail.mail.srs import DAY, DAYS, NotOurs, Srs, is_srs

NOW = 1_796_000_000.0
SRS = Srs([b"key"])


def made(sender: str, domain: str = "forwarder.example", now: float = NOW, by: Srs = SRS) -> str:
    address = by.rewritten(sender, domain, now)
    assert address is not None
    return address


def test_a_rewritten_sender_is_an_address_of_the_forwarder_and_leads_back() -> None:
    address = made("ann@example.org")
    assert address.startswith("SRS0=")
    assert address.endswith("=example.org=ann@forwarder.example")
    assert SRS.original(address, NOW) == "ann@example.org"


@pytest.mark.parametrize("sender", ["ann+x=y@example.org", '"a b"@example.org', "a.b-c=d@sub.example.org", "ä@example.org"])
def test_every_local_part_survives(sender: str) -> None:
    assert SRS.original(made(sender), NOW) == sender


@given(name=st.from_regex(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]{1,20}", fullmatch=True), days=st.integers(0, DAYS))
def test_it_leads_back_for_weeks_whatever_case_the_hash_comes_in(name: str, days: int) -> None:
    address = made(f"{name}@example.org")
    head, rest = address[:17], address[17:]
    assert SRS.original(head.lower() + rest, NOW + days * DAY) == (
        f"{name}@example.org" if not is_srs(name) else SRS.original(address, NOW)
    )


def test_it_ends() -> None:
    with pytest.raises(NotOurs, match="expired"):
        SRS.original(made("ann@example.org"), NOW + (DAYS + 1) * DAY)
    with pytest.raises(NotOurs, match="expired"):
        SRS.original(made("ann@example.org"), NOW - DAY)


@pytest.mark.parametrize(
    ("was", "becomes"), [("=ann@", "=bob@"), ("example.org", "example.com"), ("SRS0=", "SRS0=A"), ("@forwarder", "x@forwarder")]
)
def test_one_that_was_changed_leads_nowhere(was: str, becomes: str) -> None:
    with pytest.raises(NotOurs, match="not made here"):
        SRS.original(made("ann@example.org").replace(was, becomes), NOW)


def test_the_day_cannot_be_changed() -> None:
    address = made("ann@example.org")
    later = made("ann@example.org", now=NOW + DAY)
    with pytest.raises(NotOurs, match="not made here"):
        SRS.original(address[:14] + later[14:16] + address[16:], NOW)


def test_a_new_key_signs_and_the_old_one_is_still_known() -> None:
    old, both, new = made("ann@example.org"), Srs([b"new", b"key"]), Srs([b"new"])
    assert both.original(old, NOW) == "ann@example.org"
    assert new.original(made("ann@example.org", by=both), NOW) == "ann@example.org"
    with pytest.raises(NotOurs):
        new.original(old, NOW)


def test_forwarded_again_it_leads_to_whoever_was_first() -> None:
    second, third = Srs([b"second"]), Srs([b"third"])
    first = made("ann@example.org")
    twice = made(first, "second.example", by=second)
    thrice = made(twice, "third.example", by=third)
    assert twice.startswith("SRS1=")
    assert thrice.startswith("SRS1=")
    assert len(thrice) - len("third.example") == len(twice) - len("second.example")
    assert second.original(twice, NOW) == first
    assert third.original(thrice, NOW) == first
    assert SRS.original(first, NOW) == "ann@example.org"
    with pytest.raises(NotOurs, match="not made here"):
        third.original(twice, NOW)


def test_the_separators_of_other_programs_are_kept() -> None:
    for separator in "+-":
        sender = f"SRS0{separator}abcd=XY=example.org=ann@first.example"
        assert SRS.original(made(sender), NOW) == sender


@pytest.mark.parametrize(
    "local",
    [
        *(
            "ann",
            "SRS0",
            "SRS0=",
            "SRS0=a",
            "SRS0=a=b",
            "SRS0=a=b=c",
            "SRS0=a=b=c=",
            "SRS0====",
            "SRS1=a",
            "SRS1=a=b",
            "SRS1=a=b=c",
        ),
        *("SRS1=a=b==c", "SRS2=a=b=c=d", "SRS0=AAAAAAAA=1!=example.org=ann", "SRS1=\udcff=b==c"),
    ],
)
def test_what_only_looks_like_one_leads_nowhere(local: str) -> None:
    with pytest.raises(NotOurs):
        SRS.original(f"{local}@forwarder.example", NOW)


@given(local=st.text(max_size=70))
def test_no_address_raises_anything_else(local: str) -> None:
    with pytest.raises(NotOurs):
        SRS.original(f"SRS0={local}@forwarder.example", NOW)
    with pytest.raises(NotOurs):
        SRS.original(f"SRS1={local}@forwarder.example", NOW)


def test_a_day_that_is_none_is_no_address_of_ours() -> None:
    by = Srs([b"key"])
    address = f"SRS0={by._hash(b'key', '!!', 'example.org', 'ann')}=!!=example.org=ann@forwarder.example"
    with pytest.raises(NotOurs, match="no SRS address"):
        by.original(address, NOW)


def test_what_would_be_too_long_is_not_made() -> None:
    assert SRS.rewritten("a" * 50 + "@a-domain-of-some-length.example.org", "forwarder.example", NOW) is None


def test_no_key_is_an_error() -> None:
    for keys in ([], [b""]):
        with pytest.raises(ValueError, match="needs a key"):
            Srs(keys)
