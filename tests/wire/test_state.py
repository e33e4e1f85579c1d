"""The table of states."""

from __future__ import annotations

import pytest

from waymail.wire import state
from waymail.wire.commands import Auth, AuthResponse, Data, Hello, Help, Mail, Noop, Quit, Rcpt, Reset, StartTls, Verify
from waymail.wire.events import EndOfData
from waymail.wire.state import TABLE, State, out_of_sequence

COMMANDS = (Hello, StartTls, Auth, Mail, Rcpt, Data, Reset, Verify, Help, Noop, Quit)
READING = (State.START, State.READY, State.MAIL, State.RCPT)


def test_every_state_has_its_row() -> None:
    assert set(TABLE) == set(State)


@pytest.mark.parametrize("command", [Reset, Noop, Verify, Help, Quit, Hello])
def test_these_stand_wherever_commands_are_read(command: type) -> None:
    assert {where for where, row in TABLE.items() if command in row} == set(READING)


def test_only_the_message_and_the_exchange_stand_while_they_have_the_line() -> None:
    assert set(TABLE[State.DATA]) == {EndOfData}
    assert set(TABLE[State.AUTH]) == {AuthResponse}
    assert not TABLE[State.TLS]
    assert not TABLE[State.CLOSED]


def test_the_message_and_the_exchange_always_give_the_line_back() -> None:
    for moves in (*TABLE[State.DATA].values(), *TABLE[State.AUTH].values()):
        assert {2, 4, 5} <= set(moves)


@pytest.mark.parametrize("where", READING)
def test_a_refusal_never_moves_the_session_where_commands_are_read(where: State) -> None:
    assert not any({4, 5} & set(moves) for moves in TABLE[where].values())


def test_a_state_can_be_reached_unless_it_is_the_first() -> None:
    reached = {to for row in TABLE.values() for moves in row.values() for to in moves.values()}
    assert reached == set(State) - {State.START}


def test_a_reset_before_hello_does_not_pass_for_a_hello() -> None:
    assert TABLE[State.START][Reset] == {}


@pytest.mark.parametrize(("where", "command"), [(where, one) for where in READING for one in COMMANDS if one not in TABLE[where]])
def test_a_command_out_of_sequence_has_its_refusal(where: State, command: type) -> None:
    reply = out_of_sequence(where, command, recipients_refused=False)
    assert (reply.code, reply.enhanced) == (503, "5.5.1")


def test_data_behind_refused_recipients_is_told_so_with_554() -> None:
    assert out_of_sequence(State.MAIL, Data, recipients_refused=True) is state.NO_VALID_RECIPIENTS
    assert state.NO_VALID_RECIPIENTS.code == 554
