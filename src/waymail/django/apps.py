"""What makes the management command known to Django."""

from __future__ import annotations

from django.apps import AppConfig


class WaymailConfig(AppConfig):  # type: ignore[misc]  # Django has no types
    """The application. It has no models."""

    name = "waymail.django"
    label = "waymail"
