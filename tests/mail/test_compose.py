"""Composing: the tree of parts, the header fields, and that nothing that is given can add a field, a part or a recipient."""

from __future__ import annotations

import copy
import pickle
import re
from email import message_from_bytes
from email.header import decode_header, make_header
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import default
from email.utils import getaddresses
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from waymail.mail import headers
from waymail.mail.compose import compose
from waymail.mail.message import envelope_of, to_wire
from waymail.mail.mime import structure

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256))
SHOWN = '<body><p>Hello <img src="cid:logo" alt="the logo"></p></body>'
# All that a header field can hold, surrogates aside.
line = st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp")), max_size=120)


def letter(**given: Any) -> EmailMessage:
    return compose(**{"sender": "ann@example.org", "to": "bob@example.net", "subject": "Hello", "text": "Hi.\n"} | given)


def read(message: EmailMessage) -> EmailMessage:
    """The message as the one who gets it reads it."""
    return message_from_bytes(to_wire(message), policy=default)


def content(message: EmailMessage, kind: str) -> str:
    """What the one who gets it reads as its text or HTML, lines ended by LF."""
    body = read(message).get_body((kind,))
    assert body is not None
    return str(body.get_content()).replace("\r\n", "\n")


def decoded(phrase: str) -> str:
    """Encoded words read by the standard library's older decoder, which does without its address parser's mistakes."""
    return str(make_header(decode_header(phrase)))


def tree(message: EmailMessage) -> list[str]:
    """The media types of the entities, in order, as our own reader sees them in the octets."""
    return [entity.media_type for entity in structure([to_wire(message)])]


class TestParts:
    def test_text_alone_is_one_part(self) -> None:
        assert tree(letter()) == ["text/plain"]
        assert content(letter(), "plain") == "Hi.\n"

    def test_text_and_html_are_alternatives_the_html_last(self) -> None:
        assert tree(letter(html="<p>Hi.</p>")) == ["multipart/alternative", "text/plain", "text/html"]

    def test_images_stand_beside_the_alternatives_and_files_beside_all(self) -> None:
        message = letter(html=SHOWN, inline={"logo": PNG}, attachments=[("a.pdf", b"%PDF-")])
        assert tree(message) == [
            "multipart/mixed",
            "multipart/related",
            "multipart/alternative",
            "text/plain",
            "text/html",
            "image/png",
            "application/pdf",
        ]
        # RFC 2387 §3.1
        assert next(read(message).iter_parts())["Content-Type"].params["type"] == "multipart/alternative"

    def test_an_image_is_found_by_the_name_that_the_html_has_for_it(self) -> None:
        html = '<p style="background: url(cid:back.1)"><img src="cid:logo"> cid:none, acid:rain</p>'
        message = read(letter(html=html, inline={"logo": PNG, "back.1": b"GIF89a..."}))
        shown = message.get_body(("html",))
        assert shown is not None
        names = re.findall(r"cid:([^\")]+@[^\")]+)", shown.get_content())
        images = {str(part["Content-ID"]): part for part in message.walk() if part["Content-ID"]}
        assert [images[f"<{name}>"].get_content_type() for name in names] == ["image/gif", "image/png"]
        assert {part.get_filename() for part in images.values()} == {"logo.png", "back.1.gif"}
        assert "cid:none, acid:rain" in shown.get_content()

    def test_a_plain_text_is_made_where_only_html_is_given(self) -> None:
        message = letter(text=None, html='<p>Hello <a href="https://example.org/a">you</a></p><p>Bye</p>')
        assert content(message, "plain") == "Hello you (https://example.org/a)\n\nBye\n"

    def test_a_preview_is_the_first_text_of_the_html(self) -> None:
        message = letter(html="<html><head><title>t</title></head><body>Dear Bob</body></html>", preview="Now <cheaper> & so")
        assert re.search(r'<body><div style="display:none[^>]*>Now &lt;cheaper&gt; &amp; so', content(message, "html"))

    @pytest.mark.parametrize(
        "text", ["short\n", "Grüße\n", "привет, мир\n", "x" * 2000 + "\n", "a\r\nb\rc\n", "tab\tnul\0\n", "", "\n"]
    )
    def test_content_is_in_seven_bits_with_short_lines_and_reads_as_it_was(self, text: str) -> None:
        message = letter(text=text, html=f"<p>{text}</p>")
        wire = to_wire(message)
        assert wire.isascii()
        assert b"\0" not in wire
        assert max(map(len, wire.split(b"\r\n"))) <= 78
        assert content(message, "plain").rstrip("\n") == text.replace("\r\n", "\n").replace("\r", "\n").rstrip("\n")


