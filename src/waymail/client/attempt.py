"""An attempt: one message to one next hop, on an idle connection or a new one, for as many recipients as it takes.

This is the one way in which messages leave, for the public client (`api`) and for delivery (`delivery.smtp`); they differ only
in what they make of the results. An attempt does not raise for what goes wrong outside: every recipient has a `Result`.

Hosts and their addresses are tried in order, until one has a session for us (RFC 5321 §5.1). What a host says about the
message or a recipient in a session is final for this attempt; that it closes the session (421, connection lost before the
final dot) is not: the next host is tried.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import islice
from math import inf

from waymail.client.connection import Connection
from waymail.client.errors import AuthenticationFailed, ConnectionFailed, SMTPError, TlsError, UncertainDelivery
from waymail.client.io import Io
from waymail.client.pool import IdleConnections, PoolLimits
from waymail.client.session import Contexts, open_session
from waymail.client.target import Host, NextHop, Tls
from waymail.client.transaction import Message, Timeouts, Transaction
from waymail.client.transcript import Transcript
from waymail.mail.outcome import Peer
from waymail.wire.replies import Reply

MOST_ADDRESSES = 5  # tried in one attempt
ATTEMPT_SECONDS = 1800.0  # after this, no further connection is opened in an attempt
REMEMBER_SECONDS = 600.0  # for which it is remembered that a host's STARTTLS, or its BDAT, does not work
_REMEMBER_HOSTS = 10_000


class Stage(Enum):
    """How far it went for a recipient."""

    SESSION = "session"
    MAIL = "mail"
    RCPT = "rcpt"
    CONTENT = "content"


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a recipient: the `reply` that decided at that stage, or the `trouble` for want of one.

    `final`, `dsn` and `deliver_by` as in `mail.outcome.Delivered`: LMTP delivers (where it does not offer DSN, which a queue
    behind it does), and the others say what the host offered.
    """

    stage: Stage
    reply: Reply | None = None
    trouble: SMTPError | None = None
    peer: Peer | None = None
    final: bool = False
    dsn: bool = False
    deliver_by: bool = False

    @property
    def is_accepted(self) -> bool:
        return self.stage is Stage.CONTENT and self.reply is not None and self.reply.is_positive

    @property
    def is_uncertain(self) -> bool:
        """Only the reply to the final dot is missing."""
        return isinstance(self.trouble, UncertainDelivery)


Candidate = tuple[Host, str | None]


def candidates(next_hop: NextHop) -> Iterator[Candidate]:
    """The hosts and addresses to try, in order; an address of None is for the system to resolve."""
    every = ((host, address) for host in next_hop.hosts for address in host.addresses or (None,))
    return islice(every, MOST_ADDRESSES)


def judge(transaction: Transaction) -> tuple[dict[str, Result], list[str]]:
    """The results of a transaction, and the recipients to try once more, at once.

    Those are the ones above the server's limit, where others were accepted, and those whose fate the end of the connection left
    open, where nothing can have been delivered; these have a result all the same, for the case that no host is left.
    """
    peer, mail, final = transaction.peer, transaction.mail, transaction.final
    if mail is not None and not mail.is_positive:
        return dict.fromkeys(transaction.batch, Result(Stage.MAIL, mail, None, peer)), []
    if final is not None:
        shared = _answered(transaction, final)
    else:
        reached = Stage.MAIL if mail is None else Stage.CONTENT if transaction.has_accepted else Stage.RCPT
        shared = Result(reached, None, _trouble(transaction), peer)
    results: dict[str, Result] = {}
    again: list[str] = []
    replies, finals = transaction.recipients, transaction.finals
    for recipient in transaction.batch:
        reply = replies.get(recipient)
        if finals and recipient in finals:
            results[recipient] = _answered(transaction, finals[recipient])
        elif reply is None or reply.is_positive:
            results[recipient] = shared
            if final is None and not transaction.uncertain:
                again.append(recipient)
        elif is_too_many(reply) and transaction.has_accepted and transaction.is_decided:
            again.append(recipient)
        else:
            results[recipient] = Result(Stage.RCPT, reply, None, peer)
    return results, again


