"""[inbound]: what it takes, and what is wrong or odd about it."""

from __future__ import annotations

from pathlib import Path

import pytest

from waymail.app.config import ConfigError, load, parse
from waymail.app.config.schema import Config
from waymail.app.config.show import settings
from waymail.app.wiring_inbound import rules

HOST = 'hostname = "mail.example.org"\n'


def parsed(text: str) -> Config:
    return parse(HOST + text, Path("/etc/waymail.toml"))


def problems(text: str) -> list[str]:
    """What is wrong, by key and without the place."""
    with pytest.raises(ConfigError) as caught:
        parsed(text)
    return [f"{one.key}: {one.message}" for one in caught.value.problems]


def test_without_a_section_strangers_are_judged() -> None:
    inbound = parsed("").inbound
    assert inbound.judge
    assert (inbound.on_dmarc_reject, inbound.on_spf_fail, inbound.on_temperror) == ("reject", "mark", "defer")
    assert rules(inbound).actions["dmarc_reject"] == "reject"


def test_values_are_shown_as_the_file_spells_them() -> None:
    text = '[inbound]\nquarantine = "header"\n[[inbound.dnsbl]]\nzone = "BL.example"\ncodes = { "127.0.0.2,4" = 1 }\n'
    shown = {one.key: one.text for one in settings(parsed(text))}
    assert shown["inbound.quarantine"] == '"header"'
    assert shown["inbound.dnsbl[0].zone"] == '"bl.example"'
    assert shown['inbound.dnsbl[0].codes."127.0.0.2,4"'] == "1.0"
    assert {one.key: one.text for one in settings(parsed(""))}["inbound.quarantine"] == '"folder:Junk"'


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('on_spf_fail = "rejct"', 'inbound.on_spf_fail: must be "accept" or "mark" or'),
        ('on_spfail = "mark"', 'inbound.on_spfail: no such key; did you mean "on_spf_fail"?'),
        ('quarantine = "Junk"', 'inbound.quarantine: must be "folder:Junk", with the name of a folder, or "header", not "Junk"'),
        ('quarantine = "folder:../x"', "inbound.quarantine: must be"),
        ('help_url = "mailto:x"', "inbound.help_url: must be a URL"),
        ('help_url = "https://x/{id}"', "inbound.help_url: {id} means nothing here: there are {code}, {rule} and {ip}"),
        ('dns_timeout = "5m"', "inbound.dns_timeout: must be 30s or less"),
        ("dnsbl_score = 0", "inbound.dnsbl_score: must be more than 0"),
        ('dnsbl_score = "high"', 'inbound.dnsbl_score: must be a number, like 1 or 0.5, not "high"'),
        ('policy = "ours"', "inbound.policy: must be the name of a class"),
        ('dnsbl = [{ zone = "a.example" }, { zone = "A.example" }]', "inbound.dnsbl[1].zone: a.example is asked already"),
        ('dnsbl = [{ zone = "a.example", codes = { "10.0.0.1" = 1 } }]', 'inbound.dnsbl[0].codes: "10.0.0.1" must be like'),
        ('dnsbl = [{ zone = "a.example", codes = 1 }]', "inbound.dnsbl[0].codes: must be a table"),
    ],
)
def test_what_cannot_be_meant_is_told_with_what_would_be_right(text: str, problem: str) -> None:
    [found] = problems(f"[inbound]\n{text}\n")
    assert found.startswith(problem)


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        ('on_temperror = "reject"', "refuses mail for good because of trouble"),
        ('trusted = ["0.0.0.0/0"]', "0.0.0.0/0 is everybody: nothing is judged"),
        ('on_early_talker = "mark"', "has no effect without greeting_delay"),
    ],
)
def test_what_is_odd_is_a_warning(text: str, warning: str) -> None:
    messages = [one.message for one in parsed(f"[inbound]\n{text}\n").source.warnings]
    assert any(warning in message for message in messages)


def test_files_and_classes_have_to_be_there_to_serve(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "odd").write_text("192.0.2.1\n300.1.1.1/99\n")
    file = tmp_path / "waymail.toml"
    file.write_text(HOST + '[inbound]\npolicy = "no_such_module:X"\n[inbound.lists]\nblock = ["none"]\nallow = ["odd"]\n')
    with pytest.raises(ConfigError) as caught:
        load(file, to_serve=True)
    told = {one.key: one.message for one in caught.value.problems}
    assert told.keys() == {"inbound.policy", "inbound.lists.block[0]"}
    assert "no_such_module cannot be imported" in told["inbound.policy"]
    file.write_text(HOST + '[inbound.lists]\nallow = ["odd"]\n')
    assert any("odd" in one.message for one in load(file, to_serve=True).source.warnings)
    assert caplog.records == []  # the warning says it, with its file and line
