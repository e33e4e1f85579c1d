"""[notices]: languages, files of texts, and who is told of double bounces."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from waymail.app.cli import main
from waymail.app.config import ConfigError, parse
from waymail.app.config.notices import read_texts
from waymail.app.config.schema import Config
from waymail.app.wiring import notice_writer
from waymail.mail.envelope import Body, Envelope, QueueIds, Recipient
from waymail.mail.notices import LANGUAGES, shipped
from waymail.queue.settle import Report
from waymail.store.contract import Pending
from waymail.wire.replies import Reply

BASE = """
hostname = "mail.example.org"
[[listener]]
kind = "mx"
address = "127.0.0.1:0"
tls = "off"
[domains."example.org"]
recipients = ["ann", "bob"]
aliases = { sales = ["ann", "far@example.net"], postmaster = "bob" }
"""


def config(folder: Path, notices: str = "", base: str = BASE) -> Config:
    return parse(base + "[notices]\n" + notices, folder / "waymail.toml", to_serve=True)


def wrong(folder: Path, notices: str) -> str:
    with pytest.raises(ConfigError) as caught:
        config(folder, notices)
    return str(caught.value)


# --- words ---


def test_the_words_are_english_unless_told_otherwise(tmp_path: Path) -> None:
    assert read_texts(config(tmp_path).notices.language) == shipped("en")
    assert read_texts(config(tmp_path, 'language = "de"').notices.language) == shipped("de")


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_template_that_is_printed_is_a_file_that_can_be_named(
    language: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["config", "notices", "--language", language]) == 0
    (tmp_path / "notices.toml").write_text(capsys.readouterr().out)
    assert read_texts(config(tmp_path, 'language = "notices.toml"').notices.language) == shipped(language)


def test_a_language_that_is_not_there_is_a_wrong_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "notices", "--language", "xx"]) == 64
    assert "say --language en or de" in capsys.readouterr().err


@pytest.mark.parametrize(("tag", "base"), [("de-AT", "de"), ("en-GB", "en"), ("fr", "en")])
def test_a_file_may_have_some_of_the_texts(tag: str, base: str, tmp_path: Path) -> None:
    (tmp_path / "notices.toml").write_text(f'language = "{tag}"\nsubject.failed = "Oje: {{to}}"\n')
    text = read_texts(config(tmp_path, 'language = "notices.toml"').notices.language)
    assert text.language == tag
    assert text.say("subject.failed", to="x") == "Oje: x"
    assert text.say("news.others") == shipped(base).say("news.others")


def test_each_mistake_in_a_file_is_told_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "notices.toml").write_text('sender = "Post"\n[subject]\nfailed = "{from}"\n\nfaild = "x"\n')
    told = wrong(tmp_path, 'language = "notices.toml"').splitlines()
    place = f"{tmp_path}/waymail.toml:11: notices.language: {tmp_path}/notices.toml"
    assert told == [
        f"{place}:3: subject.failed: {{from}} cannot stand here; what can is {{to}}",
        f'{place}:5: subject.faild: no such text; did you mean "failed"?',
    ]


@pytest.mark.parametrize(
    ("octets", "message"),
    [
        (None, "notices.toml: cannot be read: No such file or directory"),
        (b"\xff", "notices.toml:1: is not UTF-8"),
        (b"= 1", "notices.toml: not valid TOML: Invalid statement (at line 1, column 1)"),
    ],
)
def test_a_file_that_cannot_be_read_is_told(octets: bytes | None, message: str, tmp_path: Path) -> None:
    if octets is not None:
        (tmp_path / "notices.toml").write_bytes(octets)
    assert message in wrong(tmp_path, 'language = "notices.toml"')


@pytest.mark.parametrize("language", ['"fr"', "1", '""'])
def test_a_language_that_waymail_does_not_have_needs_a_file(language: str, tmp_path: Path) -> None:
    assert 'must be "en" or "de", or the path of a file of texts' in wrong(tmp_path, f"language = {language}")


# --- whom ---


@pytest.mark.parametrize("value", ['"nobody"', "true", '"ann@"'])
def test_who_is_told_of_double_bounces_is_an_address(value: str, tmp_path: Path) -> None:
    assert "notices.double_bounce: " in wrong(tmp_path, f"double_bounce = {value}")


def test_a_postmaster_whom_nothing_reaches_is_warned_of_and_the_lines_that_are_told_mend_it(tmp_path: Path) -> None:
    bare = BASE.partition("[domains")[0]

    def warned(notices: str, base: str) -> list[str]:
        return [warning.key for warning in config(tmp_path, notices, base).source.warnings]

    assert warned('double_bounce = "postmaster"', bare) == ["notices.double_bounce"]
    assert warned("", bare) == ["hostname"]
    [warning] = config(tmp_path, "", bare).source.warnings
    domain = re.search(r"add (\[domains\..+?\]) and below it (aliases = .*)$", warning.message)
    assert domain is not None
    lines = "\n".join(domain.groups()).replace("SOMEBODY@ELSEWHERE", "ann@example.net") + "\n"
    assert warned("", bare + lines) == []
    assert told(config(tmp_path, 'double_bounce = "postmaster"', bare + lines), "") == [
        ("ann@example.net", "postmaster@mail.example.org")
    ]
    assert warned('double_bounce = "postmaster"', BASE) == []


def test_a_smarthost_may_have_the_postmaster_but_not_for_strangers_who_are_refused_before(tmp_path: Path) -> None:
    bare = BASE.partition("[domains")[0] + '[routes]\n"*" = "smtp://relay.example.net"\n'
    assert not config(tmp_path, "", bare).source.warnings
    [warning] = config(tmp_path, "", bare.replace("127.0.0.1:0", "192.0.2.1:25")).source.warnings
    assert warning.key == "hostname"


def told(config: Config, sender: str) -> list[tuple[str, str | None]]:
    """Who gets the notice about a failed message of this sender."""
    report = Report(Pending(0, Recipient("x@example.net"), 1), Reply(550, "no", "5.1.1"))
    envelope = Envelope("0123456789abc", sender, (report.pending.recipient,), 0.0)
    notice = notice_writer(config, QueueIds(1)).write("failed", envelope, Body(b"\r\n", 2), [report], now=0.0)
    return [(one.address, one.original) for one in notice.envelope.recipients] if notice else []


@pytest.mark.parametrize(
    ("sender", "recipients"),
    [
        ("ann@example.org", [("ann@example.org", None)]),
        ("someone@example.net", [("someone@example.net", None)]),
        ("sales@example.org", [("ann@example.org", "sales@example.org"), ("far@example.net", "sales@example.org")]),
        ("ghost@example.org", []),
        ("", []),
    ],
)
def test_a_notice_goes_where_mail_to_its_sender_goes(sender: str, recipients: list[tuple[str, str]], tmp_path: Path) -> None:
    assert told(config(tmp_path), sender) == recipients


def test_the_postmaster_is_who_this_server_takes_for_him(tmp_path: Path) -> None:
    assert told(config(tmp_path, 'double_bounce = "postmaster"'), "") == [("bob@example.org", "postmaster@example.org")]
    bare = BASE.partition("[domains")[0]
    assert told(config(tmp_path, 'double_bounce = "postmaster"', bare), "") == [("postmaster@mail.example.org", None)]
    assert told(config(tmp_path, 'double_bounce = "far@example.net"'), "") == [("far@example.net", None)]