def _answered(transaction: Transaction, reply: Reply) -> Result:
    dsn, deliver_by = transaction.offers_dsn, transaction.offers_deliver_by
    # An LMTP server with DSN has been told what the sender wants to hear, and says so itself: he is not to hear it twice.
    return Result(Stage.CONTENT, reply, None, transaction.peer, transaction.lmtp and not dsn, dsn, deliver_by)


def is_too_many(reply: Reply) -> bool:
    """Whether a reply to RCPT says that the server takes no more recipients in this transaction: try again, at once or later.

    RFC 5321 §4.5.3.1.10: 452; 552 from older servers. A full mailbox (x.2.2) or disk (x.3.1) has its own code.
    """
    return reply.code in (452, 552) and (reply.enhanced is None or reply.enhanced[1:] == ".5.3")


def _trouble(transaction: Transaction) -> SMTPError:
    trouble = transaction.trouble
    if trouble is None:
        return SMTPError(f"{transaction.peer.host}: no reply", peer=transaction.peer)
    if transaction.uncertain:
        return UncertainDelivery(f"{trouble}, after the whole message was sent", trouble.reply, trouble.peer)
    return trouble


class Remembered:
    """Hosts of which something is remembered for so many seconds."""

    def __init__(self, seconds: float, io: Io) -> None:
        self._seconds = seconds
        self._io = io
        self._until: dict[str, float] = {}

    def note(self, host: str) -> None:
        if len(self._until) >= _REMEMBER_HOSTS:
            self._until.clear()
        self._until[host] = self._io.now() + self._seconds

    def __contains__(self, host: str) -> bool:
        return bool(self._until) and self._until.get(host, 0.0) > self._io.now()


