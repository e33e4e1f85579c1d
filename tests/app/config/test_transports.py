"""What is said of [pipes] and [webhooks], and of what they need of the machine, before a server starts."""

from __future__ import annotations

import os
from base64 import b64encode
from pathlib import Path

import pytest
import trustme

from waymail.app.config import ConfigError, load
from waymail.app.config.show import settings
from waymail.app.wiring_transports import open_transports
from waymail.delivery.pipe import PipeTransport
from waymail.delivery.routes import Pipe, Webhook
from waymail.delivery.webhook import WebhookTransport
from waymail.net.clock import SystemClock

SECRET = "whsec_" + b64encode(bytes(32)).decode()
USER = '\nuser = "nobody"' if os.geteuid() == 0 else ""
DOMAIN = '[domains."x.example"]\nrecipients = "any"\ndeliver = "{}"\n'
PIPE = DOMAIN.format("pipe:p") + "[pipes.p]\n"
HOOK = DOMAIN.format("webhook+https://a.example/in") + '[webhooks."https://a.example/in"]\n'


def write(folder: Path, text: str) -> Path:
    file = folder / "waymail.toml"
    file.write_text('hostname = "mail.example.org"\n' + text)
    return file


def said(folder: Path, text: str) -> list[str]:
    """Errors, or warnings where there are none, as FILE:LINE is left out; the one of no listener is not."""
    file = write(folder, text)
    try:
        problems = load(file, to_serve=True).source.warnings
    except ConfigError as error:
        problems = error.problems
    found = [str(problem).removeprefix(f"{file}:") for problem in problems]
    return [one for one in found if "[[listener]]" not in one and "users" not in one]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            DOMAIN.format("pipe:p"),
            '4: domains."x.example".deliver: leads to no table: add [pipes.p] with command = ["/path/of/program", "{recipient}"]',
        ),
        (
            '[routes]\n"*" = "webhook+https://a.example/in"',
            '3: routes."*": leads to no table: add [webhooks."https://a.example/in"] with secret = "whsec_…", '
            "which signs what is sent",
        ),
        (PIPE, "5: pipes.p.command: is missing"),
        (
            PIPE + 'command = "/bin/cat"',
            '6: pipes.p.command: must be a list, the program and each of its arguments, like ["/usr/bin/procmail", "-d", '
            '"{recipient}"], not "/bin/cat"',
        ),
        (
            PIPE + 'command = ["cat"]',
            '6: pipes.p.command: must begin with the absolute path of a program, like ["/usr/bin/procmail", "-d", '
            '"{recipient}"]: no shell looks for it',
        ),
        (
            PIPE + 'command = ["/bin/cat", "{rcpt}"]',
            "6: pipes.p.command: {rcpt} means nothing in a command: there are {recipient}, {original}, {local}, {user}, "
            "{detail}, {domain}, {sender}, {id}",
        ),
        (PIPE + f'command = ["/bin/cat"]\ntimeout = "11m"{USER}', "7: pipes.p.timeout: must be 10m or less"),
        (HOOK, '5: webhooks."https://a.example/in": needs one of secret and secret_file'),
        (
            HOOK + f'secret = "{SECRET}"\nheaders = {{ Webhook-Id = "x" }}',
            '7: webhooks."https://a.example/in".headers: "Webhook-Id" cannot be set here: it is no name of a field, '
            "or one that waymail sets itself",
        ),
        (
            DOMAIN.format("python:nothing.like.this:x"),
            "4: domains.\"x.example\".deliver: nothing.like.this cannot be imported (No module named 'nothing'): "
            "is it where Python looks, like PYTHONPATH?",
        ),
    ],
)
def test_a_mistake_is_named_with_its_line_and_the_fix(tmp_path: Path, text: str, message: str) -> None:
    assert said(tmp_path, text) == [message]


def test_a_secret_that_is_none_is_not_repeated(tmp_path: Path) -> None:
    [found] = said(tmp_path, HOOK + 'secret = "whsec_topsecret"')
    assert "python3 -c" in found
    assert "topsecret" not in found


