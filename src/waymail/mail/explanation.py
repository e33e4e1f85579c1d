"""The part of a delivery status notice that a person reads (RFC 3464 §2, RFC 6522 §3): what happened, to whom, who said so,
and what to do about it.

The words are those of a `NoticeText`. Lines are short and separated by "\\n". Every line that quotes somebody else, and every
line that names an address, is indented, and no quote is longer than a person would read: so nothing quoted can pass for our own
words or for a boundary.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from email.errors import MessageError
from email.header import decode_header, make_header
from textwrap import wrap
from typing import Literal

from waymail.mail import headers
from waymail.mail.envelope import Envelope, Recipient
from waymail.mail.notice_text import NoticeText, Reason
from waymail.mail.outcome import Peer
from waymail.wire.replies import Reply

Action = Literal["failed", "delayed", "delivered", "relayed", "expanded"]

_WIDTH = 74
_QUOTED = 2000  # characters
_QUOTED_LINES = 12
_LONG_WORD = re.compile(r"(\S{900})(?=\S)")
# How the queue says that it gives up, with what was said last (`waymail.queue.settle`).
_LAST_REPLY = re.compile(r"; the last reply was: (.*)", re.DOTALL)
GIVEN_UP = "given up by the administrator"  # what `waymail.queue.operators` has a reply begin with, its status being 5.0.0
_STATUS = re.compile(r"\d{3} ([245]\.\d{1,3}\.\d{1,3})\b", re.ASCII)


@dataclass(frozen=True, slots=True)
class ReportedRecipient:
    """One recipient that a notice reports. `reply` is what was last said of it, by `peer` or, where that is None, by
    ourselves; `last_attempt` is in seconds since the epoch."""

    recipient: Recipient
    reply: Reply
    peer: Peer | None
    last_attempt: float


def explanation(
    text: NoticeText,
    action: Action,
    hostname: str,
    envelope: Envelope,
    section: bytes,
    recipients: Sequence[ReportedRecipient],
    retry_until: float | None,
) -> str:
    """The text. `section` is the original's header section; the other arguments are those of `waymail.mail.dsn.build`."""
    lines = [*_wrapped(text.say("news.greeting", hostname=hostname)), ""]
    lines += _wrapped(_news(text, action, envelope, recipients, retry_until))
    lines += ["", *_message(text, envelope, section)]
    for alike in _groups(recipients):
        lines += ["", *_recipients(text, alike, action, advises=action == "failed" and bool(envelope.sender))]
    contact = text.contact or f"postmaster@{hostname}"
    lines += ["", *_wrapped(text.say("label.help", contact=contact, id=envelope.id)), ""]
    return "\n".join(lines)


def _news(
    text: NoticeText, action: Action, envelope: Envelope, recipients: Sequence[ReportedRecipient], retry_until: float | None
) -> str:
    who = text.say("news.one") if len(recipients) == 1 else text.say("news.many", number=len(recipients))
    by = envelope.options.deliver_by
    if action == "failed":
        news = [_failure(text, who, envelope, recipients)]
        if len(envelope.recipients) > len(recipients) and envelope.sender:
            news.append(text.say("news.others"))
        return " ".join(news)
    if action != "delayed":
        return text.say(f"news.{action}", who=who)
    if retry_until is None:
        news = [text.say("news.delayed", who=who)]
    else:
        news = [text.say("news.delayed_until", who=who, until=text.date(retry_until))]
    if by is not None:
        news.append(text.say("news.asked_by", by=text.date(by.until)))
    return " ".join(news)


def _failure(text: NoticeText, who: str, envelope: Envelope, recipients: Sequence[ReportedRecipient]) -> str:
    by = envelope.options.deliver_by
    if not envelope.sender:
        return text.say("news.double_bounce", who=who)
    if not all(_is_expired(reported.reply) for reported in recipients):
        return text.say("news.failed", who=who)
    if by is not None:
        return text.say("news.late", who=who, by=text.date(by.until))
    return text.say("news.expired", who=who, since=text.date(envelope.accepted_at))


def _is_expired(reply: Reply) -> bool:
    """RFC 3463 §3.5: X.4.7, delivery time expired. It is what the queue says of a message that it gives up."""
    return reply.status == "5.4.7"


def _message(text: NoticeText, envelope: Envelope, section: bytes) -> Iterator[str]:
    rows = [(text.say("label.sent"), text.date(envelope.accepted_at))]
    if subject := _subject(section):
        rows.insert(0, (text.say("label.subject"), subject))
    width = max(len(label) for label, _ in rows)
    for label, value in rows:
        yield f"    {label:<{width}}  {value}"


