"""What comes out of an SPF check, and the bounds of what goes into one."""

from __future__ import annotations

from waymail.values import value


@value
class Step:
    """One line of an evaluation, for people to read.

    With an empty `term` it is a domain whose record is looked for: `outcome` is "record" and `note` its text; or "permerror" and
    a text with a mistake; or another result, and why there is no record. Else it is a term of that record: `outcome` is "match",
    "no match", or a result, and `note` what DNS said. What it leads to stands behind it, one `depth` deeper.
    """

    depth: int
    domain: str
    term: str
    outcome: str
    note: str = ""


@value
class SpfResult:
    """What SPF says (RFC 7208 §2.6): `result` is none, neutral, pass, fail, softfail, temperror or permerror.

    `domain` is the one that was asked for its record, in A-labels and lower case; `identity` "mailfrom" or "helo";
    `mechanism` the one that matched, as it stands in the record; `explanation` what the domain itself says of a fail:
    a stranger's words, in visible ASCII; `reason` ours.
    """

    result: str
    explanation: str
    identity: str
    domain: str
    mechanism: str
    reason: str
    steps: tuple[Step, ...]


@value
class Limits:
    """How much one check may ask and do. Past each bound but `ptr_names` and `explanation`, which cut, it is a permerror.

    `octets` is for the text of all records together: what a stranger publishes is not to keep this machine busy.
    """

    lookups: int = 10  # RFC 7208 §4.6.4: terms that ask DNS
    void_lookups: int = 2  # RFC 7208 §4.6.4: of them, those for which there is nothing
    mx_names: int = 10
    ptr_names: int = 10
    octets: int = 65_536
    explanation: int = 400  # characters


LIMITS = Limits()
_SHOWN = 100


def shown(text: str) -> str:
    """What a result tells of a stranger's text, where it does not tell it as such: not much of it."""
    return visible(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}...")


def visible(text: str) -> str:
    """The text in visible ASCII, the rest escaped."""
    return text.encode("unicode_escape").decode("ascii")


class Ended(Exception):
    """The whole check ends here, with temperror or permerror (RFC 7208 §4.6.2: "an exception")."""

    def __init__(self, result: str, reason: str) -> None:
        super().__init__(reason)
        self.result = result
        self.reason = reason
