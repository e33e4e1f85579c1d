"""A listener on real sockets, under both event loops. The server runs in a thread; its clients block, and share nothing with
it: the standard library's `ssl` and `smtplib`, aiosmtplib, and octets by hand."""

from __future__ import annotations

import asyncio
import base64
import smtplib
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import aiosmtplib
import pytest
import trustme
import uvloop
from cryptography import x509
from tests.server.real_sockets import SOON, Client, Server, code

from waymail.net import tls
from waymail.net.identity import CHECK_INTERVAL, ServerIdentity
from waymail.net.streams import parse_address
from waymail.server import listener as module
from waymail.server.guard import MOST_DELAY, Guard, GuardLimits
from waymail.server.users import add_user
from waymail.testing.clock import JumpingClock
from waymail.wire import sasl

LATE = module.SWEEP + 1.0  # within which a session past its deadline is ended
MAIL = "MAIL FROM:<ann@example.org>"
RCPT = "RCPT TO:<bob@example.org>"
TO_ELSEWHERE = "RCPT TO:<x@elsewhere.example>"


AUTHORITY = trustme.CA()
LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.SelectorEventLoop,
    "uvloop": uvloop.new_event_loop,
}


def write_certificate(directory: Path) -> tuple[Path, Path]:
    pair = AUTHORITY.issue_cert("mail.example.org", "127.0.0.1")
    certificate, key = directory / "cert.pem", directory / "key.pem"
    pair.private_key_pem.write_to_path(key)
    pair.cert_chain_pems[0].write_to_path(certificate)
    return certificate, key


@pytest.fixture(scope="session")
def identity(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], ssl.SSLContext]:
    context = tls.server(*write_certificate(tmp_path_factory.mktemp("tls")))
    return lambda: context


@pytest.fixture(scope="session")
def users_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("users") / "users.toml"
    add_user(file, "ann", "secret", ["ann@example.org"])
    return file


@pytest.fixture(params=list(LOOPS))
def server(request: pytest.FixtureRequest, users_file: Path) -> Iterator[Server]:
    trust = ssl.create_default_context()
    AUTHORITY.configure_trust(trust)
    made = Server(LOOPS[request.param], users_file, trust)
    try:
        yield made
    finally:
        made.close()
    assert made.problems == []


Identity = Callable[[], ssl.SSLContext]


# --- STARTTLS (RFC 3207) ---


def test_inside_tls_auth_is_offered_and_starttls_is_not(server: Server, identity: Identity) -> None:
    client = server.greeted(server.listen(identity)[1])
    client.send("EHLO client.example")
    in_clear = {line[4:] for line in client.reply()}
    assert "STARTTLS" in in_clear
    assert not any(line.startswith("AUTH") for line in in_clear)
    assert client.say("STARTTLS") == ["220 2.0.0"]
    client.handshake(server.trust)
    client.send("EHLO client.example")
    secure = {line[4:] for line in client.reply()}
    assert "STARTTLS" not in secure
    assert any(line.startswith("AUTH ") and line.endswith("SCRAM-SHA-256 PLAIN LOGIN") for line in secure)


def test_a_message_comes_in_after_starttls_and_its_trace_says_so(server: Server, identity: Identity) -> None:
    client = server.greeted(server.listen(identity, kind="mx")[1])
    assert client.say("EHLO client.example", "STARTTLS") == ["250", "220 2.0.0"]
    client.handshake(server.trust)
    assert client.say("EHLO other.example", MAIL, RCPT, "DATA") == ["250", "250 2.1.0", "250 2.1.5", "354"]
    client.send("Subject: x", "", "text", ".")
    assert code(client.reply()) == "250 2.0.0"
    origin = server.place.queue.envelopes[0].origin
    assert (origin.protocol, origin.helo, origin.address) == ("ESMTPS", "other.example", "127.0.0.1")
    assert origin.tls.startswith("TLSv1.3 ")


