"""Moves live messages from one store to another, in a file (`archive`): between machines, between kinds of stores, and to safety.

Moving has three steps, and each can be the last one that happens:

    export    holds the messages in the source and writes them; the file is on the disk when it ends
    finish    reads the file once more, whole, and takes out of the source what is in it and still held
    take_in   reads the file whole, and then puts into the other store what is not there

When the process dies in the first two, the messages are in the source, HELD, and their events say why; perhaps they are in the
file as well. So at no time can a message be delivered from both, and at none is it nowhere. What is being attempted is not
moved. A copy moves nothing: it is written without holding, and what is taken in from it is HELD, for its source goes on.

A recipient that was delivered to is so in the file, too, and is not delivered to again.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from waymail.mail.envelope import Body, decode_id
from waymail.store.archive import Archived, ArchiveError, ArchiveReader, ArchiveWriter, check
from waymail.store.body import IN_MEMORY
from waymail.store.contract import Event, Packed, Selection, Spool, State, Store, StoreError, Story
from waymail.store.disk import SYSTEM
from waymail.store.select import LIVE, selects
from waymail.values import value

PAGE = 100  # messages at a time: with their bodies, as far as these are in memory, some megabytes

ATTEMPTED = "it is being attempted: try again when that is over"
RELEASED = "it was released or removed meanwhile; it is in the file as well"
TAKEN = "another message has this id here"


@value
class Note:
    """What became of one message: it was moved, with so many live recipients, or `why` it was not."""

    id: str
    recipients: int = 0
    why: str = ""


class Transfer:
    """Moves messages out of a store and into it. `host` and `version` say in the file where it comes from; `now` gives seconds
    since the epoch. One of its methods at a time."""

    def __init__(self, store: Store, *, host: str, version: str, now: Callable[[], float]) -> None:
        self._store = store
        self._host = host
        self._version = version
        self._now = now

    # --- out ---

    async def export(self, path: Path, selection: Selection, *, move: bool) -> AsyncGenerator[Note, None]:
        """Write the selected messages to a new file at `path`; with `move`, hold them. A message is selected by one live
        recipient, and goes as a whole. Tells each; when the last was told and this ends, the file is on the disk.

        Raises StoreError, and OSError where the file cannot be written or is there already. When it is left early, by an error or
        by whoever iterates, nothing is held and there is no file.
        """
        file = await asyncio.to_thread(_create, path)
        page: Sequence[Packed] = ()
        try:
            writer = ArchiveWriter(file, host=self._host, version=self._version, at=self._now(), moved=move)
            async for ids in self._chosen(selection):
                page = await self._held(ids) if move else await self._store.pack(ids, self._now())
                notes = await asyncio.to_thread(_write, writer, file, page, move=move)
                if stays := [one for one, note in zip(page, notes, strict=True) if note.why and not one.is_attempted and move]:
                    await self._store.put_back(stays, self._now())
                for note in notes:
                    yield note
            await asyncio.to_thread(_end, writer, file, path)
        except BaseException:
            with suppress(OSError):  # the disk may be full
                file.close()
            await self._store.put_back(page if move else (), self._now())
            await self.give_up(path)
            raise

    async def _held(self, ids: Sequence[str]) -> Sequence[Packed]:
        """Pack and hold. When it is cancelled, what may have been held by then is not."""
        packing = asyncio.ensure_future(self._store.pack(ids, self._now(), hold=True))
        try:
            return await asyncio.shield(packing)
        except asyncio.CancelledError:
            await self._store.put_back(await packing, self._now())
            raise

    async def finish(self, path: Path, where: str) -> AsyncGenerator[Note, None]:
        """Take out of the store what is in the file, which `where` names for people. Tells each message.

        Raises StoreError, OSError, and ArchiveError where the file is damaged or a copy: then nothing is taken out."""
        with await asyncio.to_thread(path.open, "rb") as file:
            if not (await asyncio.to_thread(check, file)).moved:
                raise ArchiveError("it is a copy: its messages stay where they are")
            file.seek(0)
            async for page in _pages(ArchiveReader(file).read()):
                ids = [one.envelope.id for one in page]
                gone = set(await self._store.hand_over(ids, self._now(), f"to {where}"))
                for one in page:
                    yield Note(one.envelope.id, _live(one), "" if one.envelope.id in gone else RELEASED)

    async def give_up(self, path: Path) -> None:
        """What `export` held for this file waits again as it did, and the file goes. Raises StoreError and OSError."""
        with await asyncio.to_thread(path.open, "rb") as file, suppress(ArchiveError):  # it was perhaps cut off
            reader = ArchiveReader(file)
            async for page in _pages(reader.read() if reader.moved else iter(())):
                await self._store.put_back([Packed(one, Body(b"", 0)) for one in page], self._now())
        await asyncio.to_thread(path.unlink)

    async def _chosen(self, selection: Selection) -> AsyncIterator[Sequence[str]]:
        """The ids of the messages that are selected, in pages."""
        is_all = selection == Selection(everything=True)
        async for ids in self._considered(selection):
            packed = () if is_all else await self._store.pack(ids, self._now())
            chosen = ids if is_all else [one.story.envelope.id for one in packed if _is_meant(one.story, selection)]
            if chosen:
                yield chosen

    async def _considered(self, selection: Selection) -> AsyncIterator[Sequence[str]]:
        if selection.ids:
            ids = sorted(set(selection.ids))
            for at in range(0, len(ids), PAGE):
                yield ids[at : at + PAGE]
            return
        after = ""
        while page := await self._store.ids(after, PAGE):
            yield page
            after = page[-1]

    # --- in ---

    async def take_in(self, path: Path, where: str, *, partly: bool = False) -> AsyncGenerator[Note, None]:
        """Put into the store what is in the file, which `where` names for people. Tells each message; those that are in the store
        already are left as they are.

        Raises StoreError, OSError, and ArchiveError where the file is damaged or cut off: then nothing is taken in; with
        `partly`, what is whole was taken in and told."""
        with await asyncio.to_thread(path.open, "rb") as file:
            if not partly:
                await asyncio.to_thread(check, file)
                file.seek(0)
            reader = ArchiveReader(file)
            where = f"{reader.host or 'a queue'}, in {where}"
            messages, is_over = reader.read(), False
            failure: Exception | None = None
            while not is_over:
                batch: list[_Received | Note] = []
                try:
                    while len(batch) < PAGE and (one := await asyncio.to_thread(_next, messages)) is not None:
                        batch.append(await self._receive(*one, where, is_copy=not reader.moved))
                except (ArchiveError, StoreError, OSError) as error:
                    failure = error
                except BaseException:
                    for received in batch:
                        _discard(received)
                    raise
                is_over = len(batch) < PAGE
                # Together: they share a transaction. Those that are whole are taken in, also where what follows is not.
                notes = await asyncio.gather(*(self._put(one) for one in batch), return_exceptions=True)
                for note in notes:
                    if isinstance(note, Note):
                        yield note
                for note in notes:
                    if isinstance(note, BaseException):
                        raise note
            if failure is not None:
                raise failure

    async def _receive(self, one: Archived, body: Body | None, where: str, *, is_copy: bool) -> _Received | Note:
        """Read a message to where the store keeps its octets; `body` are these where there are few."""
        story = _arrived(one.story, where, self._now(), is_copy=is_copy)
        if body is not None:
            return _Received(Packed(story, body))
        if why := await self._why_not(one.story):  # before there is a file in the place of its own
            return Note(story.envelope.id, _live(story), why)
        spool = self._store.spool(story.envelope.id)
        try:
            return _Received(Packed(story, await asyncio.to_thread(_spooled, one, spool)), spool)
        except BaseException:
            spool.discard()
            raise

    async def _put(self, one: _Received | Note) -> Note:
        if isinstance(one, Note):
            return one
        story, is_taken = one.packed.story, False
        try:
            is_taken = await self._store.unpack(one.packed)
        finally:
            if not is_taken:
                _discard(one)
        return Note(story.envelope.id, _live(story), "" if is_taken else await self._why_not(story) or TAKEN)

    async def _why_not(self, story: Story) -> str:
        """Why a message is not taken in; "" where none with its id is there, or one that went away and comes back."""
        there = await self._store.get(story.envelope.id)
        if there is None:
            return ""
        ours, theirs = there.envelope, story.envelope
        if (ours.accepted_at, ours.sender, ours.message_id) != (theirs.accepted_at, theirs.sender, theirs.message_id):
            return TAKEN
        if _live(there):
            return "it is in this queue already"
        if there.events and there.events[-1].kind == "exported":
            return ""
        return (
            f"it was in this queue, and is done here: {', '.join(sorted({one.state.name.lower() for one in there.recipients}))}"
        )


@value
class _Received:
    packed: Packed
    spool: Spool | None = None


def _discard(one: _Received | Note) -> None:
    if isinstance(one, _Received) and one.spool is not None:
        one.spool.discard()


def _arrived(story: Story, where: str, now: float, *, is_copy: bool) -> Story:
    """The story as it goes on here."""
    to = [one.address for one in story.recipients if one.state.is_live]
    why = f"from {where}, and held, for it is a copy" if is_copy else f"from {where}"
    recipients = story.recipients
    if is_copy:
        recipients = tuple(replace(one, state=State.HELD) if one.state.is_live else one for one in recipients)
    return replace(story, recipients=recipients, events=(*story.events, Event(now, "imported", {"to": to, "why": why})))


def _is_meant(story: Story, selection: Selection) -> bool:
    states, envelope = selection.among(LIVE), story.envelope
    id = decode_id(envelope.id)
    return not selection.is_empty and any(
        one.state in states and selects(selection, id or 0, envelope.sender, (one.address, one.original), recipient.domain)
        for one, recipient in zip(story.recipients, envelope.recipients, strict=True)
    )


def _live(story: Story) -> int:
    return sum(one.state.is_live for one in story.recipients)


# --- in threads of their own: all that blocks ---


def _create(path: Path) -> BinaryIO:
    """A new file that only its owner reads: there is other people's mail in it."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")