class Attempts:
    """Makes attempts, and keeps the connections between them.

    `hello_name` names us in EHLO; None takes the connection's own address literal.
    """

    def __init__(
        self,
        io: Io,
        *,
        hello_name: str | None = None,
        contexts: Contexts = Contexts(),  # noqa: B008 - frozen
        timeouts: Timeouts = Timeouts(),  # noqa: B008 - frozen
        pool: PoolLimits = PoolLimits(),  # noqa: B008 - frozen
    ) -> None:
        self._io = io
        self._hello_name = hello_name
        self._contexts = contexts
        self._timeouts = timeouts
        self._pool = IdleConnections(pool, io)
        self._cleartext = Remembered(REMEMBER_SECONDS, io)
        self._without_chunks = Remembered(REMEMBER_SECONDS, io)

    async def make(
        self,
        next_hop: NextHop,
        message: Message,
        recipients: Sequence[str],
        *,
        deadline: float = inf,
        transcript: Transcript | None = None,
    ) -> dict[str, Result]:
        """One attempt. `deadline` (by `Io.now`) bounds all of it, the reply to the final dot included. `transcript` is given what
        happened.

        Raises ValueError for an address that cannot be sent (a line break in it), OSError where the body cannot be read.
        """
        transcript = transcript or Transcript()
        results: dict[str, Result] = {}
        waiting = list(dict.fromkeys(recipients))
        left = candidates(next_hop)
        until = min(deadline, self._io.now() + ATTEMPT_SECONDS)
        while waiting:
            try:
                transaction = await self._transaction(next_hop, left, message, waiting, deadline, until, transcript)
            except SMTPError as error:
                failure = Result(Stage.SESSION, error.reply, error, error.peer)
                for recipient in waiting:
                    results.setdefault(recipient, failure)
                break
            judged, again = judge(transaction)
            results |= judged
            waiting = again + _behind(transaction.batch, waiting)
            if waiting and transaction.trouble is None:
                # There are more recipients than one transaction takes, and nothing is wrong with the host.
                left = candidates(next_hop)
        return results

    async def session(self, next_hop: NextHop, *, deadline: float = inf) -> Connection:
        """A session with the first host that has one for us; it is the caller's to end, or to have kept. Raises SMTPError."""
        return await self._open(next_hop, candidates(next_hop), deadline, Transcript())

    def keep(self, next_hop: NextHop, connection: Connection) -> None:
        """Take a session with the next hop, for the attempts to come."""
        self._pool.put(_key(next_hop), connection)

    def idle(self, next_hop: NextHop) -> Connection | None:
        """A session that is idle, where there is one; the caller gives it back by `keep`."""
        return self._pool.take(_key(next_hop))

    def may_go_on(self, connection: Connection) -> bool:
        """Whether one more transaction may begin on it."""
        return self._pool.may_go_on(connection)

    def forget(self) -> None:
        """Close the idle connections without a word: they are those of the process that forked this one."""
        self._pool.forget()

    async def close(self) -> None:
        """Close the idle connections; the others when their attempt ends."""
        await self._pool.close()

    async def _transaction(
        self,
        next_hop: NextHop,
        left: Iterator[Candidate],
        message: Message,
        recipients: Sequence[str],
        deadline: float,
        until: float,
        transcript: Transcript,
    ) -> Transaction:
        key = _key(next_hop)
        connection = self._pool.take(key)
        if connection is not None:
            transaction = await self._carried(connection, message, recipients, deadline)
            self._pool.put(key, connection)
            transcript.add(transaction)
            # It had been closed on the other side while it was idle. Nothing was accepted, so it is as if never tried.
            if not transaction.is_untouched:
                return transaction
        connection = await self._open(next_hop, left, until, transcript)
        transaction = await self._carried(connection, message, recipients, deadline)
        self._pool.put(key, connection)
        transcript.add(transaction)
        return transaction

    async def _carried(self, connection: Connection, message: Message, recipients: Sequence[str], deadline: float) -> Transaction:
        """A transaction. To a host that offers CHUNKING and knows no BDAT (something in between may know no more than old
        commands) content is not sent so again: it took it for commands."""
        transaction = await connection.transaction(message, recipients, deadline=deadline)
        if not connection.takes_chunks:
            self._without_chunks.note(connection.peer.host)
        return transaction

    async def _open(self, next_hop: NextHop, left: Iterator[Candidate], until: float, transcript: Transcript) -> Connection:
        """A session with the first candidate that has one for us. Raises SMTPError."""
        failures: list[SMTPError] = []
        until = min(until, self._io.now() + self._timeouts.opening)
        for host, address in left:
            if self._io.now() >= until:
                transcript.add("no time is left for the other hosts and addresses")
                break
            try:
                return await self._session(next_hop, host, address, until, transcript)
            except AuthenticationFailed as error:
                transcript.add(error)
                raise  # the same password is not carried from host to host
            except (ConnectionFailed, TlsError) as error:
                error.peer, error.port = error.peer or Peer(host.name, address or ""), host.port
                transcript.add(error)
                failures.append(error)
        # RFC 7504 §3, RFC 5321 §3.1: refused for good only where every host says so.
        if failures:
            raise next((error for error in reversed(failures) if error.is_temporary), failures[-1])
        raise ConnectionFailed("no host is left to try, or no time")

    async def _session(
        self, next_hop: NextHop, host: Host, address: str | None, until: float, transcript: Transcript
    ) -> Connection:
        demand = next_hop.tls
        if demand is Tls.OPPORTUNISTIC and host.name in self._cleartext:
            demand = Tls.OFF
        try:
            return await self._open_session(next_hop, host, address, demand, until)
        except TlsError as error:
            if demand is not Tls.OPPORTUNISTIC:
                raise
            transcript.add(error)
            transcript.add("TLS was not demanded: once more, in clear")
        # RFC 7435 §3: no TLS to be had is no reason not to deliver, where none was demanded. On a new connection, for the old
        # one is in no known state.
        self._cleartext.note(host.name)
        return await self._open_session(next_hop, host, address, Tls.OFF, until)

    async def _open_session(self, next_hop: NextHop, host: Host, address: str | None, demand: Tls, until: float) -> Connection:
        connection = await open_session(
            self._io,
            host,
            address,
            tls=demand,
            contexts=self._contexts,
            hello_name=self._hello_name,
            timeouts=self._timeouts,
            credentials=next_hop.credentials,
            deadline=until,
            lmtp=next_hop.lmtp,
        )
        connection.takes_chunks = host.name not in self._without_chunks
        return connection


def _key(next_hop: NextHop) -> Hashable:
    """What sessions have in common that may be used one for another."""
    return next_hop.key, next_hop.tls, next_hop.credentials


def _behind(batch: Sequence[str], waiting: list[str]) -> list[str]:
    """Those that were not in the batch."""
    if len(batch) == len(waiting):
        return []
    done = set(batch)
    return [recipient for recipient in waiting if recipient not in done]
