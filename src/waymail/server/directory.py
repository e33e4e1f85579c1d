"""Who is local: the domains whose mail is finally delivered here, their recipients and aliases."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from waymail.mail import address as addresses
from waymail.mail.envelope import Recipient
from waymail.wire.replies import Reply

NO_SUCH_USER = Reply(550, "no such user here", "5.1.1")
ALIAS_LOOP = Reply(550, "the alias leads to itself", "5.4.6")

MAX_ALIAS_DEPTH = 10
_NO_MAILBOX = frozenset("/\0")


@dataclass(frozen=True, slots=True)
class LocalDomain:
    """One local domain. `recipients` holds local parts in lower case; None takes any.

    `aliases` leads from a local part to addresses; one without "@" is in the same domain.
    """

    recipients: frozenset[str] | None = None
    aliases: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


class Directory:
    """Finds recipients. Local parts of local domains are compared without regard to case: this server assigned them
    (RFC 5321 §2.4 leaves it to the host that delivers)."""

    def __init__(self, hostname: str, domains: Mapping[str, LocalDomain]) -> None:
        self._domains = {name.lower(): domain for name, domain in domains.items()}
        # RFC 5321 §4.5.1: <Postmaster> without a domain means the one of this host.
        home = hostname.lower()
        self._postmaster = home if home in self._domains else next(iter(self._domains), home)

    def resolve(self, address: str) -> tuple[Recipient, ...] | Reply | None:
        """The recipients that an address stands for: itself, or where its alias leads; a refusal; None where the address is not
        ours."""
        if "@" not in address:  # the grammar lets only "postmaster" through without a domain
            address = f"{address}@{self._postmaster}"
            if self._postmaster not in self._domains:
                return (Recipient(address),)
        name, domain = addresses.folded(addresses.mailbox_name(address)), addresses.domain_of(address)
        known = self._domains.get(domain)
        if known is None:
            return None
        # One mailbox has one spelling from here on; what was asked for is remembered.
        mailbox = addresses.from_name(name, domain)
        if name not in known.aliases:
            if not self._exists(name, known):
                return NO_SUCH_USER
            return (Recipient(mailbox, None if mailbox == address else address),)
        found: dict[str, Recipient] = {}
        if not self._follow(mailbox, address, found, MAX_ALIAS_DEPTH):
            return ALIAS_LOOP
        return tuple(found.values()) or NO_SUCH_USER

    def _exists(self, name: str, domain: LocalDomain) -> bool:
        # RFC 5321 §4.5.1: postmaster is always accepted.
        if domain.recipients is not None:
            return name in domain.recipients or name == "postmaster"
        # Any mailbox: but such names cannot be one (they would lead out of their folder), and bouncing later is backscatter.
        return not name.startswith(".") and not _NO_MAILBOX.intersection(name)

    def _follow(self, address: str, original: str, found: dict[str, Recipient], depth: int) -> bool:
        """Collect where an alias leads, each address once. False where it leads round in a circle."""
        if depth == 0:
            return False
        name, domain = addresses.folded(addresses.mailbox_name(address)), addresses.domain_of(address)
        known = self._domains.get(domain)
        if known is None:
            found[addresses.normalise(address)] = Recipient(address, original)
            return True
        mailbox = addresses.from_name(name, domain)
        targets = known.aliases.get(name)
        if targets is None:
            if self._exists(name, known):
                found[mailbox] = Recipient(mailbox, original)
            return True
        for target in targets:
            full = target if "@" in target else f"{target}@{domain}"
            if addresses.same(full, mailbox):  # an alias that names itself too: the mailbox keeps a copy
                if self._exists(name, known):
                    found[mailbox] = Recipient(mailbox, original)
            elif not self._follow(full, original, found, depth - 1):
                return False
        return True
