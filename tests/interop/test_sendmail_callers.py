"""Programs that send by calling sendmail find `waymail sendmail`, which sends to the server of this machine."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.interop.conftest import USER, Box

pytestmark = pytest.mark.interop

TEXT = "first\n.\n.dot\nlast\n"


@pytest.fixture
def sendmail(tmp_path: Path) -> Path:
    """A symbolic link to the program, by the name that others call it by."""
    link = tmp_path / "sendmail"
    link.symlink_to(Path(sys.executable).with_name("waymail"))
    return link


@pytest.fixture
def run(box: Box, tmp_path: Path) -> Callable[..., str]:
    def call(*command: str | Path, input: str = "", **more: str) -> str:
        environment = os.environ | {
            "HOME": str(tmp_path),
            "WAYMAIL_CONFIG": str(box.mail.config),
            "GIT_CONFIG_GLOBAL": "/dev/null",
        }
        environment.pop("WAYMAIL_URL", None)
        done = subprocess.run(
            command, check=False, input=input, capture_output=True, text=True, timeout=40, env=environment | more, cwd=tmp_path
        )
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    return call


def arrived(box: Box, *texts: str) -> None:
    (message,) = box.wait()
    assert f"\n\n{TEXT}".encode() in message
    assert all(text.encode() in message for text in texts), message


def test_git_send_email(box: Box, run: Callable[..., str], sendmail: Path, tmp_path: Path) -> None:
    patch = tmp_path / "0001-a-change.patch"
    patch.write_text(f"From {'0' * 40} Mon Sep 17 00:00:00 2001\nFrom: Ann <{USER}>\nSubject: [PATCH] a change\n\n{TEXT}")
    options = [
        f"--from={USER}",
        "--envelope-sender=auto",
        f"--to={box.address}",
        "--confirm=never",
        "--suppress-cc=all",
        str(patch),
    ]
    run("git", "send-email", f"--smtp-server={sendmail}", *options, EMAIL=USER)
    arrived(box, f"Return-Path: <{USER}>", "Subject: [PATCH] a change")


def test_s_nail(box: Box, run: Callable[..., str], sendmail: Path) -> None:
    settings = ["-:/", "-S", "v15-compat=yes", "-S", f"mta={sendmail}", "-S", "sendwait", "-r", USER]
    run("s-nail", *settings, "-s", "a test", box.address, input=TEXT)
    arrived(box, f"Return-Path: <{USER}>", "Subject: a test")


def test_swaks_by_a_pipe(box: Box, run: Callable[..., str], sendmail: Path) -> None:
    body = f"From: {USER}\nSubject: a test\n\n{TEXT}"
    said = run("swaks", "--pipe", f"{sendmail} -bs", "--from", USER, "--to", box.address, "--data", "-", input=body)
    assert "<-  221 2.0.0" in said
    arrived(box, f"Return-Path: <{USER}>")


@pytest.mark.parametrize(
    "arguments",
    [
        ["-FCronDaemon", "-odi", "-oem", "-oi", "-t", "-f", "root"],  # cronie
        ["-FCronDaemon", "-i", "-B8BITMIME", "-oem", "TO"],  # Debian's cron
        ["-t", "-i"],  # PHP's mail()
        ["-oem", "-oi", "-f", USER, "--", "TO"],  # mutt
    ],
)
def test_as_cron_php_and_mutt_call_it(box: Box, run: Callable[..., str], sendmail: Path, arguments: list[str]) -> None:
    message = f"From: root (Cron Daemon)\nTo: {box.address}\nSubject: Cron <root@host> true\n\n{TEXT}"
    said = run(sendmail, *(box.address if argument == "TO" else argument for argument in arguments), input=message)
    assert said == ""
    arrived(box, "From: Cron Daemon <root@mail.example.org>", "Message-ID: <")
