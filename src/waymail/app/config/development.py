"""The configuration of a server that was started without one: to try things out, on loopback, losing nothing and sending
nothing to the world.

It is written as a file would be, and read by the same code, so `waymail config show` can show it and a person can copy it.
"""

from __future__ import annotations

from pathlib import Path

from waymail.app.config.load import parse
from waymail.app.config.schema import Config, Source

# Where Linux lists the IPv6 addresses of this machine; the file is missing where IPv6 is switched off.
_LINUX_NETWORK = Path("/proc/net")
_LOOPBACK = "00000000000000000000000000000001"

TEXT = """\
hostname = "localhost"
data_dir = "."

[[listener]]                      # as other servers would send: no password, local recipients
kind = "mx"
address = "127.0.0.1:2525"

[[listener]]
kind = "mx"
address = "[::1]:2525"

[[listener]]                      # as users send: with a password
kind = "submission"
address = "127.0.0.1:5870"

[[listener]]
kind = "submission"
address = "127.0.0.1:4650"
tls = "implicit"

[tls]
self_signed = true

[relay]
allow = ["127.0.0.0/8", "::1/128"]

[routes]                          # everything lands in a Maildir here
"*" = "maildir:mail/{domain}/{local}"
"""

_IPV6_LISTENER = '[[listener]]\nkind = "mx"\naddress = "[::1]:2525"\n\n'


def development(directory: Path, *, ipv6: bool | None = None) -> Config:
    """The development configuration with all its files below `directory`. `ipv6` None finds out whether there is IPv6."""
    has_ipv6 = _has_ipv6_loopback() if ipv6 is None else ipv6
    config = parse(TEXT if has_ipv6 else TEXT.replace(_IPV6_LISTENER, ""), directory.absolute() / "development.toml")
    return config.read_from(Source())


def _has_ipv6_loopback() -> bool:
    if not _LINUX_NETWORK.is_dir():
        return True
    try:
        return _LOOPBACK in (_LINUX_NETWORK / "if_inet6").read_text()
    except OSError:
        return False
