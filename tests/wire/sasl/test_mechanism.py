from __future__ import annotations

import pytest

from waymail.wire.sasl.mechanism import Challenge, NeedsVerification, ServerExchange, sendable, user_name
from waymail.wire.sasl.plain import plain
from waymail.wire.sasl.saslprep import PreparationProblem


def test_a_user_name_has_its_domain_in_lower_case_and_its_local_part_as_it_is() -> None:
    assert user_name("Ann@EXAMPLE.Org.") == "Ann@example.org"
    assert user_name("a@B@EXAMPLE.org") == "a@B@example.org"


def test_a_user_name_without_a_domain_keeps_its_case() -> None:
    assert user_name("Ann") == "Ann"


def test_a_user_name_with_a_control_character_is_refused() -> None:
    with pytest.raises(PreparationProblem):
        user_name("ann\n@example.org")


def test_a_step_before_the_start_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(RuntimeError, match="not begun"):
        ServerExchange(plain).step(b"")


def test_a_second_start_is_a_mistake_of_the_caller() -> None:
    exchange = ServerExchange(plain)
    assert exchange.start(None) == Challenge(b"")
    with pytest.raises(RuntimeError, match="begun already"):
        exchange.start(None)


def test_a_step_after_the_end_is_a_mistake_of_the_caller() -> None:
    exchange = ServerExchange(plain)
    exchange.start(b"\0ann\0pw")
    with pytest.raises(RuntimeError, match="is over"):
        exchange.step(b"")


def test_a_password_is_not_shown_in_a_log() -> None:
    assert "pencil" not in repr(NeedsVerification("ann", "pencil"))


@pytest.mark.parametrize("text", ["", "a\0b"])
def test_what_plain_and_login_cannot_carry_is_refused_before_it_is_sent(text: str) -> None:
    with pytest.raises(ValueError, match="password must not"):
        sendable(text, "password")
