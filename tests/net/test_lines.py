"""Lines over a Unix-domain socket: bounded in time and size."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from waymail.net.lines import MOST, Lines, LinesFailed

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def talk(path: Path, serve: Serve) -> Lines:
    await asyncio.start_unix_server(serve, path / "socket")
    return await Lines.connect(str(path / "socket"), timeout=5)


async def test_lines_go_there_and_come_back(tmp_path: Path) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(line)
        writer.close()

    lines = await talk(tmp_path, echo)
    lines.write("one\tè")
    lines.write("two")
    assert [await lines.read(timeout=5), await lines.read(timeout=5)] == ["one\tè", "two"]
    lines.close()


async def test_silence_is_not_waited_for_longer_than_said(tmp_path: Path) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    lines = await talk(tmp_path, silent)
    with pytest.raises(LinesFailed, match="no answer"):
        await lines.read(timeout=0.01)
    lines.close()


@pytest.mark.parametrize(("said", "why"), [(b"no end", "closed"), (b"x" * (MOST + 10) + b"\n", "more than"), (b"", "closed")])
async def test_half_a_line_too_long_a_line_and_none_fail(tmp_path: Path, said: bytes, why: str) -> None:
    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(said)
        writer.close()

    lines = await talk(tmp_path, serve)
    with pytest.raises(LinesFailed, match=why):
        await lines.read(timeout=5)
    lines.close()


async def test_a_socket_that_is_not_there_fails_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(LinesFailed, match="nothing"):
        await Lines.connect(str(tmp_path / "nothing"), timeout=5)
