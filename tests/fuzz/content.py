"""Content off the wire and onto it: the decoder, the chunks and the stuffing against models that walk octet by octet.

Held to: the end and the content are those of the book, and the same however the octets are cut; what is sent arrives equal, or is
not sent at all.
"""

from __future__ import annotations

from tests.fuzz.choices import Choices
from tests.fuzz.reading import by_the_book, is_bare, unstuffed

from waymail.wire.chunks import ChunkedContent
from waymail.wire.data import BareLineEnd, DataDecoder, stuff

LIMIT = 100


def _decode(pieces: list[bytes]) -> tuple[bytes, bytes | None, DataDecoder]:
    decoder, content = DataDecoder(LIMIT), b""
    for at, piece in enumerate(pieces):
        some, behind = decoder.feed(piece)
        content += some
        if behind is not None:
            return content, behind + b"".join(pieces[at + 1 :]), decoder
    return content, None, decoder


def _check_decoder(stream: bytes, pieces: list[bytes]) -> None:
    content, behind, decoder = _decode(pieces)
    found = by_the_book(stream)
    assert (found is None) is (behind is None)
    if found is None:
        return
    sent, size = found
    expected = unstuffed(sent)
    assert behind == stream[size:]
    assert decoder.size == len(expected)
    assert decoder.problem == ("bare" if is_bare(sent) else "size" if len(expected) > LIMIT else None)
    assert expected.startswith(content) if decoder.problem else content == expected
    assert decoder.is_end_disputed is sent.endswith(b"\r\r\n")


def _check_chunks(stream: bytes, pieces: list[bytes], *, binary: bool) -> None:
    content = ChunkedContent(LIMIT, binary=binary)
    given, size = b"", 0
    for piece in pieces:
        content.begin(len(piece), last=False)
        half = len(piece) // 2
        given += content.take(piece[:half]) + content.take(piece[half:])
        size += len(piece)
        assert content.left == 0
        assert content.size == size
        if size > LIMIT:
            assert content.problem
    content.finish()
    assert stream.startswith(given)
    if content.problem is None:
        assert given == stream
    assert (content.problem is None) is (len(stream) <= LIMIT and (binary or not is_bare(stream)))


def _check_sending(stream: bytes, pieces: list[bytes]) -> None:
    try:
        sent = b"".join(stuff(pieces))
    except BareLineEnd:
        assert is_bare(stream)
        return
    assert not is_bare(stream)
    found = by_the_book(sent)
    assert found is not None
    assert found[1] == len(sent), "the end stands before the end"
    assert unstuffed(found[0]) == (stream if stream.endswith(b"\r\n") or not stream else stream + b"\r\n")


def one_input(data: bytes) -> None:
    """The target."""
    choices = Choices(data)
    stream = choices.stream
    pieces = choices.cut(stream)
    binary = choices.is_set()
    for cut in (pieces, [stream], [stream[at : at + 1] for at in range(len(stream))]):
        _check_decoder(stream, cut)
        _check_chunks(stream, cut, binary=binary)
        _check_sending(stream, cut)
