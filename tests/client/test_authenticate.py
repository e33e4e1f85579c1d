"""AUTH, from the offer to the 235: which mechanism is taken, what is sent where, and what is not believed."""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trustme

from waymail.client.connection import Connection
from waymail.client.errors import AuthenticationFailed, ConnectionFailed
from waymail.client.target import Credentials, Tls, Token
from waymail.client.transaction import Timeouts
from waymail.net import binding
from waymail.testing.peer import DROP, HANG, Peer, Rule
from waymail.wire.replies import Reply
from waymail.wire.sasl import Challenge, Channel, NeedsToken, NeedsVerification, ScramKeys, Secrets, Success, server_exchange

Connect = Callable[..., Awaitable[Connection]]
ANN = Credentials("ann", "secret word")
OFFER = "EXTERNAL SCRAM-SHA-256-PLUS SCRAM-SHA-256 SCRAM-SHA-1-PLUS SCRAM-SHA-1 CRAM-MD5 OAUTHBEARER XOAUTH2 PLAIN LOGIN"


class Authority:
    """The server's side of AUTH, as rules of a peer. `attempts` has the mechanisms, `tokens` the bearer tokens it was shown."""

    def __init__(self, password: str = ANN.password, good_token: str = "", channel: Channel = Channel()) -> None:  # noqa: B008
        self.user = ""
        self.attempts: list[str] = []
        self.tokens: list[str] = []
        self._password = password
        self._good_token = good_token
        self._channel = channel
        self._exchange = server_exchange("PLAIN", nonce="n" * 24, secrets=self._secrets)

    @property
    def _secrets(self) -> Secrets:
        def keys(hash_name: str, user: str) -> ScramKeys:
            return ScramKeys.derive(self._password, b"salt" * 4, 4096, hash_name)

        return Secrets(keys, lambda _: self._password, b"x" * 32)

    def begin(self, line: bytes) -> bytes:
        _, mechanism, *initial = line.decode().split(" ")
        self.attempts.append(mechanism)
        self._exchange = server_exchange(mechanism, nonce="n" * 24, secrets=self._secrets, channel=self._channel)
        if not initial:
            return self._say(self._exchange.start(None))
        return self._say(self._exchange.start(b"" if initial[0] == "=" else base64.b64decode(initial[0])))

    def go_on(self, line: bytes) -> bytes:
        return self._say(self._exchange.step(base64.b64decode(line)))

    def _say(self, step: object) -> bytes:
        match step:
            case Challenge(data):
                return b"334 " + base64.b64encode(data) + b"\r\n"
            case NeedsToken(_, token):
                self.tokens.append(token)
                return self._say(self._exchange.verified("ann" if token == self._good_token else None))
            case NeedsVerification(user, password) if password == self._password:
                return self._say(Success(user))
            case Success(user):
                self.user = user
                return b"235 2.7.0 welcome\r\n"
        return b"535 5.7.8 no\r\n"

    @property
    def rules(self) -> list[Rule]:
        return [("AUTH", self.begin), ("(?!STARTTLS$|QUIT$)[A-Za-z0-9+/]+=*$|$", self.go_on)]


def auths(peer: Peer) -> list[bytes]:
    return [line for line in peer.commands if line.startswith(b"AUTH")]


def offering(authority: Authority, offer: str, tls: ssl.SSLContext | None = None) -> Peer:
    return Peer(authority.rules, extensions=(f"AUTH {offer}",), tls=tls)


# --- which mechanism


async def test_the_strongest_mechanism_is_taken(connect: Connect, server_tls: ssl.SSLContext) -> None:
    authority = Authority()
    async with Peer(authority.rules, extensions=("AUTH PLAIN LOGIN SCRAM-SHA-256",), tls=server_tls) as peer:
        await connect(peer, tls=Tls.REQUIRED, credentials=ANN)
        assert authority.user == "ann"
        assert not [line for line in peer.commands if line.startswith((b"AUTH PLAIN", b"AUTH LOGIN"))]


async def test_scram_may_be_used_in_cleartext(connect: Connect) -> None:
    authority = Authority()
    async with Peer(authority.rules, extensions=("AUTH PLAIN SCRAM-SHA-256",)) as peer:
        await connect(peer, credentials=ANN)
        assert authority.user == "ann"


