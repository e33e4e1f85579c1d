"""Those who send while the server is killed: relays, users who log in over STARTTLS, a Postfix; and an operator at work."""

from __future__ import annotations

import random
import re
import smtplib
import ssl
import subprocess
import sys
import threading
import time
from collections import Counter

from tests.system.crash_mail import Sent, Way, composed
from tests.system.crash_town import PASSWORD, RECIPIENTS, SENDERS, USER, Town

PAUSE = {"relay": 0.01, "submission": 0.01, "postfix": 0.3}  # seconds between the messages of one client
TIMEOUT = 20.0
_QUEUED = re.compile(rb"queued as (\w+)")

COMMANDS = (
    ("queue", "hold", "--destination", "sink.example"),
    ("queue", "hold", "--sender", SENDERS[0]),
    ("queue", "hold", "--all"),
    ("queue", "release", "--all"),
    ("queue", "release", "--destination", "sink.example"),
    ("queue", "flush", "--all"),
    ("queue", "flush", "--destination", "down.example"),
    ("queue", "list", "--limit", "5"),
    ("why", "down.example"),
)


class Client(threading.Thread):
    """Sends message after message, and notes what it was told of each."""

    def __init__(self, town: Town, way: Way, number: int, stop: threading.Event) -> None:
        super().__init__(daemon=True)
        self.sent: list[Sent] = []
        self.taken = 0
        self._town, self._way, self._stop_sending = town, way, stop
        self._name = f"{way}{number}"
        self._rng = random.Random(self._name)
        # What is for Postfix's own mailbox would not come to us by it.
        self._recipients = [one for one in RECIPIENTS if way != "postfix" or not one.endswith("@postfix.example")]

    def run(self) -> None:
        while not self._stop_sending.is_set():
            try:
                with self._session() as session:
                    for _ in range(self._rng.randint(1, 50)):
                        if self._stop_sending.wait(PAUSE[self._way]):
                            break
                        self._send(session)
            except (OSError, smtplib.SMTPException):
                time.sleep(0.02)

    def _session(self) -> smtplib.SMTP:
        town = self._town
        port = {"relay": town.mx, "submission": town.submission, "postfix": town.postfix.port}[self._way]
        session = smtplib.SMTP("127.0.0.1", port, "client.example", TIMEOUT)
        if self._way == "submission":
            certificate = town.server.directory / "data" / "tls" / "cert.pem"
            context = ssl.create_default_context(cafile=str(certificate))
            context.check_hostname = False
            session.starttls(context=context)
            session.login(USER, PASSWORD)
        session.ehlo_or_helo_if_needed()
        return session

    def _send(self, session: smtplib.SMTP) -> None:
        rng = self._rng
        sent = Sent(f"{self._name}.{len(self.sent)}@load.example", self._way, rng.choice(SENDERS))
        self.sent.append(sent)
        if session.mail(sent.sender)[0] != 250:
            session.rset()
            return
        recipients = rng.sample(self._recipients, rng.choice((1, 1, 1, 2, 3, 5)))
        if rng.random() < 0.05:
            recipients.append(f"full{rng.randint(0, 9)}@full.example")
        sent.recipients = [one for one in recipients if session.rcpt(one)[0] == 250]
        if not sent.recipients:
            session.rset()
            return
        sent.became = "unknown"
        try:
            code, text = session.data(composed(sent.marker, sent.sender, rng))
        except smtplib.SMTPDataError:  # no 354
            sent.became = "refused"
            raise
        if code != 250:
            sent.became = "refused"
            return
        queued = _QUEUED.search(text)
        sent.id = queued[1].decode() if queued else ""
        sent.became = "taken"
        self.taken += 1


class Operator(threading.Thread):
    """Gives commands and reloads, one after the other, without regard to whether the server lives. `up` says that it listens."""

    def __init__(self, town: Town, stop: threading.Event, up: threading.Event, lock: threading.Lock) -> None:
        super().__init__(daemon=True)
        self.ended: Counter[str] = Counter()  # by command and exit status
        self.wrong: list[str] = []
        self._town, self._stop_asking, self._up, self._lock = town, stop, up, lock

    def run(self) -> None:
        rng = random.Random(1)
        while not self._stop_asking.wait(rng.uniform(0.1, 0.6)):
            if rng.random() < 0.25:
                with self._lock:
                    if self._up.is_set():
                        self._town.reload(rng)
                        self.ended["reload"] += 1
                continue
            command = rng.choice(COMMANDS)
            line = [sys.executable, "-m", "waymail", *command, "--config", str(self._town.server.config)]
            done = subprocess.run(line, check=False, capture_output=True, text=True, timeout=60)
            self.ended[f"{' '.join(command[:2])}: {done.returncode}"] += 1
            # 75: among others, it is starting or stopping, has the queue already or still, and does not listen to commands.
            if "Traceback" in done.stderr or done.returncode not in {0, 69, 75}:
                self.wrong.append(f"{' '.join(command)}: {done.returncode}\n{done.stderr}")


class Door(threading.Thread):
    """Shuts a next hop half of the time."""

    def __init__(self, town: Town, stop: threading.Event) -> None:
        super().__init__(daemon=True)
        self._hop, self._stop_shutting = town.down, stop

    def run(self) -> None:
        rng = random.Random(2)
        while not self._stop_shutting.wait(rng.uniform(0.3, 2)):
            self._hop.shut()
            self._stop_shutting.wait(rng.uniform(0.3, 2))
            self._hop.reopen()


class Load:
    """All of them at once, from the beginning to `end`."""

    def __init__(self, town: Town) -> None:
        self._stop = threading.Event()
        self.up, self.lock = threading.Event(), threading.Lock()
        ways: tuple[Way, ...] = ("relay", "relay", "relay", "submission", "submission", "postfix")
        self.clients = [Client(town, way, number, self._stop) for number, way in enumerate(ways)]
        self.operator = Operator(town, self._stop, self.up, self.lock)
        self._threads = [*self.clients, self.operator, Door(town, self._stop)]
        for thread in self._threads:
            thread.start()

    def taken(self, way: Way) -> int:
        """How many messages got a 250 that came this way."""
        return sum(client.taken for client in self.clients if client.sent and client.sent[0].way == way)

    def end(self) -> list[Sent]:
        """Stop, and tell what was sent."""
        self._stop.set()
        for thread in self._threads:
            thread.join(TIMEOUT * 3)
            assert not thread.is_alive(), f"{thread} does not end"
        return [sent for client in self.clients for sent in client.sent]
