"""Final delivery into Maildirs.

**A recipient is Delivered when the message is on disk under its final name**: written into tmp/, synced, linked into new/,
and new/ synced. Anything that stops this makes the recipient Deferred, with the system's own words as private cause; an
address that cannot be a mailbox here makes it Failed. A retry may write the message a second time, where a reader has moved
the first copy out of new/ meanwhile; it can never be lost between two attempts.

The file has LF line ends, as other delivery agents write them and readers expect them; every other octet is as received,
below the Return-Path (RFC 5321 §4.4) and Delivered-To (RFC 9228 §4) fields. A message that came as BINARYMIME would not survive
that, for a CRLF in binary content is no line end: its binary parts are encoded (RFC 3030 §3), and where that would break a
signature the file has every octet as received, CRLF too. Names are lower-cased for the path: mailboxes
that differ only in case are one (RFC 5321 §2.4 leaves that to the host that delivers).
"""

from __future__ import annotations

import asyncio
import errno
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2s
from itertools import count
from pathlib import Path

from waymail.mail.convert import Converted, Unconvertible, convert
from waymail.mail.envelope import Body, Envelope, Recipient
from waymail.mail.outcome import Deferred, Delivered, Failed, Outcome
from waymail.mail.received import delivered_to, return_path, without_return_path
from waymail.wire.replies import Reply

# A header section longer than this keeps Return-Path fields that stand beyond it.
HEAD_LIMIT = 262_144
THREADS = 8
_LONGEST_NAME = 255  # octets, NAME_MAX
_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_NO_ROOM = {errno.ENOSPC: Reply(452, "insufficient system storage", "4.3.1"), errno.EDQUOT: Reply(452, "mailbox full", "4.2.2")}
_NOT_NOW = Reply(451, "the mailbox cannot be written now", "4.3.0")
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}
_DELIVERED = Delivered(Reply(250, "delivered to mailbox", "2.1.5"), final=True)
_NO_MAILBOX = Failed(Reply(550, "this address cannot be a mailbox here", "5.1.3"))


class MaildirTransport:
    """Delivers into `template`, in which "{local}" and "{domain}" stand for the recipient's: "/srv/mail/{domain}/{local}".

    `hostname` becomes part of the file names. Directories are made on first use, for their owner alone. Raises ValueError for
    a template with other placeholders; one without any collects all mail in one maildir.
    """

    def __init__(self, template: str | Path, hostname: str) -> None:
        self._template = str(template)
        if unknown := set(_PLACEHOLDER.findall(self._template)) - {"local", "domain"}:
            raise ValueError(f"{self._template!r}: {{{unknown.pop()}}} means nothing here; there are {{local}} and {{domain}}")
        # The maildir specification's way to write these two in a file name.
        self._hostname = hostname.replace("/", r"\057").replace(":", r"\072")
        self._written = count()
        # Its own: a file system that hangs must hold up nothing but mailboxes.
        self._threads = ThreadPoolExecutor(THREADS, "waymail-maildir")

    async def deliver(self, envelope: Envelope, body: Body, recipients: Sequence[Recipient]) -> dict[str, Outcome]:
        """Write a copy for each recipient, in a thread. The outcomes are by `Recipient.address`."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._deliver_all, envelope, body, recipients)

    def maildir(self, recipient: Recipient) -> Path | None:
        """The recipient's maildir; None where the address cannot be one."""
        local, _, domain = recipient.address.rpartition("@")
        values = {"local": _unquoted(local).lower(), "domain": domain.lower()}
        if not all(map(_is_safe, values.values())):
            return None
        path = Path(_PLACEHOLDER.sub(lambda match: values[match[1]], self._template))
        return path if all(len(os.fsencode(part)) <= _LONGEST_NAME for part in path.parts) else None

    def _deliver_all(self, envelope: Envelope, body: Body, recipients: Sequence[Recipient]) -> dict[str, Outcome]:
        source: Body | Converted = body
        with_lf = True
        if envelope.body == "BINARYMIME":
            try:
                source = convert(body, to="8BITMIME")
            except Unconvertible:
                with_lf = False
            except OSError as error:
                return dict.fromkeys((recipient.address for recipient in recipients), deferred(error))
        return {recipient.address: self._deliver(envelope, source, recipient, with_lf=with_lf) for recipient in recipients}

    def _deliver(self, envelope: Envelope, body: Body | Converted, recipient: Recipient, *, with_lf: bool) -> Outcome:
        maildir = self.maildir(recipient)
        if maildir is None:
            return _NO_MAILBOX
        try:
            content = _content(envelope, body, recipient)
            self._write(maildir, self._file_name(envelope, recipient), _with_lf(content) if with_lf else content)
        except OSError as error:
            return deferred(error)
        return _DELIVERED

    def _file_name(self, envelope: Envelope, recipient: Recipient) -> str:
        """Always the same for a message and its recipient: so a second delivery is recognised."""
        who = blake2s(recipient.address.encode("utf-8", "surrogateescape"), digest_size=6).hexdigest()
        return f"{int(envelope.accepted_at)}.Q{envelope.id}R{who}.{self._hostname}"

    def _write(self, maildir: Path, name: str, chunks: Iterable[bytes]) -> None:
        """Raises OSError; nothing of the message is left in the maildir then, or all of it."""
        final = maildir / "new" / name
        if final.exists():
            _sync_directory(final.parent)  # whoever linked it may have died before this
            return
        # Two processes may deliver the same message at once; each has its own file in tmp/, and one of them wins the link.
        temporary = maildir / "tmp" / f"{name}.{os.getpid()}.{next(self._written)}"
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            for part in ("tmp", "new", "cur"):
                _make_directory(maildir / part)
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.writelines(chunks)
                file.flush()
                os.fsync(descriptor)
            _publish(temporary, final)
        finally:
            temporary.unlink(missing_ok=True)
        _sync_directory(final.parent)


