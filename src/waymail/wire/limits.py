"""The bounds of the wire: nothing a peer sends makes a buffer grow past one of these."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class WireLimits:
    """All in octets, but for those that count.

    `command_line` includes the CRLF: RFC 5321 §4.5.3.1.4 asks for 512, to which each extension adds its own increment.
    `auth_line` is one line of an authentication exchange (RFC 4954 §4). `message_size` is what SIZE offers (RFC 1870 §4).
    `recipients` counts those accepted for one message; RFC 5321 §4.5.3.1.8 asks for 100. `transactions` is how many messages a
    session may bring (MAILMAX of RFC 9422), 0 for any number; `hold` for how many seconds a message may be held (RFC 4865).
    `input_buffer` bounds what a client may send ahead of the replies. `reply_line` and `reply_lines` bound what a client takes
    from a server: RFC 5321 §4.5.3.1.5 allows servers 512 octets a line, and some write more. `reply_text` is how much is kept.
    """

    command_line: int = 2048
    auth_line: int = 12_288
    message_size: int = 52_428_800
    recipients: int = 1000
    transactions: int = 0
    hold: int = 0
    input_buffer: int = 1_048_576
    reply_line: int = 4096
    reply_lines: int = 512
    reply_text: int = 8192


DEFAULT = WireLimits()
