"""A mail transaction, in as few round trips as the server takes: what `SMTP.sendmail` does.

What smtplib's callers see is the same as if each command had waited for its reply: the same exception for the same refusal, with
the same attributes. Where the server has PIPELINING (RFC 2920), MAIL and up to 100 RCPTs go in one write, and the last of these
groups has DATA, too, or a small message as a chunk.
"""

from __future__ import annotations

from collections.abc import Sequence
from smtplib import SMTPDataError, SMTPRecipientsRefused, SMTPSenderRefused, SMTPServerDisconnected
from typing import TYPE_CHECKING

from waymail.smtplib.connection import Spoken
from waymail.smtplib.replies import Answer
from waymail.wire.client import EndOfContent
from waymail.wire.commands import Bdat, Data, Mail, Rcpt
from waymail.wire.data import stuff

if TYPE_CHECKING:
    from waymail.smtplib.smtp import SMTP

_GROUP = 100  # commands; the replies to them have room in any receive buffer (RFC 2920 §3.1: else both sides could wait)
_GROUPED_CHUNK = 65_536  # octets of content that are sent without knowing whether anybody is to get them

Refused = dict[str, tuple[int, bytes]]


def carry_out(
    smtp: SMTP, mail: Spoken, recipients: Sequence[Spoken], content: bytes, *, pipelining: bool, chunks: bool
) -> Refused:
    """Send `content`; returns the recipients that were refused. Raises what `sendmail` says."""
    last = _chunk(content) if chunks else (b"data\r\n", Data())
    answers = smtp._answers(_groups([mail, *recipients], last, pipelining=pipelining, lmtp=smtp.ehlo_msg == "lhlo"))
    answer = next(answers)
    if answer.code != 250:
        _give_up(smtp, answer)
        raise SMTPSenderRefused(answer.code, answer.text, _path(mail))
    refused: Refused = {}
    is_wanted = False
    for recipient in recipients:
        answer = next(answers)
        if answer.code in (250, 251):
            is_wanted = True
        else:
            refused[_path(recipient)] = (answer.code, answer.text)
        if answer.code == 421:
            smtp.close()
            raise SMTPRecipientsRefused(refused)
    if not is_wanted:
        _give_up(smtp, answer, is_for_nobody=True)
        raise SMTPRecipientsRefused(refused)
    answer = next(answers)
    if chunks:
        ends = [answer, *_ends(smtp)]
    elif answer.code == 354:
        ends = by_data(smtp, content)
    else:
        _give_up(smtp, answer)
        raise SMTPDataError(answer.code, answer.text)
    return refused | _refused_at_end(smtp, ends)


def by_data(smtp: SMTP, content: bytes) -> list[Answer]:
    """The content behind 354, and its end; the replies to that: in LMTP one for each recipient (RFC 2033 §4.2)."""
    smtp.send(b"".join(stuff((content,))))
    smtp._replies.core.content_sent()
    return _ends(smtp) or [smtp._answer(is_final=True)]


def _ends(smtp: SMTP) -> list[Answer]:
    found: list[Answer] = []
    while smtp._replies.core.pending and (not found or found[-1].code != 421):
        found.append(smtp._answer(is_final=True))
    return found


def _refused_at_end(smtp: SMTP, ends: Sequence[Answer]) -> Refused:
    """Who was accepted and is not to get it after all. Raises SMTPDataError where that is everybody."""
    last = ends[-1]
    if all(end.code != 250 for end in ends):
        _give_up(smtp, last)
        raise SMTPDataError(last.code, last.text)
    refused = {end.to.recipient: (end.code, end.text) for end in ends if isinstance(end.to, EndOfContent) and end.code != 250}
    if last.code == 421:  # RFC 5321 §3.8: for whom no reply came, it is the reply
        waiting = [end.recipient for end in smtp._replies.core.pending if isinstance(end, EndOfContent)]
        refused |= dict.fromkeys(waiting, (last.code, last.text))
        smtp.close()
    return refused


def _groups(opening: Sequence[Spoken], last: Spoken, *, pipelining: bool, lmtp: bool) -> list[list[Spoken]]:
    """What is said in one write each."""
    size = _GROUP if pipelining else 1
    groups = [list(opening[start : start + size]) for start in range(0, len(opening), size)]
    # RFC 2033 §4.3: in LMTP a chunk for nobody has no reply.
    if pipelining and (isinstance(last[1], Data) or (len(last[0]) <= _GROUPED_CHUNK and not lmtp)):
        groups[-1].append(last)
    else:
        groups.append([last])
    return groups


def _chunk(content: bytes) -> Spoken:
    """The whole content as the last chunk (RFC 3030 §2)."""
    return b"BDAT %d LAST\r\n%b" % (len(content), content), Bdat(len(content), last=True)


def _path(spoken: Spoken) -> str:
    match spoken[1]:
        case Mail(address) | Rcpt(address):
            return address
    raise TypeError(f"no path in {spoken[1]}")


def _give_up(smtp: SMTP, answer: Answer, *, is_for_nobody: bool = False) -> None:
    """Leave the connection ready for the next message, as far as that can be: what is going to be raised says more than that it
    is lost. After a 421 it is closed."""
    if answer.code == 421:
        smtp.close()
    replies = smtp._replies
    try:
        while smtp.sock and replies.core.pending:
            if smtp._answer().code == 421:
                smtp.close()
        if smtp.sock and replies.core.owes_content:
            if not is_for_nobody:
                smtp.close()  # an end would make it a message
                return
            # RFC 2920 §3.1: the server wants content although no recipient stands. A lone dot; it must send that nowhere.
            by_data(smtp, b"")
        if smtp.sock:
            smtp.rset()
    except SMTPServerDisconnected:
        pass
