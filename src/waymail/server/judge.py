"""The reception of an "mx" listener that judges who sends: what is asked when, and what the answers come to.

    connect, MAIL   the policy's hooks, where there are any
    RCPT            Inbound says whether the recipient exists. Only then is DNS asked about client and sender, once a message;
                    block lists, DNS lists and what else speaks against the client decide; then rates and greylisting
    the content     is hashed for DKIM and ARC while it comes in
    the end         DKIM, ARC and DMARC are asked; the rules decide; the policy may decide otherwise; the results are written
                    into an Authentication-Results field, and fields that claim to be ours are taken out

Promises: a message is refused at RCPT or at its end, and never returned later for what this judges; clients that are trusted, and
users, are not judged and wait for nothing; postmaster and abuse can always be reached. Whatever decided is in the history,
with each question to DNS and its answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from waymail.mail import address as addresses
from waymail.mail.envelope import Recipient
from waymail.senderauth import authres
from waymail.senderauth.verdict import Evidence, Rules, Verdict, decide, override_of
from waymail.server import policy
from waymail.server.checks import Asking, Checks, Signatures
from waymail.server.early_talker import EarlyTalkers
from waymail.server.greylist import Greylist
from waymail.server.hooks import Hook, Hooks
from waymail.server.inbound import Inbound
from waymail.server.judgement import judged_event, results_field, verdict_field, without_forgeries
from waymail.server.reception import BodyTaker, Client, Judged, Networks, Reception, Soon, Transaction
from waymail.server.sender_rates import SenderRates
from waymail.server.soon import at_once
from waymail.store.contract import Event
from waymail.wire.offer import Offer
from waymail.wire.replies import Reply

T = TypeVar("T")

# RFC 5321 §4.5.1, RFC 2142 §4 and §5: where people turn who were refused.
SPARED = frozenset({"postmaster", "abuse"})

POLICY = "policy"  # the rule that decided, where it was the operator's policy
NOT_FORWARDED = "not_forwarded"  # the same, where an alias leads elsewhere and nobody is left to have the message
# RFC 3463 §3.8: X.7.1, delivery not authorized.
WITHHELD = Reply(550, "this address forwards mail, and does not forward what is not authenticated as its author's", "5.7.1")


@dataclass(slots=True)
class Inquiry:
    """What the judge knows of one message: `Transaction.evidence`."""

    asking: Asking
    evidence: Evidence | None = None
    signatures: Signatures | None = None
    is_spared: bool = True  # as long as all its recipients are
    addresses: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Settings:
    """What the operator has set. `folder` is where quarantined mail goes, "" where a header field is all."""

    authserv_id: str
    rules: Rules
    trusted: Networks
    folder: str = "Junk"


@dataclass(frozen=True, slots=True)
class Memory:
    """What is remembered of those who sent before. None is what the operator does without."""

    early_talkers: EarlyTalkers | None = None
    rates: SenderRates | None = None
    greylist: Greylist | None = None

    def refuses(self, evidence: Evidence, recipient: str, now: float, *, is_first: bool) -> Reply | None:
        """Whether the sender has to come again later. `is_first`: it is the first recipient of the message."""
        spf = evidence.spf
        vouched = spf.domain if spf is not None and spf.result == "pass" and spf.identity == "mailfrom" else ""
        ip, sender = evidence.ip, evidence.sender
        if self.rates is not None:
            exceeded = self.rates.allows(ip, sender, now, messages=int(is_first), recipients=1, vouched=bool(vouched))
            if exceeded is not None:
                return exceeded.reply
        # RFC 6647 §2.7: who is on a list of good senders in DNS need not come again.
        is_good = evidence.dnsbl is not None and evidence.dnsbl.is_allowed
        if self.greylist is None or is_good:
            return None
        wait = self.greylist.judge(ip, sender, recipient, now, vouched=vouched)
        return None if wait is None else wait.reply


class Judge(Reception):
    """Stands in front of `Inbound`, which knows who is local."""

    takes_bodies = True

    def __init__(
        self,
        inbound: Inbound,
        checks: Checks,
        hooks: Hooks,
        settings: Settings,
        memory: Memory = Memory(),
        *,
        now: Callable[[], float],
    ) -> None:
        self.edit: Callable[[Client, bytes], bytes] | None = self._without_forgeries
        self._inbound = inbound
        self._checks = checks
        self._hooks = hooks
        self._settings = settings
        self._memory = memory
        self._now = now

    def offer(self, base: Offer, client: Client) -> Offer:
        """As without a judge."""
        return self._inbound.offer(base, client)

    def judges(self, client: Client) -> bool:
        """Whether the client is a stranger. Who has no address is a program of this machine."""
        return bool(client.address) and not client.user and client.address not in self._settings.trusted

    # --- connect and MAIL: nothing is asked yet but the policy ---

    def connect(self, client: Client) -> Soon[Reply | None]:
        """Everybody may, unless the policy says otherwise; who is not known is greeted late, to see whether it can wait."""
        early = self._memory.early_talkers
        delay = early.delay(client.address, self._now()) if early is not None else 0.0
        if (delay or self._hooks.has("connect")) and self.judges(client):
            return self._connected(client, delay)
        return None

    async def _connected(self, client: Client, delay: float) -> Reply | None:
        if delay:
            await asyncio.sleep(delay)
        if self._memory.early_talkers is not None:
            self._memory.early_talkers.greeted(client.address, self._now(), talked_early=client.talked_early)
        return await self._refused_by_policy("connect", policy.client_of(client))

    def mail(self, client: Client, transaction: Transaction) -> Soon[Reply | None]:
        """As without a judge, and as the policy says."""
        reply = self._inbound.mail(client, transaction)
        if not self.judges(client) or (reply is not None and not reply.is_positive):
            return reply
        transaction.evidence = Inquiry(self._checks.asking())
        if self._hooks.has("mail"):
            return self._mail_by_policy(client, transaction, reply)
        return reply

    async def _mail_by_policy(self, client: Client, transaction: Transaction, reply: Reply | None) -> Reply | None:
        return await self._refused_by_policy("mail", policy.Sender(policy.client_of(client), transaction.sender)) or reply

    async def _refused_by_policy(self, hook: Hook, what: object) -> Reply | None:
        decision = await self._hooks.ask(hook, what)
        return decision.reply if isinstance(decision, policy.Refuse) else None

    # --- RCPT ---

    def rcpt(self, client: Client, transaction: Transaction, recipient: str) -> Soon[Sequence[Recipient] | Reply | Judged]:
        """First whether the recipient exists: for one that does not, nobody has to be asked."""
        found = self._inbound.rcpt(client, transaction, recipient)
        inquiry = transaction.evidence
        if isinstance(found, Reply) or not isinstance(inquiry, Inquiry):
            return found
        return self._soon("rcpt", self._rcpt(client, transaction, recipient, found, inquiry))

    async def _rcpt(
        self, client: Client, transaction: Transaction, recipient: str, found: Sequence[Recipient], inquiry: Inquiry
    ) -> Sequence[Recipient] | Reply | Judged:
        evidence = await self._of_envelope(client, transaction, inquiry)
        is_spared = addresses.folded(addresses.mailbox_name(recipient)) in SPARED
        verdict = decide(evidence, self._settings.rules, "rcpt", is_spared=is_spared)
        if self._hooks.has("rcpt"):
            asked = policy.Recipient(policy.client_of(client), transaction.sender, recipient, evidence)
            verdict = self._by_policy(await self._hooks.ask("rcpt", asked), verdict, evidence)
        if verdict.reply is not None:
            return Judged(verdict.reply, events=(judged_event(self._now(), verdict, evidence, inquiry.asking.record),))
        if not is_spared and verdict.rule not in ("allow_list", POLICY):
            is_first = not inquiry.addresses
            if (reply := self._memory.refuses(evidence, recipient, self._now(), is_first=is_first)) is not None:
                return reply
        inquiry.is_spared = inquiry.is_spared and is_spared
        inquiry.addresses.append(recipient)
        return found

    async def _of_envelope(self, client: Client, transaction: Transaction, inquiry: Inquiry) -> Evidence:
        if inquiry.evidence is None:
            ip = client.address.partition("%")[0]  # a link-local address may name its interface
            inquiry.evidence = await self._checks.of_envelope(
                inquiry.asking, ip, client.helo, transaction.sender, talked_early=client.talked_early, now=self._now()
            )
        return inquiry.evidence

    # --- the message ---

    def body(self, client: Client, transaction: Transaction, section: bytes) -> BodyTaker | None:
        """DKIM and ARC see the message as it was sent."""
        if not isinstance(inquiry := transaction.evidence, Inquiry):
            return None
        inquiry.signatures = Signatures(section, self._now())
        return inquiry.signatures

    def message(
        self, client: Client, transaction: Transaction, head: bytes, *, id: str, now: float
    ) -> Soon[bytes | Reply | Judged]:
        """The verdict on the whole."""
        if not isinstance(inquiry := transaction.evidence, Inquiry):
            return self._inbound.message(client, transaction, head, id=id, now=now)
        return self._soon("message", self._message(client, transaction, inquiry, now))

    def _soon(self, hook: Hook, work: Coroutine[Any, Any, T]) -> Soon[T]:
        """The answer itself where the resolver remembers all that is asked. A hook may wait for anything, and needs a task."""
        return work if self._hooks.has(hook) else at_once(work)

    async def _message(self, client: Client, transaction: Transaction, inquiry: Inquiry, now: float) -> Judged:
        settings = self._settings
        before = await self._of_envelope(client, transaction, inquiry)
        signatures = inquiry.signatures or Signatures(b"", now)
        evidence = await self._checks.of_message(inquiry.asking, before, signatures)
        verdict = decide(evidence, settings.rules, "message", is_spared=inquiry.is_spared and bool(inquiry.addresses))
        decision: policy.Decision | None = None
        if self._hooks.has("message"):
            asked = policy.Message(
                policy.client_of(client),
                transaction.sender,
                tuple(inquiry.addresses),
                evidence,
                signatures.section,
                signatures.size,
            )
            decision = await self._hooks.ask("message", asked)
            verdict = self._by_policy(decision, verdict, evidence)
        forged = len(authres.forged(signatures.section, settings.authserv_id))
        withheld = self._withhold(transaction, verdict, evidence)
        if withheld and withheld == [one.address for one in transaction.recipients.values()]:
            verdict = replace(verdict, action="reject", rule=NOT_FORWARDED, reply=WITHHELD)
        events: tuple[Event, ...] = (judged_event(now, verdict, evidence, inquiry.asking.record, forged, withheld),)
        if verdict.reply is not None:
            return Judged(verdict.reply, events=events)
        if isinstance(decision, policy.Discard):
            return Judged(is_discarded=True, events=events)
        fields = results_field(settings.authserv_id, evidence) + verdict_field(verdict)
        if isinstance(decision, policy.Mark):
            fields += f"{decision.name}: {decision.value}\r\n".encode()
        if signatures.section.startswith((b" ", b"\t")):
            # It would go on with the field that is put in front of it, which is ours. As without a header it is all body.
            fields += b"\r\n"
        folder = settings.folder if verdict.action == "quarantine" else ""
        return Judged(fields=fields, folder=folder, events=events)

    def _withhold(self, transaction: Transaction, verdict: Verdict, evidence: Evidence) -> list[str]:
        """Take those elsewhere, to whom an alias leads, out of the recipients where the message is not to go on in our name: what
        goes into quarantine here, and what a stranger wrote as one of us. From an address of ours (`mail.srs`) it would pass SPF,
        and with that DMARC, for our own domains. Returns who they are."""
        if verdict.reply is not None or not (verdict.action == "quarantine" or self._is_forged_as_ours(verdict, evidence)):
            return []
        away = {key: one.address for key, one in transaction.recipients.items() if not self._inbound.is_local(one.domain)}
        if len(away) < len(transaction.recipients):  # else it is refused, to all of them
            for key in away:
                del transaction.recipients[key]
        return list(away.values())

    def _is_forged_as_ours(self, verdict: Verdict, evidence: Evidence) -> bool:
        if verdict.rule in ("allow_list", POLICY) or evidence.dmarc is None or evidence.dmarc.result in ("pass", "none"):
            return False
        return evidence.author is not None and any(map(self._inbound.is_ours, evidence.author.domains))

    def _by_policy(self, decision: policy.Decision | None, verdict: Verdict, evidence: Evidence) -> Verdict:
        """The verdict, once the policy has spoken."""
        made = Verdict("accept", POLICY)
        match decision:
            case None | policy.Mark():  # a field more changes nothing
                return verdict
            case policy.Accept():
                pass
            case policy.Quarantine(reason):
                made = Verdict("quarantine", POLICY, reason)
            case policy.Refuse(reply, why):
                made = Verdict("defer" if reply.is_transient else "reject", POLICY, why or reply.text, reply)
            case policy.Discard(reason):
                made = Verdict("discard", POLICY, reason)
        override = override_of(evidence, self._settings.rules, made.action, POLICY)
        return replace(made, override=override, matches=verdict.matches)

    def _without_forgeries(self, client: Client, head: bytes) -> bytes:
        return without_forgeries(head, self._settings.authserv_id) if self.judges(client) else head
