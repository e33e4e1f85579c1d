"""`waymail verify`: what would this server make of a message that comes from there?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from waymail.app.cli.output import CommandFailed, Exit, clean, say_json, say_styled

if TYPE_CHECKING:
    from waymail.app.config import Config
    from waymail.server.trial import Trial


async def verify(
    file: Path,
    /,
    *,
    ip: str,
    helo: str,
    from_: Annotated[str, Parameter(name="--from")],
    to: Annotated[tuple[str, ...], Parameter(name="--to", negative="")] = (),
    config: Path | None = None,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> int:
    """Tell what this server would make of a message: each check with its reason, which rule decides, and the fields it would add.

    DNS is asked as the server asks it, and the policy of the configuration, too; what is remembered of senders (greylisting,
    rates) is not looked at. Exits with 0 where the message would be taken, with 69 where it would be refused, with 75 where it
    would be put off.

    Parameters
    ----------
    file
        The message, as it was received; "-" for standard input.
    ip
        The address that the client connects from.
    helo
        The name that it gives in EHLO.
    from_
        The sender that it gives in MAIL FROM; "<>" for none.
    to
        A recipient, for what is decided at RCPT; again for each further one. Whether he exists is not looked at.
    config
        The configuration file of the server. Without one the defaults count, and the system's resolvers are asked.
    as_json
        Print a JSON object.
    """
    import ipaddress

    from waymail.app.cli.locate import find
    from waymail.app.config import load

    try:
        address = str(ipaddress.ip_address(ip))
    except ValueError:
        raise CommandFailed(Exit.USAGE, f"{clean(ip)} is no IP address") from None
    message = _message(file)
    place = find(config)
    trial = await _tried(load(place) if place else _default(), address, helo, from_.strip("<>"), to, message)
    if as_json:
        say_json(as_object(trial))
    else:
        for line, style in told(trial):
            say_styled(clean(line), style)
    return _code(trial)


def _code(trial: Trial) -> int:
    if trial.reply is not None:
        return Exit.TEMPORARY if trial.reply.is_transient else Exit.UNAVAILABLE
    return Exit.OK if trial.is_taken else Exit.UNAVAILABLE


def _message(file: Path) -> bytes:
    """With CRLF line ends, whichever it has: mail that was saved has often lost them."""
    import sys

    try:
        octets = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    except OSError as error:
        raise CommandFailed(Exit.NO_INPUT, f"{file}: {error.strerror}") from None
    return octets.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def _default() -> Config:
    from waymail.app.config import parse

    return parse('hostname = "localhost"\n[inbound]\n', Path("waymail.toml"))


async def _tried(config: Config, ip: str, helo: str, sender: str, recipients: tuple[str, ...], message: bytes) -> Trial:
    from dataclasses import replace

    from waymail.app.wiring_inbound import open_judging
    from waymail.net.clock import SystemClock
    from waymail.net.resolver import Resolver
    from waymail.server.directory import Directory, LocalDomain
    from waymail.server.inbound import Inbound, Trust
    from waymail.server.judge import Memory
    from waymail.server.reception import Client, Networks
    from waymail.server.trial import attempt

    clock = SystemClock()
    resolver = Resolver([str(one) for one in config.dns.resolvers] or None, dnssec=config.dns.dnssec, clock=clock)
    try:
        judging = open_judging(config, resolver, clock)
        if judging is None:
            raise CommandFailed(Exit.CONFIG, "this server judges nobody: inbound.judge is false")
        await judging.health.look()
        settings = replace(judging.settings, trusted=Networks(()))
        local = {one.rpartition("@")[2].lower(): LocalDomain(None) for one in recipients}  # whoever they are, they exist
        inbound = Inbound(Directory(config.hostname, local), Trust())
        judge = replace(judging, settings=settings, memory=Memory()).judge(inbound)
        return await attempt(judge, Client(ip, helo, extended=True), sender, recipients, message, now=clock.now())
    finally:
        await resolver.close()


def told(trial: Trial) -> Iterator[tuple[str, str]]:
    """The lines for a person, each with its style."""
    from waymail.app.cli.explain import told as explained

    if trial.judged:
        yield from explained(trial.judged)
    elif trial.reply is not None:
        yield f"refused at {trial.stage.upper()}: {trial.reply}", "red"
    for recipient, reply in trial.refused.items():
        yield f"{recipient} would be refused: {reply}", "red"
    if trial.folder:
        yield f"it would go into the folder {trial.folder}", ""
    if trial.fields:
        yield "fields that would be added", "bold"
        for line in trial.fields.decode("utf-8", "replace").removesuffix("\r\n").split("\r\n"):
            yield f"  {line}", ""


def as_object(trial: Trial) -> dict[str, Any]:
    """The same for programs."""
    return {
        "taken": trial.is_taken,
        "stage": trial.stage,
        "reply": str(trial.reply) if trial.reply else None,
        "refused": {recipient: str(reply) for recipient, reply in trial.refused.items()},
        "folder": trial.folder or None,
        "discarded": trial.is_discarded,
        "fields": trial.fields.decode("utf-8", "replace"),
        **trial.judged,
    }
