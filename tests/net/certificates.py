"""Certificates, and handshakes without sockets."""

from __future__ import annotations

import ssl
from pathlib import Path

import trustme
from cryptography import x509

from waymail.net import tls

AUTHORITY = trustme.CA()


def write_pair(
    directory: Path, *names: str, certificate: bool = True, key: bool = True, authority: trustme.CA = AUTHORITY
) -> tuple[Path, Path]:
    """For "mail.example.org" where no names are given."""
    directory.mkdir(exist_ok=True)
    pair = authority.issue_cert(*names or ("mail.example.org",))
    if certificate:
        (directory / "cert.pem").write_bytes(pair.cert_chain_pems[0].bytes())
    if key:
        (directory / "key.pem").write_bytes(pair.private_key_pem.bytes())
    return directory / "cert.pem", directory / "key.pem"


def handshake(server: ssl.SSLContext, client: ssl.SSLContext, name: str = "mail.example.org") -> ssl.SSLObject:
    """Without a socket: the two sides' octets are carried by hand. Returns the client's side."""
    return both_sides(server, client, name)[0]


def both_sides(
    server: ssl.SSLContext, client: ssl.SSLContext, name: str | None = "mail.example.org", session: ssl.SSLSession | None = None
) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """The client's and the server's side of a handshake, after one octet from the server: tickets come before it."""
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(to_client, to_server, server_hostname=name, session=session)
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
            theirs.write(b"2")
            assert ours.read(1) == b"2"
            return ours, theirs
    raise AssertionError("the handshake does not end")


def names_shown(server: ssl.SSLContext, name: str = "mail.example.org") -> list[str]:
    shown = handshake(server, tls.unverified(), name).getpeercert(binary_form=True)
    assert shown
    found = x509.load_der_x509_certificate(shown).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    return found.value.get_values_for_type(x509.DNSName)
