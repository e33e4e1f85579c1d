from __future__ import annotations

import ssl
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from tests.net.certificates import AUTHORITY, handshake, write_pair

from waymail.net import tls
from waymail.net.tls import IdentityProblem


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
