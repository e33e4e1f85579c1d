from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path

import pytest

from waymail.app.config import Config, ConfigError, development, load, parse
from waymail.app.config.values import Endpoint
from waymail.client.target import NextHop, Tls
from waymail.delivery.routes import ByMx, Mailboxes
from waymail.server.guard import GuardLimits
from waymail.server.limits import Limits

FILE = Path("/etc/waymail/waymail.toml")
FOLDER = FILE.parent

# Each test of a mistake adds its lines to this, so theirs begin with line 2.
HOSTNAME = 'hostname = "mail.example.org"\n'


def read(text: str) -> Config:
    return parse(HOSTNAME + text, FILE)


def problems(text: str) -> list[str]:
    """What is wrong with `text` behind a hostname, as LINE: key: message."""
    with pytest.raises(ConfigError) as caught:
        read(text)
    return [str(problem).removeprefix(f"{FILE}:") for problem in caught.value.problems]


def warnings(text: str) -> list[str]:
    listener = '[[listener]]\nkind = "mx"\naddress = "127.0.0.1:0"\ntls = "off"\n'
    config = parse(HOSTNAME + text + ("" if "[[listener]]" in text else listener), FILE)
    return [f"{problem.line}: {problem.key}: {problem.message}" for problem in config.source.warnings]


DESIGN = """\
data_dir = "data"

[queue]
store = "sqlite"
retry = ["1m", "5m"]
expire = "5d"
delay_warning = "off"

[[listener]]
kind = "mx"
address = "192.0.2.1:25"
tls = "starttls"

[tls]
certificate = "cert.pem"
key = "/keys/key.pem"

[users]
file = "users.toml"

[relay]
allow = ["10.0.0.0/8"]

[domains."Example.org"]
deliver = "maildir:mail/{domain}/{local}"
recipients = ["Ann", "bob"]
aliases = { postmaster = "ann", sales = ["bob", "carol@elsewhere.org"] }

[routes]
"*" = "mx"
".partner.example" = "smtp://user:secret@10.0.0.5:587?tls=require"

[dns]
resolvers = ["127.0.0.53:53"]
dnssec = "off"
"""


def test_every_key_of_the_design_is_read() -> None:
    config = read(DESIGN)
    assert config.hostname == "mail.example.org"
    assert (config.queue.retry, config.queue.expire, config.queue.delay_warning) == ((60.0, 300.0), 432_000.0, None)
    [listener] = config.listeners
    assert (listener.kind, listener.address, listener.tls) == ("mx", Endpoint("192.0.2.1", 25), "starttls")
    assert config.relay.allow == (ip_network("10.0.0.0/8"),)
    domain = config.domains["example.org"]
    assert domain.recipients == frozenset({"ann", "bob"})
    assert domain.aliases == {"postmaster": ("ann",), "sales": ("bob", "carol@elsewhere.org")}
    assert config.routes["*"] == ByMx()
    hop = config.routes["*.partner.example"]
    assert isinstance(hop, NextHop)
    assert hop.tls is Tls.REQUIRED
    assert (config.dns.resolvers, config.dns.dnssec) == ((Endpoint("127.0.0.53", 53),), "off")


def test_paths_are_seen_from_the_folder_of_the_file() -> None:
    config = read(DESIGN)
    assert config.data_dir == FOLDER / "data"
    assert (config.tls.certificate, config.tls.key) == (FOLDER / "cert.pem", Path("/keys/key.pem"))
    assert config.users.file == FOLDER / "users.toml"
    assert config.domains["example.org"].deliver == Mailboxes(f"{FOLDER}/mail/{{domain}}/{{local}}")


def test_a_hostname_is_all_that_has_to_be_said() -> None:
    config = read("")
    assert config.data_dir == FOLDER / "data"
    assert config.users.file == FOLDER / "users.toml"
    assert config.routes == {"*": ByMx()}
    assert config.delivery.hello == "mail.example.org"
    assert config.queue.delay_warning == 14_400


def test_routes_without_a_star_send_the_rest_by_mx() -> None:
    assert read('[routes]\n"a.example" = "smtps://b.example"\n').routes["*"] == ByMx()


