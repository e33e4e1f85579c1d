from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from waymail.app.cli.output import CommandFailed, Exit
from waymail.app.cli.sendmail.settings import LAST, Places, Settings, read

USER = pwd.getpwuid(os.getuid()).pw_name


def settings(folder: Path, config: str = "", **environment: str) -> Settings:
    return read(config, {"HOME": str(folder / "home")} | environment, Places(folder / "etc", folder / "mailname"))


def write(file: Path, text: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def test_without_a_word_it_is_port_25_of_this_machine(tmp_path: Path) -> None:
    found = settings(tmp_path)
    assert found.url == LAST
    assert found.outbox == tmp_path / "home/.local/state/waymail/outbox.db"
    assert found.person.login == USER
    assert found.person.address == f"{USER}@{found.person.domain}"


def test_the_users_file_goes_before_the_machines_key_by_key(tmp_path: Path) -> None:
    machine = 'url = "smtps://mail.example.org"\ndomain = "example.org"\noutbox = "/var/spool/waymail/{user}.db"\n'
    write(tmp_path / "etc/sendmail.toml", machine)
    write(
        tmp_path / "home/.config/waymail/sendmail.toml", 'url = "smtps://me:secret@mail.example.net"\nfrom = "me@example.net"\n'
    )
    found = settings(tmp_path)
    assert found.url == "smtps://me:secret@mail.example.net"
    assert found.person.domain == "example.org"
    assert found.person.address == "me@example.net"
    assert found.outbox == Path(f"/var/spool/waymail/{USER}.db")
    assert settings(tmp_path, WAYMAIL_URL="smtp://x.example").url == "smtp://x.example"


def test_a_file_that_is_named_is_the_only_one(tmp_path: Path) -> None:
    write(tmp_path / "etc/sendmail.toml", 'url = "smtps://mail.example.org"\ndomain = "example.org"\n')
    mine = write(tmp_path / "mine.toml", 'domain = "example.net"\n')
    found = settings(tmp_path, str(mine))
    assert (found.url, found.person.domain) == (LAST, "example.net")


@pytest.mark.parametrize(
    ("listeners", "url"),
    [
        (
            [("submission", "127.0.0.1:587", ""), ("mx", "192.0.2.1:25", ""), ("mx", "0.0.0.0:2525", "")],
            "smtp://127.0.0.1:2525?tls=off",
        ),
        ([("mx", "[::]:25", ""), ("lmtp", "unix:/run/lmtp.sock", "")], "smtp://[::1]:25?tls=off"),
        ([("lmtp", "unix:/run/lmtp.sock", ""), ("mx", "unix:/run/mx.sock", "")], "smtp:/run/mx.sock"),
        ([("lmtp", "unix:/run/lmtp.sock", "")], "lmtp:/run/lmtp.sock"),
        ([("mx", "127.0.0.1:465", 'tls = "implicit"\n')], LAST),
        ([("submission", "127.0.0.1:587", "")], LAST),
    ],
)
def test_the_server_of_this_machine_is_found_by_its_configuration(
    tmp_path: Path, listeners: list[tuple[str, str, str]], url: str
) -> None:
    text = 'hostname = "mail.example.org"\n' + "".join(
        f'[[listener]]\nkind = "{kind}"\naddress = "{address}"\n{more}' for kind, address, more in listeners
    )
    config = write(tmp_path / "waymail.toml", text)
    found = settings(tmp_path, WAYMAIL_CONFIG=str(config))
    assert (found.url, found.person.domain) == (url, "mail.example.org")


def test_the_folder_that_a_program_stands_in_has_no_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "waymail.toml", 'hostname = "evil.example"\n[[listener]]\nkind = "mx"\naddress = "127.0.0.1:666"\n')
    write(tmp_path / "sendmail.toml", 'url = "smtp://evil.example"\n')
    monkeypatch.chdir(tmp_path)
    assert settings(tmp_path).url == LAST


def test_the_machines_name_for_mail_is_its_domain(tmp_path: Path) -> None:
    (tmp_path / "mailname").write_text("mail.example.com\n")
    assert settings(tmp_path).person.domain == "mail.example.com"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("url = 5\n", "url must be a text"),
        ('server = "x"\n', "there is no key 'server': there are url, from, domain, outbox"),
        ("url\n", "not valid TOML"),
        ('domain = "exa mple"\n', "is no domain"),
        ("\xff", "cannot be read"),
    ],
)
def test_a_file_that_cannot_be_meant_is_told_with_its_name(tmp_path: Path, text: str, told: str) -> None:
    write(tmp_path / "etc/sendmail.toml", "").write_bytes(text.encode("latin-1"))
    with pytest.raises(CommandFailed, match=told) as failed:
        settings(tmp_path)
    assert failed.value.code == Exit.CONFIG


def test_a_file_that_is_named_and_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(CommandFailed, match="no such file"):
        settings(tmp_path, str(tmp_path / "none.toml"))