async def test_a_server_that_says_235_without_proving_that_it_knows_the_password_is_not_believed(connect: Connect) -> None:
    async with Peer([("AUTH", b"235 2.7.0 welcome\r\n")], extensions=("AUTH SCRAM-SHA-256",)) as peer:
        with pytest.raises(AuthenticationFailed):
            await connect(peer, credentials=ANN)


async def test_a_server_with_a_wrong_signature_is_not_believed(connect: Connect) -> None:
    authority = Authority()
    rules: list[Rule] = [
        ("AUTH SCRAM", authority.begin),
        ("[A-Za-z0-9+/]{20,}=*$", b"334 " + base64.b64encode(b"v=" + base64.b64encode(b"x" * 32)) + b"\r\n"),
    ]
    async with Peer(rules, extensions=("AUTH SCRAM-SHA-256",)) as peer:
        with pytest.raises(AuthenticationFailed, match="signature"):
            await connect(peer, credentials=ANN)


async def test_plain_goes_over_tls_that_was_demanded(connect: Connect, server_tls: ssl.SSLContext) -> None:
    async with Peer([("AUTH", b"235 2.7.0 welcome\r\n")], extensions=("AUTH PLAIN",), tls=server_tls) as peer:
        await connect(peer, tls=Tls.REQUIRED, credentials=ANN)
        assert peer.commands[-1] == b"AUTH PLAIN " + base64.b64encode(b"\0ann\0secret word")


@pytest.mark.parametrize("demand", [Tls.OFF, Tls.OPPORTUNISTIC])
async def test_plain_and_login_never_go_where_anybody_may_listen(
    connect: Connect, server_tls: ssl.SSLContext, demand: Tls
) -> None:
    context = server_tls if demand is Tls.OPPORTUNISTIC else None
    async with Peer(extensions=("AUTH PLAIN LOGIN",), tls=context) as peer:
        with pytest.raises(AuthenticationFailed, match='tls="require"'):
            await connect(peer, tls=demand, credentials=ANN)
        assert not [line for line in peer.commands if line.startswith(b"AUTH")]


async def test_a_refused_password_is_not_tried_with_the_next_mechanism(connect: Connect, server_tls: ssl.SSLContext) -> None:
    rules = [("AUTH", b"535 5.7.8 no\r\n")]
    async with Peer(rules, extensions=("AUTH SCRAM-SHA-256 PLAIN LOGIN",), tls=server_tls) as peer:
        with pytest.raises(AuthenticationFailed) as caught:
            await connect(peer, tls=Tls.REQUIRED, credentials=ANN)
        assert caught.value.reply is not None
        assert caught.value.reply.code == 535
        assert len([line for line in peer.commands if line.startswith(b"AUTH")]) == 1
        assert ANN.password not in str(caught.value)


@pytest.mark.parametrize("refusal", [b"504 5.5.4 no such mechanism\r\n", b"534 5.7.9 too weak\r\n"])
async def test_a_refused_mechanism_is_followed_by_the_next(connect: Connect, server_tls: ssl.SSLContext, refusal: bytes) -> None:
    rules = [("AUTH SCRAM", refusal), ("AUTH PLAIN", b"235 2.7.0 welcome\r\n")]
    async with Peer(rules, extensions=("AUTH SCRAM-SHA-256 PLAIN",), tls=server_tls) as peer:
        await connect(peer, tls=Tls.REQUIRED, credentials=ANN)
        assert [line.split()[1] for line in peer.commands if line.startswith(b"AUTH")] == [b"SCRAM-SHA-256", b"PLAIN"]


async def test_what_was_said_in_auth_is_not_shown_where_the_server_says_it_again(
    connect: Connect, server_tls: ssl.SSLContext
) -> None:
    said = base64.b64encode(b"\0ann\0secret")
    async with Peer([("AUTH", b"535 5.7.8 wrong: %s\r\n" % said)], extensions=("AUTH PLAIN",), tls=server_tls) as peer:
        with pytest.raises(AuthenticationFailed, match=r"5\.7\.8 wrong: \*\*\*$") as caught:
            await connect(peer, tls=Tls.REQUIRED, credentials=Credentials("ann", "secret"))
        assert peer.commands[3] == b"AUTH PLAIN " + said
        assert caught.value.reply == Reply(535, "wrong: ***", "5.7.8")


