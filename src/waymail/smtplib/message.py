"""What smtplib does with addresses and messages before they are sent."""

from __future__ import annotations

import re
from collections.abc import Sequence
from copy import copy
from email.generator import BytesGenerator
from email.message import Message
from email.utils import getaddresses, parseaddr
from io import BytesIO
from typing import Any

from waymail.client.prepare import check_fields

_LINE_END = re.compile(r"\r\n|\n|\r")


def quoteaddr(addrstring: str) -> str:
    """The address of a mailbox in angle brackets; what cannot be read as one goes into them as it is."""
    found = parseaddr(addrstring)
    if found != ("", ""):
        return f"<{found[1]}>"
    return addrstring if addrstring.strip().startswith("<") else f"<{addrstring}>"


def address_only(addrstring: str) -> str:
    """The address without a name."""
    found = parseaddr(addrstring)
    return addrstring if found == ("", "") else found[1]


def quotedata(data: str) -> str:
    """Text with CRLF line ends and its leading dots doubled (RFC 5321 §4.5.2)."""
    return re.sub(r"(?m)^\.", "..", _LINE_END.sub("\r\n", data))


def envelope_of(message: Message, sender: str | None, recipients: str | Sequence[str] | None) -> tuple[str, list[str]]:
    """The envelope: as given, else from the fields, those of Resent where the message was sent on (RFC 5322 §3.6.6).

    Raises ValueError where there are several sets of Resent fields, or no sender.
    """
    resent = message.get_all("Resent-Date")
    if resent is not None and len(resent) > 1:
        raise ValueError("message has more than one 'Resent-' header block")
    prefix = "" if resent is None else "Resent-"
    if sender is None:
        named = message[f"{prefix}Sender"] or message[f"{prefix}From"]
        if named is None:
            raise ValueError(f"no sender: the message has neither {prefix}Sender nor {prefix}From")
        sender = getaddresses([str(named)])[0][1]
    if recipients is None:
        fields = [str(field) for name in ("To", "Bcc", "Cc") for field in message.get_all(prefix + name, [])]
        return sender, [address for _, address in getaddresses(fields)]
    return sender, [recipients] if isinstance(recipients, str) else list(recipients)


def flattened(message: Message, *, utf8: bool) -> bytes:
    """The message in octets with CRLF line ends, without its Bcc fields; `utf8`: its header section may have UTF-8 (RFC 6532).

    Raises ValueError for a field that would be more than one."""
    check_fields(message)
    visible = copy(message)
    del visible["Bcc"]
    del visible["Resent-Bcc"]
    octets = BytesIO()
    policy: Any = message.policy.clone(utf8=True) if utf8 else message.policy  # type: ignore[call-arg]  # EmailPolicy has it
    BytesGenerator(octets, mangle_from_=False, policy=policy).flatten(visible, linesep="\r\n")
    return octets.getvalue()
