"""What a domain may ask of its mailboxes: folders for details, and quotas; and how a message is known again."""

from __future__ import annotations

import asyncio
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from tests.delivery.test_maildir import body, delivered, envelope

from waymail.delivery.maildir import AT_ONCE, MaildirTransport, Rules
from waymail.delivery.maildir_quota import Quota
from waymail.mail.envelope import Recipient
from waymail.mail.outcome import Deferred, Delivered, Failed, Outcome

ACCEPTED = envelope("x").accepted_at
DETAIL = Rules("+", frozenset({"ann", "ann+vip", "bob"}))


class Box:
    """Ann's mailbox at here.example, kept by the rules; `now` is the time of the transport."""

    def __init__(self, folder: Path, rules: Rules, *, since: float = ACCEPTED) -> None:
        self.now = since
        self.maildir = folder / "mail/here.example/ann"
        self.transport = MaildirTransport(
            f"{folder}/mail/{{domain}}/{{local}}", "mail.here.example", {"here.example": rules}, now=lambda: self.now
        )

    def have(self, *folders: str) -> Box:
        for folder in ("", *folders):
            for part in ("tmp", "new", "cur"):
                (self.maildir / folder / part).mkdir(parents=True, exist_ok=True)
        return self

    async def deliver(
        self,
        address: str = "ann@here.example",
        id: str = "0abc",
        text: bytes = b"Subject: x\r\n\r\nHello\r\n",
        folder: str = "",
    ) -> Outcome:
        message = replace(envelope(address, id=id), message_id="<1@there.example>")
        message = replace(message, recipients=tuple(replace(one, folder=folder) for one in message.recipients))
        return (await self.transport.deliver(message, body(text), message.recipients))[address]

    def count(self, folder: str = "") -> int:
        return sum(len(list((self.maildir / folder / part).glob("*"))) for part in ("new", "cur"))

    def size(self) -> str:
        return (self.maildir / "maildirsize").read_text()


# --- folders ---


async def test_a_message_with_a_detail_goes_into_the_folder_of_that_name(tmp_path: Path) -> None:
    box = Box(tmp_path, DETAIL).have(".Lists")
    outcome = await box.deliver("ann+lists@here.example")
    assert isinstance(outcome, Delivered)
    assert outcome.place == str(box.maildir / ".Lists")
    assert (box.count(), box.count(".Lists")) == (0, 1)
    assert b"\nDelivered-To: ann+lists@here.example\n" in delivered(box.maildir / ".Lists")[0]


async def test_without_such_a_folder_it_goes_into_the_inbox(tmp_path: Path) -> None:
    box = Box(tmp_path, DETAIL)
    for detail in ("lists", "", "../../x", "inbox", "a..b"):
        outcome = await box.deliver(f"ann+{detail}@here.example", id=f"0{len(detail)}")
        assert isinstance(outcome, Delivered)
        assert outcome.place == str(box.maildir)
    assert box.count() == 5
    assert sorted(path.name for path in box.maildir.iterdir()) == ["cur", "new", "tmp"]
    assert [path.name for path in (tmp_path / "mail").iterdir()] == ["here.example"]


async def test_a_folder_is_made_where_the_domain_says_so(tmp_path: Path) -> None:
    box = Box(tmp_path, replace(DETAIL, makes_folders=True))
    await box.deliver("ann+lists.linux@here.example")
    folder = box.maildir / ".lists.linux"
    assert sorted(path.name for path in folder.iterdir()) == ["cur", "maildirfolder", "new", "tmp"]
    assert (box.count(), box.count(".lists.linux")) == (0, 1)
    assert (box.maildir / "new").is_dir()


async def test_quarantine_goes_into_its_folder_whatever_the_address_says_and_makes_it(tmp_path: Path) -> None:
    box = Box(tmp_path, DETAIL).have(".Lists", *(f".{number}" for number in range(220)))
    outcome = await box.deliver("ann+lists@here.example", folder="Junk")
    assert outcome.place == str(box.maildir / ".Junk")
    assert (box.count(), box.count(".Lists"), box.count(".Junk")) == (0, 0, 1)
    assert (box.maildir / ".Junk" / "maildirfolder").is_file()
    await box.deliver("ann@here.example", id="1", folder="JUNK")
    assert box.count(".Junk") == 2


async def test_strangers_cannot_make_folders_without_end(tmp_path: Path) -> None:
    box = Box(tmp_path, replace(DETAIL, makes_folders=True)).have(*(f".{number}" for number in range(199)))
    await box.deliver("ann+one@here.example", id="1")
    await box.deliver("ann+more@here.example", id="2")
    assert (box.count(".one"), box.count()) == (1, 1)


