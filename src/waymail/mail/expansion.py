"""What the recipients that an alias leads to inherit of what was asked for the alias itself (RFC 3461 §5.2.7).

An alias keeps the sender, so notices about where it leads go to him. A mailing list, which has a sender of its own, inherits
nothing (§5.2.7.1), and is none of this. Nothing here fails.
"""

from __future__ import annotations

from collections.abc import Sequence

from waymail.mail.envelope import Recipient


def inherit(recipients: Sequence[Recipient], notify: str, orcpt: str) -> tuple[Recipient, ...]:
    """The recipients that one RCPT resolved to, with the values of its parameters NOTIFY and ORCPT ("" where not given).

    One recipient gets both as they are (§5.2.7.2). Several get them without SUCCESS, and the first is marked, so that the queue
    tells the sender once that the address was expanded (§5.2.7.3 (c)).
    """
    if not (notify or orcpt):
        return tuple(recipients)
    occasions = notify.split(",") if notify else []
    expands = len(recipients) > 1 and "SUCCESS" in occasions
    if expands:
        # Where nothing is left, the sender asked to hear of nothing else; without the parameter he would hear of failures.
        notify = ",".join(one for one in occasions if one != "SUCCESS") or "NEVER"
    return tuple(
        Recipient(one.address, one.original, notify, orcpt, expands and number == 0) for number, one in enumerate(recipients)
    )
