"""Certificates for servers on loopback, good ones and bad ones, by a certification authority that exists in this process only."""

from __future__ import annotations

import atexit
import os
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from ipaddress import ip_address
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Literal, get_args

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CertificateWord = Literal["good", "expired", "other name", "self-signed"]
CERTIFICATE_WORDS: tuple[CertificateWord, ...] = get_args(CertificateWord)

# Fixed, for a test may have set the clock of Python, though not that of OpenSSL.
_BEGIN, _END, _PAST = (datetime(year, 1, 1, tzinfo=UTC) for year in (2000, 2100, 2001))
_LOOPBACK: tuple[x509.GeneralName, ...] = (
    x509.DNSName("localhost"),
    x509.IPAddress(ip_address("127.0.0.1")),
    x509.IPAddress(ip_address("::1")),
)


@dataclass(frozen=True, slots=True)
class Authority:
    """The authority. `certificate` is what its clients trust, in PEM."""

    certificate: str
    _own: x509.Certificate
    _key: ec.EllipticCurvePrivateKey

    def issue(self, hostname: str, word: CertificateWord = "good") -> bytes:
        """A key and a certificate in PEM for `hostname` and loopback; or one that is past its time ("expired"), for another host
        ("other name"), or vouched for by nobody ("self-signed")."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = (x509.DNSName("other.invalid"),) if word == "other name" else (x509.DNSName(hostname), *_LOOPBACK)
        issuer, issuer_key = (None, key) if word == "self-signed" else (self._own, self._key)
        certificate = _signed(hostname, key, issuer, issuer_key, names, _PAST if word == "expired" else _END)
        no_password = serialization.NoEncryption()
        secret = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, no_password)
        return secret + certificate.public_bytes(serialization.Encoding.PEM)


@cache
def authority() -> Authority:
    """The authority of this process; made when it is first asked for."""
    key = ec.generate_private_key(ec.SECP256R1())
    own = _signed("waymail.testing", key, None, key, (), _END)
    return Authority(own.public_bytes(serialization.Encoding.PEM).decode(), own, key)


@cache
def server_context(hostname: str, word: CertificateWord = "good") -> ssl.SSLContext:
    """For a server that goes by `hostname`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with NamedTemporaryFile(prefix="waymail-testing-") as file:  # OpenSSL reads keys from files only
        file.write(authority().issue(hostname, word))
        file.flush()
        context.load_cert_chain(file.name)
    return context


@cache
def client_context() -> ssl.SSLContext:
    """For a client that trusts the authority, and nobody else."""
    return ssl.create_default_context(cadata=authority().certificate)


@cache
def ca_file() -> str:
    """The path of a file with the authority's certificate, for programs that want a path. It is gone when the process ends."""
    with NamedTemporaryFile("w", prefix="waymail-testing-", suffix=".pem", delete=False) as file:
        file.write(authority().certificate)
    atexit.register(_remove, file.name, os.getpid())
    return file.name


def _remove(path: str, process: int) -> None:
    if os.getpid() == process:  # a child that was forked has no business with it
        Path(path).unlink(missing_ok=True)


def _signed(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    issuer: x509.Certificate | None,
    issuer_key: ec.EllipticCurvePrivateKey,
    names: tuple[x509.GeneralName, ...],
    end: datetime,
) -> x509.Certificate:
    """A certificate by `issuer`, or by itself; with `names` that of a host, without them that of an authority."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_BEGIN)
        .not_valid_after(end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
        .add_extension(x509.BasicConstraints(ca=not names, path_length=None), critical=True)
        .add_extension(_usage(is_authority=not names), critical=True)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    return builder.sign(issuer_key, hashes.SHA256())


def _usage(*, is_authority: bool) -> x509.KeyUsage:
    # Python 3.13 verifies strictly: RFC 5280 §4.2.1.3 wants an authority to say that it signs.
    return x509.KeyUsage(
        digital_signature=not is_authority,
        key_cert_sign=is_authority,
        crl_sign=is_authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