@pytest.mark.parametrize(
    ("address", "local"),
    [
        ("ann+vip@here.example", "ann+vip"),
        ("ann+vip+x@here.example", "ann+vip"),
        ("removed+x@here.example", "removed"),
        ('"bob+a b"@here.example', "bob"),
        ("ann+x@HERE.example", "ann"),
        ("ann+x@other.example", "ann+x"),
    ],
)
def test_a_detail_is_no_part_of_the_path_but_in_the_name_of_a_mailbox(tmp_path: Path, address: str, local: str) -> None:
    maildir = Box(tmp_path, DETAIL).transport.maildir(Recipient(address))
    assert maildir is not None
    assert maildir.name == local


# --- quotas ---

TEXT = b"Subject: x\r\n\r\n" + b"x" * 86 + b"\r\n"


async def test_what_fits_in_is_counted_with_the_size_of_its_file(tmp_path: Path) -> None:
    box = Box(tmp_path, Rules("+", quota=Quota(10_000))).have(".lists")
    await box.deliver(id="1", text=TEXT)
    await box.deliver("ann+lists@here.example", id="2", text=TEXT)
    (first,) = (box.maildir / "new").iterdir()
    (second,) = (box.maildir / ".lists/new").iterdir()
    sizes = [file.stat().st_size for file in (first, second)]
    assert box.size() == f"10000S\n0 0\n{sizes[0]} 1\n{sizes[1]} 1\n"
    crlf = len(first.read_bytes().replace(b"\n", b"\r\n"))
    assert first.name.endswith(f",S={sizes[0]},W={crlf}")


async def test_what_does_not_fit_in_waits_and_leaves_nothing(tmp_path: Path) -> None:
    box = Box(tmp_path, Rules(quota=Quota(messages=1)))
    await box.deliver(id="1")
    outcome = await box.deliver(id="2")
    assert isinstance(outcome, Deferred)
    assert (outcome.reply.code, outcome.reply.enhanced) == (452, "4.2.2")
    assert outcome.cause == f"{box.maildir}: quota of 1 messages: 1 there"
    (line,) = outcome.dialogue
    assert line.startswith(f"* {outcome.cause}; the message has ")
    assert outcome.place == str(box.maildir)
    assert str(box.maildir) not in str(outcome.reply)
    assert box.count() == 1
    assert list((box.maildir / "tmp").iterdir()) == []


async def test_it_arrives_when_there_is_room_again(tmp_path: Path) -> None:
    box = Box(tmp_path, Rules(quota=Quota(messages=1)))
    await box.deliver(id="1")
    await box.deliver(id="2")
    for file in (box.maildir / "new").iterdir():
        file.unlink()  # by a reader that keeps no count
    os.utime(box.maildir / "maildirsize", (box.now, box.now))
    assert isinstance(await box.deliver(id="2"), Deferred)
    box.now += 16 * 60
    assert isinstance(await box.deliver(id="2"), Delivered)


async def test_what_does_not_fit_in_fails_where_the_domain_says_so(tmp_path: Path) -> None:
    box = Box(tmp_path, Rules(quota=Quota(messages=1), fails_when_full=True))
    await box.deliver(id="1")
    outcome = await box.deliver(id="2")
    assert isinstance(outcome, Failed)
    assert (outcome.reply.code, outcome.reply.enhanced) == (552, "5.2.2")


async def test_what_would_not_fit_into_an_empty_mailbox_fails_at_once(tmp_path: Path) -> None:
    box = Box(tmp_path, Rules(quota=Quota(octets=100)))
    outcome = await box.deliver(text=TEXT)
    assert isinstance(outcome, Failed)
    assert (outcome.reply.code, outcome.reply.enhanced) == (552, "5.2.3")
    assert box.count() == 0


async def test_without_a_quota_the_count_of_others_is_kept_right(tmp_path: Path) -> None:
    box = Box(tmp_path, Rules()).have()
    (box.maildir / "maildirsize").write_text("10S\n9 1\n")
    await box.deliver()
    (file,) = (box.maildir / "new").iterdir()
    assert box.size() == f"10S\n9 1\n{file.stat().st_size} 1\n"


async def test_a_message_that_was_there_already_is_not_counted_twice(tmp_path: Path) -> None:
    box = Box(tmp_path, Rules(quota=Quota(10_000)))
    await box.deliver()
    size = box.size()
    await box.deliver()
    assert box.size() == size


# --- known again ---


async def seen(box: Box, flags: str = ":2,S") -> None:
    """Deliver, and have a reader look at it."""
    await box.deliver()
    (file,) = (box.maildir / "new").iterdir()
    file.rename(box.maildir / "cur" / f"{file.name}{flags}")


