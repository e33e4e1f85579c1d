"""A server in a program of one's own.

    async def handle(mail: waymail.IncomingMail) -> None:
        print(mail.sender, mail.recipients, mail.email()["Subject"])

    async with waymail.Server(handle, "127.0.0.1:8025") as server:
        await server.serve_forever()

With a `config` it is the whole server of `waymail serve`, queue and all. What can be said of both stands in `Server`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Protocol, Self

from waymail.embedded.checking import UNIX, check_grace
from waymail.embedded.serving import Serving, Settings, Speaks, Tls
from waymail.embedded.users import Users
from waymail.net import streams
from waymail.server.limits import Limits

GRACE = 5.0  # seconds
LOOK = 0.5  # seconds between two looks at whether it still serves
ANYWHERE = "127.0.0.1:0"
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - and where a client of this machine finds who listens there


class Runs(Protocol):
    """A server of either kind. `start` and `stop` are called once; `failure` is what ended it otherwise."""

    certificate: Path | None

    @property
    def speaks(self) -> Speaks: ...

    @property
    def addresses(self) -> tuple[str, ...]: ...

    @property
    def failure(self) -> BaseException | None: ...

    async def start(self) -> None: ...

    async def stop(self, grace: float) -> None: ...


class Server:
    """Takes mail for a program, or with `config` for the world.

    `program` is an object with some of the methods `connect`, `mail`, `rcpt` and `message` (`embedded.program`), or a function
    that is given each message; plain functions are called in threads. `message` decides: when it has returned, the client is told
    that the message was taken, and nothing is kept but what the program has kept. `address` is "host:port", where port 0 takes a
    free one, or "unix:/path", or several of these.

    `hostname` is the name that the server gives (this machine's, where it is left out). `tls`: see `embedded.serving.Tls`; with
    it STARTTLS is offered, with `implicit_tls` TLS is spoken from the first octet, and `require_tls` refuses mail in clear.
    `users` may log in (`embedded.users.Users`), and must, unless `require_auth` is False; `auth_in_clear` lets them do so without
    TLS. `lmtp` speaks LMTP (RFC 2033) instead of SMTP. `size` is that of the largest message, in octets, `limits` has all other
    bounds. `extensions` are those of "DSN", "DELIVERBY", "MT-PRIORITY" and "REQUIRETLS" that the program takes care of. From the
    networks `proxies` a PROXY header is expected. `line_ends="normalise"` bears with clients that send LF alone. `mode` is that
    of the file of a Unix-domain socket. `timeout` is how long `message` may take, in seconds; for the other hooks it is
    `limits.decision_time`. `grace` is how long a stop waits for what is under way, in seconds.

    `config` is a configuration file, or the same as a mapping; the rest is said there, and `program` is a `waymail.Policy` that
    is asked instead of `[inbound] policy`, or None. That needs the extra `waymail[server]`, which a RuntimeError tells of.

    Raises TypeError or ValueError for what makes no sense.
    """

    def __init__(
        self,
        program: object,
        address: str | Sequence[str] = ANYWHERE,
        *,
        config: str | Path | Mapping[str, Any] | None = None,
        hostname: str = "",
        tls: Tls = None,
        implicit_tls: bool = False,
        require_tls: bool = False,
        users: Users | None = None,
        require_auth: bool | None = None,
        auth_in_clear: bool = False,
        lmtp: bool = False,
        size: int | None = None,
        limits: Limits | None = None,
        extensions: Sequence[str] = (),
        proxies: Sequence[str] = (),
        line_ends: Literal["strict", "normalise"] = "strict",
        mode: int = 0o660,
        timeout: float = 300.0,
        grace: float = GRACE,
    ) -> None:
        settings = Settings(
            hostname=hostname,
            tls=tls,
            implicit_tls=implicit_tls,
            require_tls=require_tls,
            users=users,
            require_auth=require_auth,
            auth_in_clear=auth_in_clear,
            lmtp=lmtp,
            size=size,
            limits=limits,
            extensions=extensions,
            proxies=proxies,
            line_ends=line_ends,
            mode=mode,
            timeout=timeout,
        )
        check_grace(grace)
        addresses = (address,) if isinstance(address, str) else tuple(address)
        self._grace = grace
        self._make: Callable[[], Runs] = lambda: Serving(program, addresses, settings)
        if config is not None:
            if settings != Settings() or addresses != (ANYWHERE,) or grace != GRACE:
                raise TypeError("with a config all else is said there")
            self._make = lambda: _whole(program, config)
        self._runs = self._make()  # what is wrong is said now
        self._state: Literal["new", "running", "stopped"] = "new"

    async def start(self) -> None:
        """Begin to serve; a server that was stopped begins anew. Raises ListenFailed where the address cannot be had, OSError,
        IdentityProblem for certificates that cannot be used, and with a config what `waymail serve` complains about."""
        if self._state == "running":
            raise RuntimeError("the server runs already")
        if self._state == "stopped":
            self._runs = self._make()
        self._state = "running"
        try:
            await self._runs.start()
        except BaseException:
            self._state = "stopped"
            raise

    async def stop(self) -> None:
        """Take no more mail, and return when what is under way has ended, after `grace` seconds at most. Safe to call twice.
        Raises what had ended the serving before, if anything had."""
        if self._state != "running":
            return
        self._state = "stopped"
        failure = self._runs.failure
        await self._runs.stop(self._grace)
        if failure is not None:
            raise failure

    async def serve_forever(self) -> None:
        """Wait until the server is stopped. Raises what ends it otherwise."""
        while self._state == "running":
            if (failure := self._runs.failure) is not None:
                raise failure
            await asyncio.sleep(LOOK)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            await self.stop()
        except Exception:
            if error is None:
                raise

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where it listens: "127.0.0.1:40123", "[::1]:40123", "unix:/path"; the real ports. Raises RuntimeError where it does
        not run."""
        if self._state != "running":
            raise RuntimeError("the server does not run: `async with server`, or `await server.start()`")
        return self._runs.addresses

    @property
    def address(self) -> str:
        """The first of the addresses."""
        return self.addresses[0]

    @property
    def port(self) -> int:
        """The first port. Raises RuntimeError where it listens at Unix-domain sockets only."""
        for address in self.addresses:
            if not address.startswith(UNIX):
                return streams.parse_address(address)[1]
        raise RuntimeError("the server has no port, it listens at Unix-domain sockets only")

    @property
    def url(self) -> str:
        """The first address as `waymail.send` takes it. Where it offers TLS, the client has to trust `certificate`."""
        return url_of(self.address, self._runs.speaks)

    @property
    def certificate(self) -> Path | None:
        """The file of the certificate that is served, where there is one: for ssl.create_default_context(cafile=...) of a client
        where nobody else vouches for it."""
        return self._runs.certificate


def url_of(address: str, speaks: Speaks) -> str:
    """The URL of a server that listens at `address`."""
    scheme = "lmtp" if speaks.lmtp else "smtps" if speaks.tls == "implicit" else "smtp"
    if address.startswith(UNIX):
        return f"{scheme}:{address.removeprefix(UNIX)}"
    host, port = streams.parse_address(address)
    where = streams.format_address(EVERYWHERE.get(host, host), port)
    return f"{scheme}://{where}" + ("?tls=off" if speaks.tls == "off" else "")


def _whole(program: object, config: str | Path | Mapping[str, Any]) -> Runs:
    """The server of `waymail serve`: by name, for it stands above this layer, and needs packages that this one does without."""
    try:
        module = import_module("waymail.app.embedding")
    except ModuleNotFoundError as error:
        raise RuntimeError(f'{error.name} is missing: a server with a config needs pip install "waymail[server]"') from error
    made: Runs = module.WholeServer(program, config)
    return made
