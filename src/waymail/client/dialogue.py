"""One command, one reply: how a session is opened, before there is anything to pipeline.

Raises ConnectionFailed where the connection ended instead, with what ended it.
"""

from __future__ import annotations

from waymail.client.connection import Connection
from waymail.client.errors import ConnectionFailed
from waymail.wire.commands import Command
from waymail.wire.replies import Reply


async def ask(connection: Connection, command: Command, what: str) -> Reply:
    """The reply to `command`, which a failure calls `what`. Raises ConnectionFailed; ValueError for what cannot be sent."""
    responses = await connection.ask(connection.timeouts.command, command)
    if not responses:
        raise lost(connection, what)
    return responses[-1].reply


def lost(connection: Connection, what: str) -> ConnectionFailed:
    """What to raise where the reply to `what` did not come."""
    trouble = connection.trouble
    text, reply = f"{trouble} (waiting for the reply to {what})", trouble.reply if trouble else None
    return ConnectionFailed(text, reply, why="no greeting came" if what == "greeting" else f"no reply to {what} came")
