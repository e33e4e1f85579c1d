"""Delivery to an application: what is posted, and what its answer means. Over HTTPS, from a server of our own."""

from __future__ import annotations

import asyncio
import json
import ssl
import threading
import time
from base64 import b64decode, b64encode
from collections.abc import Iterator
from dataclasses import dataclass, field
from dataclasses import replace as changed
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import trustme

from waymail.delivery.webhook import ENVELOPE, Settings, WebhookTransport, judged, retry_after
from waymail.delivery.webhook_signature import BadSecret, message_id, secret, signed
from waymail.mail.envelope import Body, Envelope, Recipient
from waymail.mail.outcome import Deferred, Delivered, Failed, Outcome, Peer
from waymail.net.fetch import Fetched, Fetcher

KEY, OTHER = bytes(range(32)), b"o" * 32
NOW = 1_800_000_000.0
MESSAGE = b"From: Ann <ann@there.example>\r\nSubject: x\r\nReturn-Path: <z@z>\r\n\r\nhello\r\n"
POSTED = b"Return-Path: <ann@there.example>\r\nFrom: Ann <ann@there.example>\r\nSubject: x\r\n\r\nhello\r\n"
PEER = Peer("app.example")


@dataclass
class Request:
    path: str
    headers: dict[str, str]
    content: bytes


@dataclass
class Application:
    """Answers with `status` and `headers` after `delay` seconds, and keeps what it was sent."""

    status: int = 204
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    delay: float = 0.0
    requests: list[Request] = field(default_factory=list)
    url: str = ""
    trust: ssl.SSLContext = field(default_factory=ssl.create_default_context)


