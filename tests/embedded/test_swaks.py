"""swaks, which others use to try servers, finds nothing odd about a program's."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from tests.embedded.conftest import Inbox, Serve

import waymail

pytestmark = pytest.mark.interop


def swaks(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["swaks", "--from", "ann@example.org", "--to", "bob@example.net,eve@example.net", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
def test_it_logs_in_over_tls_and_sends(serve: Serve, mechanism: str) -> None:
    inbox = Inbox()
    server = serve(inbox, tls="self-signed", users={"ann": "secret"})
    run = swaks("--server", server.address, "--tls", "--auth", mechanism, "--auth-user", "ann", "--auth-password", "secret")
    assert run.returncode == 0, run.stdout
    assert inbox.mails[0].recipients == ("bob@example.net", "eve@example.net")
    assert inbox.mails[0].client.user == "ann"
    assert inbox.mails[0].client.tls


def test_it_reads_a_reply_for_each_recipient_over_lmtp(serve: Serve, tmp_path: Path) -> None:
    full = waymail.reject(552, "5.2.2", "full")
    serve(Inbox({"bob@example.net": None, "eve@example.net": full}), f"unix:{tmp_path}/in", lmtp=True)
    run = swaks("--socket", f"{tmp_path}/in", "--protocol", "LMTP")
    assert "250 2.0.0 accepted as" in run.stdout
    assert "552 5.2.2 full" in run.stdout


def test_a_refusal_is_one(serve: Serve) -> None:
    server = serve(Inbox(waymail.defer(452, "4.2.2", "full")))
    assert swaks("--server", server.address).returncode == 26  # the content was not accepted
