"""TLS contexts, made once and shared by all connections: making one costs more than a handshake. And what a connection's TLS
came to.

TLS 1.2 at least (RFC 8996 §2), without compression and renegotiation (RFC 9325 §3.3, §3.5). The cipher suites are Python's
own choice, forward-secret and authenticated ones only, except where any encryption is better than none (`unverified`). There is
no ALPN: no protocol name is registered for SMTP. Nobody may change a context that he got here.
"""

from __future__ import annotations

import hashlib
import ssl
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from cryptography import x509

_BEGIN, _END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"


class IdentityProblem(Exception):
    """A certificate and key that cannot be used; the text names the files and what is wrong with them."""


@cache
def verified(ca_file: str | None = None) -> ssl.SSLContext:
    """For connecting to hosts that must prove who they are, by the system's certification authorities, or those in `ca_file`
    (which is read once). Raises OSError (ssl.SSLError among them) where that cannot be read."""
    context = ssl.create_default_context(cafile=ca_file)
    context.hostname_checks_common_name = False  # RFC 9525 §6: the subject's common name is not looked at
    _harden(context)
    return context


@cache
def unverified() -> ssl.SSLContext:
    """For opportunistic TLS (RFC 7435 §4): any certificate, and old cipher suites rather than cleartext."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_ciphers("DEFAULT:@SECLEVEL=1")
    _harden(context)
    return context


class ServerContext(ssl.SSLContext):
    """A context for listening that knows what it serves: `certificate` is in DER, `name` says for which of several host names it
    stands, "" for the default one."""

    certificate: bytes
    name: str


def server(
    certificate: str | Path,
    key: str | Path,
    *,
    minimum: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2,
    client_ca: str | Path | None = None,
    client_certificates: ssl.VerifyMode = ssl.CERT_NONE,
) -> ServerContext:
    """For listening, with a certificate chain and its private key in PEM. With `client_certificates` other than CERT_NONE, the
    client is asked for a certificate of one of the authorities in `client_ca`. Raises IdentityProblem."""
    context = ServerContext(ssl.PROTOCOL_TLS_SERVER)
    asked_for_password: list[bool] = []

    def no_password() -> str:
        asked_for_password.append(True)  # without this, OpenSSL would ask on the terminal, and a server would hang there
        return ""

    try:
        context.load_cert_chain(certificate, key, password=no_password)
        context.certificate = _first_certificate(Path(certificate))
    except ssl.SSLError as error:
        why = "the key is encrypted; a server needs it without a password" if asked_for_password else _why(error)
        raise IdentityProblem(f"certificate {certificate} and key {key}: {why}") from error
    except (OSError, ValueError) as error:
        why = error.strerror or str(error) if isinstance(error, OSError) else "not a certificate chain in PEM"
        raise IdentityProblem(f"certificate {certificate} and key {key}: {why}") from error
    if client_ca is not None:
        _trust(context, client_ca)
    context.name = ""
    context.verify_mode = client_certificates
    context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
    _harden(context)
    context.minimum_version = minimum
    return context


def describe(connection: ssl.SSLObject | ssl.SSLSocket, verified: bool | None) -> str:
    """What a trace says of a connection's TLS: "TLSv1.3 TLS_AES_256_GCM_SHA384 verified".

    `verified` None is a session that we accepted. Then it says which certificate was chosen by name, if not the default one,
    whether an earlier session was resumed, and by which certificate the client is known (the start of its fingerprint: the text
    gets into Received, and tells no names): "TLSv1.3 TLS_AES_256_GCM_SHA384 for mail.example.net, resumed, client 3f2a9c0115".
    """
    cipher = connection.cipher()
    said = f"{connection.version()} {cipher[0] if cipher else 'unknown'}"
    if verified is not None:
        return said + (" verified" if verified else " unverified")
    context = connection.context
    if not isinstance(context, ServerContext):
        return said
    more = [f"for {context.name}"] if context.name else []
    if connection.session_reused:
        more.append("resumed")
    if shown := connection.getpeercert(binary_form=True):
        more.append(f"client {hashlib.sha256(shown).hexdigest()[:10]}")
    return f"{said} {', '.join(more)}" if more else said


@dataclass(frozen=True, slots=True)
class PeerCertificate:
    """What a client proved with its certificate, for SASL EXTERNAL (RFC 4422 Appendix A).

    `names` are its subject's alternative names, mail addresses before host names, as the certificate spells them; `fingerprint`
    is SHA-256 over its DER, in lower-case hexadecimal; `subject` is the distinguished name as text.
    """

    names: tuple[str, ...]
    fingerprint: str
    subject: str


def peer_certificate(connection: ssl.SSLObject | ssl.SSLSocket | None) -> PeerCertificate | None:
    """The certificate that the client showed, None where it showed none.

    One that does not come from `client_ca`, or has expired, ends the handshake: whatever is returned was verified. A resumed
    session stands by what was verified when it was new.
    """
    shown = connection.getpeercert(binary_form=True) if connection is not None else None
    if not shown:
        return None
    names: list[str] = []
    subject = ""
    try:
        found = x509.load_der_x509_certificate(shown)
        subject = found.subject.rfc4514_string()
        alternative = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        names += alternative.get_values_for_type(x509.RFC822Name)
        names += alternative.get_values_for_type(x509.DNSName)
    except (ValueError, x509.ExtensionNotFound):
        pass  # OpenSSL takes forms that cryptography does not: it has a fingerprint all the same
    return PeerCertificate(tuple(names), hashlib.sha256(shown).hexdigest(), subject)


def served_certificate(connection: ssl.SSLObject | ssl.SSLSocket) -> bytes | None:
    """Our own certificate on an accepted connection, in DER: what the channel binding "tls-server-end-point" is computed from
    (RFC 5929 §4). None where the context is none of `server`'s."""
    context = connection.context
    return context.certificate if isinstance(context, ServerContext) else None


def _harden(context: ssl.SSLContext) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION


def _trust(context: ssl.SSLContext, authorities: str | Path) -> None:
    try:
        context.load_verify_locations(authorities)
    except ssl.SSLError as error:
        raise IdentityProblem(f"client_ca {authorities}: no certificates in PEM") from error
    except OSError as error:
        raise IdentityProblem(f"client_ca {authorities}: {error.strerror}") from error


def _first_certificate(file: Path) -> bytes:
    """The server's own: what follows it is the chain (RFC 8446 §4.4.2)."""
    text = file.read_text("ascii", "replace")
    begin = text.index(_BEGIN)
    return ssl.PEM_cert_to_DER_cert(text[begin : text.index(_END, begin) + len(_END)])


def _why(error: ssl.SSLError) -> str:
    if error.reason == "KEY_VALUES_MISMATCH":
        return "the key is not that certificate's"
    return "not a certificate chain and a key in PEM"
