"""Command lines, read and written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waymail.wire.commands import (
    Auth,
    AuthResponse,
    Bdat,
    Command,
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
from waymail.wire.errors import SyntaxProblem
from waymail.wire.syntax import encode, parse


@pytest.mark.parametrize(
    ("line", "command"),
    [
        (b"EHLO client.example", Hello("client.example")),
        (b"HELO client.example", Hello("client.example", extended=False)),
        (b"EHLO [192.0.2.1] a host", Hello("[192.0.2.1]")),
        (b"MAIL FROM:<>", Mail("")),
        (b"MAIL FROM:<a@example.org>", Mail("a@example.org")),
        (b"MAIL FROM: <a@example.org>", Mail("a@example.org")),
        (b"mail from:<a@example.org> size=5 BODY=8BITMIME", Mail("a@example.org", {"SIZE": "5", "BODY": "8BITMIME"})),
        (b'MAIL FROM:<"a b> SIZE=1"@example.org> SIZE=2', Mail('"a b> SIZE=1"@example.org', {"SIZE": "2"})),
        (b"MAIL FROM:<> SIZE=2", Mail("", {"SIZE": "2"})),
        (b"RCPT TO:<B@Example.org>", Rcpt("B@Example.org")),
        (b"RCPT TO:<b@[192.0.2.1]>", Rcpt("b@[192.0.2.1]")),
        (b"RCPT TO:<@x.example:b@example.org> X", Rcpt("b@example.org", {"X": None})),
        (b"RCPT TO:<PostMaster>", Rcpt("PostMaster")),
        (b"DATA", Data()),
        (b"data \t", Data()),
        (b"RSET", Reset()),
        (b"QUIT", Quit()),
        (b"NOOP", Noop()),
        (b"NOOP anything", Noop()),
        (b"HELP", Help()),
        (b"HELP mail", Help("mail")),
        (b"VRFY ann", Verify("ann")),
        (b"STARTTLS", StartTls()),
        (b"AUTH PLAIN", Auth("PLAIN")),
        (b"auth plain AGEAYg==", Auth("PLAIN", b"\0a\0b")),
        (b"AUTH EXTERNAL =", Auth("EXTERNAL", b"")),
        (b"LHLO client.example", Hello("client.example", lmtp=True)),
        (b"MAIL FROM:<\xc3\xa9@b> SMTPUTF8", Mail("é@b", {"SMTPUTF8": None})),
        (b"RCPT TO:<b@\xc3\xa9.example> ORCPT=utf-8;\xc3\xa9", Rcpt("b@é.example", {"ORCPT": "utf-8;é"})),
        (b"BDAT 9999999999999999999 LAST", Bdat(9_999_999_999_999_999_999, last=True)),
        (b"bdat 0", Bdat(0)),
        (b"VRFY ann SMTPUTF8", Verify("ann", utf8=True)),
        (b"VRFY \xc3\xa9 smtputf8", Verify("é", utf8=True)),
        (b"VRFY SMTPUTF8", Verify("SMTPUTF8")),
        (b"ETRN example.org", Etrn("example.org")),
        (b"ETRN @example.org", Etrn("example.org", below=True)),
        (b"XCLIENT addr=192.0.2.1 LOGIN=+C3+A9 NAME=[unavailable]", XClient({"ADDR": "192.0.2.1", "LOGIN": "é", "NAME": None})),
        (b"XFORWARD NAME=", XForward({"NAME": ""})),
    ],
)
def test_a_command_line_is_read(line: bytes, command: Command) -> None:
    assert parse(line) == command


@pytest.mark.parametrize(
    ("line", "code", "enhanced"),
    [
        (b"", 500, "5.5.2"),
        (b" ", 500, "5.5.2"),
        (b"FOO", 500, "5.5.2"),
        (b"DATA\0", 500, "5.5.2"),
        (b"\xff\xfe", 500, "5.5.2"),
        (b"NOOP\nQUIT", 500, "5.5.2"),
        (b"NOOP\rQUIT", 500, "5.5.2"),
        (b"MAIL FROM:<a@b>\nRCPT TO:<b@c>", 500, "5.5.2"),
        (b"EXPN list", 502, "5.5.1"),
        (b"turn", 502, "5.5.1"),
        (b"BURL imap:x", 502, "5.5.1"),
        (b"BDAT", 501, "5.5.4"),
        (b"BDAT 5 FIRST", 501, "5.5.4"),
        (b"BDAT " + b"1" * 20, 501, "5.5.4"),
        (b"LHLO", 501, None),
        (b"ETRN", 501, "5.5.4"),
        (b"ETRN #queue", 501, "5.5.4"),
        (b"XCLIENT", 501, "5.5.4"),
        (b"XCLIENT NAME=a=b", 501, "5.5.4"),
        (b"XFORWARD NAME=+0A", 501, "5.5.4"),
        (b"VRFY \xc3\xa9", 553, "5.6.7"),
        (b"VRFY  SMTPUTF8", 501, "5.5.4"),
        (b"EHLO", 501, None),
        (b"EHLO  x", 501, None),
        (b"HELO \xc3\xa9", 501, None),
        (b"MAIL", 501, "5.5.4"),
        (b"MAIL TO:<a@b>", 501, "5.5.4"),
        (b"MAIL FROM:a@b", 501, "5.5.4"),
        (b"MAIL FROM :<a@b>", 501, "5.5.4"),
        (b"MAIL FROM:<a@b", 501, "5.5.4"),
        (b"MAIL FROM:<a@b>SIZE=1", 501, "5.5.4"),
        (b"MAIL FROM:<a@b> SIZE=", 501, "5.5.4"),
        (b"MAIL FROM:<a@b> SIZE=1\x01", 501, "5.5.4"),
        (b"MAIL FROM:<a@b> SIZE=1 SIZE=1", 501, "5.5.4"),
        (b"MAIL FROM:<a>", 501, "5.1.7"),
        (b"MAIL FROM:<postmaster>", 501, "5.1.7"),
        (b"MAIL FROM:<a@b\0>", 501, "5.1.7"),
        (b"MAIL FROM:<" + b"a" * 65 + b"@b>", 501, "5.1.7"),
        (b"MAIL FROM:<\xc3@b>", 553, "5.6.7"),
        (b"MAIL FROM:<\xc2\x85@b>", 501, "5.1.7"),
        (b"MAIL FROM:<a@b> X=\xc3", 501, "5.5.4"),
        (b"RCPT TO:<>", 501, "5.1.3"),
        (b"RCPT TO:<b>", 501, "5.1.3"),
        (b"RCPT TO:<b@c.>", 501, "5.1.3"),
        (b"RCPT TO:<b@\xff>", 553, "5.6.7"),
        (b"RCPT FROM:<a@b>", 501, "5.5.4"),
        (b"DATA x", 501, "5.5.4"),
        (b"RSET x", 501, "5.5.4"),
        (b"QUIT now", 501, "5.5.4"),
        (b"STARTTLS x", 501, "5.5.4"),
        (b"VRFY", 501, "5.5.4"),
        (b"AUTH", 501, "5.5.4"),
        (b"AUTH PL.AIN", 501, "5.5.4"),
        (b"AUTH PLAIN AGEAYg", 501, "5.5.2"),
        (b"AUTH PLAIN =AAA", 501, "5.5.2"),
        (b"AUTH PLAIN AAA=BBB", 501, "5.5.2"),
        (b"AUTH PLAIN AG*AYg==", 501, "5.5.2"),
        (b"AUTH PLAIN AGEAYg== x", 501, "5.5.2"),
    ],
)
def test_a_bad_command_line_is_refused(line: bytes, code: int, enhanced: str | None) -> None:
    with pytest.raises(SyntaxProblem) as caught:
        parse(line)
    assert (caught.value.reply.code, caught.value.reply.enhanced) == (code, enhanced)


def test_the_case_of_a_local_part_is_kept() -> None:
    assert parse(b"rcpt to:<McAnn@EXAMPLE.org>") == Rcpt("McAnn@EXAMPLE.org")


@given(
    st.binary(max_size=80)
    | st.builds(lambda verb, rest: verb + b" " + rest, st.sampled_from([b"MAIL FROM:<", b"AUTH"]), st.binary())
)
def test_no_line_makes_the_parser_raise_anything_but_a_syntax_problem(line: bytes) -> None:
    try:
        command = parse(line)
    except SyntaxProblem:
        return
    assert b"\r" not in line
    assert b"\n" not in line
    assert command is not None


@pytest.mark.parametrize(
    ("command", "line"),
    [
        (Hello("client.example"), b"EHLO client.example\r\n"),
        (Hello("[192.0.2.1]", extended=False), b"HELO [192.0.2.1]\r\n"),
        (Mail(""), b"MAIL FROM:<>\r\n"),
        (Mail("a@b", {"SIZE": "5", "SMTPUTF8": None}), b"MAIL FROM:<a@b> SIZE=5 SMTPUTF8\r\n"),
        (Mail("a..b@docomo.example"), b"MAIL FROM:<a..b@docomo.example>\r\n"),
        (Rcpt('"a> b"@c'), b'RCPT TO:<"a> b"@c>\r\n'),
        (Rcpt("postmaster"), b"RCPT TO:<postmaster>\r\n"),
        (Auth("PLAIN", b"\0a\0b"), b"AUTH PLAIN AGEAYg==\r\n"),
        (Auth("EXTERNAL", b""), b"AUTH EXTERNAL =\r\n"),
        (Auth("LOGIN"), b"AUTH LOGIN\r\n"),
        (AuthResponse(None), b"*\r\n"),
        (AuthResponse(b""), b"\r\n"),
        (AuthResponse(b"x" * 100), b"eHh4" + b"eHh4" * 32 + b"eA==\r\n"),
        (Verify("ann"), b"VRFY ann\r\n"),
        (Help(), b"HELP\r\n"),
        (Help("mail"), b"HELP mail\r\n"),
        (StartTls(), b"STARTTLS\r\n"),
        (Data(), b"DATA\r\n"),
        (Reset(), b"RSET\r\n"),
        (Noop(), b"NOOP\r\n"),
        (Quit(), b"QUIT\r\n"),
        (Hello("client.example", lmtp=True), b"LHLO client.example\r\n"),
        (Bdat(0), b"BDAT 0\r\n"),
        (Bdat(5, last=True), b"BDAT 5 LAST\r\n"),
        (Mail("é@b", {"SMTPUTF8": None}), b"MAIL FROM:<\xc3\xa9@b> SMTPUTF8\r\n"),
        (Rcpt("é@b", {"ORCPT": "utf-8;é"}), b"RCPT TO:<\xc3\xa9@b> ORCPT=utf-8;\xc3\xa9\r\n"),
        (Verify("é", utf8=True), b"VRFY \xc3\xa9 SMTPUTF8\r\n"),
        (Etrn("example.org", below=True), b"ETRN @example.org\r\n"),
        (XClient({"NAME": None, "HELO": "a b"}), b"XCLIENT NAME=[UNAVAILABLE] HELO=a+20b\r\n"),
        (XForward({"SOURCE": "LOCAL"}), b"XFORWARD SOURCE=LOCAL\r\n"),
    ],
)
def test_a_command_is_written(command: Command, line: bytes) -> None:
    assert encode(command) == line


EVIL = ["a\r\nQUIT", "a\nQUIT", "a\rQUIT", "a\0b", "a\u0085b", "a\u2028b", "\ud800", "a@b\r\n", "a@b\n"]


@pytest.mark.parametrize("text", [*EVIL, "a> SIZE=1 <b", "a b@c", "<a@b>", ""])
def test_no_address_adds_a_line_or_an_argument(text: str) -> None:
    with pytest.raises(ValueError, match="cannot stand"):
        encode(Rcpt(text))
    if text:
        for parameters in ({}, {"SMTPUTF8": None}):
            with pytest.raises(ValueError, match="cannot stand"):
                encode(Mail(text, parameters))


@pytest.mark.parametrize("command", [Mail("é@b"), Mail("a@é.example", {"SIZE": "1"}), Mail("a@b", {"X": "é"})])
def test_nothing_beyond_ascii_stands_in_mail_without_smtputf8(command: Command) -> None:
    with pytest.raises(ValueError, match="SMTPUTF8"):
        encode(command)


def test_a_chunk_has_no_negative_size() -> None:
    with pytest.raises(ValueError, match="cannot stand"):
        encode(Bdat(-1))


@pytest.mark.parametrize("text", [*EVIL, "a b", ""])
def test_no_domain_of_etrn_and_no_attribute_adds_a_line_or_an_argument(text: str) -> None:
    for command in (Etrn(text), XClient({text: None}), XForward({text: "x"})):
        with pytest.raises(ValueError, match="cannot stand"):
            encode(command)


def test_an_attribute_that_xtext_cannot_hold_is_refused_and_one_attribute_there_must_be() -> None:
    for attributes in ({"NAME": "é"}, {}):
        with pytest.raises(ValueError, match=r"xtext|attribute"):
            encode(XClient(attributes))


@pytest.mark.parametrize("text", [*EVIL, "a b", ""])
def test_no_hello_name_mechanism_or_parameter_adds_a_line_or_an_argument(text: str) -> None:
    evil: list[Command] = [Hello(text), Auth(text), Mail("a@b", {text: None}), Mail("a@b", {"X": text}), Rcpt("a@b", {"X": text})]
    for command in evil:
        with pytest.raises(ValueError, match="cannot stand"):
            encode(command)


@pytest.mark.parametrize("text", EVIL)
def test_no_argument_of_vrfy_or_help_adds_a_line(text: str) -> None:
    for command in (Verify(text), Verify(text, utf8=True), Help(text)):
        with pytest.raises(ValueError, match="cannot stand"):
            encode(command)


@given(st.text(max_size=30), st.text(max_size=10))
def test_whatever_is_written_is_one_line_with_one_path(text: str, more: str) -> None:
    for command in (
        Mail(text),
        Rcpt(text, {"X": more}),
        Hello(text),
        Mail(text, {"SMTPUTF8": None}),
        Verify(text),
        Verify(text, utf8=True),
        Etrn(text),
        XClient({"NAME": text}),
        Auth("PLAIN", text.encode("utf-8", "replace")),
    ):
        try:
            line = encode(command)
        except ValueError:
            continue
        assert line.index(b"\r\n") == len(line) - 2
        assert b"\n" not in line[:-2]
        assert b"\0" not in line