async def test_a_server_without_auth_does_not_get_the_message(connect: Connect) -> None:
    async with Peer() as peer:
        with pytest.raises(AuthenticationFailed, match="does not offer AUTH"):
            await connect(peer, credentials=ANN)


@pytest.mark.parametrize("challenge", [b"334 !!!\r\n", b"334 AAAA\r\n"])
async def test_challenges_without_sense_or_end_fail(connect: Connect, server_tls: ssl.SSLContext, challenge: bytes) -> None:
    async with Peer([("AUTH|[A-Za-z0-9+/]{12,}=*$", challenge)], extensions=("AUTH PLAIN",), tls=server_tls) as peer:
        with pytest.raises(AuthenticationFailed):
            await connect(peer, tls=Tls.REQUIRED, credentials=ANN)


@pytest.mark.parametrize("mechanism", ["CRAM-MD5", "SCRAM-SHA-1", "scram-sha-256", "PLAIN", "LOGIN"])
async def test_a_mechanism_that_was_named_is_taken(connect: Connect, server_tls: ssl.SSLContext, mechanism: str) -> None:
    authority = Authority()
    async with offering(authority, OFFER, server_tls) as peer:
        await connect(peer, tls=Tls.REQUIRED, credentials=Credentials("ann", ANN.password, mechanism=mechanism))
        assert (authority.user, authority.attempts) == ("ann", [mechanism.upper()])


async def test_no_other_is_taken_for_one_that_was_named(connect: Connect, server_tls: ssl.SSLContext) -> None:
    async with Peer(extensions=("AUTH PLAIN LOGIN",), tls=server_tls) as peer:
        with pytest.raises(AuthenticationFailed, match="does not offer SCRAM-SHA-256, only PLAIN LOGIN"):
            await connect(peer, tls=Tls.REQUIRED, credentials=Credentials("ann", "pw", mechanism="SCRAM-SHA-256"))
        assert auths(peer) == []


async def test_plain_goes_in_cleartext_only_where_that_was_permitted(connect: Connect) -> None:
    authority = Authority()
    async with offering(authority, "PLAIN") as peer:
        with pytest.raises(AuthenticationFailed):
            await connect(peer, credentials=Credentials("ann", ANN.password, mechanism="PLAIN"))
        assert auths(peer) == []
        await connect(peer, credentials=Credentials("ann", ANN.password, cleartext=True))
        assert authority.user == "ann"


@pytest.mark.parametrize("named", [False, True])
async def test_cram_md5_in_cleartext_must_be_asked_for(connect: Connect, named: bool) -> None:
    authority = Authority()
    async with offering(authority, "CRAM-MD5") as peer:
        credentials = Credentials("ann", ANN.password, mechanism="CRAM-MD5" if named else "")
        if named:
            await connect(peer, credentials=credentials)
        else:
            with pytest.raises(AuthenticationFailed):
                await connect(peer, credentials=credentials)
    assert authority.user == ("ann" if named else "")


async def test_a_user_without_password_and_token_is_whom_the_certificate_names(
    connect: Connect, server_tls: ssl.SSLContext
) -> None:
    authority = Authority(channel=Channel(external="ann"))
    async with offering(authority, OFFER, server_tls) as peer:
        await connect(peer, tls=Tls.REQUIRED, credentials=Credentials(""))
        await connect(peer, tls=Tls.REQUIRED, credentials=Credentials("ann"))
        assert auths(peer) == [b"AUTH EXTERNAL =", b"AUTH EXTERNAL " + base64.b64encode(b"ann")]
        assert authority.user == "ann"


async def test_what_is_missing_is_said(connect: Connect, server_tls: ssl.SSLContext) -> None:
    async with Peer(extensions=("AUTH PLAIN",), tls=server_tls) as peer:
        with pytest.raises(AuthenticationFailed, match="password, token or certificate"):
            await connect(peer, tls=Tls.REQUIRED, credentials=Credentials("ann"))
    async with Peer(extensions=("AUTH DIGEST-MD5",), tls=server_tls) as peer:
        with pytest.raises(AuthenticationFailed, match="no mechanism that is known here"):
            await connect(peer, tls=Tls.REQUIRED, credentials=ANN)


# --- channel binding


