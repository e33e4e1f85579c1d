"""A store with a million messages, made in a minute: the tables and the rows are the store's own, the transactions are not.

Most of what waits was tried a few times, in vain; the domains it waits for are of very different sizes, as domains are. A part of
it is due already, as after a night without the server. Among it are a message for `UP`, and `MANY` recipients in `CHOSEN`.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from waymail.mail.envelope import Body, Envelope, Origin, QueueIds, Recipient, encode_id
from waymail.store import schema
from waymail.store.contract import Event, NewMessage
from waymail.store.rows import Row, accepting, event_row

UP = "up.example"
CHOSEN, MANY = "chosen.example", 1000
SENDER = "ann@example.org"
DAY = 86_400.0
DUE_LATER = 4 * 3600.0  # seconds until the last of them is due
OVERDUE = 0.1  # of what waits
BATCH = 5_120  # messages: so many whole slices of words

ORIGIN = Origin("ESMTPS", "mail.example.org", "192.0.2.1", "TLSv1.3 TLS_AES_256_GCM_SHA384 verified")
CONTENT = b"From: Ann <ann@example.org>\r\nSubject: hello\r\n\r\n" + b"A line of text that says little.\r\n" * 15
TABLES = {
    "message": "INSERT INTO message VALUES (?, ?, ?, ?, ?, ?)",
    "recipient": "INSERT INTO recipient VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    "body": "INSERT INTO body VALUES (?, ?, ?)",
    "word": "INSERT INTO word VALUES (?, ?, ?)",
    "event": "INSERT INTO event VALUES (?, ?, ?, ?, ?)",
}
REPLY = "451 4.4.1 no connection to mx.{}: connection refused"


@dataclass(frozen=True)
class Plan:
    """What is in it: messages that are done, messages that wait, and domains for which they do."""

    done: int
    waiting: int
    domains: int

    @property
    def all(self) -> int:
        return self.done + self.waiting


@dataclass(frozen=True)
class Sample:
    """Messages to look for: from the middle of the history, where there is one, else of what waits."""

    id: str
    message_id: str
    address: str


def domain_name(number: int) -> str:
    return f"d{number}.example"


def build(directory: Path, plan: Plan) -> None:
    """Make the store in `directory`, which is empty."""
    directory.mkdir(parents=True, exist_ok=True)
    connection = schema.connect(directory)
    schema.prepare(connection, directory)
    # Nobody misses it where the power fails now.
    connection.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -400000;")
    connection.executescript(schema.DROP_INDICES)
    connection.execute("BEGIN")
    messages = _messages(plan, time.time())
    while some := list(islice(messages, BATCH)):
        for table, statement in TABLES.items():
            connection.executemany(statement, sorted(row for one in some for row in one[table]))
    connection.execute("COMMIT")
    connection.executescript(schema.INDICES)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.close()


def sample(directory: Path) -> Sample:
    """A message to look for."""
    connection = schema.connect(directory, read_only=True)
    (first, last) = connection.execute("SELECT min(id), max(id) FROM message").fetchone()
    id, message_id, address = connection.execute(
        "SELECT id, message_id, address FROM message JOIN recipient ON message = id WHERE id > ? AND number = 0 LIMIT 1",
        ((first + last) // 2,),
    ).fetchone()
    connection.close()
    return Sample(encode_id(id), message_id, address)


def renew(directory: Path) -> None:
    """The message for `UP` waits, also where it was delivered already."""
    connection = schema.connect(directory)
    ((message,),) = connection.execute("SELECT message FROM recipient WHERE domain = ? AND state IN (0, 3)", (UP,))
    connection.execute("INSERT OR IGNORE INTO body VALUES (?, x'', ?)", (message, CONTENT))
    connection.execute("UPDATE recipient SET state = 0, next_at = ? WHERE message = ?", (time.time(), message))
    connection.close()


def _messages(plan: Plan, now: float) -> Iterator[dict[str, list[Row]]]:
    rng = random.Random(1)
    ids = QueueIds(1)
    for number in range(plan.all):
        is_done = number < plan.done
        # What is done came in the four days before the last twenty hours, what waits since then.
        at = (
            now - DAY * (4.8 - 4 * number / plan.done) if is_done else now - DAY * 0.8 * (1 - (number - plan.done) / plan.waiting)
        )
        left = plan.all - number
        if left == plan.waiting // 2:
            domain, due = UP, now
        else:
            # As domains are: a few have much of it, most a little.
            domain = CHOSEN if not is_done and left <= MANY else domain_name(int(plan.domains * rng.random() ** 3))
            due = now + (rng.uniform(-DUE_LATER, 0) if rng.random() < OVERDUE else rng.uniform(0, DUE_LATER))
        recipient = Recipient(f"user{rng.getrandbits(24)}@{domain}")
        message_id = f"<{rng.getrandbits(64):x}@example.org>"
        envelope = Envelope(ids.next(at), SENDER, (recipient,), at, "8BITMIME", message_id, ORIGIN)
        yield _rows(envelope, number, None if is_done else due)


def _rows(envelope: Envelope, number: int, due: float | None) -> dict[str, list[Row]]:
    """All rows of a message that waits until `due`, or is done."""
    body = Body(CONTENT, len(CONTENT))
    made = accepting(NewMessage(envelope, body, claim=False), 0, 0.0, number // schema.WORD_SLICE, iter(()))
    recipient = envelope.recipients[0]
    reply = f"250 2.0.0 Ok: queued as {envelope.id}" if due is None else REPLY.format(recipient.domain)
    result: dict[str, object] = {"to": [recipient.address], "outcome": "delivered" if due is None else "deferred", "reply": reply}
    detail: dict[str, object] = {
        "destination": recipient.domain,
        "ms": 12.3,
        "host": f"mx.{recipient.domain}",
        "address": "192.0.2.9",
    }
    if due is None:
        detail["tls"] = ORIGIN.tls
    else:
        result["next"] = due
        detail["dialogue"] = ["* no connection to 192.0.2.9: connection refused"]
    event = event_row(made.id, number, Event(envelope.accepted_at + 1, "attempt", detail | {"results": [result]}))
    # message, number, address, original, state, attempts, next_at, token, lease_until, reply, warned, priority, domain
    head, tail = made.recipients[0][:4], made.recipients[0][11:]
    state = (3, 1, 0.0) if due is None else (0, 3, due)
    return {
        "message": [made.message],
        "recipient": [(*head, *state, 0, 0.0, reply, 0 if due is None else 1, *tail)],
        "body": [] if due is None else [made.body],
        "word": made.words,
        "event": [event],
    }
