"""Two real servers and one message, in a temporary folder and on loopback.

    this program ── AUTH over TLS ──▶ A: submission server, queue ── relay ──▶ B: receiving server ──▶ Maildir of bob

Prints what happened to the message as A tells it, and the header that arrived. Ends both servers, leaves nothing behind,
and exits with 1, saying why, when anything is not as it should be.
"""

from __future__ import annotations

import asyncio
import re
import ssl
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import TypeVar

import waymail

WAYMAIL = Path(sys.executable).with_name("waymail")
PATIENCE = 30.0  # seconds for any one step
USER, PASSWORD = "ann@example.com", "correct horse battery staple"
RECIPIENT = "bob@example.org"

T = TypeVar("T")

RECEIVER = """\
hostname = "mx.example.org"
data_dir = "data"
[[listener]]
kind = "mx"
address = "127.0.0.1:0"
tls = "starttls"
[tls]
self_signed = true
[domains."example.org"]
deliver = "maildir:mail/{domain}/{local}"
recipients = ["bob"]
"""

SUBMISSION = """\
hostname = "localhost"
data_dir = "data"
[[listener]]
kind = "submission"
address = "127.0.0.1:0"
tls = "implicit"
[tls]
self_signed = true
[users]
file = "users.toml"
[routes]
"*" = "smtp://127.0.0.1:{port}"
"""


class DemoFailed(Exception):
    """Something was not as it should be. The text says what."""


@dataclass(frozen=True, slots=True)
class Server:
    """A server that runs. `port` is where it listens on 127.0.0.1, `folder` holds its configuration and data."""

    port: int
    folder: Path


def say(text: str) -> None:
    print(text, flush=True)


async def run(*arguments: str | Path, given: str = "") -> str:
    """Run `waymail` to its end, and return what it printed."""
    process = await asyncio.create_subprocess_exec(
        WAYMAIL,
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(PATIENCE):
            output, _ = await process.communicate(given.encode())
    except TimeoutError:
        process.kill()
        await process.wait()
        raise
    if process.returncode != 0:
        raise DemoFailed(f"waymail {' '.join(map(str, arguments))} exited with {process.returncode}:\n{output.decode()}")
    return output.decode()


@asynccontextmanager
async def serve(name: str, config: Path) -> AsyncIterator[Server]:
    """Run `waymail serve` for as long as the block lasts. SIGTERM ends it, and it must then end cleanly."""
    log = config.with_name("log.txt")
    with log.open("wb") as file:
        process = await asyncio.create_subprocess_exec(WAYMAIL, "serve", "--config", config, stdout=file, stderr=file)
    try:
        port = await until(f"{name} to listen", lambda: listening_port(log, process))
        say(f"{name} listens on 127.0.0.1:{port} (pid {process.pid})")
        yield Server(port, config.parent)
    except BaseException:
        print(f"--- log of {name}\n{log.read_text(errors='replace')}---", file=sys.stderr)
        raise
    finally:
        await stop(name, process)


async def stop(name: str, process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.terminate()
    try:
        async with asyncio.timeout(PATIENCE):
            status = await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
        raise DemoFailed(f"{name} did not end within {PATIENCE:.0f} s of SIGTERM") from None
    say(f"{name} ended with exit code {status}")
    if status != 0:
        raise DemoFailed(f"{name} did not end cleanly")


def listening_port(log: Path, process: asyncio.subprocess.Process) -> int | None:
    if process.returncode is not None:
        raise DemoFailed(f"the server ended by itself, with exit code {process.returncode}")
    match = re.search(r"(?i)listen.*127\.0\.0\.1:([1-9]\d*)", log.read_text(errors="replace"))
    return int(match[1]) if match else None


async def until(what: str, look: Callable[[], T | None]) -> T:
    """Look again and again until there is something to see."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if (seen := look()) is not None:
            return seen
        await asyncio.sleep(0.02)
    raise DemoFailed(f"waited {PATIENCE:.0f} s for {what}")


def delivered_file(folder: Path) -> Path | None:
    return next((path for path in folder.glob("**/new/*") if path.is_file()), None)


async def submit(server: Server) -> str:
    """Submit one message as a user's program would, and return its Message-ID."""
    message = EmailMessage()
    message["From"] = f"Ann <{USER}>"
    message["To"] = f"Bob <{RECIPIENT}>"
    message["Subject"] = "The way of a message"
    message["Message-ID"] = "<demo@example.com>"
    message.set_content("Submitted with a password, queued, relayed, delivered.\n.\nA line with a dot alone is no end.\n")
    # A made its own certificate: trust that one, and check it in full.
    context = ssl.create_default_context(cafile=server.folder / "data/tls/cert.pem")
    user, password = USER.replace("@", "%40"), PASSWORD.replace(" ", "%20")
    result = await waymail.send(
        message, f"smtps://{user}:{password}@localhost:{server.port}", tls_context=context, timeout=PATIENCE
    )
    if result.refused:
        raise DemoFailed(f"refused: {result.refused}")
    say(f"A took the message: {', '.join(result.accepted)}")
    return "<demo@example.com>"


async def traced(server: Server, message_id: str) -> str:
    """What A tells of the message once it is done with it: that follows the delivery by a moment."""
    end, trace = time.monotonic() + PATIENCE, ""
    while time.monotonic() < end:
        trace = await run("trace", message_id, "--config", server.folder / "waymail.toml")
        if "delivered" in trace:
            return trace
        await asyncio.sleep(0.1)
    raise DemoFailed(f"the trace never says delivered:\n{trace}")


def check(content: bytes) -> None:
    """The message arrived as it was sent, with the trace fields that RFC 5321 §4.4 asks for."""
    message = message_from_bytes(content, policy=policy.default)
    received = message.get_all("Received", [])
    if message["Return-Path"] != f"<{USER}>" or len(received) != 2:
        raise DemoFailed("the trace fields are not those of one submission, one relay and one delivery")
    if "\n.\nA line with a dot alone is no end.\n" not in content.decode().replace("\r\n", "\n"):
        raise DemoFailed("the body is not the one that was sent")


async def demo(folder: Path) -> None:
    receiver, submission = folder / "b" / "waymail.toml", folder / "a" / "waymail.toml"
    for config in (receiver, submission):
        config.parent.mkdir()
    receiver.write_text(RECEIVER)
    async with serve("B", receiver) as b:
        submission.write_text(SUBMISSION.format(port=b.port))
        await run("user", "add", USER, "--password-stdin", "--config", submission, given=PASSWORD + "\n")
        async with serve("A", submission) as a:
            message_id = await submit(a)
            path = await until("the message in bob's Maildir", lambda: delivered_file(b.folder))
            say(f"\n$ waymail trace '{message_id}'\n{await traced(a, message_id)}")
            content = path.read_bytes()
            say(f"The header in {path.relative_to(folder)}:\n")
            say(content.replace(b"\r\n", b"\n").partition(b"\n\n")[0].decode() + "\n")
            check(content)


def main() -> int:
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="waymail-demo-") as folder:
        try:
            asyncio.run(demo(Path(folder)))
        except (DemoFailed, TimeoutError, waymail.SMTPError, OSError) as error:
            print(f"The demo failed: {type(error).__name__}: {error}", file=sys.stderr)
            return 1
    say(f"All as it should be, in {time.monotonic() - began:.1f} s.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
