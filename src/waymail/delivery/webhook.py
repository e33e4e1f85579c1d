"""Final delivery to an application by HTTPS: one signed POST for a message and its recipients.

**The recipients are Delivered when the answer is 2xx.** It is signed as the Standard Webhooks specification says (webhook-id,
webhook-timestamp, webhook-signature): the id is the same in every attempt, so that an application can drop what it has already.
What may be better next time is Deferred: no answer, 5xx, 408, 425, 429, a redirection, and what is the operator's to mend, 401,
403, 404, 405 and 407. All other answers are about the message, and it fails.

The body is the message (`message`), with its envelope as JSON in the field waymail-envelope, or a JSON object (`json`). With
`message` the signature covers the message and not the envelope.
"""

from __future__ import annotations

import asyncio
import json
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from email.utils import parsedate_to_datetime
from typing import Any, Literal

from waymail.delivery import final
from waymail.delivery.parsed import Attachment, Mailbox, view
from waymail.delivery.turns import BUDGET, Turns
from waymail.delivery.webhook_signature import message_id, signed
from waymail.mail.envelope import Body, Envelope, Recipient
from waymail.mail.outcome import Deferred, Delivered, Failed, Outcome, Peer
from waymail.mail.received import return_path
from waymail.net.fetch import Fetched, Fetcher, FetchFailed
from waymail.wire.replies import Reply

ENVELOPE = 4_096  # octets of the field waymail-envelope: servers take header fields of 8 KiB, and not all take more
THREADS = 2  # for taking messages apart, which is work of the processor
AGENT = "waymail"

_DELIVERED = Reply(250, "taken by the application for this address", "2.0.0")
_UNREACHED = Reply(451, "the application for this address cannot be reached", "4.4.1")
_NO_ANSWER = Reply(451, "the application for this address did not answer", "4.4.2")
_NOT_NOW = Reply(451, "the application for this address cannot take the message now", "4.3.0")
_TOO_BUSY = Reply(451, "the application for this address is too busy", "4.3.2")
_MISCONFIGURED = Reply(451, "the application for this address does not take mail now", "4.3.5")
_REFUSED = Reply(554, "the application for this address refused the message", "5.3.0")
_TOO_LARGE = Reply(552, "the message is too large for the application for this address", "5.3.4")
_NO_SUCH_USER = Reply(550, "the application for this address says that it is gone", "5.1.1")
_UNREADABLE = Reply(451, "the message cannot be read now", "4.3.0")


@dataclass(frozen=True, slots=True)
class Settings:
    """Where to and how. With several `keys` all sign, so that one can be replaced. `largest` in octets, `timeout` in seconds;
    `concurrency` is over all messages."""

    url: str
    keys: tuple[bytes, ...] = field(repr=False)
    format: Literal["message", "json"] = "message"
    headers: Mapping[str, str] = field(default_factory=dict)
    timeout: float = 30.0
    largest: int = 25_000_000
    concurrency: int = 8


class WebhookTransport:
    """Delivers to one application. `fetcher` has the timeout of the settings; `now` gives seconds since the epoch; `budget` as
    for `Turns`."""

    def __init__(self, settings: Settings, fetcher: Fetcher, *, now: Callable[[], float], budget: float = BUDGET) -> None:
        self._settings = settings
        self._fetcher = fetcher
        self._now = now
        self._is_closed = False
        self._turns = Turns(settings.concurrency, budget=budget)
        self._threads = ThreadPoolExecutor(THREADS, "waymail-webhook")
        self._peer = Peer(settings.url.partition("://")[2].partition("/")[0])

    async def deliver(self, envelope: Envelope, body: Body, recipients: Sequence[Recipient]) -> dict[str, Outcome]:
        """One POST, or several where the recipients are too many for a header field. The outcomes are by `Recipient.address`."""
        if body.size > self._settings.largest:
            return dict.fromkeys((one.address for one in recipients), Failed(_TOO_LARGE, self._peer))
        groups = [recipients] if self._settings.format == "json" else list(grouped(envelope, recipients))
        outcomes: dict[str, Outcome] = {}
        until = self._turns.until()
        outcome: Outcome | None = None
        for group in groups:
            if isinstance(outcome, Deferred) and (outcome.destination_down or outcome.uncertain):
                outcome = replace(outcome, uncertain=False)  # the rest need not run into the same
            else:
                outcome = await self._in_turn(envelope, body, group, until)
            outcomes |= dict.fromkeys((one.address for one in group), outcome)
        return outcomes

    async def _in_turn(self, envelope: Envelope, body: Body, recipients: Sequence[Recipient], until: float) -> Outcome:
        if not await self._turns.take(until):
            return Deferred(_TOO_BUSY, self._peer, cause="no request could be made in time: more concurrency, or less timeout")
        try:
            return await self._post(envelope, body, recipients)
        finally:
            self._turns.give_back()

    async def close(self) -> None:
        """End the connections that are kept; requests under way are finished first."""
        for _ in range(self._turns.count):
            await self._turns.take(None)
        self._is_closed = True
        for _ in range(self._turns.count):
            self._turns.give_back()
        await self._fetcher.close()
        self._threads.shutdown(wait=False)

    async def _post(self, envelope: Envelope, body: Body, recipients: Sequence[Recipient]) -> Outcome:
        settings = self._settings
        if self._is_closed:
            return Deferred(_NOT_NOW, self._peer, cause="the configuration was read anew meanwhile")
        id, timestamp = message_id(envelope, recipients), int(self._now())
        try:
            content = await self._in_thread(lambda: self._content(envelope, body, recipients))
            size, signatures = await self._in_thread(lambda: signed(content(), id, timestamp, settings.keys))
            headers = {
                "user-agent": AGENT,
                **settings.headers,
                "content-type": "application/json" if settings.format == "json" else "message/rfc822",
                "content-length": str(size),
                "webhook-id": id,
                "webhook-timestamp": str(timestamp),
                "webhook-signature": signatures,
            }
            if settings.format == "message":
                headers["waymail-envelope"] = json.dumps(envelope_of(envelope, recipients))
            answer = await self._fetcher.deliver(settings.url, self._pieces(content()), headers)
        except FetchFailed as error:
            reply = _NO_ANSWER if error.connected else _UNREACHED
            down, cause = not error.connected, str(error)
            return Deferred(reply, self._peer, uncertain=error.connected, destination_down=down, cause=cause, dialogue=(cause,))
        except OSError as error:
            return Deferred(_UNREADABLE, cause=str(error))
        return judged(answer, self._peer, now=self._now())

    def _content(self, envelope: Envelope, body: Body, recipients: Sequence[Recipient]) -> Callable[[], Iterable[bytes]]:
        """What is posted, as often as it is asked for. Raises OSError."""
        if self._settings.format == "json":
            made = as_json(envelope, body, recipients)
            return lambda: (made,)
        fields = return_path(envelope.sender)
        return lambda: final.content(envelope, body, fields)

    async def _pieces(self, content: Iterable[bytes]) -> AsyncIterator[bytes]:
        pieces = iter(content)
        while (piece := await self._in_thread(lambda: next(pieces, None))) is not None:
            yield piece

    async def _in_thread(self, work: Callable[[], Any]) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)


