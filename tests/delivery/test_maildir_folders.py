"""Names of folders, and which one is meant."""

from pathlib import Path

import pytest

from waymail.delivery import maildir_folders as folders


@pytest.mark.parametrize(
    ("detail", "name"),
    [
        ("lists", ".lists"),
        ("lists.linux", ".lists.linux"),
        ("a&b", ".a&-b"),
        ("entwürfe", ".entw&APw-rfe"),
        ("台北", ".&U,BTFw-"),
        ("inboxes", ".inboxes"),
        ("a+b c", ".a+b c"),
    ],
)
def test_a_detail_names_a_folder_in_modified_utf_7(detail: str, name: str) -> None:
    assert folders.named(detail) == name
    assert folders.decode(name) == f".{detail}"


@pytest.mark.parametrize(
    "detail",
    [
        *("", ".", "..", ".ssh", "a..b", "a.", "a/b", "../../x", "a\0b", "a\nb", " ", "a. ", "\udc80"),
        *("inbox", "INBOX.x", "Trash", "trash.old", "x" * 255, "é" * 120),
    ],
)
def test_what_cannot_be_a_folder_is_the_inbox(detail: str) -> None:
    assert folders.named(detail) is None


def test_a_folder_is_found_whatever_its_case_and_the_very_one_first() -> None:
    assert folders.find(".lists", [".Lists", ".lists"]) == ".lists"
    assert folders.find(".lists", [".LISTS", ".Other"]) == ".LISTS"
    assert folders.find(".entw&APw-rfe", [".Entw&ANw-rfe"]) == ".Entw&ANw-rfe"
    assert folders.find(".entw&APw-rfe", [".Entwürfe"]) == ".Entwürfe"
    assert folders.find(".lists", [".list", ".lists.linux"]) is None


@pytest.mark.parametrize("name", [".&", ".&x", ".&2D0-", ".&AAA", ".&*-", ".\udcff"])
def test_a_name_in_no_modified_utf_7_stays_as_it_is(name: str) -> None:
    assert folders.decode(name) == name


def test_only_directories_that_begin_with_a_dot_are_folders(tmp_path: Path) -> None:
    for name in ("new", "cur", ".b", ".a"):
        (tmp_path / name).mkdir()
    (tmp_path / ".file").touch()
    assert folders.present(tmp_path) == [".a", ".b"]
    assert folders.present(tmp_path / "missing") == []
