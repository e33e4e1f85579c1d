"""`waymail sendmail`: what other programs know as /usr/sbin/sendmail, also by that name (and as mailq and newaliases).

It has to be there as soon as it is called, and is called by whatever has a mail to send: so its command line is read here by
hand, and it needs nothing but what the bare library has.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from secrets import randbits
from typing import IO, TYPE_CHECKING

from waymail.app.cli.output import CommandFailed, Exit, clean, complain, say, size_text, span_text, table
from waymail.app.cli.sendmail import options
from waymail.app.cli.sendmail.options import Given, Mode, Report

if TYPE_CHECKING:
    from waymail.app.cli.sendmail.message import Outgoing
    from waymail.app.cli.sendmail.settings import Settings
    from waymail.app.cli.sendmail.submit import Became
    from waymail.wire.replies import Reply

TELLS = {Report.MAIL, Report.MAIL_ONLY}


def sendmail(*arguments: str) -> int:
    """Send mail as /usr/sbin/sendmail does: the message on standard input, to the recipients that are given.

    Parameters
    ----------
    arguments
        The options of sendmail (see `waymail sendmail --help`) and recipients.
    """
    given = options.parse(arguments)
    match given.mode:
        case Mode.HELP:
            say("Usage: waymail sendmail [OPTIONS] [RECIPIENT...]\n\nSend the message on standard input.\n")
            say("\n".join(f"  {name:<11}{meaning.replace('`', '')}" for name, meaning in options.MEANING.items()))
        case Mode.ALIASES:
            pass
        case Mode.DIALOGUE:
            _converse(given)
        case Mode.LIST:
            _list(given)
        case Mode.FLUSH:
            _flush(given)
        case Mode.MESSAGE:
            return _send(given)
    return Exit.OK


def _send(given: Given) -> int:
    from waymail.app.cli.sendmail import settings
    from waymail.app.cli.sendmail.keep import flush_in_background
    from waymail.app.cli.sendmail.message import prepare
    from waymail.app.cli.sendmail.submit import submit

    chosen = settings.read(given.config, os.environ)
    content = b"".join(_lines(sys.stdin.buffer, given.dot_ends))
    now = time.time()
    mail = prepare(given, content, chosen.person, now=now, identifier=_identifier(now))
    became = submit(mail, chosen, queue_only=given.queue_only)
    is_told = given.report in TELLS and _tell_sender(mail, became, chosen)
    if given.report is not Report.QUIET and not is_told:
        for address, reply in became.refused.items():
            complain(clean(f"waymail: {address}: {reply}"))
    if became.waiting and not given.queue_only and given.report is not Report.QUIET:
        complain(clean(f"waymail: not sent yet, kept in {chosen.outbox}: {became.why}"))
    if became.accepted:
        flush_in_background(chosen, given.config)
    if given.verbose:
        for address in became.accepted:
            say(clean(f"accepted   {address}: {became.reply}"))
    return Exit.OK if given.report is Report.MAIL_ONLY and is_told else became.code


def _converse(given: Given) -> None:
    from waymail.app.cli.sendmail import settings
    from waymail.app.cli.sendmail.dialogue import Dialogue
    from waymail.app.cli.sendmail.keep import flush_in_background
    from waymail.app.cli.sendmail.message import submitted
    from waymail.app.cli.sendmail.submit import submit
    from waymail.wire.replies import Reply

    chosen = settings.read(given.config, os.environ)

    def take(sender: str, recipients: list[str], content: bytes) -> Became | Reply:
        now = time.time()
        mail = submitted(sender, recipients, content, chosen.person, now=now, identifier=_identifier(now))
        try:
            became = submit(mail, chosen, queue_only=given.queue_only)
            if became.accepted or became.waiting:
                _tell_sender(mail, became, chosen)
        except CommandFailed as failure:
            complain(clean(f"waymail: {failure}"))
            return Reply(451, "neither sent nor kept: the mail program of this machine has the reason", "4.3.0")
        return became

    def write(octets: bytes) -> None:
        sys.stdout.buffer.write(octets)
        sys.stdout.buffer.flush()

    Dialogue(chosen.person, lambda most: os.read(sys.stdin.fileno(), most), write, take).run()
    flush_in_background(chosen, given.config)


def _list(given: Given) -> None:
    from waymail.app.cli.sendmail import settings
    from waymail.app.cli.sendmail.keep import waiting

    now, found = time.time(), waiting(settings.read(given.config, os.environ))
    rows = [
        (
            story.envelope.id,
            span_text(now - story.envelope.accepted_at),
            size_text(story.size),
            story.envelope.sender or "<>",
            " ".join(one.address for one in story.recipients if one.state.is_live),
            next((one.reply for one in story.recipients if one.state.is_live and one.reply), "-"),
        )
        for story in found
    ]
    if rows:
        table(("id", "age", "size", "from", "to", "last reply"), rows)
    else:
        say("Nothing waits.")


def _flush(given: Given) -> None:
    from waymail.app.cli.sendmail import settings
    from waymail.app.cli.sendmail.keep import flush

    flush(settings.read(given.config, os.environ))


def _tell_sender(mail: Outgoing, became: Became, chosen: Settings) -> bool:
    """Send a notice of who was refused; whether he is told. Raises CommandFailed."""
    if not became.refused:
        return False
    from waymail.app.cli.sendmail.notice import notice
    from waymail.app.cli.sendmail.submit import submit

    now = time.time()
    told = notice(mail, became.refused, chosen.person.domain, now=now, identifier=_identifier(now))
    return told is not None and not submit(told, chosen).refused


def _lines(source: IO[bytes], dot_ends: bool) -> Iterator[bytes]:
    """The lines of the message; what stands behind a dot is not waited for."""
    for line in source:
        if dot_ends and line.rstrip(b"\r\n") == b".":
            return
        yield line


def _identifier(now: float) -> str:
    from waymail.mail.envelope import QueueIds

    return QueueIds(randbits(11)).next(now)
