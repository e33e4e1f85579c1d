"""The notices that the queue sends about its messages (RFC 3464), and the events that tell of them.

A failure is told unless the sender asked not to hear of it (RFC 3461 §5.2.6); whoever decides what else he is told of is
`waymail.queue.settle`. A message from the null path, which a notice has itself, is never answered (RFC 5321 §4.5.5, §6.1). Where
one fails for good, that is logged, or told to whoever looks after this server (RFC 3461 §5.2): a double bounce. What tells of it
can cause no other one, wherever it goes: it is known by its origin, by its recipient, and by a field.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from waymail.client.fit import spelling
from waymail.mail import address as addresses
from waymail.mail import dsn, headers
from waymail.mail.envelope import NO_OPTIONS, Body, Envelope, Options, Origin, Recipient
from waymail.mail.explanation import Action
from waymail.mail.notice_text import NoticeText
from waymail.mail.notices import shipped
from waymail.queue.settle import Report, Reports
from waymail.store.contract import Event, NewMessage

log = logging.getLogger("waymail.queue")

KINDS: Mapping[Action, str] = {"failed": "bounced", "delayed": "delayed"}  # of events; all others are "confirmed"

NULL_SENDER = "the message is from the null sender: nobody is told"
NO_SUCH_SENDER = "there is no mailbox for the sender here: nobody is told"
NOT_ASKED = "the sender asked not to be told"
IN_ASCII = "the next host lacks SMTPUTF8: the notice goes again, in ASCII, as {id}"
TOLD_INSTEAD = "the message is from the null sender: {to} is told, by {id}"

DOUBLE_BOUNCE = "double-bounce"  # the protocol of its origin
_MARK = b"x-waymail-double-bounce"
_NEEDS_UTF8 = ("5.6.7", "5.6.9")  # RFC 6531 §3.5: what a message is refused with that needs SMTPUTF8 where it is not offered


def _as_it_is(address: str) -> tuple[Recipient, ...]:
    return (Recipient(address),)


class NoticeWriter:
    """Writes notices in the name of `hostname`. `new_id` makes queue ids from a time; `text` has the words, English ones where it
    is None. `double_bounce` is who is told of a failed message that has no sender, "" for nobody. `resolve` says where mail to an
    address goes: through aliases, and nowhere for one that does not exist here.
    """

    def __init__(
        self,
        hostname: str,
        new_id: Callable[[float], str],
        *,
        text: NoticeText | None = None,
        double_bounce: str = "",
        resolve: Callable[[str], tuple[Recipient, ...]] = _as_it_is,
    ) -> None:
        self._hostname = hostname
        self._new_id = new_id
        self._text = text or shipped()
        self._double_bounce = double_bounce
        self._resolve = resolve

    def tell(
        self, envelope: Envelope, body: Body, reports: Reports, *, now: float, retry_until: float
    ) -> tuple[tuple[Event, ...], tuple[NewMessage, ...]]:
        """The events and notices of what is to be reported of one message: a notice for each kind of thing that happened."""
        events: list[Event] = []
        notices: list[NewMessage] = []
        for action, reported in reports.items():
            wanted, unwanted = reported, list[Report]()
            if action == "failed":  # all others are in the reports only where they are wanted
                wanted = [one for one in reported if one.pending.recipient.wants("FAILURE")]
                unwanted = [one for one in reported if not one.pending.recipient.wants("FAILURE")]
            if unwanted:
                events.append(_event(action, unwanted, now, why=NOT_ASKED))
            if not wanted:
                continue
            if not envelope.sender and action == "failed":
                told, notice = self._tell_of_null(envelope, body, wanted, now)
            else:
                notice = self.write(action, envelope, body, wanted, now=now, retry_until=retry_until)
                told = NO_SUCH_SENDER if envelope.sender else NULL_SENDER
                if notice is None and action == "failed":
                    _warn("a message failed, and there is no mailbox for its sender", envelope, wanted)
            if notice is not None:
                notices.append(notice)
            if notice is not None and envelope.sender:
                events.append(_event(action, wanted, now, notice=notice.envelope.id))
            elif action in KINDS:
                events.append(_event(action, wanted, now, why=told))
        return tuple(events), tuple(notices)

    def _tell_of_null(
        self, envelope: Envelope, body: Body, reports: Sequence[Report], now: float
    ) -> tuple[str, NewMessage | None]:
        """What is done about a message without a sender that failed."""
        if (again := self._in_ascii(envelope, body, reports, now)) is not None:
            return IN_ASCII.format(id=again.envelope.id), again
        if self._double_bounce and not self._is_double_bounce(envelope, body, reports):
            notice = self.write("failed", envelope, body, reports, now=now)
            if notice is not None:
                return TOLD_INSTEAD.format(to=self._double_bounce, id=notice.envelope.id), notice
        _warn("a message from the null sender failed, and nobody is told", envelope, reports)
        return NULL_SENDER, None

    def _is_double_bounce(self, envelope: Envelope, body: Body, reports: Sequence[Report]) -> bool:
        """Whether telling could go round in a circle: this tells of a double bounce itself, or did and came back, or whoever
        would be told is the one who cannot be reached."""
        if envelope.origin.protocol == DOUBLE_BOUNCE:
            return True
        people = [one.pending.recipient for one in reports]
        if any(addresses.same(address, self._double_bounce) for one in people for address in (one.address, one.original or "-")):
            return True
        try:
            return headers.has(headers.header_section(body.head()), _MARK)
        except OSError:
            return False

    def _in_ascii(self, envelope: Envelope, body: Body, reports: Sequence[Report], now: float) -> NewMessage | None:
        """A notice that could not go on by SMTPUTF8, for hosts without it, where its recipient's address allows that; or None."""
        if envelope.origin.protocol != "notice" or not envelope.options.smtputf8:
            return None
        failed = [one.pending.recipient.address for one in reports if one.reply.status in _NEEDS_UTF8]
        to = spelling(failed[0], utf8=False) if len(failed) == len(reports) == 1 else None
        if to is None:
            return None
        try:
            content = dsn.in_ascii(b"".join(body.chunks()), to)
        except (OSError, ValueError):
            return None
        options = _options(envelope.options, smtputf8=False)
        return self._message(self._new_id(now), (Recipient(to),), content, now, options, message_id=envelope.message_id)

    def write(
        self,
        action: Action,
        envelope: Envelope,
        body: Body,
        reports: Sequence[Report],
        *,
        now: float,
        retry_until: float | None = None,
    ) -> NewMessage | None:
        """The notice to the sender, or None where nobody may be told. Of a failed message without a sender, whoever wants to know
        of double bounces is told instead."""
        to = envelope.sender or (self._double_bounce if action == "failed" else "")
        recipients = self._resolve(to) if to and reports else ()
        if not recipients:
            return None
        id = self._new_id(now)
        reported = [dsn.ReportedRecipient(r.pending.recipient, r.reply, r.peer, now) for r in reports]
        build = partial(
            dsn.build,
            self._text,
            action=action,
            hostname=self._hostname,
            envelope=envelope,
            recipients=reported,
            now=now,
            message_id=f"<{id}@{self._hostname}>",
            boundary=f"=_{id}",
            retry_until=retry_until,
            to=to,
        )
        try:
            content = build(body=body)
        except OSError:  # its file is gone or cannot be read: the sender is told all the same
            body = Body(b"", 0)
            content = build(body=body)
        options = _options(envelope.options, smtputf8=dsn.is_international(envelope, reported, body))
        if envelope.sender:
            return self._message(id, recipients, content, now, options)
        content = _MARK.title() + b": " + self._hostname.encode() + b"\r\n" + content
        return self._message(id, recipients, content, now, options, protocol=DOUBLE_BOUNCE)

    def _message(
        self,
        id: str,
        recipients: tuple[Recipient, ...],
        content: bytes,
        now: float,
        options: Options,
        *,
        protocol: str = "notice",
        message_id: str = "",
    ) -> NewMessage:
        notice = Envelope(
            id=id,
            sender="",
            recipients=recipients,
            accepted_at=now,
            body="7BIT" if content.isascii() else "8BITMIME",
            message_id=message_id or f"<{id}@{self._hostname}>",
            origin=Origin(protocol=protocol),
            options=options,
        )
        return NewMessage(notice, Body(content, len(content)))


def _options(of_message: Options, *, smtputf8: bool) -> Options:
    """What a notice takes over. RFC 8689 §5: the demand for TLS; RFC 6710 §4.6: the priority."""
    options = Options(smtputf8=smtputf8, require_tls=of_message.require_tls, priority=of_message.priority)
    return NO_OPTIONS if options == NO_OPTIONS else options


def _warn(message: str, envelope: Envelope, reports: Sequence[Report]) -> None:
    fields = {"id": envelope.id, "to": [one.pending.recipient.address for one in reports], "reply": str(reports[0].reply)}
    log.warning(message, extra={"fields": fields})


def _event(action: Action, reports: Sequence[Report], now: float, **more: str) -> Event:
    detail: dict[str, object] = {"to": [one.pending.recipient.address for one in reports]}
    kind = KINDS.get(action)
    return Event(now, kind or "confirmed", detail | ({} if kind else {"why": action}) | more)
