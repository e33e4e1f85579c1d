"""The control socket of a running server: what `waymail queue` and its like ask of it (`app.asking` has the words).

Promises: only the server's own user and root are heard; a request has at most `MOST` octets and comes within `PATIENCE` seconds,
`AT_ONCE` are served at a time; whoever goes away calls off what is not done yet. A socket that cannot be opened is logged and
keeps no mail from going.
"""

from __future__ import annotations

import asyncio
import heapq
import json
import logging
import os
import random
import signal
import socket
import struct
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import aclosing, suppress
from typing import Any

from waymail.app import moving
from waymail.app.asking import BEAT, FILE, MOST, VERSION, changed_json, selection_of
from waymail.app.units import size_text
from waymail.app.wiring import Machine
from waymail.client.target import NextHop
from waymail.delivery.routes import Final
from waymail.mail.outcome import Deferred, Failed
from waymail.net import unix
from waymail.net.streams import ListenFailed
from waymail.queue.operators import ACTIONS, Operators
from waymail.queue.plan import DestinationState
from waymail.server.room import AGAIN, FILES
from waymail.store.contract import Selection, StoreError
from waymail.store.select import is_by_message

log = logging.getLogger("waymail.control")

PATIENCE = 10.0  # seconds within which a request has to come, and an answer has to be taken
AT_ONCE = 8
WAY = 2.0  # seconds that the way to a domain may take to be found
BUSIEST = 20  # destinations that are told of besides those that were asked for
WAYS = 100  # domains whose way is asked for at a time

Answer = Mapping[str, Any]
Handler = Callable[[Machine, Mapping[str, Any]], AsyncIterator[Answer]]


