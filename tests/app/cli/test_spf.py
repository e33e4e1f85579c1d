from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from waymail.app.cli import main
from waymail.app.cli.output import Exit
from waymail.testing.dns import DnsServer
from waymail.testing.zone import Zone

ZONE = Zone(
    {
        "example.org": {"TXT": ["v=spf1 a:mail.example.org include:_spf.example.net -all exp=why.%{d}"]},
        "mail.example.org": {"A": ["192.0.2.25"]},
        "_spf.example.net": {"TXT": ["v=spf1 ip4:198.51.100.0/24 ?all"]},
        "why.example.org": {"TXT": ["%{i} is not ours"]},
        "mx.example.org": {"TXT": ["v=spf1 ip4:192.0.2.1 -all"]},
        "broken.example": {"TXT": ["v=spf1 foo\x07bar -all"]},
        "down.example": "SERVFAIL",
    }
)


async def told(tmp_path: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """The exit code of `waymail spf`, and what it wrote; DNS is a real server on loopback."""
    async with DnsServer(ZONE) as server:
        config = tmp_path / "waymail.toml"
        config.write_text(f'hostname = "here.example"\n[dns]\nresolvers = ["{server.address}"]\n')
        code = await asyncio.to_thread(main, ["spf", *arguments, "--config", str(config)])
    output = capsys.readouterr()
    return code, output.out, output.err


async def test_the_evaluation_is_shown_as_a_tree_with_what_dns_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = await told(tmp_path, capsys, "192.0.2.1", "ann@example.org", "mx.example.org")
    assert (code, err) == (Exit.UNAVAILABLE, "")
    assert out.splitlines() == [
        "MAIL FROM ann@example.org: fail",
        "    example.org  v=spf1 a:mail.example.org include:_spf.example.net -all exp=why.%{d}",
        "        a:mail.example.org  no match: mail.example.org A 192.0.2.25",
        "        include:_spf.example.net  no match: _spf.example.net says neutral",
        "            _spf.example.net  v=spf1 ip4:198.51.100.0/24 ?all",
        "                ip4:198.51.100.0/24  no match",
        "                ?all  match",
        "        -all  match",
        "        exp=why.%{d}  explained: 192.0.2.1 is not ours",
        "    so: -all of example.org matches",
        "    example.org explains: 192.0.2.1 is not ours",
        "",
        "HELO mx.example.org: pass",
        "    mx.example.org  v=spf1 ip4:192.0.2.1 -all",
        "        ip4:192.0.2.1  match",
        "    so: ip4:192.0.2.1 of mx.example.org matches",
    ]


async def test_a_program_gets_both_results_with_their_steps(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = await told(tmp_path, capsys, "192.0.2.25", "ann@example.org", "mx.example.org", "--json")
    told_of = json.loads(out)
    assert code == Exit.OK
    assert [(one["identity"], one["domain"], one["result"], one["mechanism"]) for one in told_of["results"]] == [
        ("mailfrom", "example.org", "pass", "a:mail.example.org"),
        ("helo", "mx.example.org", "fail", "-all"),
    ]
    assert told_of["results"][0]["steps"][1] == {
        "depth": 0,
        "domain": "example.org",
        "term": "a:mail.example.org",
        "outcome": "match",
        "note": "mail.example.org A 192.0.2.25",
    }


@pytest.mark.parametrize(
    ("sender", "code", "first"),
    [
        ("a@broken.example", Exit.DATA, "MAIL FROM a@broken.example: permerror"),
        ("a@down.example", Exit.TEMPORARY, "MAIL FROM a@down.example: temperror"),
        ("<>", Exit.OK, "MAIL FROM <>: pass"),
        ("a@nowhere.example", Exit.OK, "MAIL FROM a@nowhere.example: none"),
    ],
)
async def test_the_exit_code_says_what_became_of_it(
    sender: str, code: Exit, first: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found, out, _ = await told(tmp_path, capsys, "192.0.2.1", sender, "mx.example.org")
    assert (found, out.splitlines()[0]) == (code, first)
    assert "\x07" not in out  # a stranger's record does not drive the terminal


async def test_what_is_no_ip_address_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = await told(tmp_path, capsys, "mx.example.org", "a@example.org", "mx.example.org")
    assert (code, out, err) == (Exit.USAGE, "", "waymail: mx.example.org is no IP address\n")


def test_without_a_configuration_the_resolvers_of_the_system_are_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WAYMAIL_CONFIG", raising=False)
    assert main(["spf", "192.0.2.1", "a@localhost", "mx"]) == Exit.OK  # neither name has to be asked for
    assert "'localhost' is not a domain name of several labels" in capsys.readouterr().out
