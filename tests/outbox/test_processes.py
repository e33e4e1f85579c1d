"""Several processes with the same outbox, and what becomes of it when one of them is killed or forked."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from email.message import EmailMessage
from pathlib import Path
from subprocess import PIPE

import pytest

import waymail
import waymail.sync
from waymail.testing.peer import Peer

CARRY = """
import asyncio, sys, waymail
async def main():
    async with waymail.Outbox(sys.argv[1], sys.argv[2]) as outbox:
        print(outbox.is_carrying, flush=True)
        await asyncio.sleep(60)
asyncio.run(main())
"""
DEPOSIT = """
import sys, waymail.sync
outbox = waymail.sync.Outbox(sys.argv[1], carry=False)
for number in range(int(sys.argv[2])):
    print(outbox.submit(b"Subject: x\\r\\n\\r\\n", sender="a@b.example", recipients="c@d.example").id, flush=True)
"""


def url(peer: Peer) -> str:
    return f"smtp://{peer.address}?tls=off"


def start(code: str, *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", code, *arguments], stdout=PIPE)


async def first_line(process: subprocess.Popen[bytes]) -> bytes:
    assert process.stdout is not None
    return await asyncio.to_thread(process.stdout.readline)


async def test_another_process_takes_over_from_one_that_is_killed(path: Path, peer: Peer, message: EmailMessage) -> None:
    other = start(CARRY, str(path), url(peer))
    try:
        assert await first_line(other) == b"True\n"
        async with waymail.Outbox(path, url(peer)) as outbox:
            assert not outbox.is_carrying
            assert (await (await outbox.submit(message)).outcome(10)).is_delivered
            other.kill()
            assert (await (await outbox.submit(message)).outcome(10)).is_delivered
            assert outbox.is_carrying
    finally:
        other.kill()
        other.communicate(timeout=10)


async def test_processes_that_make_the_file_at_once_all_deposit(path: Path, peer: Peer) -> None:
    processes = [start(DEPOSIT, str(path), "25") for _ in range(3)]
    told = [(await asyncio.to_thread(process.communicate, timeout=30))[0].split() for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert len({id for some in told for id in some}) == 75
    async with waymail.Outbox(path, url(peer)) as outbox:
        assert await outbox.drain(20)
    assert len(peer.messages) == 75


def test_a_forked_child_is_told_to_open_it_after_the_fork_and_disturbs_nothing(path: Path) -> None:
    with waymail.sync.Outbox(path, "smtp://127.0.0.1:1?tls=off") as outbox:
        assert outbox.is_carrying
        child = os.fork()
        if child == 0:
            told = 0
            for one in (
                outbox,
                waymail.sync.Outbox(path, carry=False),
                waymail.sync.Outbox(path.parent / ".." / path.parent.name / path.name),
            ):
                try:
                    one.submit(b"\r\n", sender="a@b.example", recipients="c@d.example")
                except RuntimeError as error:
                    told += "after the fork" in str(error)
            os._exit(told)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3
        assert outbox.submit(b"\r\n", sender="a@b.example", recipients="c@d.example").id


@pytest.mark.parametrize("before", ["never opened", "closed"])
def test_a_forked_child_opens_what_its_parent_has_not_open(path: Path, before: str) -> None:
    outbox = waymail.sync.Outbox(path, "smtp://127.0.0.1:1?tls=off")
    if before == "closed":
        outbox.submit(b"\r\n", sender="a@b.example", recipients="c@d.example")
        outbox.close()
    child = os.fork()
    if child == 0:
        try:
            outbox.submit(b"\r\n", sender="a@b.example", recipients="c@d.example")
            outbox.close()
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    with waymail.sync.Outbox(path, carry=False) as mine:
        assert len(mine.waiting()) == (2 if before == "closed" else 1)


def test_a_forked_child_does_not_keep_the_outbox_from_others(path: Path) -> None:
    first = waymail.sync.Outbox(path, "smtp://127.0.0.1:1?tls=off")
    first.submit(b"\r\n", sender="a@b.example", recipients="c@d.example")
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(write)
        os.read(read, 1)  # lives until the parent is done
        os._exit(0)
    try:
        first.close()
        with waymail.sync.Outbox(path, "smtp://127.0.0.1:1?tls=off") as second:
            assert second.is_carrying
    finally:
        os.close(read)
        os.close(write)
        os.waitpid(child, 0)


@pytest.mark.parametrize("how", ["with", "without"])
def test_a_program_that_ends_leaves_nothing_half_done(path: Path, how: str) -> None:
    close = "outbox.close()" if how == "with" else ""
    code = f"""
import sys, waymail.sync
outbox = waymail.sync.Outbox(sys.argv[1], "smtp://127.0.0.1:1?tls=off")
print(outbox.submit(b"\\r\\n", sender="a@b.example", recipients="c@d.example").id, flush=True)
{close}
"""
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, timeout=30, check=True)
    assert done.stderr == b""
    with waymail.sync.Outbox(path, carry=False) as outbox:
        story = outbox._opened().watch.story(done.stdout.decode().strip())
    assert story is not None
    assert [one.state for one in story.recipients] == [0]
    assert not [event for event in story.events if event.kind == "recovered"]


@pytest.mark.parametrize("opened", ["before", "after"])
def test_threads_that_outlive_the_main_thread_go_on_submitting(path: Path, opened: str) -> None:
    code = f"""
import sys, threading, waymail.sync
outbox = waymail.sync.Outbox(sys.argv[1], "smtp://127.0.0.1:1?tls=off")
def submit():
    threading.main_thread().join()
    for _ in range(20):
        print(outbox.submit(b"\\r\\n", sender="a@b.example", recipients="c@d.example").id)
threading.Thread(target=submit).start()
{"outbox.drain(0.1)" if opened == "before" else ""}
"""
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, timeout=30, check=True)
    assert done.stderr == b""
    with waymail.sync.Outbox(path, carry=False) as outbox:
        assert all(outbox.ticket(id) for id in done.stdout.decode().split())
    assert len(done.stdout.split()) == 20
