"""That the counting of the crash test sees what it is for."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest
from tests.system.crash_count import Count, Found, count, doubted, resent
from tests.system.crash_mail import Arrival, Sent, composed, opened

SENT = Sent("1@load.example", "relay", "s1@home.example", "taken", ["ok1@own.example", "no1@own.example"], "id1")
RECOVERED = {"kind": "recovered", "detail": {"to": ["ok1@own.example"], "uncertain": True}}
COPY = Arrival("next hop", "ok1@own.example", "id1", "1@load.example", whole=True)
NOTICE = {"id": "id2", "message_id": "<id2>", "sender": "", "recipients": [], "events": []}


def story(*events: Any, delivered: str = "delivered", failed: str = "failed", id: str = "id1") -> dict[str, Any]:
    states = {"ok1@own.example": delivered, "no1@own.example": failed}
    recipients = [{"address": address, "state": state, "reply": ""} for address, state in states.items()]
    return {"id": id, "message_id": "<1@load.example>", "sender": "s1@home.example", "recipients": recipients, "events": events}


def found(*arrivals: Arrival, failed: str = "no1@own.example") -> Found:
    return Found(list(arrivals), 1, Counter({("id1", failed): 1}))


def test_an_outcome_for_each_recipient_is_right() -> None:
    assert count([SENT], [story(), NOTICE], found(COPY), {}) == Count(messages=1, recipients=2, delivered=1, failed=1)


def test_a_second_copy_is_right_where_the_trace_has_a_doubt_and_only_there() -> None:
    assert "2 copies" in count([SENT], [story(), NOTICE], found(COPY, COPY), {}).wrong[0]
    result = count([SENT], [story(RECOVERED), NOTICE], found(COPY, COPY), {})
    assert (result.wrong, result.twice, result.doubts) == ([], 1, 1)
    assert "3 copies" in count([SENT], [story(RECOVERED), NOTICE], found(COPY, COPY, COPY), {}).wrong[0]


@pytest.mark.parametrize(
    ("told", "came", "wrong"),
    [
        ([], found(), "is lost"),
        ([story()], found(), "0 copies"),
        ([story(delivered="queued")], found(COPY), "is queued"),
        ([story(delivered="failed")], found(failed="ok1@own.example"), "is failed"),
        ([story(failed="delivered")], found(COPY), "is delivered"),
        ([story(), story(id="id3")], found(COPY), "more than 1"),
        ([story(), story(id="id3") | {"message_id": "<2@load.example>"}], found(COPY), "nobody sent"),
        ([story()], found(COPY, Arrival("Maildir", "ok1@own.example", "id4", "", whole=True)), "never accepted"),
        ([story()], found(Arrival("Maildir", "ok1@own.example", "id1", "1@load.example", whole=False)), "not what was sent"),
    ],
)
def test_what_must_not_be_is_seen(told: list[dict[str, Any]], came: Found, wrong: str) -> None:
    assert any(wrong in line for line in count([SENT], [*told, NOTICE], came, {}).wrong)


def test_a_notice_that_is_missing_is_seen() -> None:
    wrong = count([SENT], [story(), NOTICE], Found([COPY], 0), {}).wrong
    assert any("is failed: 0 copies, 0 notices" in line for line in wrong)
    assert "0 notices came, the queue made 1" in wrong


def test_what_was_refused_must_not_be_there() -> None:
    refused = Sent("1@load.example", "relay", "s1@home.example", "refused", list(SENT.recipients))
    assert any("refused" in line for line in count([refused], [story(), NOTICE], found(COPY), {}).wrong)


def test_a_doubt_is_counted_by_recipient() -> None:
    attempt = {"kind": "attempt", "detail": {"results": [{"to": ["a@x"], "uncertain": True}, {"to": ["b@x"]}]}}
    events = {"events": [attempt, {"kind": "recovered", "detail": {"to": ["a@x", "c@x"], "uncertain": True}}]}
    assert [doubted(events, address) for address in ("a@x", "b@x", "c@x")] == [2, 0, 1]


def test_a_copy_is_recognised_with_either_kind_of_line_ends() -> None:
    message = composed("7@load.example", "a@home.example", random.Random(1))
    received = b"Received: from x by crash.example.org with ESMTP\r\n\tid 362dcrkdg9v23; Thu\r\n" + message
    for copy in (received, received.replace(b"\r\n", b"\n") + b"\n"):
        assert (opened(copy).id, opened(copy).marker, opened(copy).whole) == ("362dcrkdg9v23", "7@load.example", True)
    assert not opened(received[:-80]).whole


def test_postfix_is_counted_once_for_each_time_that_it_was_left_without_an_answer() -> None:
    said = "{time} postfix postfix/smtp[12]: A1: {what} while sending end of data"
    log = [
        said.format(time="Nov 26 22:44:43", what="to=<a@x>, status=deferred (lost connection with x"),
        said.format(time="Nov 26 22:44:43", what="to=<b@x>, status=deferred (lost connection with x"),
        said.format(time="Nov  6 22:44:45", what="lost connection with x"),
        "Nov 26 22:44:46 postfix postfix/smtp[12]: A1: lost connection with x while performing the EHLO handshake",
    ]
    assert resent("\n".join(log)) == {"A1": 2}