@pytest.fixture
def application() -> Iterator[Application]:
    made, authority = Application(), trustme.CA()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["content-length"]))
            made.requests.append(Request(self.path, {name.lower(): value for name, value in self.headers.items()}, content))
            time.sleep(made.delay)
            self.send_response(made.status)
            for name, value in ({"content-length": str(len(made.body))} | made.headers).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(made.body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            pass  # clients that go away are part of the tests

    server = Server(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    authority.configure_trust(made.trust)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    made.url = f"https://localhost:{server.server_port}/in"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield made
    server.shutdown()
    thread.join()
    server.server_close()


def envelope(*addresses: str, sender: str = "ann@there.example") -> Envelope:
    return Envelope("0123456789abc", sender, tuple(map(Recipient, addresses or ("a@x",))), NOW, body="8BITMIME")


async def deliver(
    application: Application, *addresses: str, content: bytes | Path = MESSAGE, trusting: bool = True, **settings: Any
) -> dict[str, Outcome]:
    made = changed(Settings(application.url, (KEY,), timeout=10.0), **settings)
    fetcher = Fetcher(context=application.trust if trusting else None, timeout=made.timeout)
    transport = WebhookTransport(made, fetcher, now=lambda: NOW)
    message = envelope(*addresses)
    size = len(content) if isinstance(content, bytes) else content.stat().st_size
    try:
        return await transport.deliver(message, Body(content, size), message.recipients)
    finally:
        await transport.close()


async def only(application: Application, **settings: Any) -> Outcome:
    [outcome] = (await deliver(application, **settings)).values()
    return outcome


# --- what is posted ---


async def test_the_message_is_posted_once_for_all_its_recipients_and_signed(application: Application) -> None:
    outcomes = await deliver(application, "a@x", "b@x", keys=(KEY, OTHER), headers={"authorization": "Bearer t"})
    assert [type(outcome) for outcome in outcomes.values()] == [Delivered, Delivered]
    assert all(isinstance(outcome, Delivered) and outcome.final for outcome in outcomes.values())
    [request] = application.requests
    assert (request.path, request.content) == ("/in", POSTED)
    headers = request.headers
    assert (headers["content-type"], headers["authorization"]) == ("message/rfc822", "Bearer t")
    assert headers["webhook-timestamp"] == "1800000000"
    assert headers["webhook-signature"] == signed([POSTED], headers["webhook-id"], 1_800_000_000, (KEY, OTHER))[1]
    assert json.loads(headers["waymail-envelope"]) == {
        "id": "0123456789abc", "sender": "ann@there.example", "recipients": ["a@x", "b@x"],
    }  # fmt: skip


async def test_a_large_message_in_a_file_is_posted_whole(application: Application, tmp_path: Path) -> None:
    file = tmp_path / "body"
    file.write_bytes(MESSAGE + b"line\r\n" * 200_000)
    assert isinstance(await only(application, content=file), Delivered)
    [request] = application.requests
    assert request.content == POSTED + b"line\r\n" * 200_000
    id = request.headers["webhook-id"]
    assert request.headers["webhook-signature"] == signed([request.content], id, 1_800_000_000, (KEY,))[1]


async def test_as_json_it_is_taken_apart_and_all_of_it_is_signed(application: Application) -> None:
    assert isinstance(await only(application, format="json"), Delivered)
    [request] = application.requests
    assert request.headers["content-type"] == "application/json"
    assert "waymail-envelope" not in request.headers
    found = json.loads(request.content)
    assert found["envelope"] == {"sender": "ann@there.example", "recipients": ["a@x"]}
    assert (found["id"], found["subject"], found["text"], found["raw"]) == ("0123456789abc", "x", "hello\n", None)
    assert found["from"] == [{"name": "Ann", "address": "ann@there.example"}]
    assert found["headers"][0] == ["Return-Path", "<ann@there.example>"]
    assert found["size"] == len(POSTED)


async def test_json_of_a_message_that_nobody_can_read_has_all_its_octets(application: Application) -> None:
    broken = b"".join(b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n) for n in range(3_000))
    assert isinstance(await only(application, format="json", content=broken), Delivered)
    found = json.loads(application.requests[0].content)
    assert b64decode(found["raw"]).endswith(broken)


async def test_recipients_that_do_not_fit_into_a_header_field_have_several_posts(application: Application) -> None:
    addresses = [f"{'ä' * 30}{n}@x.example" for n in range(60)]
    outcomes = await deliver(application, *addresses)
    assert [type(outcomes[address]) for address in addresses] == [Delivered] * 60
    fields = [request.headers["waymail-envelope"] for request in application.requests]
    assert len(fields) > 1
    assert max(map(len, fields)) <= ENVELOPE
    assert [one for text in fields for one in json.loads(text)["recipients"]] == addresses
    assert len({request.headers["webhook-id"] for request in application.requests}) == len(fields)


async def test_after_a_failure_that_all_would_meet_the_rest_is_not_posted(application: Application) -> None:
    application.status = 503
    outcomes = await deliver(application, *(f"{'x' * 60}{n}@x.example" for n in range(200)))
    assert {type(outcome) for outcome in outcomes.values()} == {Deferred}
    assert len(application.requests) == 1


async def test_who_has_no_turn_in_time_is_put_off_and_not_uncertain(application: Application) -> None:
    application.delay = 0.5
    message, body = envelope("a@x"), Body(MESSAGE, len(MESSAGE))
    settings = Settings(application.url, (KEY,), concurrency=1)
    transport = WebhookTransport(settings, Fetcher(context=application.trust), now=lambda: NOW, budget=0.1)
    first, second = await asyncio.gather(*(transport.deliver(message, body, message.recipients) for _ in range(2)))
    assert isinstance(first["a@x"], Delivered)
    assert isinstance(second["a@x"], Deferred)
    assert not second["a@x"].uncertain
    await transport.close()


def test_the_id_is_the_same_for_the_same_recipients_and_for_no_others() -> None:
    ann, bob = Recipient("ann@x"), Recipient("bob@x")
    ids = {message_id(envelope(), group) for group in ((ann, bob), (bob, ann))}
    assert len(ids) == 1
    assert message_id(envelope(), (ann,)) not in ids
    assert "." not in ids.pop(), "it ends the id in what is signed"


def test_the_signature_is_the_one_of_the_specification() -> None:
    """The example of the Standard Webhooks specification's libraries."""
    key = secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    size, found = signed([b'{"test":', b" 2432232314}"], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, [key])
    assert (size, found) == (20, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=")


@pytest.mark.parametrize("text", ["", "x", "whsec_", "whsec_AAAA", "whsec_!" + "A" * 40, b64encode(KEY).decode()])
def test_a_secret_that_is_none_says_how_to_make_one_and_does_not_repeat_it(text: str) -> None:
    with pytest.raises(BadSecret, match="python3 -c") as raised:
        secret(text)
    assert len(text) < 9 or text not in str(raised.value)


def test_no_secret_is_shown_by_the_settings() -> None:
    assert "keys" not in repr(Settings("https://x/", (KEY,)))


# --- what the answer means ---


@pytest.mark.parametrize(
    ("status", "kind", "enhanced", "down"),
    [
        *((status, Delivered, "2.0.0", False) for status in (200, 201, 202, 204)),
        *((status, Deferred, "4.3.5", True) for status in (301, 302, 307, 401, 403, 404, 405, 407)),
        *((status, Deferred, "4.3.0", False) for status in (408, 425, 500, 501, 599)),
        *((status, Deferred, "4.3.2", True) for status in (429, 502, 503, 504)),
        (410, Failed, "5.1.1", False),
        (413, Failed, "5.3.4", False),
        *((status, Failed, "5.3.0", False) for status in (400, 406, 409, 415, 418, 422, 451)),
    ],
)
def test_each_status_means_delivered_later_or_never(status: int, kind: type[Outcome], enhanced: str, down: bool) -> None:
    outcome = judged(Fetched(status, b""), PEER, now=NOW)
    assert type(outcome) is kind
    assert outcome.reply.enhanced == enhanced
    if isinstance(outcome, Deferred):
        assert outcome.destination_down is down
        assert f"HTTP {status}" in outcome.cause
        assert not outcome.uncertain


def test_a_pause_that_is_asked_for_is_told_to_the_operator() -> None:
    outcome = judged(Fetched(429, b"", {"retry-after": "120"}), PEER, now=NOW)
    assert isinstance(outcome, Deferred)
    assert "120 s" in outcome.cause


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("120", 120.0), ("Fri, 15 Jan 2027 08:01:00 GMT", 60.0), ("Fri, 15 Jan 2027 07:00:00 GMT", 0.0), ("soon", None), ("", None)],
)
def test_retry_after_is_seconds_or_a_date(value: str, seconds: float | None) -> None:
    assert retry_after(value, NOW) == seconds


