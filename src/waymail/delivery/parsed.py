"""A message taken apart, for applications: header fields as text, the text to be read, attachments.

Never raises, whatever the octets are. The email package does the parsing; where it gives up on a message, or there are more
parts in it than anybody sends, `View.is_complete` is false, and whoever needs all of it reads the message itself. All text is
proper Unicode, with LF line ends. It takes half a second for a message of 25 MB, and a few for one that is made to take long:
call it in a thread.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import SMTP, default
from email.utils import getaddresses
from typing import Any

from waymail.mail import headers

PARTS = 1_000  # leaves of a message that are looked at
DEPTH = 50  # multiparts within each other
DELIMITERS = 10_000  # lines that may separate parts: the email package looks at each of them for long
ENCODED = 65_536  # characters of header fields in which encoded words are decoded
ADDRESSES = 32_768  # characters of a field that is read as an address list


@dataclass(frozen=True, slots=True)
class Mailbox:
    """An address and the name in front of it, "" where there is none."""

    name: str
    address: str


@dataclass(frozen=True, slots=True)
class Attachment:
    """A part that is not the text to be read, decoded. `name` is what its sender calls it: no path, and not to be used as one."""

    name: str
    type: str
    content: bytes
    content_id: str = ""
    is_inline: bool = False


@dataclass(frozen=True, slots=True)
class View:
    """What a message says. `text` and `html` are None where it has no such part; `headers` are in order, with encoded words
    (RFC 2047) decoded."""

    headers: tuple[tuple[str, str], ...]
    subject: str
    from_: tuple[Mailbox, ...]
    to: tuple[Mailbox, ...]
    cc: tuple[Mailbox, ...]
    reply_to: tuple[Mailbox, ...]
    date: str
    message_id: str
    text: str | None
    html: str | None
    attachments: tuple[Attachment, ...]
    is_complete: bool = True


def parse(message: bytes) -> EmailMessage:
    """The message as the email package has it. What it cannot parse is a header section and one text."""
    try:
        return message_from_bytes(message, policy=default)
    except Exception:  # noqa: BLE001 - it fails in a dozen ways, RecursionError among them
        broken = EmailMessage()
        section = headers.header_section(message)
        for name, value in headers.fields(section):
            broken.set_raw(name.decode("ascii"), _unicode(headers.unfold(value).strip()))
        broken.set_payload(_unicode(message[len(section) + 2 :]))
        return broken


def view(message: bytes) -> View:
    """All of it that can be read."""
    return _View(message).view()


class _View:
    """Collects what a message says; `is_complete` becomes false where something cannot be read."""

    def __init__(self, message: bytes) -> None:
        self._is_complete = True
        self._encoded = 0
        self._message = message
        self._text: str | None = None
        self._html: str | None = None
        self._attachments: list[Attachment] = []

    def view(self) -> View:
        section = headers.header_section(self._message)
        try:
            if self._message.count(b"\n--") > DELIMITERS:
                raise ValueError("too many parts")
            for part in self._leaves(message_from_bytes(self._message, policy=default)):
                self._take(part)
        except Exception:  # noqa: BLE001 - as in `parse`
            self._is_complete = False
            if self._text is None and self._html is None:
                self._text = _lines(_unicode(self._message[len(section) + 2 :]))
        fields = tuple((name.decode("ascii"), self._decoded(name, value)) for name, value in headers.fields(section))
        return View(
            headers=fields,
            subject=_first(fields, "subject"),
            from_=_mailboxes(section, b"from"),
            to=_mailboxes(section, b"to"),
            cc=_mailboxes(section, b"cc"),
            reply_to=_mailboxes(section, b"reply-to"),
            date=_first(fields, "date"),
            message_id=_first(fields, "message-id"),
            text=self._text,
            html=self._html,
            attachments=tuple(self._attachments),
            is_complete=self._is_complete,
        )

    def _leaves(self, message: EmailMessage) -> Iterator[EmailMessage]:
        """In order, at most `PARTS`. A message within the message is a leaf: it is an attachment."""
        waiting: list[tuple[int, Any]] = [(0, message)]
        found = 0
        while waiting:
            depth, part = waiting.pop()
            if part.get_content_maintype() == "multipart" and part.is_multipart():
                if depth >= DEPTH:
                    self._is_complete = False
                    continue
                waiting += [(depth + 1, inner) for inner in reversed(part.get_payload())]
            elif found >= PARTS:
                self._is_complete = False
                return
            else:
                found += 1
                yield part

    def _take(self, part: EmailMessage) -> None:
        type, name, disposition = part.get_content_type(), self._name(part), self._disposition(part)
        content = self._content(part)
        if not name and disposition != "attachment":
            if type == "text/plain" and self._text is None:
                self._text = _lines(_decoded(content, part))
                return
            if type == "text/html" and self._html is None:
                self._html = _lines(_decoded(content, part))
                return
        content_id = _clean(str(part.get("Content-ID", ""))).strip().strip("<>")
        self._attachments.append(Attachment(name, type, content, content_id, disposition == "inline"))

    def _content(self, part: EmailMessage) -> bytes:
        if part.is_multipart():  # message/rfc822, message/delivery-status
            inner: Any = part.get_payload()
            return b"\r\n".join(one.as_bytes(policy=SMTP) for one in inner)
        content: Any = part.get_payload(decode=True)
        return content if isinstance(content, bytes) else b""

    def _name(self, part: EmailMessage) -> str:
        with suppress(Exception):  # it decodes what strangers wrote
            return _clean(part.get_filename() or "")
        self._is_complete = False
        return ""

    def _disposition(self, part: EmailMessage) -> str:
        with suppress(Exception):
            return part.get_content_disposition() or ""
        self._is_complete = False
        return ""

    def _decoded(self, name: bytes, value: bytes) -> str:
        """A field's value as a person reads it; as it was sent, where that cannot be."""
        raw = _unicode(headers.unfold(value).strip(b" \t\r\n"))
        if "=?" not in raw:
            return raw
        self._encoded += len(raw)
        if self._encoded > ENCODED:
            return raw
        try:
            # Unstructured for every field: nothing but the encoded words is to change.
            return _clean(str(default.header_factory("subject", raw)))
        except Exception:  # noqa: BLE001 - as in `parse`
            self._is_complete = False
            return raw


