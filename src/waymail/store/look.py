"""One look into a store, from outside of the server and without a loop: for who has something else to do meanwhile.

SQLite gives up the interpreter's lock while it looks, so in a thread this costs its caller no time.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from waymail.store import schema
from waymail.store.damage import decode
from waymail.store.place import Place

T = TypeVar("T")


def look(where: Path | Place, read: Callable[[sqlite3.Connection], T]) -> T:
    """What `read` finds in the store at `where`. Raises StoreError where there is none, or it cannot be read."""
    connection = schema.open_to_read(where)
    try:
        return tolerantly(connection, read)
    except sqlite3.Error as error:
        raise schema.unreadable(error, where) from error
    finally:
        connection.close()


def tolerantly(connection: sqlite3.Connection, read: Callable[[sqlite3.Connection], T]) -> T:
    """What `read` finds, also where a text is no UTF-8: that is one message's damage, and hides no other."""
    try:
        return read(connection)
    except sqlite3.OperationalError as error:
        if "decode" not in str(error):
            raise
    connection.text_factory = decode
    try:
        return read(connection)
    finally:
        connection.text_factory = str