async def test_a_redirection_is_not_followed(application: Application) -> None:
    application.status, application.headers = 307, {"location": application.url.replace("/in", "/elsewhere")}
    assert isinstance(await only(application), Deferred)
    assert [request.path for request in application.requests] == ["/in"]


async def test_what_the_answer_says_is_dropped_however_long_it_is(application: Application) -> None:
    application.status, application.body = 200, b"x" * 5_000_000
    assert isinstance(await only(application), Delivered)


async def test_an_answer_whose_body_never_ends_is_an_answer(application: Application) -> None:
    application.status, application.headers = 200, {"content-length": "100000"}
    assert isinstance(await only(application), Delivered)


async def test_no_answer_in_time_is_uncertain_and_does_not_hold_up_others(application: Application) -> None:
    application.delay = 3.0
    outcome = await only(application, timeout=0.5)
    assert isinstance(outcome, Deferred)
    assert (outcome.uncertain, outcome.destination_down) == (True, False)
    assert "no answer within 0.5 s" in outcome.cause


async def test_no_connection_holds_up_all_that_is_for_it_and_is_not_uncertain() -> None:
    outcome = await only(Application(url="http://127.0.0.1:9/"))
    assert isinstance(outcome, Deferred)
    assert (outcome.uncertain, outcome.destination_down) == (False, True)
    assert "127.0.0.1:9" in outcome.cause


async def test_a_certificate_that_nobody_vouches_for_is_no_connection(application: Application) -> None:
    outcome = await only(application, trusting=False)
    assert isinstance(outcome, Deferred)
    assert outcome.destination_down
    assert "certificate" in outcome.cause.lower()
    assert application.requests == []


async def test_a_message_that_is_too_large_is_not_sent(application: Application) -> None:
    outcome = await only(application, largest=10)
    assert isinstance(outcome, Failed)
    assert outcome.reply.enhanced == "5.3.4"
    assert application.requests == []


@pytest.mark.parametrize("format", ["message", "json"])
async def test_a_body_that_cannot_be_read_defers(application: Application, tmp_path: Path, format: str) -> None:
    message = envelope("a@x")
    fetcher = Fetcher(context=application.trust)
    transport = WebhookTransport(Settings(application.url, (KEY,), format), fetcher, now=lambda: NOW)  # type: ignore[arg-type]
    outcome = (await transport.deliver(message, Body(tmp_path / "missing", 10), message.recipients))["a@x"]
    assert isinstance(outcome, Deferred)
    assert not outcome.uncertain
    await transport.close()


async def test_closing_waits_for_what_is_under_way_and_puts_off_what_comes_later(application: Application) -> None:
    application.delay = 0.3
    message = envelope("a@x")
    transport = WebhookTransport(Settings(application.url, (KEY,)), Fetcher(context=application.trust), now=lambda: NOW)
    under_way = asyncio.ensure_future(transport.deliver(message, Body(MESSAGE, len(MESSAGE)), message.recipients))
    while not application.requests:  # noqa: ASYNC110 - a thread is waited for
        await asyncio.sleep(0.01)
    await transport.close()
    assert isinstance((await under_way)["a@x"], Delivered)
    later = await transport.deliver(message, Body(MESSAGE, len(MESSAGE)), message.recipients)
    assert isinstance(later["a@x"], Deferred)
