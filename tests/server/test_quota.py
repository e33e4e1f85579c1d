"""How much a user may send, and that it is counted over a restart."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waymail.server.quota import DAY, FROZEN, HOUR, Quota
from waymail.server.users_file import AS_EVERYBODY, Allowance

NOON = 1_800_014_400.0 // DAY * DAY + 12 * HOUR


def quota(limits: Allowance = Allowance(2, 5, 3), path: Path | None = None, **own: Allowance) -> Quota:  # noqa: B008 - a constant
    return Quota(limits, allowance=lambda user: own.get(user, AS_EVERYBODY), is_frozen=lambda user: user == "frozen", path=path)


def test_the_messages_of_an_hour_are_limited_and_the_refusal_says_when_the_next_can_go() -> None:
    one = quota()
    for _ in range(2):
        assert one.check("ann", NOON) is None
        one.sent("ann", NOON, 1)
    refusal = one.check("ann", NOON + 60)
    assert refusal is not None
    assert (refusal.code, refusal.enhanced) == (450, "4.7.1")
    assert "13:00 UTC" in refusal.text
    assert one.check("ann", NOON + HOUR) is None
    assert one.check("bob", NOON) is None


def test_the_recipients_of_a_day_are_limited_at_rcpt_and_at_mail() -> None:
    one = quota(Allowance(0, 5, 0))
    one.sent("ann", NOON, 4)
    assert one.check("ann", NOON, 1) is None
    refusal = one.check("ann", NOON, 2)
    assert refusal is not None
    assert (refusal.code, refusal.enhanced) == (452, "4.7.1")
    assert "00:00 UTC" in refusal.text
    one.sent("ann", NOON, 1)
    at_mail = one.check("ann", NOON)
    assert at_mail is not None
    assert at_mail.code == 450
    assert one.check("ann", NOON + 12 * HOUR) is None


def test_the_recipients_of_a_message_are_limited() -> None:
    refusal = quota().check("ann", NOON, 4)
    assert refusal is not None
    assert (refusal.code, refusal.enhanced) == (452, "4.5.3")
    assert quota().check("ann", NOON, 3) is None


def test_a_user_s_own_numbers_go_first_and_zero_is_without_limit() -> None:
    one = quota(ann=Allowance(messages_per_hour=0, recipients_per_message=1))
    for _ in range(4):
        one.sent("ann", NOON, 1)
    assert one.check("ann", NOON, 1) is None
    assert one.check("ann", NOON, 2) is not None
    assert quota(AS_EVERYBODY).check("bob", NOON, 1_000_000) is None


def test_of_users_without_any_limit_nothing_is_kept() -> None:
    one = quota(AS_EVERYBODY, ann=Allowance(messages_per_hour=1))
    one.sent("bob", NOON, 1)
    one.sent("ann", NOON, 1)
    assert len(one) == 1
    assert one.check("ann", NOON) is not None


def test_a_frozen_account_is_refused_for_good() -> None:
    assert quota().check("frozen", NOON) == FROZEN


def test_counts_survive_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "sent.json"
    one = quota(path=path)
    one.sent("ann", NOON, 1)
    one.sent("ann", NOON, 1)
    one.save(NOON)
    assert quota(path=path).check("ann", NOON) is not None


def test_the_file_is_written_once_a_minute_at_most_but_at_the_stop(tmp_path: Path) -> None:
    path = tmp_path / "sent.json"
    one = quota(path=path)
    one.sent("ann", NOON, 1)
    one.save(NOON)
    one.sent("bob", NOON, 1)
    one.save(NOON + 30)
    assert set(json.loads(path.read_text())) == {"ann"}
    one.save(NOON + 30, stopping=True)
    assert set(json.loads(path.read_text())) == {"ann", "bob"}


@pytest.mark.parametrize("content", ["", "no json", "[1]", '{"ann": 3}', '{"ann": ["x"]}', '{"ann": [1, 2, 3, 4, 5]}'])
def test_a_file_that_makes_no_sense_is_logged_and_counting_begins_anew(
    tmp_path: Path, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "sent.json"
    path.write_text(content)
    with caplog.at_level(logging.ERROR, "waymail.server"):
        assert quota(path=path).check("ann", NOON) is None
    assert "counting begins anew" in caplog.text


def test_a_file_that_cannot_be_written_does_not_keep_mail_from_going(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").touch()
    one = quota(path=tmp_path / "file" / "sent.json")
    one.sent("ann", NOON, 1)
    with caplog.at_level(logging.ERROR, "waymail.server"):
        one.save(NOON, stopping=True)
    assert "could not be written" in caplog.text
    assert one.check("ann", NOON) is None


@given(st.lists(st.tuples(st.integers(0, 20), st.floats(0, 5 * DAY), st.integers(0, 50)), max_size=80))
def test_memory_is_bounded_and_nothing_is_negative_whatever_the_clock_does(sent: list[tuple[int, float, int]]) -> None:
    one = Quota(Allowance(3, 100, 50), allowance=lambda _: AS_EVERYBODY, is_frozen=lambda _: False, most=7)
    for user, now, recipients in sent:
        if one.check(f"user{user}", now, recipients) is None:
            one.sent(f"user{user}", now, recipients)
        assert len(one) <= 7
    assert one.check("who never sent", 3 * DAY, 1) is None


@given(st.integers(1, 20), st.integers(1, 40))
def test_exactly_as_many_messages_go_as_are_allowed(limit: int, tries: int) -> None:
    one = Quota(Allowance(limit, 0, 0), allowance=lambda _: AS_EVERYBODY, is_frozen=lambda _: False)
    gone = 0
    for _ in range(tries):
        if one.check("ann", NOON) is None:
            one.sent("ann", NOON, 1)
            gone += 1
    assert gone == min(limit, tries)