class TestFiles:
    def test_a_path_is_read_and_called_as_the_file_is(self, tmp_path: Path) -> None:
        (tmp_path / "Résumé, 2026.docx").write_bytes(b"PK\x03\x04")
        [part] = read(letter(attachments=[tmp_path / "Résumé, 2026.docx"])).iter_attachments()
        assert part.get_filename() == "Résumé, 2026.docx"
        assert part.get_content_type().endswith("wordprocessingml.document")
        assert part.get_content() == b"PK\x03\x04"

    def test_a_media_type_may_have_parameters(self) -> None:
        [part] = read(letter(attachments=[("i.ics", b"BEGIN:VCALENDAR", "text/calendar; method=REQUEST")])).iter_attachments()
        assert dict(part["Content-Type"].params) == {"method": "REQUEST", "charset": "utf-8"}

    def test_text_that_is_no_utf_8_gets_no_character_set(self) -> None:
        [part] = read(letter(attachments=[("a.txt", b"\xe4\n")])).iter_attachments()
        assert (part.get_content_type(), part.get_param("charset")) == ("text/plain", None)
        assert part.get_payload(decode=True) == b"\xe4\n"

    @pytest.mark.parametrize("form", ["message", "octets"])
    def test_a_message_is_attached_as_a_message(self, form: str) -> None:
        inner = letter(subject="Inner", html=SHOWN, inline={"logo": PNG})
        attached: Any = inner if form == "message" else ("inner.eml", to_wire(inner))
        message = letter(attachments=[attached])
        assert tree(message)[:4] == ["multipart/mixed", "text/plain", "message/rfc822", "multipart/related"]
        [part] = read(message).iter_attachments()
        assert part.get_content()["Subject"] == "Inner"

    def test_a_compressed_file_is_of_the_kind_of_its_compression(self) -> None:
        [part] = read(letter(attachments=[("logs.tar.gz", b"\x1f\x8b")])).iter_attachments()
        assert part.get_content_type() == "application/gzip"

    def test_what_a_file_has_in_it_cannot_end_its_part(self) -> None:
        first = to_wire(letter(attachments=[("a.txt", b"x")]))
        boundary = re.findall(rb'boundary="([^"]+)"', first)[0]
        message = letter(text=f"--{boundary.decode()}--\n", attachments=[("a.txt", b"x")])
        assert tree(message) == ["multipart/mixed", "text/plain", "text/plain"]


