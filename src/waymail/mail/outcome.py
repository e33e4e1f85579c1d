"""What became of one recipient in one attempt."""

from __future__ import annotations

from dataclasses import field

from waymail.values import value
from waymail.wire.replies import Reply


@value
class Peer:
    """Who gave the reply: for the trace. `tls` is "TLSv1.3 TLS_AES_256_GCM_SHA384 unverified", or "" for cleartext."""

    host: str
    address: str = ""
    tls: str = ""


@value
class Delivered:
    """The next hop, or the mailbox, took responsibility for the message.

    `final` is true where it is in the mailbox itself (RFC 3461 §6.3: "delivered"). Where it was handed on, `dsn` says that the
    next hop offered DSN, and so tells the sender what he asked to know; `deliver_by`, that it offered DELIVERBY. `place` is the
    mailbox, or its folder, where that is on this machine: for the trace, and never told to others.
    """

    reply: Reply
    peer: Peer | None = None
    final: bool = False
    dsn: bool = False
    deliver_by: bool = False
    place: str = field(default="", compare=False)


@value
class Deferred:
    """Try again later.

    `uncertain` is true where the next hop may have taken the message all the same (the reply to the final dot was lost).
    `cause` is for the operator only: it never leaves this machine. `destination_down` says that the destination, not
    this message, is in trouble: the queue then backs off from it as a whole. `dialogue` is what was said in the attempt, line by
    line, for the trace; it stays on this machine, too. `place` as for `Delivered`.
    """

    reply: Reply
    peer: Peer | None = None
    uncertain: bool = False
    destination_down: bool = False
    cause: str = ""
    dialogue: tuple[str, ...] = field(default=(), compare=False)
    place: str = field(default="", compare=False)


@value
class Failed:
    """Never, in this form: the sender is told. `dialogue` as for `Deferred`, `place` as for `Delivered`."""

    reply: Reply
    peer: Peer | None = None
    dialogue: tuple[str, ...] = field(default=(), compare=False)
    place: str = field(default="", compare=False)


Outcome = Delivered | Deferred | Failed
