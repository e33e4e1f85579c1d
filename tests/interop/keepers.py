"""Next hops that keep what they get: smtp-sink, which lacks whatever it is told to lack, and Postfix with a mailbox."""

from __future__ import annotations

import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Self

from bench.postfix import PrivatePostfix

from waymail.testing.process import free_port, wait_for_port

NOBODY = pwd.getpwnam("nobody")


class Folder:
    """A folder that other users can reach, unlike those of pytest; gone with the context."""

    def __init__(self, name: str) -> None:
        self.path = Path(tempfile.mkdtemp(prefix=f"{name}-"))
        self.path.chmod(0o755)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.path)


def wait_until(condition: Callable[[], object], what: str = "it", seconds: float = 20.0) -> None:
    """Return when `condition` holds. Raises TimeoutError."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} did not happen within {seconds} seconds")
        time.sleep(0.05)


def having(messages: Iterable[bytes], *texts: str) -> list[bytes]:
    """Those that have all these texts in them."""
    return [message for message in messages if all(text.encode() in message for text in texts)]


class SmtpSink(Folder):
    """Postfix's smtp-sink. A message that it kept begins with X-Mail-Args and X-Rcpt-Args: what stood behind MAIL and RCPT.

    `lacks` are its options for what not to offer: "-8" 8BITMIME, "-N" DSN, "-p" PIPELINING.
    """

    def __init__(self, *lacks: str, port: int = 0) -> None:
        super().__init__("sink")
        self.port = port or free_port()
        self._kept = self.path / "kept"
        self._kept.mkdir()
        shutil.chown(self._kept, NOBODY.pw_uid, NOBODY.pw_gid)
        command = ["smtp-sink", "-u", "nobody", *lacks, "-d", f"{self._kept}/%s.", f"127.0.0.1:{self.port}", "100"]
        self._process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        wait_for_port(self.port)

    def wait_for(self, text: str) -> bytes:
        """The message that has `text` in it. Raises TimeoutError."""
        wait_until(lambda: having(self.kept(), text), f"{text!r} at smtp-sink")
        return having(self.kept(), text)[0]

    def kept(self) -> list[bytes]:
        # It writes the commands first, and an empty line below the message last.
        kept = [file.read_bytes() for file in sorted(self._kept.iterdir(), key=lambda file: file.stat().st_mtime)]
        return [message for message in kept if b"\nX-Rcpt-Args: " in message and message.endswith(b"\n\n")]

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(10)
        super().__exit__()


class PostfixBox(Folder):
    """A Postfix that takes mail for every address of `domains`, and keeps it in one Maildir; `settings` go to main.cf, and
    `services` into master.cf."""

    def __init__(self, *domains: str, port: int = 0, services: str = "", **settings: str) -> None:
        super().__init__("postfix")
        self.port = port or free_port()
        boxes = self.path / "boxes"
        boxes.mkdir()
        shutil.chown(boxes, NOBODY.pw_uid, NOBODY.pw_gid)
        self._new = boxes / "box" / "new"
        virtual = {
            "virtual_mailbox_domains": ", ".join(domains or ("remote.example",)),
            "virtual_mailbox_base": str(boxes),
            "virtual_mailbox_maps": "static:box/",
            "virtual_uid_maps": f"static:{NOBODY.pw_uid}",
            "virtual_gid_maps": f"static:{NOBODY.pw_gid}",
        }
        self.server = PrivatePostfix(self.path / "postfix", f"{services}127.0.0.1:{self.port}", virtual | settings)
        self.server.start()
        wait_for_port(self.port)

    @property
    def log(self) -> str:
        return self.server.log.read_text()

    def kept(self) -> list[bytes]:
        return [file.read_bytes() for file in sorted(self._new.glob("*"))]

    def wait_for(self, text: str, *more: str) -> bytes:
        """The message that has all these texts in it. Raises TimeoutError with the log."""
        try:
            wait_until(lambda: having(self.kept(), text, *more), f"{text!r} at Postfix")
        except TimeoutError as error:
            raise TimeoutError(f"{error}; its log:\n{self.log[-4000:]}") from None
        return having(self.kept(), text, *more)[0]

    def __exit__(self, *_: object) -> None:
        self.server.stop()
        super().__exit__()
