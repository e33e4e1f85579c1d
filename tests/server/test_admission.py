from __future__ import annotations

from ipaddress import ip_network
from typing import Any

from waymail.server.admission import Admission
from waymail.server.answers import TOO_MANY_CONNECTIONS, TOO_MANY_OF_YOUR_NETWORK, TOO_MANY_OF_YOURS, TOO_MANY_SESSIONS
from waymail.server.limits import Limits
from waymail.server.reception import Networks

OURS = Networks([ip_network("10.0.0.0/8")])


def admission(**limits: Any) -> Admission:
    return Admission(Limits(**limits), OURS)


def entering(door: Admission, *addresses: str, now: float = 0.0) -> list[str]:
    """What each is told: "" where it is let in."""
    return [str(refusal.text) if (refusal := door.enter(address, now)) else "" for address in addresses]


def test_past_the_bound_of_a_client_others_are_let_in_and_it_is_again_when_one_has_left() -> None:
    door = admission(sessions_per_client=2)
    assert entering(door, "192.0.2.1", "192.0.2.1") == ["", ""]
    assert door.enter("192.0.2.1", 0) is TOO_MANY_OF_YOURS
    assert door.enter("192.0.2.2", 0) is None
    door.leave("192.0.2.1")
    assert door.enter("192.0.2.1", 0) is None


def test_one_who_is_refused_takes_no_place() -> None:
    door = admission(sessions=10, sessions_per_client=1)
    entering(door, *["192.0.2.1"] * 50)
    assert door.total == 1


def test_past_the_bound_on_all_nobody_is_let_in() -> None:
    door = admission(sessions=2)
    assert entering(door, "192.0.2.1", "192.0.2.2") == ["", ""]
    assert door.enter("10.0.0.1", 0) is door.enter("", 0) is TOO_MANY_SESSIONS


def test_an_ipv6_64_is_one_client() -> None:
    door = admission(sessions_per_client=1)
    assert door.enter("2001:db8::1", 0) is None
    assert door.enter("2001:db8::ffff:2", 0) is TOO_MANY_OF_YOURS
    assert door.enter("2001:db8:0:1::1", 0) is None
    door.leave("2001:db8::abcd")
    assert door.enter("2001:db8::2", 0) is None


def test_the_bound_of_a_network_holds_for_all_in_it_but_not_for_ours() -> None:
    door = admission(sessions_per_network=2)
    assert entering(door, "192.0.2.1", "192.0.2.2") == ["", ""]
    assert door.enter("192.0.2.3", 0) is TOO_MANY_OF_YOUR_NETWORK
    assert entering(door, "192.0.3.1", "10.0.0.1", "10.0.0.2", "10.0.0.3") == [""] * 4
    door.leave("192.0.2.2")
    assert door.enter("192.0.2.3", 0) is None


def test_connections_are_counted_by_minute_the_refused_ones_not() -> None:
    door = admission(connections_per_minute=3)
    for _ in range(3):
        assert door.enter("192.0.2.1", 0.0) is None
        door.leave("192.0.2.1")
    assert door.enter("192.0.2.1", 0.0) is TOO_MANY_CONNECTIONS
    assert door.enter("192.0.2.2", 0.0) is None
    assert door.enter("192.0.2.1", 20.0) is None
    assert entering(door, *["10.0.0.1"] * 5, *[""] * 5) == [""] * 10


def test_messages_are_counted_by_user_and_else_by_client() -> None:
    door = admission(messages_per_minute=1)
    assert door.allows_message("192.0.2.1", "", 0.0)
    assert not door.allows_message("192.0.2.1", "", 0.0)
    assert door.allows_message("192.0.2.1", "ann", 0.0)
    assert not door.allows_message("192.0.2.2", "ann", 0.0), "she is the same from anywhere"
    assert all(door.allows_message("10.0.0.1", "", 0.0) for _ in range(5))
    assert all(admission().allows_message("192.0.2.1", "", 0.0) for _ in range(5)), "no limit unless one is set"


def test_where_sessions_are_scarce_those_who_hold_many_are_refused_first() -> None:
    door = admission(sessions=100, crowded=0.9, crowded_share=0.02)
    assert entering(door, *["192.0.2.1"] * 90) == [""] * 90
    assert (door.total, door.is_crowded) == (90, True)
    assert door.enter("192.0.2.1", 0) is TOO_MANY_SESSIONS
    assert entering(door, "192.0.2.2", "192.0.2.2", "10.0.0.1", "10.0.0.1", "10.0.0.1") == [""] * 5
    assert door.enter("192.0.2.2", 0) is TOO_MANY_SESSIONS
    assert [door.holds_many(one) for one in ("192.0.2.1", "192.0.2.2", "10.0.0.1")] == [True, False, False]
    for _ in range(6):
        door.leave("192.0.2.1")
    assert (door.total, door.is_crowded) == (89, False)
    assert door.enter("192.0.2.1", 0) is None


def test_a_few_sessions_are_never_scarce_before_they_are_used_up() -> None:
    door = admission(sessions=3)
    assert entering(door, *["192.0.2.1"] * 3) == [""] * 3
