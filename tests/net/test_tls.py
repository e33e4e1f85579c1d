from __future__ import annotations

import ssl
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from waymail.net import tls
from waymail.net.tls import CHECK_INTERVAL, IdentityProblem, ServerIdentity, self_signed
from waymail.testing.clock import JumpingClock

AUTHORITY = trustme.CA()


def write_pair(
    directory: Path, name: str = "mail.example.org", *, certificate: bool = True, key: bool = True
) -> tuple[Path, Path]:
    pair = AUTHORITY.issue_cert(name)
    if certificate:
        (directory / "cert.pem").write_bytes(pair.cert_chain_pems[0].bytes())
    if key:
        (directory / "key.pem").write_bytes(pair.private_key_pem.bytes())
    return directory / "cert.pem", directory / "key.pem"


def handshake(server: ssl.SSLContext, client: ssl.SSLContext, name: str = "mail.example.org") -> ssl.SSLObject:
    """Without a socket: the two sides' octets are carried by hand. Returns the client's side."""
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(to_client, to_server, server_hostname=name)
    theirs = server.wrap_bio(to_server, to_client, server_side=True)
    open_sides = [ours, theirs]
    for _ in range(10):
        for side in list(open_sides):
            try:
                side.do_handshake()
                open_sides.remove(side)
            except ssl.SSLWantReadError:
                pass
        if not open_sides:
            return ours
    raise AssertionError("the handshake does not end")


def names_shown(server: ssl.SSLContext) -> list[str]:
    shown = handshake(server, tls.unverified()).getpeercert(binary_form=True)
    assert shown
    found = x509.load_der_x509_certificate(shown).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    return found.value.get_values_for_type(x509.DNSName)


@pytest.fixture
def ca_file(tmp_path: Path) -> str:
    AUTHORITY.cert_pem.write_to_path(tmp_path / "ca.pem")
    return str(tmp_path / "ca.pem")


def test_contexts_are_made_once(ca_file: str) -> None:
    assert tls.verified() is tls.verified()
    assert tls.verified(ca_file) is tls.verified(ca_file) is not tls.verified()
    assert tls.unverified() is tls.unverified()


def test_no_context_goes_below_tls_1_2(tmp_path: Path) -> None:
    for context in (tls.verified(), tls.unverified(), tls.server(*write_pair(tmp_path))):
        assert context.minimum_version == ssl.TLSVersion.TLSv1_2
        assert context.options & ssl.OP_NO_COMPRESSION
        assert context.options & ssl.OP_NO_RENEGOTIATION


def test_a_verified_connection_is_described_with_version_and_cipher(tmp_path: Path, ca_file: str) -> None:
    connection = handshake(tls.server(*write_pair(tmp_path)), tls.verified(ca_file))
    assert tls.describe(connection, verified=True) == f"TLSv1.3 {connection.cipher()[0]} verified"  # type: ignore[index]
    assert tls.describe(connection, verified=False).endswith(" unverified")
    assert tls.describe(connection, verified=None) == f"TLSv1.3 {connection.cipher()[0]}"  # type: ignore[index]


def test_verification_refuses_another_name_and_an_unknown_authority(tmp_path: Path, ca_file: str) -> None:
    server = tls.server(*write_pair(tmp_path))
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(server, tls.verified(ca_file), "other.example.org")
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(server, tls.verified())


def test_a_name_in_the_subject_alone_is_no_name(tmp_path: Path, ca_file: str) -> None:
    pair = AUTHORITY.issue_cert("alt@example.org", common_name="mail.example.org")
    pair.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    pair.private_key_pem.write_to_path(tmp_path / "key.pem")
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(tls.server(tmp_path / "cert.pem", tmp_path / "key.pem"), tls.verified(ca_file))


def test_opportunistic_tls_takes_any_certificate(tmp_path: Path) -> None:
    assert handshake(tls.server(*write_pair(tmp_path)), tls.unverified(), "other.example.org").version() == "TLSv1.3"


def test_what_is_wrong_with_a_pair_is_said(tmp_path: Path) -> None:
    certificate, key = write_pair(tmp_path)
    with pytest.raises(IdentityProblem, match=r"none\.pem.*No such file"):
        tls.server(tmp_path / "none.pem", key)
    write_pair(tmp_path, key=False)
    with pytest.raises(IdentityProblem, match="the key is not that certificate's"):
        tls.server(certificate, key)
    key.write_text("nonsense")
    with pytest.raises(IdentityProblem, match="not a certificate chain and a key in PEM"):
        tls.server(certificate, key)
    secret = ec.generate_private_key(ec.SECP256R1())
    locked = serialization.BestAvailableEncryption(b"secret")
    key.write_bytes(secret.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, locked))
    with pytest.raises(IdentityProblem, match="the key is encrypted"):
        tls.server(certificate, key)


