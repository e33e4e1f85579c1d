"""Users of a Dovecot, asked over its auth-client socket (Dovecot Authentication Protocol, version 1).

Mechanisms are passed through whole: what Dovecot offers is offered, but for channel binding (-PLUS), and Dovecot carries it out.
A user may send as his name, or what the passdb gives as the extra field `addresses`.

    C: VERSION 1 2, CPID            S: VERSION, SPID, CUID, COOKIE, MECH ..., DONE
    C: AUTH id mechanism service=smtp ... resp=BASE64       S: CONT id BASE64 | OK id user=... | FAIL id ...
    C: CONT id BASE64

Promises: one connection for each exchange, so no exchange sees another's; deadlines and bounds of `net.lines`; a Dovecot that is
away or in trouble is `BackendUnavailable`. It delays failures by itself (2 s), which `TIMEOUT` has room for.
"""

from __future__ import annotations

import base64
import binascii
import itertools
import logging
import os
import re
from collections.abc import Collection, Mapping

from waymail.net.lines import Lines, LinesFailed
from waymail.server.backends.account import Account, Accounts, senders_of
from waymail.server.backends.contract import PASSWORD_MECHANISMS, BackendUnavailable, PassedExchange, UserBackend
from waymail.wire.sasl import Challenge, Failure, PreparationProblem, Success, user_name

log = logging.getLogger("waymail.server")

TIMEOUT = 30.0  # seconds for an answer: Dovecot delays failures
HANDSHAKE_TIMEOUT = 5.0  # seconds for each line of its greeting
MOST_GREETING = 100  # lines
# What Dovecot has and waymail's wire core knows; ANONYMOUS and the like are not for mail.
PASSED = frozenset(
    {*PASSWORD_MECHANISMS, "SCRAM-SHA-256", "SCRAM-SHA-1", "CRAM-MD5", "OAUTHBEARER", "XOAUTH2"}
)  # EXTERNAL: waymail has the certificate, not Dovecot

_ESCAPED = {"\001": "\0011", "\t": "\001t", "\r": "\001r", "\n": "\001n", "\0": "\0010"}
_UNESCAPED = {"1": "\001", "t": "\t", "r": "\r", "n": "\n", "0": "\0"}


