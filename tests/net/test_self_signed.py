from __future__ import annotations

import ssl
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
from tests.net.certificates import handshake, write_pair

from waymail.net import tls
from waymail.net.self_signed import self_signed
from waymail.net.tls import IdentityProblem


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
