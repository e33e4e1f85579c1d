"""TLS where it is not expected, and what is not TLS where it is; STARTTLS seen by somebody in the middle."""

from __future__ import annotations

import base64
import socket
import ssl
import struct
import time
import warnings

import pytest
import trustme
from tests.hostile.target import PASSWORD, Target, until_closed
from tests.server.real_sockets import Client, code

import waymail
from waymail.client.errors import AuthenticationFailed, SMTPError, TlsError
from waymail.net import tls
from waymail.testing.peer import Peer, Rule

HTTP = (
    b"POST / HTTP/1.1\r\n" + b"X-Header: value\r\n" * 100 + b"\r\nMAIL FROM:<x@client.example>\r\nRCPT TO:<ann@example.org>\r\n"
)
OTHERS = {
    "http": (b"GET / HTTP/1.1\r\n" + b"X-Header: value\r\n" * 100, "421 4.7.0"),
    "http with commands": (HTTP, "421 4.7.0"),
    "http 2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "421 4.7.0"),
    "a proxy's connect": (b"CONNECT example.net:25 HTTP/1.1\r\n\r\n", "421 4.7.0"),
    "ssh": (b"SSH-2.0-OpenSSH_9.6\r\n", "421 4.7.0"),
    "tls": (b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x03\r\n", "421 4.7.0"),
}


def reset(client: Client) -> None:
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


@pytest.mark.parametrize("name", OTHERS)
def test_another_protocol_is_told_at_its_first_line_and_its_session_ends(target: Target, name: str) -> None:
    octets, expected = OTHERS[name]
    client = target.connect(source="127.0.0.11")
    assert code(client.reply()).startswith("220")
    client.socket.sendall(octets)
    assert [code(reply) for reply in iter(client.reply, [])] == [expected]
    target.logged("a session was ended", "peer=127.0.0.11", "another protocol")
    client.close()


@pytest.mark.parametrize(
    "octets", [b"GET / HTTP/1.1\r\n\r\n", b"SSH-2.0-x\r\n", b"EHLO x\r\n", b"\0" * 5000, b"\xff" * 5000, b"\x16\x03\x01\xff\xff"]
)
def test_what_is_no_handshake_at_a_tls_port_ends_in_nothing(target: Target, octets: bytes) -> None:
    with socket.create_connection(("127.0.0.1", target.ports["mx_tls"]), 5, ("127.0.0.12", 0)) as client:
        client.sendall(octets)
        client.shutdown(socket.SHUT_WR)
        try:
            said = client.recv(65536)
        except ConnectionResetError:
            said = b""
        assert not said.startswith(b"220")
        assert b"EHLO" not in said


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
@pytest.mark.parametrize("listener", ["mx", "mx_tls"])
def test_old_versions_of_tls_are_refused(target: Target, version: ssl.TLSVersion, listener: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = version
        context.maximum_version = version
    with socket.create_connection(("127.0.0.1", target.ports[listener]), 5, ("127.0.0.13", 0)) as client:
        if listener == "mx":
            client.sendall(b"EHLO x\r\nSTARTTLS\r\n")
            said = b""
            while b"220 2.0.0" not in said:
                said += client.recv(4096)
        with pytest.raises(OSError, match=r"(?i)version|alert|reset|protocol|EOF"):
            context.wrap_socket(client, server_hostname="mail.example.org")
    target.logged("TLS handshake failed", "peer=127.0.0.13")


def test_commands_behind_starttls_are_never_run(target: Target) -> None:
    client = target.greeted(source="127.0.0.14")
    client.send("STARTTLS", "MAIL FROM:<injected@client.example>", "RCPT TO:<ann@example.org>", "DATA")
    assert code(client.reply()) == "220 2.0.0"
    try:
        client.handshake(target.trust)
    except (OSError, AssertionError):
        return  # they stood where the handshake should: it failed, which is as good
    assert client.say("RCPT TO:<ann@example.org>")[0].startswith("503")
    assert client.say("EHLO x", "RCPT TO:<ann@example.org>")[1].startswith("503")
    client.close()


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "SCRAM-SHA-256", "OAUTHBEARER", "EXTERNAL"])
def test_before_tls_no_password_is_taken(target: Target, mechanism: str) -> None:
    client = target.connect("submission", "127.0.0.15")
    client.reply()
    client.send("EHLO x")
    assert not [line for line in client.reply() if "AUTH" in line]
    secret = base64.b64encode(f"\0ann\0{PASSWORD}".encode()).decode()
    assert client.say(f"AUTH {mechanism} {secret}") == ["538 5.7.11"]
    assert client.say("MAIL FROM:<ann@example.org>")[0].startswith("530")
    client.close()


