"""The SMTP scripts of curl's test suite against our client: the same server, the same order, the same octets on the wire.

Each script says what a server offers and answers, what is to be sent, and what curl then says. `DIFFERS` lists where we rightly
say something else, with what that is; `NOT_OURS` what a mail client needs no command for. Everything else is compared as it
stands, but for the name in EHLO, and for AUTH: a response is the same whether it came with the command or after an empty
challenge (RFC 4954 §4: we send it at once, the script decides it for curl).
"""

from __future__ import annotations

import base64
import re
import shlex
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote_to_bytes

import pytest

from waymail.client import url as urls
from waymail.client.asynchronous import AsyncIo
from waymail.client.attempt import Attempts
from waymail.client.errors import SMTPError
from waymail.client.fit import spelling
from waymail.client.session import Contexts, open_session
from waymail.client.target import Credentials, Host, NextHop, Tls
from waymail.client.transaction import Message, Timeouts
from waymail.mail.envelope import NO_OPTIONS, Body, Options
from waymail.mail.message import to_wire
from waymail.testing.peer import Peer
from waymail.wire.commands import Help, Noop, Reset, Verify

SUITE = Path(__file__).parents[1] / "suites/smtp/curl"
SCRIPTS = sorted(path.name.removeprefix("test") for path in SUITE.glob("test*"))
QUICK = Timeouts(connect=5, tls=5, greeting=5, command=5, data=5, block=5, final=5, quit=1)

NOT_OURS = {
    "920": "LOGIN was never given an initial response, and gets none from us",
    "927": "EXPN is no command of ours",
    "969": "EXPN is no command of ours",
    "938": "an identity to act for, other than one's own, cannot be given",
    "953": "an identity to act for, other than one's own, cannot be given",
    "954": "an identity to act for, other than one's own, cannot be given",
}

Words = tuple[str, ...]

HELLO: Words = ("EHLO",)
BYE: Words = ("QUIT",)
NOTHING = [HELLO, BYE]
ONE: list[Words] = [("RCPT", "recipient@example.com"), ("DATA",), BYE]