def _write(writer: ArchiveWriter, file: BinaryIO, page: Sequence[Packed], *, move: bool) -> list[Note]:
    notes = []
    for one in page:
        id, why = one.story.envelope.id, ""
        if move and one.is_attempted:
            why = ATTEMPTED
        else:
            try:
                writer.add(one)
            except FileNotFoundError as error:
                why = f"its body {error.filename} is missing"
        notes.append(Note(id, _live(one.story), why))
    file.flush()  # so that the page before this one is in the file, whatever happens to this one
    return notes


def _end(writer: ArchiveWriter, file: BinaryIO, path: Path) -> None:
    writer.close()
    file.flush()
    os.fsync(file.fileno())
    file.close()
    SYSTEM.sync(path.parent)


def _next(messages: Iterator[Archived]) -> tuple[Archived, Body | None] | None:
    """The next message; with its octets where a store keeps them in the database."""
    one = next(messages, None)
    if one is None or one.story.size > IN_MEMORY:
        return None if one is None else (one, None)
    content = b"".join(one.octets)
    return one, Body(content, len(content))


def _spooled(one: Archived, spool: Spool) -> Body:
    for chunk in one.octets:
        spool.write(chunk)
    return spool.finish()


async def _pages(messages: Iterator[Archived]) -> AsyncIterator[Sequence[Story]]:
    """The stories of an archive, some at a time. Raises ArchiveError behind the last that is whole."""
    failure: ArchiveError | None = None

    def read() -> list[Story]:
        nonlocal failure
        page: list[Story] = []
        try:
            for one in islice(messages, PAGE):
                page.append(one.story)  # noqa: PERF401 - those before an error stay
        except ArchiveError as error:
            failure = error
        return page

    while page := await asyncio.to_thread(read):
        yield page
    if failure is not None:
        raise failure
