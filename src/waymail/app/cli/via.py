"""Which of the waiting domains go to a destination: the other way round from what `waymail queue` shows."""

from __future__ import annotations

from pathlib import Path

from waymail.app.cli.live import live
from waymail.app.cli.locate import existing
from waymail.app.cli.output import CommandFailed, Exit
from waymail.app.cli.stored import reading
from waymail.delivery.routes import ByMx, Routes

MOST = 10_000  # domains that are looked at, those for which most waits
AT_ONCE = 100  # that the server is asked for


async def domains_via(config_file: Path | None, destination: str) -> frozenset[str]:
    """The domains whose mail goes to `destination`, as the column GOES TO has it, among those for which something waits. Raises
    CommandFailed where there is none, ConfigError, StoreError."""
    config = existing(config_file)
    async with reading(config_file) as store:
        waiting = [one.domain for one in (await store.waiting(MOST)).largest]
    routes = Routes({name: one.deliver for name, one in config.domains.items()}, config.routes)
    targets = {domain: routes.match(domain) for domain in waiting}
    found = {domain for domain, target in targets.items() if not isinstance(target, ByMx) and target.key == destination}
    by_mx = [domain for domain, target in targets.items() if isinstance(target, ByMx)]
    hint = ""
    for at in range(0, len(by_mx), AT_ONCE):
        some = by_mx[at : at + AT_ONCE]
        known = await live(config.data_dir, some)
        if known is None:
            hint = "; where DNS says to, only a running server knows"
            break
        found.update(domain for domain in some if known.way(domain) == destination)
    if not found:
        where = "`waymail queue` names destinations in the column GOES TO"
        raise CommandFailed(Exit.UNAVAILABLE, f"nothing waits that goes to {destination}: {where}{hint}")
    return frozenset(found)
