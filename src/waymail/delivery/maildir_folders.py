"""Folders of a Maildir, as Maildir++ has them: ".lists" and ".lists.linux" beside new and cur, each a Maildir of its own.

Names beyond ASCII are in IMAP's modified UTF-7 (RFC 9051, appendix A.1). The names that are looked for come from strangers.
"""

from __future__ import annotations

import os
import re
from base64 import b64decode, b64encode
from pathlib import Path

from waymail.mail import address as addresses

MOST = 200  # folders of one mailbox up to which another one is made: whoever writes to us names them
_LONGEST_NAME = 255  # octets, NAME_MAX
# The inbox is the Maildir itself. Nothing is delivered into the Trash: no quota counts it, and readers empty it by themselves.
_NEVER = {"inbox", "trash"}
_TO_ENCODE = re.compile(r"[^ -~]+|&")
_ENCODED = re.compile(r"&([A-Za-z0-9+,]*)-")


def named(detail: str) -> str | None:
    """The folder that a detail names, ".lists" for "lists"; "." separates levels. None where it can be none: then it is the
    inbox."""
    levels = detail.split(".")
    if "/" in detail or not detail.isprintable() or levels[0].lower() in _NEVER:
        return None
    if not all(level and level == level.strip() for level in levels):
        return None
    name = f".{encode(detail)}"
    return name if len(name) <= _LONGEST_NAME else None


def present(maildir: Path) -> list[str]:
    """The names of all folders, sorted. Raises OSError, but not where there is no Maildir yet."""
    try:
        with os.scandir(maildir) as entries:
            return sorted(entry.name for entry in entries if entry.name[0] == "." and entry.is_dir())
    except FileNotFoundError:
        return []


def find(name: str, folders: list[str]) -> str | None:
    """The folder of that name, or else the first one that differs in case only."""
    if name in folders:
        return name
    wanted = addresses.folded(decode(name))
    return next((folder for folder in folders if addresses.folded(decode(folder)) == wanted), None)


def encode(text: str) -> str:
    """Modified UTF-7. `text` has no surrogates."""
    return _TO_ENCODE.sub(lambda found: f"&{_base64(found[0])}-", text)


def decode(name: str) -> str:
    """The text of a name in modified UTF-7; what is none stays as it is."""
    return _ENCODED.sub(_decoded, name)


def _base64(text: str) -> str:
    if text == "&":
        return ""
    return b64encode(text.encode("utf-16-be"), b"+,").rstrip(b"=").decode()


def _decoded(found: re.Match[str]) -> str:
    if not found[1]:
        return "&"
    try:
        return b64decode(found[1] + "=" * (-len(found[1]) % 4), b"+,").decode("utf-16-be")
    except ValueError:
        return found[0]
