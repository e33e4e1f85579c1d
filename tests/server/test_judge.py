"""The judge of an mx listener: what strangers are asked about, when they are refused, and what is written down."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from waymail.lookups import Answer, Query, Status
from waymail.net.clock import SystemClock
from waymail.senderauth import dkim
from waymail.senderauth.dkim import key as dkim_key
from waymail.server.checks import Asking
from waymail.server.policy import Client as PolicyClient
from waymail.server.policy import (
    Decision,
    Message,
    Policy,
    Recipient,
    Sender,
    accept,
    defer,
    discard,
    mark,
    quarantine,
    reject,
)
from waymail.server.reception import Client, Transaction
from waymail.testing.policy import NOW, judge
from waymail.testing.zone import Zone

MESSAGE = b"From: Ann <ann@bank.example>\r\nTo: bob@example.org\r\nSubject: hello\r\n\r\nHello.\r\n"
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
SPF = "v=spf1 ip4:192.0.2.1 -all"
ZONE = Zone(
    {
        "bank.example": {"TXT": [SPF], "MX": [(10, "mx.bank.example")]},
        "_dmarc.bank.example": {"TXT": ["v=DMARC1; p=reject"]},
        "shop.example": {"TXT": [SPF]},
        "_dmarc.shop.example": {"TXT": ["v=DMARC1; p=quarantine"]},
        "down.example": "SERVFAIL",
        "_dmarc.down.example": "SERVFAIL",
        "9.113.0.203.bl.example": {"A": ["127.0.0.2"], "TXT": ["an open relay"]},
        "2.0.0.127.bl.example": {"A": ["127.0.0.2"]},
        "bl.example": {"A": ["192.0.2.80"]},
    }
)


def signed(message: bytes, domain: str) -> tuple[bytes, dict[str, dict[str, list[str]]]]:
    """The message with a DKIM signature, and the names that the zone needs for it."""
    field = dkim.sign(message, dkim.SigningKey(KEY), domain=domain, selector="s1", now=NOW)
    key = dkim_key.record(KEY.public_key())
    return field + message, {f"s1._domainkey.{domain}": {"TXT": [key]}}


async def test_spoofed_mail_is_refused_with_the_code_and_the_domain() -> None:
    trial = await judge(MESSAGE, sender="ann@bank.example", zone=ZONE)
    assert trial.reply is not None
    assert str(trial.reply).startswith("550 5.7.26 bank.example asks to refuse mail that is not authenticated as its own (DMARC)")
    assert trial.judged["rule"] == "dmarc_reject"
    assert trial.judged["checks"]["spf"]["result"] == "fail"
    assert ["_dmarc.bank.example", "TXT", "records", ["v=DMARC1; p=reject"], False] in trial.judged["dns"]


async def test_mail_from_the_right_host_is_taken_and_its_results_are_written() -> None:
    trial = await judge(MESSAGE, ip="192.0.2.1", sender="ann@bank.example", zone=ZONE)
    assert trial.is_taken
    field = trial.fields.decode()
    assert field.startswith("Authentication-Results: mail.example.org;")
    for result in ("spf=pass", "dkim=none", "dmarc=pass", "iprev="):
        assert result in field
    assert "X-Waymail-Verdict" not in field
    assert trial.judged["action"] == "accept"


async def test_a_message_from_elsewhere_passes_by_its_signature() -> None:
    """A forwarder sends it from an address that SPF does not know."""
    message, names = signed(MESSAGE, "bank.example")
    zone = Zone({"bank.example": {"TXT": [SPF]}, "_dmarc.bank.example": {"TXT": ["v=DMARC1; p=reject"]}} | names)
    trial = await judge(message, sender="ann@bank.example", zone=zone, inbound='on_spf_fail = "reject"')
    assert trial.is_taken
    assert b"dkim=pass" in trial.fields
    assert b"spf=fail" in trial.fields
    assert b"dmarc=pass" in trial.fields


async def test_what_claims_to_be_our_result_is_taken_out_and_nothing_else() -> None:
    forged = b"Authentication-Results: MAIL.example.org; dmarc=pass header.from=bank.example\r\n"
    other = b"Authentication-Results: other.example; spf=pass\r\n"
    trial = await judge(
        forged + other + b"X-Waymail-Verdict: accept\r\n" + MESSAGE, ip="192.0.2.1", sender="ann@bank.example", zone=ZONE
    )
    assert trial.is_taken
    head = MESSAGE[: MESSAGE.index(b"\r\n\r\n") + 2]
    assert trial.section == trial.fields + other + head
    assert trial.judged["forged"] == 1


@pytest.mark.parametrize("space", [b" ", b"\t", b" \r\n "])
async def test_a_message_that_begins_with_a_fold_does_not_go_on_with_our_results(space: bytes) -> None:
    message = space + b"; dmarc=pass header.from=shop.example\r\n" + MESSAGE
    trial = await judge(message, ip="192.0.2.1", sender="ann@bank.example", zone=ZONE)
    assert trial.fields.endswith(b"\r\n\r\n")


async def test_quarantine_goes_to_its_folder_with_a_field_that_says_why() -> None:
    message = MESSAGE.replace(b"bank.example", b"shop.example")
    trial = await judge(message, sender="ann@shop.example", zone=ZONE)
    assert (trial.is_taken, trial.folder) == (True, "Junk")
    assert b"X-Waymail-Verdict: quarantine; rule=dmarc_quarantine;\r\n reason=" in trial.fields
    assert all(len(line) < 200 for line in trial.fields.split(b"\r\n"))
    trial = await judge(message, sender="ann@shop.example", zone=ZONE, inbound='quarantine = "header"')
    assert (trial.is_taken, trial.folder) == (True, "")
    assert b"X-Waymail-Verdict: quarantine;" in trial.fields


async def test_a_mailing_list_is_not_refused_for_what_its_authors_domain_asks() -> None:
    trial = await judge(b"List-Id: <talk.lists.example>\r\n" + MESSAGE, sender="talk@lists.example", zone=ZONE)
    assert trial.folder == "Junk"
    assert trial.judged["rule"] == "dmarc_reject_forwarded"
    assert trial.judged["override"] == "local_policy: dmarc_reject_forwarded"


async def test_a_resolver_that_is_down_defers_and_never_accepts() -> None:
    trial = await judge(MESSAGE.replace(b"bank", b"down"), sender="ann@down.example", zone=ZONE)
    assert trial.reply is not None
    assert str(trial.reply).startswith("451 4.4.3 DNS gave no answer about down.example")
    trial = await judge(MESSAGE.replace(b"bank", b"down"), sender="", zone=ZONE, inbound='on_temperror = "mark"')
    assert trial.is_taken
    assert b"X-Waymail-Verdict: mark; rule=temperror;" in trial.fields


LISTED = '[[inbound.dnsbl]]\nzone = "bl.example"'


async def test_a_listed_address_is_refused_at_rcpt_and_the_history_says_why() -> None:
    trial = await judge(MESSAGE, zone=ZONE, inbound=LISTED)
    assert trial.stage == "rcpt"
    assert str(trial.reply).startswith("550 5.7.1 203.0.113.9 or its domain is listed by bl.example: an open relay")
    assert trial.judged["rule"] == "dnsbl"
    assert trial.judged["checks"]["dnsbl"]["score"] == 1


@pytest.mark.parametrize("name", ["postmaster", "Abuse"])
async def test_postmaster_and_abuse_can_always_be_reached(name: str) -> None:
    recipients = [f"{name}@example.org", "ann@example.org"]
    trial = await judge(MESSAGE, sender="ann@bank.example", zone=ZONE, inbound=LISTED, recipients=recipients)
    assert list(trial.refused) == ["ann@example.org"]
    assert trial.is_taken
    assert (trial.judged["action"], trial.judged["override"]) == ("mark", "local_policy: postmaster")


async def test_a_refusal_names_the_page_that_helps() -> None:
    inbound = 'help_url = "https://example.org/help?c={code}&r={rule}&ip={ip}"'
    trial = await judge(MESSAGE, sender="ann@bank.example", zone=ZONE, inbound=inbound)
    assert trial.reply is not None
    assert trial.reply.text.endswith("; see https://example.org/help?c=5.7.26&r=dmarc_reject&ip=203.0.113.9")


async def test_lists_of_the_operator_block_and_allow(tmp_path: Path) -> None:
    (tmp_path / "block").write_text("203.0.113.0/24\n")
    (tmp_path / "allow").write_text("helo:good.example\nann@bank.example\n198.51.100.7\n")
    inbound = '[inbound.lists]\nblock = ["block"]\nallow = ["allow"]'
    trial = await judge(MESSAGE, zone=ZONE, inbound=inbound, folder=tmp_path)
    assert (trial.stage, str(trial.reply)) == ("rcpt", "550 5.7.1 mail from you is not taken here")
    assert "203.0.113.0/24 in" in trial.judged["reason"]
    # anybody can say that he is ann
    trial = await judge(MESSAGE, ip="198.51.100.1", sender="ann@bank.example", zone=ZONE, inbound=inbound, folder=tmp_path)
    assert trial.judged["rule"] == "dmarc_reject"
    trial = await judge(MESSAGE, ip="198.51.100.7", sender="ann@bank.example", zone=ZONE, inbound=inbound, folder=tmp_path)
    assert (trial.is_taken, trial.judged["rule"]) == (True, "allow_list")
    assert trial.judged["override"] == "local_policy: allow_list"


async def test_an_early_talker_is_refused() -> None:
    trial = await judge(MESSAGE, zone=ZONE, talked_early=True)
    assert (trial.stage, str(trial.reply)) == ("rcpt", "550 5.7.0 you spoke before you were greeted")


async def test_greylisting_and_rates_put_off_after_all_else(tmp_path: Path) -> None:
    trial = await judge(MESSAGE, ip="192.0.2.1", zone=ZONE, inbound='[inbound.greylist]\ndelay = "1m"', folder=tmp_path)
    assert str(trial.reply).startswith("450 4.7.1 greylisted")
    rates = "[inbound.rates]\nrecipients_per_network = 1"
    trial = await judge(MESSAGE, ip="192.0.2.1", zone=ZONE, inbound=rates, recipients=["a@example.org", "b@example.org"])
    assert list(trial.refused) == ["b@example.org"]
    assert str(trial.refused["b@example.org"]).startswith("450 4.7.1 too many recipients")


async def test_who_is_greeted_late_is_greeted_all_the_same() -> None:
    assert (await judge(MESSAGE, ip="192.0.2.1", sender="ann@bank.example", zone=ZONE, inbound='greeting_delay = "1s"')).is_taken


async def test_a_trusted_client_waits_for_nothing(tmp_path: Path) -> None:
    from waymail.app.config.load import parse
    from waymail.app.wiring_inbound import open_judging
    from waymail.server.directory import Directory, LocalDomain
    from waymail.server.inbound import Inbound, Trust

    text = 'hostname = "mail.example.org"\n[relay]\nallow = ["10.0.0.0/8"]\n'
    judging = open_judging(parse(text, tmp_path / "waymail.toml"), ZONE, SystemClock())
    assert judging is not None
    reception = judging.judge(Inbound(Directory("mail.example.org", {"example.org": LocalDomain(None)}), Trust()))
    for address in ("10.1.2.3", "127.0.0.1", "::1", ""):
        client, transaction = Client(address, "x.example"), Transaction("a@bank.example", NOW)
        assert reception.connect(client) is None
        assert reception.mail(client, transaction) is None
        assert isinstance(reception.rcpt(client, transaction, "ann@example.org"), tuple)
        assert reception.body(client, transaction, b"") is None
        assert reception.message(client, transaction, MESSAGE, id="x", now=NOW) == b""
        head = b"Authentication-Results: mail.example.org; none\r\n" + MESSAGE
        assert reception.edit is not None
        assert reception.edit(client, head) is head
    assert reception.judges(Client("203.0.113.9"))
    assert not reception.judges(Client("203.0.113.9", user="ann"))


# --- a policy in Python ---


class Ours(Policy):
    """Answers what it was made with, and keeps what it was asked."""

    def __init__(self, **answers: Decision) -> None:
        self.answers = answers
        self.asked: list[object] = []

    async def connect(self, client: PolicyClient) -> Decision | None:
        return self._answer("connect", client)

    def mail(self, mail: Sender) -> Decision | None:
        return self._answer("mail", mail)

    async def rcpt(self, rcpt: Recipient) -> Decision | None:
        return self._answer("rcpt", rcpt)

    def message(self, message: Message) -> Decision | None:
        return self._answer("message", message)

    def _answer(self, hook: str, what: object) -> Decision | None:
        self.asked.append(what)
        return self.answers.get(hook)


async def tried(**answers: Decision) -> tuple[str, str]:
    """How far the message came, and what was said."""
    trial = await judge(MESSAGE, sender="ann@bank.example", zone=ZONE, policy=Ours(**answers))
    return trial.stage, str(trial.reply)


async def test_each_hook_may_refuse() -> None:
    assert await tried(connect=reject(554, "5.7.1", "go away")) == ("connect", "554 5.7.1 go away")
    assert await tried(mail=defer(451, "4.7.1", "later")) == ("mail", "451 4.7.1 later")
    assert await tried(rcpt=reject(text="not him")) == ("rcpt", "550 5.7.1 not him")
    assert await tried(message=defer()) == ("message", "451 4.7.1 try again later")


async def test_none_leaves_it_to_the_configuration() -> None:
    policy = Ours()
    trial = await judge(MESSAGE, sender="ann@bank.example", zone=ZONE, policy=policy)
    assert trial.judged["rule"] == "dmarc_reject"
    _, mail, rcpt, message = policy.asked
    assert isinstance(mail, Sender)
    assert isinstance(rcpt, Recipient)
    assert isinstance(message, Message)
    assert (mail.address, rcpt.address, message.recipients) == ("ann@bank.example", "ann@example.org", ("ann@example.org",))
    assert rcpt.evidence.spf is not None
    assert (rcpt.evidence.spf.result, message.size) == ("fail", len(MESSAGE))
    assert (message.header("Subject"), message.has("List-Id"), message.headers("TO")) == ("hello", False, ("bob@example.org",))


@pytest.mark.parametrize("hook", ["rcpt", "message"])
async def test_the_history_says_how_a_hook_failed_and_the_client_is_not_told(hook: str, caplog: pytest.LogCaptureFixture) -> None:
    trial = await judge(MESSAGE, zone=ZONE, policy=Ours(**{hook: "accept"}))  # type: ignore[arg-type]
    assert str(trial.reply or trial.refused["ann@example.org"]) == "451 4.3.0 internal error, try again later"
    assert (trial.judged["action"], trial.judged["rule"]) == ("defer", "policy")
    assert trial.judged["reason"] == f"its hook {hook} failed: it answered 'accept'"
    [line] = [record for record in caplog.records if record.message == "a hook of the policy failed"]
    assert "answer with waymail.reject(550, '5.7.1', 'text')" in line.fields["error"]  # type: ignore[attr-defined]


async def test_a_message_without_crlf_is_told_to_whoever_tries_it() -> None:
    with pytest.raises(ValueError, match="LF"):
        await judge(MESSAGE.replace(b"\r\n", b"\n"), zone=ZONE)


async def test_a_policy_may_take_what_the_rules_refuse_and_says_so() -> None:
    trial = await judge(MESSAGE, sender="ann@bank.example", zone=ZONE, policy=Ours(message=accept()))
    assert (trial.is_taken, trial.judged["override"]) == (True, "local_policy: policy")
    trial = await judge(MESSAGE, zone=ZONE, inbound=LISTED, policy=Ours(rcpt=accept(), message=accept()))
    assert trial.is_taken
    trial = await judge(MESSAGE, zone=ZONE, policy=Ours(message=quarantine("odd")))
    assert (trial.folder, trial.judged["reason"]) == ("Junk", "odd")
    trial = await judge(MESSAGE, zone=ZONE, policy=Ours(message=discard("noise")))
    assert (trial.is_taken, trial.is_discarded, trial.judged["action"]) == (False, True, "discard")


async def test_a_mark_is_a_field_more_and_lifts_no_refusal() -> None:
    trial = await judge(MESSAGE.replace(b"bank", b"plain"), zone=ZONE, policy=Ours(message=mark("X-Ours", "yes")))
    assert trial.is_taken
    assert trial.fields.endswith(b"X-Ours: yes\r\n")
    assert trial.judged["rule"] != "policy"
    refused = await judge(MESSAGE, sender="ann@bank.example", zone=ZONE)
    marked = await judge(MESSAGE, sender="ann@bank.example", zone=ZONE, policy=Ours(message=mark("X-Ours", "yes")))
    assert marked.reply == refused.reply
    assert not marked.is_taken


# --- asking ---


class Slow:
    """A resolver that knows nothing yet, and answers about one name only."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def cached(self, query: Query) -> Answer | None:
        return Answer(Status.NO_NAME) if query.name == "known.example" else None

    async def ask(self, query: Query) -> Answer:
        self.asked.append(query.name)
        if query.name == "silent.example":
            await asyncio.sleep(60)
        await asyncio.sleep(0)
        return Answer(Status.RECORDS, (query.name,))


def two(first: str, second: str):  # type: ignore[no-untyped-def]
    one = yield Query(first, "A")
    others = yield Query(first, "AAAA"), Query(second, "A")
    return one.status, *(answer.status for answer in others)


async def test_all_is_asked_side_by_side_and_what_is_silent_costs_itself_alone() -> None:
    resolver = Slow()
    asking = Asking(resolver, 0.2)
    found = await asking.all(
        two("known.example", "known.example"), two("a.example", "silent.example"), two("b.example", "c.example")
    )
    assert found == [
        (Status.NO_NAME, Status.NO_NAME, Status.NO_NAME),
        (Status.RECORDS, Status.RECORDS, Status.FAILURE),
        (Status.RECORDS, Status.RECORDS, Status.RECORDS),
    ]
    assert "known.example" not in resolver.asked
    assert len(asking.record) == 9
    assert asking.seconds < 0.05
