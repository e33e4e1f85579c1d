"""Octets that are looked for in content, as integers.

`LF in block` is a search by memchr. `b"\\n" in block` is one, too, but CPython first tries whether that is an integer, and makes
an exception of its being none: eight times as long for a line, a dozen times a message.
"""

from __future__ import annotations

NUL = 0x00
LF = 0x0A
CR = 0x0D
