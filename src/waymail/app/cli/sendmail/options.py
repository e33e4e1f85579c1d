"""The options of /usr/sbin/sendmail, as the programs give them that have called it for forty years.

An option is one letter. Some letters have a value behind them, with or without a space; a few only without; the others may be run
together ("-ti"). Options may stand behind recipients, up to "--". What only ever mattered to Sendmail itself is taken and
passed over: a program that says it has to get its mail through all the same. The table is docs/sendmail.md's, too: a test holds
the two together.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum

from waymail.app.cli.output import CommandFailed, Exit
from waymail.wire.parameters import NOTIFY_VALUE


class Mode(Enum):
    """What is to be done."""

    MESSAGE = "m"  # -bm, and without any -b: send the message on standard input
    DIALOGUE = "s"  # -bs: SMTP on standard input and output
    LIST = "p"  # -bp, mailq: show what waits
    FLUSH = "q"  # -q: try again what waits
    ALIASES = "i"  # -bi, newaliases: nothing to do
    HELP = "h"


class Report(Enum):
    """How the caller is told of recipients that were refused (-oe)."""

    PRINT = "p"
    QUIET = "q"  # by the exit code alone
    MAIL = "m"  # by a notice to the sender
    MAIL_ONLY = "e"  # the same, and the exit code is 0


# Letters with a value, which may stand behind a space; with one that has to stand right behind them; and with none.
VALUES = "ABCDFLMNORVXbefhopr"
ATTACHED = "Qdq"
FLAGS = "GIUcimnstvx"

MEANING = {
    "-t": "Take the recipients from To, Cc and Bcc, besides those that are given.",
    "-f ADDRESS": "The sender, `<>` for none. Default: `from` of the settings, or the user at the machine's domain. Also `-r`.",
    "-F NAME": "The full name for From, where the message has no From.",
    "-i": "A line with nothing but a dot does not end the message. Also `-oi`.",
    "-bm": "Send the message on standard input: what happens anyhow.",
    "-bs": "Speak SMTP on standard input and output.",
    "-bp": "Show what waits. So does `mailq`.",
    "-q": "Try again at once what waits.",
    "-bi": "Nothing: there is no file of aliases to be made. The same for `newaliases`, and `-I`.",
    "-odq": "Do not try to send: let the message wait. All other `-od` are passed over.",
    "-oep": "Tell on standard error who was refused, and exit with a code that says so: what happens anyhow. Also `-oew`.",
    "-oeq": "Tell it by the exit code alone.",
    "-oem": "Tell it to the sender by mail, and by the exit code.",
    "-oee": "Tell it to the sender by mail, and exit with 0.",
    "-N WHEN": "When to send a notice: `never`, or some of `success`, `failure`, `delay` with commas between them.",
    "-R WHAT": "What a notice of failure holds of the message: `full` or `hdrs`.",
    "-V TEXT": "A word of yours that notices repeat.",
    "-v": "Tell on standard output who was accepted, and with which reply.",
    "-C FILE": "Settings to use instead of the usual files.",
    "--": "What follows are recipients.",
}

_NO_MODE = {
    "d": "the server is `waymail serve`",
    "D": "the server is `waymail serve`",
    "v": "addresses are not looked up before a message is sent",
    "t": "`waymail why ADDRESS` tells which way mail goes",
}


@dataclass(frozen=True, slots=True)
class Given:
    """A command line. `sender` is None where none was given, "" for the null path; `from_fields`: the recipients are those of
    the header, and those of `recipients` besides; `dot_ends`: a line with nothing but a dot ends the message. `notify`, `ret` and
    `envid` are DSN's (RFC 3461), in capitals but for the last. `config` is a file with settings of sendmail's."""

    mode: Mode = Mode.MESSAGE
    recipients: tuple[str, ...] = ()
    from_fields: bool = False
    sender: str | None = None
    full_name: str = ""
    dot_ends: bool = True
    queue_only: bool = False
    report: Report = Report.PRINT
    verbose: bool = False
    notify: str = ""
    ret: str = ""
    envid: str = ""
    config: str = ""


@dataclass(slots=True)
class _Reading:
    """What was read so far: the arguments of a `Given`."""

    values: dict[str, object] = field(default_factory=dict)
    recipients: list[str] = field(default_factory=list)


def parse(arguments: Sequence[str]) -> Given:
    """The command line of sendmail. Raises CommandFailed."""
    if "--help" in arguments[:1]:
        return Given(Mode.HELP)
    reading = _Reading()
    for letter, value in _letters(arguments, reading.recipients):
        _take(letter, value, reading.values)
    return Given(recipients=tuple(reading.recipients), **reading.values)  # type: ignore[arg-type]


def _letters(arguments: Sequence[str], recipients: list[str]) -> Iterator[tuple[str, str]]:
    """Each option's letter and its value; what is no option goes to `recipients`."""
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        if word == "--":
            recipients += rest
            return
        if not word.startswith("-") or word == "-":
            recipients.append(word)
            continue
        at = 1
        while at < len(word):
            letter, at = word[at], at + 1
            if letter in FLAGS:
                yield letter, ""
                continue
            if letter not in VALUES + ATTACHED:
                raise CommandFailed(Exit.USAGE, f"sendmail has no option -{letter}; see waymail sendmail --help")
            value = word[at:]
            if not value and letter in VALUES:
                if not rest:
                    raise CommandFailed(Exit.USAGE, f"a value is missing behind -{letter}; see waymail sendmail --help")
                value = rest.pop(0)
            yield letter, value
            break


