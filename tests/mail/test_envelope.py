"""The values that travel, and queue ids."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waymail.mail.envelope import CHUNK, Body, Envelope, QueueIds, Recipient, decode_id, encode_id


def in_file(tmp_path: Path, content: bytes, prefix: bytes = b"") -> Body:
    path = tmp_path / "body"
    path.write_bytes(content)
    return Body(path, len(prefix) + len(content), prefix)


def test_a_recipients_domain_is_in_lower_case_and_its_address_untouched() -> None:
    recipient = Recipient("Ann@Example.ORG")
    assert recipient.domain == "example.org"
    assert recipient.address == "Ann@Example.ORG"


def test_a_recipients_domain_stands_behind_a_quoted_at_sign() -> None:
    assert Recipient('"a@b"@example.org').domain == "example.org"


def test_an_envelope_is_local_and_seven_bit_unless_it_says_otherwise() -> None:
    envelope = Envelope("0123456789abc", "", (), 0.0)
    assert (envelope.body, envelope.message_id, envelope.origin.protocol) == ("7BIT", "", "local")


class TestBody:
    def test_the_prefix_comes_before_the_content(self) -> None:
        assert b"".join(Body(b"content", 13, b"prefix").chunks()) == b"prefixcontent"

    def test_a_new_prefix_goes_in_front_of_the_old_one_and_counts(self) -> None:
        body = Body(b"content", 7)
        longer = body.with_prefix(b"B: 2\r\n").with_prefix(b"A: 1\r\n")
        assert b"".join(longer.chunks()) == b"A: 1\r\nB: 2\r\ncontent"
        assert longer.size == 19
        assert (body.prefix, body.size) == (b"", 7)

    def test_a_file_comes_in_chunks_in_order(self, tmp_path: Path) -> None:
        content = bytes(range(256)) * 600
        chunks = list(in_file(tmp_path, content, b"prefix").chunks())
        assert b"".join(chunks) == b"prefix" + content
        assert max(map(len, chunks)) == CHUNK

    def test_a_file_comes_in_chunks_of_the_size_asked_for(self, tmp_path: Path) -> None:
        assert list(in_file(tmp_path, b"abcde").chunks(2)) == [b"ab", b"cd", b"e"]

    @pytest.mark.parametrize("limit", [0, 3, 6, 9, 13, 99])
    def test_the_head_is_the_first_octets_of_prefix_and_content(self, tmp_path: Path, limit: int) -> None:
        assert Body(b"content", 13, b"prefix").head(limit) == b"prefixcontent"[:limit]
        assert in_file(tmp_path, b"content", b"prefix").head(limit) == b"prefixcontent"[:limit]

    def test_a_file_that_is_gone_is_an_error(self, tmp_path: Path) -> None:
        with pytest.raises(OSError, match="gone"):
            list(Body(tmp_path / "gone", 1).chunks())


class TestQueueIds:
    def test_ids_sort_by_time(self) -> None:
        ids = QueueIds(salt=0x7FF)
        assert ids.next(1.0) < ids.next(2.0) < ids.next(1_800_000_000.0) < ids.next(1_800_000_000.000002)

    def test_ids_never_repeat_even_when_the_clock_stands_or_goes_back(self) -> None:
        ids = QueueIds(salt=1)
        made = [ids.next(now) for now in [100.0] * 500 + [50.0] * 500]
        assert len(set(made)) == 1000
        assert made == sorted(made)

    def test_processes_with_different_salts_make_different_ids(self) -> None:
        assert QueueIds(salt=1).next(100.0) != QueueIds(salt=2).next(100.0)

    def test_a_salt_takes_no_more_than_its_eleven_bits(self) -> None:
        assert decode_id(QueueIds(salt=0xFFFFF).next(1.0)) == 1_000_000 << 11 | 0x7FF

    @given(st.integers(0, (1 << 63) - 1))
    def test_an_id_of_13_characters_stands_for_its_number(self, number: int) -> None:
        text = encode_id(number)
        assert len(text) == 13
        assert decode_id(text) == decode_id(text.upper()) == number

    @pytest.mark.parametrize(
        "text", ["", "0123456789ab", "0123456789abcd", "0123456789abi", "0123456789ab ", "z" * 13, "8" + "0" * 12]
    )
    def test_what_is_no_id_has_no_number(self, text: str) -> None:
        assert decode_id(text) is None

    @given(st.text(max_size=14))
    def test_any_text_is_an_id_or_none(self, text: str) -> None:
        number = decode_id(text)
        assert number is None or encode_id(number) == text.lower()
