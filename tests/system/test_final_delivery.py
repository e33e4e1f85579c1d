"""Programs, applications and Python that mail is delivered to, behind a server in a process of its own."""

from __future__ import annotations

import hmac
import json
import os
import smtplib
import threading
import time
from base64 import b64encode
from collections.abc import Iterator
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from waymail.testing.process import ServerProcess, free_port

KEY = bytes(range(32))
SECRET = "whsec_" + b64encode(KEY).decode()
MESSAGE = "From: Jörg <joerg@there.example>\r\nTo: a@pipe.example\r\nSubject: =?utf-8?q?gr=C3=BC=C3=9Fe?=\r\n\r\nhello\r\n"


class Application:
    """An HTTP server that answers with the next of `answers`, and with 204 then."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self.answers: list[int] = []
        application = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                content = self.rfile.read(int(self.headers["content-length"]))
                application.requests.append((self.path, {name.lower(): value for name, value in self.headers.items()}, content))
                self.send_response(application.answers.pop(0) if application.answers else 204)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/in"


@pytest.fixture
def application() -> Iterator[Application]:
    made = Application()
    thread = threading.Thread(target=made.server.serve_forever, args=(0.05,))
    thread.start()
    yield made
    made.server.shutdown()
    thread.join()
    made.server.server_close()


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that every user can look into: pytest's own are for one user alone."""
    with TemporaryDirectory(prefix="waymail-test-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def program(path: Path, script: str) -> Path:
    path.write_text("#!/bin/sh\n" + script)
    path.chmod(0o755)
    return path


def configuration(port: int, domains: str) -> str:
    return f"""
hostname = "mail.example.org"
[queue]
retry = ["1s"]
[[listener]]
kind = "mx"
address = "127.0.0.1:{port}"
tls = "off"
{domains}
"""


def send(port: int, *recipients: str, message: str = MESSAGE) -> None:
    with smtplib.SMTP("127.0.0.1", port, timeout=10) as client:
        client.sendmail("joerg@there.example", list(recipients), message.encode(), ["BODY=8BITMIME"])


def wait_for(server: ServerProcess, address: str, state: str, seconds: float = 20.0) -> dict[str, Any]:
    """What the trace says of a message to the address, once it says that its recipient is in `state`."""
    deadline = time.monotonic() + seconds
    while True:
        text = json.dumps(found := server.trace(address))
        if f'"{state}"' in text:
            return found[0]
        assert time.monotonic() < deadline, text + server.log.read_text()
        time.sleep(0.1)


def test_a_program_gets_the_message_as_another_user_and_says_what_becomes_of_it(tmp_path: Path, public: Path) -> None:
    out = public / "out"
    out.mkdir()
    out.chmod(0o777)
    script = program(
        public / "deliver",
        f'case "$2" in bob@*) echo "5.2.1 bob has left"; exit 77;; esac\nid -u >{out}/"$2"; cat >>{out}/"$2"\n',
    )
    user = 'user = "nobody"' if os.geteuid() == 0 else ""
    port = free_port()
    domains = f"""
[domains."pipe.example"]
deliver = "pipe:archive"
recipients = "any"
[pipes.archive]
command = ["{script}", "--", "{{recipient}}"]
{user}
"""
    with ServerProcess(tmp_path / "server", configuration(port, domains), [port]) as server:
        send(port, "a@pipe.example", "bob@pipe.example")
        story = wait_for(server, "bob@pipe.example", "failed")
        assert "bob has left" in json.dumps(story)
        wait_for(server, "a@pipe.example", "delivered")
    first, second, third, rest = (out / "a@pipe.example").read_text().split("\n", 3)
    assert first == ("65534" if os.geteuid() == 0 else str(os.geteuid()))
    assert (second, third) == ("Return-Path: <joerg@there.example>", "Delivered-To: a@pipe.example")
    assert rest.endswith("\n\nhello\n")
    assert "\r" not in rest
    assert not (out / "bob@pipe.example").exists()


def test_an_application_gets_a_signed_message_again_with_the_same_id_until_it_takes_it(
    tmp_path: Path, application: Application
) -> None:
    port = free_port()
    application.answers = [500]
    domains = f"""
[domains."hook.example"]
deliver = "webhook+{application.url}"
recipients = "any"
[webhooks."{application.url}"]
secret = "{SECRET}"
"""
    with ServerProcess(tmp_path / "server", configuration(port, domains), [port]) as server:
        send(port, "a@hook.example", "b@hook.example")
        wait_for(server, "a@hook.example", "delivered")
    first, second = application.requests
    assert first[1]["webhook-id"] == second[1]["webhook-id"]
    path, headers, content = second
    assert path == "/in"
    said = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + content
    assert headers["webhook-signature"] == "v1," + b64encode(hmac.digest(KEY, said, sha256)).decode()
    envelope = json.loads(headers["waymail-envelope"])
    assert (envelope["sender"], envelope["recipients"]) == ("joerg@there.example", ["a@hook.example", "b@hook.example"])
    assert content.startswith(b"Return-Path: <joerg@there.example>\r\nReceived: ")
    assert content.endswith(MESSAGE.encode())


def test_python_gets_the_message_in_the_server_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "our_mail.py").write_text(
        f"""
from pathlib import Path
from waymail.delivery.handler import IncomingMail, Reject

class Keeper:
    async def handle(self, mail: IncomingMail) -> None:
        if "no@py.example" in mail.recipients:
            raise Reject("no means no")
        Path({str(tmp_path)!r}, "kept").write_text(mail.email()["Subject"] + mail.view().text)
"""
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    port = free_port()
    domains = '[domains."py.example"]\ndeliver = "python:our_mail:Keeper"\nrecipients = "any"\n'
    with ServerProcess(tmp_path / "server", configuration(port, domains), [port]) as server:
        send(port, "a@py.example")
        wait_for(server, "a@py.example", "delivered")
        send(port, "no@py.example")
        assert "no means no" in json.dumps(wait_for(server, "no@py.example", "failed"))
    assert (tmp_path / "kept").read_text() == "grüßehello\n"