def _groups(recipients: Sequence[ReportedRecipient]) -> Iterable[Sequence[ReportedRecipient]]:
    """Recipients of whom the same is to be told."""
    groups: dict[object, list[ReportedRecipient]] = {}
    for one in recipients:
        groups.setdefault((one.reply, one.peer, one.recipient.domain, bool(_alias(one.recipient))), []).append(one)
    return groups.values()


def _recipients(text: NoticeText, alike: Sequence[ReportedRecipient], action: Action, *, advises: bool) -> Iterator[str]:
    for reported in alike:
        yield f"  {_printable(reported.recipient.address)}"
        if alias := _alias(reported.recipient):
            yield f"  {text.say('label.alias', address=_printable(alias))}"
    yield ""
    if action in ("failed", "delayed"):
        yield from _why(text, alike[0], advises=advises)
    yield from _words(text, alike[0])


def _alias(recipient: Recipient) -> str:
    """The address that was written to, where it is another one than that of the mailbox."""
    original = recipient.original or ""
    return "" if original.lower() == recipient.address.lower() else original


def _why(text: NoticeText, reported: ReportedRecipient, *, advises: bool) -> Iterator[str]:
    """What happened, and what the sender can do: of a delay nothing, nor can whoever is told of a double bounce."""
    reason = _reason(text, reported)
    for label, sentence in (("label.happened", reason.what), ("label.do", reason.do if advises else "")):
        if sentence:
            yield from _wrapped(f"{text.say(label)} {sentence}", 4)
            yield ""


def _reason(text: NoticeText, reported: ReportedRecipient) -> Reason:
    status, domain = reported.reply.status, _printable(reported.recipient.domain)
    if reported.peer is None and status == "5.0.0" and reported.reply.text.startswith(GIVEN_UP):
        return Reason(text.say("label.given_up"), text.say("label.given_up_do"))
    if last := _last_reply(reported.reply):  # why the last attempt failed says more than that the time is over
        found = _STATUS.match(last)
        status = found[1] if found else "4.0.0"
    reason = text.reason(status, domain)
    # A wrong address that an alias led to is nothing that the sender could spell better.
    is_alias = _alias(reported.recipient) and status[1:].startswith(".1.")
    return Reason(reason.what, text.say("label.alias_do")) if is_alias else reason


def _words(text: NoticeText, reported: ReportedRecipient) -> Iterator[str]:
    """What was said, in the words in which it was, and by whom."""
    peer, reply = reported.peer, reported.reply
    host = f"{_printable(peer.host)}{f' [{_printable(peer.address)}]' if peer.address else ''}" if peer and peer.host else ""
    code = f"{reply.code} {reply.enhanced}" if reply.enhanced else str(reply.code)
    words = f"{code} {reply.text[:_QUOTED]}"
    if last := _last_reply(reply):
        words = last[:_QUOTED]
        heading = text.say("label.last_said", host=host) if host else text.say("label.last_here")
    elif host and not _is_expired(reply):
        heading = text.say("label.said", host=host)
    else:
        heading = text.say("label.this_server")
    yield from _wrapped(heading, 4)
    said = [line for line_said in words.split("\n") for line in _quoted(line_said)]
    yield from (f"        {line}" for line in said[:_QUOTED_LINES])
    if len(said) > _QUOTED_LINES:
        yield "        [...]"


def _last_reply(reply: Reply) -> str:
    """What was said last of a message that the queue gives up or that is late; "" where the reply holds no other."""
    found = _LAST_REPLY.search(reply.text) if reply.status in ("5.4.7", "4.4.7") else None
    return found[1] if found else ""


def _wrapped(text: str, indent: int = 0) -> list[str]:
    return [" " * indent + line for line in wrap(text, _WIDTH - indent, break_on_hyphens=False)]


def _quoted(text: str) -> list[str]:
    # A link must stay in one piece, as long as a line can hold it (RFC 5322 §2.1.1).
    held = _LONG_WORD.sub(r"\1 ", _printable(text).strip())
    return wrap(held, _WIDTH - 8, break_long_words=False, break_on_hyphens=False)


def _subject(section: bytes) -> str:
    """The original's subject with its encoded words decoded, short; as it stands where they are broken."""
    raw = headers.text(section, b"subject")[:500]
    try:
        decoded = str(make_header(decode_header(raw)))
    except (MessageError, ValueError, LookupError):  # LookupError is a charset that nobody knows
        decoded = raw
    return _printable(decoded)[:100].strip()


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)
