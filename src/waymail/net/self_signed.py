"""Certificates that nobody else vouches for, for development and trying things out.

Promises: only what was made here is ever replaced. Raises IdentityProblem where another pair stands in the way.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from waymail.net.tls import IdentityProblem

SELF_SIGNED_DAYS = 365
RENEW_BEFORE_DAYS = 30
ORGANIZATION = "waymail self-signed, for development"  # by which a certificate of `self_signed` is known again


def self_signed(directory: str | Path, hostname: str, *, now: datetime | None = None) -> tuple[Path, Path]:
    """A certificate that nobody else vouches for, and its key, for development: kept in `directory` and made anew when it is
    for another host name or expires within 30 days. Only what was made here is ever replaced: raises IdentityProblem where
    another pair that does not fit stands in its place, and OSError where the directory cannot be written."""
    now = now or datetime.now(UTC)
    certificate, key = _kept_pair(directory)
    if not is_kept(directory, hostname, now=now):
        certificate.parent.mkdir(parents=True, exist_ok=True)
        secret = ec.generate_private_key(ec.SECP256R1())
        encoding, no_password = serialization.Encoding.PEM, serialization.NoEncryption()
        # The certificate first: one of ours without a key may be replaced, a key by itself might be anybody's.
        key.unlink(missing_ok=True)
        _write(certificate, _certificate(secret, hostname, now).public_bytes(encoding), 0o644)
        _write(key, secret.private_bytes(encoding, serialization.PrivateFormat.PKCS8, no_password), 0o600)
    return certificate, key


def is_kept(directory: str | Path, hostname: str, *, now: datetime | None = None) -> bool:
    """Whether `self_signed` would keep the pair that stands there. Raises IdentityProblem as that does; writes nothing."""
    certificate, key = _kept_pair(directory)
    if _is_good(certificate, key, hostname, now or datetime.now(UTC)):
        return True
    if _may_replace(certificate, key):
        return False
    raise IdentityProblem(
        f"{certificate} and {key} are not for {hostname}, or expire soon, or are broken, and waymail did not make them: "
        "move them away, and a self-signed pair is made; or name them as certificate and key, not self_signed = true"
    )


def _kept_pair(directory: str | Path) -> tuple[Path, Path]:
    return Path(directory) / "cert.pem", Path(directory) / "key.pem"


def _names(hostname: str) -> list[x509.GeneralName]:
    names: list[x509.GeneralName] = [x509.DNSName(name) for name in dict.fromkeys((hostname, "localhost"))]
    return [*names, x509.IPAddress(ip_address("127.0.0.1")), x509.IPAddress(ip_address("::1"))]


def _certificate(secret: ec.EllipticCurvePrivateKey, hostname: str, now: datetime) -> x509.Certificate:
    # A common name has 64 characters at most (X.520); the host name itself stands in subjectAltName.
    organization = x509.NameAttribute(NameOID.ORGANIZATION_NAME, ORGANIZATION)
    name = x509.Name([organization, x509.NameAttribute(NameOID.COMMON_NAME, hostname[:64])])
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(secret.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))  # clocks differ
        .not_valid_after(now + timedelta(days=SELF_SIGNED_DAYS))
        .add_extension(x509.SubjectAlternativeName(_names(hostname)), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(secret, hashes.SHA256())
    )


def _is_good(certificate: Path, key: Path, hostname: str, now: datetime) -> bool:
    try:
        found = x509.load_pem_x509_certificate(certificate.read_bytes())
        secret = serialization.load_pem_private_key(key.read_bytes(), password=None)
        names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (OSError, ValueError, TypeError, x509.ExtensionNotFound):
        return False
    return (
        found.public_key() == secret.public_key()
        and hostname in names.get_values_for_type(x509.DNSName)
        and found.not_valid_after_utc - now > timedelta(days=RENEW_BEFORE_DAYS)
    )


def _may_replace(certificate: Path, key: Path) -> bool:
    """Whether nothing stands there but what `self_signed` made: nothing, its pair, or its certificate without the key."""
    if not os.path.lexists(certificate):
        return not os.path.lexists(key)
    try:
        found = x509.load_pem_x509_certificate(certificate.read_bytes())
        organizations = [attribute.value for attribute in found.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)]
        if found.issuer != found.subject or organizations != [ORGANIZATION]:
            return False
        if not os.path.lexists(key):
            return True
        secret = serialization.load_pem_private_key(key.read_bytes(), password=None)
    except (OSError, ValueError, TypeError):
        return False
    return found.public_key() == secret.public_key()


def _write(path: Path, octets: bytes, mode: int) -> None:
    """Replace a file as a whole; it never exists with other permissions than `mode`."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.new")
    temporary.unlink(missing_ok=True)
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(octets)
    temporary.replace(path)
