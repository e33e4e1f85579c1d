"""One connection to an SMTP or LMTP server as a line on which commands are said and replies come: all but the transaction.

`Line` knows what is said and what a reply means; how octets travel and how time passes it leaves to its two kinds: over asyncio
(`asynchronous.AsyncConnection`) and over a blocking socket (`blocking.BlockingConnection`). Whatever touches the world is one
of its methods. The steps of a session and of a transaction are coroutines that await those methods and nothing else, so the
same steps run in an event loop and, where no method ever suspends, in a plain thread (docs/decisions/0019).

How it fails: whatever ends the connection (lost, 421, silence past a timeout, a reply that makes no sense) is recorded once in
`trouble`, and whoever waits is woken. `ask` does not raise for it: it returns the replies that came. Being interrupted in the
middle aborts the connection, for nobody knows then where it stands.
"""

from __future__ import annotations

import ssl
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from math import inf
from typing import ParamSpec, TypeVar

from waymail.client.errors import Disconnected
from waymail.client.offer import NOTHING, Offer, offer_of
from waymail.client.transaction import Timeouts
from waymail.mail.outcome import Peer
from waymail.wire.client import ClientConnection, EndOfContent, Response
from waymail.wire.commands import Bdat, Command, Data
from waymail.wire.errors import ProtocolError
from waymail.wire.replies import Reply

P = ParamSpec("P")
T = TypeVar("T")