class TestFields:
    @settings(max_examples=60)
    @given(subject=line)
    def test_every_subject_reads_as_it_was_written(self, subject: str) -> None:
        wire = to_wire(letter(subject=subject))
        section = headers.header_section(wire)
        assert section.isascii()
        assert max(map(len, section.split(b"\r\n"))) <= 998
        assert [name for name, _ in headers.fields(section)][:4] == [b"From", b"To", b"Subject", b"MIME-Version"]
        assert str(message_from_bytes(wire, policy=default)["Subject"]) == subject

    @settings(max_examples=60)
    @given(names=st.lists(line, max_size=4))
    def test_every_name_reads_as_it_was_written_and_its_address_stays(self, names: list[str]) -> None:
        mailboxes = [(name.replace("@", ""), f"b{at}@example.net") for at, name in enumerate(names)]
        message = letter(to=mailboxes or "bob@example.net")
        assert envelope_of(to_wire(message))[1] == (tuple(spec for _, spec in mailboxes) or ("bob@example.net",))
        found = getaddresses([headers.text(headers.header_section(to_wire(message)), b"to")])
        for (name, _), (phrase, _) in zip(mailboxes, found, strict=False):
            assert decoded(phrase).split() == name.split()

    @pytest.mark.parametrize("text", ["=?utf-8?q?hello=0ABcc=3A_e=40example.org?=", "ж" * 300, "Grüße " * 40])
    def test_no_encoded_word_is_long_and_text_that_looks_like_one_stays_text(self, text: str) -> None:
        section = headers.header_section(to_wire(letter(subject=text, sender=(text, "ann@example.org"))))
        words = re.findall(rb"=\?utf-8\?\S+", section)
        assert words
        assert max(map(len, words)) <= 75  # RFC 2047 §2
        assert max(map(len, section.split(b"\r\n"))) <= 76
        assert decoded(headers.text(section, b"subject")).strip() == text.strip()
        assert not headers.has(section, b"bcc")

    def test_the_same_arguments_give_the_same_octets(self) -> None:
        message = letter(html=SHOWN, inline={"logo": PNG}, attachments=[("a.pdf", b"%PDF-")])
        again = letter(html=SHOWN, inline={"logo": PNG}, attachments=[("a.pdf", b"%PDF-")])
        assert to_wire(message) == to_wire(message) == to_wire(again)
        pickled = pickle.loads(pickle.dumps(message))  # noqa: S301
        assert to_wire(copy.deepcopy(message)) == to_wire(pickled) == to_wire(message)

    def test_mailboxes_are_given_in_four_forms(self) -> None:
        message = letter(to=["a@example.net", "Bo B Bee <b@example.net>", ("C, Dr.", "c@example.net")])
        assert read(message)["To"] == 'a@example.net, Bo B Bee <b@example.net>, "C, Dr." <c@example.net>'
        assert str(letter(to=Address("D", addr_spec="d@example.net"))["To"]) == "D <d@example.net>"
        assert str(letter(to='"E, \\"e\\"" <e@example.net>')["To"].addresses[0].display_name) == 'E, "e"'

    @pytest.mark.parametrize("nobody", [None, (), []])
    def test_nobody_may_be_named_in_a_field_of_recipients(self, nobody: Any) -> None:
        message = letter(to=nobody, cc=nobody, bcc="d@example.net", reply_to=nobody)
        assert envelope_of(message) == ("ann@example.org", ("d@example.net",))
        assert not {"To", "Cc", "Reply-To"} & set(message.keys())

    def test_blind_copies_are_recipients_and_not_on_the_wire(self) -> None:
        message = letter(cc=["c@example.net"], bcc=["d@example.net"], reply_to="e@example.org")
        assert envelope_of(message) == ("ann@example.org", ("bob@example.net", "c@example.net", "d@example.net"))
        assert b"d@example.net" not in to_wire(message)
        assert read(message)["Reply-To"] == "e@example.org"

    def test_a_domain_beyond_ascii_is_in_a_labels_and_a_local_part_makes_the_header_utf_8(self) -> None:
        assert to_wire(letter(to=("Jörg", "joerg@bücher.example"))).isascii()
        message = letter(to=("Jörg", "jörg@bücher.example"))
        assert "<jörg@bücher.example>".encode() in to_wire(message)
        assert "jörg@bücher.example".encode() in message.as_bytes()

    def test_leaving_a_list_with_one_click_has_both_fields(self) -> None:
        message = read(letter(unsubscribe=["https://example.org/u?a=1&b=2", "mailto:u@example.org"], one_click=True))
        assert message["List-Unsubscribe"] == "<https://example.org/u?a=1&b=2>, <mailto:u@example.org>"
        assert message["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
        assert letter(unsubscribe="mailto:u@example.org")["List-Unsubscribe-Post"] is None

    def test_other_fields_are_text(self) -> None:
        message = read(letter(headers={"In-Reply-To": "<1@example.org>", "X-Größe".replace("öß", "oess"): "groß"}))
        assert (message["In-Reply-To"], message["X-Groesse"]) == ("<1@example.org>", "groß")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"sender": ""}, "sender"),
        ({"sender": "ann"}, "'ann' is no address"),
        ({"to": ""}, "to: '' is no address"),
        ({"to": ["bob@example.net", ""]}, "to: '' is no address"),
        ({"to": ("Bob", "")}, "to: '' is no address"),
        ({"cc": ""}, "cc: '' is no address"),
        ({"bcc": " "}, "bcc: '' is no address"),
        ({"reply_to": ""}, "reply_to: '' is no address"),
        ({"to": "a@example.net\nBcc: e@example.net"}, "no address"),
        ({"to": ("Bob\r\nBcc: e", "a@example.net")}, "to: '\\\\r'"),
        ({"to": "a@example.net, b@example.net"}, "no address"),
        ({"to": "a@example.net, B <b@example.net>"}, "not one mailbox"),
        ({"to": ("a@example.net", "b@example.net")}, "as a list"),
        ({"to": 3}, "no mailbox"),
        ({"cc": [b"a@example.net"]}, "no mailbox"),
        ({"subject": "Hi\n"}, "subject"),
        ({"subject": "Hi\u2028there"}, "subject"),
        ({"subject": "\udc80"}, "subject"),
        ({"headers": {"X-A": "1\r\nX-B: 2"}}, "X-A"),
        ({"headers": {"X-A:\r\nX-B": "2"}}, "no name"),
        ({"headers": {"Bcc": "e@example.net"}}, "other arguments"),
        ({"headers": {"content-type": "text/html"}}, "other arguments"),
        ({"attachments": [("a\r\nX: 1", b"")]}, "attachments"),
        ({"attachments": [("a", b"", "text/plain\r\nX: 1")]}, "attachments"),
        ({"attachments": [("a", b"", "nonsense")]}, "no media type"),
        ({"attachments": [("a", b"", "multipart/mixed")]}, "made of parts"),
        ({"attachments": ["a.txt"]}, "give a Path"),
        ({"text": None}, "text, or html"),
        ({"inline": {"logo": PNG}}, "give html"),
        ({"preview": "now"}, "give html"),
        ({"html": "<p>", "preview": "a\nb"}, "preview"),
        ({"html": "<p>", "inline": {"logo": PNG}}, "does not show"),
        ({"html": SHOWN}, "not among the images"),
        ({"html": SHOWN, "inline": {"logo": b"???"}}, "kind of image"),
        ({"html": SHOWN, "inline": {"lo>go": PNG}}, "no name for an image"),
        ({"unsubscribe": "https://example.org/a,b"}, "%2C"),
        ({"unsubscribe": "https://example.org/>\r\nX: 1"}, "unsubscribe"),
        ({"unsubscribe": "http://example.org/", "one_click": True}, "one_click"),
        ({"one_click": True}, "one_click"),
    ],
)
def test_what_cannot_be_is_a_value_error_that_says_what(given: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        letter(**given)


@pytest.mark.parametrize("wrong", [{"inline": {"logo": "logo.png"}}, {"attachments": Path("one.txt")}])
def test_what_is_no_image_and_no_list_of_files_is_told_of(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"^(inline|attachments): "):
        compose(sender="a@example.org", to="b@example.net", subject="x", html='<img src="cid:logo">', **wrong)
