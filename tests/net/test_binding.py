from __future__ import annotations

import hashlib
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.x509.oid import NameOID
from tests.net.certificates import both_sides, write_pair

from waymail.net import binding, tls

_RSA = rsa.generate_private_key(65537, 2048)
_SHA_256_WITH_RSA = bytes.fromhex("06092a864886f70d01010b")
# Nobody signs with these any more, but such certificates are about; their signature is not looked at here.
SHA_1_WITH_RSA = bytes.fromhex("06092a864886f70d010105")
MD5_WITH_RSA = bytes.fromhex("06092a864886f70d010104")


def certificate(
    key: rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey = _RSA, digest: hashes.SHA256 | hashes.SHA384 | hashes.SHA512 | None = None
) -> bytes:
    """A certificate in DER, signed with `digest`."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mx.example")])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=1))
    )
    return builder.sign(key, digest).public_bytes(serialization.Encoding.DER)


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    return write_pair(tmp_path / "pair")


def der_of(certificate_file: Path) -> bytes:
    return ssl.PEM_cert_to_DER_cert(certificate_file.read_text())


def sides(pair: tuple[Path, Path], version: ssl.TLSVersion) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    server = tls.server(*pair)
    server.minimum_version = server.maximum_version = version
    return both_sides(server, tls.unverified())


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_both_ends_of_a_connection_see_the_same(pair: tuple[Path, Path], version: ssl.TLSVersion) -> None:
    ours, theirs = sides(pair, version)
    found = binding.of_client(ours)
    assert found == binding.of_server(theirs, der_of(pair[0]))
    assert found["tls-server-end-point"] == hashlib.sha256(der_of(pair[0])).digest()


def test_two_connections_with_one_certificate_have_each_their_own_tls_unique(pair: tuple[Path, Path]) -> None:
    one, other = (binding.of_client(sides(pair, ssl.TLSVersion.TLSv1_2)[0]) for _ in range(2))
    assert one["tls-unique"] != other["tls-unique"]
    assert one["tls-server-end-point"] == other["tls-server-end-point"]


def test_tls_1_3_has_no_tls_unique(pair: tuple[Path, Path]) -> None:
    for side in sides(pair, ssl.TLSVersion.TLSv1_3):
        assert "tls-unique" not in binding.of_server(side, der_of(pair[0]))


def test_a_server_that_does_not_know_its_certificate_has_no_end_point(pair: tuple[Path, Path]) -> None:
    assert "tls-server-end-point" not in binding.of_server(sides(pair, ssl.TLSVersion.TLSv1_3)[1], b"")


@pytest.mark.parametrize("digest", [hashes.SHA256(), hashes.SHA384(), hashes.SHA512()])
def test_the_certificate_is_hashed_as_its_signature_is(digest: hashes.SHA256 | hashes.SHA384 | hashes.SHA512) -> None:
    der = certificate(digest=digest)
    assert binding.end_point(der) == hashlib.new(digest.name, der).digest()


@pytest.mark.parametrize("algorithm", [SHA_1_WITH_RSA, MD5_WITH_RSA])
def test_md5_and_sha_1_give_way_to_sha_256(algorithm: bytes) -> None:
    # RFC 5929 §4.1
    der = certificate(digest=hashes.SHA256()).replace(_SHA_256_WITH_RSA, algorithm)
    assert binding.end_point(der) == hashlib.sha256(der).digest()


def test_a_signature_without_a_hash_has_no_end_point() -> None:
    assert binding.end_point(certificate(ed25519.Ed25519PrivateKey.generate())) is None


@pytest.mark.parametrize("octets", [b"", b"no certificate", b"\x30\x03\x02\x01\x01"])
def test_what_is_no_certificate_has_no_end_point(octets: bytes) -> None:
    assert binding.end_point(octets) is None


class Exporter:
    """What a runtime may look like one day."""

    def export_keying_material(self, label: bytes, length: int) -> bytes:
        return label + bytes(length)


def test_keys_are_exported_under_the_label_of_rfc_9266_where_the_runtime_can() -> None:
    assert binding.exported(Exporter()) == b"EXPORTER-Channel-Binding" + bytes(32)
    assert binding.exported(object()) is None
