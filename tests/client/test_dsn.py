from __future__ import annotations

from typing import Any

import pytest

from waymail.client.dsn import Dsn, Notify, notify_of
from waymail.mail.envelope import NO_OPTIONS, Options


@pytest.mark.parametrize(
    ("notify", "value"),
    [
        (None, ""),
        (Notify.NEVER, "NEVER"),
        (Notify.DELAY | Notify.SUCCESS, "SUCCESS,DELAY"),
        (Notify.SUCCESS | Notify.FAILURE | Notify.DELAY, "SUCCESS,FAILURE,DELAY"),
    ],
)
def test_the_value_of_notify_is_as_the_standard_writes_it(notify: Notify | None, value: str) -> None:
    assert Dsn(notify).value == value


def test_words_are_read_as_they_are_written() -> None:
    assert notify_of("") is None
    assert notify_of("never") is Notify.NEVER
    assert notify_of("success,DELAY") == Notify.SUCCESS | Notify.DELAY
    for wrong in ("ALWAYS", "NEVER,DELAY", "DELAY,", "DELAY\r\n"):
        with pytest.raises(ValueError, match="notify is NEVER"):
            notify_of(wrong)


def test_the_envelope_identifier_is_encoded_and_the_other_options_stay() -> None:
    options = Dsn(ret="HDRS", envid="order 7+1").within(Options(priority=3))
    assert options == Options(priority=3, ret="HDRS", envid="order+207+2B1")


def test_what_is_not_asked_for_is_left_as_it_was() -> None:
    assert Dsn(Notify.NEVER).within(NO_OPTIONS) == NO_OPTIONS


@pytest.mark.parametrize(
    "wrong",
    [
        {"notify": Notify.NEVER | Notify.SUCCESS},
        {"notify": Notify(0)},
        {"ret": "ALL"},
        {"envid": "a\r\nRCPT TO:<eve@example.org>"},
        {"envid": "\0"},
        {"envid": "Grüße"},
        {"envid": "x" * 101},
        {"envid": " " * 34},
    ],
    ids=str,
)
def test_what_the_standard_has_no_room_for_is_a_value_error(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Dsn(**wrong)
