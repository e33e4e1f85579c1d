"""Messages that overlap on one connection, to servers that answer too much, too little, late or otherwise: what is reported as
accepted was accepted, and what was accepted is not reported as refused. Over both faces."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from itertools import count

import pytest

import waymail
import waymail.sync
from waymail.testing.peer import DROP, END, HANG, Answer, Peer, Rule

QUICK = waymail.Timeouts(connect=2, greeting=2, command=0.15, data=0.15, final=0.15, quit=0.15)
COUNT = 6


def messages() -> list[bytes]:
    return [f"From: a@example.com\r\nTo: to{n}@example.org\r\nSubject: {n}\r\n\r\nhello\r\n".encode() for n in range(COUNT)]


async def in_a_loop(peer: Peer, given: Sequence[bytes]) -> list[waymail.SendResult]:
    async with waymail.Client(f"smtp://{peer.address}?tls=off", timeout=QUICK, pool=waymail.Pool(max=1)) as client:
        return [result async for result in client.send_many(given)]


async def in_a_thread(peer: Peer, given: Sequence[bytes]) -> list[waymail.SendResult]:
    def results() -> list[waymail.SendResult]:
        with waymail.sync.Client(f"smtp://{peer.address}?tls=off", timeout=QUICK) as client:
            return list(client.send_many(given))

    return await asyncio.to_thread(results)


Face = Callable[[Peer, Sequence[bytes]], "asyncio.Future[list[waymail.SendResult]]"]


@pytest.fixture(params=[in_a_loop, in_a_thread], ids=["asyncio", "sync"])
def face(request: pytest.FixtureRequest) -> Face:
    found: Face = request.param
    return found


def at(number: int, answer: Answer) -> Callable[[bytes], Answer | None]:
    """This answer at that time, counted from 0, and the usual one before and after it."""
    times = count()
    return lambda line: answer if next(times) == number else None


def states(results: list[waymail.SendResult]) -> dict[bytes, str]:
    def state(result: waymail.SendResult) -> str:
        if result.error is None:
            return "accepted"
        return "uncertain" if isinstance(result.error, waymail.UncertainDelivery) else "refused"

    return {bytes(result.message or b""): state(result) for result in results}


async def outcome(face: Face, rules: Sequence[Rule]) -> tuple[list[str], Peer]:
    """What is reported of each message, in order; it is compared with what the peer took."""
    given = messages()
    async with asyncio.timeout(20), Peer(rules) as peer:
        found = states(await face(peer, given))
    assert found.keys() == set(given)
    taken = [message.content for message in peer.messages]
    for message, state in found.items():
        assert not (state == "accepted" and message not in taken), (message, peer.transcript)
        assert not (state == "refused" and message in taken), (message, peer.transcript)
    assert len(set(taken)) == len(taken), peer.transcript
    return [found[message] for message in given], peer


async def test_content_and_the_next_commands_leave_together(face: Face) -> None:
    ends, mails = count(), count()
    rules: list[Rule] = [
        # From the second message on, until the last, the reply to the content comes with the one to the next MAIL.
        (END.decode(), lambda line: b"" if 1 <= next(ends) < COUNT - 1 else None),
        ("MAIL", lambda line: b"250 2.0.0 taken\r\n250 2.1.0 ok\r\n" if next(mails) >= 2 else None),
    ]
    async with asyncio.timeout(20), Peer(rules) as peer:
        found = states(await face(peer, messages()))
    assert list(found.values()) == ["accepted"] * COUNT
    assert peer.connections == 1
    assert not any(command == b"RSET" for command in peer.commands)


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        # The reply to a dot is lost: that message is uncertain, and the next one untouched.
        ([(END.decode(), 2, DROP)], "aauaaa"),
        ([(END.decode(), 2, HANG)], "aauaaa"),
        ([(END.decode(), 2, b"")], "aauaaa"),
        ([(END.decode(), 1, b""), ("RCPT TO:<to2", -1, b"550 no\r\n")], "auraaa"),
        # Content is refused, early or late.
        ([(END.decode(), 2, b"550 5.7.1 spam\r\n")], "aaraaa"),
        ([(END.decode(), 2, b"421 4.3.2 closing\r\n")], "aaraaa"),
        ([("DATA", 2, b"354 go on\r\n554 5.6.0 no after all\r\n")], "aaaaaa"),
        # One reply too many.
        ([(END.decode(), 2, [b"250 taken\r\n250 and again\r\n"])], "aauaaa"),
        # All recipients of the next one are refused, with 354 and without.
        ([("RCPT TO:<to3", -1, b"550 5.1.1 no\r\n")], "aaaraa"),
        ([("RCPT TO:<to3", -1, b"550 5.1.1 no\r\n"), ("DATA", -1, b"354 go on\r\n")], "aaaraa"),
        ([("MAIL", 3, b"550 5.7.1 not you\r\n")], "aaaraa"),
        # 421 in between.
        ([("MAIL", 3, b"421 4.3.2 closing\r\n")], "aaaaaa"),
        ([("RCPT TO:<to3", 0, b"421 4.3.2 closing\r\n")], "aauaaa"),
        ([("DATA", 3, b"421 4.3.2 closing\r\n")], "aauaaa"),
        ([("DATA", 3, DROP)], "aauaaa"),
        # No transaction begins behind a refused one without RSET.
        ([(END.decode(), 2, b"550 no\r\n"), ("MAIL", 3, b"503 nested\r\n")], "aaraaa"),
        # 354 where it is not due.
        ([("RCPT TO:<to3", 0, b"354 go on\r\n")], "aauaaa"),
    ],
)
async def test_what_is_reported_is_what_happened(face: Face, script: list[tuple[str, int, Answer]], expected: str) -> None:
    rules: list[Rule] = [(moment, answer if number < 0 else at(number, answer)) for moment, number, answer in script]
    states, _ = await outcome(face, rules)
    assert "".join(state[0] for state in states) == expected


async def test_a_refusal_that_comes_with_the_next_354_costs_no_connection(face: Face) -> None:
    together = b"550 5.7.1 spam\r\n250 ok\r\n250 ok\r\n354 go on\r\n"
    script = [(END.decode(), 2, b""), ("MAIL", 3, b""), ("RCPT", 3, b""), ("DATA", 3, together)]
    async with asyncio.timeout(20), Peer([(moment, at(number, answer)) for moment, number, answer in script]) as peer:
        found = states(await face(peer, messages()))
    assert "".join(state[0] for state in found.values()) == "aaraaa"
    assert peer.connections == 1


MISSING: Sequence[Answer] = (b"", b"451 later\r\n", b"550 no\r\n", b"354 go on\r\n")
MORE: Sequence[Answer] = (
    b"250 ok\r\n250 ok\r\n",
    b"421 4.3.2 closing\r\n",
    b"451 later\r\n",
    b"550 no\r\n",
    DROP,
    b"354 go on\r\n",
)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("answers", [MISSING, MORE], ids=["missing", "more"])
async def test_no_sequence_of_answers_makes_one_message_taken_for_another(
    face: Face, seed: int, answers: Sequence[Answer]
) -> None:
    chance = random.Random(seed)

    def sometimes(line: bytes) -> Answer | None:
        return chance.choice(answers) if chance.random() < 0.1 else None

    await outcome(face, [(moment, sometimes) for moment in ("MAIL", "RCPT", "DATA", END.decode())])
