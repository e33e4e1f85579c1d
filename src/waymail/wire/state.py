"""The order of commands, as a table (RFC 5321 §4.1.4).

A session walks through few states. It begins in START, where nobody has said hello. EHLO or HELO leads to READY, MAIL opens a
transaction (MAIL), the first accepted RCPT makes it one that can be sent (RCPT), and DATA answered by 354 hands the line over
to the message (DATA), whose end leads back to READY. A message that comes in chunks (RFC 3030) has the line to itself
within a chunk only; between two of them commands are read (BDAT). Two exchanges borrow the line: AUTH, in which the client's
lines are answers to challenges (RFC 4954 §4), and TLS, from the 220 to STARTTLS until the handshake is over, in which nothing
that comes in is SMTP (RFC 3207 §4). CLOSED is where 221 and 421 lead, and
the end of a message of which it is disputed where it ended (`MESSAGE_DISPUTED`): what follows may be no commands at all.

A command does nothing by itself: **the reply moves the session**. Each row of `TABLE` is a state; it names the commands that
may stand in it, and for each of them the first digit of the reply that moves the session, and where to. A reply with any
other first digit leaves the session where it is, which is what RFC 5321 asks of refusals. A command that its row does not
name is answered by `out_of_sequence`, and changes nothing either.

RSET leads back to READY, except from START, where nothing was opened: a RSET must not pass for a hello. XCLIENT leads back to
START: behind a proxy, it is another client that speaks from then on.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

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
from waymail.wire.replies import Reply


class State(StrEnum):
    """Where a session stands. The values are what is hashed and shown; members are compared by identity."""

    START = "start"
    READY = "ready"
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"
    BDAT = "bdat"
    AUTH = "auth"
    TLS = "tls"
    CLOSED = "closed"


START, READY, MAIL, RCPT = State.START, State.READY, State.MAIL, State.RCPT
DATA, BDAT, AUTH, TLS, CLOSED = State.DATA, State.BDAT, State.AUTH, State.TLS, State.CLOSED

Moves = Mapping[int, State]

STAY: Final[Moves] = {}
EXCHANGE_OVER: Final[Moves] = {2: READY, 3: AUTH, 4: READY, 5: READY}
MESSAGE_OVER: Final[Moves] = {2: READY, 4: READY, 5: READY}
MESSAGE_DISPUTED: Final[Moves] = {2: CLOSED, 4: CLOSED, 5: CLOSED}
# After a BDAT that cannot be read, nobody knows what is content and what are commands.
LOST_COUNT: Final[Moves] = {5: CLOSED}

# These may stand wherever commands are read at all (RFC 5321 §4.1.4).
ANYWHERE: Final[Mapping[type, Moves]] = {Hello: {2: READY}, Noop: STAY, Help: STAY, Verify: STAY, Quit: {2: CLOSED}}

# BDAT itself moves nothing: what is answered is the end of its octets. A refusal ends the transaction (RFC 3030 §2).
CHUNKS: Final[Mapping[type, Moves]] = {Bdat: STAY, EndOfChunk: {2: BDAT, 4: READY, 5: READY}, EndOfData: MESSAGE_OVER}

TABLE: Final[Mapping[State, Mapping[type, Moves]]] = {
    START: {**ANYWHERE, Reset: STAY},
    READY: {
        **ANYWHERE,
        Reset: STAY,
        Mail: {2: MAIL},
        StartTls: {2: TLS},
        Auth: {2: READY, 3: AUTH},
        Etrn: STAY,
        XClient: {2: START},
        XForward: STAY,
    },
    MAIL: {**ANYWHERE, Reset: {2: READY}, Rcpt: {2: RCPT}},
    RCPT: {**ANYWHERE, Reset: {2: READY}, Rcpt: {2: RCPT}, Data: {3: DATA}, **CHUNKS},
    DATA: {EndOfData: MESSAGE_OVER},
    BDAT: {**ANYWHERE, Reset: {2: READY}, **CHUNKS},
    AUTH: {AuthResponse: EXCHANGE_OVER},
    TLS: {},
    CLOSED: {},
}

HELLO_FIRST = Reply(503, "say EHLO first", "5.5.1")
MAIL_FIRST = Reply(503, "MAIL comes first", "5.5.1")
RCPT_FIRST = Reply(503, "RCPT comes first", "5.5.1")
NO_VALID_RECIPIENTS = Reply(554, "no valid recipients", "5.5.1")
TRANSACTION_OPEN = Reply(503, "not in a mail transaction", "5.5.1")
NESTED_MAIL = Reply(503, "a mail transaction is open already", "5.5.1")
CHUNKS_BEGUN = Reply(503, "the content has begun to come by BDAT: it ends by BDAT LAST or RSET", "5.5.1")


def out_of_sequence(state: State, command: type, *, recipients_refused: bool) -> Reply:
    """The refusal of a command that may not stand in `state`. `recipients_refused`: a RCPT of this transaction was."""
    if state is START:
        return HELLO_FIRST
    if state is BDAT and command in (Rcpt, Data):
        return CHUNKS_BEGUN
    if command in (Data, Bdat) and state is MAIL:
        # RFC 2920 §3.1: a client that pipelines sends DATA although every RCPT was refused.
        return NO_VALID_RECIPIENTS if recipients_refused else RCPT_FIRST
    if command in (Rcpt, Data, Bdat):
        return MAIL_FIRST
    return NESTED_MAIL if command is Mail else TRANSACTION_OPEN