class Control:
    """Serves the control socket of a machine: `open`, `run` until cancelled, and it is gone."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._path = machine.config.data_dir / FILE
        self._bound: unix.UnixSocket | None = None
        self._served = 0

    def open(self) -> None:
        """Listen. Where that cannot be, it is logged."""
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with unix.reachable(self._path) as path:
                made = unix.bind(path, 0o600, backlog=AT_ONCE)
            self._bound = unix.UnixSocket(made.socket, self._path, made.identity)
        except (OSError, ListenFailed) as error:
            log.error("no control socket: commands cannot change the queue", extra={"fields": {"error": str(error)}})

    async def run(self) -> None:
        """Serve until cancelled."""
        if self._bound is None:
            return
        is_over = asyncio.Event()
        try:
            async with asyncio.TaskGroup() as group:

                def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                    if is_over.is_set():
                        writer.transport.abort()  # it had been let in, and nobody can serve it any more
                    else:
                        group.create_task(self._serve(reader, writer))

                server = await asyncio.start_unix_server(connected, sock=self._bound.socket, limit=MOST)
                try:
                    await asyncio.Event().wait()
                finally:
                    is_over.set()
                    server.close()  # it is not waited for: the commands under way are called off with the group
        finally:
            self._bound.remove()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._served += 1
        try:
            if self._served > AT_ONCE:
                await _say(writer, {"error": "too many commands at once, try again", "code": os.EX_TEMPFAIL})
            elif (uid := _uid(writer)) not in (0, os.getuid()):
                await _say(writer, {"error": "only the server's user and root may ask", "code": os.EX_NOPERM})
            else:
                await self._answer(reader, writer, uid)
        except (OSError, TimeoutError):
            pass  # it went away
        except Exception:
            log.exception("a command met a bug")
            with suppress(OSError, TimeoutError):
                await _say(writer, {"error": "internal error; the server's log has more", "code": os.EX_SOFTWARE})
        finally:
            self._served -= 1
            writer.transport.abort() if writer.transport.get_write_buffer_size() else writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, uid: int) -> None:
        try:
            async with asyncio.timeout(PATIENCE):
                line = await reader.readuntil(b"\n")
            what, request = _parsed(line)
            answers = HANDLERS[what](self._machine, request)
            asked = {"asked": what, "selection": request.get("selection"), "uid": uid} if what in CHANGING else {}
            await _carry_out(_with_beat(answers, reader), writer, asked)
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            await _say(writer, {"error": f"a request is one line of at most {MOST} octets", "code": os.EX_USAGE})
        except ValueError as error:
            await _say(writer, {"error": str(error), "code": os.EX_USAGE})
        except StoreError as error:
            await _say(writer, {"error": str(error), "code": os.EX_IOERR})


async def _carry_out(answers: AsyncGenerator[Answer, None], writer: asyncio.StreamWriter, asked: dict[str, Any]) -> None:
    """Say the answers. `asked` is for the log, where the queue is changed."""
    is_done = False
    try:
        async with aclosing(answers):  # whoever asked may go away: then the work is called off now, not some time later
            async for answer in answers:
                if "done" in answer:
                    is_done = True
                    if asked:
                        log.info("the queue was changed by a command", extra={"fields": asked | answer["done"]})
                await _say(writer, answer)
    finally:
        if asked and not is_done:
            log.info("a command ended early: a part of it may be done", extra={"fields": asked})


async def _with_beat(answers: AsyncIterator[Answer], reader: asyncio.StreamReader) -> AsyncGenerator[Answer, None]:
    """The answers, and a sign of life while one takes long; the end where whoever asked is gone."""
    began = time.monotonic()
    gone = asyncio.ensure_future(reader.read(1))
    following = asyncio.ensure_future(_following(answers))
    try:
        while not gone.done():
            await asyncio.wait({gone, following}, timeout=BEAT, return_when=asyncio.FIRST_COMPLETED)
            if not following.done():
                yield {"working": round(time.monotonic() - began, 1)}
            elif (answer := following.result()) is None:
                return
            else:
                yield answer
                following = asyncio.ensure_future(_following(answers))
    finally:
        gone.cancel()
        following.cancel()
        await asyncio.gather(gone, following, return_exceptions=True)


async def _following(answers: AsyncIterator[Answer]) -> Answer | None:
    return await anext(answers, None)


async def _say(writer: asyncio.StreamWriter, answer: Answer) -> None:
    async with asyncio.timeout(PATIENCE):
        writer.write(json.dumps(answer).encode() + b"\n")
        await writer.drain()


def _uid(writer: asyncio.StreamWriter) -> int:
    """The user on the other side."""
    peer = writer.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    uid: int = struct.unpack("3i", peer)[1]
    return uid


def _parsed(line: bytes) -> tuple[str, Mapping[str, Any]]:
    """What is asked for, and the request. Raises ValueError."""
    try:
        request = json.loads(line)
    except ValueError:
        raise ValueError("a request is an object in JSON") from None
    if not isinstance(request, dict) or request.get("version") != VERSION:
        raise ValueError(f"this server speaks version {VERSION} of the control protocol: the command and it are of two waymails")
    what = str(request.get("ask"))
    if what not in HANDLERS:
        raise ValueError(f"this server cannot be asked for {what!r}")
    return what, request


# --- what can be asked for ---


async def _act(machine: Machine, request: Mapping[str, Any]) -> AsyncIterator[Answer]:
    selection = selection_of(request.get("selection"))
    in_hand = await _in_hand(machine, selection)
    changed = await operators(machine).act(request["ask"], selection)
    yield {"done": changed_json(changed) | in_hand}


async def _bounce(machine: Machine, request: Mapping[str, Any]) -> AsyncIterator[Answer]:
    selection, reason = selection_of(request.get("selection")), request.get("reason", "")
    if not isinstance(reason, str):
        raise ValueError("reason: must be a text")
    in_hand = await _in_hand(machine, selection)
    changed = await operators(machine).bounce(selection, reason)
    yield {"done": changed_json(changed) | in_hand}


async def _in_hand(machine: Machine, selection: Selection) -> dict[str, Any]:
    """How many messages are being attempted or about to be: where the store does not find them, for they are looked for by their
    domain or age. To be asked before anything is changed: what is released, and the notices that are made, are no part of it."""
    if selection.is_empty or is_by_message(selection):
        return {}
    domain = selection.domain or min(selection.domains, default="")
    to = (await _way(machine, domain))["to"] if domain else None
    found = [one for one in machine.runner.states() if to in (None, one.key) or selection.below]
    return {"in_hand": sum(one.active + one.waiting for one in found)}


async def _destinations(machine: Machine, request: Mapping[str, Any]) -> AsyncIterator[Answer]:
    """The way of each of `domains`, as an item with "way"; as items with "destination" those that they lead to, and the busiest
    others. Without `domains`, all that are known of. Last, how much is being attempted, or about to be, in all, and
    why no mail is taken, if none is."""
    domains = request.get("domains", [])
    if not isinstance(domains, list) or not all(isinstance(one, str) for one in domains):
        raise ValueError("domains: must be a list of texts")
    ways = await asyncio.gather(*(_way(machine, domain) for domain in domains[:WAYS]))
    for domain, way in zip(domains, ways, strict=False):
        yield {"item": {"way": domain} | way}
    now, states = machine.clock.now(), machine.runner.states()
    told = of_interest(states, {way["to"] for way in ways}) if "domains" in request else states
    for state in told:
        yield {"item": {"destination": state.key} | state_json(state, now)}
    yield {"done": {"trying": sum(map(_busy, states)), "refusing": why_no_mail(machine)}}


def of_interest(states: Sequence[DestinationState], keys: Collection[str]) -> list[DestinationState]:
    """Those with these keys, and the busiest others: a server may know thousands, and who asks has room for few."""
    others = [state for state in states if state.key not in keys and _busy(state)]
    return [state for state in states if state.key in keys] + heapq.nlargest(BUSIEST, others, key=_busy)


def _busy(state: DestinationState) -> int:
    return state.active + state.waiting


async def _way(machine: Machine, domain: str) -> dict[str, Any]:
    try:
        async with asyncio.timeout(WAY):
            found = await machine.runner.destination(domain)
    except TimeoutError:
        return {"to": None, "hosts": [], "why": f"DNS gave no answer within {WAY:g} seconds"}
    if isinstance(found, Deferred | Failed):
        return {"to": None, "hosts": [], "why": str(found.reply)}
    return {"to": found.key, "hosts": hosts_of(found)}


async def _status(machine: Machine, request: Mapping[str, Any]) -> AsyncIterator[Answer]:
    backlog, states = await machine.store.waiting(1), machine.runner.states()
    waiting = {"domains": backlog.domains, "queued": backlog.queued, "held": backlog.held}
    in_hand = {"active": sum(one.active for one in states), "ready": sum(one.waiting for one in states)}
    down = sum(one.is_down(machine.clock.now()) for one in states)
    yield {
        "done": {"pid": os.getpid(), **waiting, **in_hand, "destinations": len(states), "down": down}
        | {"refusing": why_no_mail(machine)}
    }


async def _reload(machine: Machine, request: Mapping[str, Any]) -> AsyncIterator[Answer]:
    if machine.host is not None:
        machine.host.hangup.set()
    else:
        os.kill(os.getpid(), signal.SIGHUP)
    yield {"done": {}}


async def _moving(machine: Machine, request: Mapping[str, Any]) -> AsyncIterator[Answer]:
    async for answer in moving.answers(request["ask"], machine.store, machine.config, machine.clock, request):
        yield answer


def why_no_mail(machine: Machine) -> str:
    """Why no mail is taken at this moment; "" where it is."""
    room = machine.intake.room
    try:
        machine.store.check()
    except StoreError as error:
        return str(error)
    if room.lacks == "files":
        return f"there is room for fewer than {FILES:,} files on {room.folder}"
    if room.lacks and room.reserve is not None:
        again = size_text(room.reserve + room.reserve // AGAIN)
        return f"less than {size_text(room.reserve)} was free on {room.folder}; it is taken again where {again} are"
    return ""


def operators(machine: Machine) -> Operators:
    """With what the machine goes by at this moment."""
    rng = random.SystemRandom()
    return Operators(machine.store, machine.sending.notices, clock=machine.clock, rng=rng, queue=machine.runner)


def hosts_of(destination: NextHop | Final) -> list[str]:
    """The hosts of a destination, as `destination` in the log has them."""
    return [host.name for host in destination.hosts] if isinstance(destination, NextHop) else []


def state_json(state: DestinationState, now: float) -> dict[str, Any]:
    """What is known of a destination at this moment. Times are seconds since the epoch."""
    return {
        "state": "down" if state.is_down(now) else "probing" if state.failures else "slow" if state.is_slow else "up",
        "waiting": state.waiting,
        "active": state.active,
        "failures": state.failed if state.failures else 0,
        "down_since": state.troubled_since if state.failures else None,
        "down_until": state.down_until if state.failures else None,
        "last_reply": str(state.last_reply) if state.last_reply else "",
        "replies": [{"at": at, "reply": str(reply)} for at, reply in state.replies],
    }


CHANGING = (*ACTIONS, "bounce")
HANDLERS: Mapping[str, Handler] = {
    **dict.fromkeys(ACTIONS, _act),
    "bounce": _bounce,
    "destinations": _destinations,
    "status": _status,
    "reload": _reload,
    **dict.fromkeys(moving.ASKED, _moving),
}
