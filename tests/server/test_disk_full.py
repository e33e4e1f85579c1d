"""What clients are told where the disk is full, or nearly."""

from __future__ import annotations

import pytest
from tests.server.conftest import Conversation, Place, settled

from waymail.server.arrival import Arrival
from waymail.server.directory import Directory
from waymail.server.inbound import Inbound, Trust
from waymail.server.intake import DISK_FULL, NOT_STORED
from waymail.server.reception import Client, Transaction
from waymail.server.room import Room
from waymail.store.contract import Delivery, NewMessage, StoreError, StoreFull
from waymail.store.memory import MemoryStore

HELLO, RCPT = b"EHLO client.example", b"RCPT TO:<ann@example.org>"
FULL = b"452 4.3.1 insufficient system storage"


class Spare(Room):
    """So many octets are free for the next message."""

    def __init__(self, octets: float) -> None:
        super().__init__(None, None)
        self._spare = octets


def mail(size: int | None = None) -> bytes:
    return b"MAIL FROM:<x@client.example>" + (b"" if size is None else b" SIZE=%d" % size)


async def message(peer: Conversation) -> bytes:
    return (await peer.say(HELLO, mail(), RCPT, b"DATA", b"Subject: x", b"", b"text", b"."))[-1]


@pytest.mark.parametrize("kind", ["mx", "lmtp"])
async def test_mail_is_refused_for_now_while_there_is_no_room_and_the_session_goes_on(place: Place, kind: str) -> None:
    peer = await place.conversation(kind)
    await peer.say(HELLO if kind == "mx" else b"LHLO client.example")
    place.intake.room = Spare(-1)
    assert await peer.say(mail()) == [FULL]
    assert (await peer.say(mail(), RCPT, b"NOOP"))[-3:] == [FULL, b"503 5.5.1 MAIL comes first", b"250 2.0.0 OK"]
    place.intake.room = Spare(0)
    assert (await peer.say(mail(), RCPT))[-1].startswith(b"250 ")


async def test_a_message_that_is_declared_too_large_for_what_is_free_is_refused_and_a_smaller_one_is_not(place: Place) -> None:
    peer = await place.conversation()
    await peer.say(HELLO)
    place.intake.room = Spare(1000)
    assert await peer.say(mail(1001)) == [FULL]
    assert (await peer.say(mail(1000)))[-1].startswith(b"250 ")


async def test_a_client_that_never_tires_of_asking_is_no_burden_for_ever(place: Place) -> None:
    peer = await place.conversation(junk=3)
    await peer.say(HELLO)
    place.intake.room = Spare(-1)
    assert (await peer.say(mail(), mail(), mail()))[-1].startswith(b"421 ")


@pytest.mark.parametrize(
    ("error", "reply"), [(StoreFull("full"), str(DISK_FULL)), (StoreError("broken"), str(NOT_STORED))], ids=["full", "broken"]
)
async def test_a_store_that_is_full_says_so_and_one_that_is_broken_does_not(
    place: Place, error: StoreError, reply: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Failing(MemoryStore):
        async def accept(self, message: NewMessage) -> Delivery:
            raise error

    place.intake._store = Failing(now=lambda: 0.0)
    peer = await place.conversation()
    assert await message(peer) == reply.encode()
    await settled()
    assert place.queue.deliveries == []


@pytest.mark.parametrize("at", ["write", "finish"])
@pytest.mark.parametrize(
    ("error", "reply"), [(StoreFull("full"), DISK_FULL), (StoreError("broken"), NOT_STORED)], ids=["full", "broken"]
)
def test_octets_that_find_no_room_are_refused_at_the_end_of_the_message(at: str, error: StoreError, reply: object) -> None:
    class Spool:
        discarded = 0

        def write(self, chunk: bytes) -> None:
            if at == "write":
                raise error

        def finish(self) -> object:
            raise error

        def discard(self) -> None:
            self.discarded += 1

    spool = Spool()
    reception = Inbound(Directory("mail.example.org", {}), Trust())
    arrival = Arrival("0123456789abc", spool, Client("192.0.2.1"), Transaction(""), reception, head_limit=1000)  # type: ignore[arg-type]
    arrival.write(b"one")
    arrival.write(b"two")
    assert arrival.finish() is reply
    assert spool.discarded == 1
