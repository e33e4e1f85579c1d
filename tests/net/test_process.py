"""Other programs: whom they run as, what they may use, what they see, and how they end. With real ones."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
import uvloop

from waymail.net.process import OUTPUT, Bounds, CannotStart, Ended, Identity, Program, UnknownUser, identity, run

HELLO = (b"hello\n",)
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


async def sh(
    script: str,
    content: Iterable[bytes] = HELLO,
    *,
    timeout: float = 20,
    bounds: Bounds = Bounds(),  # noqa: B008 - frozen
    user: Identity | None = None,
    **environment: str,
) -> Ended:
    program = Program(("/bin/sh", "-c", script), {"PATH": "/usr/bin:/bin"} | environment, "/", user, bounds)
    return await run(program, content, timeout=timeout)


def is_running(marker: str) -> bool:
    """Whether a process has this in its arguments."""
    return any(marker.encode() in _arguments(path) for path in Path("/proc").glob("[0-9]*/cmdline"))


def _arguments(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


async def gone(marker: str) -> bool:
    for _ in range(100):
        if not is_running(marker):
            return True
        await asyncio.sleep(0.02)
    return False


async def test_a_program_gets_its_input_and_its_output_and_status_come_back() -> None:
    assert await sh("cat; echo problem >&2; exit 67") == Ended(67, b"hello\nproblem\n")


async def test_it_sees_the_environment_that_is_given_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_OF_THE_SERVER", "x")
    seen = (await sh("env", A="b c")).output.decode().splitlines()
    assert sorted(seen) == ["A=b c", "PATH=/usr/bin:/bin", "PWD=/"]
    assert b"LC_CTYPE=POSIX" in (await sh("env", LC_CTYPE="POSIX")).output


async def test_it_has_a_session_of_its_own_three_descriptors_and_a_umask_of_077() -> None:
    ended = await sh('echo $$; cut -d" " -f6 /proc/$$/stat; umask; ls -l /proc/self/fd')
    pid, session, umask, _, *descriptors = ended.output.decode().splitlines()
    assert session == pid
    assert umask == "0077"
    opened = [line.partition(" -> ")[0].split()[-1] for line in descriptors if "/proc/" not in line]  # that one is by ls itself
    assert opened == ["0", "1", "2"]


async def test_standard_input_can_be_opened_by_its_name() -> None:
    assert (await sh("cat /dev/stdin")).output == b"hello\n"


@as_root
async def test_standard_input_can_be_opened_by_its_name_by_another_user() -> None:
    assert (await sh("cat /dev/stdin", user=identity("nobody"))).output == b"hello\n"


async def test_no_signal_that_python_ignores_is_ignored_by_it() -> None:
    ended = await sh("grep SigIgn /proc/self/status")
    own = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("SigIgn"))
    ordinary = (1 << 31) - 1  # those above are real-time signals, of which the C library keeps some to itself
    pythons = sum(1 << (number - 1) for number in (signal.SIGPIPE, signal.SIGXFSZ))
    assert int(own.split()[1], 16) & pythons == pythons
    # What the tests were started with (nohup ignores SIGHUP) is handed on.
    assert int(ended.output.split()[1], 16) & ordinary == int(own.split()[1], 16) & ordinary & ~pythons


async def test_a_program_that_reads_nothing_of_much_is_not_wrong() -> None:
    assert (await sh("exit 0", [b"x" * 65536] * 50)).status == 0


async def test_much_input_and_output_go_at_once_and_the_beginning_of_the_output_is_kept() -> None:
    ended = await sh("tee /dev/stderr", [b"x" * 65536] * 50)
    assert ended == Ended(0, b"x" * OUTPUT)


async def test_one_that_takes_too_long_is_killed_with_all_that_it_started() -> None:
    started = time.monotonic()
    ended = await sh("sleep 6123 & sleep 6124", timeout=0.3)
    assert (ended.status, ended.timed_out) == (-9, True)
    assert time.monotonic() - started < 5
    assert await gone("6123")


async def test_one_that_does_not_read_is_killed_in_time_too() -> None:
    assert (await sh("exec sleep 6125", [b"x" * 65536] * 50, timeout=0.3)).timed_out


async def test_what_it_leaves_behind_does_not_hold_up_its_end_and_is_killed() -> None:
    started = time.monotonic()
    ended = await sh("sleep 6126 & exit 3")
    assert (ended.status, ended.timed_out) == (3, False)
    assert time.monotonic() - started < 5
    assert await gone("6126")


async def test_a_caller_that_is_cancelled_leaves_nothing_running() -> None:
    task = asyncio.ensure_future(sh("exec sleep 6127"))
    while not is_running("6127"):  # noqa: ASYNC110 - another process is waited for
        await asyncio.sleep(0.02)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await gone("6127")


async def test_input_that_cannot_be_read_starts_nothing_and_is_the_callers_to_hear_of(tmp_path: Path) -> None:
    def broken() -> Iterator[bytes]:
        yield b"x"
        raise OSError("the disk")

    with pytest.raises(OSError, match="the disk"):
        await sh(f"touch {tmp_path}/started", broken())
    assert list(tmp_path.iterdir()) == []


SERVER = """
import asyncio
from waymail.net.process import Program, run

