"""What a message needs of the next hop, decided before MAIL: what is said instead where the hop lacks it, and how to spell.

Plain functions of the message and the offer. `refusal` gives the reply by which the message as a whole fails here; `spelling` the
form in which an address may go. What stands in the content (8-bit, binary, too large) is decided where it is read, in
`content`.
"""

from __future__ import annotations

from waymail.client.offer import Offer
from waymail.mail import address
from waymail.mail.envelope import Options
from waymail.wire import domains
from waymail.wire.replies import Reply

# RFC 8689 §4.2.1
NO_REQUIRETLS = Reply(550, "REQUIRETLS was asked for, and the next host does not offer it over verified TLS", "5.7.30")
# RFC 2852 §4.1.4.1: undeliverable for permanent reasons; RFC 3463 §3.4: 5.4.7, delivery time expired; §3.4: 5.3.3.
TOO_LATE = Reply(550, "the time within which delivery was asked for is over", "5.4.7")
NO_DELIVERBY = Reply(550, "the next host cannot promise delivery within the time that is left", "5.3.3")
NO_FUTURERELEASE = Reply(550, "the host does not offer to hold messages", "5.3.3")  # RFC 4865 §4.1: only where it is offered
HELD_TOO_LONG = Reply(550, "the host does not hold messages that long", "5.3.3")  # RFC 4865 §4.1 (3), (4)
# RFC 4865 §5.2.1
HELD_PAST_DEADLINE = Reply(550, "the message would be held past the time by which it is to be delivered", "5.5.4")
# RFC 6531 §3.5: 550 about the sender, 553 about a recipient, 554 about the content.
SENDER_NOT_ASCII = Reply(550, "a sender's address beyond ASCII needs SMTPUTF8, which the next host does not offer", "5.6.7")
RECIPIENT_NOT_ASCII = Reply(553, "an address beyond ASCII needs SMTPUTF8, which the next host does not offer", "5.6.7")
HEADER_NOT_ASCII = Reply(554, "header fields beyond ASCII need SMTPUTF8, which the next host does not offer", "5.6.9")


def refusal(
    options: Options, sender: str, offer: Offer, *, verified: bool, local: bool = False, lmtp: bool = False, now: float
) -> Reply | None:
    """Why a message with these options cannot go to a host with this offer; None where it can.

    `verified` is whether the session has TLS that was demanded, and a verified certificate; `local` whether it stays on this
    machine, where nobody can listen; with `lmtp` the message is delivered here and now. `now` is in seconds since the epoch.
    """
    # RFC 8689 §4.2.1: not for notices, which would have nowhere to go.
    if options.require_tls and sender and not local and not (verified and "REQUIRETLS" in offer.extensions):
        return NO_REQUIRETLS
    deliver_by = options.deliver_by
    if deliver_by is not None and deliver_by.mode == "R":
        left = deliver_by.until - now
        if left < 1:
            return TOO_LATE
        if (offer.shortest_by is None and not lmtp) or (offer.shortest_by or 0) > left:
            return NO_DELIVERBY
    return _refusal_to_hold(options, offer, now) if options.hold else None


def _refusal_to_hold(options: Options, offer: Offer, now: float) -> Reply | None:
    if "FUTURERELEASE" not in offer.extensions:
        return NO_FUTURERELEASE
    longest = offer.extensions["FUTURERELEASE"].partition(" ")[0]  # RFC 4865 §3: in seconds; behind it, the same as a date
    if longest.isascii() and longest.isdigit() and options.hold_until > now + int(longest):
        return HELD_TOO_LONG
    if options.deliver_by is not None and options.hold_until >= options.deliver_by.until:
        return HELD_PAST_DEADLINE
    return None


def spelling(mailbox: str, *, utf8: bool) -> str | None:
    """The form in which the address may go, None where there is none.

    Without SMTPUTF8 a U-label is written as the A-label that it stands for, which is the same domain (RFC 5890 §2.3.2.1); a
    local part has no other form (RFC 6531 §3.2: it is not for us to change).
    """
    if utf8 or mailbox.isascii():
        return mailbox
    local, domain = address.split(mailbox)
    if not local.isascii() or not domain:
        return None
    try:
        return f"{local}@{domains.to_ascii(domain)}"
    except domains.BadDomain:
        return None
