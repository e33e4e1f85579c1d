"""What has happened at a test's server. It is written in the server's thread and read in others."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from threading import Lock

from waymail.testing.received import ReceivedMail
from waymail.testing.script import Script


class Record:
    """`on_mail` is told of each message, in the server's thread."""

    def __init__(self, on_mail: Callable[[ReceivedMail], None] | None = None) -> None:
        self.script = Script()
        self.messages: list[ReceivedMail] = []
        self.commands: list[str] = []
        self.lines: list[str] = []
        self.connections = 0
        self._on_mail = on_mail
        self._waiting: list[tuple[int, Future[None]]] = []
        self._lock = Lock()

    def note(self, connection: int, who: str, text: str) -> None:
        """`who` is "C" or "S" for a line of client or server, "" for what happened besides."""
        if who == "C":
            self.commands.append(text)
        self.lines.append(f"{connection} {who}: {text}" if who else f"{connection} ({text})")

    def took(self, mail: ReceivedMail) -> None:
        with self._lock:
            self.messages.append(mail)
            number = len(self.messages)
            due = [future for wanted, future in self._waiting if wanted <= number]
            self._waiting = [(wanted, future) for wanted, future in self._waiting if wanted > number]
        for future in due:
            if future.set_running_or_notify_cancel():
                future.set_result(None)
        if self._on_mail is not None:
            self._on_mail(mail)

    def arrived(self, number: int) -> Future[None]:
        """Is done when there are so many messages."""
        future: Future[None] = Future()
        with self._lock:
            if len(self.messages) < number:
                self._waiting.append((number, future))
                return future
        future.set_result(None)
        return future

    def clear(self) -> None:
        with self._lock:
            self.messages, self.commands, self.lines = [], [], []  # whoever holds the old ones keeps them
            self.connections = 0
