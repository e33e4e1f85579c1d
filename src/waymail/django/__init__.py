"""Django sends its mail by waymail: one line in the settings.

    EMAIL_BACKEND = "waymail.django.EmailBackend"       # at once
    EMAIL_BACKEND = "waymail.django.OutboxBackend"      # on disk at once, delivered in the background

Both read the settings that Django's own backend does (EMAIL_HOST, EMAIL_HOST_USER, EMAIL_USE_TLS and the others), or WAYMAIL_URL
in place of them; where Django has MAILERS, the same are OPTIONS. What they raise are smtplib's exceptions, as programs expect
of Django, each with waymail's own error as its `__cause__`.

With "waymail.django" among the INSTALLED_APPS, `manage.py waymail_outbox` delivers what an outbox with `carry=False` holds.
"""

from __future__ import annotations

from waymail.django.direct import EmailBackend
from waymail.django.queued import OutboxBackend

__all__ = ["EmailBackend", "OutboxBackend"]
