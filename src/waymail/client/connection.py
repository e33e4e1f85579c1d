"""One connection to a server and the transactions on it: the hot path of delivery.

`Line` says commands and hears replies; here is what a transaction is made of. Content goes by BDAT where CHUNKING is offered (RFC
3030), else by DATA. With PIPELINING a small message goes with its commands in one group, and is one round trip.

How it fails: whatever ends the connection is recorded once in `trouble`; `transaction` does not raise for it, it returns
with the replies that came. Being interrupted in the middle aborts the connection, for nobody knows then where it stands.

`session.open_session` makes connections that are ready for a transaction.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

from waymail.client.content import BLOCK, Content, Unfit, content_for
from waymail.client.fit import RECIPIENT_NOT_ASCII, SENDER_NOT_ASCII, refusal, spelling
from waymail.client.line import Line
from waymail.client.transaction import Message, Timeouts, Transaction
from waymail.mail.envelope import NO_OPTIONS
from waymail.mail.options import mail_parameters, rcpt_parameters
from waymail.wire.client import EndOfContent, Response
from waymail.wire.commands import Bdat, Command, Data, Mail, Rcpt, Reset
from waymail.wire.data import BareLineEnd
from waymail.wire.replies import Reply

__all__ = ["BLOCK", "Connection"]

GROUPED_CHUNK = 65_536  # octets of content that are sent without waiting whether anybody is to get them
# What a server says that does not know BDAT, or does not take it where it stands.
_NO_BDAT = (500, 502, 503)
BARE_LINE_END = Reply(550, "the message has a line that ends in a bare CR or LF", "5.6.11")


@dataclass(slots=True)
class _Plan:
    """What is sent in one transaction. `spelled` has the recipients that go in another form than they were given in."""

    mail: Mail
    recipients: list[Rcpt]
    content: Content
    spelled: dict[str, str]


@dataclass(slots=True)
class Begun:
    """A transaction that overlaps with its neighbours (`stream`). `plan` is None where all is decided before anything is sent.

    `is_open`: the server waits for its content. `is_void`: nothing is decided about it and nothing of its content was sent, so it
    is to be tried by itself.
    """

    result: Transaction
    plan: _Plan | None
    deadline: float = inf
    is_open: bool = False
    is_void: bool = False


class Connection(Line):
    """A connection, of whichever kind. Not to be used by two at a time."""

    def __init__(self, host: str, timeouts: Timeouts) -> None:
        super().__init__(host, timeouts)
        self.messages = 0  # transactions begun
        self._needs_reset = False
        self.takes_chunks = True  # until BDAT is refused as a command that is not known

    @property
    def most_messages(self) -> int | None:
        """How many transactions the server takes in one session (RFC 9422 §3)."""
        return self.offer.most_messages

    async def transaction(self, message: Message, recipients: Sequence[str], *, deadline: float = inf) -> Transaction:
        """Send a message to those of `recipients` that one transaction takes: the first ones, as a rule.

        `deadline` (by `now`) bounds it all. Raises ValueError for an address that cannot be sent, OSError where the body's
        file cannot be read; the connection is of no use then.
        """
        self.heard = []
        result = self._begun(recipients)
        try:
            plan = await self._plan(message, result)
            if plan is not None:
                await self._carry_out(result, plan, deadline)
                if self._is_bdat_refused(result, plan):
                    self.takes_chunks = False
                    result.final = None
                    if self.trouble is None:
                        result = self._begun(recipients)
                        plan = await self._plan(message, result)
                        if plan is not None:
                            await self._carry_out(result, plan, deadline)
        except BareLineEnd:
            if self._needs_reset:
                self.abort()  # there is no other way to take back content that was sent in part
            result.final = BARE_LINE_END
        except BaseException:
            self.abort()
            raise
        if not result.is_decided:
            result.trouble = self.trouble
            result.unanswered = tuple(self.core.pending)
        return result

    # --- transactions that overlap

    @property
    def can_overlap(self) -> bool:
        """Whether content and the beginning of the next transaction may leave together, and whether that helps: with CHUNKING a
        transaction is one round trip as it is."""
        return self.is_usable and self.offer.pipelining and not self.is_lmtp and not (self.offer.chunking and self.takes_chunks)

    async def prepared(self, message: Message, recipients: Sequence[str], deadline: float) -> Begun:
        """A transaction for `exchange`, of which nothing is sent yet. Only for what one transaction takes, in memory."""
        result = self._begun(recipients)
        try:
            return Begun(result, await self._plan(message, result), deadline)
        except BareLineEnd:
            result.final = BARE_LINE_END
            return Begun(result, None, deadline)

    def pass_on(self, current: Begun | None, following: Begun | None) -> None:
        """Send the content of the `current` transaction, which is open, and with it the commands of the following one, in one
        write. RFC 2920 §3.1: the end of content may have commands behind it."""
        self.heard = []
        octets = b""
        self._limit = inf
        if current is not None and current.plan is not None and self.trouble is None:
            octets = current.plan.content.whole or b""
            self.core.content_sent()
            current.is_open = False
            self._limit = current.deadline
        if following is not None and following.plan is not None and self.trouble is None:
            plan = following.plan
            opening: list[Command] = [plan.mail, *plan.recipients, Data()]
            if current is None and self._needs_reset:
                opening.insert(0, Reset())
            try:
                octets += self.core.send(*opening)
            except ValueError:  # an address that cannot be sent: by itself, it is told so
                following.is_void = True
            else:
                self.messages += 1
                self._needs_reset = True
                self._limit = min(self._limit, following.deadline)
        self.put(octets)

    async def pass_over(self, current: Begun | None, following: Begun | None) -> None:
        """Hear what is answered to both: then the current one is decided, and the following one open, decided or void."""
        try:
            responses = await self.replies(self.timeouts.command if current is None else self.timeouts.final)
            final = None
            if responses and type(responses[0].command) is EndOfContent:
                final = responses.pop(0).reply
            is_certain = not (responses or self.is_late)
            if following is not None and following.plan is not None and not following.is_void:
                go = self._sort(following.result, responses)
                self._name_as_given(following.result, following.plan)
                is_complete = self._is_in_turn(following.result, go)
                is_certain = is_certain or is_complete
                if is_complete and self.trouble is None:
                    await self._go_on(following, go, was_refused=final is not None and not final.is_positive)
                if self.trouble is not None:
                    following.is_void = True
            else:
                is_certain = True
                self._needs_reset = final is None or not final.is_positive
            if current is not None:
                self._close(current, final if is_certain else None)
        except BaseException:
            self.abort()
            raise

    def _is_in_turn(self, result: Transaction, go: Reply | None) -> bool:
        """Whether each command has a reply that can be its own. 354 where it is not due, or no 354 where content is due, shows
        that one reply too many came, or one too few: then the reply before them may be another's, too."""
        replies = [*result.recipients.values(), *((result.mail,) if result.mail is not None else ())]
        if any(reply.is_intermediate for reply in replies) or (go is not None and go.code != 354 and go.code < 400):
            self.end("answered out of turn")
            return False
        return go is not None

    async def _go_on(self, following: Begun, go: Reply | None, *, was_refused: bool) -> None:
        result = following.result
        is_asked = go is not None and go.code == 354
        if was_refused and (result.mail is None or not result.mail.is_positive):
            # It may hold on to the transaction before, whose content it refused: what came now would go to that one's recipients.
            following.is_void = True
            if is_asked:
                self.end(f"asks for content after {result.mail}")
        elif is_asked:
            following.is_open = result.has_accepted
            if not following.is_open:
                await self._send_nothing()
        elif result.has_accepted:
            result.final = go

    def _close(self, current: Begun, final: Reply | None) -> None:
        """What the reply to the content means, or its absence."""
        result = current.result
        if final is not None and final.is_intermediate:
            self.end(f"answered the content with {final}")
            final = None
        result.final = final
        if final is None:
            result.trouble = self.trouble
            result.uncertain = not current.is_open  # then it was sent; how far nobody can know

    def _begun(self, recipients: Sequence[str]) -> Transaction:
        offer = self.offer
        return Transaction(
            offer.batch(recipients),
            self.peer,
            lmtp=self.is_lmtp,
            offers_dsn=offer.dsn,
            offers_deliver_by=offer.shortest_by is not None,
            number=self.messages + 1,
            opening=self.opening,
            heard=self.heard,
        )

    # --- what is sent, decided before anything is

    async def _plan(self, message: Message, result: Transaction) -> _Plan | None:
        """Puts the replies that are known beforehand into `result`; None where nothing is left to be sent."""
        offer, options = self.offer, message.options
        if offer.size and message.body.size > offer.size:
            # RFC 1870 §6.1: what is known to be too large is not sent at all.
            result.final = Reply(
                552, f"{message.body.size} octets are more than the {offer.size} that the next host takes", "5.3.4"
            )
            return None
        if options is not NO_OPTIONS:
            result.final = refusal(
                options,
                message.sender,
                offer,
                verified=self.is_verified,
                local=self.is_local,
                lmtp=self.is_lmtp,
                now=time.time(),
            )
            if result.final is not None:
                return None
        chunks = offer.chunking and self.takes_chunks
        try:
            if isinstance(message.body.content, bytes) and message.body.size <= BLOCK:
                content = content_for(message, offer, chunks=chunks)
            else:
                content = await self.offload(content_for, message, offer, chunks=chunks)
        except Unfit as unfit:
            result.final = unfit.reply
            return None
        parameters: dict[str, str | None] = {}
        if offer.has_size:
            parameters["SIZE"] = str(content.size)
        if content.body:
            parameters["BODY"] = content.body
        if options is not NO_OPTIONS:
            parameters |= mail_parameters(options, offer.extensions, time.time(), authenticated=self.is_authenticated)
        return self._addressed(message, result, parameters, content)

    def _addressed(
        self, message: Message, result: Transaction, parameters: dict[str, str | None], content: Content
    ) -> _Plan | None:
        sender, recipients, spelled = message.sender, result.batch, {}
        if not (sender.isascii() and all(map(str.isascii, recipients))):
            utf8 = self.offer.utf8
            if (
                "SMTPUTF8" not in parameters
                and utf8
                and not all(spelling(one, utf8=False) for one in (sender or "-", *recipients))
            ):
                parameters["SMTPUTF8"] = None  # an alias led to an address that needs it
            utf8 = "SMTPUTF8" in parameters
            sent_as = spelling(sender, utf8=utf8)
            if sent_as is None:
                result.mail = SENDER_NOT_ASCII
                return None
            sender = sent_as
            for recipient in recipients:
                form = spelling(recipient, utf8=utf8)
                if form is None:
                    result.recipients[recipient] = RECIPIENT_NOT_ASCII
                elif form != recipient:
                    spelled[recipient] = form
            recipients = list(dict.fromkeys(spelled.get(one, one) for one in recipients if one not in result.recipients))
            if not recipients:
                return None
        if self.offer.dsn and message.recipients:
            asked = {spelled.get(one.address, one.address): one for one in message.recipients}
            of = (self.offer.extensions, message.options)
            commands = [Rcpt(one, rcpt_parameters(asked[one], *of)) if one in asked else Rcpt(one) for one in recipients]
        else:
            commands = [Rcpt(recipient) for recipient in recipients]
        return _Plan(Mail(sender, parameters), commands, content, spelled)

    # --- the transaction

    async def _carry_out(self, result: Transaction, plan: _Plan, deadline: float) -> None:
        self.messages += 1
        self._limit = min(self.now() + self.timeouts.transaction, deadline)
        opening: list[Command] = [Reset(), plan.mail] if self._needs_reset else [plan.mail]
        opening += plan.recipients
        self._needs_reset = True
        if plan.content.chunk < 0:
            await self._by_data(result, plan, opening, deadline)
        else:
            await self._by_chunk(result, plan, opening, deadline)
        self._name_as_given(result, plan)

    @staticmethod
    def _name_as_given(result: Transaction, plan: _Plan | None) -> None:
        """Replies about recipients that were spelled otherwise are to be found by their own names."""
        for recipient, form in plan.spelled.items() if plan is not None else ():
            for replies in (result.recipients, result.finals):
                if form in replies:
                    replies[recipient] = replies[form]

    async def _by_data(self, result: Transaction, plan: _Plan, opening: list[Command], deadline: float) -> None:
        if self.offer.pipelining:
            # RFC 2920 §3.1: RSET, MAIL and RCPT may stand anywhere in a group, DATA last.
            go = self._sort(result, await self.ask(self.timeouts.command, *opening, Data()))
        elif await self._one_by_one(result, opening):
            go = self._sort(result, await self.ask(self.timeouts.data, Data()))
        else:
            return
        if go is None:
            return
        if go.code != 354:
            if go.is_positive:
                self.end(f"answered DATA with {go}")
            elif result.has_accepted:
                result.final = go
        elif result.has_accepted:
            await self._send_content(result, plan.content, deadline)
        else:
            await self._send_nothing()

    async def _send_nothing(self) -> None:
        """RFC 2920 §3.1: the server wants content although no recipient stands. A lone dot; it must send that nowhere."""
        self.put(b".\r\n")
        self.core.content_sent()
        await self.replies(self.timeouts.final)

    async def _by_chunk(self, result: Transaction, plan: _Plan, opening: list[Command], deadline: float) -> None:
        """RFC 3030 §2: the whole content is one chunk. Where it is small it does not wait for the replies to MAIL and RCPT, which
        decide nothing that a server does not decide by itself: it throws the chunk away where no recipient stands.

        In LMTP it waits, for there a chunk for nobody is answered by nothing (RFC 2033 §4.3).
        """
        content = plan.content
        bdat = Bdat(content.chunk, last=True)
        if self.offer.pipelining and not self.is_lmtp and content.whole is not None and content.chunk <= GROUPED_CHUNK:
            octets = self.core.send(*opening, bdat)
            if content.chunk:
                self.core.chunk_sent()
            is_complete = self.put(octets + content.whole)
            responses = await self.replies(self.timeouts.final)
            self._sort(result, responses)
            self._conclude(result, responses)
            result.uncertain = result.uncertain and is_complete
            return
        if self.offer.pipelining:
            self._sort(result, await self.ask(self.timeouts.command, *opening))
        else:
            await self._one_by_one(result, opening)
        if result.has_accepted and self.trouble is None:
            self.put(self.core.send(bdat))
            await self._send_content(result, content, deadline)

    async def _one_by_one(self, result: Transaction, opening: list[Command]) -> bool:
        """Whether content may follow."""
        for command in opening:
            self._sort(result, await self.ask(self.timeouts.command, command))
            if self.trouble is not None:
                return False
            if result.mail is not None and not result.mail.is_positive:
                return False
        return result.has_accepted

    def _sort(self, result: Transaction, responses: list[Response]) -> Reply | None:
        """Put the replies where they belong; returns the one to DATA."""
        go = None
        for response in responses:
            match response.command:
                case Rcpt(recipient):
                    result.recipients[recipient] = response.reply
                case Mail():
                    result.mail = response.reply
                case Data():
                    go = response.reply
                case EndOfContent():
                    result.final = response.reply  # it came with the 354
        return go

    async def _send_content(self, result: Transaction, content: Content, deadline: float) -> None:
        if content.whole is not None:
            last = await self._write_all_but_last(content.whole)
        else:
            last = await self._write_file_but_last(content)
        if self.put(last):
            if content.chunk < 0:
                self.core.content_sent()
            elif content.chunk:
                self.core.chunk_sent()
            self._limit = deadline
        elif self.core.owes_content and not self._responses:
            return  # not all of it went out: nothing was taken
        self._conclude(result, await self.replies(self.timeouts.final))

    def _conclude(self, result: Transaction, responses: list[Response]) -> None:
        """Put the replies to the content where they belong."""
        answered = False
        for response in responses:
            match response.command:
                case EndOfContent(recipient) if recipient:
                    result.finals[recipient] = response.reply
                case EndOfContent() | Bdat() if result.has_accepted or not isinstance(response.command, Bdat):
                    result.final = response.reply
                case Bdat():
                    answered = True  # it was for nobody
        if result.final is not None and result.final.is_intermediate:
            self.end(f"answered the content with {result.final}")
            result.final = None
            result.uncertain = True
        elif result.final is not None:
            self._needs_reset = not result.final.is_positive
        elif result.finals:
            result.uncertain = len(result.finals) < sum(reply.is_positive for reply in result.recipients.values())
            self._needs_reset = result.uncertain
        elif not answered and self.trouble is not None:
            # Nobody has it where nobody was to get it, or where the host said 421 in place of an answer.
            is_open = result.has_accepted or any(isinstance(command, (Mail, Rcpt)) for command in self.core.pending)
            result.uncertain = is_open and self.trouble.reply is None

    def _is_bdat_refused(self, result: Transaction, plan: _Plan) -> bool:
        """Whether the host offered CHUNKING and does not know BDAT: DATA will do, but for BINARYMIME."""
        final = result.final
        return final is not None and plan.content.chunk >= 0 and final.code in _NO_BDAT and not plan.content.is_binary

    # --- writing

    async def _write_all_but_last(self, whole: bytes) -> bytes:
        """Write the octets, as fast as the peer takes them, up to their last block, which is returned."""
        at = 0
        while len(whole) - at > BLOCK:
            if not await self.write(whole[at : at + BLOCK]):
                return b""
            at += BLOCK
        return whole[at:] if at else whole

    async def _write_file_but_last(self, content: Content) -> bytes:
        pieces = content.pieces()
        waiting = b""
        left = content.chunk
        while (piece := await self.offload(next, pieces, None)) is not None:
            if waiting and not await self.write(waiting):
                return b""
            waiting = piece
            left -= len(piece)
        if content.chunk >= 0 and left:
            raise OSError("the body's file is not as long as it was")
        return waiting