def grouped(envelope: Envelope, recipients: Sequence[Recipient]) -> Iterator[Sequence[Recipient]]:
    """The recipients in groups whose envelope fits into a header field."""
    room = ENVELOPE - len(json.dumps(envelope_of(envelope, ())))
    group: list[Recipient] = []
    used = 0
    for recipient in recipients:
        size = len(json.dumps(recipient.address)) + len(", ")
        if group and used + size > room:
            yield tuple(group)
            group, used = [], 0
        group.append(recipient)
        used += size
    yield tuple(group)


def envelope_of(envelope: Envelope, recipients: Sequence[Recipient]) -> dict[str, Any]:
    """The envelope as JSON has it. `sender` is "" for the null path."""
    return {"id": envelope.id, "sender": envelope.sender, "recipients": [recipient.address for recipient in recipients]}


def as_json(envelope: Envelope, body: Body, recipients: Sequence[Recipient]) -> bytes:
    """The message as a JSON object. Raises OSError."""
    octets = b"".join(final.content(envelope, body, return_path(envelope.sender)))
    seen = view(octets)
    whole = {
        "id": envelope.id,
        "envelope": {"sender": envelope.sender, "recipients": [recipient.address for recipient in recipients]},
        "accepted_at": envelope.accepted_at,
        "size": len(octets),
        "headers": seen.headers,
        "subject": seen.subject,
        "from": [_mailbox(one) for one in seen.from_],
        "to": [_mailbox(one) for one in seen.to],
        "cc": [_mailbox(one) for one in seen.cc],
        "reply_to": [_mailbox(one) for one in seen.reply_to],
        "date": seen.date,
        "message_id": seen.message_id,
        "text": seen.text,
        "html": seen.html,
        "attachments": [_attachment(one) for one in seen.attachments],
        # Where not all of it could be read, nothing is lost all the same.
        "raw": None if seen.is_complete else b64encode(octets).decode(),
    }
    return json.dumps(whole).encode()


def _mailbox(mailbox: Mailbox) -> dict[str, str]:
    return {"name": mailbox.name, "address": mailbox.address}


def _attachment(attachment: Attachment) -> dict[str, Any]:
    return {
        "name": attachment.name,
        "type": attachment.type,
        "content_id": attachment.content_id,
        "inline": attachment.is_inline,
        "size": len(attachment.content),
        "content": b64encode(attachment.content).decode(),
    }


def judged(answer: Fetched, peer: Peer, *, now: float) -> Outcome:
    """What an answer means."""
    status = answer.status
    how = f"HTTP {status}"
    match status:
        case _ if 200 <= status < 300:
            return Delivered(_DELIVERED, peer, final=True)
        case 429 | 502 | 503 | 504:
            wait = retry_after(answer.headers.get("retry-after", ""), now)
            cause = how if wait is None else f"{how}; it asks for a pause of {wait:g} s"
            return Deferred(_TOO_BUSY, peer, destination_down=True, cause=cause, dialogue=(cause,))
        case 401 | 403 | 404 | 405 | 407:
            cause = f"{how}: is the address right, and the secret the same on both sides?"
            return Deferred(_MISCONFIGURED, peer, destination_down=True, cause=cause, dialogue=(cause,))
        case 410:
            return Failed(_NO_SUCH_USER, peer, dialogue=(how,))
        case 413:
            return Failed(_TOO_LARGE, peer, dialogue=(how,))
        case 408 | 425:
            return Deferred(_NOT_NOW, peer, cause=how, dialogue=(how,))
        case _ if 400 <= status < 500:
            return Failed(_REFUSED, peer, dialogue=(how,))
        case _ if 300 <= status < 400:
            cause = f"{how}: redirections are not followed; write the address that it leads to"
            return Deferred(_MISCONFIGURED, peer, destination_down=True, cause=cause, dialogue=(cause,))
        case _:
            return Deferred(_NOT_NOW, peer, cause=how, dialogue=(how,))


def retry_after(value: str, now: float) -> float | None:
    """The seconds that a Retry-After field asks for (RFC 9110 §10.2.3); None where it says nothing that can be understood."""
    if value.isascii() and value.isdigit():
        return float(value[:9])
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - now)
    except (ValueError, OverflowError, TypeError):
        return None
