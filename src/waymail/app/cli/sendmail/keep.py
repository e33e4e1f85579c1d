"""The outbox of sendmail: mail that could not be sent waits in it, in a file of its user's.

Nobody has to run for it. Each call that got a message through starts a process in the background that tries all that waits, and
ends with that; so does `sendmail -q`; which cron may call.
"""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from waymail.app.cli.output import CommandFailed, Exit, clean, complain
from waymail.app.cli.sendmail.message import Outgoing
from waymail.app.cli.sendmail.settings import Settings

if TYPE_CHECKING:
    from waymail.store.contract import Story
    from waymail.store.place import Place

MOST = 1000  # messages that are listed
LONGEST = 3600.0  # seconds that one call goes on trying


def keep(mail: Outgoing, settings: Settings, why: str) -> None:
    """Write the message to the outbox: it is on disk when this returns. Raises CommandFailed, and nothing is kept."""
    from waymail.client.dsn import Dsn, notify_of
    from waymail.outbox.sync import Outbox
    from waymail.store.contract import StoreError

    dsn = Dsn(notify_of(mail.notify), mail.ret, mail.envid)
    try:
        settings.outbox.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with Outbox(settings.outbox, settings.url, carry=False) as outbox:
            outbox.submit(mail.content, sender=mail.sender, recipients=mail.recipients, dsn=dsn)
    except (StoreError, OSError) as error:
        raise CommandFailed(Exit.TEMPORARY, f"neither sent ({why}) nor kept ({error})") from None
    except ValueError as error:
        raise CommandFailed(Exit.CONFIG, f"neither sent nor kept: {error}") from None


def waiting(settings: Settings, most: int = MOST) -> list[Story]:
    """What waits, oldest first. Raises StoreError."""
    from waymail.store.contract import Selection
    from waymail.store.look import look
    from waymail.store.read import live_stories

    place = _place(settings.outbox)
    if not place.database.exists():
        return []
    return look(place, partial(live_stories, limit=most, selection=Selection(everything=True)))


def flush(settings: Settings) -> None:
    """Try all that waits, once, and return when that is done, or at once where another process is at it. Raises StoreError."""
    if waiting(settings, 1):
        asyncio.run(_flush(settings))


def flush_in_background(settings: Settings, config: str) -> None:
    """The same in a process of its own, which outlives this one. What went out went out: nothing is raised."""
    from waymail.store.contract import StoreError

    command = [sys.executable, "-m", "waymail", "sendmail", "-q", *(["-C", str(Path(config).absolute())] if config else [])]
    quiet = subprocess.DEVNULL
    try:
        if waiting(settings, 1):
            subprocess.Popen(command, stdin=quiet, stdout=quiet, stderr=quiet, start_new_session=True)  # noqa: S603 - ourselves
    except (StoreError, OSError) as error:
        complain(clean(f"waymail: what waits was not tried: {error}"))


async def _flush(settings: Settings) -> None:
    from waymail.outbox.api import Outbox
    from waymail.outbox.nudge import nudge
    from waymail.store.contract import Selection
    from waymail.store.lock import InUse
    from waymail.store.sqlite import SqliteStore

    place = _place(settings.outbox)
    try:
        store = await SqliteStore.open(place, now=time.time)
    except InUse:
        nudge(place)
        return
    try:
        await store.flush(Selection(everything=True), time.time())
    finally:
        await store.close()
    logging.getLogger("waymail").addHandler(logging.NullHandler())  # what happened is in the outbox
    async with Outbox(settings.outbox, settings.url, hostname=settings.person.domain) as outbox:
        await outbox.drain(LONGEST)


def _place(file: Path) -> Place:
    from waymail.store.place import beside

    return beside(file)
