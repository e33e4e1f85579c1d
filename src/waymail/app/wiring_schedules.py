"""The schedules that [queue] and its rules describe: for the server, and for `waymail why`, which tells when mail is given up."""

from __future__ import annotations

from dataclasses import replace

from waymail.app.config.schema import Queue, RetryRule
from waymail.queue.retry import Rule, RuledSchedules, Schedule, Schedules


def schedules(queue: Queue) -> Schedules:
    """When what was deferred is tried again."""
    schedule = Schedule(queue.retry, queue.expire, queue.delay_warning)
    names = {"retry": "intervals"}  # where the key of the file has another name here

    def rule(one: RetryRule) -> Rule:
        given = one.model_fields_set & {"retry", "expire", "delay_warning"}
        return Rule(replace(schedule, **{names.get(key, key): getattr(one, key) for key in given}), one.domains, one.replies)

    return RuledSchedules(tuple(rule(one) for one in queue.rules), schedule) if queue.rules else schedule
