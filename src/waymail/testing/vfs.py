"""Between SQLite and its files: a VFS (https://www.sqlite.org/vfs.html) that tells of each change of a file, and lets it fail.

It is a copy of SQLite's own VFS in which a few functions are Python's, put into the very library that `sqlite3` uses: so nothing
of SQLite is replaced but the places where it asks the operating system to change a file. Memory that is shared between processes
(the `-shm` file) does not pass here: SQLite makes it anew after a crash.

Promises: each call of `FileWatcher` happens in the thread that uses the connection, before SQLite goes on; what it returns is
what SQLite gets. Fails with RuntimeError where Python's `sqlite3` has SQLite built in and hides it, as a few builds of Python do.
"""

from __future__ import annotations

import _sqlite3
import ctypes
import logging
import os
from collections.abc import Callable
from ctypes import CFUNCTYPE, Structure, addressof, c_char_p, c_int, c_int64, c_void_p, memmove, sizeof
from functools import wraps
from pathlib import Path
from typing import Any, Protocol

log = logging.getLogger("waymail.testing")

OK, IOERR, CANTOPEN = 0, 10, 14  # https://www.sqlite.org/rescode.html
CREATE, JOURNAL_OR_LOG = 0x4, 0x800 | 0x4000 | 0x80000  # flags of xOpen: the last are of what SQLite keeps beside a database


class FileWatcher(Protocol):
    """Is told of what SQLite changes. Each call returns a result code of SQLite, 0 for success; `act` does what SQLite asked
    for. Files are named by their absolute path."""

    def opening(self, path: str, *, is_new: bool, act: Callable[[], int]) -> int: ...

    def writing(self, path: str, offset: int, octets: bytes, act: Callable[[int], int]) -> int:
        """`act` writes the first so many of `octets`."""

    def truncating(self, path: str, size: int, act: Callable[[], int]) -> int: ...

    def syncing(self, path: str, *, with_directory: bool) -> int:
        """There is no `act`: whether something is on a disk is for the watcher to say. `with_directory`: SQLite's own VFS
        would sync the directory that holds the file, too."""

    def deleting(self, path: str, act: Callable[[], int], *, with_directory: bool) -> int: ...


class _Methods(Structure):
    """`sqlite3_io_methods`."""

    _fields_ = [
        ("version", c_int),
        *((name, c_void_p) for name in ("close", "read", "write", "truncate", "sync", "file_size")),
        *((name, c_void_p) for name in ("lock", "unlock", "check_reserved_lock", "file_control", "sector_size")),
        *((name, c_void_p) for name in ("characteristics", "shm_map", "shm_lock", "shm_barrier", "shm_unmap")),
        *((name, c_void_p) for name in ("fetch", "unfetch")),
    ]


class _Vfs(Structure):
    """`sqlite3_vfs`."""

    _fields_ = [
        ("version", c_int),
        ("file_size", c_int),
        ("longest_path", c_int),
        ("next", c_void_p),
        ("name", c_char_p),
        ("data", c_void_p),
        *((name, c_void_p) for name in ("open", "delete", "access", "full_path")),
        *((name, c_void_p) for name in ("dl_open", "dl_error", "dl_sym", "dl_close", "randomness", "sleep", "time", "error")),
        *((name, c_void_p) for name in ("time64", "set_call", "get_call", "next_call")),
    ]


_OPEN = CFUNCTYPE(c_int, c_void_p, c_void_p, c_void_p, c_int, c_void_p)
_DELETE = CFUNCTYPE(c_int, c_void_p, c_void_p, c_int)
_CLOSE = CFUNCTYPE(c_int, c_void_p)
_WRITE = CFUNCTYPE(c_int, c_void_p, c_void_p, c_int, c_int64)
_TRUNCATE = CFUNCTYPE(c_int, c_void_p, c_int64)
_SYNC = CFUNCTYPE(c_int, c_void_p, c_int)


_in_use: set[WatchedVfs] = set()  # SQLite has pointers into these


