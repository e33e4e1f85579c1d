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
        "bank.example": {"TXT": ["v=spf1 ip4:192.0.2.1 -all"]},
        "_dmarc.bank.example": {"TXT": ["v=DMARC1; p=reject"]},
        "shop.example": {"TXT": ["v=spf1 -all"]},
        "_dmarc.shop.example": {"TXT": ["v=DMARC1; p=quarantine"]},
        "_dmarc.down.example": "SERVFAIL",
    }
)
MESSAGE = "From: Clerk <clerk@bank.example>\nSubject: hello\n\nHello.\n"


async def verified(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    *options: str,
    message: str = MESSAGE,
    ip: str = "203.0.113.9",
    sender: str = "clerk@bank.example",
    inbound: str = "",
) -> tuple[int, str, str]:
    """The exit code of `waymail verify`, and what it wrote; DNS is a real server on loopback."""
    file, config = tmp_path / "message.eml", tmp_path / "waymail.toml"
    file.write_text(message)
    async with DnsServer(ZONE) as server:
        config.write_text(f'hostname = "here.example"\n[dns]\nresolvers = ["{server.address}"]\n[inbound]\n{inbound}')
        where = ["--ip", ip, "--helo", "mx.client.example", "--from", sender, "--config", str(config)]
        code = await asyncio.to_thread(main, ["verify", str(file), *where, *options])
    output = capsys.readouterr()
    return code, output.out, output.err


async def test_each_check_and_the_rule_that_decides_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = await verified(tmp_path, capsys)
    assert (code, err) == (Exit.UNAVAILABLE, "")
    lines = out.splitlines()
    assert lines[0].startswith("reject: dmarc_reject: bank.example asks to refuse mail")
    assert lines[1].startswith("  the client was told: 550 5.7.26 bank.example")
    assert "  spf    fail       -all of bank.example matches" in lines
    assert "  _dmarc.bank.example TXT       v=DMARC1; p=reject" in lines


async def test_the_fields_that_would_be_added_are_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = await verified(tmp_path, capsys, ip="192.0.2.1")
    assert code == Exit.OK
    assert out.splitlines()[0] == "accept"
    assert "fields that would be added\n  Authentication-Results: here.example;\n" in out
    message = MESSAGE.replace("bank", "shop")
    code, out, _ = await verified(tmp_path, capsys, message=message, sender="clerk@shop.example")
    assert code == Exit.OK
    assert "it would go into the folder Junk\n" in out
    assert "  X-Waymail-Verdict: quarantine; rule=dmarc_quarantine;\n" in out


async def test_with_json_it_is_an_object(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = await verified(tmp_path, capsys, "--json", message=MESSAGE.replace("bank", "down"), sender="<>")
    found = json.loads(out)
    assert (code, found["taken"], found["action"], found["rule"]) == (Exit.TEMPORARY, False, "defer", "temperror")
    assert found["reply"].startswith("451 4.4.3 ")
    assert found["checks"]["dmarc"]["result"] == "temperror"


async def test_recipients_are_judged_at_rcpt(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "block").write_text("203.0.113.9\n")
    lists = '[inbound.lists]\nblock = ["block"]\n'
    code, out, _ = await verified(tmp_path, capsys, "--to", "ann@here.example", inbound=lists)
    assert code == Exit.UNAVAILABLE
    assert "ann@here.example would be refused: 550 5.7.1 mail from you is not taken here" in out


async def test_what_cannot_be_verified_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = await verified(tmp_path, capsys, ip="nobody")
    assert (code, err) == (Exit.USAGE, "waymail: nobody is no IP address\n")
    code, _, err = await verified(tmp_path, capsys, inbound="judge = false")
    assert (code, err) == (Exit.CONFIG, "waymail: this server judges nobody: inbound.judge is false\n")
    code = await asyncio.to_thread(main, ["verify", str(tmp_path / "none"), "--ip", "::1", "--helo", "x", "--from", "a@b"])
    assert code == Exit.NO_INPUT
