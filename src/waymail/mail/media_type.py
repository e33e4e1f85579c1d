"""What kind of data a file is: by its name, else by its first octets. This machine's own tables are not read, so the answer is
the same everywhere."""

from __future__ import annotations

from mimetypes import MimeTypes

UNKNOWN = "application/octet-stream"

_TABLE = MimeTypes(filenames=())
# What the standard library of Python 3.11 does not know yet.
_TABLE.add_type("image/webp", ".webp")
_TABLE.add_type("image/avif", ".avif")
_TABLE.add_type("text/markdown", ".md")
_TABLE.add_type("text/calendar", ".ics")
_TABLE.add_type("application/vnd.openxmlformats-officedocument.wordprocessingml.document", ".docx")
_TABLE.add_type("application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", ".xlsx")
_TABLE.add_type("application/vnd.openxmlformats-officedocument.presentationml.presentation", ".pptx")

# report.tar.gz is gzip's, whatever is in it: no part can say of itself that it is compressed.
_COMPRESSED = {"gzip": "application/gzip", "bzip2": "application/x-bzip2", "xz": "application/x-xz"}

_SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"%PDF-", "application/pdf"),
    (b"PK\x03\x04", "application/zip"),
    (b"\x1f\x8b", "application/gzip"),
    (b"<svg", "image/svg+xml"),
)


def media_type(name: str, octets: bytes) -> str:
    """The media type, "type/subtype", of a file called `name` (which may be ""), and that has these octets."""
    known, compression = _TABLE.guess_type(f"/{name}")
    if compression:
        return _COMPRESSED.get(compression, UNKNOWN)
    return known or _by_signature(octets)


def _by_signature(octets: bytes) -> str:
    if octets[:4] == b"RIFF" and octets[8:12] == b"WEBP":
        return "image/webp"
    if octets[4:12] == b"ftypavif":
        return "image/avif"
    return next((kind for signature, kind in _SIGNATURES if octets.startswith(signature)), UNKNOWN)
