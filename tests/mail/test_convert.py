"""Messages made fit for a next hop that takes less. Python's own parser is the second opinion."""

from __future__ import annotations

import email
import random
import tracemalloc
from collections.abc import Iterator
from email.message import Message
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.mail.test_mime import broken

from waymail.mail.convert import Converted, Unconvertible, convert
from waymail.mail.encodings import base64, quoted_printable
from waymail.mail.envelope import Body
from waymail.mail.mime import structure
from waymail.mail.needs import needs

CORPUS = sorted((Path(__file__).parents[1] / "suites/mail").glob("*.eml"))
MIXED = (
    b"Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
    b"preamble\r\n--b\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n%b\r\n--b--\r\n"
    b"epilogue\r\n"
)
TEXT = "Grüße aus Köln, wo alles seinen Gang geht.".encode()
# Contents of leaves. None has a line that looks like a delimiter: Python's parser takes a bare LF for a line end.
octets = st.one_of(
    st.binary(max_size=400).filter(lambda content: b"--" not in content),
    st.text(st.characters(codec="utf-8", exclude_characters="-\r\n\0"), max_size=200).map(str.encode),
    st.lists(st.sampled_from([TEXT, b"plain", b"trailing ", b"", b"x" * 300, b"x" * 1200]), max_size=6).map(b"\r\n".join),
)


def body(message: bytes) -> Body:
    return Body(message, len(message))


def result(message: bytes, to: str = "7BIT") -> bytes:
    converted = convert(body(message), to="7BIT" if to == "7BIT" else "8BITMIME")
    found = b"".join(converted.chunks())
    assert len(found) <= converted.size
    return found


def decoded(message: bytes) -> list[tuple[str, object]]:
    """The leaves as Python's parser sees them."""
    parsed: Message = email.message_from_bytes(message)
    return [(part.get_content_type(), part.get_payload(decode=True)) for part in parsed.walk() if not part.is_multipart()]


def read_anew(message: bytes) -> list[bytes]:
    """The leaves as we see them ourselves, decoded."""
    found = []
    for entity in structure([message]):
        part = b"Content-Transfer-Encoding: %b\n\n" % entity.fields.encoding.encode() + message[entity.content : entity.end]
        if not entity.is_composite:
            payload = email.message_from_bytes(part).get_payload(decode=True)
            assert isinstance(payload, bytes)
            found.append(payload)
    return found


@st.composite
def entities(draw: st.DrawFn, depth: int = 0) -> bytes:
    """An entity that is well-formed and rightly labelled. An attached message must have a type of its own."""
    kinds = ["text/plain", "text/html", "application/octet-stream", ""] + ["multipart", "message"] * (depth < 3)
    kind = draw(st.sampled_from(kinds))
    fields = draw(st.sampled_from([b"", b"X-A: b\r\n", b"Content-Disposition: attachment;\r\n\tfilename=x\r\n"]))
    if kind == "message":
        label = draw(st.sampled_from([b"", b"Content-Transfer-Encoding: binary\r\n"]))
        return fields + b"Content-Type: message/rfc822\r\n" + label + b"\r\n" + draw(entities(depth=depth + 1))
    if kind == "multipart":
        boundary = b"b%d" % depth
        parts = draw(st.lists(entities(depth=depth + 1), max_size=3))
        opened = b"".join(b"\r\n--%b\r\n%b" % (boundary, part) for part in parts)
        fields += b'Content-Type: multipart/mixed; boundary="%b"\r\n' % boundary
        return fields + b"\r\npreamble" + opened + b"\r\n--%b--\r\nepilogue" % boundary
    content = draw(octets)
    encoding = draw(st.sampled_from(["", "8bit", "binary", "base64", "quoted-printable"]))
    if encoding == "base64" or (encoding and content.translate(None, b"\r\n\0") != content):
        encoding, content = "base64", b"".join(base64([content]))
    elif encoding == "quoted-printable":
        content = b"".join(quoted_printable([content]))
    fields += b"Content-Type: %b\r\n" % kind.encode() if kind else b""
    fields += b"Content-Transfer-Encoding: %b\r\n" % encoding.encode() if encoding else b""
    return fields + b"\r\n" + content


@given(entities(), st.sampled_from(["7BIT", "8BITMIME"]))
def test_every_leaf_has_the_octets_that_it_had(entity: bytes, to: str) -> None:
    message = b"Subject: x\r\nMIME-Version: 1.0\r\n" + entity
    if entity.startswith(b"\r\n") or not message.endswith(b"\r\n"):
        message += b"\r\n"
    converted = result(message, to)
    assert decoded(converted) == decoded(message)
    found = needs([converted])
    assert not found.binary
    assert not (found.eight_bit and to == "7BIT")
    assert result(converted, to) == converted


