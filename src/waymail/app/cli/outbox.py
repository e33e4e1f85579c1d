"""`waymail outbox`: deliver what programs submit to an outbox, and look into it. How it is steered is in `outbox_steer`."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from waymail.app.cli import outbox_steer
from waymail.app.cli.output import CommandFailed, Exit, complain, say, say_json

if TYPE_CHECKING:
    from waymail.outbox.api import Outbox
    from waymail.store.place import Place

app = App(name="outbox", help="Deliver from a program's outbox, look into it and steer it.")

Json = Annotated[bool, Parameter(name="--json", negative="")]
Switch = Annotated[bool, Parameter(negative="")]
Url = Annotated[str | None, Parameter(env_var="WAYMAIL_URL", show_env_var=True)]


@app.command
def run(
    path: Path,
    /,
    *,
    url: Url = None,
    hostname: str | None = None,
    tls_ca: Path | None = None,
    insecure: Switch = False,
    no_notices: Switch = False,
    retry: str | None = None,
    expire: str | None = None,
    per_destination: int | None = None,
    once: Switch = False,
) -> int:
    """Deliver what programs submit to the outbox, until SIGTERM or SIGINT. While another process does so, wait until it ends.

    Parameters
    ----------
    path
        The file, which is made where it is missing.
    url
        Where the mail goes: smtp://USER:PASSWORD@HOST:PORT (STARTTLS is required), smtps://..., lmtp://HOST:PORT,
        lmtp:/SOCKET, or mx: for the hosts that DNS names. The variable keeps a password out of the list of processes.
    hostname
        What this machine is called in EHLO and in notices. Without it, its own name.
    tls_ca
        A PEM file with the certificate to trust, or that of its authority, instead of the system's.
    insecure
        Do not check the server's certificate.
    no_notices
        Tell no sender by mail of what failed or is late.
    retry
        The waits between attempts, the last one repeating, as in "1m,5m,30m".
    expire
        How long a message is tried: "5d".
    per_destination
        How many connections to one server at most.
    once
        End as soon as nothing is due any more.
    """
    from waymail.app import log
    from waymail.app.cli.send import tls_context
    from waymail.outbox.api import Outbox

    if not url:
        raise CommandFailed(Exit.USAGE, 'where does the mail go? give --url smtp://HOST:PORT or --url "mx:", or set WAYMAIL_URL')
    context = tls_context(tls_ca, insecure)
    given = {
        "retry": None if retry is None else [_seconds("--retry", one) for one in retry.split(",")],
        "expire": None if expire is None else _seconds("--expire", expire),
        "per_destination": per_destination,
    }
    try:
        outbox = Outbox(
            path,
            url,
            hostname=hostname,
            tls_context=context,
            notices=not no_notices,
            **{name: value for name, value in given.items() if value is not None},  # type: ignore[arg-type]
        )
    except ValueError as error:
        raise CommandFailed(Exit.USAGE, str(error)) from None
    log.configure()
    asyncio.run(_carry(outbox, once=once))
    return Exit.OK


async def _carry(outbox: Outbox, *, once: bool) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with outbox:
        if not outbox.is_carrying:
            complain("waymail: another process delivers from this outbox; this one takes over when it ends")
        ends = {asyncio.create_task(stop.wait())}
        if once:
            ends.add(asyncio.create_task(outbox.drain()))  # type: ignore[arg-type]
        done, _ = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        for task in ends - done:
            task.cancel()
        for task in done:
            task.result()  # a StoreError is told


@app.command(name="list")
def list_(path: Path, /, *, limit: int = 1000, as_json: Json = False) -> int:
    """List the messages of an outbox that are not done yet, oldest first.

    Parameters
    ----------
    path
        The file.
    limit
        How many messages at most.
    as_json
        Print a JSON list.
    """
    from waymail.app.cli.queue import listing
    from waymail.app.cli.story import summary_json
    from waymail.net.clock import SystemClock
    from waymail.store.contract import EVERYTHING
    from waymail.store.lock import is_held
    from waymail.store.look import look
    from waymail.store.read import live_stories

    _at_least_one(limit)
    stories = look(_place(path), lambda store: live_stories(store, limit + 1, EVERYTHING))
    stories, are_more = stories[:limit], len(stories) > limit
    if as_json:
        say_json([summary_json(story) for story in stories])
    elif stories:
        listing(stories, SystemClock().now())
    else:
        say("The outbox is empty.")
    if are_more:
        complain(f"waymail: there are more; these are the oldest {limit} (--limit)")
    if stories and not is_held(_place(path)):
        complain(f"waymail: nobody delivers from this outbox at the moment; `waymail outbox run {path}` does")
    return Exit.OK


@app.command
def trace(
    path: Path,
    text: str = "",
    /,
    *,
    limit: int = 20,
    verbose: Annotated[bool, Parameter(name=["--verbose", "-v"], negative="")] = False,
    as_json: Json = False,
) -> int:
    """Tell what happened to a message of an outbox. Times are in UTC. Exits with 69 where nothing was found.

    Parameters
    ----------
    path
        The file.
    text
        The id of a ticket, a Message-ID, or the address of a sender or recipient; without it, all messages.
    limit
        How many messages at most, newest first.
    verbose
        Show what was said in every failed attempt, not only in the last one, and leave out no attempt.
    as_json
        Print a JSON list of messages, each with its events.
    """
    from waymail.app.cli.story import as_json as story_json
    from waymail.app.cli.trace import tell
    from waymail.net.clock import SystemClock
    from waymail.store.look import look
    from waymail.store.search import Search, search

    _at_least_one(limit)
    stories = look(_place(path), lambda store: search(store, Search(text, float("-inf"), "", limit)))
    if as_json:
        say_json([story_json(story) for story in stories])
        return Exit.OK
    if not stories:
        raise CommandFailed(Exit.UNAVAILABLE, f"no message of this outbox has this id, Message-ID or address: {text}")
    tell(stories, SystemClock().now(), verbose=verbose)
    return Exit.OK


def _seconds(option: str, text: str) -> float:
    from waymail.app.units import duration

    try:
        return duration(text.strip())
    except ValueError as error:
        raise CommandFailed(Exit.USAGE, f"{option}: {error}") from None


def _place(path: Path) -> Place:
    from waymail.store.place import beside

    return beside(path)


def _at_least_one(limit: int) -> None:
    if limit < 1:
        raise CommandFailed(Exit.USAGE, f"--limit must be 1 or more, not {limit}")


outbox_steer.add_to(app)
