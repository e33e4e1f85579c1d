"""Which messages a command is for: the ids and options that `waymail queue` commands share, as a selection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from waymail.app.cli.output import CommandFailed, Exit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from waymail.store.contract import Selection

Switch = Annotated[bool, Parameter(negative="")]


@Parameter(name="*")
@dataclass(frozen=True)
class Narrowed:
    """What narrows a list down; all that is given must hold."""

    sender: str | None = None
    """Messages from this address; `<>` for those without a sender."""
    recipient: str | None = None
    """Recipients with this address, or that were sent to it before an alias led away."""
    destination: str | None = None
    """Recipients in this domain."""
    below: Switch = False
    """With --destination: in the domains below it, too."""
    older: str | None = None
    """Messages accepted longer ago than this: 30m, 2h, 1d."""

    @property
    def is_given(self) -> bool:
        """Whether anything is."""
        return any(one is not None for one in (self.sender, self.recipient, self.destination, self.older))

    def selection(self, ids: Sequence[str] = (), *, now: float) -> Selection:
        """As the store understands it; without anything given, all. Raises CommandFailed for what cannot be."""
        from waymail.mail.envelope import decode_id
        from waymail.store.contract import Selection

        for id in ids:
            if decode_id(id) is None:
                raise CommandFailed(Exit.USAGE, f"{id} is no queue id: those have 13 letters and digits, as a list shows them")
        if self.below and self.destination is None:
            raise CommandFailed(Exit.USAGE, "--below needs --destination DOMAIN")
        return Selection(
            ids=tuple(ids),
            sender=None if self.sender is None else self.sender.strip().removeprefix("<").removesuffix(">"),
            recipient=_not_empty("--recipient", self.recipient),
            domain=domain_of(_not_empty("--destination", self.destination)),
            below=self.below,
            older=None if self.older is None else now - _seconds(self.older),
            everything=not (ids or self.is_given),
        )


@Parameter(name="*")
@dataclass(frozen=True)
class Chosen(Narrowed):
    """What a command changes. Nothing given means nothing; `--all` says all."""

    everything: Annotated[bool, Parameter(name="--all", negative="")] = False
    """All messages."""

    def strictly(self, ids: Sequence[str], *, now: float, or_by: str = "--via") -> Selection:
        """The selection. Raises CommandFailed where it was not said which messages, or two ways that do not go together. `or_by`
        are the other options of the command that say it."""
        if not (ids or self.is_given or self.everything):
            others = ", ".join(filter(None, ("ids", "--sender", "--recipient", "--destination", or_by)))
            which = f"give {others} or --older; or --all"
            raise CommandFailed(Exit.USAGE, f"which messages? {which}")
        if self.everything and (ids or self.is_given):
            raise CommandFailed(Exit.USAGE, "--all is for all messages: leave out the ids and the other options, or --all")
        return self.selection(ids, now=now)


def domain_of(text: str) -> str:
    """The domain in a domain or an address, in its normal form."""
    from waymail.mail.envelope import Recipient

    return Recipient(f"postmaster@{text.rpartition('@')[2].strip().removesuffix('.')}").domain if text else ""


def _not_empty(option: str, value: str | None) -> str:
    if value is not None and not value.strip():
        raise CommandFailed(Exit.USAGE, f"{option} is empty: that would be all messages")
    return value or ""


def _seconds(text: str) -> float:
    from waymail.app.units import duration

    try:
        return duration(text)
    except ValueError as error:
        raise CommandFailed(Exit.USAGE, f"--older: {error}") from None
