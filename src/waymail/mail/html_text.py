"""What a composed message needs to know of its HTML: how it reads as plain text, and where its body begins.

No HTML is refused and none is judged; what is broken is read as far as the standard library's parser can.
"""

from __future__ import annotations

import re
from html import escape
from html.parser import HTMLParser

_APART = frozenset(("blockquote", "dl", "figure", "h1", "h2", "h3", "h4", "h5", "h6", "ol", "p", "pre", "table", "ul"))
_BLOCKS = _APART | frozenset(
    ("address", "article", "aside", "dd", "div", "dt", "fieldset", "figcaption", "footer", "form", "header")
)
_BLOCKS |= frozenset(("hr", "li", "main", "nav", "section", "tr"))
_UNSEEN = frozenset(("head", "script", "style", "template", "title"))
# Without it, programs that show mail fill up a short preview with what the message says next.
_PADDING = "&#847;&zwnj;&nbsp;" * 40
_HIDDEN = "display:none;max-height:0;max-width:0;overflow:hidden;opacity:0;font-size:1px;line-height:1px;mso-hide:all"


def as_text(html: str) -> str:
    """The HTML as plain text: paragraphs with an empty line between them, "- " before the items of lists, the target of a link
    behind its text, an image's `alt`. Nothing is wrapped."""
    reader = _Reader()
    reader.feed(html)
    reader.close()
    lines = [re.sub(r"[ \t\r\f]+", " ", line).strip() for line in "".join(reader.pieces).replace("\xa0", " ").split("\n")]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip("\n") + "\n"


def with_preview(html: str, preview: str) -> str:
    """The HTML with a text at its beginning that is not shown in it: what lists of messages show behind the subject."""
    finder = _BodyFinder()
    finder.feed(html)
    finder.close()
    hidden = f'<div style="{_HIDDEN}">{escape(preview)}{_PADDING}</div>'
    return html[: finder.start] + hidden + html[finder.start :]


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.pieces: list[str] = []
        self._unseen: list[str] = []
        self._links: list[tuple[str, int]] = []
        self._verbatim = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "body":
            self._unseen.clear()  # a head need not be closed
        elif tag in _UNSEEN:
            self._unseen.append(tag)
        if self._unseen:
            return
        given = {name: value or "" for name, value in attrs}
        self._break(tag)
        self._verbatim += tag == "pre"
        match tag:
            case "br":
                self.pieces.append("\n")
            case "hr":
                self.pieces.append("--------\n")
            case "li":
                self.pieces.append("- ")
            case "td" | "th":
                self.pieces.append(" ")
            case "img":
                self.pieces.append(given.get("alt", ""))
            case "a":
                self._links.append((given.get("href", ""), len(self.pieces)))

    def handle_endtag(self, tag: str) -> None:
        if tag in self._unseen:
            del self._unseen[self._unseen.index(tag) :]
        if self._unseen:
            return
        if tag == "a" and self._links:
            href, start = self._links.pop()
            said = "".join(self.pieces[start:]).strip()
            if href.startswith(("http:", "https:", "mailto:")) and said not in (href, href.removeprefix("mailto:")):
                self.pieces.append(f" ({href})" if said else href)
        self._verbatim -= tag == "pre" and self._verbatim > 0
        self._break(tag)

    def handle_data(self, data: str) -> None:
        if not self._unseen:
            self.pieces.append(data if self._verbatim else re.sub(r"[ \t\r\n\f]+", " ", data))

    def _break(self, tag: str) -> None:
        if tag in _BLOCKS and self.pieces:
            ended = self.pieces[-1].endswith("\n")
            self.pieces.append("\n\n" if tag in _APART else "" if ended else "\n")


class _BodyFinder(HTMLParser):
    """Where the body's content begins: behind `<body>`, else behind the head, else at the first octet that is no declaration. A
    tag in a comment, as for old programs by Microsoft, is none."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.start = 0
        self._html = ""
        self._starts = [0]
        self._found = False

    def feed(self, data: str) -> None:
        self._html = data
        self._starts = [0, *(found.end() for found in re.finditer("\n", data))]
        super().feed(data)

    def _here(self) -> int:
        line, column = self.getpos()
        return self._starts[line - 1] + column

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if not self._found and tag in ("html", "body"):
            self.start = self._here() + len(self.get_starttag_text() or "")
            self._found = tag == "body"

    def handle_endtag(self, tag: str) -> None:
        if not self._found and tag == "head":
            self.start = self._html.find(">", self._here()) + 1

    def handle_decl(self, decl: str) -> None:
        if not self._found and not self.start:
            self.start = self._here() + len(f"<!{decl}>")
