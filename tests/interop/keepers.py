"""Next hops that keep what they get, with the commands that brought it: smtp-sink, which lacks whatever it is told to lack, and Postfix."""

from __future__ import annotations

import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
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

    def wait(self, number: int = 1) -> list[bytes]:
        """The messages, once there are `number` whole ones."""
        wait_until(lambda: len(self._whole()) >= number, f"message {number} at smtp-sink")
        return self._whole()

    def _whole(self) -> list[bytes]:
        # It writes the commands first, and an empty line below the message last.
        kept = [file.read_bytes() for file in sorted(self._kept.iterdir(), key=lambda file: file.stat().st_mtime)]
        return [message for message in kept if b"\nX-Rcpt-Args: " in message and message.endswith(b"\n\n")]

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(10)
        super().__exit__()


class PostfixBox(Folder):
    """A Postfix that takes mail for every address of `domains`, and keeps it in one Maildir; `settings` go to main.cf."""

    def __init__(self, *domains: str, **settings: str) -> None:
        super().__init__("postfix")
        self.port = free_port()
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
        self.server = PrivatePostfix(self.path / "postfix", f"127.0.0.1:{self.port}", virtual | settings)
        self.server.start()
        wait_for_port(self.port)

    @property
    def log(self) -> str:
        return self.server.log.read_text()

    def kept(self) -> list[bytes]:
        return [file.read_bytes() for file in sorted(self._new.glob("*"))]

    def wait(self, number: int = 1) -> list[bytes]:
        """The messages, once there are `number`. Raises TimeoutError."""
        wait_until(lambda: len(self.kept()) >= number, f"message {number} at Postfix")
        return self.kept()

    def __exit__(self, *_: object) -> None:
        self.server.stop()
        super().__exit__()
