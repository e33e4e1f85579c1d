"""Our notices in the hands of others: programs that read bounces, mail programs that show them, and servers on the way back."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Mapping
from email import message_from_bytes
from email.policy import SMTP
from pathlib import Path

import pytest
from tests.interop.conftest import Mail
from tests.interop.keepers import SmtpSink
from tests.interop.test_content import AS_UTF8, send
from tests.interop.test_servers import TEXT
from tests.interop.town import Town
from tests.mail.test_notice_cases import CASES, FAILURES, notice

pytestmark = pytest.mark.interop

TYPED = {"no_such_domain": "bob@exmaple.net", "through_an_alias": "sales@example.org"}  # where it is not bob@example.net
ALIASED = {"through_an_alias": "bob@example.net"}

FLUFL = """\
import json, sys
from email import message_from_binary_file
from flufl.bounce import all_failures
found = (all_failures(message_from_binary_file(open(file, "rb"))) for file in sys.argv[1:])
print(json.dumps([[sorted(address.decode() for address in kind) for kind in kinds] for kinds in found]))
"""
SISIMAI = """\
use strict; use warnings; use Sisimai; use JSON::PP;
print encode_json([map { my $found = Sisimai->make($_, delivered => 1) || [];
    [map { [$_->recipient->address, $_->addresser->address, $_->action, $_->deliverystatus, $_->reason] } @$found] } @ARGV]);
"""
# What Sisimai calls the reason, where the case has one that it should see.
REASONS = {
    "no_such_user_gmail": "userunknown",
    "no_such_user_exchange": "userunknown",
    "no_such_domain": "hostunknown",
    "mailbox_full": "mailboxfull",
    "too_big": "mesgtoobig",
    "taken_for_spam": "spamdetected",
    "auf_deutsch": "userunknown",
    "delivered": "delivered",
}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """A notice of every case, in a file."""
    folder = tmp_path_factory.mktemp("notices")
    for case, (action, reply, peer, more) in FAILURES.items():
        (folder / case).write_bytes(notice(action, reply, peer, **more))
    return {case: folder / case for case in FAILURES}


def run(*command: str | Path, given: str = "") -> str:
    environment = {"LC_ALL": "C.UTF-8", "PATH": "/usr/bin:/bin", "HOME": "/nonexistent"}
    done = subprocess.run(command, input=given, capture_output=True, timeout=60, check=True, env=environment, encoding="utf-8")
    return done.stdout


def test_flufl_bounce_tells_failures_from_delays_and_from_good_news(files: Mapping[str, Path]) -> None:
    found = json.loads(run("/usr/bin/python3", "-c", FLUFL, *files.values()))
    for case, kinds in zip(files, found, strict=True):
        address, action = TYPED.get(case, "bob@example.net"), FAILURES[case][0]
        assert kinds == [[address] if action == "delayed" else [], [address] if action == "failed" else []], case


def test_sisimai_sees_who_failed_how_and_why(files: Mapping[str, Path]) -> None:
    found = json.loads(run("perl", "-e", SISIMAI, *files.values()))
    for case, reports in zip(files, found, strict=True):
        action, reply, _, _ = FAILURES[case]
        [(recipient, sender, seen, status, reason)] = reports
        assert recipient == ALIASED.get(case, TYPED.get(case, "bob@example.net"))
        assert (sender, seen, status) == ("ann@example.org", action, reply.status)
        assert reason == REASONS.get(case, reason), case


def test_mblaze_shows_the_whole_text_and_the_fields(files: Mapping[str, Path]) -> None:
    for case, file in files.items():
        top, _, text = (CASES / f"{case}.txt").read_text().partition("\n\n")
        shown = run("mshow", file)
        assert text in shown
        assert {line for line in top.splitlines() if not line.startswith("To:")} <= set(shown.splitlines()), case
        assert "Einladung" in shown
        kinds = [line.split()[1] for line in run("mshow", "-t", file).splitlines()[1:]]
        assert kinds[1:3] == ["text/plain", "message/delivery-status"], case


def test_s_nail_shows_the_text(files: Mapping[str, Path], tmp_path: Path) -> None:
    box = tmp_path / "box"
    box.write_bytes(b"".join(b"From MAILER-DAEMON Fri Jan 15 08:00:00 2027\n" + f.read_bytes().replace(b"\r\n", b"\n") + b"\n\n"
                             for f in files.values()))  # fmt: skip
    shown = run("s-nail", "-R", "-S", "ttycharset=utf-8", "-f", box, given="type *\nxit\n")
    for case in files:
        for line in (CASES / f"{case}.txt").read_text().splitlines()[4:]:
            assert line in shown, case


# --- on the way back ---


def test_a_notice_beyond_ascii_reaches_a_sender_behind_a_server_without_smtputf8(town: Town, local: str) -> None:
    send(town.mail.mx, f"{local}@sink.example", f"größe-{local}@sink.example", TEXT, AS_UTF8)
    kept = town.sink.wait_for(f"\nX-Rcpt-Args: <{local}@sink.example>")
    assert kept.isascii()
    report = message_from_bytes(kept, policy=SMTP)
    text, *others = report.iter_parts()
    assert [part.get_content_type() for part in others] == ["message/delivery-status", "message/global"]
    assert f"größe-{local}@sink.example" in text.get_content()
    assert rf"Final-Recipient: utf-8; gr\x{{F6}}\x{{DF}}e-{local}@sink.example".encode() in kept


MORE = """
[notices]
double_bounce = "postmaster"
language = "de"

[domains."alias.example"]
aliases = { gone = "gone@remote.example" }
"""


def test_a_double_bounce_reaches_the_postmaster_in_his_language(start_mail: Callable[..., Mail]) -> None:
    with SmtpSink("-f", "rcpt") as sink:  # refuses every recipient
        mail = start_mail(f"smtp://127.0.0.1:{sink.port}?tls=off", MORE)
        send(mail.mx, "", "gone@alias.example", b"Subject: x\r\n\r\nhello\r\n")
        (kept,) = mail.wait_for_mail("mail/any.example/postmaster")  # the server's own name is no domain: the first one counts
    report = message_from_bytes(kept, policy=SMTP)
    assert kept.startswith(b"Return-Path: <>\n")
    assert report["Subject"] == "Nicht zugestellt: eine Benachrichtigung an gone@alias.example"
    assert b"\nAction: failed\n" in kept
    assert b"\n\nhello\n" in kept, "what failed is in it"
