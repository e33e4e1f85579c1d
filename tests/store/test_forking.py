"""A program forks while its threads use a store: the child can use SQLite."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import os, sqlite3, sys, threading, time, warnings
from pathlib import Path
from waymail.store import schema
from waymail.store.deposit import Depositor
from waymail.store.place import beside

warnings.simplefilter("ignore")  # newer Pythons warn of any fork of a program that has threads
place = beside(Path(sys.argv[1]))
Depositor(place).close()
done = threading.Event()

def work():
    connection = schema.connect(place)
    while not done.is_set():
        for _ in connection.execute("SELECT printf('%0100d', value) FROM (SELECT 1 AS value UNION SELECT 2 UNION SELECT 3)"):
            pass
        connection.execute("SELECT count(*) FROM message").fetchone()

threads = [threading.Thread(target=work) for _ in range(3)]
for thread in threads:
    thread.start()
for number in range(60):
    child = os.fork()
    if child == 0:
        sqlite3.connect(":memory:").execute("SELECT 1").fetchall()
        other = beside(Path(sys.argv[1] + str(number)))
        Depositor(other).close()
        assert schema.connect(other).execute("SELECT count(*) FROM message").fetchone() == (0,)
        os._exit(0)
    until = time.monotonic() + 5
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        if time.monotonic() > until:
            os.kill(child, 9)
            print("hung")
            break
        time.sleep(0.001)
done.set()
for thread in threads:
    thread.join()
"""


def forked(tmp_path: Path, program: str) -> str:
    command = [sys.executable, "-c", program, str(tmp_path / "outbox.db")]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=50).stdout


def test_a_child_that_was_forked_in_the_midst_of_calls_of_sqlite_does_not_hang(tmp_path: Path) -> None:
    assert forked(tmp_path, PROGRAM) == ""


def test_a_fork_from_two_threads_at_once_waits_for_both(tmp_path: Path) -> None:
    program = """
import os, threading, warnings
from waymail.store import forking
warnings.simplefilter("ignore")

def fork():
    for _ in range(50):
        child = os.fork()
        if child == 0:
            os._exit(0)
        os.waitpid(child, 0)

threads = [threading.Thread(target=fork) for _ in range(2)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""
    assert forked(tmp_path, program) == ""
