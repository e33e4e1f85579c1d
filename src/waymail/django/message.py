"""From Django's message to what waymail sends."""

from __future__ import annotations

from email import message_from_bytes
from email.errors import MessageError
from email.headerregistry import HeaderRegistry
from email.message import EmailMessage
from email.policy import default
from typing import Any

from waymail.client.prepare import Mail
from waymail.wire import grammar


def mail_of(message: Any, *, signed: bool = False) -> Mail:
    """A `django.core.mail.EmailMessage` and its envelope: the From address, and those of To, Cc and Bcc. Raises ValueError where
    an address is none, and as Django does for fields that it does not write (BadHeaderError is one).

    What is to be `signed` is made ASCII by us, which takes an EmailMessage. Before Django 6.0 it is of the older class, and
    parsed anew.
    """
    sender = address_of(message.from_email)
    recipients = dict.fromkeys(address_of(one) for one in message.recipients())
    written = message.message()
    if signed and not isinstance(written, EmailMessage):
        written = message_from_bytes(written.as_bytes(), policy=default)
    return Mail(written, sender, tuple(recipients))


def address_of(mailbox: Any) -> str:
    """The address in what Django takes for a mailbox: "Ann <ann@example.org>", a lazy text too. Raises ValueError."""
    text = str(mailbox)
    if grammar.is_mailbox(text):
        return text
    # The parser would take a line break for the white space of a fold.
    if text.isprintable():
        try:
            field: Any = HeaderRegistry()("To", text)
            [group] = field.groups
            [found] = group.addresses
        except (MessageError, ValueError, IndexError, RecursionError):  # what the parser of the standard library stumbles over
            raise ValueError(f"{text!r} is not an address") from None
        if group.display_name is None and grammar.is_mailbox(found.addr_spec):
            return str(found.addr_spec)
    raise ValueError(f"{text!r} is not an address")