# What we say instead, and why.
DIFFERS: dict[str, tuple[str, list[Words]]] = {
    "2110": ("the sender is refused before anything is said, and the connection is dropped", [HELLO]),
    "906": ("NTLM is not known here, and without login nothing is sent", NOTHING),
    "907": ("DIGEST-MD5 is historic (RFC 6331), and without login nothing is sent", NOTHING),
    "913": ("a message that is known to be too large is not offered (RFC 1870 §6.1)", NOTHING),
    "918": (
        "the recipients that are accepted get the message, though others are refused (RFC 5321 §3.3)",
        [
            HELLO,
            ("MAIL", "sender@example.com"),
            *(("RCPT", one) for one in ("recipient.one@example.com", "invalid", "recipient.three@example.com", "sTrAnGe")),
            ("RCPT", "recipient.five@example.com"),
            ("DATA",),
            BYE,
        ],
    ),
    "921": ("NTLM is not known here, and without login nothing is sent", NOTHING),
    "932": ("a server whose challenge is no base64 is not talked to any longer", [HELLO, ("AUTH", "CRAM-MD5")]),
    "933": ("NTLM is not known here, and without login nothing is sent", NOTHING),
    "934": ("DIGEST-MD5 is historic (RFC 6331), and without login nothing is sent", NOTHING),
    "935": (
        "where a password may be sent at all, PLAIN comes before CRAM-MD5",
        [HELLO, ("AUTH", "PLAIN", "\0user\0secret"), ("MAIL", "sender@example.com"), *ONE],
    ),
    "936": (
        "NTLM is not known here: PLAIN is the first choice",
        [HELLO, ("AUTH", "PLAIN", "\0user\0secret"), ("MAIL", "sender@example.com"), *ONE],
    ),
    "937": (
        "DIGEST-MD5 is historic (RFC 6331): PLAIN is the first choice",
        [HELLO, ("AUTH", "PLAIN", "\0user\0secret"), ("MAIL", "sender@example.com"), *ONE],
    ),
    "939": ("who gives a password wants to be logged in", [HELLO, ("HELO",), BYE]),
    "940": ("who gives a password wants to be logged in", NOTHING),
    "955": ("an address beyond ASCII is not sent without SMTPUTF8 (RFC 6531 §3.2)", NOTHING),
    "956": ("an address beyond ASCII is not sent without SMTPUTF8 (RFC 6531 §3.2)", NOTHING),
    "957": ("an argument beyond ASCII is not sent without SMTPUTF8 (RFC 6531 §3.7.4.2)", NOTHING),
    "958": ("an argument beyond ASCII is not sent without SMTPUTF8 (RFC 6531 §3.7.4.2)", NOTHING),
    "959": ("a U-label is written as A-label, always", [HELLO, ("MAIL", "sender@xn--4cab6c.se"), BYE]),
    "960": (
        "a U-label is written as A-label, always",
        [HELLO, ("MAIL", "sender@example.com"), ("RCPT", "recipient@xn--4cab6c.se"), ("DATA",), BYE],
    ),
    "961": ("a U-label is written as A-label, always", [HELLO, ("VRFY", "user@xn--4cab6c.se"), BYE]),
    "965": (
        "with SMTPUTF8 a domain is sent as it was given",
        [HELLO, ("MAIL", "Avsändaren@åäö.se", "SMTPUTF8"), *ONE],
    ),
    "966": (
        "with SMTPUTF8 a domain is sent as it was given",
        [HELLO, ("MAIL", "sender@example.com", "SMTPUTF8"), ("RCPT", "Stödmottagaren@åäö.se"), ("DATA",), BYE],
    ),
    "967": ("with SMTPUTF8 a domain is sent as it was given", [HELLO, ("VRFY", "Användaren@åäö.se", "SMTPUTF8"), BYE]),
}


# Where the content arrives in another form than curl sends it, and why.
DIFFERENT_CONTENT = {
    "900": "the last line ends in a bare LF: for us that is a line end, curl sends it and ends the line behind it"
}


# --- reading a script


def expanded(text: str) -> str:
    """The script's macros, as curl's own test program writes them out."""
    text = re.sub(r"%repeat\[(\d+) x (.*?)\]%", lambda m: unquote_to_bytes(m[2]).decode() * int(m[1]), text, flags=re.DOTALL)
    text = re.sub(r"%hex\[(.*?)\]hex%", lambda m: unquote_to_bytes(m[1]).decode(), text)
    text = re.sub(r"%b64\[(.*?)\]b64%", lambda m: base64.b64encode(unquote_to_bytes(m[1])).decode(), text, flags=re.DOTALL)
    return text.replace("%CR\n", "\n").replace("%LT", "<").replace("%GT", ">").replace("%HOSTIP", "127.0.0.1")


@dataclass
class Script:
    """A script as it was read; `port` is known when the server listens."""

    number: str
    raw: str
    port: int = 0

    @property
    def text(self) -> str:
        return self.raw.replace("%SMTPPORT", str(self.port)).replace("%TESTNUMBER", self.number)

    @property
    def arguments(self) -> list[str]:
        return shlex.split(expanded(self.section("command") or ""))

    def section(self, name: str) -> str | None:
        found = re.search(rf"<{name}(?: [^>]*)?>\n(.*?)</{name}>", self.text, re.DOTALL)
        return found[1] if found else None

    def given(self, option: str) -> list[str]:
        pairs = zip(self.arguments, self.arguments[1:], strict=False)
        return [value for name, value in pairs if name in option.split("|")]

    @property
    def server(self) -> list[str]:
        return expanded(self.section("servercmd") or "").splitlines()

    @property
    def answers(self) -> dict[str, bytes]:
        """What the server answers, by command or response."""
        lines = [re.fullmatch(r'REPLY (?:"([^"]*)"|(\S*)) (.*)', line) for line in self.server]
        return {m[1] or m[2] or "": m[3].replace("\\r\\n", "\r\n").encode() + b"\r\n" for m in lines if m is not None}

    @property
    def content(self) -> bytes:
        text = next((found for name in ("stdin", "file", "file1") if (found := self.section(name)) is not None), "")
        text = expanded(text)
        if 'nonewline="yes"' in self.text:
            text = text.removesuffix("\n")
        return to_wire(text.encode())

    @property
    def upload(self) -> bytes | None:
        """What curl writes behind DATA, stuffing and end taken off."""
        found = self.section("upload")
        if found is None:
            return None
        octets = b"\r\n" + to_wire(expanded(found).encode())
        return octets.removesuffix(b".\r\n").replace(b"\r\n.", b"\r\n")[2:]

    @property
    def protocol(self) -> list[str]:
        return expanded(self.section("protocol") or "").splitlines()


