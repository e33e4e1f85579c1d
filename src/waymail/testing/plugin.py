"""A pytest plugin that hands waymail's doubles to tests. It comes with the package: nothing is to be said for it.

It needs no other plugin: its fixtures serve plain tests, unittest's, and those of pytest-asyncio, anyio or trio alike. Nothing is
made, nor imported, until a test names a fixture. Where a test fails that has a server, what was said there is shown.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, Unpack

import pytest

if TYPE_CHECKING:
    from waymail.server.trial import Trial
    from waymail.testing.clock import JumpingClock
    from waymail.testing.dns import DnsServer
    from waymail.testing.inbox import Inbox
    from waymail.testing.internet import FakeInternet
    from waymail.testing.smtp_options import OptionWords
    from waymail.testing.smtp_server import SmtpServer
    from waymail.testing.zone import Zone

MARKER = "smtp_server"
_SERVERS: pytest.StashKey[dict[str, Inbox]] = pytest.StashKey()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", f"{MARKER}(tls, users, mechanisms, extensions, size, lmtp, hostname): options of the fixture {MARKER}"
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        for name, server in item.stash.get(_SERVERS, {}).items():
            report.sections.append((f"What was said at {name}", server.transcript or "Nobody connected."))
    return report


@pytest.fixture
def smtp_server(request: pytest.FixtureRequest) -> Iterator[SmtpServer]:
    """An SMTP server on loopback that keeps what it takes, and goes wrong on request. The marker of that name has its options."""
    from waymail.testing.smtp_server import SmtpServer

    marks = [*request.node.iter_markers(MARKER)]
    options: dict[str, Any] = {name: value for mark in reversed(marks) for name, value in mark.kwargs.items()}
    with SmtpServer(**options) as server:
        _show_when_failed(request, MARKER, server)
        yield server


@pytest.fixture
def make_smtp_server(request: pytest.FixtureRequest) -> Iterator[Callable[..., SmtpServer]]:
    """Makes servers, each with options of its own: `make_smtp_server(tls="starttls")`. They are closed with the test."""
    from waymail.testing.smtp_server import SmtpServer

    servers: list[SmtpServer] = []

    def make(**options: Unpack[OptionWords]) -> SmtpServer:
        server = SmtpServer(**options).open()
        servers.append(server)
        _show_when_failed(request, f"server {len(servers)}, {server.address}", server)
        return server

    yield make
    for server in servers:
        server.close()


@pytest.fixture
def fake_internet(request: pytest.FixtureRequest, dns_zone: Zone, dns_server: DnsServer) -> Iterator[FakeInternet]:
    """Domains with their mail servers and their names in DNS, all of it on loopback."""
    from waymail.testing.internet import FakeInternet

    with FakeInternet(dns_zone, dns_server) as internet:
        _show_when_failed(request, "fake_internet", internet)
        yield internet


@pytest.fixture
def dns_zone() -> Zone:
    """All there is in DNS: nothing, until the test puts it there."""
    from waymail.testing.zone import Zone

    return Zone({})


@pytest.fixture
def dns_server(dns_zone: Zone) -> Iterator[DnsServer]:
    """A DNS server on loopback, in a thread of its own, that serves `dns_zone`, and goes wrong on request."""
    from waymail.testing.dns import serving

    with serving(dns_zone) as server:
        yield server


@pytest.fixture
def mail_clock() -> JumpingClock:
    """A clock that stands still until the test lets time pass."""
    from waymail.testing.clock import JumpingClock

    return JumpingClock()


@pytest.fixture
def mail_judge(dns_zone: Zone) -> Callable[..., Awaitable[Trial]]:
    """`waymail.testing.policy.judge`, where `dns_zone` is all there is in DNS: what becomes of a message under the rules of
    [inbound], or under a `Policy` of your own."""
    try:
        from waymail.testing.policy import judge
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f'mail_judge needs what a server needs: pip install "waymail[server]" ({error})') from error

    return partial(judge, zone=dns_zone)


# By their former names.


@pytest.fixture
def waymail_zone(dns_zone: Zone) -> Zone:
    """`dns_zone`."""
    return dns_zone


@pytest.fixture
def waymail_dns(dns_server: DnsServer) -> DnsServer:
    """`dns_server`."""
    return dns_server


@pytest.fixture
def waymail_clock(mail_clock: JumpingClock) -> JumpingClock:
    """`mail_clock`."""
    return mail_clock


@pytest.fixture
def waymail_judge(mail_judge: Callable[..., Awaitable[Trial]]) -> Callable[..., Awaitable[Trial]]:
    """`mail_judge`."""
    return mail_judge


def _show_when_failed(request: pytest.FixtureRequest, name: str, server: Inbox) -> None:
    request.node.stash.setdefault(_SERVERS, {})[name] = server
