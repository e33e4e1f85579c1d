"""A store that keeps everything in this process: the contract without a disk, for tests and for mail that may be lost.

It promises what `contract` promises except that "durable" means "until the process ends". Give a second `MemoryStore` the
`Tables` of a first one that was not closed, and it recovers from them as another process would from a database.
"""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count

from waymail.mail.envelope import Body, Envelope
from waymail.store.contract import (
    ALL,
    EVERYTHING,
    OPERATOR,
    Backlog,
    Change,
    Changed,
    Delivery,
    Event,
    NewMessage,
    Packed,
    Pending,
    RecipientState,
    Refusal,
    Selection,
    Settlement,
    StaleToken,
    State,
    StoreError,
    Story,
    Waiting,
)
from waymail.store.due import LEAST, Left
from waymail.store.moving import GIVEN_UP, WHILE_EXPORTED
from waymail.store.operate import FLUSH, HOLD, RELEASE, REMOVE, Move
from waymail.store.rows import DIALOGUES, number_of, plain, thinned
from waymail.store.select import LIVE, WAITS, is_by_message, is_of_all_states, numbers_of, selects

Due = tuple[int, float, str, int]  # by what is claimed first: the priority negated, when it is due, the queue id, the number


@dataclass(slots=True)
class Entry:
    """One recipient."""

    state: State
    token: int
    lease_until: float
    next_at: float
    attempts: int = 0
    reply: str = ""
    warned: bool = False


@dataclass(slots=True)
class Record:
    """One message. `body` is None when nobody waits for it any more."""

    envelope: Envelope
    size: int
    body: Body | None
    entries: list[Entry]
    events: list[Event] = field(default_factory=list)

    def addresses(self, numbers: Sequence[int]) -> list[str]:
        return [self.envelope.recipients[number].address for number in numbers]


@dataclass(slots=True)
class Tables:
    """What outlives a `MemoryStore`: the messages by queue id, and the last token."""

    records: dict[str, Record] = field(default_factory=dict)
    tokens: count[int] = field(default_factory=lambda: count(1))


class MemorySpool:
    """Takes a message's octets."""

    def __init__(self) -> None:
        self._chunks: list[bytes] = []

    def write(self, chunk: bytes) -> None:
        """As `Spool.write`; never fails."""
        self._chunks.append(chunk)

    def finish(self) -> Body:
        """As `Spool.finish`."""
        content = b"".join(self._chunks)
        return Body(content, len(content))

    def discard(self) -> None:
        """As `Spool.discard`."""
        self._chunks.clear()


