"""Lines, addresses, parameters and domains: whatever is read can be written again, and means the same.

Held to: a line makes the parser raise SyntaxProblem and nothing else; a command is written as one line or not at all
(ValueError); what was read and written reads the same; parameters that passed pass again unchanged and have a meaning; a domain
has one key, whichever way it is spelled.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace

from tests.fuzz.choices import Choices

from waymail.mail.envelope import Recipient
from waymail.mail.options import mail_parameters, options_of, rcpt_parameters
from waymail.wire import commands, domains, grammar, syntax
from waymail.wire.commands import Command, Mail, Rcpt
from waymail.wire.errors import SyntaxProblem
from waymail.wire.extensions import EVERYWHERE, TO_SOME
from waymail.wire.parameters import Terms, checked_mail_parameters, checked_rcpt_parameters

TERMS = Terms(extended=True, secure=True, message_size=1000, extensions=EVERYWHERE | TO_SOME, auth=True)
ALL = EVERYWHERE | TO_SOME | {"AUTH", "SIZE", "8BITMIME"}
NOW = 1_800_000_000.0


def _written(command: Command) -> bytes | None:
    try:
        line = syntax.encode(command)
    except ValueError:
        return None
    assert line.index(b"\r\n") == len(line) - 2, line
    assert b"\r" not in line[:-2], line
    assert b"\n" not in line[:-2], line
    assert b"\0" not in line, line
    return line[:-2]


def _check_line(line: bytes) -> None:
    try:
        command = syntax.parse(line)
    except SyntaxProblem as problem:
        assert problem.reply.is_permanent  # noqa: PT017 - what else it raises is the finding
        return
    assert b"\r" not in line
    assert b"\n" not in line
    written = _written(command)
    if written is not None:
        assert syntax.parse(written) == command, (line, written, command)
    if isinstance(command, Mail | Rcpt):
        _check_parameters(command)


def _check_parameters(command: Mail | Rcpt) -> None:
    try:
        if isinstance(command, Mail):
            parameters = checked_mail_parameters(command.parameters, TERMS) if command.parameters else command.parameters
            again = replace(command, parameters=parameters)
            if parameters:
                assert checked_mail_parameters(parameters, TERMS) == parameters
            options = options_of(parameters, NOW)
            onward = mail_parameters(options, ALL, NOW, authenticated=True)
            assert not onward or checked_mail_parameters(onward, TERMS) == onward
            _written(again)
        elif command.parameters:
            parameters = checked_rcpt_parameters(command.parameters, TERMS, utf8=True)
            recipient = Recipient(command.recipient, notify=parameters.get("NOTIFY") or "", orcpt=parameters.get("ORCPT") or "")
            for offered in (ALL, {"DSN"}):
                onward = dict(rcpt_parameters(recipient, offered))
                assert not onward or checked_rcpt_parameters(onward, TERMS, utf8=False)
    except SyntaxProblem as problem:
        assert problem.reply.is_permanent  # noqa: PT017


def _check_path(octets: bytes) -> None:
    for parse in (grammar.parse_path, grammar.parse_forward_path):
        with contextlib.suppress(SyntaxProblem):
            mailbox = parse(octets)
            assert mailbox.isprintable() or not mailbox.isascii()
            assert len(mailbox.encode()) <= 254
            if mailbox and mailbox.lower() != "postmaster":
                assert grammar.is_mailbox(mailbox)
                assert parse(b"<%s>" % mailbox.encode()) == mailbox


def _check_domain(text: str) -> None:
    key = domains.normal(text)
    assert domains.normal(key) == key or key.endswith(".")
    domains.to_unicode(text)
    try:
        ascii_form = domains.to_ascii(text)
    except domains.BadDomain:
        return
    assert ascii_form.isascii()
    assert domains.to_ascii(ascii_form) == ascii_form
    if not text.isascii():
        shown = domains.to_unicode(ascii_form)
        assert domains.normal(shown) == domains.normal(ascii_form) == key, (text, shown, ascii_form)


def _check_commands(text: str, more: str) -> None:
    """Commands made of anything, as a caller could make them."""
    made: list[Command] = [
        Mail(text, {"X": more}),
        Mail(text, {"SMTPUTF8": None}),
        Rcpt(text, {more: text}),
        commands.Hello(text),
        commands.Auth(more, text.encode("utf-8", "replace")),
        commands.Verify(text, utf8=True),
        commands.Help(text),
        commands.Etrn(text, below=True),
        commands.XClient({"NAME": text}),
        commands.XForward({more: text, "ADDR": None}),
    ]
    for command in made:
        _written(command)


def one_input(data: bytes) -> None:
    """The target: each line of the stream as a command, an address and a domain."""
    choices = Choices(data)
    for line in choices.stream.split(b"\r\n")[:50]:
        _check_line(line)
        _check_path(line)
        _check_path(b"<" + line + b">")
        _check_path(b"<a@" + line + b">")
        text = line.decode("utf-8", choices.one_of(["replace", "surrogateescape"]))
        _check_domain(text)
        _check_commands(text, line[-5:].decode("latin-1"))
        with contextlib.suppress(SyntaxProblem):
            decoded = grammar.decode_xtext(text)
            if decoded.isascii():
                assert grammar.decode_xtext(grammar.encode_xtext(decoded)) == decoded
