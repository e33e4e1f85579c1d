"""The table of states."""

from __future__ import annotations

import pytest

from waymail.wire import state
from waymail.wire.commands import (
    Auth,
    AuthResponse,
    Bdat,
    Data,
    Etrn,
    Hello,
    Help,
    Mail,
    Noop,
    Quit,
    Rcpt,
    Reset,
    StartTls,
    Verify,
    XClient,
    XForward,
)
from waymail.wire.events import EndOfChunk, EndOfData
from waymail.wire.state import TABLE, State, out_of_sequence

COMMANDS = (Hello, StartTls, Auth, Mail, Rcpt, Data, Bdat, Reset, Verify, Help, Noop, Quit, Etrn, XClient, XForward)
READING = (State.START, State.READY, State.MAIL, State.RCPT, State.BDAT)


def test_every_state_has_its_row() -> None:
    assert set(TABLE) == set(State)


@pytest.mark.parametrize("command", [Reset, Noop, Verify, Help, Quit, Hello])
def test_these_stand_wherever_commands_are_read(command: type) -> None:
    assert {where for where, row in TABLE.items() if command in row} == set(READING)


@pytest.mark.parametrize("command", [StartTls, Auth, Mail, Etrn, XClient, XForward])
def test_these_stand_outside_of_a_transaction_only(command: type) -> None:
    assert [where for where, row in TABLE.items() if command in row] == [State.READY]


def test_only_the_message_and_the_exchange_stand_while_they_have_the_line() -> None:
    assert set(TABLE[State.DATA]) == {EndOfData}
    assert set(TABLE[State.AUTH]) == {AuthResponse}
    assert not TABLE[State.TLS]
    assert not TABLE[State.CLOSED]


def test_the_message_and_the_exchange_always_give_the_line_back() -> None:
    for moves in (*TABLE[State.DATA].values(), *TABLE[State.AUTH].values()):
        assert {2, 4, 5} <= set(moves)


def test_a_refused_chunk_ends_the_transaction_and_the_last_one_always_does() -> None:
    for where in (State.RCPT, State.BDAT):
        assert TABLE[where][EndOfChunk] == {2: State.BDAT, 4: State.READY, 5: State.READY}
        assert TABLE[where][EndOfData] == {2: State.READY, 4: State.READY, 5: State.READY}


def test_chunks_come_behind_a_recipient_or_another_chunk_only() -> None:
    assert {where for where, row in TABLE.items() if Bdat in row} == {State.RCPT, State.BDAT}
    assert {where for where, row in TABLE.items() if Data in row} == {State.RCPT}


@pytest.mark.parametrize("where", READING)
def test_a_refused_command_never_moves_the_session_where_commands_are_read(where: State) -> None:
    assert not any({4, 5} & set(moves) for kind, moves in TABLE[where].items() if kind in COMMANDS)


def test_every_state_can_be_reached() -> None:
    reached = {to for row in TABLE.values() for moves in row.values() for to in moves.values()}
    assert reached == set(State)


def test_only_xclient_leads_back_to_the_start() -> None:
    assert {kind for row in TABLE.values() for kind, moves in row.items() if State.START in moves.values()} == {XClient}


def test_a_reset_before_hello_does_not_pass_for_a_hello() -> None:
    assert TABLE[State.START][Reset] == {}


@pytest.mark.parametrize(("where", "command"), [(where, one) for where in READING for one in COMMANDS if one not in TABLE[where]])
def test_a_command_out_of_sequence_has_its_refusal(where: State, command: type) -> None:
    reply = out_of_sequence(where, command, recipients_refused=False)
    assert (reply.code, reply.enhanced) == (503, "5.5.1")


@pytest.mark.parametrize("command", [Data, Bdat])
def test_content_behind_refused_recipients_is_told_so_with_554(command: type) -> None:
    assert out_of_sequence(State.MAIL, command, recipients_refused=True) is state.NO_VALID_RECIPIENTS
    assert state.NO_VALID_RECIPIENTS.code == 554