def test_limits_have_the_names_and_values_of_the_server_s_own() -> None:
    limits = dict(read("").limits)
    guard = GuardLimits()
    of_guard = {
        "auth_failures_per_address": guard.failures,
        "auth_failures_per_user": guard.user_failures,
        "auth_failures_window": guard.window,
        "auth_block": guard.block,
    }
    own = {name: of_guard[name] if name in of_guard else getattr(Limits(), name) for name in limits}
    own["message_size"] = 50_000_000  # the file says "50MB", which is not the 50 MiB of the library
    assert limits == own


def test_a_configuration_cannot_be_changed_and_does_not_show_passwords() -> None:
    config = read(DESIGN)
    with pytest.raises(ValueError, match="frozen"):
        config.queue.expire = 1.0
    assert "secret" not in repr(config)


# --- mistakes, each with its line ---


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("hostnam = 1", '2: hostnam: no such key; did you mean "hostname"?'),
        ('[queue]\nretrys = ["1m"]', '3: queue.retrys: no such key; did you mean "retry"?'),
        (
            '\n[queue]\ndata_dir = "x"',
            '4: queue.data_dir: no such key here; "data_dir" has to stand at the top of the file, or as a section of its own',
        ),
        ('retry = ["1m"]', '2: retry: no such key here; did you mean "retry" in [queue]?'),
        ("message_sise = 1", '2: message_sise: no such key here; did you mean "message_size" in [limits]?'),
        (
            "[[listener]]\nkind='mx'\naddress='0.0.0.0:25'\ntls='off'\nport = 25",
            "6: listener[0].port: no such key; here may stand kind, address, tls, line_ends, mode, proxies, client_certificates",
        ),
        (
            '[domains."example.org"]\nrecipient = []',
            '3: domains."example.org".recipient: no such key; did you mean "recipients"?',
        ),
        ('domains."example.org".recipient = []', '2: domains."example.org".recipient: no such key; did you mean "recipients"?'),
        ('queue = { store = "sqlite", expires = "5d" }', '2: queue.expires: no such key; did you mean "expire"?'),
    ],
)
def test_an_unknown_key_is_named_with_its_line_and_the_nearest_real_one(text: str, said: str) -> None:
    assert problems(text) == [said]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("data_dir = 5", "2: data_dir: must be a path, not 5"),
        ('[queue]\nstore = "sqlit"', '3: queue.store: must be "sqlite" or "memory", not "sqlit"; did you mean "sqlite"?'),
        ('[queue]\nretry = "1m"', '3: queue.retry: must be a list, in [ ], not "1m"'),
        (
            '[queue]\nretry = [\n"1m",\n"soon",\n]',
            '5: queue.retry[1]: "soon" is no duration: write a number and a unit (s m h d w), like "30s", "5m" or "1h30m"',
        ),
        ("[queue]\nretry = []", '3: queue.retry: must hold one duration or more, like ["5m", "30m", "4h"]'),
        ("[queue]\nexpire = 5", '3: queue.expire: must be a text with a unit, like "30s", "5m", "4h" or "2d", not 5'),
        ('[tls]\nself_signed = "true"', '3: tls.self_signed: must be true or false, without quotes, not "true"'),
        ("[limits]\nrecipients = 0", "3: limits.recipients: must be 1 or more, not 0"),
        ('[limits]\nsessions = "9"', '3: limits.sessions: must be a whole number, not "9"'),
        ("queue = 5", "2: queue: must be a table, not 5"),
        ("listener = 5", "2: listener: must be a list, in [ ], not 5"),
        (
            '[relay]\nallow = [\n  "10.0.0.0/8",\n  "10.0.0.1/8",\n]',
            '5: relay.allow[1]: "10.0.0.1/8" has bits set behind its prefix: "10.0.0.0/8" is the network',
        ),
        (
            '[dns]\nresolvers = ["dns.example"]',
            '3: dns.resolvers[0]: must be an IP address like "127.0.0.53" or "[2001:db8::53]:53", not "dns.example"',
        ),
        ("[dns]\ndnssec = true", '3: dns.dnssec: must be "trust-ad" or "off", not true'),
        (
            '[domains."-"]\nrecipients = "any"',
            '2: domains.-: "-" is no domain name: those are letters, digits and inner hyphens between dots',
        ),
        (
            '[domains.x]\nrecipients = "ann"',
            '3: domains.x.recipients: must be a list of local parts, like ["ann", "bob"], or "any", not "ann"',
        ),
        (
            '[domains.x]\nrecipients = [\n"ann",\n"b@x"]',
            '5: domains.x.recipients[1]: must be the part before the "@" only: "b", not "b@x"',
        ),
        (
            '[domains.x]\nrecipients = "any"\n[domains.x.aliases]\na = 5',
            '5: domains.x.aliases.a: must be a local part or an address, like "ann" or "ann@example.org", not 5',
        ),
        (
            "[domains.x]\naliases = { a = [] }",
            "3: domains.x.aliases.a: must lead somewhere: a local part, an address, or a list of them, "
            'like ["ann", "bob@example.net"]',
        ),
        (
            '[domains.x]\ndeliver = "lmtp://localhost"',
            "3: domains.x.deliver: LMTP has no port of its own, and 25 is SMTP's: "
            "write lmtp://localhost:24, or lmtp:/path/of/a/socket",
        ),
        (
            '[routes]\n"*" = "webhook+http://app.example/"',
            "3: routes.\"*\": 'http://app.example/' must begin with https:// (http:// is for 127.0.0.1, [::1] and localhost)",
        ),
        (
            '[routes]\n"*" = "maildir:mail/{user}"',
            '3: routes."*": {user} means nothing in a Maildir\'s path: it may hold {domain} and {local}',
        ),
        ("[routes]\nx = 5", '3: routes.x: must be a target, like "mx", "smtp://HOST:PORT" or "maildir:PATH", not 5'),
        (
            '[log]\nlevel = "warn"',
            '3: log.level: must be "debug" or "info" or "warning" or "error", not "warn"; did you mean "warning"?',
        ),
        (
            '[domains.X]\nrecipients = "any"\n[domains."x."]\nrecipients = "any"',
            '4: domains."x.": means the same as "X", which is there already',
        ),
        (
            '[domains.x]\nrecipients = "any"\naliases = { Ann = "bob", ann = "bob" }',
            '4: domains.x.aliases.ann: means the same as "Ann", which is there already',
        ),
    ],
)
def test_a_wrong_value_is_named_with_its_line_and_what_would_be_right(text: str, said: str) -> None:
    assert problems(text) == [said]


