"""What domains say of their mailboxes and cannot have: folders without details, quotas where others keep the mail."""

from __future__ import annotations

from collections.abc import Iterator

from waymail.app.config.positions import KeyPath
from waymail.app.config.schema import Config
from waymail.delivery.routes import Mailboxes


def without_effect(config: Config) -> Iterator[tuple[KeyPath, str]]:
    """Each key that is set and changes nothing, and why."""
    for name, domain in config.domains.items():
        has_quota = domain.quota is not None or domain.quota_messages is not None
        keeps = isinstance(domain.deliver, Mailboxes)
        if has_quota and not keeps:
            key = "quota" if domain.quota is not None else "quota_messages"
            yield ("domains", name, key), 'is kept in Maildirs only: where "deliver" is something else, that has to keep it'
        if domain.over_quota == "fail" and not has_quota:
            yield ("domains", name, "over_quota"), "has no effect without quota or quota_messages"
        if domain.folders == "create":
            if not domain.detail:
                yield ("domains", name, "folders"), 'has no effect without a separator of details, like detail = "+"'
            elif not keeps:
                yield ("domains", name, "folders"), 'has no effect: only a Maildir has folders, and "deliver" is something else'
