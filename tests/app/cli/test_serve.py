from __future__ import annotations

from pathlib import Path

from waymail.app.cli.serve import first_user, how_to_connect
from waymail.app.config import development
from waymail.server.users import Users


def test_the_first_start_makes_a_user_who_may_send_as_anybody_and_the_next_none(tmp_path: Path) -> None:
    file = tmp_path / "users.toml"
    password = first_user(file)
    assert password
    users = Users.load(file)
    assert users.verify("dev", password)
    assert users.may_send_as("dev", "anybody@example.com")
    assert first_user(file) is None


def test_a_person_is_told_how_to_connect_and_where_mail_lands(tmp_path: Path) -> None:
    text = how_to_connect(development(tmp_path, ipv6=True), "s3cret")
    for word in (
        "127.0.0.1:2525",
        "[::1]:2525",
        "127.0.0.1:5870 (STARTTLS)",
        "smtps://127.0.0.1:4650",
        "s3cret",
        f"{tmp_path}/mail/",
    ):
        assert word in text
    assert "swaks --server 127.0.0.1:5870 --tls --auth PLAIN --auth-user dev --auth-password s3cret" in text


def test_a_later_start_says_how_to_get_a_new_password(tmp_path: Path) -> None:
    assert "waymail user passwd dev --generate" in how_to_connect(development(tmp_path), None)
