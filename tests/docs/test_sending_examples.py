"""The examples of docs/sending.md run as they stand, each by itself, against servers of the test's whose places are put in."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from tests.net.proxies import proxy_server

from waymail.testing import FakeInternet, SmtpServer

PAGE = Path(__file__).parents[2] / "docs" / "sending.md"
SNIPPETS = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)

# What the examples speak of, and what came before them on the page.
BEFORE = """
import ast, asyncio, inspect, sys
from email.message import EmailMessage
from pathlib import Path
import waymail
from waymail import Dsn, Notify

def note():
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "ann@example.org", "bob@example.net", "Hello"
    message.set_content("Good morning!\\n")
    return message

async def my_token_from_somewhere():
    return "t0ken"

async def run(text):
    url = "{submission}"
    key = waymail.DkimKey("example.org", "2026a", Path("dkim.pem"))
    network = waymail.Network(["{dns}"], reroute=lambda host, port: ("127.0.0.1", {mx}) if host[0] == "1" else None)
    async with waymail.Client(url) as client:
        names = dict(globals(), url=url, key=key, network=network, client=client, message=note(), messages=[note(), note()])
        code = compile(text, text.splitlines()[0], "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        found = eval(code, names)
        if inspect.iscoroutine(found):
            await found
"""


@contextmanager
def at_a_path(path: Path, port: int) -> Iterator[None]:
    """A Unix-domain socket that leads to a port of this machine, for one connection."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()

        def carry(one: socket.socket, other: socket.socket) -> None:
            with suppress(OSError):
                while octets := one.recv(65536):
                    other.sendall(octets)
                other.shutdown(socket.SHUT_WR)

        def serve() -> None:
            with suppress(OSError), listening.accept()[0] as near, socket.create_connection(("127.0.0.1", port)) as far:
                back = threading.Thread(target=carry, args=(far, near))
                back.start()
                carry(near, far)
                back.join()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield
        finally:
            with suppress(OSError):
                listening.shutdown(socket.SHUT_RDWR)
            thread.join()


def test_the_examples_send_what_they_say(tmp_path: Path) -> None:
    with ExitStack() as stack:
        submission, plain, lmtp = (
            stack.enter_context(SmtpServer(**options))
            for options in ({"tls": "starttls", "users": {"ann": "secret", "ann@example.org": "t0ken"}}, {}, {"lmtp": True})
        )
        internet, proxy = stack.enter_context(FakeInternet()), stack.enter_context(proxy_server())
        mx = internet.domain("example.net")
        stack.enter_context(at_a_path(tmp_path / "lmtp.sock", lmtp.port))
        stack.enter_context(at_a_path(tmp_path / "smtp.sock", plain.port))
        submission.script("RCPT TO:<gone@", "550 5.1.1 no such user")
        key = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (tmp_path / "dkim.pem").write_bytes(key)
        authority = Path(submission.ca_file).read_text()
        (tmp_path / "ca.pem").write_text(authority)
        before = BEFORE.format(submission=f"smtp://ann:secret@{submission.address}", dns=internet.dns.address, mx=mx.port)
        places = {
            '@mail.example.org"': f'@{submission.address}"',
            '//mail.example.org"': f'//{submission.address}"',
            "relay.example.org:25": plain.address,
            "127.0.0.1:25": plain.address,
            "127.0.0.1:2424": lmtp.address,
            "/run/": f"{tmp_path}/",
            "user:password@proxy.example.org:1080": f"127.0.0.1:{proxy.port}",
            "proxy.example.org:3128": f"127.0.0.1:{proxy.port}",
            "192.0.2.7": "127.0.0.1",
            '"mx:",': '"mx:", network=network,',
            '    context.load_cert_chain("client.pem")\n': "",
            'context.load_cert_chain("client.pem")\n': "",
        }
        calls = []
        for snippet in SNIPPETS:
            for word, place in places.items():
                snippet = snippet.replace(word, place)
            calls.append(f"asyncio.run(run({snippet!r}))\nprint('ran')\n")
        ended = subprocess.run(
            [sys.executable, "-c", before + "".join(calls)],
            cwd=tmp_path,
            env=os.environ | {"SSL_CERT_FILE": submission.ca_file},
            capture_output=True,
            text=True,
            timeout=50,
            check=False,
        )
        assert ended.stdout.count("ran") == len(SNIPPETS) > 11, ended.stdout + ended.stderr
        assert len(proxy.asked) == 2
        assert len(lmtp.messages) == 2
        assert len(plain.messages) == 3
        [direct] = internet.messages
        assert direct.octets.startswith(b"DKIM-Signature: ")
        notice = next(command for command in submission.commands if "NOTIFY=" in command)
        assert " NOTIFY=SUCCESS,FAILURE " in notice
