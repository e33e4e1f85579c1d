"""The mail to the sender of a message that was refused for some or all: `-oem`, and of SMTP by a pipe, which can refuse a whole
message only."""

from __future__ import annotations

from collections.abc import Mapping

from waymail.app.cli.sendmail.message import Outgoing
from waymail.mail import dsn
from waymail.mail.envelope import Body, Envelope, Options, Recipient
from waymail.mail.notices import shipped
from waymail.wire.grammar import encode_xtext
from waymail.wire.replies import Reply


def notice(mail: Outgoing, refused: Mapping[str, Reply], domain: str, *, now: float, identifier: str) -> Outgoing | None:
    """The notice, from the null path; None where the sender has none to be told at, or asked not to hear of it (RFC 3461 §4.1).
    `now` is in seconds since the epoch, `identifier` a queue id."""
    recipients = {address: Recipient(address, notify=mail.notify) for address in refused}
    if not mail.sender or not all(recipient.wants("FAILURE") for recipient in recipients.values()):
        return None
    options = Options(ret=mail.ret, envid=encode_xtext(mail.envid))
    content = dsn.build(
        shipped(),
        action="failed",
        hostname=domain,
        envelope=Envelope(identifier, mail.sender, tuple(recipients.values()), now, options=options),
        body=Body(mail.content, len(mail.content)),
        recipients=[dsn.ReportedRecipient(recipients[address], reply, None, now) for address, reply in refused.items()],
        now=now,
        message_id=identifier,
        boundary=f"=_{identifier}",
    )
    return Outgoing("", (mail.sender,), content)
