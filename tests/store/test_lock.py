from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from subprocess import PIPE

import pytest

from waymail.store.contract import StoreError
from waymail.store.lock import ProcessLock, is_held

HOLD = """
import sys, time
from pathlib import Path
from waymail.store.lock import ProcessLock
held = ProcessLock(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(60)
"""


def test_the_holder_is_named_and_what_to_do(tmp_path: Path) -> None:
    lock = ProcessLock(tmp_path)
    with pytest.raises(StoreError, match=rf"in use by process {os.getpid()}: stop it, or give this one another data_dir"):
        ProcessLock(tmp_path)
    lock.release()


def test_it_is_free_after_a_release_and_a_second_release_takes_it_from_nobody(tmp_path: Path) -> None:
    first = ProcessLock(tmp_path)
    first.release()
    second = ProcessLock(tmp_path)
    first.release()
    with pytest.raises(StoreError, match="in use"):
        ProcessLock(tmp_path)
    second.release()


def test_it_ends_with_its_process_however_that_ends(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=PIPE)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        with pytest.raises(StoreError, match=f"in use by process {process.pid}:"):
            ProcessLock(tmp_path)
    finally:
        process.kill()
        process.communicate(timeout=10)
    ProcessLock(tmp_path).release()


def test_children_do_not_inherit_it(tmp_path: Path) -> None:
    lock = ProcessLock(tmp_path)
    child = subprocess.Popen([sys.executable, "-c", "input('runs\\n')"], stdin=PIPE, stdout=PIPE, close_fds=False)
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == b"runs\n"
        lock.release()
        ProcessLock(tmp_path).release()
    finally:
        child.communicate(b"\n", timeout=10)


def test_a_directory_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"missing/lock cannot be opened: No such file or directory"):
        ProcessLock(tmp_path / "missing")


def test_who_has_patience_gets_it_as_soon_as_it_is_free(tmp_path: Path) -> None:
    first = ProcessLock(tmp_path)
    began = time.monotonic()
    timer = threading.Timer(0.2, first.release)
    timer.start()
    ProcessLock(tmp_path, patience=10).release()
    timer.join()
    assert 0.2 <= time.monotonic() - began < 5


def test_it_is_free_after_a_release_although_a_child_has_not_come_to_close_its_copy(tmp_path: Path) -> None:
    lock = ProcessLock(tmp_path)
    copy = os.dup(lock._descriptor)  # as a child has it in the first moments after os.fork()
    lock.release()
    assert not is_held(tmp_path)
    ProcessLock(tmp_path).release()
    os.close(copy)


def test_a_forked_child_neither_has_it_nor_gives_it_up(tmp_path: Path) -> None:
    lock = ProcessLock(tmp_path)
    child = os.fork()
    if child == 0:
        try:
            lock.release()
            os._exit(0 if is_held(tmp_path) else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert is_held(tmp_path)
    lock.release()
    assert not is_held(tmp_path)
