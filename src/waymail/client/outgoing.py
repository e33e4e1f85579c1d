"""A message of a program and what was said of it, made ready: envelope, content with CRLF, what is asked of the server.

Raises ValueError for what cannot be sent, before anything is: no sender or recipient, an address that is none. Plain functions,
without I/O; for the one message they are called once, however many recipients it has.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from email.message import EmailMessage

from waymail.client.results import message_id_of
from waymail.client.transaction import Message
from waymail.mail.envelope import NO_OPTIONS, Body, Options, Recipient
from waymail.mail.message import body_parameter, envelope_of, to_wire
from waymail.mail.needs import needs
from waymail.values import value
from waymail.wire import grammar
from waymail.wire.parameters import NOTIFY_VALUE


@value
class Outgoing:
    """A message that is ready: `message` is what goes to `addresses`; `given` is what the program gave."""

    message: Message
    addresses: Sequence[str]
    given: EmailMessage | bytes
    message_id: str


def outgoing(
    given: EmailMessage | bytes,
    *,
    sender: str | None = None,
    recipients: str | Sequence[str] | None = None,
    options: Options = NO_OPTIONS,
    notify: str = "",
    binary: bool = False,
) -> Outgoing:
    """The message of a program, with the arguments of `Client.send`. Raises ValueError."""
    sender, addresses = _envelope(given, sender, recipients)
    if notify and NOTIFY_VALUE.fullmatch(notify) is None:
        raise ValueError("notify is NEVER, or some of SUCCESS, FAILURE and DELAY with commas between them")
    content = given if binary and isinstance(given, bytes) else to_wire(given)
    if options.hold_until and not options.hold:
        until = datetime.fromtimestamp(int(options.hold_until), UTC)
        options = replace(options, hold=f"until;{until:%Y-%m-%dT%H:%M:%SZ}")
    message = Message(
        sender,
        Body(content, len(content)),
        "BINARYMIME" if binary else body_parameter(content),
        _with_utf8(options, content, sender, addresses),
        tuple(Recipient(address, notify=notify.upper()) for address in addresses) if notify else (),
    )
    return Outgoing(message, addresses, given, message_id_of(content))


def _envelope(message: EmailMessage | bytes, sender: str | None, recipients: str | Sequence[str] | None) -> tuple[str, list[str]]:
    """Raises ValueError (EnvelopeProblem where the header fields are at fault)."""
    if isinstance(recipients, str):
        recipients = [recipients]
    if sender is None or recipients is None:
        sender, recipients = envelope_of(message, sender=sender, recipients=recipients)
    if not recipients:
        raise ValueError("no recipients")
    for address in (sender, *recipients) if sender else recipients:
        # RFC 5321 §4.1.2, RFC 6531 §3.3: what no address can hold must not come near the wire.
        if not grammar.is_mailbox(address) or not address.isprintable():
            raise ValueError(f"{address!r} is no address")
    return sender, list(recipients)


def _with_utf8(options: Options, content: bytes, sender: str, recipients: Sequence[str]) -> Options:
    """RFC 6531 §3.4: SMTPUTF8 where an address or a header field calls for it."""
    if options.smtputf8 or (content.isascii() and sender.isascii() and all(map(str.isascii, recipients))):
        return options
    is_international = not content.isascii() and needs((content,)).utf8_headers
    local_parts = (address.rpartition("@")[0] for address in (sender, *recipients))
    return replace(options, smtputf8=True) if is_international or not all(map(str.isascii, local_parts)) else options