def test_tls_that_is_renegotiated_again_and_again_is_no_way_to_spend_our_time(target: Target) -> None:
    """OpenSSL refuses: a client cannot even ask with Python, so all there is to see is what the context says."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    client = Client(target.address("mx_tls"), source="127.0.0.16")
    client.socket = context.wrap_socket(client.socket)
    assert code(client.reply()).startswith("220")
    certificates = target.process.directory / "data" / "tls"
    assert tls.server(certificates / "cert.pem", certificates / "key.pem").options & ssl.OP_NO_RENEGOTIATION
    client.close()


@pytest.mark.parametrize("listener", ["mx_tls", "mx"])
def test_half_a_handshake_from_hundreds_keeps_nobody_out(target: Target, listener: str) -> None:
    target.serves()
    before = target.descriptors
    half = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 100
    clients = [Client(target.address(listener), source=f"127.0.1.{number % 250 + 1}") for number in range(200)]
    for client in clients:
        client.socket.sendall(b"EHLO x\r\nSTARTTLS\r\n" if listener == "mx" else half)
    for client in clients:
        if listener == "mx":
            while code(client.reply()) != "220 2.0.0":
                pass
            client.socket.sendall(half)
    started = time.monotonic()
    honest = target.greeted("submission_tls", "127.0.0.201")
    honest.close()
    target.serves()
    assert time.monotonic() - started < 2.0
    for client in clients:
        reset(client)
    target.settles(before)


# --- against the client


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def server_context(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


@pytest.fixture(scope="module")
def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


MESSAGE = b"From: ann@example.org\r\nTo: bob@example.net\r\nSubject: secret\r\n\r\nsecret\r\n"
STRIPPED: dict[str, list[Rule]] = {
    "no STARTTLS": [],
    "502 to STARTTLS": [("STARTTLS", b"502 5.5.1 what?\r\n")],
    "454 to STARTTLS": [("STARTTLS", b"454 4.7.0 not now\r\n")],
    "250 to STARTTLS": [("STARTTLS", b"250 2.0.0 secure now, believe me\r\n")],
    "cleartext behind 220": [("STARTTLS", b"220 2.0.0 go on\r\n250-peer.example\r\n250 AUTH PLAIN\r\n")],
    "220 and no TLS": [("STARTTLS", [b"220 2.0.0 go on\r\n", b"250 what handshake?\r\n"])],
}


@pytest.mark.parametrize("name", STRIPPED)
async def test_a_stripped_starttls_gives_nothing_away(
    server_context: ssl.SSLContext, trusting: ssl.SSLContext, name: str
) -> None:
    """Whoever sits in the middle gets an EHLO, and neither password nor addresses nor content."""
    offered = ("AUTH PLAIN LOGIN",) if name == "no STARTTLS" else ("STARTTLS", "AUTH PLAIN LOGIN")
    async with Peer(STRIPPED[name], extensions=offered, tls=None) as peer:
        peer._tls = server_context if "220" in name else None
        with pytest.raises(TlsError):
            await waymail.send(MESSAGE, f"smtp://ann:secret@{peer.address}", tls_context=trusting, timeout=5)
        verbs = {line[:4].upper() for line in peer.commands}
        assert verbs <= {b"EHLO", b"STAR", b"QUIT"}
        assert peer.messages == []


async def test_a_certificate_for_another_name_gets_no_password(authority: trustme.CA, trusting: ssl.SSLContext) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("other.example").configure_cert(context)
    for implicit in (False, True):
        async with Peer(tls=context, implicit_tls=implicit, extensions=("AUTH PLAIN",)) as peer:
            scheme = "smtps" if implicit else "smtp"
            with pytest.raises(TlsError):
                await waymail.send(MESSAGE, f"{scheme}://ann:secret@{peer.address}", tls_context=trusting, timeout=5)
            assert not [line for line in peer.commands if line.startswith((b"AUTH", b"MAIL"))]


@pytest.mark.parametrize("offered", ["AUTH PLAIN LOGIN", "AUTH LOGIN", "AUTH=PLAIN", "AUTH CRAM-MD5 PLAIN", "AUTH XOAUTH2"])
async def test_a_downgrade_to_a_password_in_clear_is_not_followed(offered: str) -> None:
    async with Peer(extensions=(offered,)) as peer:
        with pytest.raises(SMTPError):
            await waymail.send(MESSAGE, f"smtp://ann:secret@{peer.address}?tls=off", timeout=5)
        assert not [line for line in peer.commands if b"c2VjcmV0" in line or line.startswith((b"AUTH PLAIN", b"AUTH LOGIN"))]


async def test_a_server_that_takes_scram_back_gets_no_plain_password_in_clear() -> None:
    rules = [("AUTH SCRAM", b"504 5.5.4 not today, try PLAIN\r\n")]
    async with Peer(rules, extensions=("AUTH SCRAM-SHA-256 PLAIN LOGIN",)) as peer:
        with pytest.raises(AuthenticationFailed):
            await waymail.send(MESSAGE, f"smtp://ann:secret@{peer.address}?tls=off", timeout=5)
        assert not [line for line in peer.commands if line.startswith((b"AUTH PLAIN", b"AUTH LOGIN"))]


def test_the_port_still_serves_after_all_that(target: Target) -> None:
    target.serves()
    client = target.greeted(source="127.0.0.17")
    client.socket.shutdown(socket.SHUT_WR)
    assert until_closed(client) == b""
    client.close()
