"""How the machine is put together."""

from __future__ import annotations

import dataclasses
from math import inf
from pathlib import Path

from waymail.app.config import schema
from waymail.app.config.load import parse
from waymail.app.config.schema import Config
from waymail.app.config.users import AuthLimits
from waymail.app.wiring import build, mailbox_rules, mailboxes, server_identity, server_limits
from waymail.app.wiring_schedules import schedules
from waymail.delivery.maildir import MaildirTransport, Rules
from waymail.delivery.maildir_quota import Quota
from waymail.delivery.routes import Mailboxes
from waymail.queue.retry import DAY, HOUR
from waymail.server.limits import Limits
from waymail.server.reception import Client
from waymail.store.memory import MemoryStore
from waymail.wire.replies import Reply

BASE = """
hostname = "mail.example.org"
[[listener]]
kind = "mx"
address = "127.0.0.1:0"
tls = "off"
"""


def config(text: str, folder: Path) -> Config:
    return parse(text, folder / "waymail.toml")


# --- limits, mailboxes, TLS ---

# Those of the guard are in test_wiring_users.
LIMITS = [name for name in schema.Limits.model_fields if name not in AuthLimits.model_fields]


def test_every_limit_of_the_configuration_is_one_of_the_server_with_the_same_default(tmp_path: Path) -> None:
    of_server = {field.name: field.default for field in dataclasses.fields(Limits)}
    of_file = config(BASE, tmp_path).limits
    assert set(LIMITS) <= set(of_server)
    assert {name: getattr(of_file, name) for name in LIMITS}.items() <= of_server.items()
    assert server_limits(config(BASE, tmp_path)) == Limits()


def test_every_limit_that_is_configured_reaches_the_server(tmp_path: Path) -> None:
    values = {
        name: f'"{7 + at}m"' if isinstance(getattr(Limits(), name), float) else str(70_000 + at) for at, name in enumerate(LIMITS)
    }
    values["message_size"] = '"71MB"'
    made = server_limits(config(BASE + "[limits]\n" + "".join(f"{k} = {v}\n" for k, v in values.items()), tmp_path))
    same = [name for name in LIMITS if getattr(made, name) == getattr(Limits(), name)]
    assert same == []
    assert made.message_size == 71_000_000


def test_every_maildir_that_is_named_has_a_transport_of_its_own(tmp_path: Path) -> None:
    text = (
        BASE
        + """
        [domains."a.example"]
        [domains."b.example"]
        deliver = "maildir:b/{local}"
        [domains."relayed.example"]
        deliver = "smtp://127.0.0.1:2500"
        [routes]
        "c.example" = "maildir:c/{domain}/{local}"
        "*.d.example" = "maildir:b/{local}"
        "e.example" = "mx"
        "*" = "maildir:all"
    """
    )
    parsed = config(text, tmp_path)
    found = mailboxes(parsed)
    templates = {str(tmp_path / path) for path in ("mail/{domain}/{local}", "b/{local}", "c/{domain}/{local}", "all")}
    assert {target.template for target in found if isinstance(target, Mailboxes)} == templates
    for target in [*(one.deliver for one in parsed.domains.values()), *parsed.routes.values()]:
        if isinstance(target, Mailboxes):
            assert isinstance(found[target], MaildirTransport)


def test_a_domain_says_how_its_mailboxes_are_kept(tmp_path: Path) -> None:
    domain = """
        [domains."a.example"]
        recipients = ["ann"]
        detail = "+"
        folders = "create"
        quota = "1GB"
        quota_messages = 10
        over_quota = "fail"
        [domains."b.example"]
        recipients = "any"
    """
    found = config(BASE + domain, tmp_path).domains
    assert mailbox_rules(found["a.example"]) == Rules(
        "+", frozenset({"ann", "postmaster"}), makes_folders=True, quota=Quota(10**9, 10), fails_when_full=True
    )
    assert mailbox_rules(found["b.example"]) == Rules()


def test_without_a_certificate_there_is_no_tls_and_a_self_signed_one_is_made_where_it_is_wanted(tmp_path: Path) -> None:
    assert server_identity(config(BASE, tmp_path)) is None
    assert not (tmp_path / "data").exists()
    identity = server_identity(config(BASE + "[tls]\nself_signed = true\n", tmp_path))
    assert identity is not None
    assert identity.context() is identity.context()
    assert (tmp_path / "data" / "tls" / "cert.pem").exists()


async def test_each_listener_offers_what_its_kind_and_its_tls_allow(tmp_path: Path) -> None:
    text = """
        hostname = "mail.example.org"
        queue.store = "memory"
        tls.self_signed = true
        listener = [
            { kind = "mx", address = "127.0.0.1:0", tls = "off" },
            { kind = "mx", address = "127.0.0.1:0", tls = "starttls" },
            { kind = "submission", address = "127.0.0.1:0", tls = "implicit" },
        ]
    """
    machine = await build(config(text, tmp_path))
    made = [(one, one.reception.offer(one.offer, Client("192.0.2.1"))) for _, one in machine.listeners]
    offers = [(offer.starttls, one.implicit_tls, bool(offer.auth)) for one, offer in made]
    assert offers == [(False, False, False), (True, False, False), (False, True, True)]
    assert {one.offer.hostname for _, one in machine.listeners} == {"mail.example.org"}
    assert isinstance(machine.store, MemoryStore)


def test_a_rule_of_the_queue_has_what_it_says_and_for_the_rest_what_the_queue_has() -> None:
    text = (
        BASE
        + """
[queue]
expire = "3d"
[[queue.rule]]
replies = ["greylist"]
retry = ["5m"]
delay_warning = "off"
"""
    )
    found = schedules(parse(text, Path("waymail.toml")).queue)
    greylisted = found.of("example.net", "", Reply(450, "you are greylisted", "4.7.1"))
    assert (greylisted.intervals, greylisted.expire, greylisted.delay_warning) == ((300.0,), 3 * DAY, inf)
    other = found.of("example.net", "", Reply(450, "mailbox busy", "4.2.1"))
    assert (other.intervals[0], other.expire, other.delay_warning) == (60.0, 3 * DAY, 4 * HOUR)
