"""Who is local: the domains whose mail is finally delivered here, their recipients and aliases."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from waymail.mail import address as addresses
from waymail.mail import subaddress
from waymail.mail.envelope import Recipient
from waymail.wire.replies import Reply

NO_SUCH_USER = Reply(550, "no such user here", "5.1.1")
ALIAS_LOOP = Reply(550, "the alias leads to itself", "5.4.6")

MAX_ALIAS_DEPTH = 10
CATCH_ALL = "*"  # the alias of all whom a domain does not know
_NO_MAILBOX = frozenset("/\0")


@dataclass(frozen=True, slots=True)
class LocalDomain:
    """One local domain. `recipients` holds local parts in lower case; None takes any.

    `aliases` leads from a local part to addresses; one without "@" is in the same domain, and that of "*" is for all who are not
    known. `detail` separates user and detail (RFC 5233): with "+", ann+lists exists where ann does; "" is for domains without.
    """

    recipients: frozenset[str] | None = None
    aliases: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    detail: str = ""

    def user(self, name: str) -> tuple[str, str]:
        """The mailbox or alias that a local part is for, and its detail. One that is called so comes before any detail."""
        if not self.detail or self.detail not in name or name in self.aliases:
            return name, ""
        return subaddress.split(name, self.detail, self._is_named if self.recipients is not None else None) or (name, "")

    def has_mailbox(self, user: str) -> bool:
        # RFC 5321 §4.5.1: postmaster is always accepted.
        if self.recipients is not None:
            return user in self.recipients or user == "postmaster"
        # Any mailbox: but such names cannot be one (they would lead out of their folder), and bouncing later is backscatter.
        return not user.startswith(".") and not _NO_MAILBOX.intersection(user)

    def is_known(self, user: str) -> bool:
        """Whether mail for it has somewhere to go, be it that all has."""
        return self._is_named(user) or CATCH_ALL in self.aliases

    def _is_named(self, user: str) -> bool:
        return user in self.aliases or self.has_mailbox(user)


class Directory:
    """Finds recipients. Local parts of local domains are compared without regard to case: this server assigned them
    (RFC 5321 §2.4 leaves it to the host that delivers)."""

    def __init__(self, hostname: str, domains: Mapping[str, LocalDomain]) -> None:
        self._domains = {name.lower(): domain for name, domain in domains.items()}
        self.domains = frozenset(self._domains)
        # RFC 5321 §4.5.1: <Postmaster> without a domain means the one of this host.
        self._home = hostname.lower()
        self._postmaster = self._home if self._home in self._domains else next(iter(self._domains), self._home)

    def resolve(self, address: str) -> tuple[Recipient, ...] | Reply | None:
        """The recipients that an address stands for: itself, or where its alias leads; a refusal; None where the address is not
        ours."""
        if "@" not in address:  # the grammar lets only "postmaster" through without a domain
            address = f"{address}@{self._postmaster}"
            if self._postmaster not in self._domains:
                return (Recipient(address),)
        name, domain = addresses.folded(addresses.mailbox_name(address)), addresses.domain_of(address)
        if domain == self._home and addresses.is_postmaster(address):  # whom notices come from, and name for questions
            domain = self._postmaster
        known = self._domains.get(domain)
        if known is None:
            return None
        if name == "abuse" and not known.is_known(name):  # RFC 2142 §4: where people complain of what comes from here
            name = "postmaster"
        # One mailbox has one spelling from here on; what was asked for is remembered.
        mailbox = addresses.from_name(name, domain)
        user, _ = known.user(name)
        if user not in known.aliases:
            if known.has_mailbox(user):
                return (Recipient(mailbox, None if mailbox == address else address),)
            if CATCH_ALL not in known.aliases:
                return NO_SUCH_USER
            mailbox = addresses.from_name(CATCH_ALL, domain)
        found: dict[str, Recipient] = {}
        if not self._follow(mailbox, address, found, MAX_ALIAS_DEPTH):
            return ALIAS_LOOP
        return tuple(found.values()) or NO_SUCH_USER

    def _follow(self, address: str, original: str, found: dict[str, Recipient], depth: int) -> bool:
        """Collect where an alias leads, each address once. False where it leads round in a circle."""
        if depth == 0:
            return False
        name, domain = addresses.folded(addresses.mailbox_name(address)), addresses.domain_of(address)
        known = self._domains.get(domain)
        if known is None:
            found[addresses.normalise(address)] = Recipient(address, original)
            return True
        user, detail = known.user(name)
        mailbox = addresses.from_name(name, domain)
        if user not in known.aliases:
            if known.has_mailbox(user):
                found[mailbox] = Recipient(mailbox, original)
            return True
        for target in known.aliases[user]:
            full = target if "@" in target else f"{target}@{domain}"
            if addresses.same(
                full, addresses.from_name(user, domain)
            ):  # an alias that names itself too: the mailbox keeps a copy
                if known.has_mailbox(user):
                    found[mailbox] = Recipient(mailbox, original)
            elif not self._follow(self._with_detail(full, detail), original, found, depth - 1):
                return False
        return True

    def _with_detail(self, target: str, detail: str) -> str:
        """Where an alias leads, with the detail that was asked of it, if it has none and its domain is ours and takes one. A
        foreign domain gets its address as the alias has it: it may know no details."""
        domain = addresses.domain_of(target)
        known = self._domains.get(domain)
        if not detail or known is None or not known.detail:
            return target
        name = addresses.folded(addresses.mailbox_name(target))
        return target if known.user(name)[1] else addresses.from_name(f"{name}{known.detail}{detail}", domain)