@pytest.fixture
def bound(server_tls: ssl.SSLContext, authority: trustme.CA, tmp_path: Path) -> tuple[ssl.SSLContext, Channel]:
    """A server's context, and what the server knows of every connection with it."""
    pair = authority.issue_cert("mx.example")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    pair.configure_cert(context)
    end_point = binding.end_point(ssl.PEM_cert_to_DER_cert(pair.cert_chain_pems[0].bytes().decode()))
    assert end_point is not None
    return context, Channel({"tls-server-end-point": end_point}, offers_plus=True)


@pytest.mark.parametrize("demand", [Tls.REQUIRED, Tls.OPPORTUNISTIC])
async def test_scram_binds_to_the_connection_verified_or_not(
    connect: Connect, bound: tuple[ssl.SSLContext, Channel], demand: Tls
) -> None:
    authority = Authority(channel=bound[1])
    async with offering(authority, OFFER, bound[0]) as peer:
        # Over verified TLS it is asked for by name: see `wire.sasl.choice`.
        mechanism = "SCRAM-SHA-256-PLUS" if demand is Tls.REQUIRED else ""
        await connect(peer, tls=demand, credentials=Credentials("ann", ANN.password, mechanism=mechanism))
        assert (authority.user, authority.attempts) == ("ann", ["SCRAM-SHA-256-PLUS"])


async def test_whoever_sits_between_two_tls_connections_cannot_pass_the_proof_on(
    connect: Connect, server_tls: ssl.SSLContext, bound: tuple[ssl.SSLContext, Channel]
) -> None:
    authority = Authority(channel=bound[1])
    async with offering(authority, OFFER, server_tls) as peer:  # another certificate than the server's
        with pytest.raises(AuthenticationFailed, match='mechanism="SCRAM-SHA-256"'):
            await connect(peer, tls=Tls.OPPORTUNISTIC, credentials=ANN)
        assert authority.attempts == ["SCRAM-SHA-256-PLUS"], "and nothing weaker is tried then"


@pytest.mark.parametrize("how", ["struck from the offer", "taken back"])
async def test_a_server_notices_that_somebody_else_took_away_its_offer_of_plus(
    connect: Connect, bound: tuple[ssl.SSLContext, Channel], how: str
) -> None:
    authority = Authority(channel=bound[1])
    offer = "SCRAM-SHA-256" if how == "struck from the offer" else "SCRAM-SHA-256-PLUS SCRAM-SHA-256"
    rules: list[Rule] = [("AUTH SCRAM-SHA-256-PLUS", b"504 5.5.4 no\r\n"), *authority.rules]
    async with Peer(rules, extensions=(f"AUTH {offer}",), tls=bound[0]) as peer:
        with pytest.raises(AuthenticationFailed):
            await connect(peer, tls=Tls.OPPORTUNISTIC, credentials=ANN)
        assert authority.attempts == ["SCRAM-SHA-256"]
        assert authority.user == ""


async def test_scram_without_plus_may_be_asked_for_where_plus_is_offered(
    connect: Connect, bound: tuple[ssl.SSLContext, Channel]
) -> None:
    authority = Authority(channel=bound[1])
    async with offering(authority, OFFER, bound[0]) as peer:
        await connect(peer, tls=Tls.REQUIRED, credentials=Credentials("ann", ANN.password, mechanism="SCRAM-SHA-256"))
        assert authority.user == "ann"


# --- tokens


class Provider:
    """Gives one token after the other, and the last one again and again."""

    def __init__(self, *tokens: str) -> None:
        self._tokens = list(tokens)
        self.calls = 0

    def __call__(self) -> str:
        self.calls += 1
        return self._tokens[min(self.calls, len(self._tokens)) - 1]

    async def later(self) -> str:
        await asyncio.sleep(0)
        return self()


@pytest.mark.parametrize("offer", ["OAUTHBEARER XOAUTH2 PLAIN LOGIN", "PLAIN XOAUTH2"])
async def test_a_token_goes_over_tls_that_was_demanded(connect: Connect, server_tls: ssl.SSLContext, offer: str) -> None:
    authority = Authority(good_token="good")
    async with offering(authority, offer, server_tls) as peer:
        await connect(peer, tls=Tls.REQUIRED, credentials=Credentials("ann", token="good"))
        assert (authority.user, authority.tokens) == ("ann", ["good"])


