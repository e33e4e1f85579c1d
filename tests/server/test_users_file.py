from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waymail.server.users_file import Contents, User, UsersFileError, parse, scram_line, sender_key, serialise
from waymail.wire.sasl import PreparationProblem, ScramKeys, user_name

FILE = Path("users.toml")
PHC = "$argon2id$v=19$m=19456,t=2,p=1$c3Nzc3Nzc3Nzc3Nzc3Nzcw$E5KostkEawuGjCeEGD921occKWHmaTyglX6TE/VIYcM"
# RFC 7677 §3's example, in the form in which PostgreSQL would keep it.
SCRAM = (
    "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ=="
    "$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
)


def entry(body: str, name: str = "ann@example.org") -> str:
    return f'[users."{name}"]\n{body}\n'


def user(body: str, name: str = "ann@example.org") -> User:
    (found,) = parse(entry(body, name), FILE).users.values()
    return found


def test_an_empty_file_has_no_users() -> None:
    assert parse("", FILE) == Contents({})


def test_a_user_has_the_hashes_and_addresses_of_his_entry() -> None:
    found = user(f'password = "{PHC}"\nscram-sha-256 = "{SCRAM}"\naddresses = ["ann@example.org", "*@lists.example.org", "*"]')
    assert found.password == PHC
    assert found.scram is not None
    assert found.scram.matches("pencil")
    assert found.addresses == ("ann@example.org", "*@lists.example.org", "*")


def test_scram_keys_are_written_as_they_were_read() -> None:
    found = user(f'scram-sha-256 = "{SCRAM}"')
    assert found.scram is not None
    assert scram_line(found.scram) == SCRAM


def test_a_user_may_send_as_his_own_name_unless_the_entry_says_otherwise() -> None:
    assert user(f'password = "{PHC}"').addresses == ("ann@example.org",)
    assert user(f'password = "{PHC}"', name="ann").addresses == ()
    assert user(f'password = "{PHC}"\naddresses = []').addresses == ()


def test_the_domain_of_a_name_is_kept_in_lower_case() -> None:
    assert user(f'password = "{PHC}"', name="Ann@EXAMPLE.org").name == "Ann@example.org"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("\n[users\n", ["not TOML", "line 2"]),
        ("user = 1", ["unknown key 'user'", "'users'?"]),
        ("users = 1", ["'users' is not a table"]),
        ('secret = "?"', ["'secret' is not base64"]),
        ('secret = "ä"', ["'secret' is not base64"]),
        ("secret = 1", ["'secret' is not base64"]),
        ('users."ann@example.org" = 1', ['users."ann@example.org"', "not a table"]),
        (entry(""), ["no password", "waymail user passwd ann@example.org"]),
        (entry('pasword = "x"'), ["unknown key 'pasword'", "'password'?"]),
        (entry('quota = "x"'), ["unknown key 'quota'", "password, scram-sha-256, scram-sha-1, cram-md5, addresses"]),
        (entry('password = "secret"'), ["'password' is not an Argon2id hash"]),
        (entry("password = 1"), ["'password' is not an Argon2id hash"]),
        (entry(f'password = "{PHC.replace("m=19456", "m=7")}"'), ["'password' is not an Argon2id hash"]),
        (entry(f'password = "{PHC.replace("argon2id", "argon2i")}"'), ["'password' is not an Argon2id hash"]),
        (entry('scram-sha-256 = "x"'), ["'scram-sha-256' is not of the form"]),
        (entry("scram-sha-256 = 1"), ["'scram-sha-256' is not of the form"]),
        (entry(f'scram-sha-256 = "{SCRAM.replace("$4096", "$4095")}"'), ["4095 iterations"]),
        (entry(f'scram-sha-256 = "{SCRAM.replace("W22Z", "=22Z")}"'), ["bad base64"]),
        (entry(f'scram-sha-256 = "{SCRAM.replace("4qY=", "4qYA")}"'), ["not of 32 octets"]),
        (entry(f'password = "{PHC}"\naddresses = "ann@example.org"'), ["'addresses' is not a list"]),
        (entry(f'password = "{PHC}"\naddresses = [1]'), ["1 is not an address"]),
        (entry(f'password = "{PHC}"\naddresses = ["ann"]'), ["'ann' is not an address"]),
        (entry(f'password = "{PHC}"\naddresses = ["@example.org"]'), ["is not an address"]),
        (entry(f'password = "{PHC}"\naddresses = ["*@*.example.org"]'), ["is not an address"]),
        (entry(f'password = "{PHC}"\naddresses = ["sales-*@example.org"]'), ["is not an address"]),
        (entry(f'password = "{PHC}"\naddresses = ["ann@example.org\\n"]'), ["is not an address"]),
        (entry(f'password = "{PHC}"', name="an\\u0007n"), ["cannot be a user name", "control character"]),
        (entry(f'password = "{PHC}"', name=""), ["cannot be a user name", "empty"]),
        (entry(f'password = "{PHC}"') + entry(f'password = "{PHC}"', name="ann@EXAMPLE.org"), ["stands twice"]),
    ],
)
def test_a_wrong_file_is_refused_with_its_name_the_entry_and_the_remedy(text: str, words: list[str]) -> None:
    with pytest.raises(UsersFileError) as caught:
        parse(text, FILE)
    assert str(caught.value).startswith("users.toml: ")
    assert [word for word in words if word not in str(caught.value)] == []


