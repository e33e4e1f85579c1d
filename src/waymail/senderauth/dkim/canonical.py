"""What of a header section is hashed: the canonical forms of a field (RFC 6376 §3.4), and which fields h= picks (§5.4.2).

Used by DKIM and ARC, to sign and to verify. Nothing here raises, whatever the octets are.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

SIMPLE = "simple"
RELAXED = "relaxed"

_END_OF_FIELD = re.compile(rb"\r\n(?![ \t])")
# CR, LF, VT and FF outside of a fold: no white space to DKIM, but to bytes.split.
_NO_SPACE = re.compile(rb"[\n-\r]")
_SPACES = re.compile(rb"[ \t]+")


def header(name: bytes, value: bytes, relaxed: bool) -> bytes:
    """A field in its canonical form, with the CRLF at its end.

    `name` is all that stands before the colon, `value` all between the colon and the field's last CRLF.
    """
    if not relaxed:
        return b"%b:%b\r\n" % (name, value)
    unfolded = value.replace(b"\r\n", b"")
    plain = _SPACES.sub(b" ", unfolded).strip(b" ") if _NO_SPACE.search(unfolded) else b" ".join(unfolded.split())
    return b"%b:%b\r\n" % (name.rstrip(b" \t").lower(), plain)


def without_signature(value: bytes) -> bytes:
    """The value of a signature's field with that of its b= tag taken out, with all white space around it, and all else as it
    stands (RFC 6376 §3.5, §3.7)."""
    specs = value.split(b";")
    for number, spec in enumerate(specs):
        name, equals, _ = spec.partition(b"=")
        if equals and name.strip(b" \t\r\n") == b"b":
            specs[number] = name + equals
            break
    return b";".join(specs)


class Field:
    """One field as it stands: `name` is what precedes the colon, `value` what is between the colon and the last CRLF."""

    __slots__ = ("_relaxed", "name", "value")

    def __init__(self, name: bytes, value: bytes) -> None:
        self.name = name
        self.value = value
        self._relaxed: bytes | None = None

    def canonical(self, relaxed: bool) -> bytes:
        """The canonical form; that of "relaxed" is made once, however many signatures cover the field."""
        if not relaxed:
            return header(self.name, self.value, relaxed=False)
        if self._relaxed is None:
            self._relaxed = header(self.name, self.value, relaxed=True)
        return self._relaxed


class HeaderFields:
    """The fields of a header section, to be found by name."""

    def __init__(self, section: bytes) -> None:
        """`section` is a header section with its CRLFs, without the empty line. Lines that are no field are passed over."""
        self._by_name: dict[bytes, list[Field]] = {}
        for raw in _END_OF_FIELD.split(section):
            name, colon, value = raw.partition(b":")
            if colon:
                self._by_name.setdefault(name.rstrip(b" \t").lower(), []).append(Field(name, value))

    def named(self, name: bytes) -> list[Field]:
        """The fields with a name, from the top. The name is given in lower case."""
        return self._by_name.get(name, [])

    def picked(self, names: Iterable[str], leave_out: Field | None = None) -> list[Field]:
        """The fields that a signature with these names in h= covers, in that order.

        RFC 6376 §5.4.2: of several with one name the last comes first, then the one above it. A name for which no field is left
        stands for nothing (§3.5, h=): so one that was added later is noticed. `leave_out` is the signature itself.
        """
        left: dict[bytes, list[Field]] = {}
        fields = []
        for key in [name.lower().encode() for name in names]:
            if key not in self._by_name:
                continue
            if key not in left:
                left[key] = [field for field in self._by_name[key] if field is not leave_out]
            if left[key]:
                fields.append(left[key].pop())
        return fields
