"""Codes for a sender who was not believed are those of the registry."""

from __future__ import annotations

import re

from waymail.senderauth import codes


def test_the_codes_are_those_of_the_registry_each_once() -> None:
    found = [code.permanent for code in vars(codes).values() if isinstance(code, codes.Code)]
    assert found == ["5.7.20", "5.7.21", "5.7.22", "5.7.23", "5.7.24", "5.7.25", "5.7.26", "5.7.29"]


def test_a_code_has_the_class_of_the_reply() -> None:
    assert codes.SPF_ERROR.replied(451) == codes.SPF_ERROR.temporary == "4.7.24"
    assert codes.SPF_ERROR.replied(550) == codes.SPF_ERROR.permanent == "5.7.24"


def test_a_text_can_be_sent_as_it_is() -> None:
    assert all(re.fullmatch(r"[ -~]+", code.text) for code in vars(codes).values() if isinstance(code, codes.Code))
