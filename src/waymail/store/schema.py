"""The tables of the SQLite store, and how a connection to them is set up.

    message    one row a message, kept as history
    recipient  one row a recipient, kept as history
    body       one row a message that is still live: its presence is what "live" means, so recovery and `list` read this
               table instead of searching the history. `content` is NULL where the octets are in a file
    event      the trace
    word       what a message can be found by: its Message-ID and its addresses, as hashes
    opening    how often the store was opened: the upper bits of tokens and of event numbers, which therefore never repeat

A message's number is that of its queue id (`decode_id`), so rows arrive in the order of their keys and all that is new
stands on a few pages. Two choices keep the usual path (accepted, claimed at once, delivered) cheap:

- The indices of `recipient` hold QUEUED recipients only, and one of them HELD ones. One that goes ACTIVE, DELIVERED never enters
  them. Those that have a priority (RFC 6710) are in an index of their own, so that it costs nothing where nobody uses it.
  `recipient_waiting` begins with the state so that it alone answers how many wait for each domain: a tenth of a second for a
  million, where looking at each row takes two.
- `word` is cut into slices of `WORD_SLICE` messages. In one index over all history each new entry touches a page of its own
  somewhere in a big tree: that doubled what is written to the log, and grows with the history. Like this the new entries of
  a batch fall on the few pages of the newest slice. A search asks each slice in turn, some microseconds each: 40 ms in
  all for five million messages.
"""

# ruff: noqa: S608 - statements are put together of constants alone

from __future__ import annotations

import logging
import sqlite3
from functools import partial
from pathlib import Path
from typing import Any

from waymail.mail.envelope import Recipient
from waymail.store import forking
from waymail.store.contract import StoreError, StoreFull
from waymail.store.patience import patiently
from waymail.store.place import FILE as FILE
from waymail.store.place import Place, place_of

log = logging.getLogger("waymail.store")

VERSION = 3  # 1: without recipient.priority and what is indexed by it; 2: without recipient.domain

WORD_SLICE = 512  # messages

FORKED = (
    "it was open when this process was forked, and SQLite cannot go on in both: open it after the fork only, or start processes"
    ' by "spawn"'
)

# Distinct statements are few (see `statements.rows`), each in up to CHUNK sizes: all of them stay prepared.
CACHED_STATEMENTS = 512

INDICES = """
CREATE INDEX recipient_due ON recipient (next_at) WHERE state = 0 AND priority = 0;
CREATE INDEX recipient_ranked ON recipient (priority, next_at) WHERE state = 0 AND priority <> 0;
CREATE INDEX recipient_waiting ON recipient (state, domain, next_at) WHERE state = 0 OR state = 2;
"""

TABLES = f"""
CREATE TABLE message (
    id INTEGER PRIMARY KEY, accepted_at REAL NOT NULL, sender TEXT NOT NULL, message_id TEXT NOT NULL,
    size INTEGER NOT NULL, envelope TEXT NOT NULL);
CREATE TABLE recipient (
    message INTEGER NOT NULL, number INTEGER NOT NULL, address TEXT NOT NULL, original TEXT, state INTEGER NOT NULL,
    attempts INTEGER NOT NULL, next_at REAL NOT NULL, token INTEGER NOT NULL, lease_until REAL NOT NULL,
    reply TEXT NOT NULL, warned INTEGER NOT NULL, priority INTEGER NOT NULL DEFAULT 0, domain TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (message, number)) WITHOUT ROWID;
{INDICES}
CREATE TABLE body (message INTEGER PRIMARY KEY, prefix BLOB NOT NULL, content BLOB);
CREATE TABLE event (
    message INTEGER NOT NULL, number INTEGER NOT NULL, at REAL NOT NULL, kind TEXT NOT NULL, detail TEXT NOT NULL,
    PRIMARY KEY (message, number)) WITHOUT ROWID;
CREATE TABLE word (
    slice INTEGER NOT NULL, word INTEGER NOT NULL, message INTEGER NOT NULL,
    PRIMARY KEY (slice, word, message)) WITHOUT ROWID;
CREATE TABLE opening (number INTEGER NOT NULL);
INSERT INTO opening VALUES (0);
"""

# What brings tables of a version to the next one. `domain_of` is `Recipient.domain`; of history nobody asks it.
DROP_INDICES = "".join(
    f"DROP INDEX IF EXISTS {name};" for name in ("recipient_due", "recipient_ranked", "recipient_domain", "recipient_waiting")
)
STEPS = {
    1: "ALTER TABLE recipient ADD COLUMN priority INTEGER NOT NULL DEFAULT 0;",
    2: "ALTER TABLE recipient ADD COLUMN domain TEXT NOT NULL DEFAULT '';"
    "UPDATE recipient SET domain = domain_of(address) WHERE message IN (SELECT message FROM body);",
}