def test_what_is_wrong_in_a_file_of_secrets_is_said(tmp_path: Path) -> None:
    text = HOOK + 'secret_file = "secret"'
    [missing] = said(tmp_path, text)
    assert missing.startswith('6: webhooks."https://a.example/in".secret_file: ')
    assert "No such file" in missing
    (tmp_path / "secret").write_text("nonsense\n")
    assert "each line must be" in said(tmp_path, text)[0]
    (tmp_path / "secret").write_text(f"{SECRET}\n{SECRET}\n")
    assert said(tmp_path, text) == []


def test_authorities_that_cannot_be_read_are_an_error(tmp_path: Path) -> None:
    text = HOOK + f'secret = "{SECRET}"\nca = "ca.pem"'
    [missing] = said(tmp_path, text)
    assert missing.startswith('7: webhooks."https://a.example/in".ca: ')
    (tmp_path / "ca.pem").write_text("nonsense\n")
    assert "holds no certificates" in said(tmp_path, text)[0]
    trustme.CA().cert_pem.write_to_path(tmp_path / "ca.pem")
    assert said(tmp_path, text) == []


def test_a_program_or_folder_that_is_missing_and_a_table_that_nobody_uses_are_warnings(tmp_path: Path) -> None:
    text = PIPE + f'command = ["/nothing/here"]\ndirectory = "/nor/here"{USER}\n[pipes.unused]\ncommand = ["/bin/cat"]{USER}\n'
    assert said(tmp_path, text) == [
        '9: pipes.unused: is never used: no deliver in [domains] and no route says "pipe:unused"'.replace(
            "9:", f"{9 if USER else 8}:"
        ),
        "6: pipes.p.command: /nothing/here is no program that can be run: until it is there, mail for it waits in the queue",
        "7: pipes.p.directory: there is no folder /nor/here: until it is there, mail for it waits in the queue",
    ]


@pytest.mark.skipif(os.geteuid() != 0, reason="for root only")
def test_root_has_to_say_whom_a_program_runs_as(tmp_path: Path) -> None:
    [found] = said(tmp_path, PIPE + 'command = ["/bin/cat"]')
    assert found.startswith("5: pipes.p.user: must be named, for waymail runs as root here")
    assert said(tmp_path, PIPE + 'command = ["/bin/cat"]\nuser = "root"') == []


@pytest.mark.parametrize("more", ['user = "no-such-user"', 'user = "root"\ngroup = "no-such-group"'])
def test_a_user_that_is_missing_is_an_error(tmp_path: Path, more: str) -> None:
    [found] = said(tmp_path, PIPE + f'command = ["/bin/cat"]\n{more}')
    assert found.startswith("7: pipes.p.user: there is no ")


def test_what_is_secret_is_not_shown(tmp_path: Path) -> None:
    text = HOOK + f'secret = "{SECRET}"\nheaders = {{ authorization = "Bearer topsecret" }}\n'
    text += f'[pipes.p]\ncommand = ["/bin/cat"]\nenvironment = {{ KEY = "topsecret" }}{USER}'
    shown = {setting.key: setting.text for setting in settings(load(write(tmp_path, text)))}
    assert shown['webhooks."https://a.example/in".secret'] == '"***"'
    assert shown["pipes.p.memory"] == '"1GB"'
    assert shown['domains."x.example".deliver'] == '"webhook+https://a.example/in"'
    assert not any("topsecret" in text or SECRET in text for text in shown.values())


async def test_each_target_has_one_transport_however_often_it_is_named(tmp_path: Path) -> None:
    text = PIPE + f'command = ["/bin/cat"]{USER}\n[webhooks."https://A.example"]\nsecret = ["{SECRET}", "{SECRET}"]\n'
    text += '[routes]\n"y.example" = "pipe:p"\n"*" = "webhook+https://a.example/"\n'
    opened = open_transports(load(write(tmp_path, text), to_serve=True), SystemClock())
    assert {target: type(one) for target, one in opened.by_target.items()} == {
        Pipe("p"): PipeTransport,
        Webhook("https://a.example/"): WebhookTransport,
    }
    await opened.close()


async def test_what_went_missing_after_the_check_ends_the_start_with_its_name(tmp_path: Path) -> None:
    config = load(write(tmp_path, DOMAIN.format("python:nothing.like.this:x")))
    with pytest.raises(ConfigError, match=r"x\.example.*nothing\.like\.this"):
        open_transports(config, SystemClock())
