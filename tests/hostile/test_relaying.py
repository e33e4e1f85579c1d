"""Whoever may not relay gets nothing to another domain, however the address is spelled, and whoever he says that he is."""

from __future__ import annotations

import pytest
from tests.hostile.lenient import LenientReceiver
from tests.hostile.target import TRUSTED, Target
from tests.server.real_sockets import Client, code

FOREIGN = [
    "<user%foreign.example@example.org>",
    "<foreign.example!user@example.org>",
    '<"user@foreign.example"@example.org>',
    '<"user@foreign.example">',
    "<user@foreign.example>",
    "<USER@FOREIGN.EXAMPLE>",
    "<@example.org:user@foreign.example>",
    "<@example.org,@mail.example.org:user@foreign.example>",
    "<user@[127.0.0.1]>",
    "<user@[IPv6:::1]>",
    "<user@[192.0.2.1]>",
    "<user@foreign.example.>",
    "<user@.foreign.example>",
    "<user@foreign.example@example.org>",
    "<user@example.org@foreign.example>",
    "<ann@example.org%foreign.example>",
    "<ann@example.org,user@foreign.example>",
    "<ann@example.org> <user@foreign.example>",
    "<ann@example.org>,<user@foreign.example>",
    "<ann@example.org>@foreign.example",
    "<ann@example.org\0@foreign.example>",
    "<user@foreign.example\0@example.org>",
    "<user\0@foreign.example>",
    "<user@foreign.example%00@example.org>",
    "<user@foreign.example%0d%0aRCPT>",
    "<ann@example.org",
    "<<user@foreign.example>>",
    "user@foreign.example",
    "< user@foreign.example>",
    "<user@foreign.example >",
    "<user@example.org.foreign.example>",
    "<user@foreign.example#example.org>",
    "<user@foreign.example;example.org>",
    "<user@foreign.example|example.org>",
    "<user@example.org/foreign.example>",
    "<user@exаmple.org>",  # noqa: RUF001 - a Cyrillic a
    "<user@xn--exmple-4nf.org>",
    "<user@exámple.org>",
    "<postmaster@foreign.example>",
    "<|/bin/sh@example.org>",
    '<"|/bin/sh"@example.org>',
    "</etc/passwd@example.org>",
    '<"../../etc/passwd"@any.example>',
    "<>",
    "<@>",
    "<@foreign.example>",
    "<user@>",
]
LOCAL = ["<ann@EXAMPLE.ORG>", "<ANN@Example.Org>", '<"ann"@example.org>', "<@foreign.example:ann@example.org>", "<Postmaster>"]
# Other spellings of example.org: as it is read everywhere, or not at all.
FULL_WIDTH = ["<ann@ｅｘａｍｐｌｅ.org>", "<ann@example。org>", "<user@ｆｏｒｅｉｇｎ.example>"]  # noqa: RUF001


@pytest.mark.parametrize("recipient", FOREIGN)
def test_a_recipient_elsewhere_is_refused_in_every_spelling(target: Target, recipient: str) -> None:
    client = target.greeted(source="127.0.0.2")
    parameters = "" if recipient.isascii() else " SMTPUTF8"
    assert client.say(f"MAIL FROM:<x@client.example>{parameters}")[0].startswith("250")
    assert client.say(f"RCPT TO:{recipient}")[0].startswith("5"), recipient
    assert client.say("DATA")[0][:3] in ("503", "554")
    client.close()


@pytest.mark.parametrize("recipient", LOCAL)
def test_every_spelling_of_a_local_recipient_is_local(target: Target, recipient: str) -> None:
    client = target.greeted(source="127.0.0.2")
    assert client.say("MAIL FROM:<x@client.example>", f"RCPT TO:{recipient}") == ["250 2.1.0", "250 2.1.5"]
    client.close()


@pytest.mark.parametrize("recipient", FULL_WIDTH)
def test_full_width_letters_lead_to_nobody_else(target: Target, recipient: str) -> None:
    client = target.greeted(source="127.0.0.2")
    client.say("MAIL FROM:<x@client.example> SMTPUTF8")
    said = client.say(f"RCPT TO:{recipient}")[0]
    assert said.startswith("5") or (said == "250 2.1.5" and "ｆ" not in recipient)  # noqa: RUF001
    client.close()