class Line(ABC):
    """A connection. Not to be used by two at a time.

    To be read, not set: `peer`, `trouble`, `offer` (what the latest EHLO offered), `heard` (what was answered since the
    connection began, or the transaction). Set by what opens a session: `is_authenticated`, `is_lmtp`, `is_local` (a Unix-domain
    socket), `opening` (what was answered until it was open).
    """

    def __init__(self, host: str, timeouts: Timeouts) -> None:
        self.timeouts = timeouts
        self.peer = Peer(host)
        self.is_confidential = self.is_verified = self.is_authenticated = self.is_lmtp = self.is_local = False
        self.trouble: Disconnected | None = None
        self.is_late = False  # the trouble is that no answer came in time
        self.offer: Offer = NOTHING
        self.core = ClientConnection()
        self.opening: Sequence[Response] = ()
        self.heard: list[Response] = []
        self._responses: list[Response] = []
        self._parting: Response | None = None  # 421, which is nobody's answer
        self._limit = inf
        self.opened_at = self.now()

    # --- what the two kinds of line do in their own way

    @abstractmethod
    def now(self) -> float:
        """The time by which deadlines are meant, in seconds since some moment."""

    @abstractmethod
    async def offload(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call what would take the event loop too long, where there is one."""

    @property
    @abstractmethod
    def tls(self) -> ssl.SSLObject | ssl.SSLSocket | None:
        """The TLS of the connection, None in cleartext."""

    @property
    @abstractmethod
    def remote(self) -> tuple[str, int]:
        """The other end's IP address and port, ("", 0) where it has none."""

    @property
    @abstractmethod
    def local(self) -> str:
        """This end's IP address, "" where it has none."""

    @abstractmethod
    def is_still_usable(self) -> bool:
        """`is_usable`, with an eye on what came while nobody waited for anything."""

    @abstractmethod
    async def replies(self, seconds: float) -> list[Response]:
        """The replies to all that is outstanding (at first: the greeting), `seconds` at most for each."""

    @abstractmethod
    async def start_tls(self, context: ssl.SSLContext, server_hostname: str, timeout: float) -> None:
        """Speak TLS from here on. Raises streams.TlsFailed; the connection is of no use then."""

    @abstractmethod
    def put(self, octets: bytes) -> bool:
        """Write what need not wait until there is room for it. False where it is known that it did not all go."""

    @abstractmethod
    async def write(self, octets: bytes) -> bool:
        """Write, and wait while there is no room, `timeouts.block` at most. False where the connection is gone."""

    @abstractmethod
    def leave(self) -> None:
        """Say QUIT, and do not wait longer than must be: the connection closes when the answer comes, or after `timeouts.quit`.
        Where it is the caller who waits, he does not wait past the deadline of what the connection was last used for. A
        connection that is in the middle of something is aborted."""

    @abstractmethod
    async def quit(self, deadline: float = inf) -> None:
        """`leave`, and wait until the connection is closed: `timeouts.quit` at most, not past `deadline` (by `now`), and not
        where QUIT cannot be said."""

    @abstractmethod
    def end(self, why: str, reply: Reply | None = None) -> None:
        """Close at once. `trouble` says why, unless it says so already."""

    # --- what a session needs

    @property
    def is_usable(self) -> bool:
        """Whether a transaction can begin: alive, nothing outstanding, nothing said unasked."""
        return self.trouble is None and not self.core.pending

    def describe(self, tls: str = "", *, confidential: bool = False, verified: bool = False) -> None:
        """Note who is at the other end, and what TLS came to, in words.

        `confidential` says whether a password may be sent, `verified` whether TLS was demanded and the host's certificate stood
        the test (RFC 8689 §4.2.1)."""
        self.is_confidential = confidential
        self.is_verified = verified
        self.peer = Peer(self.peer.host, self.remote[0], tls)

    def bound(self, deadline: float) -> None:
        """Wait for nothing past `deadline` (by `now`), whatever the timeouts say."""
        self._limit = deadline

    def _for_next(self, seconds: float) -> float:
        """How long the next reply may take, where each may take `seconds`: no longer than `timeouts.data` for the one to DATA,
        also behind those to other commands (RFC 5321 §4.5.3.2.4)."""
        pending = self.core.pending
        return min(seconds, self.timeouts.data) if pending and type(pending[0]) is Data else seconds

    def within(self, seconds: float) -> float:
        """So many seconds, or what is left of them until `bound`."""
        return max(0.0, min(seconds, self._limit - self.now()))

    def learn_extensions(self) -> None:
        """Note what the latest EHLO offered (RFC 5321 §4.1.1.1: what an earlier one did counts no more)."""
        self.offer = offer_of(self.core.extensions)

    async def ask(self, seconds: float, *commands: Command) -> list[Response]:
        """Send a group of commands in one write and wait for the replies, `seconds` at most for each.

        Where the connection ends meanwhile, `trouble` says why and only the replies that came are returned. Raises ValueError
        for an argument that cannot be sent, before anything is.
        """
        self.put(self.core.send(*commands))
        return await self.replies(seconds)

    def abort(self, why: str = "given up") -> None:
        """Close at once."""
        self.end(why)

    # --- what came

    def _take(self) -> list[Response]:
        """The replies that came since the last time."""
        responses, self._responses = self._responses, []
        self.heard += responses
        if self._parting is not None:
            self.heard.append(self._parting)
            self._parting = None
        return responses

    def _receive(self, data: bytes) -> bool:
        """Make of the octets what they are: replies, or the end of the connection. Whether a reply was complete."""
        try:
            responses = self.core.receive(data)
        except ProtocolError as error:
            self._responses += error.responses
            self.end(f"broke the protocol: {error}")
            return False
        for response in responses:
            # RFC 5321 §3.8: 421 may come at any moment. As the answer to the content it is an answer: not accepted.
            if response.reply.code == 421:
                if isinstance(response.command, (EndOfContent, Bdat)):
                    self._responses.append(response)
                else:
                    self._parting = response
                self.end(f"closes the connection: {response.reply}", response.reply)
                return False
            self._responses.append(response)
            is_refusal = response.reply.code >= 400 and isinstance(response.command, (EndOfContent, Bdat))
            if is_refusal and self.core.owes_content and response is responses[-1]:
                # It need not read the rest, and what it would take for a command nobody knows. (Where more replies came behind
                # it, what is owed is the content of the next transaction.)
                self.end(f"refused the content before it was complete: {response.reply}")
                return False
        if not self.core.pending and (not responses or not data.endswith(b"\n")):
            self.end("spoke unasked")  # more, or the beginning of more, than was awaited
        return bool(responses)

    def _troubled(self, why: str, reply: Reply | None = None) -> None:
        if self.trouble is None:
            self.trouble = Disconnected(f"{self.peer.host}: {why}", reply, self.peer)


def why_lost(error: Exception | None) -> str:
    """What to say where the connection was lost with `error`, or closed by the other side where that is None."""
    return f"the connection was lost: {error}" if error else "closed the connection"
