"""The notices that the queue sends about its messages (RFC 3464), and the events that tell of them.

A failure is told unless the sender asked not to hear of it (RFC 3461 §5.2.6); whoever decides what else he is told of is
`waymail.queue.settle`. A message from the null path, which a notice has itself, is never answered (RFC 5321 §4.5.5, §6.1).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from waymail.mail import dsn
from waymail.mail.envelope import NO_OPTIONS, Body, Envelope, Options, Origin, Recipient
from waymail.mail.explanation import Action
from waymail.queue.settle import Report, Reports
from waymail.store.contract import Event, NewMessage

KINDS: Mapping[Action, str] = {"failed": "bounced", "delayed": "delayed"}  # of events; all others are "confirmed"

NULL_SENDER = "the message is from the null sender: nobody is told"
NOT_ASKED = "the sender asked not to be told"


class NoticeWriter:
    """Writes notices in the name of `hostname`. `new_id` makes queue ids from a time."""

    def __init__(self, hostname: str, new_id: Callable[[float], str]) -> None:
        self._hostname = hostname
        self._new_id = new_id

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
            notice = self.write(action, envelope, body, wanted, now=now, retry_until=retry_until)
            if notice is not None:
                notices.append(notice)
                events.append(_event(action, wanted, now, notice=notice.envelope.id))
            elif action in KINDS:
                events.append(_event(action, wanted, now, why=NULL_SENDER))
        return tuple(events), tuple(notices)

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
        """The notice to the sender, or None where nobody may be told."""
        if not envelope.sender or not reports:
            return None
        id = self._new_id(now)
        reported = [dsn.ReportedRecipient(r.pending.recipient, r.reply, r.peer, now) for r in reports]
        build = partial(
            dsn.build,
            action=action,
            hostname=self._hostname,
            envelope=envelope,
            recipients=reported,
            now=now,
            message_id=f"<{id}@{self._hostname}>",
            boundary=f"=_{id}",
            retry_until=retry_until,
        )
        try:
            content = build(body=body)
        except OSError:  # its file is gone or cannot be read: the sender is told all the same
            body = Body(b"", 0)
            content = build(body=body)
        notice = Envelope(
            id=id,
            sender="",
            recipients=(Recipient(envelope.sender),),
            accepted_at=now,
            body="7BIT" if content.isascii() else "8BITMIME",
            message_id=f"<{id}@{self._hostname}>",
            origin=Origin(protocol="notice"),
            options=_options(envelope.options, smtputf8=dsn.is_international(envelope, reported, body)),
        )
        return NewMessage(notice, Body(content, len(content)))


def _options(of_message: Options, *, smtputf8: bool) -> Options:
    """What a notice takes over. RFC 8689 §5: the demand for TLS; RFC 6710 §4.6: the priority."""
    options = Options(smtputf8=smtputf8, require_tls=of_message.require_tls, priority=of_message.priority)
    return NO_OPTIONS if options == NO_OPTIONS else options


def _event(action: Action, reports: Sequence[Report], now: float, **more: str) -> Event:
    detail: dict[str, object] = {"to": [one.pending.recipient.address for one in reports]}
    kind = KINDS.get(action)
    return Event(now, kind or "confirmed", detail | ({} if kind else {"why": action}) | more)
