"""What can be the program of a server, and what is said to what cannot."""

from __future__ import annotations

from typing import Any

import pytest

import waymail
from waymail.embedded.program import hooks_of


class Base(waymail.Policy):
    async def rcpt(self, rcpt: Any) -> None: ...

    async def message(self, message: Any) -> None: ...


class Plain:
    def message(self, mail: waymail.IncomingMail) -> None: ...

    def connect(self, client: Any) -> None: ...


class Handler:
    async def handle(self, mail: waymail.IncomingMail) -> None: ...


class Called:
    async def __call__(self, mail: waymail.IncomingMail) -> None: ...


async def function(mail: waymail.IncomingMail) -> None: ...


@pytest.mark.parametrize(
    ("program", "hooks"),
    [
        (Base(), {"rcpt", "message"}),
        (Plain(), {"connect", "message"}),
        (Handler(), {"message"}),
        (Called(), {"message"}),
        (function, {"message"}),
        (lambda mail: None, {"message"}),
    ],
)
def test_a_policy_an_object_and_a_function_are_programs(program: object, hooks: set[str]) -> None:
    assert set(hooks_of(program)) == hooks


def test_what_takes_no_mail_is_no_program_and_the_error_says_what_is_missing() -> None:
    with pytest.raises(TypeError, match=r"give an instance: Plain\(\)"):
        waymail.Server(Plain)
    with pytest.raises(TypeError, match=r"no method message\(self, mail\)"):
        waymail.Server(waymail.Policy())
    with pytest.raises(TypeError, match=r"no method message\(self, mail\)"):
        waymail.Server(None)
