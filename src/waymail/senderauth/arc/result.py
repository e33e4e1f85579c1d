"""What comes out when a chain is verified."""

from __future__ import annotations

from waymail.senderauth.authres.grammar import AuthenticationResults
from waymail.values import value


@value
class ArcResult:
    """The Chain Validation Status (RFC 8617 §4.4): `result` is none, pass or fail, and `reason` says why it failed.

    RFC 8617 §5.2.1: a failure of DNS is a fail, too; `temperror` then says that another attempt might end otherwise. `instances`
    is the number of ARC sets, `domain` and `selector` are those of the last seal.

    The following are there for a chain that passes: `domains`, those of the seals from the first on, whom one has to trust to
    believe the rest; `authserv_results`, what each of them found, None where that cannot be read; `oldest_pass`, the instance of
    the oldest message signature that still fits, 0 where all do (§5.2); `authentic`, where DNSSEC vouched for all keys.
    """

    result: str
    reason: str = ""
    instances: int = 0
    domain: str = ""
    selector: str = ""
    temperror: bool = False
    domains: tuple[str, ...] = ()
    authserv_results: tuple[AuthenticationResults | None, ...] = ()
    oldest_pass: int = 0
    authentic: bool = False
