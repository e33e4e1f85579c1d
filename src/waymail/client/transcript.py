"""What was said in one attempt, kept for the case that it fails: the trace of a message shows it.

While all goes well nothing is made of it: what is kept are references to commands and replies that exist anyway, and they are
written out by `lines` alone. It promises that nothing secret gets out (what is said in AUTH is left out, and no content is
ever kept), and that there is an end: at most `MOST_LINES` lines of at most `LONGEST_LINE` characters, which hold no
control character.

    > what we said        < what the other side said        * what happened besides

A command stands with its reply, also where several left together (RFC 2920).
"""

from __future__ import annotations

import binascii
from collections.abc import Iterable, Iterator, Sequence

from waymail.client.errors import SMTPError
from waymail.client.transaction import Transaction
from waymail.mail.outcome import Peer
from waymail.wire import syntax
from waymail.wire.client import EndOfContent, Greeting, Response
from waymail.wire.commands import Auth, AuthResponse, Command, Rcpt, StartTls
from waymail.wire.replies import Reply

MOST_LINES = 40
LONGEST_LINE = 300
ACCEPTED_SHOWN = 3  # recipients accepted one after the other; the others are counted

Asked = Command | Greeting | EndOfContent


class Transcript:
    """One attempt, step by step: sessions that did not come about, transactions, and facts in words."""

    def __init__(self) -> None:
        self._steps: list[str | SMTPError | Transaction] = []

    def add(self, step: str | SMTPError | Transaction) -> None:
        """What happened next: a fact, the error for which there is no session, or a transaction."""
        self._steps.append(step)

    def lines(self) -> tuple[str, ...]:
        """All of it, as lines; where there are too many, the last ones."""
        lines: list[str] = []
        opening: Sequence[Response] | None = None  # of the session that the last step was in
        for step in self._steps:
            is_new = not (isinstance(step, Transaction) and step.opening is opening)
            opening = step.opening if isinstance(step, Transaction) else None
            lines += map(_clean, _lines(step, is_new_session=is_new))
        if len(lines) > MOST_LINES:
            left_out = len(lines) - MOST_LINES + 1
            lines[:left_out] = [f"* {left_out} lines before these are left out"]
        return tuple(lines)


def _lines(step: str | SMTPError | Transaction, *, is_new_session: bool) -> Iterator[str]:
    match step:
        case str():
            yield f"* {step}"
        case SMTPError():
            yield from step.dialogue
            if step.reply is None or not step.dialogue:  # else the reply is the last line, and says why
                host = "" if step.peer is None or step.peer.host in str(step) else f"{step.peer.host}: "
                yield f"* {host}{step}"
        case Transaction():
            if is_new_session:
                yield from session_lines(step.peer, step.opening)
                if step.number > 1:
                    yield f"* the connection is kept for several messages; this is number {step.number}"
            yield from _transaction(step)


def _transaction(transaction: Transaction) -> Iterator[str]:
    mail, recipients, final = transaction.mail, transaction.recipients.values(), transaction.final
    if final is not None and final.is_positive and all(reply.is_positive for reply in recipients):
        # One of several, for there is nobody to fail in it: what matters should not be cut off for it.
        yield f"* all went well for {len(recipients)} recipients"
        return
    yield from _exchanges(transaction.peer, transaction.heard)
    yield from _unanswered(transaction.unanswered)
    shown = {id(response.reply) for response in transaction.heard}
    ours = {id(reply): reply for reply in (mail, *recipients, final) if reply is not None and id(reply) not in shown}
    for reply in ours.values():
        yield f"* not sent to this host: {reply}"
    if transaction.trouble is not None and id(transaction.trouble.reply) not in shown:
        yield f"* {transaction.trouble}"
    if transaction.uncertain:
        yield "* the whole message was sent, and its reply did not come: it may have been taken"


def session_lines(peer: Peer, heard: Sequence[Response], unanswered: Iterable[Asked] = ()) -> Iterator[str]:
    """How a session with `peer` was opened, or was not: what is still `unanswered` then."""
    yield f"* connected to {peer.host}" + (f" [{peer.address}]" if peer.address else "")
    if peer.tls and not any(isinstance(response.command, StartTls) for response in heard):
        yield f"* {peer.tls}"
    yield from _exchanges(peer, heard)
    yield from _unanswered(unanswered)


def _exchanges(peer: Peer, heard: Iterable[Response]) -> Iterator[str]:
    accepted = 0
    secrets: list[bytes] = []
    for response in heard:
        command, reply = response.command, response.reply
        if isinstance(command, Auth | AuthResponse):
            secrets.append(_secret(command))
        if isinstance(command, Rcpt) and reply.is_positive:
            accepted += 1
            if accepted > ACCEPTED_SHOWN:
                continue
        elif accepted:
            yield from _more(accepted)
            accepted = 0
        yield from _said(command)
        yield from _replied(command, reply, secrets)
        if isinstance(command, StartTls) and reply.code == 220 and peer.tls:
            yield f"* {peer.tls}"
    yield from _more(accepted)


def _more(accepted: int) -> Iterator[str]:
    if accepted > ACCEPTED_SHOWN:
        yield f"* {accepted - ACCEPTED_SHOWN} more recipients were accepted"


def _unanswered(commands: Iterable[Asked]) -> Iterator[str]:
    for command in commands:
        yield from _said(command)


def _said(command: Asked | None) -> Iterator[str]:
    match command:
        case None | Greeting():
            pass
        case EndOfContent(recipient):
            yield f"> (the content, for {recipient})" if recipient else "> (the content)"
        case Auth(mechanism, initial):
            yield f"> AUTH {mechanism}" if initial is None else f"> AUTH {mechanism} ***"
        case AuthResponse():
            yield "> ***"
        case _:
            yield "> " + syntax.encode(command).decode("utf-8", "replace").rstrip("\r\n")


def _replied(command: Asked | None, reply: Reply, secrets: Sequence[bytes]) -> Iterator[str]:
    is_challenge = isinstance(command, Auth | AuthResponse) and reply.code == 334
    text = "***" if is_challenge else hidden(reply.text, secrets)
    lead = f"{reply.enhanced} " if reply.enhanced else ""
    *lines, last = text.split("\n")
    for line in lines:
        yield f"< {reply.code}-{lead}{line}"
    yield f"< {reply.code} {lead}{last}".rstrip()


def _secret(command: Auth | AuthResponse) -> bytes:
    return (command.initial if isinstance(command, Auth) else command.response) or b""


def hidden(text: str, secrets: Iterable[bytes]) -> str:
    """The text of a reply without what was said in AUTH, which a server may say after us."""
    for secret in secrets:
        if secret:
            text = text.replace(binascii.b2a_base64(secret, newline=False).decode(), "***")
    return text


def _clean(line: str) -> str:
    if len(line) > LONGEST_LINE:
        line = line[: LONGEST_LINE - 3] + "..."
    if line.isprintable():
        return line
    # Escapes make a line longer, hence the second cut.
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in line)[:LONGEST_LINE]
