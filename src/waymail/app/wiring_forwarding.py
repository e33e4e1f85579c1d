"""The constructor calls for mail that aliases send to other domains, and the keys that it needs.

The keys are in data_dir/srs.keys, one a line, made by the first start with such an alias. The first one makes addresses, and all
are accepted: whoever writes a new line in front, and takes the old one out a month later, changes the key and loses no bounce.
"""

from __future__ import annotations

import secrets
from pathlib import Path

from waymail.app.config.problems import ConfigError, Problem
from waymail.app.config.schema import Config
from waymail.delivery.forwarding import Forwarding
from waymail.mail.address import domain_of
from waymail.mail.srs import Srs
from waymail.server.returns import Returns
from waymail.server.users_edit import write_whole

KEYS = "srs.keys"
SHORTEST = 16  # octets of a key: whoever guesses one can send through this server to anybody


def forwarding(config: Config) -> Forwarding | None:
    """From whom forwarded mail goes on; None where nothing is forwarded, or nothing is to be rewritten. Raises ConfigError."""
    srs = _srs(config)
    return None if srs is None else Forwarding(srs, config.domains, domain=config.forwarding.domain or "")


def returns(config: Config) -> Returns | None:
    """Whom notices are for that come back. Raises ConfigError."""
    srs = _srs(config)
    return None if srs is None else Returns(srs, config.domains)


def forwards(config: Config) -> bool:
    """Whether an alias leads to another domain."""
    targets = [target for domain in config.domains.values() for some in domain.aliases.values() for target in some]
    return any(domain_of(target) not in config.domains for target in targets if "@" in target)


def _srs(config: Config) -> Srs | None:
    if not config.forwarding.srs:
        return None
    file = config.data_dir / KEYS
    try:
        if not file.exists():
            if not forwards(config):
                return None
            file.parent.mkdir(parents=True, exist_ok=True)
            write_whole(file, f"{secrets.token_hex(32)}\n".encode())
        keys = [line for line in file.read_bytes().splitlines() if line.strip()]
    except OSError as error:
        raise ConfigError([_problem(config, file, f"cannot be used: {error.strerror}")]) from error
    if not keys:
        raise ConfigError([_problem(config, file, "holds no key: write a long random line into it, or remove it")])
    if any(len(key.strip()) < SHORTEST for key in keys):
        raise ConfigError([_problem(config, file, f"holds a key that can be guessed: {SHORTEST} random characters at least")])
    return Srs(keys)


def _problem(config: Config, file: Path, message: str) -> Problem:
    return Problem(config.source.file or config.data_dir, 0, "forwarding", f"{file} {message}")
