"""The users file on disk: read, and changed by `waymail user`.

Promises: an edit either happens whole and is on disk on return, or the file is as it was; two edits at once both happen; the
file is readable by its owner alone, unless its mode let the group read it before; its owner stays. Comments written by hand
are not kept by an edit. Everything that goes wrong is a `UsersFileError`.
"""

from __future__ import annotations

import contextlib
import difflib
import fcntl
import os
import secrets
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from waymail.server.users_file import Contents, User, UsersFileError, checked_addresses, checked_name, parse, serialise
from waymail.wire.sasl import PreparationProblem, ScramKeys, saslprep
from waymail.wire.sasl.scram_keys import SALT_LENGTH, SHA_1

# OWASP's parameters for Argon2id: 19 MiB, two passes, one lane. Some 20 ms on one core.
MEMORY_KIB, PASSES, LANES = 19_456, 2, 1
HASH_LENGTH = 32


class UserExists(UsersFileError):
    """There is a user of that name already."""


class NoSuchUser(UsersFileError):
    """There is no user of that name."""


Stamp = tuple[int, int, int]


def stamp(path: Path) -> Stamp | None:
    """What tells one version of the file from the next; None where there is no file. Raises UsersFileError."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unreadable(path, error) from None
    return status.st_mtime_ns, status.st_size, status.st_ino


def read(path: Path) -> Contents:
    """What the file says; a missing file has no users. Raises UsersFileError."""
    try:
        text = path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        return Contents({})
    except OSError as error:
        raise _unreadable(path, error) from None
    except UnicodeDecodeError:
        raise UsersFileError(path, None, "not UTF-8", "save it as UTF-8") from None
    return parse(text, path)


def _unreadable(path: Path, error: OSError) -> UsersFileError:
    return UsersFileError(path, None, f"cannot be read: {error.strerror}", "let the server's user read it")


@contextlib.contextmanager
def editing(path: Path) -> Iterator[dict[str, User]]:
    """The users, to be changed in place. They are written when the block ends without an exception.

    Waits for another edit that is under way. Raises UsersFileError.
    """
    target = path.resolve()  # a symbolic link stays one
    try:
        with locked(target):
            contents = read(target)
            users = dict(contents.users)
            yield users
            write_whole(target, serialise(Contents(users, contents.secret or secrets.token_bytes(32))).encode("utf-8"))
    except PermissionError as error:
        raise UsersFileError(
            path, None, f"cannot be changed: {error.strerror}", "run this as the file's owner or as root"
        ) from None
    except OSError as error:
        raise UsersFileError(path, None, f"cannot be changed: {error.strerror}", "see to the disk and the directory") from None


@contextlib.contextmanager
def locked(target: Path) -> Iterator[None]:
    """Nobody else edits `target` meanwhile, who locks it as well.

    The lock is on a file of its own, since the users file is replaced by each edit. It is never removed: whoever waits for
    it would then hold a lock that nobody else sees. Raises OSError."""
    descriptor = os.open(target.with_name(f".{target.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        _give_to_owner(descriptor, target)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def write_whole(target: Path, octets: bytes) -> None:
    """Temporary file, fsync, rename, fsync of the directory: at each moment there is one whole file. Raises OSError."""
    descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")  # made with mode 0600
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            _give_to_owner(descriptor, target)
            os.fchmod(descriptor, _mode(target))
            file.write(octets)
            file.flush()
            os.fsync(descriptor)
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    directory = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _give_to_owner(descriptor: int, target: Path) -> None:
    """Root edits what the server's user reads: the file stays with its owner; a new one goes to the owner of the directory.

    Raises PermissionError where somebody else edits: the server could not read the file afterwards.
    """
    ours = os.fstat(descriptor)
    theirs = target.stat() if target.exists() else None
    if theirs is None and os.geteuid() == 0:
        theirs = target.parent.stat()
    if theirs is not None and (ours.st_uid, ours.st_gid) != (theirs.st_uid, theirs.st_gid):
        os.fchown(descriptor, theirs.st_uid, theirs.st_gid)


def _mode(target: Path) -> int:
    """0600, and 0640 where the group could read the file before (root writes, the server's group reads)."""
    return 0o600 | (target.stat().st_mode & 0o040) if target.exists() else 0o600


# --- what `waymail user` does ---


def hash_password(password: str) -> str:
    """The PHC string of a prepared password. Takes some 20 ms and 19 MiB."""
    argon2id = Argon2id(salt=secrets.token_bytes(16), length=HASH_LENGTH, iterations=PASSES, lanes=LANES, memory_cost=MEMORY_KIB)
    return argon2id.derive_phc_encoded(password.encode("utf-8"))


def list_users(path: Path) -> list[User]:
    """All users, by name. Raises UsersFileError."""
    return sorted(read(path).users.values(), key=lambda user: user.name)


def add_user(
    path: Path,
    name: str,
    password: str,
    addresses: Iterable[str] | None = None,
    *,
    scram_sha_1: bool = False,
    cram_md5: bool = False,
) -> User:
    """Add a user. `addresses` as in the file; None stands for his own name. `scram_sha_1` keeps keys for that mechanism, too, and
    `cram_md5` the password itself. Raises UserExists, UsersFileError."""
    prepared = checked_name(path, name)
    senders = checked_addresses(path, name, prepared, None if addresses is None else tuple(addresses))
    user = _with_password(User(prepared, addresses=senders), path, password, scram_sha_1=scram_sha_1, cram_md5=cram_md5)
    with editing(path) as users:
        if prepared in users:
            fix = f"for another password run `waymail user passwd {prepared}`"
            raise UserExists(path, prepared, "there is such a user already", fix)
        users[prepared] = user
    return user


def change_password(path: Path, name: str, password: str) -> User:
    """Give a user another password; the old one is no longer good, in whatever form it was kept. Raises NoSuchUser,
    UsersFileError."""
    prepared = checked_name(path, name)
    # Hashed before the file is locked, and once more only where it has what few have.
    new = _with_password(User(prepared), path, password)
    with editing(path) as users:
        user = replace(_existing(path, users, prepared), password=new.password, scram=new.scram)
        if user.scram_sha_1 is not None or user.cram_md5:
            user = _with_password(user, path, password, scram_sha_1=user.scram_sha_1 is not None, cram_md5=bool(user.cram_md5))
        users[prepared] = user
    return user


def set_frozen(path: Path, name: str, reason: str) -> User:
    """Close a user's account, or open it again with "". Raises NoSuchUser, UsersFileError."""
    prepared = checked_name(path, name)
    with editing(path) as users:
        users[prepared] = replace(_existing(path, users, prepared), frozen=reason)
        return users[prepared]


def remove_user(path: Path, name: str) -> None:
    """Raises NoSuchUser, UsersFileError."""
    prepared = checked_name(path, name)
    with editing(path) as users:
        _existing(path, users, prepared)
        del users[prepared]


def _existing(path: Path, users: Mapping[str, User], name: str) -> User:
    if name in users:
        return users[name]
    near = difflib.get_close_matches(name, users, n=1)
    raise NoSuchUser(path, name, "there is no such user", f"did you mean {near[0]}?" if near else "see `waymail user list`")


def _with_password(user: User, path: Path, password: str, *, scram_sha_1: bool = False, cram_md5: bool = False) -> User:
    try:
        prepared = saslprep(password, stored=True)
    except PreparationProblem as problem:
        raise UsersFileError(path, user.name, f"this cannot be a password: {problem}", "choose another one") from None
    return replace(
        user,
        password=hash_password(prepared),
        scram=ScramKeys.derive(prepared, secrets.token_bytes(SALT_LENGTH)),
        scram_sha_1=ScramKeys.derive(prepared, secrets.token_bytes(SALT_LENGTH), hash=SHA_1) if scram_sha_1 else None,
        cram_md5=prepared if cram_md5 else None,
    )