def _take(letter: str, value: str, values: dict[str, object]) -> None:
    match letter:
        case "t" | "i" | "v":
            name, is_so = {"t": ("from_fields", True), "i": ("dot_ends", False), "v": ("verbose", True)}[letter]
            values[name] = is_so
        case "f" | "r":
            values["sender"] = value.strip().removeprefix("<").removesuffix(">")
        case "F":
            values["full_name"] = value
        case "C":
            values["config"] = value
        case "I":
            values["mode"] = Mode.ALIASES
        case "e":
            values["report"] = _report(value)
        case "b":
            values["mode"] = _mode(value)
        case "q":
            values["mode"] = _flush(value)
        case "o":
            _take_old(value, values)
        case "N" | "R" | "V":
            _take_dsn(letter, value, values)


def _take_old(value: str, values: dict[str, object]) -> None:
    """-o and one letter, which is an option of its own: those that are left of them."""
    if value[:1] == "i":
        values["dot_ends"] = False
    elif value[:1] == "e":
        values["report"] = _report(value[1:])
    elif value[:1] == "d":
        values["queue_only"] = value[1:2] in ("q", "d")  # "-odd": queue, and ask no DNS


def _take_dsn(letter: str, value: str, values: dict[str, object]) -> None:
    """RFC 3461 §4.1, §4.3, §4.4."""
    if letter == "N":
        notify = value.upper()
        if NOTIFY_VALUE.fullmatch(notify) is None:
            raise CommandFailed(Exit.USAGE, "-N is never, or some of success, failure and delay with commas between them")
        values["notify"] = notify
    elif letter == "R":
        if value.lower() not in ("full", "hdrs"):
            raise CommandFailed(Exit.USAGE, "-R is full or hdrs")
        values["ret"] = value.upper()
    else:
        if not (value.isascii() and value.isprintable()) or not 0 < len(value) <= 100:
            raise CommandFailed(Exit.USAGE, "-V is a text in ASCII, of at most 100 characters")
        values["envid"] = value


def _report(value: str) -> Report:
    if value[:1] == "w":  # on the terminal of the user: as good as anywhere
        return Report.PRINT
    try:
        return Report(value[:1])
    except ValueError:
        raise CommandFailed(Exit.USAGE, "-oe is followed by p, q, m, e or w") from None


def _mode(value: str) -> Mode:
    if value[:1] in "mspi" and value:
        return Mode(value[:1])
    instead = _NO_MODE.get(value[:1], "see waymail sendmail --help")
    raise CommandFailed(Exit.USAGE, f"sendmail -b{value} is not to be had: {instead}")


def _flush(value: str) -> Mode:
    if value[:1].isdigit():
        raise CommandFailed(Exit.USAGE, f"sendmail -q{value} is not to be had: let cron call sendmail -q")
    return Mode.FLUSH
