"""Channel bindings of TLS (RFC 5056, RFC 5929, RFC 9266): octets that the two ends of one connection know alike, and whoever sits
between two connections cannot make alike.

What the runtime or the certificate does not give is absent: nothing here raises. A certificate is looked at once.

- `tls-exporter` (RFC 9266) needs `export_keying_material`, which Python's ssl does not have up to 3.14; used where it is there,
  and with TLS 1.3 only: in TLS 1.2 it is unique only with the extended master secret (RFC 7627), which Python does not show.
- `tls-server-end-point` (RFC 5929 §4) is the hash of the server's certificate. Absent where its signature names no single
  hash, as Ed25519 does.
- `tls-unique` (RFC 5929 §3) is given for TLS 1.2, for peers that know no other; there is none for TLS 1.3 (RFC 8446 §C.5).
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes

EXPORTER_LABEL = b"EXPORTER-Channel-Binding"
EXPORTER_LENGTH = 32  # octets


def of_client(connection: ssl.SSLObject | ssl.SSLSocket) -> Mapping[str, bytes]:
    """The bindings of a connection that we opened, by their types."""
    return _bindings(connection, connection.getpeercert(True) or b"")


def of_server(connection: ssl.SSLObject | ssl.SSLSocket, certificate_der: bytes) -> Mapping[str, bytes]:
    """The bindings of a connection that we accepted. `certificate_der` is the certificate that the handshake showed to the
    client; b"" where it is not known."""
    return _bindings(connection, certificate_der)


def _bindings(connection: ssl.SSLObject | ssl.SSLSocket, certificate_der: bytes) -> Mapping[str, bytes]:
    version = connection.version()
    found = {
        "tls-exporter": exported(connection) if version == "TLSv1.3" else None,
        "tls-server-end-point": end_point(certificate_der) if certificate_der else None,
        "tls-unique": connection.get_channel_binding("tls-unique") if version == "TLSv1.2" else None,
    }
    return {kind: data for kind, data in found.items() if data}


def exported(connection: Any) -> bytes | None:
    """tls-exporter (RFC 9266 §2). None where the runtime has no exporter."""
    export = getattr(connection, "export_keying_material", None)
    return None if export is None else bytes(export(EXPORTER_LABEL, EXPORTER_LENGTH))


@lru_cache(maxsize=256)
def end_point(certificate_der: bytes) -> bytes | None:
    """tls-server-end-point of a certificate in DER (RFC 5929 §4.1). None where it is not defined."""
    try:
        algorithm = x509.load_der_x509_certificate(certificate_der).signature_hash_algorithm
    except (ValueError, UnsupportedAlgorithm):
        return None
    if algorithm is None:
        return None
    if isinstance(algorithm, hashes.MD5 | hashes.SHA1):
        algorithm = hashes.SHA256()
    digest = hashes.Hash(algorithm)
    digest.update(certificate_der)
    return digest.finalize()