def test_what_has_to_be_said_is_missed_at_the_table_that_lacks_it() -> None:
    assert problems("\n[[listener]]\ntls = 'off'") == [
        '3: listener[0].kind: is missing: "mx" takes mail from other servers, "submission" from users',
        '3: listener[0].address: is missing: where to listen, like "0.0.0.0:25"',
    ]
    with pytest.raises(ConfigError, match=r"^/etc/waymail/waymail\.toml:1: hostname: is missing: "):
        parse("", FILE)


def test_a_bad_target_never_shows_its_password() -> None:
    [said] = problems('[routes]\n"*" = "smtp://user:secret@host:port:1"')
    assert said.startswith('3: routes."*": ')
    assert "secret" not in said


def test_all_mistakes_are_told_at_once_in_the_order_of_their_lines() -> None:
    text = """[queue]
expire = 1
[[listener]]
kind = "mx"
address = "x"
[relay]
alow = []
[tls]
key = "k"
[domains.x]
recipients = ["a"]
aliases = { b = "c" }
"""
    said = problems(text)
    assert [line.partition(":")[0] for line in said] == ["3", "6", "8", "10", "13"]


# --- what is wrong between keys ---

LISTENER = '[[listener]]\nkind = "{kind}"\naddress = "{address}"\ntls = "{tls}"\n'


def test_users_may_not_send_passwords_without_tls_but_on_loopback() -> None:
    text = LISTENER.format(kind="submission", address="0.0.0.0:587", tls="off")
    assert problems(text) == [
        '5: listener[0].tls: must be "starttls" or "implicit" where users send passwords; "off" is for loopback addresses only'
    ]
    for address in ("127.0.0.1:587", "[::1]:587"):
        assert read(text.replace("0.0.0.0:587", address)).listeners


def test_a_listener_with_tls_needs_a_certificate() -> None:
    text = LISTENER.format(kind="mx", address="0.0.0.0:25", tls="starttls")
    assert problems(text) == [
        '5: listener[0].tls: "starttls" needs certificate and key in [tls]; or self_signed = true there, for trying things out'
    ]
    assert problems('[[listener]]\nkind = "mx"\naddress = "0.0.0.0:25"')[0].startswith("2: listener[0].tls: ")
    assert read(text + "[tls]\nself_signed = true").tls.self_signed


