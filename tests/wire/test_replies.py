"""Replies as octets (RFC 5321 §4.2, RFC 2034)."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from waymail.wire import ClientConnection, Noop
from waymail.wire.replies import MAX_REPLY_LINE, Reply, encode


def test_each_line_of_a_multiline_reply_repeats_the_code_and_the_enhanced_code() -> None:
    assert encode(Reply(550, "one\ntwo", "5.7.1")) == b"550-5.7.1 one\r\n550 5.7.1 two\r\n"


def test_a_reply_without_text_keeps_its_space() -> None:
    assert encode(Reply(250, "")) == b"250 \r\n"


@given(st.text(max_size=1200), st.sampled_from([None, "5.7.1"]))
def test_no_reply_line_is_longer_than_512_octets_or_has_a_line_end_inside(text: str, enhanced: str | None) -> None:
    octets = encode(Reply(550, text, enhanced))
    lines = octets.split(b"\r\n")
    assert lines.pop() == b""
    assert all(len(line) + 2 <= MAX_REPLY_LINE and b"\r" not in line and b"\n" not in line for line in lines)
    assert [line[3:4] for line in lines] == [b"-"] * (len(lines) - 1) + [b" "]


def test_a_challenge_is_one_line_however_long() -> None:
    assert encode(Reply(334, "A" * 2000)) == b"334 " + b"A" * 2000 + b"\r\n"


@given(
    st.lists(
        st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=40), min_size=1, max_size=4
    )
)
def test_what_a_server_writes_a_client_reads(lines: list[str]) -> None:
    client = ClientConnection()
    client.receive(b"220 mail.example\r\n")
    client.send(Noop())
    reply = Reply(451, "\n".join(lines), "4.3.0")
    assert [response.reply for response in client.receive(encode(reply))] == [reply]


def test_the_first_digit_says_what_kind_of_reply_it_is() -> None:
    kinds = [
        (r.is_positive, r.is_intermediate, r.is_transient, r.is_permanent)
        for r in (Reply(code, "") for code in (299, 399, 499, 599))
    ]
    assert kinds == [tuple(place == kind for place in range(4)) for kind in range(4)]


def test_a_reply_without_an_enhanced_code_has_its_class_as_status() -> None:
    assert (Reply(450, "x").status, Reply(450, "x", "4.2.1").status) == ("4.0.0", "4.2.1")


@given(st.text("aé例😀", min_size=100, max_size=1200))
def test_a_long_reply_is_cut_between_characters(text: str) -> None:
    lines = encode(Reply(250, text, "2.0.0")).splitlines()
    assert "".join(line[10:].decode("utf-8") for line in lines) == "".join(c if c.isprintable() else "?" for c in text)


def test_a_challenge_beyond_ascii_is_one_line_too() -> None:
    assert encode(Reply(334, "😀\t")) == b"334 \xf0\x9f\x98\x80?\r\n"
