"""The DMARC Policy Record: text to values (RFC 9989 §4.7, §4.8).

`parse` never raises. It returns None for text that is no DMARC record of this version, and a `Record` for everything else: what
is wrong in the rest of it is put down in `notes` and replaced by its default (§4.8: "Syntax errors in the remainder of the
record MUST be discarded in favor of default values (if any) or ignored outright").

Where the RFC leaves a choice, or says two things:
- `p` is absent: `p=none` (§4.7). `p` is there and is no policy, or `sp` or `np` is not: §4.10.1, by which `rua` decides.
- A tag given twice is a syntax error, as in DKIM (RFC 6376 §3.2): neither counts. Readers would differ about which one does.
- Names of tags and their values are read in any case, as ABNF has it, but for "DMARC1" (§4.8).
- White space in front of the version is allowed, as in DKIM's tag lists.
"""

from __future__ import annotations

import re
from functools import lru_cache

from waymail.values import value

POLICIES = ("none", "quarantine", "reject")

_VERSION = re.compile(r"[ \t]*[vV][ \t]*=[ \t]*DMARC1[ \t]*(?:;|\Z)")
_TAG_NAME = re.compile(r"[A-Za-z]+")
_PRINTABLE = re.compile(r"[ -:<-~]+")  # dmarc-value = %x20-3A / %x3C-7E
# obs-dmarc-report-size = "!" 1*DIGIT [ "k" / "m" / "g" / "t" ]
_REPORT_SIZE = re.compile(r"![0-9]+[kmgt]?\Z", re.IGNORECASE)
# RFC 3986 §3: URI = scheme ":" hier-part [ "?" query ] [ "#" fragment ]; §4.8: "," and "!" are to be percent-encoded in it.
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:(?:[A-Za-z0-9._~:/?#\[\]@$&'()*+;=-]|%[0-9A-Fa-f]{2})+")
_MAILTO = re.compile(r"mailto:[^@]+@[^@]+", re.IGNORECASE)
_CHOICES = {"p": POLICIES, "sp": POLICIES, "np": POLICIES, "adkim": "rs", "aspf": "rs", "psd": "ynu", "t": "yn"}
_MAX_URIS = 20
_MAX_NOTES = 10
_MAX_REMEMBERED = 1024  # characters


@value
class Record:
    """One record.

    `sp` and `np` are "" where the record has none. `rua` and `ruf` hold the URIs that are URIs, without the obsolete size limit.
    `applies` is false where the record's policy cannot be read and nobody asked for reports: then it has the place of its domain
    in a tree walk, but DMARC is not applied to a message because of it (§4.10.1). `notes` says what was wrong with the
    record, for its owner (RFC 9990 §3.1.5).
    """

    text: str
    p: str = "none"
    sp: str = ""
    np: str = ""
    adkim: str = "r"
    aspf: str = "r"
    psd: str = "u"
    is_testing: bool = False
    rua: tuple[str, ...] = ()
    ruf: tuple[str, ...] = ()
    fo: str = "0"
    applies: bool = True
    notes: tuple[str, ...] = ()


def is_dmarc(text: str) -> bool:
    """Whether the text starts with the version that makes it a DMARC record (§4.7, v)."""
    return _VERSION.match(text) is not None


def parse(text: str) -> Record | None:
    """The record, or None where the text is none: another version, or the version is not the first tag."""
    return _remembered(text) if len(text) <= _MAX_REMEMBERED else _parsed(text)


@lru_cache(maxsize=2048)
def _remembered(text: str) -> Record | None:
    return _parsed(text)


def _parsed(text: str) -> Record | None:
    found = _VERSION.match(text)
    if found is None:
        return None
    notes: list[str] = []
    tags = _tags(text[found.end() :], notes)
    chosen = {tag: _choice(tag, tags[tag], notes) for tag in _CHOICES if tag in tags}
    rua, ruf = (_uris(tag, tags[tag], notes) if tag in tags else () for tag in ("rua", "ruf"))
    has_policy = all(chosen.get(tag, "none") for tag in ("p", "sp", "np"))
    return Record(
        text=text,
        # §4.10.1: "act as if a record containing p=none was retrieved"
        p=(chosen.get("p") or "none") if has_policy else "none",
        sp=chosen.get("sp", "") if has_policy else "",
        np=chosen.get("np", "") if has_policy else "",
        adkim=chosen.get("adkim") or "r",
        aspf=chosen.get("aspf") or "r",
        psd=chosen.get("psd") or "u",
        is_testing=chosen.get("t") == "y",
        rua=rua,
        ruf=ruf,
        fo=_failure_options(tags["fo"], notes) if ruf and "fo" in tags else "0",  # §4.7: ignored without ruf
        applies=has_policy or bool(rua),
        notes=tuple(notes[:_MAX_NOTES]),
    )


def of(texts: tuple[str, ...]) -> tuple[Record | None, str]:
    """The DMARC record among a name's TXT records, and what is to be said about them: several are none (§4.10, steps 2 and 6)."""
    found = [text for text in texts if is_dmarc(text)]
    if len(found) > 1:
        return None, f"{len(found)} DMARC records, so none of them counts"
    return (parse(found[0]) if found else None), ""


def _tags(text: str, notes: list[str]) -> dict[str, str]:
    """The tags that can be read, by name in lower case."""
    tags: dict[str, str] = {}
    for part in text.split(";"):
        name, equals, content = (piece.strip(" \t") for piece in part.partition("="))
        if not name and not equals:
            continue
        tag = name.lower()
        if not equals or not _TAG_NAME.fullmatch(name) or not _PRINTABLE.fullmatch(content):
            notes.append(f"{_shown(part)} is not name=value")
        elif tag in tags:
            notes.append(f"{tag} is given more than once, so it does not count")
            tags[tag] = ""
        else:
            tags[tag] = content
    return tags


def _choice(tag: str, content: str, notes: list[str]) -> str:
    """The value in lower case, "" where it is none of those that the tag may have."""
    lowered = content.lower()
    if lowered in tuple(_CHOICES[tag]):
        return lowered
    notes.append(f"{tag}={_shown(content)} is none of {', '.join(_CHOICES[tag])}")
    return ""


def _uris(tag: str, content: str, notes: list[str]) -> tuple[str, ...]:
    """dmarc-urilist: the URIs that are well-formed. §4.8: a size limit behind one is ignored."""
    found = []
    for part in content.split(",")[: _MAX_URIS + 1]:
        uri = _REPORT_SIZE.sub("", part.strip(" \t"))
        is_mail = uri[:7].lower() == "mailto:"
        if _URI.fullmatch(uri) and (not is_mail or _MAILTO.fullmatch(uri)):
            found.append(uri)
        else:
            notes.append(f"{tag}: {_shown(part)} is not a URI")
    return tuple(found[:_MAX_URIS])


def _failure_options(content: str, notes: list[str]) -> str:
    """dmarc-fo: each option at most once, and "0" and "1" exclude each other."""
    options = [option.strip(" \t").lower() for option in content.split(":")]
    if len(set(options)) == len(options) and set(options) <= {"0", "1", "d", "s"} and not {"0", "1"} <= set(options):
        return ":".join(options)
    notes.append(f"fo={_shown(content)} is not a list of 0 or 1, d and s")
    return "0"


def _shown(text: str) -> str:
    """Part of a record, made fit for a line of a log."""
    return ascii(text.strip(" \t")[:60])
