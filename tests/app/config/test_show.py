from __future__ import annotations

from pathlib import Path

from waymail.app.config import development, parse
from waymail.app.config.show import Setting, settings

FILE = Path("/etc/waymail/waymail.toml")

TEXT = """\
hostname = "mail.example.org"
[queue]
expire = "120h"
[[listener]]
kind = "mx"
address = "127.0.0.1:25"
tls = "off"
[domains."Example.ORG"]
recipients = ["bob", "ann"]
aliases = { sales = "ann" }
[routes]
".partner.example" = "smtp://user:hunter2@relay.example"
"""


def shown() -> dict[str, Setting]:
    return {setting.key: setting for setting in settings(parse(TEXT, FILE))}


def test_each_value_says_its_line_or_that_it_is_the_default() -> None:
    by_key = shown()
    assert (by_key["hostname"].text, by_key["hostname"].source) == ('"mail.example.org"', f"{FILE}:1")
    assert (by_key["queue.expire"].text, by_key["queue.expire"].source) == ('"5d"', f"{FILE}:3")
    assert (by_key["queue.retry"].value[0], by_key["queue.retry"].source) == ("1m", "default")
    assert by_key["listener[0].address"].source == f"{FILE}:6"
    assert by_key['domains."example.org".recipients'] == Setting('domains."example.org".recipients', ["ann", "bob"], f"{FILE}:9")
    assert by_key['domains."example.org".aliases.sales'].source == f"{FILE}:10"
    assert by_key['domains."example.org".deliver'].source == "default"
    assert by_key['routes."*"'] == Setting('routes."*"', "mx", "default")
    assert by_key["delivery.hello"] == Setting("delivery.hello", "mail.example.org", "default")
    assert by_key["tls.certificate"].text == "-"


def test_a_route_shows_its_user_and_its_defaults_but_not_its_password() -> None:
    route = shown()['routes."*.partner.example"']
    assert route.value == "smtp://user:***@relay.example:25?tls=require"
    assert route.source == f"{FILE}:12"
    assert "hunter2" not in str(shown())


def test_the_development_configuration_says_that_it_is_one(tmp_path: Path) -> None:
    assert {setting.source for setting in settings(development(tmp_path))} == {"development"}
