"""Who talks before he is greeted? A mail server waits for the greeting (RFC 5321 §4.3.1); a program that only wants to be rid of
its spam often does not.

A client that is not known is greeted `delay` seconds late. Whether it said something in that time is told by the session; who did
not is greeted without a delay for a day. What is done about one that did is for the policy to say.

Promises: memory is bounded; who waited once is not delayed again soon; without a `delay` nobody is delayed. What comes inside TLS
from the first octet on, or in a proxy's header, is no talk: the session does not count it.
"""

from __future__ import annotations

from collections.abc import Container

from waymail.server.kept import Recent
from waymail.server.networks import client_of
from waymail.wire.replies import Reply

KEEP = 86_400.0  # seconds that it is remembered who waited
MOST = 100_000  # clients

# RFC 5321 §3.1: 554 in place of the greeting. RFC 3463 §3.6: X.5.1, a command out of sequence.
REFUSAL = Reply(554, "you spoke before this server had greeted you; a mail server waits for the greeting", "5.5.1")


class EarlyTalkers:
    """Who is greeted late. `delay` is in seconds, 0 for nobody; the addresses in `exempt` never are."""

    def __init__(self, delay: float, *, exempt: Container[str] = (), keep: float = KEEP, most: int = MOST) -> None:
        self._delay = delay
        self._exempt = exempt
        self._waited: Recent[bool] = Recent(most, keep)

    def delay(self, address: str, now: float) -> float:
        """Seconds between the connection and the greeting."""
        if not self._delay or address in self._exempt or self._waited.get(client_of(address), now):
            return 0.0
        return self._delay

    def greeted(self, address: str, now: float, *, talked_early: bool) -> None:
        """The delay is over. Who talked is delayed the next time, too, whatever it did before."""
        self._waited.put(client_of(address), not talked_early, now)

    def go_on_from(self, other: EarlyTalkers) -> None:
        """Take over what another one knows, whose delay was different."""
        self._waited.go_on_from(other._waited)
