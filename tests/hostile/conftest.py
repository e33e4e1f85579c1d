from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.hostile.lenient import LenientReceiver
from tests.hostile.target import Target


@pytest.fixture(scope="session")
def plain() -> Iterator[LenientReceiver]:
    """A next hop without CHUNKING and 8BITMIME."""
    receiver = LenientReceiver()
    yield receiver
    receiver.close()


@pytest.fixture(scope="session")
def chunking() -> Iterator[LenientReceiver]:
    """A next hop with CHUNKING and BINARYMIME."""
    receiver = LenientReceiver(("8BITMIME", "CHUNKING", "BINARYMIME"))
    yield receiver
    receiver.close()


@pytest.fixture(scope="session")
def eight_bit() -> Iterator[LenientReceiver]:
    """A next hop with 8BITMIME, but without CHUNKING."""
    receiver = LenientReceiver(("8BITMIME",))
    yield receiver
    receiver.close()


@pytest.fixture(scope="session")
def target(
    tmp_path_factory: pytest.TempPathFactory, plain: LenientReceiver, chunking: LenientReceiver, eight_bit: LenientReceiver
) -> Iterator[Target]:
    """A server that all attacks share but those that need short deadlines. Mail for other domains goes to `plain`, that for
    chunking.example to `chunking`, that for eight.example to `eight_bit`."""
    routes = {"*": plain, "chunking.example": chunking, "eight.example": eight_bit}
    lines = (f'"{name}" = "smtp://127.0.0.1:{receiver.port}?tls=off"' for name, receiver in routes.items())
    made = Target(tmp_path_factory.mktemp("target"), routes="\n".join(lines))
    made.start()
    yield made
    made.stop()


@pytest.fixture(scope="session")
def impatient(tmp_path_factory: pytest.TempPathFactory, plain: LenientReceiver) -> Iterator[Target]:
    """A server with short deadlines, whose log is JSON, and which relays all to `plain`."""
    limits = 'command_timeout = "1s"\ndata_timeout = "1s"\nmessage_time = "2s"\n'
    made = Target(
        tmp_path_factory.mktemp("impatient"),
        routes=f'"*" = "smtp://127.0.0.1:{plain.port}?tls=off"',
        limits=limits,
        log='[log]\nformat = "json"\n',
    )
    made.start()
    yield made
    made.stop()