def test_a_listener_for_this_machine_only_is_told_that_it_may_do_without_tls() -> None:
    [said] = problems('[[listener]]\nkind = "lmtp"\naddress = "unix:lmtp.sock"')
    assert said.endswith('; or tls = "off" here, for this machine only')
    assert read('[[listener]]\nkind = "lmtp"\naddress = "unix:lmtp.sock"\ntls = "off"').listeners


def test_certificate_and_key_come_together_and_without_self_signed() -> None:
    assert problems('[tls]\ncertificate = "c"') == ['3: tls.certificate: needs "key" beside it']
    assert problems('[tls]\nkey = "c"') == ['3: tls.key: needs "certificate" beside it']
    said = problems('[tls]\ncertificate = "c"\nkey = "k"\nself_signed = true')
    assert said == ["5: tls.self_signed: must be false where a certificate and a key are given"]


def test_two_listeners_cannot_have_one_address() -> None:
    text = LISTENER.format(kind="mx", address="0.0.0.0:25", tls="off")
    assert problems(text * 2) == ["8: listener[1].address: 0.0.0.0:25 is already taken by listener[0]"]
    assert len(read(text.replace(":25", ":0") * 2).listeners) == 2


@pytest.mark.parametrize(
    ("aliases", "said"),
    [
        ('a = "b", b = "a"', ["4: domains.x.aliases.a: leads round in a circle: a@x > b@x > a@x"]),
        ('a = "b", b = ["c@y.example", "C"], c = "b@X"', ["4: domains.x.aliases.a: leads round in a circle: b@x > c@x > b@x"]),
        ('a = "an"', ['4: domains.x.aliases.a: "an" is neither a recipient nor an alias of x; did you mean "ann"?']),
        ('a = "zzz@x"', ['4: domains.x.aliases.a: "zzz" is neither a recipient nor an alias of x']),
        ('a = "a"', ['4: domains.x.aliases.a: leads to itself, and "a" is no recipient of x']),
    ],
)
def test_an_alias_that_leads_nowhere_or_in_a_circle_is_refused(aliases: str, said: list[str]) -> None:
    text = f'[domains.x]\nrecipients = ["ann"]\naliases = {{ {aliases} }}'
    assert problems(text) == said


def test_an_alias_may_keep_a_copy_in_its_own_mailbox() -> None:
    assert read('[domains.x]\nrecipients = ["ann"]\naliases = { ann = ["ann", "bob@y.example"] }').domains["x"].aliases["ann"]


def test_aliases_that_meet_again_are_no_circle() -> None:
    assert read('[domains.x]\nrecipients = ["d"]\naliases = { a = ["b", "c"], b = "d", c = "d" }').domains


def test_a_chain_of_aliases_longer_than_the_server_follows_is_refused() -> None:
    chain = ", ".join(f'a{number} = "a{number + 1}"' for number in range(10))
    assert read(f'[domains.x]\nrecipients = ["a10"]\naliases = {{ {chain} }}').domains
    longer = f'{chain}, a10 = "a11"'
    [said] = problems(f'[domains.x]\nrecipients = ["a11"]\naliases = {{ {longer} }}')
    assert said == "4: domains.x.aliases.a0: leads through 11 aliases in a row: 10 are followed at most"


def test_a_circle_in_another_domain_of_this_server_is_found() -> None:
    text = '[domains.x]\naliases = { a = "a@y" }\n[domains.y]\naliases = { a = "a@x" }'
    assert problems(text) == ["3: domains.x.aliases.a: leads round in a circle: a@x > a@y > a@x"]


