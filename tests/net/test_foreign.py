"""Code of somebody else's that runs in the server."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from waymail.net.foreign import NotFound, Threads, find


def test_what_is_named_is_found_and_what_is_not_there_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "somebodys_module.py").write_text("ours = 7\n")
    (tmp_path / "somebodys_exit.py").write_text("raise SystemExit(3)\n")
    assert find("somebodys_module:ours") == 7
    for name, why in (
        ("somebodys_module:theirs", "somebodys_module has no theirs"),
        ("somebodys_nothing:x", "somebodys_nothing cannot be imported .* PYTHONPATH"),
        ("somebodys_exit:x", "somebodys_exit cannot be imported: SystemExit: 3"),
    ):
        with pytest.raises(NotFound, match=why):
            find(name)


async def test_functions_are_called_in_other_threads_so_many_at_a_time_and_what_they_return_is_awaited() -> None:
    threads, begun, go_on = Threads(2, "test"), threading.Semaphore(0), threading.Event()

    def function(number: int) -> object:
        assert threading.current_thread() is not threading.main_thread()
        begun.release()
        go_on.wait(10)
        return asyncio.sleep(0, number) if number else number

    calls = [asyncio.create_task(threads.call(function, number)) for number in range(3)]
    for _ in range(2):
        assert await asyncio.to_thread(begun.acquire, timeout=10)
    assert not begun.acquire(blocking=False)
    go_on.set()
    assert await asyncio.gather(*calls) == [0, 1, 2]


async def test_what_a_function_raises_is_raised_and_nobody_ends_the_process() -> None:
    threads = Threads(1, "test")

    def wrong(error: BaseException) -> None:
        raise error

    with pytest.raises(ValueError, match="a bug"):
        await threads.call(wrong, ValueError("a bug"))
    with pytest.raises(RuntimeError, match="SystemExit"):
        await threads.call(wrong, SystemExit(1))
