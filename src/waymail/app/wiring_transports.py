"""The constructor calls for final delivery to programs, applications and Python."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from waymail.app.config import transports_here as here
from waymail.app.config.problems import ConfigError, Problem
from waymail.app.config.schema import Config
from waymail.app.config.transports import targets
from waymail.delivery import handler, pipe, routes, webhook
from waymail.delivery.dispatch import FinalDelivery
from waymail.net.clock import SystemClock
from waymail.net.fetch import Fetcher
from waymail.net.process import Bounds

ANSWER = 65_536  # octets that are read of an application's answer, so that the connection can be used again


@dataclass(frozen=True, slots=True)
class Transports:
    """A transport for each target, and those among them that hold connections."""

    by_target: Mapping[routes.Final, FinalDelivery]
    webhooks: tuple[webhook.WebhookTransport, ...] = ()

    async def close(self) -> None:
        """End the connections that are kept; requests under way are finished first."""
        for one in self.webhooks:
            await one.close()


def open_transports(config: Config, clock: SystemClock) -> Transports:
    """For every target of the configuration but Maildirs. Raises ConfigError where this machine lacks what one needs."""
    found: dict[routes.Final, FinalDelivery] = {}
    for at, target in targets(config):
        key = ".".join(map(str, at))
        try:
            match target:
                case _ if target in found:
                    continue
                case routes.Pipe():
                    found[target] = open_pipe(config, target)
                case routes.Webhook():
                    found[target] = open_webhook(config, target, clock)
                case routes.PythonHandler():
                    found[target] = handler.HandlerTransport(handler.load(target.name))
        except (here.UnusableHere, handler.HandlerUnusable) as error:
            file = config.source.file or config.data_dir
            raise ConfigError([Problem(file, config.source.lines.get(at, 0), key, str(error))]) from None
    return Transports(found, tuple(one for one in found.values() if isinstance(one, webhook.WebhookTransport)))


def open_pipe(config: Config, target: routes.Pipe) -> pipe.PipeTransport:
    """Raises UnusableHere."""
    one = config.pipes[target.name]
    settings = pipe.Settings(
        one.command,
        here.identity_of(one),
        Bounds(one.memory, None if one.cpu is None else max(1, int(one.cpu)), one.processes, one.file_size),
        one.environment,
        str(one.directory),
        one.timeout,
        one.concurrency,
        one.line_ends == "lf",
    )
    return pipe.PipeTransport(settings)


def open_webhook(config: Config, target: routes.Webhook, clock: SystemClock) -> webhook.WebhookTransport:
    """Raises UnusableHere."""
    one = config.webhooks[target.url]
    settings = webhook.Settings(target.url, here.keys_of(one), one.format, one.headers, one.timeout, one.largest, one.concurrency)
    fetcher = Fetcher(context=here.trust_of(one), timeout=one.timeout, most=ANSWER, connections=one.concurrency)
    return webhook.WebhookTransport(settings, fetcher, now=clock.now)
