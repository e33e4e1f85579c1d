from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from waymail.app.cli import main
from waymail.app.cli.output import Exit
from waymail.senderauth.dkim import load_key
from waymail.senderauth.dkim.key import parse

NAMES = ("--selector", "s1", "--domain", "example.org")


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def text_in(line: str) -> str:
    """The text of a TXT record in a line of a zone file."""
    return "".join(re.findall(r'"([^"]*)"', line))


def test_a_key_is_written_for_its_owner_only_and_its_record_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dkim", "keygen", *NAMES]) == Exit.OK
    file = Path("s1.example.org.pem")
    assert file.stat().st_mode & 0o777 == 0o600
    out, errors = capsys.readouterr()
    assert "the key is in s1.example.org.pem" in errors
    assert out.startswith("s1._domainkey.example.org. IN TXT ( ")
    assert all(len(string) <= 255 for string in re.findall(r'"([^"]*)"', out))
    found = parse(text_in(out))
    assert (found.type, found.bits) == ("rsa", 2048)
    assert found.verifies(load_key(file.read_bytes()).sign(b"x"), b"x")


def test_an_ed25519_key_fits_into_one_string(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dkim", "keygen", *NAMES, "--type", "ed25519", "--out", "key.pem"]) == Exit.OK
    out = capsys.readouterr().out
    assert re.fullmatch(r's1\._domainkey\.example\.org\. IN TXT "v=DKIM1; k=ed25519; p=\S{44}"\n', out)
    assert parse(text_in(out)).verifies(load_key(Path("key.pem").read_bytes()).sign(b"x"), b"x")


def test_a_key_that_is_there_is_never_overwritten(capsys: pytest.CaptureFixture[str]) -> None:
    file = Path("s1.example.org.pem")
    file.write_text("precious")
    assert main(["dkim", "keygen", *NAMES, "--type", "ed25519"]) == Exit.IO
    assert file.read_text() == "precious"
    assert "is there already" in capsys.readouterr().err


def test_the_record_of_a_key_can_be_printed_again(capsys: pytest.CaptureFixture[str]) -> None:
    main(["dkim", "keygen", *NAMES, "--bits", "1024", "--out", "key.pem"])
    first = capsys.readouterr().out
    assert main(["dkim", "record", "key.pem", *NAMES]) == Exit.OK
    assert capsys.readouterr().out == first


def test_both_commands_can_answer_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dkim", "keygen", *NAMES, "--type", "ed25519", "--out", "key.pem", "--json"]) == Exit.OK
    made = json.loads(capsys.readouterr().out)
    assert main(["dkim", "record", "key.pem", *NAMES, "--json"]) == Exit.OK
    printed = json.loads(capsys.readouterr().out)
    assert (made["name"], made["type"], made["file"]) == ("s1._domainkey.example.org", "TXT", "key.pem")
    assert made["algorithm"] == "ed25519-sha256"
    assert printed == made | {"file": None}


@pytest.mark.parametrize(
    ("arguments", "code", "why"),
    [
        (
            ["keygen", "--selector", "a b", "--domain", "example.org"],
            Exit.USAGE,
            "a b._domainkey.example.org: it is no domain name",
        ),
        (["keygen", *NAMES, "--bits", "512"], Exit.USAGE, "--bits 512: from 1024 to 4096; 2048 is good"),
        (["keygen", *NAMES, "--bits", "1024", "--out", "no/such/folder"], Exit.IO, "no/such/folder: No such file or directory"),
        (["record", "nowhere.pem", *NAMES], Exit.NO_INPUT, "nowhere.pem: No such file or directory"),
        (["record", "/dev/null", *NAMES], Exit.DATA, "/dev/null: it holds no private key in PEM"),
    ],
)
def test_what_cannot_be_done_is_said(arguments: list[str], code: Exit, why: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dkim", *arguments]) == code
    assert capsys.readouterr().err == f"waymail: {why}\n"
