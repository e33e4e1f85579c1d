from __future__ import annotations

import asyncio
import ssl
from email.message import EmailMessage

import pytest

import waymail
from waymail.client.attempt import Result, Stage
from waymail.client.results import result_of
from waymail.testing.peer import DROP, END, GREETING, HANG, Peer, Rule


@pytest.fixture
def message() -> EmailMessage:
    message = EmailMessage()
    message["From"] = "Ann <ann@example.com>"
    message["To"] = "bob@example.org, Carl <carl@example.org>"
    message["Bcc"] = "dora@example.org"
    message["Subject"] = "hello"
    message.set_content("hello\n.\n..\n")
    return message


def url(peer: Peer, query: str = "?tls=off") -> str:
    return f"smtp://{peer.address}{query}"


async def test_send_takes_the_envelope_from_the_fields_and_keeps_bcc_to_itself(message: EmailMessage) -> None:
    async with Peer() as peer:
        result = await waymail.send(message, url(peer))
        assert result.accepted == ("bob@example.org", "carl@example.org", "dora@example.org")
        assert result.refused == {}
        assert not result.uncertain
        assert str(result.reply) == "250 2.0.0 taken as 1"
        assert peer.messages[0].mail.startswith(b"MAIL FROM:<ann@example.com>")
        assert b"dora" not in peer.messages[0].content
        assert peer.messages[0].content.endswith(b"\r\n\r\nhello\r\n.\r\n..\r\n")
        assert peer.commands[-1] == b"QUIT"


async def test_the_caller_s_envelope_goes_before_the_fields(message: EmailMessage) -> None:
    async with Peer() as peer:
        await waymail.send(message, url(peer), sender="", recipients="eve@example.net")
        assert peer.messages[0].mail.startswith(b"MAIL FROM:<> ")
        assert peer.messages[0].rcpt == [b"RCPT TO:<eve@example.net>"]


async def test_bytes_are_sent_as_they_are_but_for_line_ends() -> None:
    async with Peer() as peer:
        await waymail.send(b"From: ann@example.com\nTo: bob@example.org\r\n\ngr\xfc\xdfe\r", url(peer))
        assert peer.messages[0].content == b"From: ann@example.com\r\nTo: bob@example.org\r\n\r\ngr\xfc\xdfe\r\n"
        assert peer.messages[0].mail.endswith(b"BODY=8BITMIME")


async def test_refused_recipients_are_no_error_while_one_is_accepted(message: EmailMessage) -> None:
    async with Peer([("RCPT TO:<bob", b"550 5.1.1 no bob\r\n"), ("RCPT TO:<carl", b"450 4.2.1 later\r\n")]) as peer:
        result = await waymail.send(message, url(peer))
        assert result.accepted == ("dora@example.org",)
        assert {address: (reply.code, reply.enhanced, reply.text) for address, reply in result.refused.items()} == {
            "bob@example.org": (550, "5.1.1", "no bob"),
            "carl@example.org": (450, "4.2.1", "later"),
        }


async def test_all_recipients_refused_is_an_error_with_each_reply(message: EmailMessage) -> None:
    async with Peer([("RCPT TO:<bob", b"450 4.2.1 later\r\n"), ("RCPT", b"550 5.1.1 no\r\n")]) as peer:
        with pytest.raises(waymail.AllRecipientsRefused) as caught:
            await waymail.send(message, url(peer))
        assert [reply.code for reply in caught.value.refused.values()] == [450, 550, 550]
        assert caught.value.reply is not None
        assert caught.value.reply.code == 550


@pytest.mark.parametrize(
    ("rule", "error", "code"),
    [
        ((GREETING.decode(), b"554 no mail here\r\n"), waymail.ConnectionFailed, 554),
        (("MAIL", b"550 5.7.1 not you\r\n"), waymail.SenderRefused, 550),
        (("DATA", b"451 4.3.0 later\r\n"), waymail.MessageRefused, 451),
        ((END.decode(), b"554 5.7.1 spam\r\n"), waymail.MessageRefused, 554),
        ((END.decode(), b"421 4.3.2 bye\r\n"), waymail.MessageRefused, 421),
        (("RCPT", b"421 4.3.2 bye\r\n"), waymail.Disconnected, 421),
        (("DATA", DROP), waymail.Disconnected, None),
        ((END.decode(), DROP), waymail.UncertainDelivery, None),
        ((GREETING.decode(), DROP), waymail.ConnectionFailed, None),
    ],
    ids=["greeting", "MAIL", "DATA", "content", "421 to content", "421", "lost", "lost after dot", "no greeting"],
)
async def test_each_failure_is_its_own_error_with_the_reply(
    message: EmailMessage, rule: Rule, error: type[waymail.SMTPError], code: int | None
) -> None:
    async with Peer([rule]) as peer:
        with pytest.raises(waymail.SMTPError) as caught:
            await waymail.send(message, url(peer))
        assert type(caught.value) is error
        assert (caught.value.reply.code if caught.value.reply else None) == code
        assert caught.value.is_temporary == (code is None or code < 500)


