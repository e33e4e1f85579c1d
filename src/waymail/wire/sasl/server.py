"""The server's side: from a mechanism's name to its exchange."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from waymail.wire.sasl import bearer, cram_md5, external, login, plain
from waymail.wire.sasl.mechanism import NO_CHANNEL, Channel, ServerExchange, UnknownMechanism
from waymail.wire.sasl.scram import PLUS, scram
from waymail.wire.sasl.scram_keys import HASHES, ScramKeys


@dataclass(frozen=True, slots=True)
class Secrets:
    """What the mechanisms need of the users. Names are in the form of `user_name`. Both functions are called in the middle of
    a step, and should take as long for users that do not exist as for others.

    `scram_keys` is given "SCRAM-SHA-256" or "SCRAM-SHA-1" and a name. `password` gives the plain password, for CRAM-MD5 only:
    None where none is kept. `secret` is what the salts of unknown users are made from: the same over restarts, and known to
    nobody.
    """

    scram_keys: Callable[[str, str], ScramKeys | None]
    password: Callable[[str], str | None]
    secret: bytes = field(repr=False)


def server_exchange(name: str, *, nonce: str, secrets: Secrets, channel: Channel = NO_CHANNEL) -> ServerExchange:
    """One exchange, as the server sees it. `nonce` is sixteen or more random printable ASCII characters without a comma.

    Raises UnknownMechanism. Names are compared without regard to case. Whether a mechanism may be used here is not asked: what
    was not offered must not come this far.
    """
    name = name.upper()
    if (hash_name := name.removesuffix(PLUS)) in HASHES:
        keys = partial(secrets.scram_keys, hash_name)
        return ServerExchange(partial(scram, nonce=nonce, keys=keys, secret=secrets.secret, name=name, channel=channel))
    match name:
        case external.NAME:
            return ServerExchange(partial(external.external, channel=channel))
        case bearer.OAUTHBEARER:
            return ServerExchange(partial(bearer.oauthbearer, channel=channel))
        case bearer.XOAUTH2:
            return ServerExchange(bearer.xoauth2)
        case plain.NAME:
            return ServerExchange(plain.plain)
        case login.NAME:
            return ServerExchange(login.login)
        case cram_md5.NAME:
            answer = partial(cram_md5.cram_md5, nonce=nonce, password=secrets.password, secret=secrets.secret, channel=channel)
            return ServerExchange(answer)
    raise UnknownMechanism(name)
