"""Final delivery to a program: one run for each recipient, the message on its standard input.

**A recipient is Delivered when the program ended with 0.** What else it says is read as other mail systems read it, the exit
statuses of sysexits.h and an enhanced status code (RFC 3463) at the beginning of its output. What is the operator's to mend, and
what nobody can know the meaning of, is Deferred: a program that is missing or takes too long, a wrong option, a crash.

Nothing that a stranger wrote reaches a shell, and no address can become an option of the program: where an argument would begin
with "-" by it, the recipient fails, unless "--" stands before it.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

from waymail.delivery import final
from waymail.delivery.turns import BUDGET, Turns
from waymail.mail import address as addresses
from waymail.mail.envelope import Body, Envelope, Recipient
from waymail.mail.outcome import Deferred, Delivered, Failed, Outcome
from waymail.mail.received import delivered_to, return_path
from waymail.net.process import Bounds, CannotStart, Ended, Identity, Program, run
from waymail.wire.replies import Reply

SAID = 300  # characters of a line of output, and
LINES = 20  # lines of it, that are told on
PATH = "/usr/local/bin:/usr/bin:/bin"
PLACEHOLDERS = ("recipient", "original", "local", "user", "detail", "domain", "sender", "id")

_PLACEHOLDER = re.compile(r"\{(\w+)\}")
_STATUS = re.compile(r"([45]\.\d{1,3}\.\d{1,3})[ \t]+(\S.*)")
_DELIVERED = Delivered(Reply(250, "taken by the program for this address", "2.0.0"), final=True)
_NO_RECIPIENT = Failed(Reply(550, "this address cannot be delivered to here", "5.1.3"))
_NO_SENDER = Failed(Reply(550, "mail from this address cannot be delivered here", "5.1.7"))
_NO_TURN = Deferred(Reply(451, "the program for this address has been too busy", "4.3.2"))
_NOT_NOW = Reply(451, "the program for this address failed", "4.3.0")
_CANNOT_START = Reply(451, "the program for this address cannot be run now", "4.3.5")
_TOO_LONG = Reply(451, "the program for this address took too long", "4.3.0")
# sysexits.h, with the codes that other mail systems give them. What is not here may be mended: it is tried again.
_FAILED = {
    65: Reply(554, "the message was refused as malformed", "5.6.0"),
    67: Reply(550, "no such user here", "5.1.1"),
    68: Reply(550, "no such host", "5.1.2"),
    69: Reply(554, "the program for this address refused the message", "5.3.0"),
    76: Reply(554, "the program for this address refused the message", "5.5.0"),
    77: Reply(554, "permission denied", "5.7.0"),
}


@dataclass(frozen=True, slots=True)
class Settings:
    """What is run, and how. `command` may hold {placeholders}; `timeout` in seconds; `concurrency` is over all messages."""

    command: tuple[str, ...]
    identity: Identity | None = None
    bounds: Bounds = Bounds()  # noqa: RUF009 - frozen
    environment: Mapping[str, str] = field(default_factory=dict)
    directory: str = "/"
    timeout: float = 300.0
    concurrency: int = 4
    lf: bool = True


class PipeTransport:
    """Delivers to one program. `budget` as for `Turns`. Raises ValueError for a placeholder that does not exist."""

    def __init__(self, settings: Settings, *, budget: float = BUDGET) -> None:
        if unknown := unknown_placeholders(settings.command):
            raise ValueError(f"{{{unknown[0]}}} means nothing in a command: there are {', '.join(PLACEHOLDERS)}")
        self._settings = settings
        self._turns = Turns(settings.concurrency, budget=budget)

    async def deliver(self, envelope: Envelope, body: Body, recipients: Sequence[Recipient]) -> dict[str, Outcome]:
        """Run the program for each recipient. The outcomes are by `Recipient.address`."""
        until = self._turns.until()
        async with asyncio.TaskGroup() as group:
            tasks = {one.address: group.create_task(self._in_turn(envelope, body, one, until)) for one in recipients}
        return {address: task.result() for address, task in tasks.items()}

    async def _in_turn(self, envelope: Envelope, body: Body, recipient: Recipient, until: float) -> Outcome:
        if not await self._turns.take(until):
            return _NO_TURN
        try:
            return await self._deliver(envelope, body, recipient)
        finally:
            self._turns.give_back()

    async def _deliver(self, envelope: Envelope, body: Body, recipient: Recipient) -> Outcome:
        settings = self._settings
        values = values_for(envelope, recipient)
        if not (all(map(str.isprintable, values.values())) and _is_free_of_options(settings.command, values, without="sender")):
            return _NO_RECIPIENT
        if not _is_free_of_options(settings.command, values):
            return _NO_SENDER
        command = tuple(_filled(word, values) for word in settings.command)
        environment = self._environment(values, envelope)
        program = Program(command, environment, settings.directory, settings.identity, settings.bounds)
        fields = return_path(envelope.sender) + delivered_to(recipient.address)
        try:
            ended = await run(program, final.content(envelope, body, fields, lf=settings.lf), timeout=settings.timeout)
        except CannotStart as error:
            return Deferred(_CANNOT_START, destination_down=True, cause=str(error))
        except OSError as error:
            return Deferred(_NOT_NOW, cause=str(error))
        return judged(ended)

    def _environment(self, values: Mapping[str, str], envelope: Envelope) -> dict[str, str]:
        who = self._settings.identity
        whose = {"HOME": who.home, "USER": who.name, "LOGNAME": who.name} if who and who.name else {}
        named = {name.upper(): value for name, value in values.items() if name not in ("id", "user", "original")}
        told = {"QUEUE_ID": envelope.id, "ORIGINAL_RECIPIENT": values["original"], "CLIENT_ADDRESS": envelope.origin.address}
        return {"PATH": PATH, "LANG": "C.UTF-8"} | whose | dict(self._settings.environment) | named | told


def unknown_placeholders(command: Sequence[str]) -> list[str]:
    """Those that mean nothing. What is no word in braces is none."""
    return [name for word in command for name in _PLACEHOLDER.findall(word) if name not in PLACEHOLDERS]


def values_for(envelope: Envelope, recipient: Recipient) -> dict[str, str]:
    """What the placeholders stand for. The local part is without its quoting (RFC 5321 §4.1.2), and split at the first "+"."""
    local = addresses.mailbox_name(recipient.address)
    user, _, detail = local.partition("+")
    return {
        "recipient": recipient.address,
        "original": recipient.original or recipient.address,
        "local": local,
        "user": user,
        "detail": detail,
        "domain": recipient.domain,
        "sender": envelope.sender,
        "id": envelope.id,
    }


def _filled(word: str, values: Mapping[str, str]) -> str:
    return _PLACEHOLDER.sub(lambda found: values[found[1]], word)


def _is_free_of_options(command: Sequence[str], values: Mapping[str, str], *, without: str = "") -> bool:
    """Whether no argument becomes an option by what a stranger wrote. `without` names a value that is not looked at."""
    for word in command[1:]:
        if word == "--":
            return True
        stranger = (begins := _PLACEHOLDER.match(word)) and begins[1] != without
        if stranger and _filled(word, values).startswith("-"):
            return False
    return True


def judged(ended: Ended) -> Outcome:
    """What the end of a program means. The operator finds what it said in the trace."""
    lines = said(ended.output)
    first, status = (lines or ("",))[0], ended.status
    how = f"ended by signal {-status}" if status < 0 else f"exit status {status}"
    if ended.timed_out:
        return Deferred(_TOO_LONG, uncertain=True, cause=f"killed, since it took too long: {first}", dialogue=lines)
    if status == 0:
        return _DELIVERED
    dialogue = (how, *lines)
    if status > 0 and (found := _STATUS.match(first)):
        enhanced, text = found.groups()
        if enhanced.startswith("5"):
            return Failed(Reply(554, text, enhanced), dialogue=dialogue)
        return Deferred(Reply(451, text, enhanced), cause=how, dialogue=dialogue)
    if (reply := _FAILED.get(status)) is not None:
        return Failed(reply, dialogue=dialogue)
    return Deferred(_NOT_NOW, cause=f"{how}: {first}" if first else how, dialogue=dialogue)


def said(output: bytes) -> tuple[str, ...]:
    """The first lines that have something in them, fit to be shown."""
    lines = (
        "".join(one if one.isprintable() else " " for one in line).strip()
        for line in output.decode("utf-8", "replace").splitlines()
    )
    return tuple(line[:SAID] for line in islice(filter(None, lines), LINES))
