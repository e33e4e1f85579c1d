"""Makes a queue of the version of waymail that is on the path, and writes down what that version says of it (README.md).

python make.py NAME    writes NAME.tar.xz, the directory as the death of its process left it, and NAME.json, the stories
"""

from __future__ import annotations

import asyncio
import json
import sys
import tarfile
import tempfile
from dataclasses import asdict
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import Any

from waymail.mail.envelope import Body, DeliverBy, Envelope, Options, Origin, QueueIds, Recipient, encode_id
from waymail.store import schema
from waymail.store.contract import Change, Event, NewMessage, Settlement, State
from waymail.store.sqlite import SqliteStore

START = 1_790_000_000.0
ORIGIN = Origin("ESMTPSA", "laptop.example.org", "192.0.2.7", "TLSv1.3 TLS_AES_256_GCM_SHA384 unverified", "ann")
KEEPS_OPTIONS = schema.VERSION > 1  # version 1 had no place for what the sender asked for
IDS = QueueIds(5)
TIMES = count(int(START))


def message(
    *recipients: str | Recipient, content: bytes = b"", sender: str = "ann@example.org", claim: bool = True, **options: object
) -> tuple[Envelope, bytes, bool]:
    at = float(next(TIMES))
    people = tuple(Recipient(one) if isinstance(one, str) else one for one in recipients)
    id = IDS.next(at)
    text = content or b"Subject: hello\r\nMessage-ID: <%s@example.org>\r\n\r\nHow are you?\r\n" % id.encode()
    asked = {"options": Options(**options)} if KEEPS_OPTIONS and options else {}  # type: ignore[arg-type]
    return Envelope(id, sender, people, at, "8BITMIME", f"<{id}@example.org>", ORIGIN, **asked), text, claim


async def put(store: Any, one: tuple[Envelope, bytes, bool], prefix: bytes = b"Received: by mail; today\r\n") -> object:
    envelope, content, claim = one
    spool = store.spool(envelope.id)
    for at in range(0, len(content), 8192):
        spool.write(content[at : at + 8192])
    return await store.accept(NewMessage(envelope, spool.finish().with_prefix(prefix), claim))


async def settle(store: Any, delivery: object, *changes: Change, notices: tuple[NewMessage, ...] = ()) -> None:
    envelope = delivery.envelope  # type: ignore[attr-defined]
    results = [
        {"to": [envelope.recipients[one.number].address], "outcome": one.state.name.lower(), "reply": one.reply}
        for one in changes
    ]
    event = Event(envelope.accepted_at + 3, "attempt", {"destination": "mx.example.net", "ms": 12, "results": results})
    told = [Event(envelope.accepted_at + 3, "bounced", {"notice": one.envelope.id, "to": ["x"], "why": "550"}) for one in notices]
    await store.settle(Settlement(envelope.id, delivery.token, changes, (event, *told), notices))  # type: ignore[attr-defined]


async def fill(store: Any) -> None:
    large = b"Subject: large\r\n\r\n" + b"All work and no play makes Jack a dull boy.\r\n" * 2000
    taken = Change(0, State.DELIVERED, 1, "250 2.0.0 taken")
    await put(store, message("waiting@example.net", claim=False))
    await put(store, message("active@example.net", "active@example.com"))
    await put(store, message("large@example.net", content=large, claim=False))
    await settle(store, await put(store, message("gone@example.net", content=large)), taken)
    await settle(store, await put(store, message("done@example.net")), taken)
    later = START + 3600
    mixed = message("a@one.example", "b@TWO.example", "c@three.example", "d@four.example")
    await settle(
        store,
        await put(store, mixed),
        taken,
        Change(1, State.FAILED, 1, "550 5.1.1 no such user"),
        Change(2, State.QUEUED, 4, "451 4.2.0 busy", later, True),
        Change(3, State.QUEUED, 1, "450 4.2.0 greylisted", later + 1),
    )
    envelope, content, _ = message("ann@example.org", sender="")
    notice = NewMessage(envelope, Body(content, len(content)), False)
    await settle(
        store,
        await put(store, message("nobody@example.net")),
        Change(0, State.FAILED, 1, "550 5.1.1 no such user"),
        notices=(notice,),
    )
    held = message("held@example.net", "held@example.com", claim=False)
    removed = message("removed@example.net", claim=False)
    for one in (held, removed):
        await put(store, one)
    await store.hold([held[0].id], START + 500)
    await store.remove([removed[0].id], START + 501)
    await put(store, message(Recipient("real@example.net", "alias@example.org"), claim=False))
    await put(
        store, message("jürgen@bücher.example", "pelé@example.net", sender="zoë@bücher.example", claim=False, smtputf8=True)
    )
    asking = Recipient("dsn@example.net", notify="SUCCESS,DELAY", orcpt="rfc822;dsn+2B@example.net")
    await put(store, message(asking, "dsn2@example.net", claim=False, ret="HDRS", envid="abc+2B"))
    by = DeliverBy(START + 9000, "N", True)
    await put(store, message("late@example.net", claim=False, hold="for;3600", hold_until=later, priority=4, deliver_by=by))
    await put(store, message("binary@example.net", content=b"Subject: x\r\n\r\n\xff\x00\x01\r\n", claim=False, priority=-3))


async def said(store: Any, ids: list[str]) -> list[dict[str, Any]]:
    told: list[dict[str, Any]] = []
    for id in ids:
        story, body = await store.get(id), await store.body(id)
        assert story is not None
        digest = None if body is None else sha256(b"".join(body.chunks())).hexdigest()
        told.append({"story": asdict(story), "body": digest})
    return told


async def main(name: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = await SqliteStore.open(Path(folder, "queue"), now=lambda: START + 600)
        await fill(store)
        numbers = [row[0] for row in store._connection.execute("SELECT id FROM message ORDER BY id")]
        told = {"version": schema.VERSION, "messages": await said(store, [encode_id(one) for one in numbers])}
        Path(f"{name}.json").write_text(json.dumps(told, indent=1, ensure_ascii=True) + "\n")
        with tarfile.open(f"{name}.tar.xz", "w:xz") as archive:
            archive.add(Path(folder, "queue"), "queue", filter=_nobody)
        await store.abort()


def _nobody(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    if member.name.endswith("-shm"):  # memory that the connections share: a loss of power takes it along
        return None
    member.uid = member.gid = member.mtime = 0
    member.uname = member.gname = ""
    return member


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
