"""Delivery over SMTP and LMTP: an attempt of the client core, told as outcomes.

Promises an outcome for every recipient whatever the other side does, and keeps apart what is about the message (the other
side's own reply), and what is about the destination (`Deferred` with `destination_down`, with a text of ours that tells
nobody more than he may know; `cause` has the details for the operator). A reply that was lost after the final dot is
`Deferred` with `uncertain`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace

from waymail.client.asynchronous import AsyncIo
from waymail.client.attempt import Attempts, Result, Stage, is_too_many
from waymail.client.errors import AuthenticationFailed, ConnectionFailed, Disconnected, SMTPError, TlsError, UncertainDelivery
from waymail.client.pool import PoolLimits
from waymail.client.session import Contexts
from waymail.client.target import NextHop
from waymail.client.transaction import Message, Timeouts
from waymail.client.transcript import Transcript
from waymail.delivery.forwarding import Forwarding
from waymail.mail.envelope import NO_OPTIONS, Body, Envelope, Recipient
from waymail.mail.outcome import Deferred, Delivered, Failed, Outcome, Peer
from waymail.net.network import DIRECT, Network
from waymail.net.streams import format_address
from waymail.wire.replies import Reply

__all__ = ["ATTEMPT", "SmtpTransport", "outcome_of"]

ATTEMPT = 2_400.0  # seconds for one attempt in all; the claim of what is attempted must not run out meanwhile


class SmtpTransport:
    """Carries messages to other servers. One for the whole process: it holds the connections that are kept for reuse.

    `hello_name` is what we call ourselves in EHLO: this host's fully qualified name (RFC 5321 §4.1.1.1), None for its address.
    `idle_seconds` is how long a connection waits for the next message. `forwarding` says from whom what is forwarded goes on,
    `network` how the hosts are reached.
    """

    def __init__(
        self,
        *,
        hello_name: str | None,
        idle_seconds: float = PoolLimits().idle_seconds,
        contexts: Contexts = Contexts(),  # noqa: B008 - frozen
        timeouts: Timeouts = Timeouts(),  # noqa: B008 - frozen
        forwarding: Forwarding | None = None,
        network: Network = DIRECT,
    ) -> None:
        self._forwarding = forwarding
        pool = PoolLimits(idle_seconds=idle_seconds)
        self._attempts = Attempts(AsyncIo(network), hello_name=hello_name, contexts=contexts, timeouts=timeouts, pool=pool)

    async def deliver(
        self, next_hop: NextHop, envelope: Envelope, body: Body, recipients: Sequence[Recipient]
    ) -> dict[str, Outcome]:
        """One attempt, as the public `send` makes it; the outcome of each recipient by its address.

        What was not delivered has the attempt's whole dialogue, that of all recipients. Bounded: five addresses, five minutes
        until one of them has a session for us, each step within RFC 5321 §4.5.3.2, and `ATTEMPT` in all. Raises only for bugs,
        and OSError where the body's file cannot be read.
        """
        deadline = asyncio.get_running_loop().time() + ATTEMPT
        if self._forwarding is None or all(one.original is None for one in recipients):
            return await self._deliver(next_hop, envelope, body, envelope.sender, recipients, deadline)
        outcomes: dict[str, Outcome] = {}
        for sender, some in self._forwarding.by_sender(envelope, recipients):
            outcomes |= await self._deliver(next_hop, envelope, body, sender, some, deadline)
        return outcomes

    async def _deliver(
        self, next_hop: NextHop, envelope: Envelope, body: Body, sender: str, recipients: Sequence[Recipient], deadline: float
    ) -> dict[str, Outcome]:
        options = envelope.options
        if options is not NO_OPTIONS and options.hold:
            # RFC 4865 §4.2: the time is over; the server that was asked has held it, and no other one is asked.
            options = replace(options, hold="", hold_until=0.0)
        message = Message(sender, body, envelope.body, options, recipients)
        transcript = Transcript()
        addresses = [recipient.address for recipient in recipients]
        results = await self._attempts.make(next_hop, message, addresses, deadline=deadline, transcript=transcript)
        return outcomes_of(results, transcript)

    async def close(self) -> None:
        """Close the idle connections, within seconds."""
        await self._attempts.close()


def outcomes_of(results: Mapping[str, Result], transcript: Transcript) -> dict[str, Outcome]:
    """The outcome of each recipient; what was not delivered has the attempt's dialogue."""
    dialogue: tuple[str, ...] = ()
    shared: dict[int, Outcome] = {}
    outcomes: dict[str, Outcome] = {}
    for address, result in results.items():
        outcome = shared.get(id(result))
        if outcome is None:
            outcome = outcome_of(result)
            if not isinstance(outcome, Delivered):
                dialogue = dialogue or transcript.lines()
                outcome = replace(outcome, dialogue=dialogue)
            shared[id(result)] = outcome
        outcomes[address] = outcome
    return outcomes


def outcome_of(result: Result) -> Outcome:
    """What the queue has to know of a result."""
    reply = result.reply
    if result.trouble is not None:
        return _of_trouble(result.trouble, result.peer, result.stage)
    # RFC 5321 §4.2.1, §4.3.2: the first digit counts. 3yz makes no sense here, and may make sense another time.
    if result.is_accepted and reply is not None:
        return Delivered(reply, result.peer, result.final, result.dsn, result.deliver_by)
    if reply is not None and reply.is_permanent and not is_too_many(reply):
        return Failed(reply, result.peer)
    reply = reply or Reply(451, "no reply came", "4.4.2")
    return Deferred(reply, result.peer, destination_down=_blames_host(reply, result.stage))


def _blames_host(reply: Reply, stage: Stage) -> bool:
    """Whether a failure for now is about the host and not about this message.

    A host that greets us and then breaks off may do so because of the message: others must not wait for that. But 421 is
    about the service (RFC 5321 §3.8), unless it answers the content.
    """
    return stage is Stage.SESSION or (reply.code == 421 and stage is not Stage.CONTENT)


def _of_trouble(trouble: SMTPError, peer: Peer | None, stage: Stage) -> Outcome:
    where = peer.host if peer else "the next host"
    where = where if trouble.port in (0, 25) else format_address(where, trouble.port)
    if isinstance(trouble, Disconnected):
        uncertain = isinstance(trouble, UncertainDelivery)
        reply = trouble.reply or Reply(451, f"the connection to {where} was lost", "4.4.2")
        return Deferred(reply, peer, uncertain=uncertain, destination_down=_blames_host(reply, stage), cause=str(trouble))
    if isinstance(trouble, TlsError):
        # RFC 3463 §3.8: 4.7.5, cryptographic failure.
        reply = Reply(454, f"TLS with {where} was demanded and failed", "4.7.5")
        return Deferred(reply, peer, destination_down=True, cause=str(trouble))
    if isinstance(trouble, AuthenticationFailed):
        # The password is the operator's to mend; the message can wait for that.
        reply = Reply(454, f"authentication with {where} failed", "4.7.0")
        return Deferred(reply, peer, destination_down=True, cause=str(trouble))
    if trouble.reply is not None and trouble.reply.is_permanent:
        # RFC 7504 §3: 521, this host never takes mail; RFC 5321 §3.1: 554. All hosts said so, or there is only one.
        return Failed(trouble.reply, peer)
    why = f": {trouble.why}" if isinstance(trouble, ConnectionFailed) and trouble.why else ""
    reply = trouble.reply or Reply(451, f"no connection to {where}{why}", "4.4.1")
    return Deferred(reply, peer, destination_down=True, cause=str(trouble))