def test_the_log_tells_who_tried_to_relay_to_whom(target: Target) -> None:
    client = target.greeted(source="127.0.0.3")
    client.say("MAIL FROM:<spammer@client.example>", "RCPT TO:<victim@foreign.example>")
    line = target.logged("a recipient was refused", "peer=127.0.0.3", "victim@foreign.example")
    assert "from=spammer@client.example" in line
    assert "5.7.1" in line
    client.close()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("XCLIENT ADDR=127.0.0.100 LOGIN=ann", "5"),
        ("XFORWARD ADDR=127.0.0.100", "5"),
        ("PROXY TCP4 127.0.0.100 127.0.0.1 4711 25", "500"),
        ("ETRN foreign.example", "5"),
        ("AUTH PLAIN AGFubgBjb3JyZWN0IGhvcnNl", "5"),
        ("EXPN ann", "502"),
        ("TURN", "502"),
    ],
)
def test_a_stranger_who_speaks_for_somebody_else_is_not_believed(target: Target, line: str, expected: str) -> None:
    client = target.greeted(source="127.0.0.4")
    assert client.say(line)[0].startswith(expected)
    said = client.say("EHLO client.example", "MAIL FROM:<x@client.example>", "RCPT TO:<user@foreign.example>")
    assert said[2] == "550 5.7.1"
    client.close()


def test_a_proxy_header_before_the_greeting_is_a_bad_command(target: Target) -> None:
    client = target.connect(source="127.0.0.4")
    client.send(f"PROXY TCP4 {TRUSTED} 127.0.0.1 4711 25")
    assert code(client.reply()).startswith("220")
    assert code(client.reply()).startswith("500")
    said = client.say("EHLO client.example", "MAIL FROM:<x@client.example>", "RCPT TO:<user@foreign.example>")
    assert said[2] == "550 5.7.1"
    client.close()


@pytest.mark.parametrize("parameter", ["AUTH=ann@example.org", "AUTH=<>", "MT-PRIORITY=9"])
def test_a_forged_parameter_of_mail_gives_no_right(target: Target, parameter: str) -> None:
    client = target.greeted(source="127.0.0.5")
    client.say(f"MAIL FROM:<ann@example.org> {parameter}")
    assert client.say("RCPT TO:<user@foreign.example>")[0][:3] in ("550", "503")
    client.close()


def test_at_a_submission_listener_nobody_sends_without_a_password(target: Target) -> None:
    for listener in ("submission", "submission_tls", "normalising"):
        client = target.greeted(listener, "127.0.0.6")
        assert client.say("MAIL FROM:<ann@example.org>")[0].startswith("530")
        client.close()


def test_by_lmtp_nothing_is_relayed(target: Target) -> None:
    client = Client(f"unix:{target.process.directory}/lmtp.sock")
    client.reply()
    assert client.say("LHLO x", "MAIL FROM:<x@client.example>", "RCPT TO:<user@foreign.example>")[2] == "550 5.7.1"
    client.close()


def test_nothing_waits_for_another_domain_after_all_these_attempts(target: Target, plain: LenientReceiver) -> None:
    for recipient in FOREIGN:
        client = target.greeted(source="127.0.0.7")
        client.send(
            "MAIL FROM:<x@client.example> SMTPUTF8",
            f"RCPT TO:{recipient}",
            "RCPT TO:<ann@example.org>",
            "DATA",
            "Subject: relayed",
            ".",
        )
        client.send("QUIT")
        said = [code(reply)[:3] for reply in iter(client.reply, [])]
        assert said[:2] == ["250", said[1]]
        client.close()
    target.serves()
    assert not [one for one in target.queue() if one["sender"] == "x@client.example"]
    assert not [one for one in plain.messages if b"relayed" in one.content]
    assert all(recipient == ["ann@example.org"] for recipient in accepted(target))


def accepted(target: Target) -> list[list[str]]:
    """The recipients of each message that was accepted."""
    return [[one["address"] for one in story["recipients"]] for story in target.process.trace("x@client.example")]
