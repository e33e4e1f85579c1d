"""TLS contexts, made once and shared by all connections: making one costs more than a handshake.

TLS 1.2 at least (RFC 8996 §2), without compression and renegotiation (RFC 9325 §3.3, §3.5). The cipher suites are Python's
own choice, forward-secret and authenticated ones only, except where any encryption is better than none (`unverified`).
Nobody may change a context that he got here.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from waymail.net.clock import Clock, SystemClock

CHECK_INTERVAL = 1.0  # seconds between two looks at the certificate's files
SELF_SIGNED_DAYS = 365
RENEW_BEFORE_DAYS = 30
ORGANIZATION = "waymail self-signed, for development"  # by which a certificate of `self_signed` is known again


class IdentityProblem(Exception):
    """A certificate and key that cannot be used; the text names the files and what is wrong with them."""


@cache
def verified(ca_file: str | None = None) -> ssl.SSLContext:
    """For connecting to hosts that must prove who they are, by the system's certification authorities, or those in `ca_file`
    (which is read once). Raises OSError (ssl.SSLError among them) where that cannot be read."""
    context = ssl.create_default_context(cafile=ca_file)
    context.hostname_checks_common_name = False  # RFC 9525 §6: the subject's common name is not looked at
    return _hardened(context)


@cache
def unverified() -> ssl.SSLContext:
    """For opportunistic TLS (RFC 7435 §4): any certificate, and old cipher suites rather than cleartext."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_ciphers("DEFAULT:@SECLEVEL=1")
    return _hardened(context)


def server(certificate: str | Path, key: str | Path) -> ssl.SSLContext:
    """For listening, with a certificate chain and its private key in PEM. Raises IdentityProblem."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    asked_for_password: list[bool] = []

    def no_password() -> str:
        asked_for_password.append(True)  # without this, OpenSSL would ask on the terminal, and a server would hang there
        return ""

    try:
        context.load_cert_chain(certificate, key, password=no_password)
    except ssl.SSLError as error:
        why = "the key is encrypted; a server needs it without a password" if asked_for_password else _why(error)
        raise IdentityProblem(f"certificate {certificate} and key {key}: {why}") from error
    except OSError as error:
        raise IdentityProblem(f"certificate {certificate} and key {key}: {error.strerror}") from error
    context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
    return _hardened(context)


def describe(connection: ssl.SSLObject | ssl.SSLSocket, verified: bool | None) -> str:
    """What a trace says of a connection's TLS: "TLSv1.3 TLS_AES_256_GCM_SHA384 verified". `verified` None, for a session that we
    accepted, says nothing of the other side's certificate: it was not asked for one."""
    cipher = connection.cipher()
    said = "" if verified is None else " verified" if verified else " unverified"
    return f"{connection.version()} {cipher[0] if cipher else 'unknown'}{said}"


class ServerIdentity:
    """A server's certificate and key, loaded anew when their files change.

    Files that changed but cannot be used (half written, expired key of another certificate) leave the old pair in use;
    `report` is called with the reason, once for each change. Raises IdentityProblem where the first pair cannot be used.
    """

    def __init__(
        self,
        certificate: str | Path,
        key: str | Path,
        *,
        clock: Clock | None = None,
        report: Callable[[str], None] | None = None,
    ) -> None:
        self._certificate = Path(certificate)
        self._key = Path(key)
        self._clock = clock or SystemClock()
        self._report = report
        self._seen = self._state_of_files()
        self._context = self._load()
        self._check_at = self._clock.monotonic() + CHECK_INTERVAL

    def context(self) -> ssl.SSLContext:
        """The context to use now. One that was handed out earlier, to a listener, serves the newest certificate as well."""
        now = self._clock.monotonic()
        if now >= self._check_at:
            self._check_at = now + CHECK_INTERVAL
            self._reload_if_changed()
        return self._context

    def _reload_if_changed(self) -> None:
        state = self._state_of_files()
        if state == self._seen:
            return
        self._seen = state
        try:
            self._context = self._load()
        except IdentityProblem as problem:
            if self._report is not None:
                self._report(f"{problem}; the previous certificate stays in use")

    def _load(self) -> ssl.SSLContext:
        context = server(self._certificate, self._key)
        context.sni_callback = self._use_newest  # OpenSSL calls it in every handshake, also when no name is asked for
        return context

    def _use_newest(self, connection: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:
        newest = self.context()
        if newest is not context:
            connection.context = newest

    def _state_of_files(self) -> tuple[tuple[int, int, int] | None, ...]:
        return _state(self._certificate), _state(self._key)


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


def _hardened(context: ssl.SSLContext) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    return context


def _why(error: ssl.SSLError) -> str:
    if error.reason == "KEY_VALUES_MISMATCH":
        return "the key is not that certificate's"
    return "not a certificate chain and a key in PEM"


def _state(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


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
