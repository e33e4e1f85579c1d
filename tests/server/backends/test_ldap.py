"""LDAP against a scripted directory: enough BER (X.690) for bind and search. A real one is in tests/interop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from waymail.server.backends.contract import BackendUnavailable
from waymail.server.backends.ldap import Directory, LdapBackend

pytest.importorskip("ldap3")

BASE = "ou=people,dc=example,dc=org"
ANN = f"cn=ann,{BASE}"
SERVICE = "cn=mail,dc=example,dc=org"


def ber(tag: int, *parts: bytes) -> bytes:
    content = b"".join(parts)
    size = len(content)
    head = bytes([size]) if size < 128 else b"\x82" + size.to_bytes(2, "big")
    return bytes([tag]) + head + content


def parsed(octets: bytes) -> list[tuple[int, bytes]]:
    """The elements that stand one behind the other."""
    found = []
    while octets:
        tag, size, at = octets[0], octets[1], 2
        if size & 0x80:
            at += size & 0x7F
            size = int.from_bytes(octets[2:at], "big")
        found.append((tag, octets[at : at + size]))
        octets = octets[at + size :]
    return found


def result(tag: int, code: int, text: bytes = b"") -> bytes:
    return ber(tag, ber(0x0A, bytes([code])), ber(0x04), ber(0x04, text))


class Scripted:
    """Ann has a mail address and a password; two entries are called Bob."""

    def __init__(self) -> None:
        self.binds: list[tuple[str, str]] = []
        self.searches: list[bytes] = []
        self.search_code = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readexactly(2)
                size = head[1]
                if size & 0x80:
                    more = await reader.readexactly(size & 0x7F)
                    size = int.from_bytes(more, "big")
                (_, number), (tag, operation), *_ = parsed(await reader.readexactly(size))
                for answer in self.answers(tag, operation):
                    writer.write(ber(0x30, ber(0x02, number), answer))
        except asyncio.IncompleteReadError:
            writer.close()

    def answers(self, tag: int, operation: bytes) -> list[bytes]:
        if tag == 0x60:  # BindRequest
            (_, _), (_, dn), (_, password) = parsed(operation)
            self.binds.append((dn.decode(), password.decode()))
            is_right = self.binds[-1] in [(SERVICE, "service"), (ANN, "right")]
            return [result(0x61, 0 if is_right else 49)]
        if tag == 0x63:  # SearchRequest
            wanted = parsed(operation)[6][1]
            self.searches.append(wanted)
            name = parsed(wanted)[1][1]
            entries = {b"ann@example.org": [ANN], b"bob@example.org": [f"cn=bob1,{BASE}", f"cn=bob2,{BASE}"]}.get(name, [])
            mail = ber(0x30, ber(0x04, b"mail"), ber(0x31, ber(0x04, b"ann@example.org"), ber(0x04, b"info@example.org")))
            found = [ber(0x64, ber(0x04, dn.encode()), ber(0x30, mail)) for dn in entries]
            return [*found, result(0x65, self.search_code)]
        return []


@asynccontextmanager
async def directory(password: str = "service") -> AsyncIterator[tuple[LdapBackend, Scripted]]:
    scripted = Scripted()
    server = await asyncio.start_server(scripted.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    users = LdapBackend(Directory(f"ldap://127.0.0.1:{port}", BASE, SERVICE, password, starttls=False))
    async with server:
        yield users, scripted
        await users.close()


async def test_the_entry_is_searched_for_and_bound_with_the_password() -> None:
    async with directory() as (users, server):
        assert await users.verify("ann@example.org", "right") == "ann@example.org"
        assert server.binds == [(SERVICE, "service"), (ANN, "right")]
        assert users.may_send_as("ann@example.org", "info@example.org")
        assert not users.may_send_as("ann@example.org", "bob@example.org")
        assert set(users.mechanisms) == {"PLAIN", "LOGIN"}


async def test_a_wrong_password_an_unknown_user_and_an_ambiguous_one_cost_the_same_and_give_nobody() -> None:
    async with directory() as (users, server):
        for name in ("ann@example.org", "nobody@example.org", "bob@example.org"):
            before = len(server.binds), len(server.searches)
            assert await users.verify(name, "wrong") is None
            assert (len(server.binds), len(server.searches)) == (before[0] + 2, before[1] + 1)


async def test_an_empty_password_is_never_tried() -> None:
    async with directory() as (users, server):
        assert await users.verify("ann@example.org", "") is None
        assert server.binds == []


async def test_what_a_name_holds_is_no_part_of_the_filter() -> None:
    async with directory() as (users, server):
        assert await users.verify("*)(mail=ann@example.org", "right") is None
        (_, attribute), (_, value) = parsed(server.searches[0])
        assert (attribute, value) == (b"mail", b"*)(mail=ann@example.org")


async def test_a_user_of_a_token_is_looked_up_without_a_password() -> None:
    async with directory() as (users, server):
        assert await users.knows("ann@example.org")
        assert not await users.knows("nobody@example.org")
        assert {dn for dn, _ in server.binds} == {SERVICE}
        assert users.senders("nobody@example.org") is None


async def test_a_directory_that_refuses_us_or_the_search_or_is_away_is_no_wrong_password() -> None:
    async with directory("wrong") as (users, _):
        with pytest.raises(BackendUnavailable, match="refuses"):
            await users.verify("ann@example.org", "right")
    async with directory() as (users, server):
        server.search_code = 50
        with pytest.raises(BackendUnavailable, match="does not search"):
            await users.verify("ann@example.org", "right")
    away = LdapBackend(Directory("ldap://127.0.0.1:1", BASE, SERVICE, "service", starttls=False))
    with pytest.raises(BackendUnavailable, match=r"127\.0\.0\.1:1"):
        await away.verify("ann@example.org", "right")
    await away.close()
