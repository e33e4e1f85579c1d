"""Listening on Unix-domain sockets: who may connect is a matter of the file's mode.

The file never has more permissions than it is to have. One that a dead server left behind is replaced, one at which somebody
listens is not, nor is anything that is no socket. Failure is `ListenFailed`, whose text says what to do.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from waymail.net import streams
from waymail.net.streams import Listener, ListenFailed

LONGEST = 107  # octets of a path: what sun_path has room for on Linux


@dataclass(frozen=True, slots=True)
class UnixSocket:
    """A listening socket and its file."""

    socket: socket.socket
    path: Path
    identity: tuple[int, int]  # device and inode

    def remove(self) -> None:
        """Remove the file, unless another one stands in its place by now."""
        with suppress(OSError):
            if _identity(self.path) == self.identity:
                self.path.unlink()


async def listen(factory: Callable[[], asyncio.BaseProtocol], path: Path, mode: int) -> Listener:
    """Listen at `path`, and give each connection to a new `factory()`. The file goes when the listener is closed. Raises
    ListenFailed."""
    return await streams.serve(factory, bound(path, mode), keep=False)


def bound(path: Path, mode: int) -> streams.Bound:
    """What listens at `path`, as `bind` makes it; the file goes when it is closed. Raises ListenFailed."""
    made = bind(path, mode)
    return streams.Bound([made.socket], (f"unix:{path}",), made.remove)


def bind(path: Path, mode: int, backlog: int = 1024) -> UnixSocket:
    """A socket that listens at `path`, with the file mode `mode`. Raises ListenFailed."""
    where = f"cannot listen on unix:{path}"
    if len(os.fsencode(path)) > LONGEST:
        raise ListenFailed(f"{where}: the path of a socket has {LONGEST} octets at most: choose a shorter one")
    _make_room(path, where)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        # On Linux the file gets the mode of its socket, less the umask: so it is never open to more than it should be.
        with suppress(OSError):
            os.fchmod(sock.fileno(), mode)
        sock.bind(str(path))
        path.chmod(mode)
        sock.listen(backlog)
        return UnixSocket(sock, path, _identity(path))
    except OSError as error:
        sock.close()
        raise ListenFailed(f"{where}: {_fix(path, error)}") from error


@contextmanager
def reachable(path: Path) -> Iterator[Path]:
    """A path to the same file that is short enough for a socket: through its folder's descriptor where it is not so itself, which
    Linux alone has. Raises OSError where there is no such folder."""
    if len(os.fsencode(path)) <= LONGEST:
        yield path
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield Path(f"/proc/self/fd/{folder}") / path.name
    finally:
        os.close(folder)


def _make_room(path: Path, where: str) -> None:
    """Remove the socket of a dead server."""
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise ListenFailed(f"{where}: a file that is no socket is there: move it away, or choose another path")
    except OSError:
        return  # nothing there, or binding will say what is wrong
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)  # connecting does not wait: it is refused, or its queue is full
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            with suppress(OSError):
                path.unlink()
            return
        except OSError:
            pass  # somebody listens who is busy, or nobody may know
    raise ListenFailed(f"{where}: another program listens there already: stop it (`ss -lxp` shows it), or choose another path")


def _fix(path: Path, error: OSError) -> str:
    fixes = {
        errno.ENOENT: f"there is no folder {path.parent}: make it, for the server's user (systemd: RuntimeDirectory=)",
        errno.EACCES: f"this user may not write in {path.parent}",
        errno.EADDRINUSE: "a socket is there that cannot be removed",
    }
    return fixes.get(error.errno or 0, error.strerror or str(error))


def _identity(path: Path) -> tuple[int, int]:
    found = path.lstat()
    return found.st_dev, found.st_ino