class WatchedVfs:
    """Open databases with `vfs=NAME` in their URI, after which `watcher` is told of what they do. `close` it after the last of
    their connections."""

    def __init__(self, name: str, watcher: FileWatcher) -> None:
        """Raises RuntimeError where SQLite cannot be reached."""
        self._watcher = watcher
        self._sqlite = _library()
        original = self._sqlite.sqlite3_vfs_find(None)
        self._vfs = _Vfs()
        memmove(addressof(self._vfs), original, sizeof(_Vfs))
        self._original = original
        self._original_open: Callable[..., int] = _OPEN(self._vfs.open)
        self._original_delete: Callable[..., int] = _DELETE(self._vfs.delete)
        self._files: dict[int, _File] = {}
        self._methods: dict[int, _Methods] = {}  # ours, by the address of those they stand for
        self._name = name.encode()
        self._functions = {
            "open": _OPEN(_safe(self._open, CANTOPEN)),
            "delete": _DELETE(_safe(self._delete)),
            "close": _CLOSE(_safe(self._close)),
            "write": _WRITE(_safe(self._write)),
            "truncate": _TRUNCATE(_safe(self._truncate)),
            "sync": _SYNC(_safe(self._sync)),
        }
        self._vfs.next, self._vfs.name = None, self._name
        for function in ("open", "delete"):
            setattr(self._vfs, function, ctypes.cast(self._functions[function], c_void_p).value)
        if self._sqlite.sqlite3_vfs_register(addressof(self._vfs), 0) != OK:
            raise RuntimeError(f"SQLite did not take the VFS {name}")
        _in_use.add(self)

    def close(self) -> None:
        """SQLite forgets it. A connection that is still open keeps it alive for ever. Safe to call twice."""
        self._sqlite.sqlite3_vfs_unregister(addressof(self._vfs))
        if not self._files:
            _in_use.discard(self)

    # --- of the VFS ---

    def _open(self, _: int, name: int | None, file: int, flags: int, flags_out: int) -> int:
        def act() -> int:
            return self._original_open(self._original, name, file, flags, flags_out)

        if name is None:  # a temporary file, gone with the process
            return act()
        path = os.fsdecode(ctypes.string_at(name))
        code = self._watcher.opening(path, is_new=not Path(path).exists(), act=act)
        if code == OK:
            address = c_void_p.from_address(file)  # a file begins with the address of its methods
            self._files[file] = _File(path, int(address.value or 0), bool(flags & CREATE and flags & JOURNAL_OR_LOG))
            address.value = addressof(self._methods_for(self._files[file].methods))
        return code

    def _delete(self, _: int, name: int, with_directory: int) -> int:
        path = os.fsdecode(ctypes.string_at(name))

        def act() -> int:
            return self._original_delete(self._original, name, 0)

        return self._watcher.deleting(path, act, with_directory=bool(with_directory))

    # --- of a file ---

    def _methods_for(self, original: int) -> _Methods:
        if original not in self._methods:
            methods = _Methods()
            memmove(addressof(methods), original, sizeof(_Methods))
            for function in ("close", "write", "truncate", "sync"):
                setattr(methods, function, ctypes.cast(self._functions[function], c_void_p).value)
            self._methods[original] = methods
        return self._methods[original]

    def _close(self, file: int) -> int:
        return self._files.pop(file).original.close(file)

    def _write(self, file: int, octets: int, size: int, offset: int) -> int:
        opened = self._files[file]

        def act(some: int) -> int:
            return opened.original.write(file, octets, some, offset)

        return self._watcher.writing(opened.path, offset, ctypes.string_at(octets, size), act)

    def _truncate(self, file: int, size: int) -> int:
        opened = self._files[file]
        return self._watcher.truncating(opened.path, size, lambda: opened.original.truncate(file, size))

    def _sync(self, file: int, _: int) -> int:
        # SQLite's own VFS syncs the directory at the first sync of a journal or log that it opened to be made.
        opened = self._files[file]
        code = self._watcher.syncing(opened.path, with_directory=opened.is_name_new)
        if code == OK:
            opened.is_name_new = False
        return code


class _Original:
    """What a file's methods were."""

    def __init__(self, methods: _Methods) -> None:
        self.close: Callable[[int], int] = _CLOSE(methods.close)
        self.write: Callable[[int, int, int, int], int] = _WRITE(methods.write)
        self.truncate: Callable[[int, int], int] = _TRUNCATE(methods.truncate)


class _File:
    """An open file. `is_name_new`: its next sync syncs the directory."""

    def __init__(self, path: str, methods: int, is_name_new: bool) -> None:
        self.path = path
        self.methods = methods
        self.original = _Original(_Methods.from_address(methods))
        self.is_name_new = is_name_new


def _library() -> ctypes.CDLL:
    """The SQLite that `sqlite3` uses, not just any: a VFS that is put into another would never be asked."""
    with Path("/proc/self/maps").open() as maps:
        loaded = {line.split()[-1] for line in maps if "sqlite3" in line}
    # Built into the interpreter, or into the extension module, or, as mostly, a library of its own.
    for name in (*sorted(loaded, key=lambda path: "libsqlite3" not in path), getattr(_sqlite3, "__file__", None), None):
        library = ctypes.CDLL(name)
        if hasattr(library, "sqlite3_vfs_register"):
            break
    else:
        raise RuntimeError("the SQLite of this Python cannot be reached: use a Python whose sqlite3 is linked to libsqlite3.so")
    library.sqlite3_vfs_find.argtypes, library.sqlite3_vfs_find.restype = [c_char_p], c_void_p
    library.sqlite3_vfs_register.argtypes = [c_void_p, c_int]
    library.sqlite3_vfs_unregister.argtypes = [c_void_p]
    return library


def _safe(function: Callable[..., int], code: int = IOERR) -> Callable[..., int]:
    """ctypes would print an exception and tell SQLite that all is well."""

    @wraps(function)
    def guarded(*args: Any) -> int:
        try:
            return function(*args)
        except Exception:
            log.exception("the watched disk met a bug")
            return code

    return guarded
