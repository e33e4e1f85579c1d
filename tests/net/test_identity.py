from __future__ import annotations

import hashlib
import ssl
from pathlib import Path

import pytest
import trustme
from tests.net.certificates import AUTHORITY, both_sides, names_shown, write_pair

from waymail.net import tls
from waymail.net.identity import CHECK_INTERVAL, Pair, ServerIdentity, covers
from waymail.net.tls import IdentityProblem
from waymail.testing.clock import JumpingClock


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


# --- by name (RFC 6066 §3) ---


def test_each_name_gets_its_certificate_and_an_unknown_one_the_default(tmp_path: Path) -> None:
    identity = ServerIdentity(
        *write_pair(tmp_path / "default", "mail.example.org"),
        others=[
            Pair(*write_pair(tmp_path / "net", "mail.example.net", "Smtp.Example.net")),
            Pair(*write_pair(tmp_path / "wild", "*.example.com")),
            Pair(*write_pair(tmp_path / "named", "any.example"), names=("other.example", "mail.example.com")),
        ],
    )

    def first(name: str) -> str:
        return names_shown(identity.context(), name)[0]

    assert first("mail.example.org") == first("unknown.example") == "mail.example.org"
    assert first("mail.example.net") == first("SMTP.example.net") == "mail.example.net"
    assert first("a.example.com") == "*.example.com"
    assert first("a.b.example.com") == first("example.com") == "mail.example.org", "a wildcard is one label"
    assert first("mail.example.com") == "any.example", "a name by itself comes before a wildcard"
    assert first("any.example") == "mail.example.org", "names that are given stand for those in the certificate"
    _, no_name = both_sides(identity.context(), tls.unverified(), None)
    assert tls.describe(no_name, verified=None) == "TLSv1.3 TLS_AES_256_GCM_SHA384"
    _, named = both_sides(identity.context(), tls.unverified(), "b.example.com")
    assert tls.describe(named, verified=None) == "TLSv1.3 TLS_AES_256_GCM_SHA384 for *.example.com"


async def test_each_certificate_is_taken_up_when_it_changes_and_one_that_is_broken_holds_up_no_other(tmp_path: Path) -> None:
    clock = JumpingClock()
    reports: list[str] = []
    identity = ServerIdentity(
        *write_pair(tmp_path / "default", "mail.example.org"),
        others=[Pair(*write_pair(tmp_path / "net", "a.example")), Pair(*write_pair(tmp_path / "com", "b.example"))],
        clock=clock,
        report=reports.append,
    )
    write_pair(tmp_path / "net", "a.example", key=False)
    write_pair(tmp_path / "com", "b.example", "c.example")
    await clock.advance(CHECK_INTERVAL)
    assert names_shown(identity.context(), "a.example") == ["a.example"]
    assert names_shown(identity.context(), "c.example") == ["b.example", "c.example"]
    assert [text.partition(":")[0] for text in reports] == [
        f"certificate {tmp_path / 'net' / 'cert.pem'} and key {tmp_path / 'net' / 'key.pem'}"
    ]


def test_a_certificate_without_a_host_name_needs_names(tmp_path: Path) -> None:
    default, other = write_pair(tmp_path / "default"), write_pair(tmp_path / "other", "ann@example.org")
    with pytest.raises(IdentityProblem, match=r"other.cert\.pem: it has no host name in it: say which with names"):
        ServerIdentity(*default, others=[Pair(*other)])
    identity = ServerIdentity(*default, others=[Pair(*other, names=("a.example",))])
    assert names_shown(identity.context(), "a.example") == []


def test_the_certificate_that_is_served_is_known_for_channel_binding(tmp_path: Path) -> None:
    identity = ServerIdentity(*write_pair(tmp_path / "a"), others=[Pair(*write_pair(tmp_path / "b", "b.example"))])
    served = set()
    for name in ("mail.example.org", "b.example"):
        client, server = both_sides(identity.context(), tls.unverified(), name)
        assert tls.served_certificate(server) == client.getpeercert(binary_form=True)
        served.add(tls.served_certificate(server))
        assert tls.served_certificate(client) is None
    assert len(served) == 2


@pytest.mark.parametrize(
    ("pattern", "name", "is_covered"),
    [
        ("a.example", "a.example", True),
        ("a.example", "b.example", False),
        ("*.example", "a.example", True),
        ("*.example", "example", False),
        ("*.example", "a.b.example", False),
        ("*.example", "*.example", True),
        ("a.example", "*.example", False),
        ("*.b.example", "*.example", False),
    ],
)
def test_which_names_a_certificate_covers(pattern: str, name: str, is_covered: bool) -> None:
    assert covers(pattern, name) is is_covered


# --- sessions ---


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_session_is_resumed_until_a_certificate_changes(tmp_path: Path, version: ssl.TLSVersion) -> None:
    clock = JumpingClock()
    others = [Pair(*write_pair(tmp_path / "b", "b.example"))]
    identity = ServerIdentity(*write_pair(tmp_path / "a"), others=others, clock=clock)
    trust = ssl.create_default_context()
    AUTHORITY.configure_trust(trust)
    trust.minimum_version = trust.maximum_version = version

    def resumed(name: str) -> ssl.SSLObject:
        first, _ = both_sides(identity.context(), trust, name)
        again, server = both_sides(identity.context(), trust, name, first.session)
        assert again.session_reused
        assert tls.describe(server, verified=None).endswith(" resumed")
        assert tls.served_certificate(server) == first.getpeercert(binary_form=True)
        return again

    resumed("mail.example.org")
    again = resumed("b.example")
    write_pair(tmp_path / "b", "b.example")
    await clock.advance(CHECK_INTERVAL)
    after, server = both_sides(identity.context(), trust, "b.example", again.session)
    assert not after.session_reused, "the certificate that its channel would be bound to is gone"
    assert tls.served_certificate(server) == after.getpeercert(binary_form=True) != again.getpeercert(binary_form=True)