def test_what_was_said_in_clear_is_forgotten(server: Server, identity: Identity) -> None:
    client = server.greeted(server.listen(identity, kind="mx")[1])
    assert client.say("EHLO liar.example", MAIL, RCPT, "RSET", "STARTTLS")[-2:] == ["250 2.0.0", "220 2.0.0"]
    client.handshake(server.trust)
    assert client.say(MAIL, RCPT, "DATA") == ["503 5.5.1"] * 3, "no HELO name, no envelope"
    assert client.say("EHLO client.example", RCPT) == ["250", "503 5.5.1"]


def test_starttls_in_a_transaction_is_refused(server: Server, identity: Identity) -> None:
    client = server.greeted(server.listen(identity, kind="mx")[1])
    assert client.say("EHLO client.example", MAIL, "STARTTLS", RCPT)[2:] == ["503 5.5.1", "250 2.1.5"]


def test_a_second_starttls_is_refused_with_503_and_ends_nothing(server: Server, identity: Identity) -> None:
    client = server.greeted(server.listen(identity)[1])
    client.say("EHLO client.example", "STARTTLS")
    client.handshake(server.trust)
    assert client.say("EHLO client.example", "STARTTLS", "NOOP") == ["250", "503 5.5.1", "250 2.0.0"]


def test_commands_in_the_segment_of_starttls_are_never_run(server: Server, identity: Identity) -> None:
    """CVE-2011-0411: what an attacker puts in clear behind STARTTLS must not count as said inside TLS."""
    client = server.greeted(server.listen(identity, kind="mx")[1])
    client.send("EHLO client.example")
    client.reply()
    client.send("STARTTLS", "EHLO evil.example", "MAIL FROM:<evil@example.com>", RCPT)
    assert code(client.reply()) == "220 2.0.0"
    client.handshake(server.trust)
    assert client.say("NOOP") == ["250 2.0.0"], "the reply to NOOP, not to what came before"
    assert client.say(MAIL) == ["503 5.5.1"], "the injected EHLO does not count"


def test_the_first_command_may_come_in_the_segment_that_ends_the_handshake(server: Server, identity: Identity) -> None:
    """As clients do that need not wait: in TLS 1.3 the client speaks last in the handshake."""
    client = server.greeted(server.listen(identity)[1])
    client.say("EHLO client.example", "STARTTLS")
    received, to_send = ssl.MemoryBIO(), ssl.MemoryBIO()
    secure = server.trust.wrap_bio(received, to_send, server_hostname="mail.example.org")
    while True:
        try:
            secure.do_handshake()
            break
        except ssl.SSLWantReadError:
            client.socket.sendall(to_send.read())
            received.write(client.receive())
    secure.write(b"EHLO client.example\r\n")
    client.socket.sendall(to_send.read())
    said = b""
    while b"ENHANCEDSTATUSCODES\r\n" not in said:
        chunk = client.receive()
        assert chunk
        received.write(chunk)
        with suppress(ssl.SSLWantReadError):
            said += secure.read()
    assert said.startswith(b"250-mail.example.org\r\n")


def test_a_handshake_that_fails_costs_that_client_alone(server: Server, identity: Identity) -> None:
    address = server.listen(identity)[1]
    other, client = server.greeted(address), server.greeted(address)
    client.say("EHLO client.example", "STARTTLS")
    client.send("this is no TLS")
    assert not any(b"25" in chunk for chunk in iter(client.receive, b"")), "ended, at most with a TLS alert"
    assert other.say("EHLO other.example") == ["250"]


def test_a_handshake_that_does_not_end_is_ended(server: Server, identity: Identity) -> None:
    client = server.greeted(server.listen(identity, handshake_timeout=0.1)[1])
    client.say("EHLO client.example", "STARTTLS")
    assert client.receive() == b""