class MemoryStore:
    """A queue in memory. `lease` is in seconds; `now` gives seconds since the epoch; `monotonic` seconds that no change of the
    clock touches, where there is such a clock."""

    def __init__(
        self,
        *,
        lease: float = 3600.0,
        now: Callable[[], float],
        monotonic: Callable[[], float] | None = None,
        tables: Tables | None = None,
    ) -> None:
        self._lease = lease
        self._now = now
        self._elapsed = monotonic or now  # leases count by it: no jump of the wall clock ends one
        self.tables = tables or Tables()
        self._closed = False
        for record in self.tables.records.values():
            self._requeue(record, self._now(), lambda entry: True)

    def spool(self, id: str) -> MemorySpool:
        """As `Store.spool`."""
        number_of(id)
        return MemorySpool()

    async def accept(self, message: NewMessage) -> Delivery:
        """As `Store.accept`."""
        self._check_open()
        self._check(message.envelope)
        return self._insert(message)

    async def refused(self, refusal: Refusal) -> None:
        """As `Store.refused`."""
        self._check_open()
        envelope = refusal.envelope
        self._check(envelope)
        entries = [Entry(refusal.state, 0, 0.0, envelope.released_at, reply=refusal.reply) for _ in envelope.recipients]
        self.tables.records[envelope.id] = Record(envelope, refusal.size, None, entries, copy.deepcopy(list(refusal.events)))

    async def claim(self, now: float, limit: int, rooms: Mapping[str, int] = ALL) -> Sequence[Delivery]:
        """As `Store.claim`."""
        self._check_open()
        elapsed = self._elapsed()
        for record in self.tables.records.values():
            self._requeue(record, now, lambda entry: entry.lease_until <= elapsed)
        due = sorted(
            (-record.envelope.options.priority, entry.next_at, id, number)
            for id, record in self.tables.records.items()
            for number, entry in enumerate(record.entries)
            if entry.state is State.QUEUED and entry.next_at <= now
        )
        left = Left(rooms)
        due = [one for one in due if left.takes(self.tables.records[one[2]].envelope.recipients[one[3]].domain, one[2])]
        if len(due) > limit:
            due = self._in_turn(due)
        numbers: dict[str, list[int]] = {}
        for _, _, id, number in due[: max(limit, 0)]:
            numbers.setdefault(id, []).append(number)
        return [self._claim(self.tables.records[id], some) for id, some in numbers.items()]

    def _in_turn(self, due: list[Due]) -> list[Due]:
        """The same, where domains take turns within the priority 0."""
        turns: dict[str, int] = {}
        ranked: list[tuple[int, int, Due]] = []
        for one in due:
            domain = self.tables.records[one[2]].envelope.recipients[one[3]].domain
            turn = 0 if one[0] else turns.get(domain, 0)
            turns[domain] = turn + 1
            ranked.append((one[0], turn // LEAST, one))
        return [one for _, _, one in sorted(ranked)]

    async def settle(self, settlement: Settlement) -> Sequence[Delivery]:
        """As `Store.settle`."""
        self._check_open()
        record = self.tables.records.get(settlement.id)
        claimed = set() if record is None else self._claimed(record, settlement.token)
        numbers = [change.number for change in settlement.changes]
        if record is None or not claimed.issuperset(numbers) or len(set(numbers)) < len(numbers):
            raise StaleToken("the recipients were claimed by another, or removed, before their outcome was settled")
        for notice in settlement.notices:
            self._check(notice.envelope)
        for change in settlement.changes:
            self._change(record.entries[change.number], change)
        record.events += copy.deepcopy(settlement.events)
        for destination in thinned(settlement):
            _thin(record.events, destination)
        self._drop_body(record)
        return [delivery for notice in settlement.notices if (delivery := self._insert(notice)).pending]

    async def next_due(self, after: float = 0.0) -> float | None:
        """As `Store.next_due`."""
        self._check_open()
        entries = (entry for record in self.tables.records.values() for entry in record.entries)
        return min((entry.next_at for entry in entries if entry.state is State.QUEUED and entry.next_at > after), default=None)

    async def list(self, limit: int = 1000, selection: Selection = EVERYTHING) -> Sequence[Story]:
        """As `Store.list`."""
        self._check_open()
        states = LIVE if is_of_all_states(selection) else WAITS
        return [_story(record) for record, _ in self._chosen(selection, states)][:limit]

    async def get(self, id: str) -> Story | None:
        """As `Store.get`."""
        self._check_open()
        record = self.tables.records.get(id.lower())
        return None if record is None else _story(record, sorted(record.events, key=lambda event: event.at))

    async def find(self, text: str, limit: int = 100) -> Sequence[Story]:
        """As `Store.find`."""
        self._check_open()
        wanted = plain(text)
        found = [(_matches(id, record, wanted), id, record) for id, record in self.tables.records.items()]
        return [_story(record) for match, _, record in sorted(found, key=lambda one: one[:2], reverse=True) if match][:limit]

    async def body(self, id: str) -> Body | None:
        """As `Store.body`."""
        self._check_open()
        record = self.tables.records.get(id.lower())
        return None if record is None else record.body

    async def waiting(self, limit: int = 1000, domain: str = "") -> Backlog:
        """As `Store.waiting`."""
        self._check_open()
        by_domain: dict[str, list[tuple[str, Entry]]] = {}
        for id, record in sorted(self.tables.records.items()):
            for one, entry in zip(record.envelope.recipients, record.entries, strict=True):
                if entry.state in (State.QUEUED, State.HELD) and one.domain == (domain or one.domain):
                    by_domain.setdefault(one.domain, []).append((id, entry))
        found = [_waiting(name, some) for name, some in by_domain.items()]
        every = sorted(found, key=lambda one: (-one.queued - one.held, one.domain))
        return Backlog(len(every), sum(one.queued for one in every), sum(one.held for one in every), tuple(every[:limit]))

    async def hold(self, selection: Selection, now: float, by: str = OPERATOR) -> Changed:
        """As `Store.hold`."""
        return self._operate(HOLD, selection, now, by)

    async def release(self, selection: Selection, now: float, by: str = OPERATOR) -> Changed:
        """As `Store.release`."""
        return self._operate(RELEASE, selection, now, by)

    async def flush(self, selection: Selection, now: float, by: str = OPERATOR) -> Changed:
        """As `Store.flush`."""
        return self._operate(FLUSH, selection, now, by)

    async def remove(self, selection: Selection, now: float, by: str = OPERATOR) -> Changed:
        """As `Store.remove`."""
        return self._operate(REMOVE, selection, now, by)

    async def take(self, selection: Selection, now: float) -> AsyncIterator[Sequence[Delivery]]:
        """As `Store.take`."""
        self._check_open()
        for record, numbers in self._chosen(selection, REMOVE.states):
            yield [self._claim(record, numbers)]

    async def ids(self, after: str = "", limit: int = 500) -> Sequence[str]:
        """As `Store.ids`."""
        self._check_open()
        return sorted(id for id, record in self.tables.records.items() if record.body is not None and id > after)[:limit]

    async def pack(self, ids: Sequence[str], now: float, *, hold: bool = False) -> Sequence[Packed]:
        """As `Store.pack`."""
        self._check_open()
        packed = []
        for id in sorted({id.lower() for id in ids} & self.tables.records.keys()):
            record = self.tables.records[id]
            if record.body is None:
                continue
            packed.append(Packed(_story(record, sorted(record.events, key=lambda event: event.at)), record.body))
            if hold and not packed[-1].is_attempted:
                self._tell(record, _bring(record, State.QUEUED, State.HELD), "held", now, WHILE_EXPORTED)
        return packed

    async def put_back(self, packed: Sequence[Packed], now: float) -> None:
        """As `Store.put_back`."""
        self._check_open()
        for one in packed:
            record = self.tables.records[one.story.envelope.id]
            numbers = []
            for before, entry in zip(one.story.recipients, record.entries, strict=True):
                if before.state is State.QUEUED and entry.state is State.HELD:
                    entry.state, entry.next_at = State.QUEUED, before.next_at
                    numbers.append(before.number)
            self._tell(record, numbers, "released", now, GIVEN_UP)

    async def hand_over(self, ids: Sequence[str], now: float, why: str) -> Sequence[str]:
        """As `Store.hand_over`."""
        self._check_open()
        gone = []
        for id in sorted({id.lower() for id in ids} & self.tables.records.keys()):
            record = self.tables.records[id]
            if any(entry.state < State.HELD for entry in record.entries) or record.body is None:
                continue
            self._tell(record, _bring(record, State.HELD, State.REMOVED), "exported", now, {"why": why})
            self._drop_body(record)
            gone.append(id)
        return gone

    async def unpack(self, packed: Packed) -> bool:
        """As `Store.unpack`."""
        self._check_open()
        story, new = packed.story, NewMessage(packed.story.envelope, packed.body, claim=False)
        there = self.tables.records.get(story.envelope.id)
        entries = [Entry(one.state, 0, 0.0, one.next_at, one.attempts, one.reply, one.warned) for one in story.recipients]
        events = copy.deepcopy(list(story.events))
        if there is None:
            self._check(new.envelope)
            self.tables.records[story.envelope.id] = Record(story.envelope, story.size, packed.body, entries, events)
            return True
        last = max(enumerate(there.events), key=lambda one: (one[1].at, one[0]), default=None)
        if there.body is not None or last is None or last[1].kind != "exported":
            return False
        back = [n for n, one in enumerate(there.entries) if one.state is State.REMOVED and entries[n].state.is_live]
        for number in back:
            there.entries[number] = entries[number]
        there.body = packed.body if back else None
        known = {(event.at, event.kind) for event in there.events}
        there.events += [event for event in events if back and (event.at, event.kind) not in known]
        return bool(back)

    async def hasten(self, latest: float) -> int:
        """As `Store.hasten`."""
        self._check_open()
        late = [
            entry
            for record in self.tables.records.values()
            for entry in record.entries
            if entry.state is State.QUEUED and entry.next_at > latest and not record.envelope.options.hold_until
        ]
        for entry in late:
            entry.next_at = latest
        return len(late)

    async def forget(self, before: float) -> int:
        """As `Store.forget`."""
        self._check_open()
        records = self.tables.records
        old = [id for id, record in records.items() if record.body is None and record.envelope.accepted_at < before]
        for id in old:
            del records[id]
        return len(old)

    async def shrink(self, size: int) -> int:
        """As `Store.shrink`: nothing tells how large objects in memory are."""
        self._check_open()
        return 0

    def check(self) -> None:
        """As `Store.check`."""

    async def close(self) -> None:
        """As `Store.close`. Safe to call twice."""
        if self._closed:
            return
        self._closed = True
        for record in self.tables.records.values():
            for entry in record.entries:
                if entry.state is State.ACTIVE:
                    entry.state, entry.next_at = State.QUEUED, self._now()

    def _check_open(self) -> None:
        if self._closed:
            raise StoreError("the store is closed")

    def _check(self, envelope: Envelope) -> None:
        number_of(envelope.id)
        if not envelope.recipients:
            raise ValueError(f"{envelope.id} has no recipients")
        if envelope.id in self.tables.records:
            raise StoreError(f"{envelope.id} is taken")

    def _insert(self, message: NewMessage) -> Delivery:
        envelope, body = message.envelope, message.body
        entries = [Entry(State.QUEUED, 0, 0.0, envelope.released_at) for _ in envelope.recipients]
        events = copy.deepcopy(list(message.events)) if message.events else []
        record = self.tables.records[envelope.id] = Record(envelope, body.size, body, entries, events)
        if not message.is_claimed:
            return Delivery(envelope, body, (), 0)
        return self._claim(record, range(len(entries)))

    def _claim(self, record: Record, numbers: Sequence[int]) -> Delivery:
        assert record.body is not None  # noqa: S101 - a recipient that is QUEUED keeps it
        token = next(self.tables.tokens)
        pending = []
        for number in numbers:
            entry = record.entries[number]
            entry.state, entry.token, entry.lease_until = State.ACTIVE, token, self._elapsed() + self._lease
            pending.append(Pending(number, record.envelope.recipients[number], entry.attempts, entry.warned))
        return Delivery(record.envelope, record.body, tuple(pending), token)

    @staticmethod
    def _claimed(record: Record, token: int) -> set[int]:
        return {n for n, entry in enumerate(record.entries) if entry.state is State.ACTIVE and entry.token == token}

    @staticmethod
    def _change(entry: Entry, change: Change) -> None:
        entry.state, entry.attempts, entry.next_at = change.state, change.attempts, change.next_at
        entry.reply, entry.warned = change.reply or entry.reply, change.warned

    @staticmethod
    def _tell(record: Record, numbers: Sequence[int], kind: str, now: float, detail: Mapping[str, object]) -> None:
        if numbers:
            record.events.append(Event(now, kind, {"to": record.addresses(numbers), **detail}))

    @staticmethod
    def _drop_body(record: Record) -> None:
        if not any(entry.state.is_live for entry in record.entries):
            record.body = None

    @staticmethod
    def _requeue(record: Record, now: float, is_over: Callable[[Entry], bool]) -> None:
        numbers = [n for n, entry in enumerate(record.entries) if entry.state is State.ACTIVE and is_over(entry)]
        for number in numbers:
            record.entries[number].state, record.entries[number].next_at = State.QUEUED, now
        if numbers:
            record.events.append(Event(now, "recovered", {"to": record.addresses(numbers), "uncertain": True}))

    def _chosen(self, selection: Selection, states: Sequence[State]) -> Iterator[tuple[Record, Sequence[int]]]:
        """The recipients of a selection in these states, by message, oldest first."""
        states, ids = selection.among(states), numbers_of(selection.ids)
        for id, record in sorted(self.tables.records.items()) if not selection.is_empty else ():
            if selection.ids and number_of(id) not in ids:
                continue
            numbers = [
                number
                for number, (one, entry) in enumerate(zip(record.envelope.recipients, record.entries, strict=True))
                if entry.state in states
                and selects(selection, number_of(id), record.envelope.sender, (one.address, one.original), one.domain)
            ]
            if numbers:
                yield record, numbers

    def _operate(self, move: Move, selection: Selection, now: float, by: str) -> Changed:
        self._check_open()
        recipients, messages, domains = 0, 0, set[str]()
        for record, numbers in self._chosen(selection, move.states):
            if move is FLUSH and record.envelope.released_at > now:
                continue
            recipients, messages = recipients + len(numbers), messages + 1
            domains.update(record.envelope.recipients[number].domain for number in numbers)
            changed = [number for number in numbers if move is not FLUSH or record.entries[number].next_at > now]
            due = max(now, record.envelope.options.hold_until)
            for number in changed:
                record.entries[number].state, record.entries[number].next_at = move.to, due
            if changed:
                record.events.append(Event(now, move.kind, {"to": record.addresses(changed), "by": by}))
            self._drop_body(record)
        active = sum(len(numbers) for _, numbers in self._chosen(selection, (State.ACTIVE,)) if is_by_message(selection))
        return Changed(recipients, messages, tuple(sorted(domains)), active)


def _waiting(domain: str, some: Sequence[tuple[str, Entry]]) -> Waiting:
    """What waits for a domain; `some` begins with the oldest."""
    queued = [entry for _, entry in some if entry.state is State.QUEUED]
    reply = next((entry.reply for _, entry in some if entry.reply), "")
    due = min((entry.next_at for entry in queued), default=0.0)
    return Waiting(domain, len(queued), len(some) - len(queued), (number_of(some[0][0]) >> 11) / 1_000_000, due, reply)


def _thin(events: list[Event], destination: str) -> None:
    """Only the last attempts to the destination keep what was said."""
    said = [at for at, event in enumerate(events) if "dialogue" in event.detail and event.detail["destination"] == destination]
    for at in said[:-DIALOGUES]:
        event = events[at]
        events[at] = Event(event.at, event.kind, {key: value for key, value in event.detail.items() if key != "dialogue"})


def _bring(record: Record, state: State, to: State) -> list[int]:
    """The recipients in a state come to another. Returns which."""
    numbers = [number for number, entry in enumerate(record.entries) if entry.state is state]
    for number in numbers:
        record.entries[number].state = to
    return numbers


def _story(record: Record, events: Sequence[Event] = ()) -> Story:
    recipients = tuple(
        RecipientState(number, one.address, one.original, entry.state, entry.attempts, entry.next_at, entry.reply, entry.warned)
        for number, (one, entry) in enumerate(zip(record.envelope.recipients, record.entries, strict=True))
    )
    return Story(record.envelope, record.size, recipients, tuple(events))


def _matches(id: str, record: Record, wanted: str) -> bool:
    envelope = record.envelope
    texts = [envelope.message_id, envelope.sender]
    for one in envelope.recipients:
        texts += (one.address, one.original or "")
    return bool(wanted) and (id == wanted or any(plain(text) == wanted for text in texts))
