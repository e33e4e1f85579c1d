"""Who logs in at a test's server (RFC 4954)."""

from __future__ import annotations

import secrets
from base64 import b64encode
from functools import lru_cache

from waymail.testing.smtp_options import Options
from waymail.wire.commands import Auth
from waymail.wire.replies import Reply
from waymail.wire.sasl import (
    Challenge,
    Failure,
    NeedsToken,
    NeedsVerification,
    ScramKeys,
    Secrets,
    ServerExchange,
    Step,
    saslprep,
    server_exchange,
    user_name,
)

WELCOME = Reply(235, "welcome", "2.7.0")
WRONG = Reply(535, "wrong user name, password or token", "5.7.8")
MALFORMED = Reply(501, "not a response of this mechanism", "5.5.2")
CANCELLED = Reply(501, "cancelled", "5.0.0")  # RFC 4954 §4
_ITERATIONS = 4096  # the fewest of RFC 7677 §3: a test does not want to wait


class Login:
    """The exchanges of one session. `user` is who has logged in, "" as long as nobody has."""

    def __init__(self, options: Options) -> None:
        self.user = ""
        self._passwords = {user_name(name): saslprep(password) for name, password in options.users.items()}
        self._exchange: ServerExchange | None = None
        self._claimed = ""

    def begin(self, auth: Auth) -> Reply:
        nothing_known = Secrets(self._scram_keys, self._passwords.get, b"waymail.testing")
        self._exchange = server_exchange(auth.mechanism, nonce=secrets.token_hex(16), secrets=nothing_known)
        return self._reply(self._exchange, self._exchange.start(auth.initial))

    def go_on(self, response: bytes | None) -> Reply:
        """The client's next response; None cancels."""
        if response is None or self._exchange is None:
            return CANCELLED
        return self._reply(self._exchange, self._exchange.step(response))

    def _reply(self, exchange: ServerExchange, step: Step) -> Reply:
        while isinstance(step, NeedsToken):
            step = exchange.verified(self._of_token(step))
        match step:
            case Challenge():
                return Reply(334, b64encode(step.data).decode())
            case Failure():
                return MALFORMED if step.malformed else WRONG
            case NeedsVerification() if self._passwords.get(step.user) != step.password:
                return WRONG
        self.user = step.user
        return WELCOME

    def _of_token(self, asked: NeedsToken) -> str | None:
        owners = [name for name, token in self._passwords.items() if token == asked.token and asked.user in ("", name)]
        return owners[0] if owners else None

    def _scram_keys(self, hash: str, user: str) -> ScramKeys | None:
        password = self._passwords.get(user)
        return None if password is None else _keys(password, hash)


@lru_cache
def _keys(password: str, hash: str) -> ScramKeys:
    return ScramKeys.derive(password, secrets.token_bytes(16), _ITERATIONS, hash)
