"""What the README and the how-to pages tell a reader to write down is right: configurations, Python, commands, links."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest

from waymail.app.cli import main
from waymail.app.config import parse
from waymail.testing.smtp_server import SmtpServer

ROOT = Path(__file__).resolve().parents[2]
PAGES = ["README.md", "docs/first-server.md", "docs/relay-with-postfix.md"]
MARKDOWN = sorted(str(path.relative_to(ROOT)) for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


def blocks(page: str, language: str) -> list[str]:
    """The fenced blocks of a page in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)


def test_the_blocks_of_a_page_are_found() -> None:
    assert [len(blocks(page, "toml")) for page in PAGES] == [1, 1, 2]
    assert len(blocks("README.md", "python")) == 3


@pytest.mark.parametrize("page", PAGES)
def test_every_configuration_shown_is_a_valid_one(page: str, tmp_path: Path) -> None:
    for text in blocks(page, "toml"):
        whole = text if "hostname" in text else f'hostname = "mail.example.org"\n{text}'
        assert parse(whole, tmp_path / "waymail.toml").hostname.endswith(".example.org")


def test_the_configuration_of_the_readme_can_be_served_as_it_stands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    [text] = blocks("README.md", "toml")
    (tmp_path / "waymail.toml").write_text(text)
    assert main(["config", "check", str(tmp_path / "waymail.toml")]) == 0
    assert "all right" in capsys.readouterr().out


def test_the_python_of_the_readme_does_what_it_says(
    smtp_server: SmtpServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first, with_asyncio, tested = blocks("README.md", "python")
    monkeypatch.chdir(tmp_path)  # where the outbox is
    exec(first, {})  # noqa: S102 - it is our own page
    assert sorted(capsys.readouterr().out.splitlines()) == [
        "accepted: bob@example.net",
        "arrived: Good morning for bob@example.net",
    ]
    names: dict[str, Any] = {}
    exec(with_asyncio, names)  # noqa: S102
    asyncio.run(names["main"](smtp_server.url))
    assert [one.subject for one in smtp_server.messages] == ["Good morning"] * 2
    smtp_server.clear()
    exec(tested, names)  # noqa: S102
    names["test_mail_arrives"](smtp_server)


def test_every_make_target_that_is_named_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {target for page in MARKDOWN for target in re.findall(r"(?:`|\$ )make ([a-z-]+)", (ROOT / page).read_text())}
    assert {"demo", "test"} <= named <= targets


@pytest.mark.parametrize("page", MARKDOWN)
def test_every_link_within_the_project_leads_to_a_file(page: str) -> None:
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", (ROOT / page).read_text())
    assert [link for link in links if not ((ROOT / page).parent / link).exists()] == []


def test_every_file_named_in_the_table_of_rules_exists() -> None:
    table = (ROOT / "docs/architecture.md").read_text().partition("| rule | file |")[2]
    named = [name for name in re.findall(r"`([\w/.]+)`", table) if "/" in name]
    assert len(named) > 15
    assert [name for name in named if not (ROOT / "src/waymail" / name).exists()] == []
