"""What the packages name as public can be imported, though that happens only when it is asked for."""

from __future__ import annotations

import subprocess
import sys

import pytest

import waymail
import waymail.wire

PACKAGES = [waymail, waymail.wire]


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.__name__)
def test_every_public_name_is_there_and_no_other(package: object) -> None:
    names: list[str] = package.__all__  # type: ignore[attr-defined]
    assert len(names) > 15
    assert all(getattr(package, name) is not None for name in names)
    assert set(names) == package._HOME.keys()  # type: ignore[attr-defined]
    with pytest.raises(AttributeError, match="has no attribute 'bogus'"):
        package.bogus  # type: ignore[attr-defined]  # noqa: B018


def test_a_star_import_gives_them_all() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from waymail import *; from waymail.wire import *; print(Client, ServerConnection)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "waymail.client.api.Client" in done.stdout
    assert "waymail.wire.server.ServerConnection" in done.stdout


def test_looking_at_the_queue_imports_no_client_and_no_configuration() -> None:
    """Each would cost a tenth of a second."""
    wanted = "import waymail.app.cli, waymail.app.cli.overview, waymail.app.asking, waymail.store.read, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", wanted], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert not {"waymail.client.api", "waymail.wire.server", "waymail.app.config", "pydantic"} & loaded