# --- warnings ---


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            '[relay]\nallow = ["0.0.0.0/0"]\n',
            "3: relay.allow[0]: 0.0.0.0/0 makes this an open relay: anybody may send anything to anywhere through it",
        ),
        (
            '[relay]\nallow = ["10.0.0.0/8", "::/0"]\n',
            "3: relay.allow[1]: ::/0 makes this an open relay: anybody may send anything to anywhere through it",
        ),
        ('[queue]\nstore = "memory"\n', "3: queue.store: what is queued in memory is lost when the process ends"),
        (
            '[queue]\nexpire = "1h"\n',
            "2: queue.delay_warning: comes after the message has expired (1h): no warning will ever be sent",
        ),
        ("[limits]\nrecipients = 5\n", "3: limits.recipients: is less than the 100 that RFC 5321 §4.5.3.1.8 asks for"),
        (
            "[domains.x]\n",
            '2: domains.x: has neither recipients nor aliases: only mail to postmaster is taken; perhaps recipients = "any"',
        ),
        (
            '[domains.x]\nrecipients = "any"\n[routes]\nX = "mx"\n',
            '5: routes.x: is never used: the domain has its own section in [domains], and "deliver" there decides',
        ),
        (
            '[routes]\nx = "smtp://u:p@h.example?tls=off"\n',
            "3: routes.x: the password may be sent without TLS, or to an impostor, with tls=off; safe is tls=require",
        ),
    ],
)
def test_what_is_odd_is_a_warning_with_its_line(text: str, said: str) -> None:
    assert said in warnings(text)


def test_a_server_without_listeners_is_odd() -> None:
    said = [problem.message for problem in read('[domains."example.org"]\nrecipients = ["ann"]\n').source.warnings]
    assert said == ["no [[listener]]: this server will receive nothing"]


def test_what_the_kinds_of_listeners_are_is_said_and_nothing_else_is_guessed() -> None:
    [said] = problems('[[listener]]\nkind = "smtp"\naddress = "127.0.0.1:25"\ntls = "off"\n')
    assert said == (
        '3: listener[0].kind: must be "mx" (mail from other servers) or "submission" (mail from your users) or '
        '"lmtp" (mail from a mail server beside this one, in LMTP), not "smtp"'
    )
    [said] = problems('[[listener]]\nkind = "submision"\naddress = "127.0.0.1:25"\ntls = "off"\n')
    assert said.endswith('not "submision"; did you mean "submission"?')


def test_an_ordinary_configuration_has_no_warnings() -> None:
    assert warnings('[domains."example.org"]\nrecipients = ["ann"]\n') == []


# --- files ---


def test_a_slip_in_the_syntax_has_its_line() -> None:
    assert problems("x = [1,\ny = 2")[0].startswith("3: not valid TOML: ")
    assert problems('x = """')[0].startswith("2: not valid TOML: ")


def test_a_file_that_cannot_be_read_is_a_problem_without_a_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path / "no.toml")
    assert str(caught.value) == f"{tmp_path}/no.toml: cannot be read: No such file or directory"


def test_a_file_that_is_not_utf_8_has_the_line_of_the_bad_octet(tmp_path: Path) -> None:
    file = tmp_path / "waymail.toml"
    file.write_bytes(b'hostname = "a"\nx = "\xff"\n')
    with pytest.raises(ConfigError, match=r":2: is not UTF-8"):
        load(file)


def test_line_ends_of_windows_count_as_one(tmp_path: Path) -> None:
    file = tmp_path / "waymail.toml"
    file.write_bytes(b'hostname = "a"\r\n[queue]\r\nexpire = 5\r\n')
    with pytest.raises(ConfigError, match=r":3: queue\.expire: "):
        load(file)


# --- development ---


def test_the_development_server_is_on_loopback_and_keeps_everything_below_its_folder(tmp_path: Path) -> None:
    config = development(tmp_path, ipv6=True)
    addresses = [listener.address for listener in config.listeners]
    assert all(isinstance(one, Endpoint) and one.is_loopback and one.port > 1023 for one in addresses)
    assert [str(listener.address) for listener in config.listeners] == [
        "127.0.0.1:2525",
        "[::1]:2525",
        "127.0.0.1:5870",
        "127.0.0.1:4650",
    ]
    assert config.routes == {"*": Mailboxes(f"{tmp_path}/mail/{{domain}}/{{local}}")}
    assert config.users.file.parent == config.data_dir == tmp_path
    assert config.tls.self_signed
    assert config.source.warnings == ()


def test_the_development_server_does_without_ipv6_where_there_is_none(tmp_path: Path) -> None:
    assert not any("[" in str(listener.address) for listener in development(tmp_path, ipv6=False).listeners)