def deferred(error: OSError) -> Deferred:
    """What the system said, as an outcome: full is told from broken, and its words stay private."""
    return Deferred(_NO_ROOM.get(error.errno or 0, _NOT_NOW), cause=str(error))


def _content(envelope: Envelope, body: Body | Converted, recipient: Recipient) -> Iterator[bytes]:
    """The message as it is kept, but for its line ends. Never more than the head and one chunk of the message is in memory."""
    chunks = body.chunks()
    head = b""
    for chunk in chunks:
        head += chunk
        if b"\r\n\r\n" in head or len(head) >= HEAD_LIMIT:
            break
    fields = return_path(envelope.sender) + delivered_to(recipient.address)
    yield fields + without_return_path(head)
    yield from chunks


def _with_lf(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """CRLF made LF, also where one chunk ends with the CR and the next begins with the LF."""
    held = b""
    for chunk in chunks:
        whole = held + chunk
        held = b"\r" if whole.endswith(b"\r") else b""
        yield (whole[:-1] if held else whole).replace(b"\r\n", b"\n")
    if held:
        yield held


def _unquoted(local: str) -> str:
    """RFC 5321 §4.1.2: a quoted local part means the same as its content where that needs no quotes."""
    if len(local) >= 2 and local[0] == local[-1] == '"':
        return re.sub(r"\\(.)", r"\1", local[1:-1])
    return local


def _is_safe(name: str) -> bool:
    """Whether a stranger's text can be part of a path and lead nowhere else: no separator, no "." in front, nothing unseen."""
    return bool(name) and name[0] != "." and "/" not in name and name.isprintable()


def _publish(temporary: Path, final: Path) -> None:
    """Give the file its final name. Where that exists, it is this same message: good as well."""
    try:
        os.link(temporary, final)
    except FileExistsError:
        return
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        temporary.rename(final)  # file systems without hard links


def _make_directory(directory: Path) -> None:
    """Make it and what is missing above it, each synced into its parent: a crash must not take away what holds mail."""
    try:
        directory.mkdir(0o700)
    except FileExistsError:
        return
    except FileNotFoundError:
        _make_directory(directory.parent)
        directory.mkdir(0o700, exist_ok=True)
    _sync_directory(directory.parent)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