async def test_a_changed_pair_is_used_within_a_second_also_by_contexts_handed_out_before(tmp_path: Path) -> None:
    clock = JumpingClock()
    identity = ServerIdentity(*write_pair(tmp_path, "old.example.org"), clock=clock)
    handed_out = identity.context()
    write_pair(tmp_path, "new.example.org")
    assert names_shown(handed_out) == ["old.example.org"]
    await clock.advance(CHECK_INTERVAL)
    assert names_shown(handed_out) == ["new.example.org"]
    assert names_shown(identity.context()) == ["new.example.org"]
    assert identity.context() is identity.context() is not handed_out


async def test_a_broken_new_pair_leaves_the_old_one_in_use_and_is_reported_once(tmp_path: Path) -> None:
    clock = JumpingClock()
    reports: list[str] = []
    identity = ServerIdentity(*write_pair(tmp_path, "old.example.org"), clock=clock, report=reports.append)
    write_pair(tmp_path, "new.example.org", key=False)
    for _ in range(3):
        await clock.advance(CHECK_INTERVAL)
        assert names_shown(identity.context()) == ["old.example.org"]
    assert len(reports) == 1
    assert "the key is not that certificate's; the previous certificate stays in use" in reports[0]
    write_pair(tmp_path, "newer.example.org")
    await clock.advance(CHECK_INTERVAL)
    assert names_shown(identity.context()) == ["newer.example.org"]
    assert len(reports) == 1


async def test_a_pair_that_vanishes_is_reported_and_stays_in_use(tmp_path: Path) -> None:
    clock = JumpingClock()
    reports: list[str] = []
    certificate, key = write_pair(tmp_path, "old.example.org")
    identity = ServerIdentity(certificate, key, clock=clock, report=reports.append)
    certificate.unlink()
    await clock.advance(CHECK_INTERVAL)
    assert names_shown(identity.context()) == ["old.example.org"]
    assert len(reports) == 1


def test_a_first_pair_that_cannot_be_used_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(IdentityProblem):
        ServerIdentity(tmp_path / "cert.pem", tmp_path / "key.pem")


def test_a_self_signed_certificate_is_for_the_host_and_for_loopback(tmp_path: Path) -> None:
    certificate, key = self_signed(tmp_path / "tls", "mail.example.org")
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    client = ssl.create_default_context(cafile=str(certificate))
    for name in ("mail.example.org", "localhost", "127.0.0.1", "::1"):
        assert handshake(tls.server(certificate, key), client, name).version()
    assert sorted(path.name for path in (tmp_path / "tls").iterdir()) == ["cert.pem", "key.pem"]


def test_a_self_signed_certificate_is_kept_until_30_days_before_its_end(tmp_path: Path) -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)

    def made(host: str = "mail.example.org", days: float = 0) -> bytes:
        return self_signed(tmp_path, host, now=now + timedelta(days=days))[0].read_bytes()

    first = made()
    assert made(days=334) == first
    renewed = made(days=335.1)
    assert renewed != first
    assert made(days=336) == renewed


def test_a_self_signed_certificate_is_made_anew_for_another_host_and_where_its_key_is_gone(tmp_path: Path) -> None:
    first = self_signed(tmp_path, "mail.example.org")[0].read_bytes()
    certificate, key = self_signed(tmp_path, "mx.example.org")
    assert certificate.read_bytes() != first
    key.unlink()
    tls.server(*self_signed(tmp_path, "mx.example.org"))


@pytest.mark.parametrize("ours", ["none", "certificate", "key"])
def test_a_pair_that_somebody_else_put_there_is_never_replaced(tmp_path: Path, ours: str) -> None:
    if ours != "none":
        self_signed(tmp_path, "mail.example.org")
    certificate, key = write_pair(tmp_path, "other.example.org", certificate=ours != "certificate", key=ours != "key")
    before = certificate.read_bytes(), key.read_bytes()
    with pytest.raises(IdentityProblem, match=r"cert\.pem.*key\.pem.*move them away.*not self_signed = true"):
        self_signed(tmp_path, "mx.example.org")
    assert (certificate.read_bytes(), key.read_bytes()) == before


def test_another_s_pair_that_fits_is_used(tmp_path: Path) -> None:
    pair = trustme.CA().issue_cert("mail.example.org")
    pair.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    pair.private_key_pem.write_to_path(tmp_path / "key.pem")
    before = (tmp_path / "cert.pem").read_bytes()
    assert self_signed(tmp_path, "mail.example.org")[0].read_bytes() == before


@pytest.mark.parametrize("name", ["cert.pem", "key.pem"])
def test_a_file_that_says_nothing_of_its_maker_is_not_replaced(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("perhaps an encrypted key")
    with pytest.raises(IdentityProblem):
        self_signed(tmp_path, "mail.example.org")
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_long_host_name_does_not_stop_a_self_signed_certificate(tmp_path: Path) -> None:
    host = ".".join(["a" * 60, "b" * 60, "example.org"])
    certificate, key = self_signed(tmp_path, host)
    assert handshake(tls.server(certificate, key), ssl.create_default_context(cafile=str(certificate)), host).version()
