"""From what a program hands over to what a transaction carries: envelope, octets, completed and signed. The same for every face.

What the program got wrong is a ValueError here, before anything is sent: an address that is none, a header field with a line
break in it, a message that cannot be written out. No header field and no address can begin a line of its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.errors import MessageError
from email.message import EmailMessage
from email.message import Message as AnyMessage

from waymail.client.arguments import check_type
from waymail.client.dsn import Dsn
from waymail.client.signing import DkimKey, signatures
from waymail.client.transaction import Message
from waymail.mail import address, headers
from waymail.mail.envelope import NO_OPTIONS, Body, Options, Recipient
from waymail.mail.message import body_parameter, complete, envelope_of, to_wire
from waymail.mail.needs import needs
from waymail.wire import domains, grammar

# A fold of a field that was parsed may stay. What else ends a line for Python's generator, or for anybody, may not.
_LINE_BREAK = re.compile("\r(?!\n)|\n(?![ \t])|[\0\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")
_FIELD_NAME = re.compile(r"[!-9;-~]+ *")  # RFC 5322 §3.6.8; with the spaces of RFC 5322 §4.5.8 where it was parsed


@dataclass(frozen=True, slots=True)
class Mail:
    """A message with all that `Client.send` takes besides it: for `send_many`. Raises TypeError, which names the argument."""

    message: EmailMessage | bytes
    sender: str | None = None
    recipients: str | Sequence[str] | None = None
    dsn: Dsn | None = None
    options: Options = NO_OPTIONS
    binary: bool = False

    def __post_init__(self) -> None:
        check_type(self.recipients, Iterable | None, 'recipients is an address or several, as ["bob@example.org"]')
        check_type(self.dsn, Dsn | None, "dsn is a waymail.Dsn, as waymail.Dsn(waymail.Notify.SUCCESS)")
        check_type(self.options, Options, "options is a waymail.Options, as waymail.Options(require_tls=True)")


@dataclass(frozen=True, slots=True)
class Preparation:
    """How a client prepares its messages: by which keys they are signed, which name stands in a Message-ID that is made (that of
    the sender's domain where it is ""), and whether bytes are completed, too."""

    keys: tuple[DkimKey, ...] = ()
    hostname: str = ""
    completes_bytes: bool = False

    @property
    def is_slow(self) -> bool:
        """Whether it takes long enough to be in the way of an event loop."""
        return any(key.is_slow for key in self.keys)


PLAIN = Preparation()


def prepare(mail: Mail, how: Preparation, *, now: float, unique: Callable[[], str]) -> tuple[Message, list[str]]:
    """The message as it is sent, and the addresses that it is for.

    An EmailMessage without Date or Message-ID gets them (RFC 5322 §3.6), `unique()` being what stands before the "@"; `now` is in
    seconds since the epoch. Bytes are sent as they are, but for their line ends, and unless `how` says otherwise. Raises
    ValueError (EnvelopeProblem where the header fields are at fault).
    """
    message, sender, recipients = mail.message, mail.sender, mail.recipients
    if isinstance(message, AnyMessage):
        check_fields(message)
    elif not isinstance(message, bytes):
        raise ValueError(f"a message is an EmailMessage or bytes, not {type(message).__name__}")
    sender, addresses = _envelope(message, sender, recipients)
    content = _content(mail, how, sender, now, unique)
    options = mail.options
    if options.hold_until and not options.hold:
        until = datetime.fromtimestamp(int(options.hold_until), UTC)
        options = replace(options, hold=f"until;{until:%Y-%m-%dT%H:%M:%SZ}")
    notify = ""
    if mail.dsn is not None:
        options, notify = mail.dsn.within(options), mail.dsn.value
    outgoing = Message(
        sender,
        Body(content, len(content)),
        "BINARYMIME" if mail.binary else body_parameter(content),
        _with_utf8(options, content, sender, addresses),
        tuple(Recipient(one, notify=notify) for one in addresses) if notify else (),
    )
    return outgoing, addresses


def message_id_of(body: Body) -> str:
    """The Message-ID of what is sent, "" where it has none."""
    return headers.text(headers.header_section(body.head()), b"message-id")


def _envelope(message: EmailMessage | bytes, sender: str | None, recipients: str | Sequence[str] | None) -> tuple[str, list[str]]:
    if recipients is not None:
        recipients = [_address(one) for one in ([recipients] if isinstance(recipients, str | bytes) else recipients)]
    if sender is not None and sender != "":
        sender = _address(sender)
    if sender is None or recipients is None:
        sender, recipients = envelope_of(message, sender=sender, recipients=recipients)
    if not recipients:
        raise ValueError("no recipients")
    for one in recipients if sender == "" else (sender, *recipients):
        if not _is_address(one):
            raise ValueError(f"{one!r} is no address")
    return sender, list(recipients)


def _address(given: object) -> str:
    """The address, where that is given, or one mailbox with a name (RFC 5322 §3.4). Raises ValueError."""
    if isinstance(given, str):
        if _is_address(given):
            return given
        found = address.named(given)
        if found is not None and found[0] and _is_address(found[1]):
            return found[1]
    raise ValueError(f"{given!r} is no address")


def _is_address(one: str) -> bool:
    """RFC 5321 §4.1.2, RFC 6531 §3.3: what no address can hold must not come near the wire."""
    return grammar.is_mailbox(one) and one.isprintable()


def _content(mail: Mail, how: Preparation, sender: str, now: float, unique: Callable[[], str]) -> bytes:
    message = mail.message
    if isinstance(message, bytes):
        if mail.binary and how.keys:
            raise ValueError("a message that is sent with binary=True cannot be signed: DKIM signs lines (RFC 6376 §5.3)")
        content = message if mail.binary else to_wire(message)
    else:
        content = _written(message, seven_bit=bool(how.keys))
    if how.completes_bytes or not isinstance(message, bytes):
        section = headers.header_section(content)
        if not (headers.has(section, b"date") and headers.has(section, b"message-id")):
            content = complete(content, now=now, message_id=unique(), hostname=how.hostname or _domain(sender)) + content
    return signatures(content, how.keys, now) + content if how.keys else content


def _domain(sender: str) -> str:
    """What stands behind the "@" of a Message-ID: a name that tells nothing of this machine."""
    domain = address.domain_of(sender) if sender else ""
    try:
        return (domain if domain.isascii() else domains.to_ascii(domain)) or "localhost"
    except domains.BadDomain:
        return "localhost"


def _written(message: EmailMessage, *, seven_bit: bool) -> bytes:
    """The octets. RFC 6376 §5.3: what is signed should be ASCII, for a host may encode what is not, and break the signature."""
    try:
        return to_wire(message, seven_bit=seven_bit)
    except (MessageError, LookupError, TypeError, AttributeError, ValueError) as error:  # whatever the generator stumbles over
        raise ValueError(f"the message cannot be written out: {error}") from error


def check_fields(message: AnyMessage) -> None:
    """Raises ValueError where a field of the message, or of a part of it, would be more than one. The policies of the standard
    library look at that in some ways of setting a field, and in some versions."""
    for part in message.walk():
        for name, value in part.raw_items():
            if _FIELD_NAME.fullmatch(name) is None:
                raise ValueError(f"{name!r} is no name of a header field")
            if _LINE_BREAK.search(str(value)):
                raise ValueError(f"{name} holds a line break, or another character that no header field can have")


def _with_utf8(options: Options, content: bytes, sender: str, recipients: Sequence[str]) -> Options:
    """RFC 6531 §3.4: SMTPUTF8 where an address or a header field calls for it."""
    if options.smtputf8 or (content.isascii() and sender.isascii() and all(map(str.isascii, recipients))):
        return options
    is_international = not content.isascii() and needs((content,)).utf8_headers
    local_parts = (one.rpartition("@")[0] for one in (sender, *recipients))
    return replace(options, smtputf8=True) if is_international or not all(map(str.isascii, local_parts)) else options
