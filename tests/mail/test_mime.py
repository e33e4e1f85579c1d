"""The structure of a message, as places in its octets."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waymail.mail import mime
from waymail.mail.mime import Entity, structure

NESTED = (
    b"Subject: x\r\nContent-Type: multipart/mixed; boundary=out\r\n\r\npreamble\r\n"
    b"--out\r\n\r\nfirst\r\n\r\n"
    b"--out \t\r\nContent-Type: multipart/alternative; boundary=in\r\n\r\n--in\r\nContent-Type: text/html\r\n\r\nsecond\r\n"
    b"--in--\r\ninner epilogue\r\n--out\r\nContent-Type: message/rfc822\r\n\r\nSubject: y\r\n\r\nthird\r\n--out--\r\nepilogue\r\n"
)
# Pieces of which broken messages are made.
broken = st.lists(
    st.sampled_from(
        (
            *(
                b"\r\n",
                b"\r\n",
                b"\r\n\r\n",
                b"--a",
                b"--b",
                b"--a\r\n",
                b"\r\n--b--\r\n",
                b"--",
                b" ",
                b"\n",
                b"\r",
                b"a",
                b"\xff",
            ),
            *(b"Content-Type: multipart/mixed; boundary=a\r\n", b"Content-Type: multipart/digest; boundary=b\r\n", b"A: b\r\n"),
            *(b"Content-Type: message/rfc822\r\n", b"Content-Type: text/plain\r\n", b"Content-Transfer-Encoding: base64\r\n"),
        )
    ),
    max_size=40,
).map(b"".join)


def content(message: bytes, entity: Entity) -> bytes:
    return message[entity.content : entity.end]


def leaves(message: bytes) -> list[bytes]:
    return [content(message, entity) for entity in structure([message]) if not entity.is_composite]


def facts(entities: list[Entity]) -> list[tuple[object, ...]]:
    surveys = [(entity.header, entity.octets) for entity in entities]
    counts = [[(s.size, s.lines, s.eight_bit, s.is_binary) for s in pair] for pair in surveys]
    return [(e.start, e.header_end, e.content, e.end, e.media_type, e.seal, c) for e, c in zip(entities, counts, strict=True)]


def cut(message: bytes, size: int) -> Iterator[bytes]:
    return (message[at : at + size] for at in range(0, len(message), size))


def test_a_message_without_mime_is_one_text() -> None:
    (entity,) = structure([b"Subject: x\r\n\r\nbody\r\n"])
    assert (entity.start, entity.header_end, entity.content, entity.end) == (0, 12, 14, 20)
    assert (entity.media_type, entity.fields.media_type, entity.is_composite, entity.seal) == ("text/plain", "", False, "")


def test_parts_are_found_to_the_octet() -> None:
    assert leaves(NESTED) == [b"first\r\n", b"second", b"third"]
    assert [entity.media_type for entity in structure([NESTED])] == [
        "multipart/mixed",
        "text/plain",
        "multipart/alternative",
        "text/html",
        "message/rfc822",
        "text/plain",
    ]


def test_a_part_knows_the_message_that_it_is_in() -> None:
    entities = structure([NESTED])
    assert [entity.message.start for entity in entities] == [0, 0, 0, 0, 0, NESTED.index(b"Subject: y")]


def test_what_stands_around_parts_is_counted_with_the_multipart() -> None:
    outer, _, inner, *_ = structure([NESTED])
    assert outer.octets.size == len(b"preamble" + b"epilogue\r\n")
    assert inner.octets.size == len(b"inner epilogue")


@pytest.mark.parametrize(
    "line", [b"--out2", b"--ou", b"---out", b" --out", b"--out--x", b"--out- -", b"x--out", b"--OUT", b"\n--out", b"\r--out"]
)
def test_only_the_whole_line_is_a_delimiter(line: bytes) -> None:
    text = b"first\r\n" + line + b"\r\nsecond"
    assert leaves(NESTED.replace(b"first\r\n", text)) == [text, b"second", b"third"]


def test_an_outer_delimiter_ends_all_that_is_open_within() -> None:
    message = NESTED.replace(b"--in--\r\ninner epilogue\r\n", b"more\r\n")
    assert leaves(message) == [b"first\r\n", b"second\r\nmore", b"third"]


def test_the_end_of_the_message_ends_all() -> None:
    assert leaves(NESTED[: NESTED.index(b"\r\n--in--")]) == [b"first\r\n", b"second"]


def test_after_the_last_part_there_are_no_more() -> None:
    assert leaves(NESTED + b"--out\r\n\r\nnot a part\r\n") == [b"first\r\n", b"second", b"third"]


def test_where_boundaries_are_the_same_the_outer_one_counts() -> None:
    message = NESTED.replace(b"boundary=in", b"boundary=out").replace(b"--in", b"--out")
    assert leaves(message) == [b"first\r\n", b"second"]


@pytest.mark.parametrize(
    ("parts", "found"),
    [
        (b"--b\r\n\r\n--b--", [b""]),
        (b"--b\r\n--b--", [b""]),
        (b"--b\r\nA: b\r\n--b\r\n\r\nx\r\n--b--", [b"", b"x"]),
        (b"--b\r\nA: b", [b""]),
        (b"--b", [b""]),
        (b"--b--", []),
        (b"", []),
        (b"--b\r\nContent-Type: message/rfc822\r\n\r\n--b\r\n\r\ny", [b"", b"y"]),
    ],
)
def test_parts_may_lack_content_fields_or_end(parts: bytes, found: list[bytes]) -> None:
    assert leaves(b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + parts) == found


def test_parts_of_a_digest_are_messages() -> None:
    message = b"Content-Type: multipart/digest; boundary=b\r\n\r\n--b\r\n\r\nSubject: z\r\n\r\nbody\r\n--b--\r\n"
    assert leaves(message) == [b"body"]
    assert [entity.media_type for entity in structure([message])] == ["multipart/digest", "message/rfc822", "text/plain"]


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        (b"Content-Type: multipart/signed; boundary=b\r\n", "multipart/signed"),
        (b"Content-Type: multipart/encrypted; boundary=b\r\n", "multipart/encrypted"),
        (b"Content-Type: message/partial\r\n", "message/partial"),
        (b"Content-Type: message/external-body\r\n", "message/external-body"),
        (b"Content-Type: message/delivery-status\r\n", "message/delivery-status"),
        (b"Content-Type: multipart/mixed\r\n", "no boundary"),
        (b"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n", "encoded"),
        (b"Content-Transfer-Encoding: x-uuencode\r\n", "x-uuencode"),
        (b"DKIM-Signature: v=1\r\n", "DKIM"),
        (b"junk\r\n", "no header field"),
        (b"A: " + b"b" * mime.HEADER + b"\r\n", "too long"),
    ],
)
def test_there_is_a_seal_on_what_must_not_be_changed(fields: bytes, why: str) -> None:
    assert why in structure([fields + b"\r\nbody\r\n"])[0].seal


def test_a_seal_holds_for_all_within() -> None:
    message = NESTED.replace(b"multipart/alternative", b"multipart/signed")
    assert [bool(entity.seal) for entity in structure([message])] == [False, False, True, True, False, False]


def test_an_attached_message_may_be_signed() -> None:
    assert not any(entity.seal for entity in structure([NESTED.replace(b"Subject: y", b"DKIM-Signature: v=1")]))


def test_nesting_has_an_end() -> None:
    message = b"Content-Type: message/rfc822\r\n\r\n" * 60 + b"A: b\r\n\r\nbody\r\n"
    entities = structure([message])
    assert len(entities) == mime.DEPTH + 1
    assert "nested too deep" in entities[-1].seal
    assert (entities[-1].end, entities[-2].seal) == (len(message), "")


def test_the_number_of_parts_has_an_end() -> None:
    message = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--b\r\n\r\nx\r\n" * 1200 + b"--b--\r\n"
    entities = structure([message])
    assert len(entities) == mime.PARTS
    assert "too many parts" in entities[-1].seal
    assert (entities[-1].end, entities[-2].seal) == (len(message), "")


@given(broken, st.integers(1, 100))
def test_a_message_is_read_the_same_wherever_it_is_cut(message: bytes, size: int) -> None:
    assert facts(structure(cut(message, size))) == facts(structure([message]))


def test_a_long_message_is_read_the_same_wherever_it_is_cut() -> None:
    """Longer than what is looked at in one go, so that header sections, delimiters and contents lie over the edges."""
    parts = [b"--b%b\r\nA: %b\r\n\r\n%b\r\n" % (b" " * (n % 200), b"h" * (n * 37), b"c" * (n * 411)) for n in range(1, 60)]
    message = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"".join(parts) + b"--b--\r\n"
    whole = facts(structure([message]))
    assert len(whole) == 60
    for size in (1021, 4096, 65536, 65537, 131072):
        assert facts(structure(cut(message, size))) == whole


@given(broken)
def test_places_are_in_order_and_every_octet_of_content_is_counted(message: bytes) -> None:
    for entity in structure([message]):
        assert 0 <= entity.start <= entity.header_end <= entity.content <= entity.end <= len(message)
        if entity.parent is not None:
            assert entity.parent.content <= entity.start
            assert entity.end <= entity.parent.end
        if not entity.is_composite:
            assert entity.octets.size == entity.end - entity.content
