"""Final delivery into Maildirs.

**A recipient is Delivered when the message is on disk under its final name**: written into tmp/, synced, linked into new/,
and new/ synced, and with it the directories that lead there. Anything that stops this makes the recipient Deferred, with the
system's own words as private cause; an address that cannot be a mailbox here makes it Failed.

A message's file name is always the same, so a second delivery finds the first: in new/, or in cur/, where readers move what they
have seen. Where a reader has moved it to another folder, or removed it, the message is written a second time; it can never be
lost between two attempts.

The file has LF line ends, as other delivery agents write them and readers expect them; what else becomes of the content is in
`delivery.final`. A recipient's `folder` (quarantine) goes before the one that the detail of his address names, and is made where
it is missing. Names are lower-cased for the path: mailboxes that differ only in case are one (RFC 5321 §2.4 leaves that to the
host that delivers).
"""

from __future__ import annotations

import asyncio
import errno
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from hashlib import blake2s
from itertools import count
from pathlib import Path

from waymail.delivery import final
from waymail.delivery import maildir_folders as folders
from waymail.delivery import maildir_quota as quotas
from waymail.delivery.maildir_files import Counted, Directories, publish, sync_directory
from waymail.mail import subaddress
from waymail.mail.envelope import Body, Envelope, Recipient
from waymail.mail.outcome import Deferred, Delivered, Failed, Outcome
from waymail.mail.received import delivered_to, return_path
from waymail.wire.replies import Reply

THREADS = 8
AT_ONCE = 60.0  # seconds after its acceptance for which a message is not looked for: its first attempt comes at once
_LONGEST_NAME = 255  # octets, NAME_MAX
_LONGEST_HOST = 64  # characters of the hostname in a file name: readers add to the name
_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
# RFC 3463 §3.3: X.2.2 is for what the recipient can remedy; X.2.3 for what could not even be kept in an empty mailbox.
_FULL = Reply(452, "mailbox full", "4.2.2")
_FULL_FOR_GOOD = Reply(552, "mailbox full", "5.2.2")
_TOO_LARGE = Failed(Reply(552, "the message is larger than the whole mailbox may be", "5.2.3"))
_NO_ROOM = {errno.ENOSPC: Reply(452, "insufficient system storage", "4.3.1"), errno.EDQUOT: _FULL}
_NOT_NOW = Reply(451, "the mailbox cannot be written now", "4.3.0")
_DELIVERED = Reply(250, "delivered to mailbox", "2.1.5")
_NO_MAILBOX = Failed(Reply(550, "this address cannot be a mailbox here", "5.1.3"))


@dataclass(frozen=True, slots=True)
class Rules:
    """How the mailboxes of one domain are kept.

    `detail` separates user and detail (RFC 5233); "" where there are no details. `users` are the names of mailboxes that exist;
    None where any may. A detail names a folder; one that is missing is made if `makes_folders` is set, and else stands for the
    inbox. What does not fit into the quota is tried again later, or fails at once where `fails_when_full` is set.
    """

    detail: str = ""
    users: frozenset[str] | None = None
    makes_folders: bool = False
    quota: quotas.Quota | None = None
    fails_when_full: bool = False


_NO_RULES = Rules()


