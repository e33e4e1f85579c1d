"""What docs/delivering.md shows works as it stands there: configurations, the check of a signature, a handler and its test."""

from __future__ import annotations

import asyncio
import re
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest

from waymail.app.config import parse
from waymail.delivery import pipe
from waymail.delivery.handler import IncomingMail, Retry
from waymail.delivery.webhook_signature import signed

PAGE = Path(__file__).resolve().parents[2] / "docs" / "delivering.md"
KEY = bytes(32)


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)


def names_of(*sources: str) -> dict[str, Any]:
    names: dict[str, Any] = {}
    for source in sources:
        exec(compile(source, str(PAGE), "exec"), names)  # noqa: S102 - it is ours
    return names


def test_every_configuration_is_a_valid_one(tmp_path: Path) -> None:
    shown = blocks("toml")
    assert len(shown) == 3
    for text in shown:
        assert parse(f'hostname = "mail.example.org"\n{text}', tmp_path / "waymail.toml").domains


def test_the_check_of_a_signature_takes_ours_and_no_other() -> None:
    is_ours = names_of(blocks("python")[0])["is_ours"]
    secret = "whsec_" + b64encode(KEY).decode()
    headers = {"webhook-id": "msg_1", "webhook-timestamp": "1800000000"}
    headers["webhook-signature"] = signed([b"he", b"llo"], "msg_1", 1_800_000_000, [b"x" * 32, KEY])[1]
    assert is_ours(headers, b"hello", secret, 1_800_000_100)
    assert not is_ours(headers, b"hallo", secret, 1_800_000_100)
    assert not is_ours(headers, b"hello", secret, 1_800_000_400)
    assert not is_ours(headers | {"webhook-id": "msg_2"}, b"hello", secret, 1_800_000_100)


def test_the_handler_passes_the_test_that_is_shown_for_it() -> None:
    _, handler, test = blocks("python")
    names_of(handler, test)["test_mail_that_comes_from_no_list_is_rejected"]()


def test_the_handler_keeps_what_comes_from_a_list_and_puts_off_what_it_cannot_keep() -> None:
    names = names_of(blocks("python")[1])
    mail = IncomingMail.of(b"List-Id: <x.lists.example>\r\n\r\nhello\r\n", "a@lists.example")
    asyncio.run(names["handle"](mail))

    async def full(*_: object) -> bool:
        return False

    names["keep"] = full
    with pytest.raises(Retry):
        asyncio.run(names["handle"](mail))


def test_all_placeholders_and_variables_of_programs_are_named() -> None:
    text = PAGE.read_text().partition("## A program")[2].partition("## An application")[0]
    assert [name for name in pipe.PLACEHOLDERS if f"`{{{name}}}`" not in text] == []
