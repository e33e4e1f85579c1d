"""A message of a program, made ready to be sent, with what is told of it afterwards."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from email.message import EmailMessage

from waymail.client.prepare import Mail, Preparation, prepare
from waymail.client.results import message_id_of
from waymail.client.transaction import Message
from waymail.values import value


@value
class Outgoing:
    """A message that is ready: `message` is what goes to `addresses`; `given` is what the program gave."""

    message: Message
    addresses: Sequence[str]
    given: EmailMessage | bytes
    message_id: str


def outgoing(mail: Mail, how: Preparation, *, now: float, unique: Callable[[], str]) -> Outgoing:
    """`mail` as it is sent: see `prepare`. Raises ValueError."""
    message, addresses = prepare(mail, how, now=now, unique=unique)
    content = message.body.content
    return Outgoing(message, addresses, mail.message, message_id_of(content if isinstance(content, bytes) else b""))