class MaildirTransport:
    """Delivers into `template`, in which "{local}" and "{domain}" stand for the recipient's: "/srv/mail/{domain}/{local}".

    `hostname` becomes part of the file names. `rules` are those of each domain, by its name in lower case. Directories are made
    on first use, for their owner alone. `now` gives seconds since the epoch. Raises ValueError for a template with other
    placeholders; one without any collects all mail in one maildir.
    """

    def __init__(
        self,
        template: str | Path,
        hostname: str,
        rules: Mapping[str, Rules] | None = None,
        *,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._template = str(template)
        if unknown := set(_PLACEHOLDER.findall(self._template)) - {"local", "domain"}:
            raise ValueError(f"{self._template!r}: {{{unknown.pop()}}} means nothing here; there are {{local}} and {{domain}}")
        # The maildir specification's way to write these two in a file name.
        self._hostname = hostname[:_LONGEST_HOST].replace("/", r"\057").replace(":", r"\072")
        self._rules = rules or {}
        self._now = now
        self._since = now()
        self._directories = Directories(Path(self._template.partition("{")[0] + "x").parent)
        # For names in tmp/ that nobody else takes: no other machine with this disk, nor who had the process id before a crash.
        self._process, self._written = f"{os.getpid()}.{os.urandom(8).hex()}", count()
        # Its own: a file system that hangs must hold up nothing but mailboxes.
        self._threads = ThreadPoolExecutor(THREADS, "waymail-maildir")

    async def deliver(self, envelope: Envelope, body: Body, recipients: Sequence[Recipient]) -> dict[str, Outcome]:
        """Write a copy for each recipient, in a thread. The outcomes are by `Recipient.address`."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._deliver_all, envelope, body, recipients)

    def maildir(self, recipient: Recipient) -> Path | None:
        """The recipient's maildir; None where the address cannot be one."""
        return self._mailbox(recipient)[0]

    def _mailbox(self, recipient: Recipient) -> tuple[Path | None, str]:
        """The recipient's maildir, and the detail of his address."""
        local, _, domain = recipient.address.rpartition("@")
        user, detail = _user(_unquoted(local).lower(), self._rules.get(recipient.domain, _NO_RULES))
        values = {"local": user, "domain": domain.lower()}
        if not all(map(_is_safe, values.values())):
            return None, ""
        path = Path(_PLACEHOLDER.sub(lambda match: values[match[1]], self._template))
        is_short = len(os.fsencode(path)) <= _LONGEST_NAME or all(len(os.fsencode(part)) <= _LONGEST_NAME for part in path.parts)
        return path if is_short else None, detail

    def _deliver_all(self, envelope: Envelope, body: Body, recipients: Sequence[Recipient]) -> dict[str, Outcome]:
        return {recipient.address: self._deliver(envelope, body, recipient) for recipient in recipients}

    def _deliver(self, envelope: Envelope, body: Body, recipient: Recipient) -> Outcome:
        maildir, detail = self._mailbox(recipient)
        if maildir is None:
            return _NO_MAILBOX
        try:
            try:
                outcome = self._attempt(envelope, body, recipient, maildir, detail)
            except FileNotFoundError:  # somebody has removed what this process had made
                self._directories.forget()
                outcome = self._attempt(envelope, body, recipient, maildir, detail)
        except OSError as error:
            outcome = deferred(error)
        return outcome if outcome.place else replace(outcome, place=str(maildir))

    def _attempt(self, envelope: Envelope, body: Body, recipient: Recipient, maildir: Path, detail: str) -> Outcome:
        """Raises OSError."""
        rules = self._rules.get(recipient.domain, _NO_RULES)
        name = self._file_name(envelope, recipient)
        self._directories.make_maildir(maildir)
        folder = self._folder(maildir, recipient.folder or detail, rules, is_ours=bool(recipient.folder))
        if not self._is_there(folder, name, envelope):
            fields = return_path(envelope.sender) + delivered_to(recipient.address)
            chunks = Counted(final.content(envelope, body, fields, lf=True))
            refusal = self._write(maildir, folder, name, chunks, rules)
            if refusal is not None:
                return refusal
        return Delivered(_DELIVERED, final=True, place=str(folder))

    def _folder(self, maildir: Path, name: str, rules: Rules, *, is_ours: bool) -> Path:
        """The maildir itself, or its folder of that name, `is_ours` where no stranger chose it. Raises OSError."""
        wanted = folders.named(name) if name else None
        if wanted is None:
            return maildir
        present = folders.present(maildir)
        found = folders.find(wanted, present)
        if found is None and (is_ours or (rules.makes_folders and len(present) < folders.MOST)):
            found = wanted
            self._directories.make(maildir / wanted)
            # Maildir++: by this file a folder is told from a Maildir. Before new/, so that a crash leaves no folder without it.
            (maildir / wanted / "maildirfolder").touch(0o600)
        if found is None:
            return maildir
        self._directories.make_maildir(maildir / found)
        return maildir / found

    def _file_name(self, envelope: Envelope, recipient: Recipient) -> str:
        """How the file's name begins: always the same for a message and its recipient, and for no others, even where two servers
        of one name share a disk and gave the same queue id in the same microsecond."""
        which = f"{recipient.address}\0{envelope.sender}\0{envelope.message_id}".encode("utf-8", "surrogateescape")
        return f"{int(envelope.accepted_at)}.Q{envelope.id}R{blake2s(which, digest_size=6).hexdigest()}.{self._hostname}"

    def _is_there(self, folder: Path, name: str, envelope: Envelope) -> bool:
        """Whether an earlier attempt has delivered it. Most messages have none: those that this process accepted just now are not
        looked for, and where one has been after all, it is found when the file gets its name. Raises OSError."""
        if envelope.accepted_at >= max(self._since, self._now() - AT_ONCE):
            return False
        if not any(_has(folder / part, name) for part in ("new", "cur")):
            return False
        # Whoever linked it may have died before this; and where it is in both, it is about to be in cur/.
        sync_directory(f"{folder}/new")
        sync_directory(f"{folder}/cur")
        return True

    def _write(self, maildir: Path, folder: Path, name: str, chunks: Counted, rules: Rules) -> Outcome | None:
        """Write the message, or say why not. Raises OSError; nothing of the message is left then, or all of it."""
        at = str(folder)  # paths as text: to put Path objects together takes longer than the work on the files
        temporary = f"{at}/tmp/{int(self._now())}.{self._process}.{next(self._written)}"  # noqa: S108 - the Maildir's own
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.writelines(chunks)
                file.flush()
                if (refusal := self._refusal(maildir, rules, chunks.size)) is not None:
                    return refusal
                os.fsync(descriptor)
            is_new = publish(temporary, f"{at}/new/{name},S={chunks.size},W={chunks.crlf_size}")
        finally:
            with suppress(FileNotFoundError):  # it was renamed
                os.unlink(temporary)  # noqa: PTH108 - as above
        sync_directory(f"{at}/new")
        if is_new:
            quotas.note(maildir, chunks.size)
        return None

    def _refusal(self, maildir: Path, rules: Rules, size: int) -> Outcome | None:
        """What to say where a message of this size does not fit in. Raises OSError."""
        quota = rules.quota
        if quota is None:
            return None
        if not quota.holds(quotas.Usage(size, 1)):
            return _TOO_LARGE
        usage = quotas.used(maildir, quota, size, self._now())
        if quota.holds(usage + quotas.Usage(size, 1)):
            return None
        why = quotas.told(quota, usage)
        dialogue = (f"* {maildir}: {why}; the message has {size:,} octets",)  # the trace shows it, and nobody else is told
        if rules.fails_when_full:
            return Failed(_FULL_FOR_GOOD, dialogue=dialogue)
        return Deferred(_FULL, cause=f"{maildir}: {why}", dialogue=dialogue)


def deferred(error: OSError) -> Deferred:
    """What the system said, as an outcome: full is told from broken, and its words stay private."""
    return Deferred(_NO_ROOM.get(error.errno or 0, _NOT_NOW), cause=str(error))


def _user(name: str, rules: Rules) -> tuple[str, str]:
    """The user and the detail that a name stands for. Whether there is such a user was decided when the message was accepted."""
    if not rules.detail or rules.detail not in name:
        return name, ""
    users = rules.users
    known = None if users is None else subaddress.split(name, rules.detail, users.__contains__)
    return known or subaddress.split(name, rules.detail, None) or (name, "")


def _unquoted(local: str) -> str:
    """RFC 5321 §4.1.2: a quoted local part means the same as its content where that needs no quotes."""
    if len(local) >= 2 and local[0] == local[-1] == '"':
        return re.sub(r"\\(.)", r"\1", local[1:-1])
    return local


def _is_safe(name: str) -> bool:
    """Whether a stranger's text can be part of a path and lead nowhere else: no separator, no "." in front, nothing unseen."""
    return bool(name) and name[0] != "." and "/" not in name and name.isprintable()


def _has(directory: Path, name: str) -> bool:
    """Whether a file is there whose name begins so, with whatever sizes and flags."""
    with os.scandir(directory) as entries:
        return any(entry.name.startswith(name) and entry.name[len(name) :][:1] in ("", ",", ":") for entry in entries)
