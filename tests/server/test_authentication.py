"""The SASL exchange between the wire and the users. The mechanisms themselves are `tests/wire/sasl`'s affair."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence

import pytest

from waymail.net.tls import PeerCertificate
from waymail.server.authentication import AT_ONCE, FROZEN, Authenticator, Blocked, Connection, Exchange, Turns
from waymail.server.backends.contract import BackendUnavailable, PassedExchange, TokenRefused, UserBackend
from waymail.server.guard import Guard, GuardLimits
from waymail.testing.clock import JumpingClock
from waymail.wire import sasl
from waymail.wire.sasl import Challenge, Channel, Failure, ScramKeys, Success

NONCE = "0123456789abcdef"
PLAIN = b"\0ann\0secret"
WRONG = b"\0ann\0wrong"
KEYS = ScramKeys.derive("secret", b"0123456789abcdef", 4096)


class Passwords(UserBackend):
    """Knows Ann, who may log in in every way. Waits for `gate`, and notes how many did at once."""

    secret = b"s" * 32
    mechanisms = frozenset(name for name in sasl.MECHANISMS if not name.endswith("-PLUS"))
    passes_through = False

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.gate.set()
        self.asked: list[str] = []
        self.at_once = self.most_at_once = 0
        self.fails = False
        self.frozen = False
        self.passed: PassedExchange | None = None

    async def _wait(self, what: str) -> None:
        self.asked.append(what)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await self.gate.wait()
        finally:
            self.at_once -= 1
        if self.fails:
            raise BackendUnavailable("no memory")

    async def verify(self, name: str, password: str) -> str | None:
        await self._wait("verify")
        return "ann" if (name, password) == ("ann", "secret") else None

    async def scram_keys(self, hash_name: str, name: str) -> ScramKeys | None:
        await self._wait(hash_name)
        return KEYS if (hash_name, name) == ("SCRAM-SHA-256", "ann") else None

    async def password(self, name: str) -> str | None:
        await self._wait("password")
        return "secret" if name == "ann" else None

    async def token(self, name: str, token: str) -> str | TokenRefused | None:
        await self._wait("token")
        if token == "old":
            return TokenRefused("has expired 90 s ago")
        return "ann" if token == "good" and name in ("", "ann") else None

    async def certificate(self, fingerprint: str, addresses: Sequence[str]) -> str:
        return "ann" if fingerprint == "f1" or "ann@example.org" in addresses else ""

    async def exchange(self, mechanism: str, connection: Mapping[str, str]) -> PassedExchange | None:
        return self.passed

    def is_frozen(self, user: str) -> bool:
        return self.frozen


@pytest.fixture
def passwords() -> Passwords:
    return Passwords()


@pytest.fixture
async def begin(passwords: Passwords) -> AsyncIterator[Callable[[str], Exchange]]:
    authenticator = Authenticator(passwords, nonce=lambda: NONCE)
    yield authenticator.begin
    await authenticator.close()


Begin = Callable[[str], Exchange]


async def test_a_right_password_gives_the_user(begin: Begin) -> None:
    assert await begin("PLAIN").step(PLAIN) == Success("ann")


async def test_without_an_initial_response_the_first_step_asks_for_it(begin: Begin) -> None:
    exchange = begin("PLAIN")
    assert await exchange.step(None) == Challenge(b"")
    assert await exchange.step(PLAIN) == Success("ann")


@pytest.mark.parametrize("initial", [b"\0ann\0wrong", b"\0nobody\0secret"])
async def test_a_wrong_password_and_an_unknown_user_fail_and_only_the_log_may_know_why(begin: Begin, initial: bytes) -> None:
    step = await begin("PLAIN").step(initial)
    assert isinstance(step, Failure)
    assert "wrong password or no such user" in step.cause
    assert "secret" not in step.cause


async def test_what_is_no_response_at_all_fails_without_a_look_at_a_password(begin: Begin, passwords: Passwords) -> None:
    assert isinstance(await begin("PLAIN").step(b"ann secret"), Failure)
    assert isinstance(await begin("PLAIN").step(b"\0\xff\0secret"), Failure)
    assert passwords.asked == []


async def test_login_asks_for_name_and_password(begin: Begin) -> None:
    exchange = begin("LOGIN")
    assert await exchange.step(None) == Challenge(b"Username:")
    assert await exchange.step(b"ann") == Challenge(b"Password:")
    assert await exchange.step(b"secret") == Success("ann")


async def test_scram_compares_no_password_and_proves_the_server_too(begin: Begin, passwords: Passwords) -> None:
    exchange, client = begin("scram-sha-256"), sasl.client_mechanism("SCRAM-SHA-256", "ann", "secret", "fedcba9876543210")
    step = await exchange.step(client.initial())
    while isinstance(step, Challenge):
        step = await exchange.step(client.step(step.data))
    assert step == Success("ann")
    client.succeeded()
    assert passwords.asked == ["SCRAM-SHA-256"], "looked up once, and no password compared"


async def test_scram_meets_an_unknown_user_with_a_challenge_like_any_other(begin: Begin) -> None:
    challenges = []
    for name in ("ann", "nobody"):
        client = sasl.client_mechanism("SCRAM-SHA-256", name, "wrong", "fedcba9876543210")
        exchange = begin("SCRAM-SHA-256")
        first = await exchange.step(client.initial())
        assert isinstance(first, Challenge)
        challenges.append([part[:2] for part in first.data.split(b",")])
        assert isinstance(await exchange.step(client.step(first.data)), Failure)
    assert challenges[0] == challenges[1] == [b"r=", b"s=", b"i="]


async def test_of_one_network_only_a_few_are_worked_on_at_a_time_and_the_others_do_not_wait_for_them(
    passwords: Passwords,
) -> None:
    authenticator = Authenticator(passwords, nonce=lambda: NONCE)
    passwords.gate.clear()
    here, there = Connection("192.0.2.1"), Connection("192.0.2.2")
    attempts = [asyncio.create_task(authenticator.begin("PLAIN", here).step(PLAIN)) for _ in range(3 * AT_ONCE)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert passwords.at_once == AT_ONCE
    other = asyncio.create_task(authenticator.begin("PLAIN", there).step(PLAIN))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert passwords.at_once == AT_ONCE + 1
    passwords.gate.set()
    assert await asyncio.gather(*attempts, other) == [Success("ann")] * (3 * AT_ONCE + 1)
    assert passwords.most_at_once == AT_ONCE + 1
    assert len(authenticator.turns) == 0, "nothing is kept of a network that is gone"


async def test_whoever_is_cancelled_leaves_the_line() -> None:
    turns = Turns(1)

    async def hold(until: asyncio.Event) -> None:
        async with turns.of("key"):
            await until.wait()

    never, now = asyncio.Event(), asyncio.Event()
    now.set()
    first, second = asyncio.create_task(hold(never)), asyncio.create_task(hold(never))
    await asyncio.sleep(0)
    second.cancel()
    first.cancel()
    await asyncio.gather(first, second, return_exceptions=True)
    assert len(turns) == 0
    async with asyncio.timeout(1):
        await hold(now)


async def test_that_the_users_cannot_be_asked_is_told_to_the_session(begin: Begin, passwords: Passwords) -> None:
    passwords.fails = True
    with pytest.raises(OSError, match="no memory"):
        await begin("PLAIN").step(PLAIN)


async def test_an_unknown_mechanism_is_refused_at_once(begin: Begin) -> None:
    with pytest.raises(sasl.UnknownMechanism):
        begin("GSSAPI")


async def test_cram_md5_fetches_the_password_in_the_middle_of_its_step(begin: Begin, passwords: Passwords) -> None:
    for password, outcome in (("secret", Success), ("wrong", Failure)):
        exchange, client = begin("CRAM-MD5"), sasl.client_mechanism("CRAM-MD5", "ann", password, "fedcba9876543210")
        challenge = await exchange.step(None)
        assert isinstance(challenge, Challenge)
        assert isinstance(await exchange.step(client.step(challenge.data)), outcome)
    assert passwords.asked == ["password", "password"]


async def test_scram_sha_1_of_a_user_who_has_only_keys_of_sha_256_is_like_that_of_nobody(
    begin: Begin, passwords: Passwords
) -> None:
    for name in ("ann", "nobody"):
        exchange, client = begin("SCRAM-SHA-1"), sasl.client_mechanism("SCRAM-SHA-1", name, "secret", "fedcba9876543210")
        challenge = await exchange.step(client.initial())
        assert isinstance(challenge, Challenge)
        assert isinstance(await exchange.step(client.step(challenge.data)), Failure)
    assert passwords.asked == ["SCRAM-SHA-1", "SCRAM-SHA-1"]


@pytest.mark.parametrize("mechanism", ["OAUTHBEARER", "XOAUTH2"])
async def test_a_token_is_asked_about_and_a_bad_one_fails_after_one_more_challenge(begin: Begin, mechanism: str) -> None:
    good = sasl.client_mechanism(mechanism, "ann", "", "fedcba9876543210", token="good")
    assert await begin(mechanism).step(good.initial()) == Success("ann")
    bad, exchange = sasl.client_mechanism(mechanism, "ann", "", "fedcba9876543210", token="bad"), begin(mechanism)
    challenge = await exchange.step(bad.initial())
    assert isinstance(challenge, Challenge)
    assert isinstance(await exchange.step(bad.step(challenge.data)), Failure)


@pytest.mark.parametrize("mechanism", ["OAUTHBEARER", "XOAUTH2"])
async def test_why_a_token_was_refused_is_for_the_log_and_the_client_sees_no_difference(begin: Begin, mechanism: str) -> None:
    challenges = []
    for text, cause in (("old", "the token for ann has expired 90 s ago"), ("bad", "the token for ann was refused")):
        client, exchange = sasl.client_mechanism(mechanism, "ann", "", "fedcba9876543210", token=text), begin(mechanism)
        challenge = await exchange.step(client.initial())
        assert isinstance(challenge, Challenge)
        challenges.append(challenge)
        assert await exchange.step(client.step(challenge.data)) == Failure(cause)
    assert challenges[0] == challenges[1]


@pytest.mark.parametrize(
    ("certificate", "outcome"),
    [
        (PeerCertificate((), "f1", ""), Success("ann")),
        (PeerCertificate(("ann@example.org",), "f2", ""), Success("ann")),
        (PeerCertificate(("host.example.org",), "f2", ""), None),
        (None, None),
    ],
)
async def test_external_is_whom_the_certificate_names(
    passwords: Passwords, certificate: PeerCertificate | None, outcome: Success | None
) -> None:
    # What the session says of it is not believed: only a certificate proves anything.
    connection = Connection("192.0.2.1", True, Channel(external=""), certificate)
    step = await Authenticator(passwords, nonce=lambda: NONCE).begin("EXTERNAL", connection).step(b"")
    assert step == outcome if outcome else isinstance(step, Failure)


async def test_an_exchange_that_the_back_end_carries_out_is_passed_through(passwords: Passwords) -> None:
    class Passed:
        user = "ann"
        closed = False

        async def step(self, response: bytes | None) -> Challenge | Success | Failure:
            return Success("eve") if response == b"sesame" else Challenge(b"say it")

        def close(self) -> None:
            self.closed = True

    passed = passwords.passed = Passed()
    exchange = Authenticator(passwords, nonce=lambda: NONCE).begin("PLAIN")
    assert await exchange.step(None) == Challenge(b"say it")
    assert await exchange.step(b"sesame") == Success("eve")
    exchange.close()
    assert passed.closed


# --- what is offered ---


def offered(passwords: Passwords, named: list[str] | None = None, **connection: object) -> tuple[str, ...]:
    authenticator = Authenticator(passwords, nonce=lambda: NONCE, mechanisms=named)
    return authenticator.mechanisms(Connection(**connection))  # type: ignore[arg-type]


def test_cram_md5_is_offered_only_by_name_and_plus_and_external_only_where_they_can_work(passwords: Passwords) -> None:
    assert offered(passwords) == ("SCRAM-SHA-256", "SCRAM-SHA-1", "OAUTHBEARER", "XOAUTH2", "PLAIN", "LOGIN")
    assert offered(passwords, ["PLAIN", "CRAM-MD5"]) == ("PLAIN", "CRAM-MD5")
    bound = offered(passwords, ["SCRAM-SHA-256"], channel=Channel({"tls-exporter": b"x"}))
    assert set(bound) == {"SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"}
    assert "EXTERNAL" in offered(passwords, certificate=PeerCertificate((), "f1", ""))


def test_what_the_users_cannot_do_is_not_offered_even_by_name(passwords: Passwords) -> None:
    passwords.mechanisms = frozenset({"PLAIN"})
    assert offered(passwords, ["PLAIN", "SCRAM-SHA-256"]) == ("PLAIN",)


def test_a_back_end_that_passes_exchanges_through_has_no_channel_to_bind_to(passwords: Passwords) -> None:
    passwords.passes_through = True
    assert not any(name.endswith("-PLUS") for name in offered(passwords, channel=Channel({"tls-unique": b"x"})))


# --- guessers and frozen accounts ---


FOUR = GuardLimits(failures=4)


class Guarded:
    """An authenticator with a guard, its clock and the waits that it asked for."""

    def __init__(self, passwords: Passwords, limits: GuardLimits = FOUR) -> None:
        self.waits: list[float] = []
        self.clock = JumpingClock()
        self.authenticator = Authenticator(passwords, nonce=lambda: NONCE, guard=Guard(limits), clock=self.clock)

    async def _pause(self, seconds: float) -> None:
        self.waits.append(seconds)

    async def step(self, response: bytes, address: str = "192.0.2.1") -> object:
        return await self.authenticator.begin("PLAIN", Connection(address), pause=self._pause).step(response)


async def test_each_failure_waits_longer_and_at_last_the_address_is_refused_without_a_look_at_a_password(
    passwords: Passwords,
) -> None:
    guarded = Guarded(passwords)
    for _ in range(4):
        assert isinstance(await guarded.step(WRONG), Failure)
    assert guarded.waits[:3] == [2.0, 4.0, 8.0]
    asked = len(passwords.asked)
    refused = await guarded.step(PLAIN)
    assert isinstance(refused, Blocked)
    assert (refused.reply.code, refused.reply.enhanced) == (421, "4.7.0")
    assert "15 minutes" in refused.reply.text
    assert len(passwords.asked) == asked
    assert await guarded.step(PLAIN, "192.0.2.2") == Success("ann")


async def test_an_address_is_let_in_again_after_its_time(passwords: Passwords) -> None:
    guarded = Guarded(passwords)
    for _ in range(4):
        await guarded.step(WRONG)
    await guarded.clock.advance(901)
    assert await guarded.step(PLAIN) == Success("ann")


async def test_many_attempts_at_once_are_no_way_around_the_guard(passwords: Passwords) -> None:
    guarded = Guarded(passwords)
    passwords.gate.clear()
    attempts = [asyncio.create_task(guarded.step(WRONG)) for _ in range(50)]
    await asyncio.sleep(0)
    passwords.gate.set()
    outcomes = await asyncio.gather(*attempts)
    assert len(passwords.asked) <= 4 + AT_ONCE
    assert sum(isinstance(one, Blocked) for one in outcomes) >= 50 - 4 - AT_ONCE


async def test_a_user_whom_many_addresses_guess_is_slowed_for_strangers_right_or_wrong_but_not_for_himself(
    passwords: Passwords,
) -> None:
    guarded = Guarded(passwords, GuardLimits(user_failures=3))
    assert await guarded.step(PLAIN, "198.51.100.1") == Success("ann")
    for last in range(1, 6):
        await guarded.step(WRONG, f"192.0.2.{last}")
    guarded.waits.clear()
    assert await guarded.step(PLAIN, "198.51.100.1") == Success("ann")
    assert guarded.waits == []
    assert await guarded.step(PLAIN, "203.0.113.9") == Success("ann")
    assert guarded.waits[0] >= 2.0


async def test_a_frozen_account_is_told_so_after_the_right_password_only(passwords: Passwords) -> None:
    passwords.frozen = True
    guarded = Guarded(passwords)
    assert await guarded.step(PLAIN) == Blocked(FROZEN)
    assert isinstance(await guarded.step(WRONG), Failure)
