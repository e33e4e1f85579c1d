"""The part of a delivery status notice that a person reads (RFC 3464 §2, RFC 6522 §3): what happened, to whom, who said so,
and what to do about it.

Lines are short and separated by "\\n". Every line that quotes somebody else, and every line that names an address, is
indented, and no quote is longer than a person would read: so nothing quoted can pass for our own words or for a boundary.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from email.errors import MessageError
from email.header import decode_header, make_header
from textwrap import wrap
from typing import Literal

from waymail.mail import headers
from waymail.mail.envelope import Envelope, Recipient
from waymail.mail.outcome import Peer
from waymail.wire.replies import Reply

Action = Literal["failed", "delayed", "delivered", "relayed", "expanded"]

_WIDTH = 74
_QUOTED = 2000  # characters
_QUOTED_LINES = 12
_LONG_WORD = re.compile(r"(\S{900})(?=\S)")

# By the start of the enhanced status code (RFC 3463 §3), the longest start first.
_ADVICE = (
    (".1.1", "There is no such mailbox. Check the address for a typing mistake."),
    (".1.2", "The domain does not exist or takes no mail. Check the part behind the @."),
    (".1.10", "The domain takes no mail. Check the part behind the @."),
    (".1.8", "The recipient's server does not accept your own address as a sender. Check how your mail program spells it."),
    (".1", "Something is wrong with the address. Check it for a typing mistake."),
    (".2.2", "The mailbox is full. Write again later, or reach the recipient in another way."),
    (".2.1", "The mailbox is not in use, or closed for now. Reach the recipient in another way."),
    (".3.4", "The message is too big for the recipient's server. Send a smaller one, or a link to the large part."),
    (".2.3", "The message is too big for the mailbox. Send a smaller one, or a link to the large part."),
    (
        ".4.7",
        "The time for which this server tries is over. Send the message again later, or reach the recipient in another way.",
    ),
    (".4", "The recipient's server could not be reached, or broke off. That is seldom the fault of the address."),
    (".5.3", "The message had more recipients than the server takes at once. Send it to fewer at a time."),
    (".6", "The message has content that the recipient's server cannot take."),
    (".7", "The recipient's server refused the message by its rules. What it said may name a page that explains why."),
)
_GOOD_NEWS: dict[Action, str] = {
    "delivered": "Your message was delivered to {who} below. You get this notice because you asked for it.",
    "relayed": "Your message was handed on to the next mail server on its way to {who} below. That server may not tell you when"
    " it is delivered; if it cannot be delivered, you will probably be told.",
    "expanded": "The address below stands for several recipients, and your message is on its way to each of them. You will not be"
    " told when they have it; if it cannot be delivered to one of them, you will be told unless you asked not to be.",
}
_NO_ADVICE = "What was said above is all that is known."


@dataclass(frozen=True, slots=True)
class ReportedRecipient:
    """One recipient that a notice reports. `reply` is what was last said of it, by `peer` or, where that is None, by
    ourselves; `last_attempt` is in seconds since the epoch."""

    recipient: Recipient
    reply: Reply
    peer: Peer | None
    last_attempt: float


def explanation(
    action: Action,
    hostname: str,
    envelope: Envelope,
    section: bytes,
    recipients: Sequence[ReportedRecipient],
    retry_until: float | None,
) -> str:
    """The text. `section` is the original's header section; the other arguments are those of `waymail.mail.dsn.build`."""
    lines = [f"This is the mail server {hostname}.", ""]
    lines += wrap(_news(action, envelope, recipients, retry_until), _WIDTH)
    lines += ["", *_message(envelope, section)]
    for reported in recipients:
        lines += ["", *_recipient(reported, hostname, advises=action in ("failed", "delayed"))]
    closing = f"For help, write to postmaster@{hostname} and include this notice. It was sent automatically."
    lines += ["", *wrap(closing, _WIDTH), ""]
    return "\n".join(lines)


def _news(action: Action, envelope: Envelope, recipients: Sequence[ReportedRecipient], retry_until: float | None) -> str:
    who = "the recipient" if len(recipients) == 1 else f"{len(recipients)} recipients"
    if action in _GOOD_NEWS:
        return _GOOD_NEWS[action].format(who=who)
    by = envelope.options.deliver_by
    asked = f" You asked for delivery by {headers.date_time(by.until)}." if by is not None else ""
    if action == "delayed":
        until = f" until {headers.date_time(retry_until)}" if retry_until is not None else ""
        return (
            f"Your message could not yet be delivered to {who} below.{asked} You need not send it again: delivery will be tried"
            f"{until}, and if it fails for good, you will be told."
        )
    others = " This notice says nothing of the other recipients." if len(envelope.recipients) > len(recipients) else ""
    if asked and all(_is_expired(reported.reply) for reported in recipients):
        return f"Your message could not be delivered to {who} below in time.{asked} It will not be tried any more.{others}"
    if all(_is_expired(reported.reply) for reported in recipients):
        since = headers.date_time(envelope.accepted_at)
        return (
            f"Your message could not be delivered to {who} below. It was tried again and again since {since}, and will not "
            f"be tried any more.{others}"
        )
    return f"Your message could not be delivered to {who} below, and will not be tried again.{others}"


def _is_expired(reply: Reply) -> bool:
    """RFC 3463 §3.5: X.4.7, delivery time expired. It is what the queue says of a message that it gives up."""
    return reply.status == "5.4.7"


def _message(envelope: Envelope, section: bytes) -> Iterator[str]:
    if subject := _subject(section):
        yield f"    Subject:   {subject}"
    yield f"    Accepted:  {headers.date_time(envelope.accepted_at)}"
    yield f"    Queue id:  {envelope.id}"


def _recipient(reported: ReportedRecipient, hostname: str, *, advises: bool) -> Iterator[str]:
    recipient, peer, reply = reported.recipient, reported.peer, reported.reply
    yield f"  {_printable(recipient.address)}"
    if recipient.original is not None and recipient.original != recipient.address:
        yield f"  (to which {_printable(recipient.original)} leads)"
    host = f"{_printable(peer.host)}{f' [{_printable(peer.address)}]' if peer.address else ''}" if peer and peer.host else ""
    is_expired = _is_expired(reply)
    yield f"    {host} said:" if host and not is_expired else f"    {hostname} (this server) says:"
    code = f"{reply.code} {reply.enhanced}" if reply.enhanced else str(reply.code)
    said = [line for text in f"{code} {reply.text[:_QUOTED]}".split("\n") for line in _quoted(text)]
    yield from (f"        {line}" for line in said[:_QUOTED_LINES])
    if len(said) > _QUOTED_LINES:
        yield "        [...]"
    if host and is_expired:
        yield f"    The last attempt went to {host}."
    if advises:
        yield from (f"    {line}" for line in wrap(_advice(reply.status), _WIDTH - 4))


def _quoted(text: str) -> list[str]:
    # A link must stay in one piece, as long as a line can hold it (RFC 5322 §2.1.1).
    held = _LONG_WORD.sub(r"\1 ", _printable(text))
    return wrap(held, _WIDTH - 8, break_long_words=False, break_on_hyphens=False)


def _advice(status: str) -> str:
    subject = status[1:]
    for start, advice in _ADVICE:
        if f"{subject}.".startswith(f"{start}."):
            return advice
    return _NO_ADVICE


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
