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


def program(base: type = object, /, **names: Any) -> Any:
    """One that takes mail, and has these names besides."""
    return type("Ours", (base,), {"message": lambda self, mail: None} | names)()


def anything(*_: Any) -> None: ...


@pytest.mark.parametrize("base", [object, waymail.Policy])
@pytest.mark.parametrize(
    ("name", "instead"),
    [
        ("handle_RCPT", r"write rcpt\(self, rcpt\)"),
        ("handle_MAIL", r"write mail\(self, mail\)"),
        ("handle_DATA", r"write message\(self, mail\)"),
        ("handle_PROXY", r"write connect\(self, client\)"),
        ("handle_EHLO", r"mail\.client\.helo"),
        ("handle_VRFY", "leave it out"),
        ("handle_exception", "the log has"),
        ("auth_PLAIN", r"def users\(name, password\)"),
        ("authenticator", r"def users\(name, password\)"),
    ],
)
def test_a_hook_of_aiosmtpd_that_was_left_is_named_with_what_to_write_instead(base: type, name: str, instead: str) -> None:
    with pytest.raises(TypeError, match=rf"{name} \(.*{instead}"):
        waymail.Server(program(base, **{name: anything}))


def test_a_handler_of_aiosmtpd_is_told_of_all_its_hooks_at_once() -> None:
    left = type("Left", (), {"handle_DATA": anything, "handle_RCPT": anything})
    with pytest.raises(TypeError, match=r"handle_DATA \(write message.*handle_RCPT \(write rcpt"):
        waymail.Server(left())


@pytest.mark.parametrize("base", [object, waymail.Policy])
@pytest.mark.parametrize(
    ("name", "hook"),
    [
        *(("rctp", "rcpt"), ("rcp", "rcpt"), ("rcppt", "rcpt"), ("rcbt", "rcpt"), ("RCPT", "rcpt"), ("crpt", "rcpt")),
        *(("mial", "mail"), ("maill", "mail"), ("conect", "connect"), ("connetc", "connect")),
    ],
)
def test_a_slip_in_the_name_of_a_hook_is_noticed(base: type, name: str, hook: str) -> None:
    with pytest.raises(TypeError, match=f"method {name}, .* did you mean {hook}\\?"):
        waymail.Server(program(base, **{name: anything}))


def test_a_slip_in_the_name_of_message_is_noticed_where_there_is_none() -> None:
    class Slipped:
        def mesage(self, mail: Any) -> None: ...

    with pytest.raises(TypeError, match=r"did you mean message\?"):
        waymail.Server(Slipped())


@pytest.mark.parametrize(
    "name",
    [
        *(
            "message_id",
            "messages",
            "massage",
            "connection",
            "connected",
            "disconnect",
            "reconnect",
            "mailbox",
            "mailer",
            "mails",
        ),
        *(
            "email",
            "main",
            "fail",
            "recipient",
            "recipients",
            "rcpts",
            "rcpt_to",
            "script",
            "handle_bounce",
            "auth_backend",
            "_rctp",
        ),
    ],
)
def test_methods_for_the_programs_own_use_may_be_called_anything_else(name: str) -> None:
    assert set(hooks_of(program(**{name: anything}))) == {"message"}


def test_a_name_is_no_slip_where_the_hook_is_there_or_nothing_could_be_called() -> None:
    assert set(hooks_of(program(rcpt=anything, rcpd=anything))) == {"rcpt", "message"}
    assert set(hooks_of(program(Mail=waymail.Mail, rcpd=7))) == {"message"}
