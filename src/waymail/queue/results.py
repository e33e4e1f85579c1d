"""What the log says of an attempt."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from waymail.mail.outcome import Deferred, Outcome
from waymail.queue.settle import Decision

log = logging.getLogger("waymail.queue")

CAUSES = 3  # of the recipients of whom the same was said, that the log tells


def log_results(id: str, destination: str, decision: Decision, outcomes: Mapping[str, Outcome]) -> None:
    """A line of the log for each result; a warning where it has a cause here, or is the end."""
    for result in decision.results:
        fields = {"id": id, "destination": destination, **result}
        why = None
        if result["outcome"] != "delivered":
            found = (outcomes[address] for address in result["to"])
            why = list(dict.fromkeys(one.cause for one in found if isinstance(one, Deferred) and one.cause))
        if why:
            fields["cause"] = "; ".join(why[:CAUSES])
        level = logging.WARNING if why or result["outcome"] == "failed" else logging.INFO
        log.log(level, result["outcome"], extra={"fields": fields})
