"""`waymail send`: send one message, and say what became of it for each recipient."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.utils import format_datetime, localtime, make_msgid
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from waymail.app.cli.output import CommandFailed, Exit, clean, complain, say, say_json

if TYPE_CHECKING:
    import ssl

    from waymail.client.dsn import Dsn
    from waymail.client.errors import SMTPError
    from waymail.mail.envelope import Options
    from waymail.wire.replies import Reply

Several = Annotated[list[str] | None, Parameter(negative="")]
Switch = Annotated[bool, Parameter(negative="")]
# "-" is standard input, and no option.
File = Annotated[Path | None, Parameter(allow_leading_hyphen=True)]
Url = Annotated[str | None, Parameter(env_var="WAYMAIL_URL", show_env_var=True)]


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of the message. `failure` is what was wrong where nobody got it."""

    accepted: tuple[str, ...] = ()
    refused: Mapping[str, Reply] = field(default_factory=dict)
    uncertain: tuple[str, ...] = ()
    reply: Reply | None = None
    failure: str = ""
    code: Exit = Exit.OK


async def send(
    file: File = None,
    /,
    *,
    url: Url = None,
    to: Several = None,
    from_: Annotated[str | None, Parameter(name="--from")] = None,
    subject: str | None = None,
    body: str | None = None,
    tls_ca: Path | None = None,
    insecure: Switch = False,
    notify: str | None = None,
    ret: Literal["full", "hdrs"] | None = None,
    envid: str | None = None,
    require_tls: Switch = False,
    hold_for: int | None = None,
    deliver_by: int | None = None,
    priority: int = 0,
    timeout: float | None = None,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> int:
    """Send a message: a file, standard input, or one made of --subject and --body.

    Exits with 0 where it was accepted for all recipients, with 75 where trying again may help, with 77 where the password was
    refused, else with 69.

    Parameters
    ----------
    file
        A file with a whole message, header and body; "-" for standard input.
    url
        The server: smtp://USER:PASSWORD@HOST:PORT (STARTTLS is required), smtps://..., lmtp://HOST:PORT, lmtp:/SOCKET, or
        mx:?hello=OWN.NAME for the hosts that DNS names. The variable keeps a password out of the list of processes.
    to
        A recipient. May be repeated; without it, the message's To, Cc and Bcc fields say.
    from_
        The sender. Without it, the message's Sender or From field says.
    subject
        The subject of a message that is made here.
    body
        The text of a message that is made here.
    tls_ca
        A PEM file with the certificate to trust, or that of its authority, instead of the system's.
    insecure
        Do not check the server's certificate. For trying things out: anybody on the way could read the message and password.
    notify
        When to send a notice: never, or some of success, failure and delay with commas between them.
    ret
        What a notice of failure holds of the message: all of it (full) or its header (hdrs).
    envid
        A word of yours that notices repeat.
    require_tls
        Every server on the way must use TLS with a checked certificate, or the message comes back.
    hold_for
        Seconds for which the server holds the message before it sends it on.
    deliver_by
        Seconds within which it must be delivered, or else comes back.
    priority
        From -9 to 9.
    timeout
        Seconds that sending may take in all.
    as_json
        Print a JSON object.
    """
    if file is not None and str(file).startswith("-") and str(file) != "-":
        raise CommandFailed(Exit.USAGE, f"there is no option {file}; see waymail send --help")
    if not url:
        raise CommandFailed(Exit.USAGE, "which server? give --url smtp://HOST:PORT, or set WAYMAIL_URL")
    message = composed(from_, to or [], subject, body) if body is not None or subject is not None else _read(file)
    if file is not None and isinstance(message, EmailMessage):
        raise CommandFailed(Exit.USAGE, "a file has its own subject and body: give either the file, or --subject and --body")
    options = asked(hold_for, deliver_by, priority, require_tls=require_tls, now=time.time())
    dsn = notices(notify, ret, envid)
    context = tls_context(tls_ca, insecure)
    sent = await _send(message, url, from_, to, options, dsn, tls_context=context, timeout=timeout)
    if as_json:
        say_json(as_data(sent))
    else:
        _tell(sent)
    return sent.code


def notices(notify: str | None, ret: str | None, envid: str | None) -> Dsn:
    """What is asked of notices. Raises CommandFailed."""
    from waymail.client.dsn import Dsn, notify_of

    try:
        return Dsn(notify_of(notify or ""), (ret or "").upper(), envid or "")
    except ValueError as error:
        raise CommandFailed(Exit.USAGE, f"--{error}") from None


def asked(
    hold_for: int | None,
    deliver_by: int | None,
    priority: int,
    *,
    require_tls: bool,
    now: float,
) -> Options:
    """What is asked of the server besides taking the message. `now` is in seconds since the epoch. Raises CommandFailed."""
    from waymail.mail.envelope import DeliverBy, Options

    if not -9 <= priority <= 9:
        raise CommandFailed(Exit.USAGE, "--priority is a number from -9 to 9")
    for name, seconds in (("hold-for", hold_for), ("deliver-by", deliver_by)):
        if seconds is not None and not 0 < seconds < 1_000_000_000:
            raise CommandFailed(Exit.USAGE, f"--{name} is a number of seconds, at least 1")
    return Options(
        require_tls=require_tls,
        hold=f"for;{hold_for}" if hold_for else "",
        hold_until=now + hold_for if hold_for else 0.0,
        deliver_by=DeliverBy(now + deliver_by, "R") if deliver_by else None,
        priority=priority,
    )


def composed(sender: str | None, to: list[str], subject: str | None, body: str | None) -> EmailMessage:
    """A small message. Raises CommandFailed where it would have no author or no recipient, or a line break in a field."""
    from waymail.wire import domains

    if not sender or not to:
        raise CommandFailed(Exit.USAGE, "a message made of --subject and --body needs --from and --to")
    message = EmailMessage()
    try:
        message["From"] = sender
        message["To"] = ", ".join(to)
        message["Subject"] = subject or ""
    except ValueError as error:
        raise CommandFailed(Exit.USAGE, f"cannot be a header field: {error}") from None
    message["Date"] = format_datetime(localtime())
    message["Message-ID"] = make_msgid(domain=domains.normal(sender.rpartition("@")[2].strip(" >")) or "localhost")
    text = body or ""
    message.set_content(text if text.endswith("\n") else text + "\n")
    return message


def as_data(sent: Sent) -> dict[str, Any]:
    """The result as plain data."""
    refused = [
        {"address": address, "code": reply.code, "enhanced": reply.enhanced, "text": reply.text}
        for address, reply in sent.refused.items()
    ]
    return {
        "accepted": list(sent.accepted),
        "refused": refused,
        "uncertain": list(sent.uncertain),
        "reply": str(sent.reply) if sent.reply else None,
        "error": sent.failure or None,
    }


def _read(file: Path | None) -> bytes:
    if file is None and sys.stdin.isatty():
        raise CommandFailed(
            Exit.USAGE, "what shall be sent? give a file, or a message on standard input, or --subject and --body"
        )
    try:
        content = sys.stdin.buffer.read() if file is None or str(file) == "-" else file.read_bytes()
    except OSError as error:
        raise CommandFailed(Exit.NO_INPUT, f"{file}: {error.strerror}") from None
    if not content.strip():
        raise CommandFailed(Exit.DATA, "the message is empty")
    return content


def tls_context(ca: Path | None, insecure: bool) -> ssl.SSLContext | None:
    """What --tls-ca and --insecure say. Raises CommandFailed."""
    from waymail.net import tls

    if ca is not None and insecure:
        raise CommandFailed(Exit.USAGE, "--tls-ca and --insecure exclude each other")
    if insecure:
        return tls.unverified()
    if ca is None:
        return None
    try:
        return tls.verified(os.fspath(ca))
    except OSError as error:
        raise CommandFailed(Exit.NO_INPUT, f"{ca}: {error.strerror or error}") from None


async def _send(
    message: EmailMessage | bytes,
    url: str,
    sender: str | None,
    recipients: list[str] | None,
    options: Options,
    dsn: Dsn,
    *,
    tls_context: ssl.SSLContext | None,
    timeout: float | None,
) -> Sent:
    from waymail.client import api
    from waymail.client.errors import SMTPError
    from waymail.client.url import UrlError

    try:
        result = await api.send(
            message,
            url,
            sender=sender,
            recipients=recipients,
            options=options,
            dsn=dsn,
            tls_context=tls_context,
            timeout=timeout,
        )
    except SMTPError as error:
        return failed(error)
    except UrlError as error:
        raise CommandFailed(Exit.USAGE, f"--url: {error}") from None
    except ValueError as error:
        raise CommandFailed(Exit.DATA, f"cannot be sent: {error}") from None
    code = Exit.OK
    if result.refused:
        code = Exit.UNAVAILABLE if any(reply.is_permanent for reply in result.refused.values()) else Exit.TEMPORARY
    elif result.uncertain:
        code = Exit.TEMPORARY
    return Sent(result.accepted, result.refused, result.uncertain, result.reply, code=code)


def failed(error: SMTPError) -> Sent:
    """The result where nobody got the message."""
    from waymail.client.errors import AllRecipientsRefused, AuthenticationFailed, TlsError

    refused = error.refused if isinstance(error, AllRecipientsRefused) else {}
    if isinstance(error, AuthenticationFailed) and (error.reply is None or error.reply.is_permanent):
        code = Exit.NO_PERMISSION
    elif isinstance(error, TlsError) or not error.is_temporary:
        code = Exit.UNAVAILABLE
    else:
        code = Exit.TEMPORARY
    return Sent(refused=refused, reply=error.reply, failure=str(error), code=code)


def _tell(sent: Sent) -> None:
    for address in sent.accepted:
        say(clean(f"accepted   {address}"))
    for address in sent.uncertain:
        complain(clean(f"uncertain  {address}: the connection was lost at the very end; it may have been taken"))
    for address, reply in sent.refused.items():
        complain(clean(f"refused    {address}: {reply}"))
    if sent.failure:
        complain(clean(f"waymail: not sent: {sent.failure}"))
    elif sent.reply:
        say(clean(f"reply      {sent.reply}"))
