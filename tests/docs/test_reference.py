"""docs/reference.md is what the code says."""

from __future__ import annotations

import ast

from tests.docs.reference import PAGE, attributes, call, page, parameters, prose

import waymail
from waymail.mail.outcome import Delivered


def test_the_page_is_what_make_reference_writes() -> None:
    assert PAGE.read_text() == page(), "`make reference` writes it anew"


def test_every_public_name_is_on_the_page() -> None:
    headings = {line.removeprefix("### waymail.") for line in page().splitlines() if line.startswith("### waymail.")}
    assert set(waymail.__all__) <= headings


def test_a_signature_is_shown_as_it_is_spelled() -> None:
    function = ast.parse("def f(self, a, /, b: int = 2, *, c: str = 'x,y', d, **more: int) -> None: ...").body[0]
    assert isinstance(function, ast.FunctionDef)
    assert list(parameters(function.args)) == ["a", "/", "b: int = 2", "*", "c: str = 'x,y'", "d", "**more: int"]
    assert call("x.f", function, " -> int") == ["x.f(a, /, b: int = 2, *, c: str = 'x,y', d, **more: int) -> int"]


def test_the_fields_of_a_value_have_their_defaults() -> None:
    assert "place: str = ''" in list(attributes(Delivered))


def test_text_stays_text() -> None:
    docstring = "Says <hello> to `<all>`.\n\n        code <stays>\n\n    The *end*.\n"
    assert prose(docstring) == "Says \\<hello> to `<all>`.\n\n    code <stays>\n\nThe \\*end\\*."