async def test_smtp_demands_starttls_unless_told_otherwise(message: EmailMessage, server_tls: ssl.SSLContext) -> None:
    async with Peer() as peer:
        with pytest.raises(waymail.TlsError, match="STARTTLS"):
            await waymail.send(message, url(peer, ""))
        await waymail.send(message, url(peer, ""), tls="opportunistic")
        await waymail.send(message, url(peer, ""), tls="off")
        assert len(peer.messages) == 2
    async with Peer(tls=server_tls) as peer:
        with pytest.raises(waymail.TlsError, match="certificate"):
            await waymail.send(message, url(peer, ""))
        await waymail.send(message, url(peer, ""), tls="opportunistic")
        assert [line for line in peer.commands if line == b"STARTTLS"] == [b"STARTTLS"] * 2
        assert len(peer.messages) == 1


@pytest.mark.parametrize("scheme", ["smtp", "smtps"])
async def test_with_the_right_authority_mail_goes_over_verified_tls_with_a_password(
    message: EmailMessage, server_tls: ssl.SSLContext, trusting: ssl.SSLContext, scheme: str
) -> None:
    rules = [("AUTH", b"235 2.7.0 welcome\r\n")]
    async with Peer(rules, extensions=("AUTH PLAIN",), tls=server_tls, implicit_tls=scheme == "smtps") as peer:
        result = await waymail.send(message, f"{scheme}://ann:secret@localhost:{peer.port}", tls_context=trusting)
        assert len(result.accepted) == 3
        assert len(peer.messages) == 1


async def test_a_password_is_not_sent_in_cleartext_even_where_cleartext_was_asked_for(message: EmailMessage) -> None:
    async with Peer(extensions=("AUTH PLAIN LOGIN",)) as peer:
        with pytest.raises(waymail.AuthenticationFailed):
            await waymail.send(message, f"smtp://ann:secret@{peer.address}?tls=off")
        assert not peer.messages


async def test_a_refused_password_is_an_error_with_the_reply(
    message: EmailMessage, server_tls: ssl.SSLContext, trusting: ssl.SSLContext
) -> None:
    async with Peer([("AUTH", b"535 5.7.8 no\r\n")], extensions=("AUTH PLAIN",), tls=server_tls) as peer:
        async with waymail.Client(f"smtp://localhost:{peer.port}", auth=("ann", "wrong"), tls_context=trusting) as client:
            with pytest.raises(waymail.AuthenticationFailed) as caught:
                await client.send(message)
        assert caught.value.reply is not None
        assert caught.value.reply.code == 535
        assert "wrong" not in str(caught.value)


async def test_a_client_uses_its_connections_again_and_no_more_than_it_may(message: EmailMessage) -> None:
    async with Peer() as peer:
        async with waymail.Client(url(peer), pool=waymail.Pool(max=2)) as client:
            results = await asyncio.gather(*(client.send(message) for _ in range(20)))
        assert all(len(result.accepted) == 3 for result in results)
        assert len(peer.messages) == 20
        assert peer.connections == 2
        assert peer.commands.count(b"QUIT") == 2


async def test_the_timeout_is_for_the_whole_of_a_send(message: EmailMessage) -> None:
    for moment, error in (
        ("EHLO", waymail.ConnectionFailed),
        ("RCPT", waymail.Disconnected),
        (END.decode(), waymail.UncertainDelivery),
    ):
        async with Peer([(moment, HANG)]) as peer, asyncio.timeout(5):
            with pytest.raises(error):
                await waymail.send(message, url(peer), timeout=0.1)