# What these cost and give was measured with bench/store_rate.py (4 KB bodies, 20 callers).
_SETTINGS = (
    # A 4 KB body takes one overflow page and a little of a leaf, and both are reused by the next message. With pages of 8
    # and 16 KB the same work wrote one and a half times and twice as much to the log; 2 KB is below what disks write at once.
    "page_size = 4096",
    "journal_mode = WAL",
    # WAL with synchronous=NORMAL does not sync at commit: what was answered with 250 could be lost with the power.
    "synchronous = FULL",
    # Debian's SQLite overwrites what is deleted with zeros, which writes the pages of each body once more: a third more log.
    # FAST does so only where the page is written in any case; the rest of a body's octets go when its page is reused.
    "secure_delete = FAST",
    # The log is copied to the database by `checkpoint`, which sees it when that fails; SQLite by itself would go on.
    "wal_autocheckpoint = 0",
    # The log file shrinks back to this many bytes after a burst.
    "journal_size_limit = 67108864",
    # In KiB: the upper pages of the trees and the newest leaves. mmap was measured too and gave nothing.
    "cache_size = -16384",
    "temp_store = MEMORY",
    "busy_timeout = 5000",
)


def connect(where: Path | Place, *, read_only: bool = False, vfs: str = "") -> sqlite3.Connection:
    """A connection to the store at `where`, whose directory exists. It may move between threads, used by one at a time.
    `vfs` names the SQLite VFS, where it is not SQLite's own.

    Raises sqlite3.Error; `unreadable` says what it means. RuntimeError in a child of a process that had it open.
    """
    place = place_of(where)
    mode = "ro" if read_only else "rwc"
    uri = f"{place.database.absolute().as_uri()}?mode={mode}{f'&vfs={vfs}' if vfs else ''}"
    settings: dict[str, Any] = {
        "uri": True,
        "isolation_level": None,
        "check_same_thread": False,
        "cached_statements": CACHED_STATEMENTS,
    }
    if not place.may_fork:
        connection: sqlite3.Connection = sqlite3.connect(uri, **settings)
    elif forking.is_inherited(place.database):
        raise RuntimeError(f"the {place.name} cannot be used here: {FORKED}")
    else:
        connection = forking.connect(place.database, uri, **settings)
    try:
        for setting in ("busy_timeout = 5000",) if read_only else _SETTINGS:
            patiently(partial(connection.execute, f"PRAGMA {setting}"))
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def open_to_read(where: Path | Place) -> sqlite3.Connection:
    """A connection that only reads, also while a server has the store open. Raises StoreError where there is none, or a newer
    waymail wrote it."""
    place = place_of(where)
    if not place.database.is_file():
        raise _missing(place)
    try:
        connection = connect(place, read_only=True)
        version = check_version(connection, place)
    except sqlite3.Error as error:
        raise unreadable(error, place) from error
    if version == 0:
        connection.close()
        raise _missing(place)
    return connection


def _missing(place: Place) -> StoreError:
    return StoreError(f"there is no {place.name}: {place.missing}")


def prepare(connection: sqlite3.Connection, where: Path | Place) -> None:
    """Make the tables of a new store, and bring those of an older one up to date, in one transaction. What is written for that
    grows with what is live, not with the history. Two processes may do so at once. Raises StoreError where a newer waymail wrote
    it, and sqlite3.Error."""
    version = check_version(connection, where)
    if version < VERSION:
        connection.create_function("domain_of", 1, lambda address: Recipient(address).domain, deterministic=True)
        steps = "".join(change for before, change in STEPS.items() if before >= version)
        change = TABLES if version == 0 else DROP_INDICES + steps + INDICES
        try:
            connection.executescript(f"BEGIN IMMEDIATE; {change} PRAGMA user_version = {VERSION}; COMMIT;")
        except sqlite3.Error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            if check_version(connection, where) != VERSION:  # else another process did the same meanwhile
                raise
    if 0 < version < VERSION:
        fields = {"file": str(place_of(where).database), "from": version, "to": VERSION}
        log.info("the queue's tables were brought up to date", extra={"fields": fields})


def overwrite(connection: sqlite3.Connection) -> None:
    """Write a page to the log, and change nothing. (What is updated to what it was is not written.) Raises sqlite3.Error."""
    connection.execute("INSERT INTO opening VALUES (0)")
    connection.execute("DELETE FROM opening WHERE rowid = last_insert_rowid()")


def check_version(connection: sqlite3.Connection, where: Path | Place) -> int:
    """The version of the tables, 0 where there are none yet. Raises StoreError where a newer waymail wrote them."""
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > VERSION:
        raise StoreError(
            f"{place_of(where).database} was written by a newer waymail (its tables have version {version}, this one knows"
            f" {VERSION}): install that version again, or give this one another data_dir"
        )
    return version


def unreadable(error: Exception, where: Path | Place) -> StoreError:
    """What an SQLite error means to the operator."""
    file = place_of(where).database
    text = str(error)
    if isinstance(error, sqlite3.DatabaseError) and ("malformed" in text or "not a database" in text):
        return StoreError(f"{file} is damaged ({text}): stop what uses it, save the file, and restore it with `sqlite3 .recover`")
    if "readonly database" in text:
        return StoreError(f"{file} may not be written, nor the files beside it: do this as the user whom they belong to")
    if "disk is full" in text:
        return StoreFull(f"the disk with {file} is full")
    return StoreError(f"{file}: {text}")