async def test_oauthbearer_names_the_host_and_port_that_we_connected_to(connect: Connect, server_tls: ssl.SSLContext) -> None:
    authority = Authority(good_token="good")
    async with offering(authority, "OAUTHBEARER", server_tls) as peer:
        await connect(peer, tls=Tls.REQUIRED, credentials=Credentials("ann", token="good"))
        message = base64.b64decode(auths(peer)[0].split()[2])
        assert message == f"n,a=ann,\x01host=mx.example\x01port={peer.port}\x01auth=Bearer good\x01\x01".encode()


@pytest.mark.parametrize("demand", [Tls.OFF, Tls.OPPORTUNISTIC])
async def test_a_token_never_goes_where_anybody_may_listen(connect: Connect, server_tls: ssl.SSLContext, demand: Tls) -> None:
    provider = Provider("good")
    async with Peer(extensions=("AUTH OAUTHBEARER XOAUTH2",), tls=server_tls) as peer:
        with pytest.raises(AuthenticationFailed, match='tls="require"'):
            await connect(peer, tls=demand, credentials=Credentials("ann", token=provider))
        assert auths(peer) == []
        assert provider.calls == 0


@pytest.mark.parametrize("mechanism", ["OAUTHBEARER", "XOAUTH2"])
@pytest.mark.parametrize("is_async", [False, True])
async def test_a_refused_token_is_followed_by_a_new_one_once(
    connect: Connect, server_tls: ssl.SSLContext, mechanism: str, is_async: bool
) -> None:
    authority, provider = Authority(good_token="good"), Provider("stale", "good")
    async with offering(authority, mechanism, server_tls) as peer:
        token: Token = provider.later if is_async else provider
        await connect(peer, tls=Tls.REQUIRED, credentials=Credentials("ann", token=token))
        assert (authority.user, authority.tokens) == ("ann", ["stale", "good"])


@pytest.mark.parametrize(
    ("provided", "shown", "calls"),
    [(["a", "b", "c"], ["a", "b"], 2), (["a", "a"], ["a"], 2)],
)
async def test_a_second_refusal_or_the_same_token_again_is_the_end(
    connect: Connect, server_tls: ssl.SSLContext, provided: list[str], shown: list[str], calls: int
) -> None:
    authority, provider = Authority(good_token="good"), Provider(*provided)
    async with offering(authority, "OAUTHBEARER XOAUTH2 PLAIN", server_tls) as peer:
        with pytest.raises(AuthenticationFailed) as caught:
            await connect(peer, tls=Tls.REQUIRED, credentials=Credentials("ann", token=provider))
        assert (authority.tokens, provider.calls) == (shown, calls)
        assert caught.value.reply is not None
        assert caught.value.reply.code == 535


async def test_a_token_that_is_no_function_is_shown_once(connect: Connect, server_tls: ssl.SSLContext) -> None:
    authority = Authority(good_token="good")
    async with offering(authority, "XOAUTH2", server_tls) as peer:
        with pytest.raises(AuthenticationFailed):
            await connect(peer, tls=Tls.REQUIRED, credentials=Credentials("ann", token="s3cret"))
        assert authority.tokens == ["s3cret"]


async def test_a_temporary_refusal_does_not_ask_for_a_new_token(connect: Connect, server_tls: ssl.SSLContext) -> None:
    provider = Provider("a", "b")
    async with Peer([("AUTH", b"454 4.7.0 later\r\n")], extensions=("AUTH XOAUTH2",), tls=server_tls) as peer:
        with pytest.raises(AuthenticationFailed) as caught:
            await connect(peer, tls=Tls.REQUIRED, credentials=Credentials("ann", token=provider))
        assert caught.value.is_temporary
        assert provider.calls == 1


def no_token() -> str:
    raise OSError("no network, and here is s3cret")


@pytest.mark.parametrize("provider", [no_token, lambda: "not a token: s3cret"])
async def test_a_provider_that_fails_is_a_failure_of_authentication(
    connect: Connect, server_tls: ssl.SSLContext, provider: Token
) -> None:
    async with Peer(extensions=("AUTH XOAUTH2",), tls=server_tls) as peer:
        with pytest.raises(AuthenticationFailed, match="no token for") as caught:
            await connect(peer, tls=Tls.REQUIRED, credentials=Credentials("ann", token=provider))
        assert "s3cret" not in str(caught.value)
        assert auths(peer) == []


