"""Delivery to a program: what it is given, and what its end means. With real programs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from waymail.delivery import pipe
from waymail.delivery.pipe import PipeTransport, Settings, judged
from waymail.delivery.turns import BUDGET
from waymail.mail.envelope import Body, Envelope, Origin, Recipient
from waymail.mail.outcome import Deferred, Delivered, Failed, Outcome
from waymail.net.process import Bounds, Ended

MESSAGE = b"Received: x\r\nReturn-Path: <forged@there.example>\r\nSubject: x\r\n\r\nHello\r\n.dot\r\n"
SHELL = ("/bin/sh", "-c")


def transport(*command: str, budget: float = BUDGET, **settings: object) -> PipeTransport:
    made = replace(Settings(command or ("/bin/cat",), timeout=20.0), **settings)  # type: ignore[arg-type]
    return PipeTransport(made, budget=budget)


def envelope(*addresses: str, sender: str = "bob@there.example", body: str = "8BITMIME") -> Envelope:
    recipients = tuple(map(Recipient, addresses))
    return Envelope("0123456789abc", sender, recipients, 1_800_000_000.0, body=body, origin=Origin(address="192.0.2.1"))


async def deliver(
    to: PipeTransport, *addresses: str, sender: str = "bob@there.example", content: bytes = MESSAGE
) -> dict[str, Outcome]:
    message = envelope(*addresses or ("ann@here.example",), sender=sender)
    return await to.deliver(message, Body(content, len(content)), message.recipients)


async def given(tmp_path: Path, words: Sequence[str], address: str, sender: str = "bob@there.example") -> list[str] | Outcome:
    """The arguments that a program gets, or the outcome where it was not run."""
    out = tmp_path / "arguments"
    script = f'for word in "$@"; do printf "%s\\n" "$word"; done >{out}'
    [outcome] = (await deliver(transport(*SHELL, script, "sh", *words), address, sender=sender)).values()
    return out.read_text().splitlines() if out.exists() else outcome


async def test_the_message_is_on_standard_input_with_the_fields_of_final_delivery_and_lf(tmp_path: Path) -> None:
    outcomes = await deliver(transport(*SHELL, f"cat >{tmp_path}/out"))
    [outcome] = outcomes.values()
    assert isinstance(outcome, Delivered)
    assert outcome.final
    assert (tmp_path / "out").read_bytes() == (
        b"Return-Path: <bob@there.example>\nDelivered-To: ann@here.example\nReceived: x\nSubject: x\n\nHello\n.dot\n"
    )


async def test_with_crlf_every_octet_is_as_it_was_received(tmp_path: Path) -> None:
    await deliver(transport(*SHELL, f"cat >{tmp_path}/out", lf=False))
    assert (tmp_path / "out").read_bytes().endswith(b"\r\nSubject: x\r\n\r\nHello\r\n.dot\r\n")


async def test_each_recipient_has_a_run_and_an_outcome_of_his_own() -> None:
    script = 'case "$1" in ann@*) exit 0;; bob@*) exit 67;; *) exit 75;; esac'
    outcomes = await deliver(transport(*SHELL, script, "sh", "{recipient}"), "ann@x", "bob@x", "carl@x")
    assert [type(outcomes[f"{name}@x"]) for name in ("ann", "bob", "carl")] == [Delivered, Failed, Deferred]


async def test_arguments_have_the_placeholders_filled_in_and_no_shell_reads_them(tmp_path: Path) -> None:
    words = ["--to={recipient}", "{local}", "{user}", "{detail}", "{domain}", "{sender}", "{id}", "{print $1}", "$(id); *"]
    found = await given(tmp_path, words, '"a;$(id)+x y"@Here.Example')
    assert found == [
        '--to="a;$(id)+x y"@Here.Example', "a;$(id)+x y", "a;$(id)", "x y", "here.example", "bob@there.example",
        "0123456789abc", "{print $1}", "$(id); *",
    ]  # fmt: skip


async def test_an_address_cannot_become_an_option(tmp_path: Path) -> None:
    refused = await given(tmp_path, ["{recipient}"], "-oX@here.example")
    assert isinstance(refused, Failed)
    assert refused.reply.enhanced == "5.1.3"
    refused = await given(tmp_path, ["{sender}", "{recipient}"], "ann@here.example", sender="-f@evil.example")
    assert isinstance(refused, Failed)
    assert refused.reply.enhanced == "5.1.7"
    assert isinstance(await given(tmp_path, ["{detail}{local}"], "-x@here.example"), Failed)


async def test_behind_two_hyphens_or_inside_a_word_it_may_begin_with_one(tmp_path: Path) -> None:
    assert await given(tmp_path, ["--", "{recipient}"], "-oX@here.example") == ["--", "-oX@here.example"]
    assert await given(tmp_path, ["--to={local}"], "-oX@here.example") == ["--to=-oX"]


async def test_the_null_path_is_an_empty_argument(tmp_path: Path) -> None:
    assert await given(tmp_path, ["-f", "{sender}", "x"], "ann@here.example", sender="") == ["-f", "", "x"]


async def test_the_environment_tells_of_the_message_and_has_what_the_operator_names(tmp_path: Path) -> None:
    named = {"API_KEY": "k", "SENDER": "not this one"}
    await deliver(transport(*SHELL, f"env >{tmp_path}/env", environment=named), "ann+lists@here.example")
    found = dict(line.split("=", 1) for line in (tmp_path / "env").read_text().splitlines())
    assert found == {
        "API_KEY": "k", "RECIPIENT": "ann+lists@here.example", "ORIGINAL_RECIPIENT": "ann+lists@here.example",
        "LOCAL": "ann+lists", "DETAIL": "lists", "DOMAIN": "here.example", "SENDER": "bob@there.example",
        "QUEUE_ID": "0123456789abc", "CLIENT_ADDRESS": "192.0.2.1", "PATH": pipe.PATH, "LANG": "C.UTF-8", "PWD": "/",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("status", "kind", "enhanced"),
    [
        (0, Delivered, "2.0.0"),
        (65, Failed, "5.6.0"),
        (67, Failed, "5.1.1"),
        (68, Failed, "5.1.2"),
        (69, Failed, "5.3.0"),
        (76, Failed, "5.5.0"),
        (77, Failed, "5.7.0"),
        *((status, Deferred, "4.3.0") for status in (1, 64, 66, 70, 71, 72, 73, 74, 75, 78, 126, 127, 255, -9, -11)),
    ],
)
def test_the_exit_status_means_what_sysexits_says(status: int, kind: type[Outcome], enhanced: str) -> None:
    outcome = judged(Ended(status, b"secret detail\n"))
    assert type(outcome) is kind
    assert outcome.reply.enhanced == enhanced
    assert "secret" not in str(outcome.reply), "what a program says is for the operator"
    if isinstance(outcome, Deferred):
        assert "secret detail" in outcome.cause


@pytest.mark.parametrize(
    ("output", "status", "kind", "reply"),
    [
        (b"\n5.2.1 this mailbox is closed\nmore", 1, Failed, "554 5.2.1 this mailbox is closed"),
        (b"4.2.2 come back later\n", 77, Deferred, "451 4.2.2 come back later"),
        (b"5.2.1 closed\x1b[31m\r\n", 75, Failed, "554 5.2.1 closed [31m"),
        (b"5.2.1 nobody hears this\n", 0, Delivered, "250 2.0.0 taken by the program for this address"),
        (b"5.2.1 nor this\n", -9, Deferred, "451 4.3.0 the program for this address failed"),
        (b"2.0.0 neither is this a failure\n", 75, Deferred, "451 4.3.0 the program for this address failed"),
    ],
)
def test_output_that_begins_with_a_status_code_is_what_the_sender_is_told(
    output: bytes, status: int, kind: type[Outcome], reply: str
) -> None:
    outcome = judged(Ended(status, output))
    assert type(outcome) is kind
    assert str(outcome.reply) == reply


def test_the_trace_has_the_first_lines_of_the_output() -> None:
    outcome = judged(Ended(75, b"one\n\n  two \xff\n" + b"x" * 1000 + b"\n" + b"y\n" * 100))
    assert isinstance(outcome, Deferred)
    assert outcome.dialogue[:3] == ("exit status 75", "one", "two \ufffd")
    assert len(outcome.dialogue[3]) == pipe.SAID
    assert len(outcome.dialogue) == 1 + pipe.LINES


async def test_one_that_takes_too_long_is_uncertain() -> None:
    [outcome] = (await deliver(transport(*SHELL, "echo busy; exec sleep 60", timeout=0.3))).values()
    assert isinstance(outcome, Deferred)
    assert outcome.uncertain
    assert "busy" in outcome.cause


async def test_a_program_that_is_missing_is_the_operators_to_mend_and_holds_up_all_that_is_for_it() -> None:
    [outcome] = (await deliver(transport("/nothing/here"))).values()
    assert isinstance(outcome, Deferred)
    assert outcome.destination_down
    assert outcome.reply.enhanced == "4.3.5"
    assert "/nothing/here" in outcome.cause
    assert "/nothing" not in str(outcome.reply)


async def test_a_body_that_cannot_be_read_defers(tmp_path: Path) -> None:
    message = envelope("ann@here.example")
    outcomes = await transport().deliver(message, Body(tmp_path / "missing", 10), message.recipients)
    [outcome] = outcomes.values()
    assert isinstance(outcome, Deferred)
    assert not outcome.destination_down


async def test_no_more_run_at_a_time_than_are_allowed(tmp_path: Path) -> None:
    script = f"mkdir {tmp_path}/$$; ls {tmp_path} | wc -l >{tmp_path}/../$$.seen; sleep 0.1; rmdir {tmp_path}/$$"
    folder = tmp_path / "running"
    folder.mkdir()
    script = script.replace(str(tmp_path), str(folder))
    await deliver(transport(*SHELL, script, concurrency=2), *(f"{n}@x" for n in range(6)))
    seen = [int(file.read_text()) for file in tmp_path.glob("*.seen")]
    assert len(seen) == 6
    assert max(seen) == 2


async def test_who_has_no_turn_in_time_waits_for_the_next_attempt() -> None:
    to = transport(*SHELL, "sleep 0.5", concurrency=1, budget=0.1)
    outcomes = await deliver(to, "a@x", "b@x")
    assert isinstance(outcomes["a@x"], Delivered)
    assert isinstance(outcomes["b@x"], Deferred)
    assert not outcomes["b@x"].uncertain


async def test_bounds_are_the_programs(tmp_path: Path) -> None:
    await deliver(transport(*SHELL, f"cat /proc/self/limits >{tmp_path}/out", bounds=Bounds(memory=300_000_000)))
    assert "300000000" in (tmp_path / "out").read_text()


def test_a_placeholder_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\{nobody\}"):
        transport("/bin/cat", "{nobody}")