script = "cd {folder}; touch started; sleep 0.2; cat >kept; touch ended"
asyncio.run(run(Program(("/bin/sh", "-c", script), {{"PATH": "/usr/bin:/bin"}}), [b"x" * 65536] * 50, timeout=20))
"""


async def test_a_program_has_all_of_its_input_also_where_the_server_is_killed_meanwhile(tmp_path: Path) -> None:
    server = await asyncio.create_subprocess_exec(sys.executable, "-c", SERVER.format(folder=tmp_path))
    async with asyncio.timeout(20):
        while not (tmp_path / "started").exists():  # noqa: ASYNC110 - another process is waited for
            await asyncio.sleep(0.01)
        server.kill()
        await server.wait()
        while not (tmp_path / "ended").exists():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert (tmp_path / "kept").stat().st_size == 50 * 65536


async def test_no_descriptor_is_left_open() -> None:
    await sh("cat")
    before = len(list(Path("/proc/self/fd").iterdir()))
    for script in ("cat", "exit 1", "kill -9 $$"):
        await sh(script)
    await asyncio.sleep(0)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


async def test_a_signal_is_a_negative_status() -> None:
    assert (await sh("kill -15 $$")).status == -15


@pytest.mark.parametrize(
    ("bounds", "limit"),
    [
        (Bounds(memory=200_000_000), r"Max address space +200000000 +200000000 "),
        (Bounds(cpu=7), r"Max cpu time +7 +7 "),
        (Bounds(processes=321), r"Max processes +321 +321 "),
        (Bounds(file_size=5_000), r"Max file size +5000 +5000 "),
        (Bounds(), r"Max core file size +0 +0 "),
    ],
)
async def test_its_bounds_hold_from_the_beginning_and_it_cannot_lift_them(bounds: Bounds, limit: str) -> None:
    ended = await sh("cat /proc/self/limits", bounds=bounds)
    assert re.search(limit, ended.output.decode())


async def test_memory_that_is_more_than_allowed_is_not_had() -> None:
    ended = await sh("x=$(head -c 100000000 /dev/zero | tr '\\0' x); echo ${#x}", bounds=Bounds(memory=50_000_000))
    assert b"100000000" not in ended.output
    assert ended.status != 0


async def test_a_loop_ends_when_its_time_of_the_processor_is_over() -> None:
    assert (await sh("while :; do :; done", bounds=Bounds(cpu=1))).status == -9


@pytest.mark.parametrize(("mode", "why"), [(0o644, "Permission denied"), (0o755, "Exec format error"), (None, "No such file")])
async def test_what_cannot_be_started_says_so_with_its_name(mode: int | None, why: str, tmp_path: Path) -> None:
    program = tmp_path / "program"
    if mode is not None:
        program.write_text("not a program")
        program.chmod(mode)
    with pytest.raises(CannotStart, match=rf"^{program} cannot be started: .*{why}"):
        await run(Program((str(program),)), HELLO, timeout=10)


async def test_a_folder_that_is_not_there_says_so() -> None:
    with pytest.raises(CannotStart, match="/nothing/here"):
        await run(Program(("/bin/true",), directory="/nothing/here"), HELLO, timeout=10)


@as_root
async def test_it_runs_as_another_user_with_his_groups_and_cannot_come_back() -> None:
    ended = await sh("id; grep -E '^(Uid|Gid|Cap...):' /proc/self/status", user=identity("nobody"))
    text = ended.output.decode()
    assert text.startswith("uid=65534(nobody) gid=65534(nogroup) groups=65534(nogroup)\n")
    assert "root" not in text
    assert re.search(r"Uid:(\s65534){4}", text)
    assert re.search(r"CapPrm:\s0+\n", text)
    assert re.search(r"CapEff:\s0+\n", text)


@as_root
async def test_a_group_that_is_named_is_the_only_one() -> None:
    text = (await sh("id", user=identity("nobody", "daemon"))).output.decode()
    assert "gid=1(daemon)" in text
    assert "nogroup" not in text


@pytest.mark.parametrize(("user", "group"), [("no-such-user", None), ("nobody", "no-such-group")])
def test_a_user_or_group_that_this_machine_lacks_is_named(user: str, group: str | None) -> None:
    with pytest.raises(UnknownUser, match="no-such"):
        identity(user, group)


def test_it_is_the_same_on_the_servers_own_loop() -> None:
    async def all_of_it() -> None:
        await test_it_has_a_session_of_its_own_three_descriptors_and_a_umask_of_077()
        await test_standard_input_can_be_opened_by_its_name()
        await test_one_that_takes_too_long_is_killed_with_all_that_it_started()
        await test_a_caller_that_is_cancelled_leaves_nothing_running()
        await test_much_input_and_output_go_at_once_and_the_beginning_of_the_output_is_kept()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(all_of_it())