# --- clients' certificates ---


def client_context(directory: Path, *names: str, authority: trustme.CA = AUTHORITY) -> ssl.SSLContext:
    context = ssl.create_default_context()
    AUTHORITY.configure_trust(context)
    if names:
        context.load_cert_chain(*write_pair(directory, *names, authority=authority))
    return context


@pytest.fixture
def asking(tmp_path: Path) -> ServerIdentity:
    AUTHORITY.cert_pem.write_to_path(tmp_path / "ca.pem")
    others = [Pair(*write_pair(tmp_path / "b", "b.example"))]
    return ServerIdentity(
        *write_pair(tmp_path / "a"), others=others, client_ca=tmp_path / "ca.pem", asks=("off", "request", "require")
    )


@pytest.mark.parametrize("name", ["mail.example.org", "b.example"])
def test_what_a_client_s_certificate_proves(asking: ServerIdentity, tmp_path: Path, name: str) -> None:
    ann = client_context(tmp_path / "ann", "host.example.org", "ann@example.org")
    for ask in ("request", "require"):
        _, server = both_sides(asking.context(ask), ann, name)
        found = tls.peer_certificate(server)
        assert found is not None
        assert found.names == ("ann@example.org", "host.example.org")
        shown = ssl.PEM_cert_to_DER_cert((tmp_path / "ann" / "cert.pem").read_text())
        assert found.fingerprint == hashlib.sha256(shown).hexdigest()
        assert "O=trustme" in found.subject
        assert tls.describe(server, verified=None).endswith(f"client {found.fingerprint[:10]}")
    _, server = both_sides(asking.context("off"), ann, name)
    assert tls.peer_certificate(server) is None


def test_a_resumed_session_still_knows_the_client_s_certificate(asking: ServerIdentity, tmp_path: Path) -> None:
    ann = client_context(tmp_path / "ann", "ann@example.org")
    first, server = both_sides(asking.context("require"), ann)
    _, resumed = both_sides(asking.context("require"), ann, session=first.session)
    assert resumed.session_reused
    assert tls.peer_certificate(resumed) == tls.peer_certificate(server) is not None


def test_a_session_is_not_resumed_where_clients_are_asked_otherwise(asking: ServerIdentity, tmp_path: Path) -> None:
    """Else it would get in without a certificate where one is required."""
    nobody = client_context(tmp_path)
    first, _ = both_sides(asking.context("off"), nobody)
    with pytest.raises(ssl.SSLError):
        both_sides(asking.context("require"), nobody, session=first.session)


@pytest.mark.parametrize("name", ["mail.example.org", "b.example"])
def test_without_a_certificate_a_client_gets_in_where_it_is_requested_and_not_where_it_is_required(
    asking: ServerIdentity, tmp_path: Path, name: str
) -> None:
    nobody = client_context(tmp_path)
    _, server = both_sides(asking.context("request"), nobody, name)
    assert tls.peer_certificate(server) is None
    with pytest.raises(ssl.SSLError, match="PEER_DID_NOT_RETURN_A_CERTIFICATE"):
        both_sides(asking.context("require"), nobody, name)


def test_a_certificate_of_an_unknown_authority_ends_the_handshake(asking: ServerIdentity, tmp_path: Path) -> None:
    stranger = client_context(tmp_path / "stranger", "ann@example.org", authority=trustme.CA())
    for ask in ("request", "require"):
        with pytest.raises(ssl.SSLCertVerificationError):
            both_sides(asking.context(ask), stranger)


def test_authorities_that_cannot_be_read_are_an_error(tmp_path: Path) -> None:
    pair = write_pair(tmp_path)
    for file, why in ((tmp_path / "none.pem", "No such file"), (pair[1], "no certificates in PEM")):
        with pytest.raises(IdentityProblem, match=why):
            ServerIdentity(*pair, client_ca=file, asks=("require",))


async def test_changed_authorities_are_taken_up(tmp_path: Path) -> None:
    clock = JumpingClock()
    AUTHORITY.cert_pem.write_to_path(tmp_path / "ca.pem")
    identity = ServerIdentity(*write_pair(tmp_path), client_ca=tmp_path / "ca.pem", asks=("require",), clock=clock)
    ann = client_context(tmp_path / "ann", "ann@example.org")
    first, _ = both_sides(identity.context("require"), ann)
    trustme.CA().cert_pem.write_to_path(tmp_path / "ca.pem")
    await clock.advance(CHECK_INTERVAL)
    with pytest.raises(ssl.SSLCertVerificationError):
        both_sides(identity.context("require"), ann, session=first.session)


def test_the_least_version_is_kept_to(tmp_path: Path) -> None:
    others = [Pair(*write_pair(tmp_path / "b", "b.example"))]
    identity = ServerIdentity(*write_pair(tmp_path / "a"), others=others, minimum=ssl.TLSVersion.TLSv1_3)
    old = client_context(tmp_path)
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    for name in ("mail.example.org", "b.example"):
        with pytest.raises(ssl.SSLError, match="UNSUPPORTED_PROTOCOL"):
            both_sides(identity.context(), old, name)
