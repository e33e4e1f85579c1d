"""Runs another program: as another user, within bounds, without a shell, for a limited time.

Promises: the program has its own session, no descriptors but the three standard ones, a umask of 077 and an environment of
only what it is given; its bounds hold from its first instruction on. Its input is whole before it starts: nothing that
happens to this process, SIGKILL included, makes it take the beginning for all. After `timeout` seconds, or when the caller is
cancelled, it and all that it started in its session is killed. Of its output the first `OUTPUT` octets are kept, the rest
is read and dropped.
"""

from __future__ import annotations

import asyncio
import grp
import os
import pwd
import resource
import signal
import sys
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

OUTPUT = 4_096  # octets of output that are kept
LINGER = 0.5  # seconds for output that is still in the pipe when the program has ended
REAP = 5.0  # seconds for the kernel to end what was killed; one that hangs in a file system is left to it
_LAUNCH = Path(__file__).with_name("launch.py")


class CannotStart(Exception):
    """The program never ran; the text says why."""


class UnknownUser(ValueError):
    """This machine has no such user or group."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Whom a program runs as. Only root can give another than its own."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()
    name: str = ""
    home: str = "/"


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one program may use; None is without bound. `memory` and `file_size` in octets, `cpu` in seconds. `processes` counts
    all that its user runs on this machine; it does not bind root."""

    memory: int | None = None
    cpu: int | None = None
    processes: int | None = None
    file_size: int | None = None


@dataclass(frozen=True, slots=True)
class Program:
    """What is run. The first word of `command` is an absolute path."""

    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    directory: str = "/"
    identity: Identity | None = None
    bounds: Bounds = Bounds()


@dataclass(frozen=True, slots=True)
class Ended:
    """How a program ended. `status` is negative where a signal ended it; `timed_out` where that was ours."""

    status: int
    output: bytes
    timed_out: bool = False


def identity(user: str, group: str | None = None) -> Identity:
    """The user with his own groups, or with `group` alone. Raises UnknownUser."""
    try:
        found = pwd.getpwnam(user)
    except KeyError:
        raise UnknownUser(f'there is no user "{user}" on this machine') from None
    if group is None:
        return Identity(found.pw_uid, found.pw_gid, tuple(os.getgrouplist(user, found.pw_gid)), user, found.pw_dir)
    try:
        return Identity(found.pw_uid, grp.getgrnam(group).gr_gid, (), user, found.pw_dir)
    except KeyError:
        raise UnknownUser(f'there is no group "{group}" on this machine') from None


async def run(program: Program, content: Iterable[bytes], *, timeout: float) -> Ended:
    """Run it with `content` on its standard input. Raises CannotStart, and what iterating over `content` or writing it to a
    temporary file raises; it has not been started then.

    A program that does not read its input to the end is not wrong: how it ends is what counts.
    """
    # No pipe: its end comes when this process is killed, too, and looks like the end of the message.
    with tempfile.TemporaryFile() as input:
        for piece in content:
            input.write(piece)
            await asyncio.sleep(0)  # others have their turn
        input.flush()
        input.seek(0)
        os.fchmod(input.fileno(), 0o444)  # whoever it runs as may open /dev/stdin; nobody else finds the file
        return await _run(program, input.fileno(), timeout)


async def _run(program: Program, input: int, timeout: float) -> Ended:
    (told, tell), (output, out) = os.pipe(), os.pipe()
    head = _Head(output)
    try:
        try:
            process = await _start(program, tell, input, out)
        finally:
            for descriptor in (tell, out):
                os.close(descriptor)
        timed_out = await _supervise(process, head, timeout)
        if refused := os.read(told, 1_000):
            raise CannotStart(f"{program.command[0]} cannot be started: {refused.decode('utf-8', 'replace')}")
        status = process.returncode
        return Ended(-signal.SIGKILL if status is None else status, bytes(head.kept), timed_out)
    finally:
        os.close(told)
        head.close()


async def _start(program: Program, tell: int, input: int, out: int) -> asyncio.subprocess.Process:
    who = program.identity
    uid, gid, groups = (who.uid, who.gid, ",".join(map(str, who.groups))) if who else (-1, -1, "")
    ctype = program.environment.get("LC_CTYPE", "")
    arguments = (tell, uid, gid, groups, _limits(program.bounds), ctype, program.directory, *program.command)
    try:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-I",  # nothing of the environment and of the folder is looked at
            "-S",
            str(_LAUNCH),
            *map(str, arguments),
            stdin=input,
            stdout=out,
            stderr=out,
            pass_fds=(tell,),
            start_new_session=True,
            env=dict(program.environment),
            cwd="/",
        )
    except (OSError, ValueError) as error:
        raise CannotStart(f"{program.command[0]} cannot be started: {error}") from error


def _limits(bounds: Bounds) -> str:
    named = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_AS: bounds.memory,
        resource.RLIMIT_CPU: bounds.cpu,
        resource.RLIMIT_NPROC: bounds.processes,
        resource.RLIMIT_FSIZE: bounds.file_size,
    }
    return ",".join(f"{number}={most}" for number, most in named.items() if most is not None)


async def _supervise(process: asyncio.subprocess.Process, head: _Head, timeout: float) -> bool:
    """Until the program has ended, by itself or by us. Whether it took too long."""
    ending = asyncio.ensure_future(process.wait())
    try:
        ended, _ = await asyncio.wait({ending}, timeout=timeout)
        if not ended:
            return True
        with suppress(TimeoutError):
            await asyncio.wait_for(head.ended.wait(), LINGER)
        return False
    finally:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        await asyncio.wait({ending}, timeout=REAP)


class _Head:
    """Keeps the beginning of what comes out of a pipe, and drops the rest. `ended` is set when the other end is closed, or ours.

    No transport: uvloop's closes the descriptor of a pipe twice, and the second time it may be another thread's new file.
    """

    def __init__(self, pipe: int) -> None:
        self.kept = bytearray()
        self.ended = asyncio.Event()
        self._pipe, self._loop = pipe, asyncio.get_running_loop()
        os.set_blocking(pipe, False)
        self._loop.add_reader(pipe, self._read)

    def _read(self) -> None:
        with suppress(BlockingIOError):
            if data := os.read(self._pipe, 65_536):
                self.kept += data[: OUTPUT - len(self.kept)]
            else:
                self.close()

    def close(self) -> None:
        """Safe to call twice."""
        if not self.ended.is_set():
            self.ended.set()
            self._loop.remove_reader(self._pipe)
            os.close(self._pipe)