class DovecotBackend(UserBackend):
    """See `UserBackend`."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._mechanisms: frozenset[str] = PASSWORD_MECHANISMS  # until Dovecot has said more
        self._accounts = Accounts()
        self._ids = itertools.count(1)

    @property
    def mechanisms(self) -> Collection[str]:
        return self._mechanisms

    @property
    def passes_through(self) -> bool:
        return True

    async def start(self) -> None:
        try:
            (await self._connected()).close()
        except BackendUnavailable as error:
            log.warning("Dovecot does not answer yet, PLAIN and LOGIN are offered", extra={"fields": {"error": str(error)}})

    async def verify(self, name: str, password: str) -> str | None:
        step = await (await self.exchange("PLAIN", {})).step(f"\0{name}\0{password}".encode())
        return step.user if isinstance(step, Success) else None

    async def exchange(self, mechanism: str, connection: Mapping[str, str]) -> PassedExchange:
        return DovecotExchange(self, await self._connected(), next(self._ids), mechanism, connection)

    def senders(self, user: str) -> Collection[str] | None:
        return self._accounts.senders(user)

    def logged_in(self, user: str, fields: Mapping[str, str]) -> None:
        """Keep what Dovecot said of a user."""
        self._accounts.remember(user, Account(senders_of(user, fields.get("addresses"))))

    async def _connected(self) -> Lines:
        """A connection after the greeting. Raises BackendUnavailable."""
        try:
            lines = await Lines.connect(self._path, timeout=HANDSHAKE_TIMEOUT)
        except LinesFailed as error:
            raise BackendUnavailable(f"Dovecot: {error}") from None
        try:
            lines.write("VERSION\t1\t2")
            lines.write(f"CPID\t{os.getpid()}")
            self._mechanisms = await self._greeted(lines)
        except BaseException as error:
            lines.close()
            if isinstance(error, LinesFailed):
                raise BackendUnavailable(f"Dovecot: {error}") from None
            raise
        return lines

    async def _greeted(self, lines: Lines) -> frozenset[str]:
        """The mechanisms that the greeting names."""
        found = set()
        for _ in range(MOST_GREETING):
            command, *parameters = (await lines.read(timeout=HANDSHAKE_TIMEOUT)).split("\t")
            if command == "VERSION" and parameters[:1] != ["1"]:
                raise BackendUnavailable(f"{self._path} speaks version {parameters[:1]} of Dovecot's protocol, not 1")
            if command == "MECH" and parameters:
                found.add(parameters[0].upper())
            if command == "DONE":
                return frozenset(found & PASSED)
        raise BackendUnavailable(f"{self._path} is no auth-client socket of Dovecot")


class DovecotExchange:
    """One exchange, on a connection of its own. `user` is whom Dovecot names where it fails; "" until then."""

    def __init__(self, backend: DovecotBackend, lines: Lines, id: int, mechanism: str, connection: Mapping[str, str]) -> None:
        self.user = ""
        self._backend = backend
        self._lines = lines
        self._id = id
        self._mechanism = mechanism
        self._connection = connection
        self._begun = False

    async def step(self, response: bytes | None) -> Challenge | Success | Failure:
        """See `PassedExchange`."""
        try:
            if self._begun:
                self._lines.write(f"CONT\t{self._id}\t{base64.b64encode(response or b'').decode()}")
            else:
                self._begun = True
                self._lines.write(self._request(response))
            step = await self._answer()
        except BaseException as error:
            self.close()
            if isinstance(error, LinesFailed):
                raise BackendUnavailable(f"Dovecot: {error}") from None
            raise
        if not isinstance(step, Challenge):
            self.close()
        return step

    def close(self) -> None:
        self._lines.close()

    def _request(self, response: bytes | None) -> str:
        parts = ["AUTH", str(self._id), self._mechanism, "service=smtp"]
        if self._connection.get("secure"):
            parts.append("secured")
        if address := self._connection.get("address"):
            parts.append(f"rip={escaped(address)}")
        if response is not None:
            parts.append(f"resp={base64.b64encode(response).decode()}")  # must be the last
        return "\t".join(parts)

    async def _answer(self) -> Challenge | Success | Failure:
        while True:
            command, *parameters = (await self._lines.read(timeout=TIMEOUT)).split("\t")
            if parameters[:1] != [str(self._id)]:
                continue  # what is no answer to this: a mechanism that came late, a new cookie
            fields = {name: unescaped(value) for name, _, value in (one.partition("=") for one in parameters[1:])}
            match command:
                case "CONT":
                    return Challenge(_octets(parameters[1] if len(parameters) > 1 else ""))
                case "OK":
                    return self._success(fields)
                case "FAIL":
                    return self._failure(fields)

    def _success(self, fields: Mapping[str, str]) -> Success | Failure:
        try:
            user = user_name(fields.get("user", ""))
        except PreparationProblem:
            user = ""
        if not user:
            return Failure("Dovecot named no user")
        self._backend.logged_in(user, fields)
        return Success(user)

    def _failure(self, fields: Mapping[str, str]) -> Failure:
        if "temp" in fields or fields.get("code") == "temp_fail":
            raise BackendUnavailable(f"Dovecot cannot tell at the moment: {fields.get('reason', 'see its log')}")
        self.user = fields.get("user", "")
        return Failure(f"Dovecot refused {self.user or 'the user'}" + (f": {fields['reason']}" if "reason" in fields else ""))


def escaped(text: str) -> str:
    """Dovecot's tab-escaping."""
    return "".join(_ESCAPED.get(one, one) for one in text)


def unescaped(text: str) -> str:
    """The other way."""
    return re.sub(r"\001(.)", lambda found: _UNESCAPED.get(found[1], found[1]), text, flags=re.DOTALL)


def _octets(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        raise BackendUnavailable("Dovecot sent a challenge that is no base64") from None