# --- implicit TLS (RFC 8314 §3), addresses ---


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
@pytest.mark.parametrize("implicit", [False, True], ids=["starttls", "implicit"])
def test_ipv4_and_ipv6_in_clear_and_in_tls(server: Server, identity: Identity, host: str, implicit: bool) -> None:
    address = server.listen(identity, kind="mx", implicit=implicit, address=f"{host}:0")[1]
    client = server.greeted(address, server.trust if implicit else None)
    assert client.say("EHLO client.example", MAIL, RCPT, "DATA")[-1] == "354"
    client.send("Subject: x", "", "text", ".", "QUIT")
    assert [code(client.reply()) for _ in range(3)] == ["250 2.0.0", "221 2.0.0", ""]
    origin = server.place.queue.envelopes[0].origin
    assert origin.address == host.strip("[]")
    assert origin.protocol == ("ESMTPS" if implicit else "ESMTP")
    assert bool(origin.tls) is implicit


def test_implicit_tls_says_nothing_in_clear(server: Server, identity: Identity) -> None:
    client = server.connect(server.listen(identity, implicit=True, handshake_timeout=0.3)[1])
    client.send("EHLO client.example")
    said = b"".join(iter(client.receive, b""))
    assert b"220" not in said
    assert b"250" not in said


# --- AUTH (RFC 4954) inside real TLS ---


@pytest.mark.parametrize("implicit", [False, True], ids=["starttls", "implicit"])
@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
def test_smtplib_authenticates_and_sends(server: Server, identity: Identity, implicit: bool, mechanism: str) -> None:
    host, port = parse_address(server.listen(identity, implicit=implicit)[1])
    with ExitStack() as stack:
        if implicit:
            client: smtplib.SMTP = stack.enter_context(smtplib.SMTP_SSL(host, port, timeout=SOON, context=server.trust))
        else:
            client = stack.enter_context(smtplib.SMTP(host, port, timeout=SOON))
            client.starttls(context=server.trust)
        client.ehlo()
        client.user, client.password = "ann", "secret"
        authobject = client.auth_plain if mechanism == "PLAIN" else client.auth_login
        assert client.auth(mechanism, authobject)[0] == 235
        client.sendmail("ann@example.org", ["x@elsewhere.example"], b"From: ann@example.org\r\n\r\ntext\r\n")
    origin = server.place.queue.envelopes[0].origin
    assert (origin.user, origin.protocol) == ("ann", "ESMTPSA")


@pytest.mark.parametrize("implicit", [False, True], ids=["starttls", "implicit"])
def test_aiosmtplib_authenticates_and_sends(server: Server, identity: Identity, implicit: bool) -> None:
    host, port = parse_address(server.listen(identity, implicit=implicit)[1])
    message = EmailMessage()
    message["From"], message["To"] = "ann@example.org", "x@elsewhere.example"
    message.set_content("text")
    how: dict[str, Any] = {"use_tls": True} if implicit else {"start_tls": True}
    sending = aiosmtplib.send(
        message, hostname=host, port=port, username="ann", password="secret", tls_context=server.trust, timeout=SOON, **how
    )
    asyncio.run(sending)
    assert server.place.queue.envelopes[0].origin.user == "ann"


def scram(client: Client, user: str, password: str) -> str:
    """An exchange by hand; the code of its last reply. Raises AuthenticationProtocolError where the server proves nothing."""
    mechanism = sasl.client_mechanism("SCRAM-SHA-256", user, password, "fedcba9876543210")
    initial = mechanism.initial()
    assert initial is not None
    client.send("AUTH SCRAM-SHA-256 " + base64.b64encode(initial).decode())
    while (reply := client.reply())[-1].startswith("334 "):
        answer = mechanism.step(base64.b64decode(reply[-1][4:]))
        client.send(base64.b64encode(answer).decode())
    if code(reply).startswith("235"):
        mechanism.succeeded()
    return code(reply)


@pytest.mark.parametrize("implicit", [False, True], ids=["starttls", "implicit"])
def test_scram_authenticates_and_both_sides_prove_themselves(server: Server, identity: Identity, implicit: bool) -> None:
    client = server.greeted(server.listen(identity, implicit=implicit)[1], server.trust if implicit else None)
    if not implicit:
        client.say("EHLO client.example", "STARTTLS")
        client.handshake(server.trust)
    client.say("EHLO client.example")
    assert client.say(MAIL) == ["530 5.7.0"]
    assert scram(client, "ann", "secret") == "235 2.7.0"
    assert client.say(MAIL, TO_ELSEWHERE, "RSET", "MAIL FROM:<bob@example.org>")[::3] == ["250 2.1.0", "553 5.7.1"]
    assert client.say("AUTH PLAIN AGFubgBzZWNyZXQ=") == ["503 5.5.1"], "once is enough"