def test_a_message_holds_no_control_character_of_the_file() -> None:
    with pytest.raises(UsersFileError) as caught:
        parse(entry(f'password = "{PHC}"', name="a\\u001b[31m\\u007f"), FILE)
    assert "\x1b" not in str(caught.value)
    assert "\x7f" not in str(caught.value)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Ann@Example.org", "ann@example.ORG."),
        ('"ann"@example.org', "ann@example.org"),
        ('"a\\nn"@example.org', "ann@example.org"),
        ("ann@[IPv6:::1]", "ann@[ipv6:::1]"),
    ],
)
def test_two_spellings_of_an_address_have_one_key(one: str, other: str) -> None:
    assert sender_key(one) == sender_key(other)


def test_a_letter_that_only_looks_like_an_ascii_one_has_another_key() -> None:
    assert sender_key("\u212aim@example.org") != sender_key("kim@example.org")
    assert sender_key("jim@\u212a.example") == sender_key("jim@k.example"), "but a domain is the same in every spelling of UTS 46"


LOCALS = st.text(st.characters(codec="utf-8", exclude_characters="*", exclude_categories=("C", "Z")), min_size=1, max_size=12)
ADDRESSES = st.one_of(st.just("*"), st.builds("{}@example.org".format, LOCALS), st.just("*@lists.example.org"))
KEYS = st.builds(
    ScramKeys,
    st.binary(min_size=1, max_size=32),
    st.integers(4096, 10_000_000),
    st.binary(min_size=32, max_size=32),
    st.binary(min_size=32, max_size=32),
)


@st.composite
def users(draw: st.DrawFn) -> User:
    try:
        name = user_name(draw(st.text(min_size=1, max_size=20)), stored=True)
    except PreparationProblem:
        name = "ann"
    password, scram = draw(st.sampled_from([(PHC, None), (None, draw(KEYS)), (PHC, draw(KEYS))]))
    return User(name, password, scram, tuple(draw(st.lists(ADDRESSES, max_size=3))))


@given(st.lists(users(), max_size=4), st.binary(max_size=40))
def test_what_is_written_is_read_back_to_the_same(written: list[User], secret: bytes) -> None:
    contents = Contents({one.name: one for one in written}, secret)
    assert parse(serialise(contents), FILE) == contents


def test_a_domain_has_one_key_in_u_labels_and_in_a_labels() -> None:
    keys = {sender_key(one) for one in ("jürgen@bücher.example", "jürgen@BÜCHER.example.", "jürgen@xn--bcher-kva.example")}
    assert len(keys) == 1
    assert sender_key("*@bücher.example") == sender_key("*@xn--bcher-kva.example")
