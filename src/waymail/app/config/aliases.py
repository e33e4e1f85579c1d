"""Where aliases lead: to nobody, round in a circle, or too far. Decided as `waymail.server.directory` follows them."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches

from waymail.app.config.positions import KeyPath
from waymail.app.config.schema import Config, Domain
from waymail.server.directory import MAX_ALIAS_DEPTH, LocalDomain


def misled(config: Config) -> Iterator[tuple[KeyPath, str]]:
    """Each alias that cannot work, and why. A circle is told once, at the first alias that leads into it."""
    graph = _graph(config)
    depths: dict[str, int] = {}
    for name, domain in config.domains.items():
        for alias, targets in domain.aliases.items():
            path = ("domains", name, "aliases", alias)
            for target in targets:
                if message := _nobody(config, alias, name, target):
                    yield path, message
            start = f"{alias}@{name}"
            if circle := _circle(graph, start, depths):
                yield path, f"leads round in a circle: {' > '.join(circle)}"
            elif depths[start] > MAX_ALIAS_DEPTH:
                yield path, f"leads through {depths[start]} aliases in a row: {MAX_ALIAS_DEPTH} are followed at most"


def _graph(config: Config) -> dict[str, tuple[str, ...]]:
    """Aliases by whole address, in lower case. One that names its own mailbox too keeps a copy there, which is no circle."""
    graph = {}
    for name, domain in config.domains.items():
        for alias, targets in domain.aliases.items():
            address = f"{alias}@{name}"
            graph[address] = tuple(full for target in targets if (full := _full(target, name).lower()) != address)
    return graph


def _circle(graph: dict[str, tuple[str, ...]], start: str, depths: dict[str, int]) -> list[str]:
    """A circle that `start` leads into and that was not found before, or []. Fills `depths`: how many aliases follow each other
    from an address on. Without recursion, for a configuration may chain a thousand of them."""
    way: list[str] = []
    todo = [(start, False)]
    circle: list[str] = []
    while todo:
        address, is_done = todo.pop()
        targets = graph.get(address, ())
        if is_done:
            way.pop()
            depths[address] = 1 + max((depths.get(target, 0) for target in targets if target in graph), default=0)
        elif address in way:
            circle = circle or [*way[way.index(address) :], address]
        elif address in graph and address not in depths:
            way.append(address)
            todo.append((address, True))
            todo.extend((target, False) for target in reversed(targets))
    return circle


def _nobody(config: Config, alias: str, alias_domain: str, target: str) -> str:
    """What to say where a target is nobody in a domain of this server; "" where it is somebody."""
    local, _, domain_name = _full(target, alias_domain).rpartition("@")
    domain = config.domains.get(domain_name)
    if domain is None or _is_mailbox(local.lower(), domain):
        return ""
    if (local.lower(), domain_name) == (alias, alias_domain):
        return f'leads to itself, and "{local}" is no recipient of {domain_name}'
    if local.lower() in domain.aliases or _has_detail(local.lower(), domain):
        return ""
    close = get_close_matches(local, [*(domain.recipients or ()), *domain.aliases], n=1)
    hint = f'; did you mean "{close[0]}"?' if close else ""
    return f'"{local}" is neither a recipient nor an alias of {domain_name}{hint}'


def _is_mailbox(local: str, domain: Domain) -> bool:
    # RFC 5321 §4.5.1: postmaster always exists.
    return domain.recipients is None or local in domain.recipients or local == "postmaster"


def _has_detail(local: str, domain: Domain) -> bool:
    """Whether it is somebody's address with a detail."""
    return LocalDomain(domain.recipients, domain.aliases, domain.detail).user(local)[0] != local


def _full(target: str, domain_name: str) -> str:
    return target if "@" in target else f"{target}@{domain_name}"
