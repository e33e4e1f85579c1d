"""A message from what a program wants to say: text, HTML, images in it, files, and whom it goes to.

    multipart/mixed            where there are attachments
        multipart/related      where there are inline images
            multipart/alternative
                text/plain
                text/html
            image/png ...
        application/pdf ...

A level that would have one part is left out. All content is in seven bits (RFC 2045 §6): no server on the way has to change it,
and a signature over it holds. The same arguments give the same octets, for time and chance are not asked. Date and Message-ID
come when the message is sent.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from email.contentmanager import raw_data_manager
from email.headerregistry import HeaderRegistry
from email.message import EmailMessage, MIMEPart
from email.parser import BytesParser
from email.policy import default
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypeAlias

from waymail.mail import html_text
from waymail.mail.compose_fields import Field, Mailbox, check_text, mailbox_field, mailboxes_of, text_field, uri_field
from waymail.mail.media_type import UNKNOWN, media_type

Mailboxes: TypeAlias = Mailbox | Iterable[Mailbox]
Attachment: TypeAlias = Path | tuple[str, bytes] | tuple[str, bytes, str] | EmailMessage

_POLICY = default.clone(cte_type="7bit")
_OWN = frozenset(("from", "to", "cc", "bcc", "reply-to", "subject", "list-unsubscribe", "list-unsubscribe-post", "mime-version"))
_LINE = 78  # RFC 5322 §2.1.1
_ONLY_TEXT = re.compile(r"[\t\n\r -~]*")
# RFC 3986 §2, without what has a meaning in the field: "<", ">" and the comma (RFC 2369 §2).
_URI = re.compile(r"(?:https?://|mailto:)[!#-+\--;=?-\[\]_a-z~]{1,900}", re.IGNORECASE)
# In an attribute, or in url() of a style: elsewhere "cid:" is text.
_CID = re.compile(r"""(?P<before>(?:=|url\()\s*["']?\s*)cid:(?P<name>[^"'\s<>()]+)""", re.IGNORECASE)
_CONTENT_ID = re.compile(r"[\w!#$%&'*+\-/=?^`{|}~.]+", re.ASCII)


def compose(
    *,
    sender: Mailbox,
    to: Mailboxes = (),
    subject: str = "",
    text: str | None = None,
    html: str | None = None,
    cc: Mailboxes = (),
    bcc: Mailboxes = (),
    reply_to: Mailboxes = (),
    inline: Mapping[str, Path | bytes] | None = None,
    attachments: Iterable[Attachment] = (),
    preview: str = "",
    unsubscribe: str | Sequence[str] = (),
    one_click: bool = False,
    headers: Mapping[str, str] | None = None,
) -> EmailMessage:
    """A message, ready to be sent.

    `sender` (its From), `to`, `cc`, `bcc` and `reply_to` are mailboxes: "ann@example.org", "Ann <ann@example.org>", (name,
    address) or an `email.headerregistry.Address`, and of all but `sender` there may be several, in a list. Bcc is in the message
    that is returned, for it names recipients, and is left out when it is sent.

    `text` is the plain text, `html` the HTML; where only `html` is given, a plain text is made from it. `inline` are images of
    the HTML by the name that it has for them: `<img src="cid:logo">` is `inline={"logo": Path("logo.png")}`. `preview` is what
    a list of messages shows behind the subject; it stands in the HTML, hidden.

    `attachments` are files: a Path, (name, octets), (name, octets, media type), or a message, which becomes a message/rfc822. A
    media type may have parameters: "text/calendar; method=REQUEST". Files are read at once.

    `unsubscribe` is where a recipient gets off the list, an https or a mailto URI or several of them (RFC 2369 §3.2).
    `one_click` promises that a POST to the one https URI among them does it without any question (RFC 8058); the message then
    has to be signed with DKIM. `headers` are other fields, text by name.

    Raises ValueError, which names the argument, for what is no mailbox ("" among it), a line end or another control character in
    anything that goes into a header field, an image that the HTML does not show or that it shows and that is not given; OSError
    where a file cannot be read. Nothing that is given can add a field, a part or a recipient.
    """
    if isinstance(attachments, str | bytes | Path | EmailMessage):
        raise ValueError("attachments: give a list of them, also of one")
    files = [_attachment(given) for given in attachments]
    if text is None and html is None:
        raise ValueError("text, or html, is what the message says: give one of them")
    if html is None and (inline or preview):
        raise ValueError(f"{'inline images' if inline else 'a preview'} stand in the HTML: give html")
    if not (author := mailboxes_of(sender, "sender")):
        raise ValueError("sender: who is it from?")
    message = EmailMessage(_POLICY)
    message["From"] = mailbox_field("From", author[:1])
    for name, given in (("To", to), ("Cc", cc), ("Bcc", bcc), ("Reply-To", reply_to)):
        if mailboxes := mailboxes_of(given, name.lower().replace("-", "_")):
            message[name] = mailbox_field(name, mailboxes)
    message["Subject"] = text_field("Subject", check_text(subject, "subject"))
    for field in (*_unsubscribe(unsubscribe, one_click=one_click), *_others(headers or {})):
        message[field.name] = field
    images = {name: _image(name, given) for name, given in (inline or {}).items()}
    _put_content(message, text, html, preview, images, files)
    shown = [mailbox for field in message.values() for mailbox in getattr(field, "addresses", ())]
    if any(not mailbox.addr_spec.isascii() for mailbox in shown):
        message.policy = _POLICY.clone(utf8=True)  # RFC 6532 §3.2: no encoded word is an address
    return message


def _put_content(
    message: EmailMessage, text: str | None, html: str | None, preview: str, images: Mapping[str, MIMEPart], files: list[MIMEPart]
) -> None:
    mark = _mark(map(repr, (str(message["Subject"]), text, html, preview)), [*images.values(), *files])
    parts = [_text(text if text is not None else html_text.as_text(html or ""), "plain")]
    if html is not None:
        html = _with_images(html, images, mark, message["From"].addresses[0].domain)
        parts.append(_text(html_text.with_preview(html, check_text(preview, "preview")) if preview else html, "html"))
    content = _multipart("alternative", parts, mark)
    content = _multipart("related", [content, *images.values()], mark)
    content = _multipart("mixed", [content, *files], mark)
    message["MIME-Version"] = "1.0"
    for name, value in content.items():
        if name.lower() != "mime-version":
            message[name] = value
    message.set_payload(content.get_payload())


def _mark(said: Iterable[str], parts: Iterable[MIMEPart]) -> str:
    digest = blake2b(digest_size=12)
    for text in said:
        digest.update(text.encode())
    for part in parts:
        digest.update(part.as_bytes())
    return digest.hexdigest()


def _multipart(subtype: str, parts: list[MIMEPart], mark: str) -> MIMEPart:
    """The parts in a multipart; a single one as it is.

    No part has the boundary in it: it is made from what is in them, and quoted-printable and base64 know no "=_" (RFC 2045 §6.7).
    """
    if len(parts) == 1:
        return parts[0]
    whole = MIMEPart(_POLICY)
    # RFC 2387 §3.1: `type` is what the first part is.
    kind = f'; type="{parts[0].get_content_type()}"' if subtype == "related" else ""
    whole["Content-Type"] = f'multipart/{subtype}{kind}; boundary="=_{mark}.{subtype}"'
    for part in parts:
        whole.attach(part)
    return whole


def _text(text: str, subtype: str) -> MIMEPart:
    part = MIMEPart(_POLICY)
    lines = text.splitlines()
    if _ONLY_TEXT.fullmatch(text) and max(map(len, lines), default=0) <= _LINE:
        part.set_content(text, subtype=subtype, charset="us-ascii", cte="7bit")
        return part
    # Most of what is not Latin is shorter, and no less legible, in base64.
    is_far = (len(text.encode()) - len(text)) * 8 > len(text)
    part.set_content(text, subtype=subtype, charset="utf-8", cte="base64" if is_far else "quoted-printable")
    return part


def _image(name: str, given: Path | bytes) -> MIMEPart:
    if _CONTENT_ID.fullmatch(name.replace("@", "", 1)) is None:
        raise ValueError(f"inline: {name!r} is no name for an image: use letters, digits, dots and hyphens")
    if not isinstance(given, bytes | Path):
        raise ValueError(f"inline: {given!r:.80} is no image: give a Path, or its octets")
    octets = given if isinstance(given, bytes) else given.read_bytes()
    kind = media_type("" if isinstance(given, bytes) else given.name, octets)
    if kind == UNKNOWN:
        raise ValueError(
            f"inline: the kind of image that {name!r} is cannot be told: give a Path that ends in .png, .jpg or the like"
        )
    ending = kind.partition("/")[2].partition("+")[0]  # of image/svg+xml: svg
    return _data(octets, kind, f"{name.partition('@')[0]}.{ending}" if isinstance(given, bytes) else given.name, "inline")


def _with_images(html: str, images: Mapping[str, MIMEPart], mark: str, domain: str) -> str:
    """The HTML with names of images that are unique in the world (RFC 2045 §7, RFC 2392 §2); the images get them as well."""
    shown = {found["name"] for found in _CID.finditer(html)}
    for name in shown - images.keys():
        raise ValueError(f"inline: the HTML shows cid:{name}, which is not among the images that are given")
    for name in images.keys() - shown:
        raise ValueError(f'inline: the HTML does not show {name!r}: write <img src="cid:{name}"> where it belongs')
    host = "inline" if domain.startswith("[") or not domain.isascii() else domain
    unique = {name: name if "@" in name else f"{name}.{mark}@{host}" for name in images}
    for name, part in images.items():
        part["Content-ID"] = f"<{unique[name]}>"
    return _CID.sub(lambda found: f"{found['before']}cid:{unique[found['name']]}", html)


def _attachment(given: Attachment) -> MIMEPart:
    match given:
        case EmailMessage():
            part = MIMEPart(_POLICY)
            part.set_content(given, disposition="attachment")
            return part
        case Path():
            octets = given.read_bytes()
            return _data(octets, media_type(given.name, octets), given.name, "attachment")
        case (str(name), bytes(octets)):
            return _data(octets, media_type(name, octets), name, "attachment")
        case (str(name), bytes(octets), str(kind)):
            return _data(octets, kind, name, "attachment")
    raise ValueError(
        f"attachments: {given!r:.80} is none: give a Path, (name, octets), (name, octets, media type) or an EmailMessage"
    )


def _data(octets: bytes, kind: str, name: str, disposition: str) -> MIMEPart:
    if not name:
        raise ValueError("attachments: a file has a name")
    check_text(name, "attachments")
    header: Any = HeaderRegistry()("Content-Type", check_text(kind, "attachments"))
    if header.defects or header.content_type != kind.partition(";")[0].strip().lower():
        raise ValueError(f"attachments: {kind!r} is no media type")
    if header.content_type == "message/rfc822":
        # RFC 2046 §5.2.1: a message is a part as it is, and never encoded.
        part = MIMEPart(_POLICY)
        part.set_content(BytesParser(policy=default).parsebytes(octets), disposition=disposition, filename=name)
        return part
    if header.maintype in ("multipart", "message"):
        raise ValueError(f"attachments: {kind!r} is made of parts: give the message itself, or {UNKNOWN} as its type")
    params = dict(header.params)
    if header.maintype == "text" and "charset" not in params and _is_utf8(octets):
        params["charset"] = "utf-8"
    part = MIMEPart(_POLICY)
    raw_data_manager.set_content(
        part, octets, header.maintype, header.subtype, cte="base64", disposition=disposition, filename=name, params=params
    )
    return part


def _is_utf8(octets: bytes) -> bool:
    try:
        octets.decode()
    except UnicodeDecodeError:
        return False
    return True


def _unsubscribe(given: str | Sequence[str], *, one_click: bool) -> list[Field]:
    uris = [given] if isinstance(given, str) else list(given)
    for uri in uris:
        if _URI.fullmatch(uri) is None:
            raise ValueError(f"unsubscribe: {uri!r} is no https or mailto URI; what is special in it is written %XX, a comma %2C")
    if not one_click:
        return [uri_field("List-Unsubscribe", uris)] if uris else []
    # RFC 8058 §3.1: one https URI; others that are not of the web may stand beside it.
    schemes = [uri.partition(":")[0].lower() for uri in uris]
    if schemes.count("https") != 1 or "http" in schemes:
        raise ValueError("one_click: it needs one https URI in `unsubscribe`, where a POST is answered")
    return [uri_field("List-Unsubscribe", uris), text_field("List-Unsubscribe-Post", "List-Unsubscribe=One-Click")]


def _others(headers: Mapping[str, str]) -> list[Field]:
    for name in headers:
        if name.lower() in _OWN or name.lower().startswith("content-"):
            raise ValueError(f"headers: {name} is made from the other arguments")
    return [text_field(name, value) for name, value in headers.items()]
