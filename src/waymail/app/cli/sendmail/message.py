"""The message, as a local program writes it, made one that servers take: no I/O here.

Lines may end in LF. Names without a domain are users of this machine, and get its domain, in the envelope and in the header.
From, Date and Message-ID are put in front where they are missing, and Bcc is taken out (RFC 5322 §3.6.3), whoever named the
recipients. All else stays as it came, octet for octet.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from email.utils import formataddr, getaddresses

from waymail.app.cli.output import CommandFailed, Exit
from waymail.app.cli.sendmail.options import Given
from waymail.mail import headers
from waymail.mail.message import EnvelopeProblem, complete, envelope_of, to_wire, without_bcc
from waymail.wire import grammar

# What stands above a message in a file of the mbox format; ">" where a program has quoted it.
_MBOX_LINE = re.compile(rb">?From [^\r\n]*\r\n")
_ADDRESSES = re.compile(
    rb"^((?:resent-)?(?:from|sender|reply-to|to|cc|bcc)[ \t]*:)((?:[^\r\n]|\r\n(?=[ \t]))*)", re.IGNORECASE | re.MULTILINE
)
_SPECIALS = re.compile(r'[][()<>@,:;."\\]')  # RFC 5322 §3.2.3: what is in no atom


@dataclass(frozen=True, slots=True)
class Person:
    """Who calls: login name and full name, the machine's domain, and `sender`, what the settings have as his address ("": the
    login name at the domain)."""

    login: str
    full_name: str
    domain: str
    sender: str = ""

    @property
    def address(self) -> str:
        """What he sends as where he says nothing."""
        return with_domain(self.sender or self.login, self.domain)


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message in wire form, and its envelope. `notify`, `ret` and `envid` as in `Given`."""

    sender: str
    recipients: tuple[str, ...]
    content: bytes
    notify: str = ""
    ret: str = ""
    envid: str = ""


def prepare(given: Given, content: bytes, person: Person, *, now: float, identifier: str) -> Outgoing:
    """What is to be sent. `now` is in seconds since the epoch, `identifier` what stands before the "@" of a Message-ID. Raises
    CommandFailed where there is nobody to send it to, or an address is none."""
    sender = person.address if given.sender is None else with_domain(given.sender, person.domain)
    content = _readable(content, person.domain)
    recipients = _recipients(given, content, person.domain)
    for address in (sender, *recipients) if sender else recipients:
        if not grammar.is_mailbox(address) or not address.isprintable():
            raise CommandFailed(Exit.DATA, f"{address!r} is no address")
    content = _completed(content, sender, given.full_name or person.full_name, person, now, identifier)
    return Outgoing(sender, recipients, content, given.notify, given.ret, given.envid)


def submitted(sender: str, recipients: Sequence[str], content: bytes, person: Person, *, now: float, identifier: str) -> Outgoing:
    """What is to be sent of a message that came with its envelope by SMTP; `now` and `identifier` as for `prepare`."""
    recipients = [with_domain(address, person.domain) for address in recipients]
    content = _completed(_readable(content, person.domain), sender, person.full_name, person, now, identifier)
    return Outgoing(sender, tuple(dict.fromkeys(recipients)), content)


def _readable(content: bytes, domain: str) -> bytes:
    """In wire form, and with whole addresses in its header."""
    content = to_wire(content)
    content = content[found.end() :] if (found := _MBOX_LINE.match(content)) else content
    if not headers.starts_with_field(content):
        return content
    section = headers.header_section(content)
    return _qualified(section, domain) + content[len(section) :]


def _completed(content: bytes, sender: str, full_name: str, person: Person, now: float, identifier: str) -> bytes:
    """With From, Date and Message-ID, and without Bcc. What has no header section at all is text."""
    content = without_bcc(content)
    fields = complete(content, now=now, message_id=identifier, hostname=person.domain)
    if headers.starts_with_field(content) and headers.has(headers.header_section(content), b"from"):
        return fields + content
    author = formataddr((full_name, sender or person.address))
    return f"From: {author}\r\n".encode() + fields + content


def with_domain(address: str, domain: str) -> str:
    """The address; with `domain` where it is a name alone. The null path stays what it is."""
    return f"{address}@{domain}" if address and "@" not in address else address


def _recipients(given: Given, content: bytes, domain: str) -> tuple[str, ...]:
    """Those of the command line, each argument a list, and with -t those of the header; each once."""
    named = [address for argument in given.recipients for address in _listed(argument)]
    if given.from_fields:
        try:
            named += envelope_of(content, sender="")[1]
        except EnvelopeProblem as problem:
            if not named:
                raise CommandFailed(Exit.USAGE, f"whom is it for? {problem}") from None
    if not named:
        raise CommandFailed(Exit.USAGE, "whom is it for? give recipients, or -t to take them from the header")
    return tuple(dict.fromkeys(with_domain(address, domain) for address in named))


def _listed(argument: str) -> Sequence[str]:
    """The addresses of an argument. Raises CommandFailed."""
    if grammar.is_mailbox(argument):
        return (argument,)
    try:
        if argument.isprintable():
            return envelope_of(f"To: {argument}\r\n\r\n".encode(), sender="")[1]
    except EnvelopeProblem:
        pass
    raise CommandFailed(Exit.DATA, f"{argument!r} is no address")


def _qualified(section: bytes, domain: str) -> bytes:
    """The header section, the names in its address fields with the domain (RFC 6409 §4.2)."""
    return _ADDRESSES.sub(lambda found: found[1] + _value(found[2], domain), section)


def _value(value: bytes, domain: str) -> bytes:
    text = headers.unfold(value).decode("utf-8", "surrogateescape")
    mailboxes: Sequence[tuple[str, str]] = getaddresses([text])
    is_plain = ":" not in text and ";" not in text and all(address for _, address in mailboxes)
    if not is_plain or all("@" in address for _, address in mailboxes):
        return value
    written = ",\r\n ".join(_mailbox(name, with_domain(address, domain)) for name, address in mailboxes)
    return b" " + written.encode("utf-8", "surrogateescape")


def _mailbox(name: str, address: str) -> str:
    if not name:
        return address
    if _SPECIALS.search(name):
        name = '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return f"{name} <{address}>"