def script(number: str) -> Script:
    return Script(number, (SUITE / f"test{number}").read_text(encoding="utf-8"))


# --- the server that it describes


def rules(found: Script) -> list[tuple[str, Callable[[bytes], bytes | None]]]:
    def answer(line: bytes) -> bytes | None:
        words, answers = line.decode().split(" "), found.answers
        if words[0] == "AUTH" and len(words) > 2:
            response = "" if words[2] == "=" else words[2]
            if response in answers:
                return answers[response]
        for key in (line.decode(), " ".join(words[:2]), words[0]):
            if key in answers:
                return answers[key]
        path = re.match(rb"(?:MAIL FROM|RCPT TO):<(.+)>", line)
        if path is not None and b"@" not in path[1]:
            return b"501 Invalid address\r\n"
        return None

    return [("", answer)]


def extensions(found: Script) -> list[str]:
    offered = []
    for line in found.server:
        word, _, rest = line.partition(" ")
        if word == "CAPA":
            offered += [name.upper() for name in shlex.split(rest)]
        elif word == "AUTH":
            offered.append(line)
    return offered


# --- what was said, in comparable form


def comparable(lines: Sequence[str]) -> list[Words]:
    said: list[Words] = []
    for line in lines:
        words = line.split(" ")
        verb = words[0].upper()
        path = re.match(r"(?:MAIL FROM|RCPT TO):<(.*)>(.*)", line)
        if path is not None:
            said.append((verb, path[1], *sorted(path[2].split())))
        elif verb in ("EHLO", "HELO"):
            said.append((verb,))
        elif verb == "AUTH":
            said.append((verb, words[1], *(response(word) for word in words[2:])))
        elif verb in ("VRFY", "DATA", "QUIT", "STARTTLS", "NOOP", "RSET", "HELP"):
            said.append((verb, *words[1:]))
        else:
            said[-1] += (response(line),)
    return said


def response(word: str) -> str:
    return word if word == "*" else base64.b64decode("" if word == "=" else word).decode("latin-1")


# --- what the program does


def credentials(found: Script) -> Credentials | None:
    user, _, password = next(iter(found.given("-u")), "").partition(":")
    token = next(iter(found.given("--oauth2-bearer")), "")
    mechanism = next(iter(found.given("--login-options")), "").removeprefix("AUTH=")
    in_url = re.search(r"smtp://([^;@/]*);AUTH=(\w+)@", " ".join(found.arguments))
    if in_url is not None:
        user, mechanism = in_url[1], in_url[2]
    if not (user or token or mechanism):
        return None
    return Credentials(user, password, token, mechanism, cleartext=True)


async def send(found: Script, hop: NextHop, contexts: Contexts) -> None:
    sender = next(iter(found.given("--mail-from")), "")
    if "-K" in found.arguments:
        sender = "sender@example.com\r\nDATA"
    content = found.content
    recipients = found.given("--mail-rcpt")
    utf8 = not all(map(str.isascii, (sender, *recipients)))
    message = Message(sender, Body(content, len(content)), options=Options(smtputf8=True) if utf8 else NO_OPTIONS)
    attempts = Attempts(AsyncIo(), hello_name="client.example", contexts=contexts, timeouts=QUICK)
    try:
        await attempts.make(hop, message, recipients)
    except ValueError:
        assert "\n" in sender
    finally:
        await attempts.close()


