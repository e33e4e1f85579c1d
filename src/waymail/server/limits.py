"""Every bound and deadline of the receiving side, in one place. Past a bound the peer gets the reply named here, and nobody
else notices."""

from __future__ import annotations

from dataclasses import dataclass

MINUTE = 60.0


@dataclass(frozen=True, slots=True)
class Limits:
    """Sizes in octets, times in seconds.

    RFC 5321 §4.5.3.1 sets minima for sizes, §4.5.3.2.7 the five minutes that a server waits for a command.
    """

    message_size: int = 50_000_000  # 552 5.3.4 at MAIL or after the final dot
    recipients: int = 1_000  # 452 4.5.3 for each further RCPT; those accepted stand
    sessions: int = 20_000  # 421 4.3.2 instead of the greeting
    sessions_per_client: int = 1_000  # by IPv4 address or IPv6 /64; 421 4.7.0 instead of the greeting
    sessions_per_network: int | None = None  # by IPv4 /24 or IPv6 /48; 421 4.7.0 instead of the greeting
    connections_per_minute: int | None = None  # by client; 421 4.7.0 instead of the greeting
    messages_per_minute: int | None = None  # by user, or else by client
    crowded: float = 0.9  # the part of `sessions` from which on they are scarce
    crowded_share: float = 0.001  # the part of `sessions` that a client may have then and still get more; one at least
    crowded_timeout: float = 30.0  # how long a session may be silent then; 421 4.4.2
    errors: int = 20  # refused commands in a session; then 421 4.7.0
    junk: int = 1_000  # commands in a row that carry no mail (NOOP, RSET, VRFY, HELP, EHLO); then 421 4.7.0
    messages_per_session: int = 10_000  # 452 4.5.3 at the next MAIL (MAILMAX of RFC 9422)
    hold: float = 30 * 24 * 60 * MINUTE  # for how long a user may have a message held (RFC 4865); 501 5.5.4
    received_hops: int = 100  # Received fields; 554 5.4.6 (RFC 5321 §6.3)
    command_timeout: float = 5 * MINUTE  # waiting for a command; 421 4.4.2
    data_timeout: float = 10 * MINUTE  # waiting for the next octets of a message; 421 4.4.2
    message_time: float = 60 * MINUTE  # a whole message from DATA to its end, however steadily it drips; 421 4.4.2
    session_time: float = 24 * 60 * MINUTE  # a whole session; 421 4.4.2 when it is next idle
    handshake_timeout: float = 60.0  # TLS
    auth_failures: int = 3  # 535s in a session; then 421 4.7.0
    decision_time: float = 60.0  # what is asked of others before one answer, above all of DNS; 451 4.3.0
    head: int = 262_144  # the header section is looked at up to here
    unread: int = 65_536  # octets of replies that a client may leave unread before it is not listened to any more
