"""Block and allow lists in files."""

from __future__ import annotations

import ipaddress
import logging
import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waymail.server import sender_lists
from waymail.server.sender_lists import Listed, ListUnusable, SenderLists, read

EXAMPLE = """\
# who is not wanted here
192.0.2.7                   # an address
198.51.100.0/24
2001:db8::/32
example.org                 # senders of this domain
.below.example
ann@example.net
helo:mail.example.org
helo:.dynamic.example
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "block.txt"
    path.write_text(EXAMPLE)
    return path


def entry(lists: SenderLists, ip: str = "203.0.113.1", helo: str = "", sender: str = "") -> str | None:
    found = lists.find(ip, helo, sender)
    return found.entry if found is not None else None


def of(path: Path, text: str) -> SenderLists:
    path.write_text(text)
    return SenderLists(block=[path])


# --- who is listed ---


@pytest.mark.parametrize(
    ("ip", "listed"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("192.0.2.8", None),
        ("198.51.100.255", "198.51.100.0/24"),
        ("198.51.101.0", None),
        ("2001:db8:ffff::1", "2001:db8::/32"),
        ("2001:db9::1", None),
        ("", None),
        ("unknown", None),
    ],
)
def test_an_address_is_found_by_itself_and_by_its_network(file: Path, ip: str, listed: str | None) -> None:
    assert entry(SenderLists(block=[file]), ip=ip) == listed


@pytest.mark.parametrize(
    ("sender", "listed"),
    [
        ("bob@example.org", "example.org"),
        ("bob@EXAMPLE.ORG.", "example.org"),
        ("bob@mail.example.org", None),
        ("bob@notexample.org", None),
        ("bob@below.example", ".below.example"),
        ("bob@deep.down.below.example", ".below.example"),
        ("bob@notbelow.example", None),
        ("ann@example.net", "ann@example.net"),
        ("Ann@Example.net", "ann@example.net"),
        ('"ann"@example.net', "ann@example.net"),
        ("bob@example.net", None),
        ("", None),
        ("postmaster", None),
    ],
)
def test_a_sender_is_found_by_its_address_and_by_its_domain(file: Path, sender: str, listed: str | None) -> None:
    assert entry(SenderLists(block=[file]), sender=sender) == listed


@pytest.mark.parametrize(
    ("helo", "listed"),
    [
        ("mail.example.org", "helo:mail.example.org"),
        ("MAIL.example.org.", "helo:mail.example.org"),
        ("dynamic.example", "helo:.dynamic.example"),
        ("dsl-1.dynamic.example", "helo:.dynamic.example"),
        ("example.org", None),
        ("[192.0.2.7]", None),
        ("", None),
    ],
)
def test_a_name_in_helo_is_found_by_entries_for_helo_alone(file: Path, helo: str, listed: str | None) -> None:
    assert entry(SenderLists(block=[file]), helo=helo) == listed


def test_what_decided_is_told_with_its_list_its_file_and_its_line(file: Path) -> None:
    found = SenderLists(block=[file]).find("192.0.2.7", "", "")
    assert found == Listed("block", "address", "192.0.2.7", str(file), 2)
    assert found.where == f"192.0.2.7 ({file}:2)"


def test_what_is_more_exact_comes_first(file: Path) -> None:
    lists = of(file, "192.0.0.0/8\n192.0.2.0/24\n192.0.2.7\n.example.org\nmail.example.org\nann@mail.example.org\n")
    assert [entry(lists, ip=ip) for ip in ("192.0.2.7", "192.0.2.8", "192.9.9.9")] == ["192.0.2.7", "192.0.2.0/24", "192.0.0.0/8"]
    senders = ("ann@mail.example.org", "bob@mail.example.org", "bob@other.example.org")
    assert [entry(lists, sender=one) for one in senders] == ["ann@mail.example.org", "mail.example.org", ".example.org"]


def test_the_address_comes_before_the_sender_and_the_sender_before_helo(file: Path) -> None:
    lists = SenderLists(block=[file])
    kinds = [
        lists.find(ip, "mail.example.org", sender)
        for ip, sender in (("192.0.2.7", "a@example.org"), ("", "a@example.org"), ("", ""))
    ]
    assert [one.kind if one else None for one in kinds] == ["address", "sender", "helo"]


def test_the_allow_list_counts_where_both_have_somebody(file: Path, tmp_path: Path) -> None:
    allow = tmp_path / "allow.txt"
    allow.write_text("ann@example.org\n198.51.100.7\n")
    lists = SenderLists(block=[file], allow=[allow])

    def which(ip: str, sender: str) -> str | None:
        found = lists.find(ip, "", sender)
        return found.list if found else None

    assert which("192.0.2.7", "ann@example.org") == "allow"
    assert which("192.0.2.7", "bob@example.org") == "block"
    assert [which(ip, "") for ip in ("198.51.100.7", "198.51.100.8", "203.0.113.1")] == ["allow", "block", None]
    blocked = lists.find_in("block", "192.0.2.7", "", "ann@example.org")
    assert blocked is not None
    assert blocked.list == "block"


def test_the_longest_prefix_counts_whichever_file_it_stands_in(file: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.txt"
    other.write_text("198.51.100.7\n198.0.0.0/8\n")
    lists = SenderLists(block=[file, other])
    assert [entry(lists, ip=ip) for ip in ("198.51.100.7", "198.51.100.8", "198.1.1.1")] == [
        "198.51.100.7",
        "198.51.100.0/24",
        "198.0.0.0/8",
    ]


def test_without_lists_nobody_is_listed() -> None:
    lists = SenderLists()
    assert not lists
    assert lists.find("192.0.2.7", "example.org", "ann@example.org") is None


# --- what may stand in a file ---


@pytest.mark.parametrize(
    "line",
    [
        "163.com",
        "1und1.example",
        "bücher.example",
        "xn--bcher-kva.example",
        "org",
        "_spf.example.org",
        "0.0.0.0/0",
        "::/0",
        "HELO:Mail.Example",
    ],
)
def test_such_an_entry_is_one(file: Path, line: str) -> None:
    assert of(file, line + "\n").problems == []


@pytest.mark.parametrize(
    ("line", "ip", "helo", "sender"),
    [
        ("163.com", "", "", "ann@163.com"),
        ("1ann@example.org", "", "", "1ann@example.org"),
        ("bücher.example", "", "", "ann@xn--bcher-kva.example"),
        ("xn--bcher-kva.example", "", "", "ann@bücher.example"),
        ("a#b@example.org", "", "", "a#b@example.org"),
        ("\ufeff192.0.2.1\r", "192.0.2.1", "", ""),
        ("helo: mail.example", "", "mail.example", ""),
        ("0.0.0.0/0", "192.0.2.1", "", ""),
        ("::ffff:192.0.2.0/120", "192.0.2.1", "", ""),
        ("org", "", "", "ann@org"),
    ],
)
def test_an_entry_counts_as_it_was_meant(file: Path, line: str, ip: str, helo: str, sender: str) -> None:
    file.write_bytes(f"{line}\n".encode())
    assert SenderLists(block=[file]).find(ip, helo, sender) is not None


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("192.0.2.7/24", "has bits beyond its prefix: write 192.0.2.0/24"),
        ("192.0.2", "is no address or network"),
        ("192.0.2.300", "is no address or network"),
        ("192.0.2.0/33", "is no address or network"),
        ("2001:db8:::/32", "is no address or network"),
        ("@example.org", 'for a whole domain write "example.org"'),
        ("ann@", "is no address"),
        ("ann@.example.org", "is no address"),
        ("ann@exa mple.org", "is no address"),
        ("two words", "is neither a network"),
        ("..", "is no address or network"),
        (".a..b", "is neither a network"),
        ("helo:", "is neither a network"),
        ("*.example.org", "is neither a network"),
        ("exa\x00mple.org", "is neither a network"),
    ],
)
def test_an_entry_that_makes_no_sense_is_told_with_file_and_line_and_the_others_count(
    file: Path, line: str, problem: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR, "waymail.server"):
        lists = of(file, f"# comment\n{line}\n203.0.113.1\n")
    assert entry(lists) == "203.0.113.1"
    (told,) = lists.problems
    assert told.startswith(f"{file}:2: {line!r} ")
    assert problem in told
    assert "is left out" in caplog.text


def test_of_a_file_that_is_all_wrong_some_lines_are_told_and_the_rest_counted(file: Path) -> None:
    problems = of(file, "? ?\n" * 1000).problems
    assert len(problems) == 21
    assert problems[-1] == f"{file}: and 980 lines more"


def test_of_two_equal_entries_the_first_one_is_told(file: Path) -> None:
    found = of(file, "203.0.113.1\n203.0.113.1\n").find("203.0.113.1", "", "")
    assert found is not None
    assert found.line == 1


@given(st.binary(max_size=200))
def test_whatever_stands_in_a_file_it_is_read(tmp_path_factory: pytest.TempPathFactory, octets: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.txt"
    path.write_bytes(octets + b"\n203.0.113.7\n")
    assert SenderLists(block=[path]).find("203.0.113.7", "a", "a@b") is not None  # what comes behind the nonsense counts


@given(
    st.lists(st.ip_addresses(v=4), min_size=1, max_size=20),
    st.lists(st.integers(0, 32), min_size=20, max_size=20),
    st.ip_addresses(v=4),
)
def test_a_network_is_found_as_if_each_had_been_looked_at(
    tmp_path_factory: pytest.TempPathFactory, ips: list[ipaddress.IPv4Address], lengths: list[int], ip: ipaddress.IPv4Address
) -> None:
    networks = [ipaddress.ip_network((one, length), strict=False) for one, length in zip(ips, lengths, strict=False)]
    path = tmp_path_factory.getbasetemp() / "networks.txt"
    lists = of(path, "".join(f"{network}\n" for network in networks))
    best = max((network for network in networks if ip in network), key=lambda network: network.prefixlen, default=None)
    assert entry(lists, ip=str(ip)) == (str(best) if best is not None else None)


# --- files that change ---


def test_a_file_that_changes_counts_at_the_next_look(file: Path) -> None:
    lists = SenderLists(block=[file])
    file.write_text("203.0.113.1\n")
    assert entry(lists) is None
    lists.look()
    assert entry(lists) == "203.0.113.1"
    assert entry(lists, ip="192.0.2.7") is None


def test_a_file_that_is_replaced_by_one_of_the_same_size_and_time_counts_too(file: Path) -> None:
    file.write_text("203.0.113.1\n")
    lists = SenderLists(block=[file])
    times = file.stat().st_mtime_ns
    new = file.with_name("new.txt")
    new.write_text("203.0.113.2\n")
    os.utime(new, ns=(times, times))
    new.replace(file)
    lists.look()
    assert [entry(lists, ip=f"203.0.113.{last}") for last in (1, 2)] == [None, "203.0.113.2"]


def test_what_has_not_changed_is_not_read_again(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    lists = SenderLists(block=[file])
    with caplog.at_level(logging.INFO, "waymail.server"):
        lists.look()
    assert caplog.text == ""


def test_other_lists_go_on_with_the_files_that_were_read_and_have_not_changed(file: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.txt"
    other.write_text("? ?\n203.0.113.1\n")
    before = SenderLists(block=[file, other])
    file.write_text("198.51.100.7\n")
    lists = SenderLists(block=[other], allow=[file], before=before)
    assert entry(lists) == "203.0.113.1"
    assert lists.problems == before.problems
    assert entry(lists, ip="192.0.2.7") is None, "it has changed"
    file.unlink()
    with pytest.raises(ListUnusable):
        SenderLists(block=[file], before=lists)


def test_a_file_that_goes_is_told_once_what_it_said_stays_and_when_it_is_back_it_counts(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lists = SenderLists(block=[file])
    file.unlink()
    with caplog.at_level(logging.ERROR, "waymail.server"):
        for _ in range(3):
            lists.look()
    assert caplog.text.count("what was read before stays") == 1
    assert entry(lists, ip="192.0.2.7") == "192.0.2.7"
    file.write_text("203.0.113.1\n")
    lists.look()
    assert entry(lists) == "203.0.113.1"


def test_a_folder_in_the_place_of_a_file_is_told_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(ListUnusable, match=r"cannot be read: .*make it, or let the server's user read it"):
        SenderLists(block=[tmp_path])


def test_a_file_that_is_not_there_is_told_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(ListUnusable, match=r"missing\.txt: cannot be read: No such file"):
        SenderLists(allow=[tmp_path / "missing.txt"])


def test_a_file_behind_a_file_is_told_at_the_start(file: Path) -> None:
    with pytest.raises(ListUnusable, match="cannot be read: Not a directory"):
        SenderLists(allow=[file / "list.txt"])


def test_a_file_without_end_is_told(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender_lists, "MOST_OCTETS", 100)
    with pytest.raises(ListUnusable, match="split it, or use a list in DNS"):
        read(file)


def test_a_look_up_among_100_000_entries_takes_no_longer_than_among_few(file: Path) -> None:
    lines = [
        f"10.{number >> 8 & 255}.{number & 255}.0/24\n198.18.{number >> 8}.{number & 255}\nd{number}.example\n"
        for number in range(33_334)
    ]
    lists = of(file, "".join(lines))
    started = time.process_time()
    for number in range(1000):
        assert entry(lists, "203.0.113.1", "mail.example.org", f"ann@deep.down.x{number}.example") is None
    assert time.process_time() - started < 0.5, "half a millisecond each would be ten times what it takes"
    assert entry(lists, ip="10.1.2.3") == "10.1.2.0/24"