def test_scram_with_a_wrong_password_or_an_unknown_user_gets_535(server: Server, identity: Identity) -> None:
    client = server.greeted(server.listen(identity, implicit=True)[1], server.trust)
    client.say("EHLO client.example")
    assert scram(client, "ann", "wrong") == "535 5.7.8"
    assert scram(client, "nobody", "secret") == "535 5.7.8"


# --- certificates ---


def test_a_renewed_certificate_is_served_to_the_next_connection(server: Server, tmp_path: Path) -> None:
    clock = JumpingClock()
    files = write_certificate(tmp_path)
    context = ServerIdentity(*files, clock=clock).context
    addresses = [server.listen(context, implicit=implicit)[1] for implicit in (True, False)]

    def serials() -> list[int]:
        secure, upgraded = server.greeted(addresses[0], server.trust), server.greeted(addresses[1])
        upgraded.say("EHLO client.example", "STARTTLS")
        upgraded.handshake(server.trust)
        found = []
        for one in (secure, upgraded):
            assert isinstance(one.socket, ssl.SSLSocket)
            shown = one.socket.getpeercert(binary_form=True)
            assert shown
            found.append(x509.load_der_x509_certificate(shown).serial_number)
            assert one.say("EHLO client.example") == ["250"]
        return found

    before = serials()
    write_certificate(tmp_path)
    server.do(clock.advance(CHECK_INTERVAL + 0.1))
    after = serials()
    assert before[0] == before[1]
    assert after[0] == after[1] != before[0]


# --- stopping ---


def test_stopping_ends_idle_sessions_at_once_and_others_after_the_grace(server: Server, identity: Identity) -> None:
    listener, address = server.listen(identity, kind="mx")
    idle, receiving, upgrading = (server.greeted(address) for _ in range(3))
    assert receiving.say("EHLO client.example", MAIL, RCPT, "DATA")[-1] == "354"
    receiving.send("Subject: half a message")
    upgrading.say("EHLO client.example", "STARTTLS")  # and no handshake
    assert server.stop(listener, grace=0.15) < 2
    assert code(idle.reply()) == "421 4.3.2"
    assert code(receiving.reply()) == "421 4.3.2"
    for client in (idle, receiving, upgrading):
        assert client.reply() == []
    with pytest.raises(ConnectionRefusedError):
        server.connect(address)


def test_stopping_waits_for_no_handshake_and_no_last_word_of_tls(server: Server, identity: Identity) -> None:
    listener, address = server.listen(identity, implicit=True)
    silent = server.connect(address)
    idle = server.greeted(address, server.trust)  # its client never answers the server's close_notify
    assert server.stop(listener, grace=0.15) < 2
    assert code(idle.reply()) == "421 4.3.2"
    assert silent.receive() == b""


def test_stopping_lets_a_message_that_is_being_stored_get_its_250(server: Server, identity: Identity) -> None:
    listener, address = server.listen(identity, kind="mx", implicit=True)
    gate = server.place.store.gate = asyncio.Event()
    client = server.greeted(address, server.trust)
    client.say("EHLO client.example", MAIL, RCPT, "DATA")
    client.send("Subject: x", "", "text", ".")
    client.send("MAIL FROM:<late@example.org>")

    async def stop() -> float:
        stopping = asyncio.create_task(server.stopped(listener, 0.3))
        await asyncio.sleep(0.1)
        assert not stopping.done()
        gate.set()
        return await stopping

    assert server.do(stop()) < 3
    assert code(client.reply()) == "250 2.0.0"
    assert code(client.reply()) == "421 4.3.2"
    assert len(server.place.queue.deliveries) == 1


