"""Tag lists, `name=value; name=value` (RFC 6376 §3.2): the grammar of DKIM-Signature, of key records, of ARC and of DMARC.

`parse` raises ValueError, with words for a person, for what is no tag list: a verifier is to be meticulous (§6.1.1).
"""

from __future__ import annotations

import re

# tag-list  =  tag-spec *( ";" tag-spec ) [ ";" ]
# tag-spec  =  [FWS] tag-name [FWS] "=" [FWS] tag-value [FWS]
# tag-name  =  ALPHA *ALNUMPUNC
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*\Z")
# VALCHAR is visible ASCII but ";"; beyond ASCII is UTF-8 (RFC 8616 §5). CR and LF stand in a fold only.
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]|\r(?!\n[ \t])|(?<!\r)\n")
_SPACE = " \t\r\n"
_SPACES = re.compile(r"[ \t\r\n]+")


def parse(text: bytes | str) -> dict[str, str]:
    """The tags by name, in the order in which they stand. White space around a value is taken away, that within is kept.

    Raises ValueError where a tag stands twice (the whole list is then invalid), where a tag has no name or no "=", and where
    octets stand that may not: control characters, a CR or LF outside of a fold, what is not UTF-8.
    """
    if isinstance(text, bytes):
        try:
            text = text.decode()
        except UnicodeDecodeError:
            raise ValueError("it is not UTF-8") from None
    plain = text.replace("\r\n ", " ").replace("\r\n\t", " ").replace("\t", " ")
    if not plain.isprintable() and (found := _FORBIDDEN.search(text)):  # the first answers nearly always, and at once
        raise ValueError(f"the character {found[0][0]!r} may not stand in it")
    specs = text.split(";")
    if not specs[-1].strip(_SPACE):
        specs.pop()
    tags: dict[str, str] = {}
    for spec in specs:
        name, equals, value = spec.partition("=")
        name = name.strip(_SPACE)
        if not equals or not _NAME.match(name):
            raise ValueError(f"{_shown(spec)} is no tag=value")
        if name in tags:
            raise ValueError(f"the tag {_shown(name)} stands twice")
        tags[name] = value.strip(_SPACE)
    return tags


def compact(value: str) -> str:
    """The value, which `parse` gave, without any white space: for base64 and whatever else may be folded anywhere."""
    return "".join(value.split()) if value.isascii() else _SPACES.sub("", value)  # beyond ASCII, split takes away more


def listed(value: str) -> tuple[str, ...]:
    """The members of a list with colons between them, white space around each taken away; an empty one stays, as ""."""
    return tuple(member.strip(_SPACE) for member in value.split(":"))


def _shown(text: str) -> str:
    """As much of the text as belongs into a sentence."""
    text = text.strip(_SPACE)
    return repr(text if len(text) <= 40 else text[:40] + "…")