def _first(fields: tuple[tuple[str, str], ...], name: str) -> str:
    return next((value for spelled, value in fields if spelled.lower() == name), "")


def _mailboxes(section: bytes, name: bytes) -> tuple[Mailbox, ...]:
    """The mailboxes of all such fields, groups taken apart. What is no address list gives none, or what can be made of it."""
    values = [
        _unicode(headers.unfold(value).strip(b" \t\r\n"))
        for spelled, value in headers.fields(section)
        if spelled.lower() == name and len(value) <= ADDRESSES
    ][:10]
    found: list[tuple[str, str]] = []
    for value in values:
        try:
            parsed: Any = default.header_factory(name.decode(), value)
            found += [(one.display_name, one.addr_spec) for one in parsed.addresses]
        except Exception:  # noqa: BLE001 - as in `parse`
            found += _quietly(lambda value=value: getaddresses([value]))  # type: ignore[misc]
    return tuple(Mailbox(_clean(shown), _clean(address)) for shown, address in found if address)


def _quietly(read: Callable[[], list[tuple[str, str]]]) -> list[tuple[str, str]]:
    try:
        return read()
    except Exception:  # noqa: BLE001 - as in `parse`
        return []


def _decoded(content: bytes, part: EmailMessage) -> str:
    charset = str(part.get_content_charset() or "utf-8")
    with suppress(LookupError, ValueError):
        return content.decode(charset, "replace")
    return content.decode("utf-8", "replace")


def _unicode(octets: bytes) -> str:
    return octets.decode("utf-8", "replace")


def _clean(text: str) -> str:
    """Without the lone surrogates by which the email package carries octets, and on one line."""
    return re.sub(r"[\r\n]+", " ", text.encode("utf-8", "surrogateescape").decode("utf-8", "replace"))


def _lines(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n").encode("utf-8", "replace").decode()