def test_a_delay_before_a_535_does_not_hold_up_the_end(server: Server, identity: Identity) -> None:
    server.authenticator.guard = guard = Guard(GuardLimits(failures=1000))
    for _ in range(20):
        guard.failed("127.0.0.1", "", time.monotonic())
    assert guard.delay("127.0.0.1", time.monotonic()) == MOST_DELAY
    listener, address = server.listen(identity, implicit=True)
    client = server.greeted(address, server.trust)
    client.say("EHLO client.example")
    client.send("AUTH PLAIN AGFubgB3cm9uZw==")
    time.sleep(0.1)  # the password is being looked at, or was found wrong: both must end
    assert server.stop(listener, grace=0.1) < 3
    assert code(client.reply()) in ("535 5.7.8", "421 4.3.2")


# --- deadlines and bounds ---


def is_served(server: Server, address: str, context: ssl.SSLContext | None = None, seconds: float = LATE) -> bool:
    """Whether a new client gets a 220 within `seconds`."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        with suppress(OSError):
            client = Client(address, context)
            greeting = code(client.reply())
            client.close()
            if greeting == "220":
                return True
        time.sleep(0.05)
    return False


def test_a_silent_client_is_ended_within_a_second_of_its_deadline(server: Server, identity: Identity) -> None:
    clear = server.greeted(server.listen(identity, command_timeout=0.1)[1])
    secure = server.greeted(server.listen(identity, implicit=True, command_timeout=0.1)[1], server.trust)
    started = time.monotonic()
    for client in (clear, secure):
        assert code(client.reply()) == "421 4.4.2"
        assert client.reply() == []
    assert time.monotonic() - started < LATE


def is_no_longer_read(client: Client) -> bool:
    """Whether the server stops taking what is sent: it waits, or has ended the connection (whose last octets it drops)."""
    client.socket.settimeout(0.2)
    until = time.monotonic() + 2 * LATE
    try:
        while time.monotonic() < until:
            client.socket.sendall(b"HELP\r\n" * 2000)
    except OSError:
        return True
    return False


def test_a_client_that_reads_no_replies_is_not_listened_to_and_ended_at_its_deadline(server: Server, identity: Identity) -> None:
    limits: dict[str, Any] = {"sessions": 1, "command_timeout": 0.3, "junk": 10**9, "unread": 4096}
    places: list[tuple[str, ssl.SSLContext | None]] = [
        (server.listen(identity, **limits)[1], None),
        (server.listen(identity, implicit=True, **limits)[1], server.trust),
    ]
    for address, context in places:
        client = server.greeted(address, context, buffer=4096)
        assert is_no_longer_read(client)
    for address, context in places:
        # A 421 is tried first, and then the connection is cut: that takes two looks.
        assert is_served(server, address, context, 2 * LATE), "its place is free again"


def test_the_bound_on_sessions_of_a_client_holds_in_tls_and_before_it(server: Server, identity: Identity) -> None:
    address = server.listen(identity, implicit=True, sessions_per_client=2, handshake_timeout=0.5)[1]
    silent = [server.connect(address) for _ in range(2)]  # they never begin their handshakes
    time.sleep(0.1)
    assert not is_served(server, address, server.trust, 0.2)
    assert is_served_from("127.0.0.2", address, server.trust), "another address is another client"
    assert is_served(server, address, server.trust, LATE + 1), "the silent ones were ended"
    assert [client.receive() for client in silent] == [b"", b""]


def is_served_from(source: str, address: str, context: ssl.SSLContext) -> bool:
    client = Client(address, context, source=source)
    try:
        return code(client.reply()) == "220"
    finally:
        client.close()


def test_past_the_bound_a_client_in_clear_gets_421_and_the_others_notice_nothing(server: Server, identity: Identity) -> None:
    address = server.listen(identity, sessions_per_client=1)[1]
    first, second = server.greeted(address), server.connect(address)
    assert code(second.reply()) == "421 4.7.0"
    assert second.reply() == []
    assert first.say("EHLO client.example", "QUIT") == ["250", "221 2.0.0"]
    assert is_served(server, address), "the place of the first is free"