async def ask(found: Script, hop: NextHop) -> None:
    """What is no message: one command."""
    connection = await open_session(AsyncIo(), hop.hosts[0], tls=Tls.OFF, hello_name="client.example", timeouts=QUICK)
    request = next(iter(found.given("-X|--request")), "").upper()
    names = found.given("--mail-rcpt")
    utf8 = connection.offer.utf8 and not all(map(str.isascii, names))
    try:
        if names:
            await connection.ask(5, Verify(spelling(names[0], utf8=utf8) or names[0], utf8))
        else:
            await connection.ask(5, Noop() if request == "NOOP" else Reset() if request == "RSET" else Help())
    except ValueError:
        assert not names[0].isascii()
    await connection.quit()


@pytest.mark.parametrize("number", [number for number in SCRIPTS if number not in NOT_OURS])
async def test_the_client_says_what_the_script_expects(number: str, server_tls: ssl.SSLContext, trusting: ssl.SSLContext) -> None:
    found = script(number)
    is_implicit = "smtps://" in found.text
    tls = server_tls if is_implicit or "starttls" in found.text else None
    offered = [name for name in extensions(found) if name != "STARTTLS"]
    async with Peer(rules(found), extensions=offered, tls=tls, implicit_tls=is_implicit) as peer:
        found.port = peer.port
        demand = Tls.IMPLICIT if is_implicit else Tls.REQUIRED if tls else Tls.OFF
        host = Host("localhost" if is_implicit else "127.0.0.1", peer.port, ("127.0.0.1",))
        hop = NextHop("curl", (host,), demand, credentials(found))
        if number == "931":
            with pytest.raises(urls.UrlError):
                urls.parse(f"smtp://127.0.0.1:{peer.port}/%0d%0a/931".replace("%0d%0a", "\r\n"))
        elif "-T" in found.arguments:
            await send(found, hop, Contexts(trusting))
        else:
            await ask(found, hop)
    said = comparable([line.decode() for line in peer.commands])
    reason, expected = DIFFERS.get(number, ("", comparable(found.protocol)))
    assert said == expected, reason
    if ("DATA",) in expected:
        upload = found.upload if number not in DIFFERENT_CONTENT else found.content
        assert [message.content for message in peer.messages] == [found.content if upload is None else upload]
    else:
        assert not peer.messages


def test_every_script_is_run_or_has_a_reason_why_not() -> None:
    assert len(SCRIPTS) == 80
    assert set(NOT_OURS) | set(DIFFERS) | set(DIFFERENT_CONTENT) <= set(SCRIPTS)
    assert not set(NOT_OURS) & set(DIFFERS)


@pytest.mark.parametrize("number", sorted(DIFFERS))
def test_where_we_differ_from_the_script_we_really_do(number: str) -> None:
    assert DIFFERS[number][1] != comparable(script(number).protocol)


async def test_a_refused_login_is_an_error_of_its_own(trusting: ssl.SSLContext) -> None:
    """Script 948: the server explains its refusal of a token in a challenge."""
    found = script("948")
    async with Peer(rules(found), extensions=extensions(found)) as peer:
        found.port = peer.port
        hop = NextHop("curl", (Host("127.0.0.1", peer.port),), Tls.OFF, credentials(found))
        attempts = Attempts(AsyncIo(), hello_name="client.example", timeouts=QUICK)
        results = await attempts.make(hop, Message("a@example.com", Body(b"", 0)), ["b@example.com"])
        await attempts.close()
    trouble = results["b@example.com"].trouble
    assert isinstance(trouble, SMTPError)
    assert trouble.reply is not None
    assert trouble.reply.code == 535
