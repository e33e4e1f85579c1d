from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import django
import pytest
from django.conf import settings

from waymail.testing import SmtpServer


@pytest.fixture(scope="package", autouse=True)
def project() -> None:
    """A project of Django's, as small as can be."""
    if not settings.configured:
        settings.configure(INSTALLED_APPS=["waymail.django"], DEFAULT_FROM_EMAIL="shop@example.com", SECRET_KEY="x")
        django.setup()


@pytest.fixture
def project_with(smtp_server: SmtpServer, tmp_path: Path) -> Iterator[Any]:
    """The project with settings of the test's: it sends to `smtp_server`, by our backend, where these say no more."""
    from django.test.utils import override_settings

    made = []

    def use(**others: Any) -> None:
        usual = {
            "EMAIL_BACKEND": "waymail.django.EmailBackend",
            "EMAIL_HOST": smtp_server.host,
            "EMAIL_PORT": smtp_server.port,
            "BASE_DIR": tmp_path,
        }
        override = override_settings(**{**usual, **others})
        override.enable()
        made.append(override)

    yield use
    for override in reversed(made):
        override.disable()