@pytest.mark.parametrize(
    "address",
    [
        "",
        "bob",
        "bob@example.org\r\nRCPT TO:<eve@example.net>",
        "bob@example.org> SIZE=1",
        "<bob@example.org>",
        "bo b@example.org",
        "jü\nrgen@x.org",
    ],
)
async def test_an_address_that_is_none_is_a_value_error_before_anything_is_sent(message: EmailMessage, address: str) -> None:
    async with Peer() as peer:
        with pytest.raises(ValueError, match="is no address"):
            await waymail.send(message, url(peer), recipients=[address])
        if address:
            with pytest.raises(ValueError, match="is no address"):
                await waymail.send(message, url(peer), sender=address)
        assert peer.connections == 0


@pytest.mark.parametrize("name", ["a\r\nMAIL FROM:<x@example.net>", "a b"])
async def test_a_hello_name_cannot_add_a_line(message: EmailMessage, name: str) -> None:
    async with Peer() as peer:
        quoted = name.replace("\r\n", "%0D%0A").replace(" ", "%20")
        with pytest.raises(ValueError, match=r"."):
            await waymail.send(message, url(peer, f"?tls=off&hello={quoted}"))
        assert peer.commands == []


async def test_the_hello_name_can_be_given(message: EmailMessage) -> None:
    async with Peer() as peer:
        await waymail.send(message, url(peer, "?tls=off&hello=me.example"))
        assert peer.commands[0] == b"EHLO me.example"


async def test_no_recipients_and_no_sender_are_value_errors(message: EmailMessage) -> None:
    del message["To"], message["Bcc"]
    with pytest.raises(waymail.EnvelopeProblem):
        await waymail.send(message, "smtp://localhost:1")
    with pytest.raises(ValueError, match="no recipients"):
        await waymail.send(message, "smtp://localhost:1", sender="a@example.com", recipients=[])


def test_what_contradicts_itself_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="smtps"):
        waymail.Client("smtps://localhost", tls="off")
    with pytest.raises(ValueError, match="require"):
        waymail.Client("smtp://localhost", tls="yes")  # type: ignore[arg-type]
    with pytest.raises(waymail.UrlError):
        waymail.Client("localhost")


async def test_no_server_is_a_connection_that_failed(message: EmailMessage) -> None:
    async with Peer() as peer:
        await peer.stop()
        with pytest.raises(waymail.ConnectionFailed) as caught:
            await waymail.send(message, url(peer))
        assert caught.value.is_temporary


def test_uncertain_recipients_are_named_where_others_were_accepted() -> None:
    taken = Result(Stage.CONTENT, waymail.Reply(250, "ok"))
    lost = Result(Stage.CONTENT, trouble=waymail.UncertainDelivery("lost"))
    gone = Result(Stage.SESSION, trouble=waymail.ConnectionFailed("no"))
    result = result_of({"a@x.example": taken, "b@x.example": lost, "c@x.example": gone})
    assert result.accepted == ("a@x.example",)
    assert result.uncertain == ("b@x.example",)
    assert result.refused["c@x.example"].enhanced == "4.4.2"


def test_all_that_sending_raises_has_one_base() -> None:
    public = [getattr(waymail, name) for name in waymail.__all__]
    errors = [value for value in public if isinstance(value, type) and issubclass(value, Exception)]
    outside = [error for error in errors if not issubclass(error, ValueError | waymail.StoreError)]  # an outbox's own
    assert all(issubclass(error, waymail.SMTPError) for error in outside)
    assert len(outside) >= 9


# --- ETRN (RFC 1985)


async def test_a_server_is_asked_for_what_waits_for_a_domain() -> None:
    async with Peer([("ETRN", b"253 2.0.0 3 messages\r\n")], extensions=("ETRN",)) as peer:
        async with waymail.Client(url(peer)) as client:
            reply = await client.etrn("branch.example.org", below=True)
        assert (reply.code, reply.text) == (253, "3 messages")
        assert b"ETRN @branch.example.org" in peer.commands


async def test_etrn_that_is_not_offered_or_refused_is_an_error_with_the_reply() -> None:
    async with Peer([]) as peer, waymail.Client(url(peer)) as client:
        with pytest.raises(waymail.SMTPError, match="does not offer ETRN"):
            await client.etrn("branch.example.org")
    async with Peer([("ETRN", b"459 4.7.1 not you\r\n")], extensions=("ETRN",)) as peer, waymail.Client(url(peer)) as client:
        with pytest.raises(waymail.SMTPError) as raised:
            await client.etrn("branch.example.org")
        assert raised.value.reply is not None
        assert raised.value.reply.code == 459
        with pytest.raises(ValueError, match="is no domain"):
            await client.etrn("a b")