@given(broken, st.sampled_from(["7BIT", "8BITMIME"]))
def test_a_broken_message_is_converted_without_loss_or_not_at_all(message: bytes, to: str) -> None:
    try:
        converted = result(message, to)
    except Unconvertible:
        assert needs([message]) != needs([b""])
        return
    assert read_anew(converted) == read_anew(message)
    found = needs([converted])
    assert not found.binary
    assert not (found.eight_bit and to == "7BIT")


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.stem)
def test_real_mail_is_converted_without_loss_or_not_at_all(path: Path) -> None:
    message = path.read_bytes().replace(b"\n", b"\r\n")
    try:
        converted = result(message)
    except Unconvertible:
        found = needs([message])
        assert found.utf8_headers or found.binary
        return
    assert converted.isascii()
    assert [payload for _, payload in decoded(converted)] == [payload for _, payload in decoded(message)]
    if message.isascii() and not needs([message]).binary and b"8bit" not in message:
        assert converted == message


def test_some_real_mail_is_converted() -> None:
    messages = [path.read_bytes().replace(b"\n", b"\r\n") for path in CORPUS]
    needy = [message for message in messages if needs([message]).eight_bit and not needs([message]).utf8_headers]
    assert len(needy) >= 5
    assert all(result(message) != message for message in needy)


def test_text_that_is_mostly_ascii_becomes_quoted_printable() -> None:
    assert result(MIXED % TEXT) == (MIXED.replace(b"8bit", b"7bit", 1).replace(b"8bit", b"quoted-printable")) % (
        "Grüße aus Köln, wo alles seinen Gang geht.".replace("ü", "=C3=BC").replace("ß", "=C3=9F").replace("ö", "=C3=B6").encode()
    )


@pytest.mark.parametrize(
    ("media_type", "content"),
    [
        (b"text/plain", "Привет, как дела?".encode()),
        (b"application/pdf", TEXT),
        (b"text/plain", TEXT + b"\0"),
        (b"text/plain", TEXT + b"\nbare"),
        (b"message/global", b"Subject: \xc3\xa9\r\n\r\n" + TEXT),
    ],
)
def test_all_else_becomes_base64(media_type: bytes, content: bytes) -> None:
    converted = result(MIXED.replace(b"text/plain", media_type) % content)
    (leaf,) = [entity for entity in structure([converted]) if not entity.is_composite]
    assert leaf.fields.encoding == "base64"
    assert converted[leaf.content : leaf.end] == b"".join(base64([content]))


def test_text_with_long_lines_becomes_quoted_printable() -> None:
    message = MIXED % (b"word " * 400)
    assert b"quoted-printable" in result(message, "8BITMIME")
    assert decoded(result(message, "8BITMIME")) == decoded(message)


def test_a_message_without_mime_gets_it() -> None:
    assert result(b"Subject: x\r\n\r\ncaf\xe9 au lait\r\n") == (
        b"Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=unknown-8bit\r\n"
        b"Content-Transfer-Encoding: quoted-printable\r\n\r\ncaf=E9 au lait\r\n"
    )


def test_a_message_without_any_field_gets_some() -> None:
    assert result(b"\r\ncaf\xe9 au lait\r\n").endswith(b"Content-Transfer-Encoding: quoted-printable\r\n\r\ncaf=E9 au lait\r\n")


def test_an_attached_message_gets_its_own_mime_version() -> None:
    message = b"Content-Type: message/rfc822\r\n\r\nSubject: y\r\nContent-Type: text/plain\r\n\r\ncaf\xe9 au lait\r\n"
    converted = result(message)
    assert converted.count(b"MIME-Version: 1.0\r\n") == 1
    assert converted.index(b"MIME-Version") > converted.index(b"Subject: y")


def test_a_line_that_looks_like_a_boundary_once_it_is_broken_is_escaped() -> None:
    message = MIXED % (TEXT + b"\r\n" + b"x" * 75 + b"--b\r\nmore")
    converted = result(message)
    assert b"=\r\n=2D-b\r\n" in converted
    assert decoded(converted) == decoded(message)


@pytest.mark.parametrize("text", [b"caf\xe9 au lait", b"x" * 2000 + b"\xe9", b"x" * 2000 + b"\r\ncaf\xe9 au lait"])
def test_a_last_line_without_an_end_gets_none(text: bytes) -> None:
    converted = result(b"Subject: x\r\n\r\n" + text)
    assert converted.endswith(b"\r\n")
    assert [payload for _, payload in decoded(converted)] == [text]


def test_what_is_encoded_or_ascii_already_is_left_alone() -> None:
    for part in (
        b"--b\r\nContent-Type: text/plain\r\n\r\nascii\r\n",
        b"--b\r\nContent-Transfer-Encoding: Quoted-Printable\r\n\r\n=C3=A9\r\n",
        b"--b\r\nContent-Transfer-Encoding: base64\r\n\r\n4pyT\r\n",
    ):
        message = MIXED.replace(b"--b--", part + b"--b--") % TEXT
        assert part in result(message)


