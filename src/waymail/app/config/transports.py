"""The tables of final delivery to programs and applications: [pipes.NAME] and [webhooks."URL"]."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import PlainSerializer, PlainValidator

from waymail.app.config.positions import KeyPath
from waymail.app.config.section import Section, default, optional
from waymail.app.config.users import Text
from waymail.app.config.values import AbsolutePath, Count, Octets, OctetsOrOff, Seconds, SecondsOrOff
from waymail.app.units import duration_text, shown
from waymail.delivery import pipe, routes, webhook_signature

if TYPE_CHECKING:
    from waymail.app.config.schema import Config

_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")  # RFC 9110 §5.6.2
_OURS = re.compile(r"(webhook|waymail|content)-.*|host|connection|transfer-encoding|expect|te|trailer|upgrade", re.IGNORECASE)


def pipe_name(value: object) -> str:
    """A name that `pipe:` can lead to."""
    return _read(routes.pipe_name, value)


def webhook_url(value: object) -> str:
    """An address that `webhook+` can lead to."""
    return _read(routes.webhook_url, value)


def _read(read: Any, value: object) -> str:
    try:
        return str(read(value))
    except routes.RouteError as error:
        raise ValueError(str(error)) from None


def command(value: object) -> tuple[str, ...]:
    """A program by its absolute path, and its arguments."""
    example = 'like ["/usr/bin/procmail", "-d", "{recipient}"]'
    if not isinstance(value, list) or not value or not all(isinstance(word, str) and "\0" not in word for word in value):
        raise ValueError(f"must be a list, the program and each of its arguments, {example}, not {shown(value)}")
    if not value[0].startswith("/") or "{" in value[0]:
        raise ValueError(f"must begin with the absolute path of a program, {example}: no shell looks for it")
    if unknown := pipe.unknown_placeholders(value):
        there = ", ".join(f"{{{name}}}" for name in pipe.PLACEHOLDERS)
        raise ValueError(f"{{{unknown[0]}}} means nothing in a command: there are {there}")
    return tuple(value)


def variables(value: object) -> dict[str, str]:
    """Variables of the environment."""
    if not isinstance(value, dict):
        raise ValueError(f'must be a table, like {{ LANG = "C.UTF-8" }}, not {shown(value)}')
    for name, text in value.items():
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            raise ValueError(f"{shown(name)} is no name of a variable: those are letters, digits and _")
        if not isinstance(text, str) or "\0" in text:
            raise ValueError(f"{name} must be a text, not {shown(text)}")
    return value


def fields(value: object) -> dict[str, str]:
    """Header fields of a request."""
    if not isinstance(value, dict):
        raise ValueError(f'must be a table, like {{ authorization = "Bearer …" }}, not {shown(value)}')
    for name, text in value.items():
        if not _TOKEN.fullmatch(name) or _OURS.fullmatch(name):
            raise ValueError(f"{shown(name)} cannot be set here: it is no name of a field, or one that waymail sets itself")
        if not isinstance(text, str) or not text.isascii() or not text.isprintable():
            raise ValueError(f"{name} must be a text of ASCII characters")
    return {name.lower(): text for name, text in value.items()}


def secrets(value: object) -> tuple[str, ...]:
    """One secret, or several while one replaces another."""
    found = value if isinstance(value, list) else [value]
    for one in found:
        webhook_signature.secret(one if isinstance(one, str) else "")
    if not found:
        raise ValueError("must hold one secret at least")
    return tuple(found)


PipeName = Annotated[str, PlainValidator(pipe_name)]
WebhookUrl = Annotated[str, PlainValidator(webhook_url)]
Command = Annotated[tuple[str, ...], PlainValidator(command), PlainSerializer(list)]
Variables = Annotated[Mapping[str, str], PlainValidator(variables), PlainSerializer(lambda value: dict.fromkeys(value, "***"))]
Fields = Annotated[Mapping[str, str], PlainValidator(fields), PlainSerializer(lambda value: dict.fromkeys(value, "***"))]
Secrets = Annotated[tuple[str, ...], PlainValidator(secrets), PlainSerializer(lambda _: "***")]


class Pipe(Section):
    """[pipes.NAME]: times in seconds, sizes in octets; None is without bound."""

    command: Command
    user: Text | None = optional()
    group: Text | None = optional()
    directory: AbsolutePath = default("/")
    environment: Variables = default({})
    line_ends: Literal["lf", "crlf"] = default("lf")
    timeout: Seconds = default("5m")
    concurrency: Count = default(4)
    memory: OctetsOrOff = default("1GB")
    cpu: SecondsOrOff = default("off")
    file_size: OctetsOrOff = default("off")
    processes: Count | None = optional()


class Webhook(Section):
    """[webhooks."URL"]: times in seconds, sizes in octets."""

    secret: Secrets | None = optional()
    secret_file: AbsolutePath | None = optional()
    ca: AbsolutePath | None = optional()
    format: Literal["message", "json"] = default("message")
    headers: Fields = default({})
    timeout: Seconds = default("30s")
    largest: Octets = default("25MB")
    concurrency: Count = default(8)


Pipes = Mapping[PipeName, Pipe]
Webhooks = Mapping[WebhookUrl, Webhook]


def targets(config: Config) -> Iterator[tuple[KeyPath, routes.Target]]:
    """All targets, and where they stand."""
    for name, domain in config.domains.items():
        yield ("domains", name, "deliver"), domain.deliver
    for pattern, target in config.routes.items():
        yield ("routes", pattern), target


def problems(config: Config) -> Iterator[tuple[KeyPath, str]]:
    """Targets without a table, and tables that cannot be used."""
    for at, target in targets(config):
        if isinstance(target, routes.Pipe) and target.name not in config.pipes:
            yield at, f'leads to no table: add [pipes.{target.name}] with command = ["/path/of/program", "{{recipient}}"]'
        if isinstance(target, routes.Webhook) and target.url not in config.webhooks:
            yield at, f'leads to no table: add [webhooks."{target.url}"] with secret = "whsec_…", which signs what is sent'
    for url, hook in config.webhooks.items():
        if (hook.secret is None) is (hook.secret_file is None):
            yield ("webhooks", url), "needs one of secret and secret_file"
        if hook.timeout > routes.LONGEST:
            yield ("webhooks", url, "timeout"), f"must be {duration_text(routes.LONGEST)} or less"
    for name, one in config.pipes.items():
        if one.timeout > routes.LONGEST:
            yield ("pipes", name, "timeout"), f"must be {duration_text(routes.LONGEST)} or less"
        if one.group is not None and one.user is None:
            yield ("pipes", name, "group"), "needs user beside it"


def unused(config: Config) -> Iterator[tuple[KeyPath, str]]:
    """Tables that no target leads to."""
    used = {target.key for _, target in targets(config) if isinstance(target, routes.Pipe | routes.Webhook)}
    tables = [("pipes", routes.Pipe(name).key, name) for name in config.pipes]
    tables += [("webhooks", routes.Webhook(url).key, url) for url in config.webhooks]
    for section, key, name in tables:
        if key not in used:
            yield (section, name), f'is never used: no deliver in [domains] and no route says "{key}"'
