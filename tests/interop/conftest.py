"""Real peers. Each test here starts a waymail server in its own process and talks to it with somebody else's program."""

from __future__ import annotations

import itertools
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from bench.postfix import PrivatePostfix

from waymail.testing.process import ServerProcess, free_port, wait_for_port

if TYPE_CHECKING:
    from tests.interop.town import Town

numbers = itertools.count()
USER, PASSWORD = "ann@example.org", "correct horse battery"

CONFIG = """\
hostname = "mail.example.org"
data_dir = "data"

[[listener]]
kind = "mx"
address = "127.0.0.1:{mx}"
tls = "starttls"

[[listener]]
kind = "submission"
address = "127.0.0.1:{submission}"
tls = "starttls"

[[listener]]
kind = "submission"
address = "127.0.0.1:{implicit}"
tls = "implicit"

[tls]
self_signed = true

[users]
file = "users.toml"

[domains."any.example"]
deliver = "maildir:mail/{{domain}}/{{local}}"
recipients = "any"

[domains."example.org"]
deliver = "maildir:mail/{{domain}}/{{local}}"
recipients = ["ann", "bob"]
aliases = {{ sales = ["ann", "bob"] }}

[routes]
"*" = "{route}"
"""


class Mail(ServerProcess):
    """The server of example.org: users ann and bob, two submission ports, everything else goes by `route`."""

    def __init__(self, directory: Path, route: str = "mx", more: str = "") -> None:
        self.mx, self.submission, self.implicit = free_port(), free_port(), free_port()
        config = CONFIG.format(mx=self.mx, submission=self.submission, implicit=self.implicit, route=route) + more
        super().__init__(directory, config, [self.mx, self.submission, self.implicit])
        self.run("user", "add", USER, "--password-stdin", input=f"{PASSWORD}\n")

    @property
    def certificate(self) -> Path:
        return self.directory / "data" / "tls" / "cert.pem"


@pytest.fixture
def mail(tmp_path: Path) -> Iterator[Mail]:
    with Mail(tmp_path / "waymail") as server:
        yield server


@pytest.fixture
def start_mail(tmp_path: Path) -> Iterator[Callable[..., Mail]]:
    """Starts servers with other routes; ends them after the test."""
    running: list[Mail] = []

    def start(route: str, more: str = "") -> Mail:
        server = Mail(tmp_path / f"waymail{len(running)}", route, more)
        server.start()
        running.append(server)
        return server

    yield start
    for server in running:
        assert server.stop() == 0, server.log.read_text()


@pytest.fixture
def start_postfix() -> Iterator[Callable[..., tuple[PrivatePostfix, int]]]:
    """Starts private Postfixes; ends them after the test."""
    running: list[PrivatePostfix] = []
    folders: list[Path] = []

    def start(**settings: str) -> tuple[PrivatePostfix, int]:
        port = free_port()
        folder = Path(tempfile.mkdtemp(prefix="postfix-"))  # other users may not look into pytest's own folders
        folder.chmod(0o755)
        folders.append(folder)
        server = PrivatePostfix(folder / "postfix", f"127.0.0.1:{port}", settings)
        server.start()
        running.append(server)
        wait_for_port(port)
        return server, port

    yield start
    for server in running:
        server.stop()
    for folder in folders:
        shutil.rmtree(folder)


class Box:
    """A recipient that nobody else writes to, at a server that lives longer than the test."""

    def __init__(self, mail: Mail, local: str) -> None:
        self.mail = mail
        self.address = f"{local}@any.example"
        self._path = f"mail/any.example/{local}"

    def wait(self, number: int = 1) -> list[bytes]:
        return self.mail.wait_for_mail(self._path, number)


@pytest.fixture(scope="session")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mail]:
    """One server for all tests that ask nothing special of it."""
    with Mail(tmp_path_factory.mktemp("house") / "waymail") as server:
        yield server


@pytest.fixture(scope="session")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    """One server among next hops of every kind."""
    from tests.interop.town import Town

    with Town(tmp_path_factory.mktemp("town")) as running:
        yield running


@pytest.fixture
def local() -> str:
    """A local part that nobody else uses."""
    return f"local{next(numbers)}"


@pytest.fixture
def box(house: Mail) -> Box:
    return Box(house, f"box{next(numbers)}")


@pytest.fixture(scope="session", autouse=True)
def peers_are_there() -> None:
    """A missing peer is a failure, never a skip."""
    done = subprocess.run(
        [Path(__file__).with_name("peers.sh"), "check"], check=False, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