@pytest.mark.parametrize("flags", ["", ":2,", ":2,RS"])
async def test_a_message_that_a_reader_has_seen_is_known_again_after_a_restart(tmp_path: Path, flags: str) -> None:
    await seen(Box(tmp_path, Rules()), flags)
    again = Box(tmp_path, Rules(), since=ACCEPTED + 1)
    assert isinstance(await again.deliver(), Delivered)
    assert again.count() == 1


async def test_a_message_that_a_reader_has_seen_is_known_again_at_a_later_attempt(tmp_path: Path) -> None:
    box = Box(tmp_path, Rules())
    await seen(box)
    box.now += AT_ONCE + 1
    await box.deliver()
    assert box.count() == 1


async def test_a_message_without_sizes_in_its_name_is_known_again(tmp_path: Path) -> None:
    box = Box(tmp_path, Rules())
    await box.deliver()
    (file,) = (box.maildir / "new").iterdir()
    file.rename(file.with_name(file.name.partition(",")[0]))
    box.now += AT_ONCE + 1
    await box.deliver()
    assert box.count() == 1


async def test_one_queue_id_given_twice_is_two_messages(tmp_path: Path) -> None:
    box = Box(tmp_path, Rules())
    await box.deliver()
    other = replace(envelope("ann@here.example"), message_id="<2@there.example>")
    await box.transport.deliver(other, body(), other.recipients)
    box.now += AT_ONCE + 1
    third = replace(other, sender="carol@there.example")
    await box.transport.deliver(third, body(), third.recipients)
    assert box.count() == 3


async def test_a_mailbox_that_was_removed_meanwhile_is_made_anew(tmp_path: Path) -> None:
    box = Box(tmp_path, DETAIL).have(".lists")
    for address in ("ann@here.example", "ann+lists@here.example"):
        await box.deliver(address)
    shutil.rmtree(box.maildir / ".lists/new")
    assert isinstance(await box.deliver("ann+lists@here.example", id="2"), Delivered)
    shutil.rmtree(box.maildir)
    assert isinstance(await box.deliver(id="3"), Delivered)


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is synced and linked, in its order: the last two parts of each path."""
    steps: list[str] = []
    fsync, link = os.fsync, os.link

    def short(path: Path) -> str:
        return "/".join(path.parts[-2:])

    def watched_sync(descriptor: int) -> None:
        fsync(descriptor)
        steps.append(f"sync {short(Path(f'/proc/self/fd/{descriptor}').readlink())}")

    def watched_link(source: str, target: str) -> None:
        link(source, target)
        steps.append(f"link {short(Path(target))}")

    monkeypatch.setattr(os, "fsync", watched_sync)
    monkeypatch.setattr(os, "link", watched_link)
    return steps


async def test_a_message_is_synced_then_named_then_its_folder_is_synced(tmp_path: Path, done: list[str]) -> None:
    box = Box(tmp_path, Rules())
    await box.deliver(id="1")
    assert done[-4] == "sync here.example/ann"
    done.clear()
    await box.deliver(id="2")
    assert [step[:9] for step in done] == ["sync tmp/", "link new/", "sync ann/"]
    assert done[-1] == "sync ann/new"


async def test_a_message_that_is_known_again_is_synced_again(tmp_path: Path, done: list[str]) -> None:
    box = Box(tmp_path, Rules())
    await seen(box)
    done.clear()
    box.now += AT_ONCE + 1
    await box.deliver()
    assert done == ["sync ann/new", "sync ann/cur"]


async def test_a_name_in_tmp_that_a_crash_left_stops_nobody(tmp_path: Path) -> None:
    box, other = Box(tmp_path, Rules()).have(), Box(tmp_path, Rules())
    assert box.transport._process != other.transport._process


async def test_many_at_once_arrive_and_are_counted(tmp_path: Path) -> None:
    box = Box(tmp_path, replace(DETAIL, makes_folders=True, quota=Quota(10**9)))
    names = [f"ann+{number % 5}@here.example" for number in range(400)]
    outcomes = await asyncio.gather(*(box.deliver(name, id=str(number)) for number, name in enumerate(names)))
    assert {type(outcome) for outcome in outcomes} == {Delivered}
    assert [box.count(f".{number}") for number in range(5)] == [80] * 5
    assert list((box.maildir / "tmp").iterdir()) == []


async def test_a_hostname_of_any_length_leaves_room_for_flags(tmp_path: Path) -> None:
    transport = MaildirTransport(tmp_path / "box", "h" * 250)
    message = envelope("ann@here.example", id="0123456789abc")
    outcomes = await transport.deliver(message, body(), message.recipients)
    assert isinstance(outcomes["ann@here.example"], Delivered)
    (file,) = (tmp_path / "box/new").iterdir()
    assert len(file.name) < 160