def test_eight_bit_lines_stay_where_8bitmime_is_offered() -> None:
    message = MIXED % TEXT
    assert result(message, "8BITMIME") == message


def test_only_the_binary_part_is_encoded_for_8bitmime() -> None:
    binary = b"--b\r\nContent-Type: image/png\r\nContent-Transfer-Encoding: binary\r\n\r\n\x89PNG\r\n\x1a\n\0\r\n"
    message = (MIXED.replace(b"--b--", binary + b"--b--") % TEXT).replace(b"Encoding: 8bit", b"Encoding: binary", 1)
    converted = result(message, "8BITMIME")
    assert converted.count(b"Encoding: 8bit\r\n") == 2
    assert TEXT in converted
    assert b"Encoding: base64\r\n\r\niVBORw0KGgoA\r\n--b--" in converted


def test_a_label_that_promises_too_much_is_corrected() -> None:
    assert b"8bit" not in result(MIXED % b"ascii")
    assert b"binary" not in result(MIXED.replace(b"8bit", b"binary") % b"ascii", "8BITMIME")


@pytest.mark.parametrize(
    "message",
    [
        MIXED.replace(b"multipart/mixed", b"multipart/signed"),
        MIXED.replace(b"multipart/mixed", b"multipart/encrypted"),
        MIXED.replace(b"Subject", b"DKIM-Signature"),
        MIXED.replace(b"Subject", b"ARC-Message-Signature"),
        MIXED.replace(b"text/plain", b"message/partial"),
        MIXED.replace(b"text/plain", b"message/external-body"),
        MIXED.replace(b"text/plain", b"message/delivery-status"),
        MIXED.replace(b"charset=utf-8", b"name=\xc3\xa9"),
        MIXED.replace(b": x", b": \xc3\xa9"),
        MIXED.replace(b"preamble", b"pr\xc3\xa9amble"),
        MIXED.replace(b"epilogue", b"\xc3\xa9pilogue"),
        MIXED.replace(b"boundary=b", b"charset=b"),
        MIXED.replace(b"charset=utf-8\r\nContent-Transfer-Encoding: 8bit", b"a=b\r\nContent-Transfer-Encoding: base64"),
        MIXED.replace(b"charset=utf-8\r\nContent-Transfer-Encoding: 8bit", b"a=b\r\nContent-Transfer-Encoding: utf-8"),
        MIXED.replace(b"charset=utf-8", b"charset=utf-8\r\nContent-Type: text/html"),
        MIXED.replace(b"Subject: x", b"Subject: x\n"),
    ],
)
def test_what_must_not_be_changed_fails_with_5_6_3(message: bytes) -> None:
    with pytest.raises(Unconvertible) as caught:
        convert(body(message % TEXT), to="7BIT")
    assert (caught.value.reply.code, caught.value.reply.enhanced) == (554, "5.6.3")


@pytest.mark.parametrize("name", [b"DKIM-Signature", b"Subject"])
@pytest.mark.parametrize("kind", [b"signed", b"mixed"])
def test_ascii_is_sent_whoever_signed_it(name: bytes, kind: bytes) -> None:
    message = (MIXED.replace(b"Subject", name).replace(b"multipart/mixed", b"multipart/" + kind) % b"ascii").replace(
        b"8bit", b"7bit"
    )
    assert result(message) == message


def test_a_signed_part_stays_as_it_is_beside_one_that_is_converted() -> None:
    signed = (
        b"--b\r\nContent-Type: multipart/signed; boundary=s\r\n\r\n--s\r\nContent-Transfer-Encoding: 8bit\r\n\r\na\r\n--s--\r\n"
    )
    assert signed in result(MIXED.replace(b"--b--", signed + b"--b--") % TEXT)


def test_ten_megabytes_are_converted_in_little_memory(tmp_path: Path) -> None:
    line = TEXT + b" And so on, and so on.\r\n"
    binary = b"--b\r\nContent-Type: image/png\r\n\r\n%b\r\n--b--" % random.Random(1).randbytes(5_000_000)
    message = MIXED.replace(b"%b", line * 80_000).replace(b"--b--", binary)
    path = tmp_path / "message"
    path.write_bytes(message)
    tracemalloc.start()
    try:
        converted: Converted = convert(Body(path, len(message)), to="7BIT")
        size = sum(len(chunk) for chunk in converted.chunks())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2_000_000
    assert size <= converted.size < size * 1.2


def test_the_pieces_are_of_the_size_asked_for_and_can_be_had_twice() -> None:
    converted = convert(body(MIXED % ((TEXT + b"\r\n") * 500)), to="7BIT")

    def pieces() -> Iterator[bytes]:
        return converted.chunks(4096)

    assert all(len(piece) >= 4096 for piece in list(pieces())[:-1])
    assert b"".join(pieces()) == b"".join(converted.chunks())
