"""What `waymail serve` would fail at is said beforehand."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import trustme

from waymail.app.config import ConfigError, load
from waymail.server.users import add_user

TEXT = """\
hostname = "mail.example.org"
[[listener]]
kind = "{kind}"
address = "127.0.0.1:0"
[tls]
certificate = "cert.pem"
key = "key.pem"
"""
DOMAIN = """\
[domains."example.org"]
recipients = ["ann"]
"""


def write(folder: Path, *, kind: str = "mx", certificate: bool = True, key: bool = True) -> Path:
    """A configuration, and such of its files as are to be there."""
    pair = trustme.CA().issue_cert("mail.example.org")
    if certificate:
        pair.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    if key:
        pair.private_key_pem.write_to_path(folder / "key.pem")
    file = folder / "waymail.toml"
    file.write_text(TEXT.format(kind=kind) + DOMAIN)
    return file


def problems(file: Path) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(file, to_serve=True)
    return [str(problem).removeprefix(f"{file}:") for problem in caught.value.problems]


def test_a_configuration_whose_files_are_there_can_be_served(tmp_path: Path) -> None:
    assert load(write(tmp_path), to_serve=True).source.warnings == ()


def test_a_missing_certificate_or_key_is_an_error_with_its_line_and_the_fix(tmp_path: Path) -> None:
    certificate, key = problems(write(tmp_path, certificate=False, key=False))
    assert certificate.startswith(f"6: tls.certificate: there is no such file: {tmp_path}/cert.pem; ")
    assert key.startswith(f"7: tls.key: there is no such file: {tmp_path}/key.pem; ")
    assert "self_signed = true" in certificate
    [key] = problems(write(tmp_path, key=False))
    assert key.startswith("7: tls.key: ")


def test_a_certificate_that_cannot_be_read_is_an_error_that_says_why(tmp_path: Path) -> None:
    file = write(tmp_path, certificate=False)
    (tmp_path / "cert.pem").mkdir()
    [said] = problems(file)
    assert said.startswith("6: tls.certificate: cannot be read by this user (")
    assert f"Is a directory: {tmp_path}/cert.pem" in said


def test_a_key_of_another_certificate_is_an_error(tmp_path: Path) -> None:
    write(tmp_path, key=False)
    [said] = problems(write(tmp_path, certificate=False))
    assert said.startswith("6: tls.certificate: ")
    assert said.endswith("the key is not that certificate's")


def test_a_pair_of_somebody_else_where_a_self_signed_one_would_be_made_is_an_error(tmp_path: Path) -> None:
    file = write(tmp_path, certificate=False, key=False)
    text = file.read_text().partition("certificate")[0] + "self_signed = true\n"
    file.write_text(text)
    assert load(file, to_serve=True).tls.self_signed
    (tmp_path / "data" / "tls").mkdir(parents=True)
    (tmp_path / "data" / "tls" / "key.pem").write_text("perhaps an encrypted key")
    [said] = problems(file)
    assert said.startswith("6: tls.self_signed: ")
    assert "waymail did not make them" in said


def test_files_and_text_are_told_together_in_the_order_of_their_lines(tmp_path: Path) -> None:
    file = write(tmp_path, certificate=False)
    file.write_text(file.read_text() + "[limits]\nrecipients = 0\n")
    assert [said.partition(":")[0] for said in problems(file)] == ["6", "11"]


def test_a_section_that_cannot_be_read_has_no_files_to_look_at(tmp_path: Path) -> None:
    file = write(tmp_path, certificate=False)
    file.write_text(file.read_text().replace("[tls]", '[tls]\nself_signed = "no"'))
    assert [said.partition(":")[0] for said in problems(file)] == ["6"]


def test_whoever_only_looks_into_the_queue_needs_no_certificate(tmp_path: Path) -> None:
    assert load(write(tmp_path, certificate=False, key=False)).tls.certificate == tmp_path / "cert.pem"


def test_a_missing_users_file_is_a_warning_where_users_could_come(tmp_path: Path) -> None:
    file = write(tmp_path, kind="submission")
    [warning] = load(file, to_serve=True).source.warnings
    assert (warning.key, warning.message) == (
        "users.file",
        f"there is no file {tmp_path}/users.toml, so nobody can log in; `waymail user add` makes it",
    )
    assert load(file).source.warnings == ()
    add_user(tmp_path / "users.toml", "ann", "s3cret", None)
    assert load(file, to_serve=True).source.warnings == ()


def test_a_server_without_submission_needs_no_users_file(tmp_path: Path) -> None:
    assert load(write(tmp_path, kind="mx"), to_serve=True).source.warnings == ()


def test_a_broken_users_file_is_an_error(tmp_path: Path) -> None:
    file = write(tmp_path)
    (tmp_path / "users.toml").write_text("nonsense")
    [said] = problems(file)
    assert "users.file: " in said


def test_a_missing_file_of_keys_for_tokens_is_an_error(tmp_path: Path) -> None:
    file = write(tmp_path)
    file.write_text(file.read_text() + '[users]\noauth = { issuer = "https://i", audience = "m", jwks_file = "keys.json" }\n')
    assert any("users.oauth.jwks_file: there is no such file" in problem for problem in problems(file))
    (tmp_path / "keys.json").write_text("{}")
    load(file, to_serve=True)


@pytest.mark.parametrize("query", ["SELECT 1", "SELECT 'x'::name", "SELECT :names"])
def test_a_query_that_does_not_ask_for_the_user_is_an_error(tmp_path: Path, query: str) -> None:
    file = write(tmp_path)
    file.write_text(file.read_text() + f'[users]\nsql = {{ driver = "sqlite3", dsn = "x.db", query = "{query}" }}\n')
    [said] = problems(file)
    assert said.startswith("11: users.sql.query: must hold :name")


@pytest.mark.parametrize(
    ("driver", "why"), [("no_such_driver", "pip install no_such_driver"), ("json", "is no module of DB-API"), (".x", "not there")]
)
def test_a_driver_that_cannot_be_used_is_an_error(tmp_path: Path, driver: str, why: str) -> None:
    file, query = write(tmp_path), "SELECT password FROM users WHERE name = :name"
    file.write_text(file.read_text() + f'[users]\nsql = {{ driver = "{driver}", dsn = "x.db", query = "{query}" }}\n')
    [said] = problems(file)
    assert said.startswith("11: users.sql.driver: ")
    assert why in said


def test_a_missing_package_for_ldap_and_a_missing_file_of_its_authorities_are_errors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ldap3", None)  # as if it were not installed
    file = write(tmp_path)
    file.write_text(file.read_text() + '[users]\nldap = { url = "ldaps://ldap.example.org", base = "dc=org", ca = "ca.pem" }\n')
    authorities, package = problems(file)
    assert authorities == f"11: users.ldap.ca: there is no such file: {tmp_path}/ca.pem"
    assert package == "11: users.ldap: users in LDAP need the package ldap3: pip install waymail[ldap]"


@pytest.mark.parametrize("name", ["no_such_module:Users", "json:Users", "json:JSONDecoder"])
def test_a_class_that_is_no_back_end_is_an_error(tmp_path: Path, name: str) -> None:
    file = write(tmp_path)
    file.write_text(file.read_text() + f'[users]\npython = "{name}"\n')
    [said] = problems(file)
    assert said.startswith("11: users.python: ")


def test_a_missing_folder_of_a_socket_is_a_warning(tmp_path: Path) -> None:
    file = write(tmp_path)
    file.write_text(file.read_text().replace("127.0.0.1:0", f"unix:{tmp_path}/run/mx.sock"))
    [warning] = load(file, to_serve=True).source.warnings
    assert (warning.key, warning.line) == ("listener[0].address", 4)
    assert f"there is no folder {tmp_path}/run" in warning.message
    (tmp_path / "run").mkdir()
    assert load(file, to_serve=True).source.warnings == ()


def warned(file: Path, users: str) -> list[str]:
    """The warnings about users, of a configuration with this in [users]."""
    file.write_text(file.read_text() + f"[users]\n{users}\n")
    return [one.message for one in load(file, to_serve=True).source.warnings if one.key.startswith("users")]


def test_a_mechanism_that_no_user_of_the_file_could_use_is_a_warning(tmp_path: Path) -> None:
    add_user(tmp_path / "users.toml", "ann@example.org", "sesame")
    [in_clear, message] = warned(write(tmp_path, kind="submission"), 'mechanisms = ["CRAM-MD5"]')
    assert "kept in clear" in in_clear
    assert message.startswith("names CRAM-MD5, which cannot be offered: no user in ")
    assert message.endswith("AUTH is not offered, and nobody can log in")


def test_beside_a_mechanism_that_can_be_offered_the_warning_does_not_say_that_nobody_can_log_in(tmp_path: Path) -> None:
    add_user(tmp_path / "users.toml", "ann@example.org", "sesame")
    [first, second] = warned(write(tmp_path, kind="submission"), 'mechanisms = ["PLAIN", "SCRAM-SHA-1-PLUS", "XOAUTH2"]')
    assert first.startswith("names SCRAM-SHA-1-PLUS, which cannot be offered")
    assert second == "names XOAUTH2, which needs [users] oauth"
    assert "nobody" not in first


def test_a_mechanism_that_a_user_has_what_it_needs_for_is_no_warning(tmp_path: Path) -> None:
    add_user(tmp_path / "users.toml", "ann@example.org", "sesame", scram_sha_1=True)
    assert warned(write(tmp_path, kind="submission"), 'mechanisms = ["PLAIN", "SCRAM-SHA-1", "SCRAM-SHA-256-PLUS"]') == []


@pytest.mark.parametrize(
    ("query", "mechanisms", "said"),
    [
        ("SELECT * FROM users WHERE name = :name", "", "so AUTH is not offered"),
        ("SELECT password FROM users WHERE name = :name", 'mechanisms = ["SCRAM-SHA-256"]', "names SCRAM-SHA-256, which"),
    ],
)
def test_a_query_without_a_column_for_any_mechanism_is_a_warning(tmp_path: Path, query: str, mechanisms: str, said: str) -> None:
    users = f'sql = {{ driver = "sqlite3", dsn = "x.db", query = "{query}" }}\n{mechanisms}'
    [message] = warned(write(tmp_path, kind="submission"), users)
    assert said in message