async def test_a_provider_that_does_not_come_back_is_given_up(connect: Connect, server_tls: ssl.SSLContext) -> None:
    async def never() -> str:
        await asyncio.get_running_loop().create_future()
        return ""

    async with Peer(extensions=("AUTH XOAUTH2",), tls=server_tls) as peer:
        with pytest.raises(AuthenticationFailed, match="in time"):
            await connect(
                peer, tls=Tls.REQUIRED, credentials=Credentials("ann", token=never), timeouts=Timeouts(command=0.2, quit=1)
            )


# --- lines


@pytest.mark.parametrize(("mechanism", "room"), [("XOAUTH2", 350), ("OAUTHBEARER", 310)])
async def test_a_response_too_long_for_the_line_of_auth_is_sent_when_it_is_asked_for(
    connect: Connect, server_tls: ssl.SSLContext, mechanism: str, room: int
) -> None:
    for length in (room // 2, room - 80, room, room + 1, room + 2, room + 3, room + 60, 4000):
        token = "t" * length
        authority = Authority(good_token=token)
        async with offering(authority, mechanism, server_tls) as peer:
            await connect(peer, tls=Tls.REQUIRED, credentials=Credentials("ann", token=token))
            assert authority.user == "ann"
            (line,) = auths(peer)
            assert len(line) + 2 <= 512
            is_split = line == b"AUTH " + mechanism.encode()
            needed = len(b"AUTH  \r\n" + mechanism.encode() + base64.b64encode(_sent(peer, is_split)))
            assert is_split == (needed > 512)


def _sent(peer: Peer, is_split: bool) -> bytes:
    at = next(at for at, line in enumerate(peer.commands) if line.startswith(b"AUTH"))
    return base64.b64decode(peer.commands[at + 1] if is_split else peer.commands[at].split()[2])


# --- what a server may do


@pytest.mark.parametrize("mechanism", OFFER.split())
@pytest.mark.parametrize("answer", [b"334 \r\n", b"334 e30=\r\n", b"334 /w==\r\n"])
async def test_no_challenge_of_any_server_raises_anything_but_a_failure(
    connect: Connect, server_tls: ssl.SSLContext, mechanism: str, answer: bytes
) -> None:
    is_token = mechanism in ("OAUTHBEARER", "XOAUTH2")
    credentials = Credentials("ann", "" if is_token else "pw", token="t" if is_token else "", mechanism=mechanism)
    rules: list[Rule] = [("(?!EHLO|STARTTLS|QUIT|<)", answer)]
    async with Peer(rules, extensions=(f"AUTH {mechanism}",), tls=server_tls) as peer:
        with pytest.raises(AuthenticationFailed):
            await connect(peer, tls=Tls.REQUIRED, credentials=credentials)


async def test_a_connection_that_ends_in_the_middle_is_a_failed_connection(connect: Connect, server_tls: ssl.SSLContext) -> None:
    async with Peer([("AUTH", DROP)], extensions=("AUTH PLAIN",), tls=server_tls) as peer:
        with pytest.raises(ConnectionFailed, match="reply to AUTH"):
            await connect(peer, tls=Tls.REQUIRED, credentials=ANN)


async def test_a_server_that_never_answers_is_given_up(connect: Connect, server_tls: ssl.SSLContext) -> None:
    async with Peer([("AUTH", HANG)], extensions=("AUTH PLAIN",), tls=server_tls) as peer:
        with pytest.raises(ConnectionFailed):
            await connect(peer, tls=Tls.REQUIRED, credentials=ANN, timeouts=Timeouts(command=0.2, quit=1))


async def test_what_a_mechanism_cannot_carry_is_the_caller_s_mistake(connect: Connect, server_tls: ssl.SSLContext) -> None:
    async with Peer(extensions=(f"AUTH {OFFER}",), tls=server_tls) as peer:
        with pytest.raises(ValueError, match="NUL"):
            await connect(peer, tls=Tls.REQUIRED, credentials=Credentials("ann", "p\0w", mechanism="PLAIN"))
        assert auths(peer) == []


def test_no_repr_shows_password_or_token() -> None:
    shown = repr(Credentials("ann", "s3cret", token="t0ken"))
    assert "s3cret" not in shown
    assert "t0ken" not in shown
