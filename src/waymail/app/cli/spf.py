"""`waymail spf`: may this client send for that domain, and why?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from waymail.app.cli.output import CommandFailed, Exit, clean, say, say_json, say_styled

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from waymail.lookups import Lookups
    from waymail.senderauth.spf import SpfResult, Step

CODES = {"fail": Exit.UNAVAILABLE, "permerror": Exit.DATA, "temperror": Exit.TEMPORARY}
STYLES = {"pass": "bold green", "fail": "bold red", "permerror": "bold red", "temperror": "bold yellow"}
INDENT = "    "


async def spf(
    ip: str,
    from_: Annotated[str, Parameter(name="FROM")],
    helo: str,
    /,
    *,
    config: Path | None = None,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> int:
    """Tell what SPF (RFC 7208) says of a client, and how it comes to that: each record, each term, and what DNS said.

    Exits by the result for MAIL FROM: with 69 for fail, 65 for permerror, 75 for temperror, else with 0.

    Parameters
    ----------
    ip
        The address that the client connects from.
    from_
        The sender that it gives in MAIL FROM; "<>" for none.
    helo
        The name that it gives in EHLO.
    config
        The configuration file, for the resolvers in its [dns]. Without one the system's resolvers are asked.
    as_json
        Print a JSON object.
    """
    import time

    from waymail.app.cli.asking_dns import answered
    from waymail.senderauth.spf import check, check_helo

    def both() -> Lookups[tuple[SpfResult, SpfResult]]:
        return (yield from for_sender), (yield from for_helo)

    try:
        for_sender, for_helo = check(ip, from_, helo, now=time.time()), check_helo(ip, helo, now=time.time())
    except ValueError:
        raise CommandFailed(Exit.USAGE, f"{clean(ip)} is no IP address") from None
    mail_from, by_helo = await answered(both(), config)
    if as_json:
        say_json({"ip": ip, "from": from_, "helo": helo, "results": [as_object(mail_from), as_object(by_helo)]})
    else:
        _tell(f"MAIL FROM {from_ or '<>'}", mail_from)
        say()
        _tell(f"HELO {helo}", by_helo)
    return CODES.get(mail_from.result, Exit.OK)


def _tell(title: str, found: SpfResult) -> None:
    say_styled(clean(f"{title}: {found.result}"), STYLES.get(found.result, "bold"))
    for line in told(found):
        say(f"{INDENT}{clean(line)}")


def told(found: SpfResult) -> Iterator[str]:
    """The evaluation as lines: a tree of domains and terms, then why it came to this, and what the domain says of it."""
    yield from _tree(found.steps)
    if found.reason:
        yield f"so: {found.reason}"
    if found.explanation:
        yield f"{found.domain} explains: {found.explanation}"


def _tree(steps: Sequence[Step]) -> Iterator[str]:
    for step in steps:
        indent = INDENT * (2 * step.depth)
        if not step.term:
            outcome = "" if step.outcome == "record" else f"{step.outcome}: "
            yield f"{indent}{step.domain}  {outcome}{step.note}"
        else:
            yield f"{indent}{INDENT}{step.term}  {step.outcome}{f': {step.note}' if step.note else ''}"


def as_object(found: SpfResult) -> dict[str, Any]:
    return {
        "identity": found.identity,
        "domain": found.domain,
        "result": found.result,
        "reason": found.reason,
        "mechanism": found.mechanism,
        "explanation": found.explanation,
        "steps": [
            {"depth": step.depth, "domain": step.domain, "term": step.term, "outcome": step.outcome, "note": step.note}
            for step in found.steps
        ],
    }
