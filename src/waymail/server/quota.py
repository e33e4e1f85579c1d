"""How much a user may send: messages an hour, recipients a day, recipients of one message.

Counts are of the current hour and day of UTC, by the clock on the wall: "when it is free again" is a time that can be named. They
are kept in a file, written at most once a minute and at the stop: a crash forgets the last minute, in the user's favour.

Promises: a refusal is temporary and says when to come back; what is refused is not counted; a file that cannot be read or
written is logged and else ignored, for mail must go on. Memory is bounded by the users that sent today.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from waymail.server.users_edit import write_whole
from waymail.server.users_file import AS_EVERYBODY, Allowance
from waymail.wire.replies import Reply

log = logging.getLogger("waymail.server")

HOUR, DAY = 3_600.0, 86_400.0
WRITE_INTERVAL = 60.0  # seconds
MOST_USERS = 100_000

# RFC 5248 §2.4 has X.7.13, from RFC 3463's registry: "User Account Disabled".
FROZEN = Reply(550, "this account is frozen; ask the postmaster", "5.7.13")


@dataclass(slots=True)
class _Count:
    hour: int = 0
    day: int = 0
    messages: int = 0
    recipients: int = 0


class Quota:
    """Counts what users send. `limits` is what [submission] says (0: without limit); `allowance` what a user has instead."""

    def __init__(
        self,
        limits: Allowance,
        *,
        allowance: Callable[[str], Allowance],
        is_frozen: Callable[[str], bool],
        path: Path | None = None,
        most: int = MOST_USERS,
    ) -> None:
        self._limits = limits
        self._bounds_everybody = any((limits.messages_per_hour, limits.recipients_per_day, limits.recipients_per_message))
        self._allowance = allowance
        self._is_frozen = is_frozen
        self._path = path
        self._most = most
        self._counts: dict[str, _Count] = _read(path) if path is not None else {}
        self._written_at = 0.0
        self._changed = False

    def go_on_from(self, other: Quota) -> None:
        """Take over what another one has counted, whose limits were different."""
        self._counts, self._written_at, self._changed = other._counts, other._written_at, other._changed

    def check(self, user: str, now: float, recipients: int = 0) -> Reply | None:
        """May this user send a message, to this many recipients so far? Nothing is counted: ask at MAIL with 0, at each RCPT with
        the number that it would make. `now` is Unix time. A Reply is the refusal."""
        if self._is_frozen(user):
            return FROZEN
        if self._is_boundless(user):
            return None
        per_hour, per_day, per_message = self._of(user)
        count = self._counts.get(user)
        messages, sent = self._current(count, now) if count is not None else (0, 0)
        if per_hour and messages >= per_hour:
            # RFC 4954 §6 and RFC 3463 §3.8: a policy, and one that passes
            return Reply(450, f"your {per_hour} messages of this hour are sent; the next can go at {_clock(now, HOUR)}", "4.7.1")
        if per_message and recipients > per_message:
            return Reply(452, f"a message of yours may have {per_message} recipients; send another to the others", "4.5.3")
        if per_day and sent + max(recipients, 1) > per_day:
            text = f"{sent} of your {per_day} recipients a day are used; the count begins anew at {_clock(now, DAY)}"
            return Reply(452 if recipients else 450, text, "4.7.1")
        return None

    def sent(self, user: str, now: float, recipients: int) -> None:
        """Count a message that was accepted, where there is a limit to keep. Cheap; the file is written by `save`."""
        if self._is_boundless(user):
            return
        count = self._counts.get(user)
        if count is None:
            if len(self._counts) >= self._most:
                self._forget(now)
            count = self._counts[user] = _Count()
        count.messages, count.recipients = self._current(count, now)
        count.hour, count.day = int(now // HOUR), int(now // DAY)
        count.messages += 1
        count.recipients += recipients
        self._changed = True

    def save(self, now: float, *, stopping: bool = False) -> None:
        """Write the counts, once a minute at most unless the server is `stopping`. Blocks for an fsync: belongs in a thread."""
        if self._path is None or not self._changed or (now - self._written_at < WRITE_INTERVAL and not stopping):
            return
        self._written_at, self._changed = now, False
        self._forget(now)
        # `list` copies in one step: the loop may go on counting meanwhile
        data = {user: [one.hour, one.day, one.messages, one.recipients] for user, one in list(self._counts.items())}
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(self._path, json.dumps(data).encode())
        except OSError as error:
            log.error(
                "what users have sent could not be written", extra={"fields": {"file": str(self._path), "error": str(error)}}
            )

    def __len__(self) -> int:
        return len(self._counts)

    def _is_boundless(self, user: str) -> bool:
        """Whether nothing need be counted of a user: the ordinary case, which should cost nothing."""
        return not self._bounds_everybody and self._allowance(user) is AS_EVERYBODY

    def _of(self, user: str) -> tuple[int, int, int]:
        own, everybody_s = self._allowance(user), self._limits

        def chosen(one: int | None, other: int | None) -> int:
            return (other or 0) if one is None else one

        return (
            chosen(own.messages_per_hour, everybody_s.messages_per_hour),
            chosen(own.recipients_per_day, everybody_s.recipients_per_day),
            chosen(own.recipients_per_message, everybody_s.recipients_per_message),
        )

    @staticmethod
    def _current(count: _Count, now: float) -> tuple[int, int]:
        messages = count.messages if count.hour == int(now // HOUR) else 0
        return messages, count.recipients if count.day == int(now // DAY) else 0

    def _forget(self, now: float) -> None:
        """Who has not sent today goes; where that is not enough, whoever came first."""
        today = int(now // DAY)
        for user in [user for user, one in list(self._counts.items()) if one.day != today]:
            self._counts.pop(user, None)
        while len(self._counts) >= self._most:
            self._counts.pop(next(iter(self._counts)))


def _read(path: Path) -> dict[str, _Count]:
    try:
        return {
            str(user): _Count(*(max(0, int(one)) for one in counts)) for user, counts in json.loads(path.read_bytes()).items()
        }
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        fields = {"file": str(path), "error": str(error)}
        log.error("what users have sent cannot be read, counting begins anew", extra={"fields": fields})
        return {}


def _clock(now: float, period: float) -> str:
    """When the next hour or day begins."""
    return datetime.fromtimestamp((now // period + 1) * period, UTC).strftime("%H:%M UTC")
