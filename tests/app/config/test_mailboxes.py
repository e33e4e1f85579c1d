"""Details, folders and quotas in the configuration."""

from __future__ import annotations

from pathlib import Path

import pytest

from waymail.app.config.load import parse
from waymail.app.config.mailboxes import without_effect
from waymail.app.config.problems import ConfigError
from waymail.app.config.schema import Config


def read(domain: str) -> Config:
    return parse(f'hostname = "mail.example.org"\n[domains.x]\nrecipients = ["ann"]\n{domain}', Path("/etc/waymail.toml"))


@pytest.mark.parametrize("text", ["+", "-", "--", "=", ""])
def test_a_detail_may_have_any_usual_separator(text: str) -> None:
    assert read(f'detail = "{text}"').domains["x"].detail == text


@pytest.mark.parametrize("text", ['"."', '"/"', '"a"', '"@"', '"++++"', "true", '"+ "'])
def test_any_other_separator_is_refused_with_what_would_be_right(text: str) -> None:
    with pytest.raises(ConfigError, match=r"domains\.x\.detail: must be what separates a detail from the user"):
        read(f"detail = {text}")


def test_a_quota_is_a_size_a_number_or_off() -> None:
    domain = read('quota = "1GiB"\nquota_messages = 7').domains["x"]
    assert (domain.quota, domain.quota_messages, domain.over_quota) == (1 << 30, 7, "defer")
    domain = read('quota = "off"').domains["x"]
    assert (domain.quota, domain.quota_messages) == (None, None)


def test_an_alias_may_lead_to_an_address_with_a_detail() -> None:
    assert read('detail = "+"\naliases = { lists = "ann+lists", all = "lists+x" }').domains["x"].aliases
    with pytest.raises(ConfigError, match=r'"bob\+lists" is neither a recipient nor an alias'):
        read('detail = "+"\naliases = { lists = "bob+lists" }')
    with pytest.raises(ConfigError, match=r'"ann\+lists" is neither a recipient nor an alias'):
        read('aliases = { lists = "ann+lists" }')


@pytest.mark.parametrize(
    ("domain", "key"),
    [
        ('quota = "1GB"\ndeliver = "lmtp:/run/lmtp"', "quota"),
        ('quota_messages = 1\ndeliver = "lmtp:/run/lmtp"', "quota_messages"),
        ('over_quota = "fail"', "over_quota"),
        ('folders = "create"', "folders"),
        ('folders = "create"\ndetail = "+"\ndeliver = "lmtp:/run/lmtp"', "folders"),
    ],
)
def test_a_key_that_changes_nothing_is_warned_of(domain: str, key: str) -> None:
    assert [path for path, _ in without_effect(read(domain))] == [("domains", "x", key)]
    assert any(f"domains.x.{key}: " in str(warning) for warning in read(domain).source.warnings)


@pytest.mark.parametrize(
    "domain",
    [
        "",
        'detail = "+"',
        'detail = "+"\nfolders = "create"',
        'quota = "1GB"\nover_quota = "fail"',
        'quota_messages = 1\nover_quota = "fail"',
    ],
)
def test_what_works_is_not_warned_of(domain: str) -> None:
    assert list(without_effect(read(domain))) == []
