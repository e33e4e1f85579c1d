"""The file by which messages move from one store to another: a tar archive, so that `tar tf` and `tar xf` look into it.

    waymail-queue.json   {"format": 1, "host": ..., "version": ..., "at": seconds since the epoch, "moved": true | false}
    ID.json              what the store has of message ID (`document`), with "size" and "sha256" of the next:
    ID.eml               its octets
    ...                  the next message, and so on
    end.json             {"messages": how many, "sha256": of all octets of the file above this member}

"moved" says that the messages are held where they come from until they are gone there; else the file is a copy. A file without
its end was cut off. Memory is bounded in writing and in reading, however many messages there are and however large they are.
Everything here blocks.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator, Mapping
from hashlib import sha256
from typing import Any, BinaryIO

from waymail.mail.envelope import Body
from waymail.store.contract import Packed, Story
from waymail.store.document import document, story_of
from waymail.values import value

FORMAT = 1
HEAD = "waymail-queue.json"
END = "end.json"
CHUNK = 65536
LONGEST = 1 << 26  # octets of what is said of a message


class ArchiveError(Exception):
    """The file is none, or damaged, or cut off, or from a newer waymail. The text says which."""


@value
class Archived:
    """A message in an archive. Its octets can be read once, before the next message; ArchiveError at their end says that they are
    not those that were written."""

    story: Story
    octets: Iterator[bytes]


class ArchiveWriter:
    """Writes an archive to `file`. Without `close` it is one that was cut off. Raises OSError."""

    def __init__(self, file: BinaryIO, *, host: str, version: str, at: float, moved: bool) -> None:
        self._file = file
        self._digest = sha256()
        self._messages = 0
        self._add(HEAD, {"format": FORMAT, "host": host, "version": version, "at": at, "moved": moved})

    def add(self, packed: Packed) -> None:
        """Write a message. Raises FileNotFoundError, and nothing was written, where its body is gone."""
        story, prefix = packed.story, packed.body.prefix
        with _opened(packed.body) as content:  # once: the file may be removed meanwhile, where it is only copied
            digest, size = sha256(prefix), len(prefix)
            while chunk := content.read(CHUNK):
                digest.update(chunk)
                size += len(chunk)
            self._add(f"{story.envelope.id}.json", document(story) | {"size": size, "sha256": digest.hexdigest()})
            self._begin(f"{story.envelope.id}.eml", size)
            self._write(prefix)
            content.seek(0)
            while chunk := content.read(CHUNK):
                self._write(chunk)
        self._write(bytes(_padding(size)))
        self._messages += 1

    def close(self) -> None:
        """Write the end. The file itself stays open."""
        self._add(END, {"messages": self._messages, "sha256": self._digest.hexdigest()})
        self._write(bytes(2 * tarfile.BLOCKSIZE))

    def _add(self, name: str, data: Mapping[str, Any]) -> None:
        # ASCII: a text with a lone surrogate (an octet that was no UTF-8) is escaped and survives.
        octets = json.dumps(data, indent=1).encode()
        self._begin(name, len(octets))
        self._write(octets + bytes(_padding(len(octets))))

    def _begin(self, name: str, size: int) -> None:
        member = tarfile.TarInfo(name)
        member.size, member.mode = size, 0o600
        self._write(member.tobuf(tarfile.GNU_FORMAT))  # of ustar it differs only where a message is larger than 8 GB

    def _write(self, octets: bytes) -> None:
        self._digest.update(octets)
        self._file.write(octets)


class ArchiveReader:
    """Reads an archive from `file`. Raises ArchiveError where there is none, and OSError."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._digest = sha256()
        self.messages = 0  # read so far
        try:
            size = self._member(HEAD)
        except ArchiveError as error:
            raise ArchiveError("this is no file that `waymail queue export` wrote") from error
        head = self._json(size)
        if not isinstance(head.get("format"), int) or head["format"] > FORMAT:
            raise ArchiveError(
                f"it was written by waymail {head.get('version', '?')} in format {head.get('format')!r:.20}, and this one knows"
                f" {FORMAT}: install a newer waymail"
            )
        self.host = str(head.get("host", ""))
        self.moved = head.get("moved") is True

    def read(self) -> Iterator[Archived]:
        """The messages in the order of their ids. It ends only where the archive ends as it was written; else it raises
        ArchiveError."""
        last = ""
        while True:
            digest = self._digest.hexdigest()
            name, size = self._header()
            if name == END:
                if self._json(size) != {"messages": self.messages, "sha256": digest}:
                    raise ArchiveError("its octets are not those that were written: it is damaged")
                return
            data = self._json(size)
            size = self._member(f"{name.removesuffix('.json')}.eml")
            octets = self._octets(size, data.get("sha256"))
            try:
                story = story_of(data, size)
            except ValueError as error:
                raise ArchiveError(f"{name:.40} cannot be read: {error}") from error
            if name != f"{story.envelope.id}.json" or data.get("size") != size:
                raise ArchiveError(f"{name:.40} is about another message: it is damaged")
            if story.envelope.id <= last:
                raise ArchiveError(f"{name:.40} is there twice, or behind others that follow it: no waymail wrote that")
            last = story.envelope.id
            yield Archived(story, octets)
            for _ in octets:
                pass
            self.messages += 1

    def _header(self) -> tuple[str, int]:
        try:
            member = tarfile.TarInfo.frombuf(self._read(tarfile.BLOCKSIZE), "utf-8", "strict")
        except (tarfile.TarError, UnicodeError) as error:
            raise ArchiveError(f"it is damaged behind {self._place()}: {error}") from error
        if member.size < 0:  # tar has a form for that, too
            raise ArchiveError(f"it is damaged behind {self._place()}: {member.name!r:.40} has less than nothing")
        return member.name, member.size

    def _member(self, name: str) -> int:
        found, size = self._header()
        if found != name:
            raise ArchiveError(f"it has {found!r:.60} where {name} belongs: it is damaged")
        return size

    def _json(self, size: int) -> dict[str, Any]:
        if size > LONGEST:
            raise ArchiveError(f"it is damaged behind {self._place()}: a member is too large")
        octets = self._read(size)
        self._read(_padding(size))
        try:
            data = json.loads(octets)
        except (ValueError, RecursionError) as error:
            raise ArchiveError(f"it is damaged behind {self._place()}: {error}") from error
        if not isinstance(data, dict):
            raise ArchiveError(f"it is damaged behind {self._place()}")
        return data

    def _octets(self, size: int, digest: object) -> Iterator[bytes]:
        actual, left = sha256(), size
        while left:
            chunk = self._read(min(left, CHUNK))
            left -= len(chunk)
            actual.update(chunk)
            yield chunk
        self._read(_padding(size))
        if actual.hexdigest() != digest:
            raise ArchiveError(f"the octets behind {self._place()} are not those that were written: it is damaged")

    def _read(self, size: int) -> bytes:
        """So many octets, and not fewer."""
        octets = self._file.read(size)
        if len(octets) < size:
            raise ArchiveError(f"it is cut off behind {self._place()}")
        self._digest.update(octets)
        return octets

    def _place(self) -> str:
        return f"{self.messages} complete message{'' if self.messages == 1 else 's'}"


def _opened(body: Body) -> BinaryIO:
    return io.BytesIO(body.content) if isinstance(body.content, bytes) else body.content.open("rb")


def check(file: BinaryIO) -> ArchiveReader:
    """Read a whole archive, and give back its reader, who knows what it has. Raises ArchiveError."""
    reader = ArchiveReader(file)
    for _ in reader.read():
        pass
    return reader


def _padding(size: int) -> int:
    return -size % tarfile.BLOCKSIZE
