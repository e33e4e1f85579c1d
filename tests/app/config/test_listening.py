from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path

import pytest
from tests.net.certificates import AUTHORITY, write_pair

from waymail.app.config import ConfigError, load, parse
from waymail.app.config.listening import UnixSocket
from waymail.app.config.schema import Config
from waymail.app.config.show import settings
from waymail.app.wiring import server_identity

FILE = Path("/etc/waymail/waymail.toml")
HOSTNAME = 'hostname = "mail.example.org"\n'
MX = '[[listener]]\nkind = "mx"\naddress = "127.0.0.1:0"\n'
DOMAIN = '[domains."example.org"]\nrecipients = ["ann"]\n'
SELF_SIGNED = "[tls]\nself_signed = true\n"


def read(text: str) -> Config:
    return parse(HOSTNAME + text + DOMAIN, FILE)


def problems(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(text)
    return [str(problem).removeprefix(f"{FILE}:") for problem in caught.value.problems]


def warnings(text: str) -> list[str]:
    return [f"{problem.line}: {problem.key}: {problem.message}" for problem in read(text).source.warnings]


def listener(*lines: str, address: str = "unix:run/s", kind: str = "lmtp") -> str:
    return "\n".join((f'[[listener]]\nkind = "{kind}"\naddress = "{address}"', *lines)) + "\n"


def test_a_relative_socket_is_seen_from_the_folder_of_the_file_and_shown_whole() -> None:
    one, two = read(listener('tls = "off"') + listener('tls = "off"\nmode = "600"', address="unix:/run/s")).listeners
    assert one.address == UnixSocket(Path("/etc/waymail/run/s"))
    assert (str(two.address), one.mode, two.mode) == ("unix:/run/s", 0o660, 0o600)
    shown = {setting.key: setting.value for setting in settings(read(listener('tls = "off"\nmode = "600"')))}
    assert (shown["listener[0].address"], shown["listener[0].mode"]) == ("unix:/etc/waymail/run/s", "0600")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (listener(address="unix:"), '4: listener[0].address: must name a file after "unix:"'),
        (listener(address="/run/s"), "4: listener[0].address: must be an IP address and a port"),
        (listener("mode = 0o660"), "5: listener[0].mode: must be a file mode in octal digits, in quotes"),
        (listener('mode = "0880"'), "5: listener[0].mode: must be a file mode in octal digits, in quotes"),
        (listener('tls = "implicit"') + SELF_SIGNED, '5: listener[0].tls: must be "off" or "starttls" where'),
        (listener('tls = "off"\nproxies = ["10.0.0.1"]'), "6: listener[0].proxies: cannot be where the address is a Unix socket"),
        (listener('tls = "off"') * 2, "8: listener[1].address: unix:/etc/waymail/run/s is already taken by listener[0]"),
        (MX + 'tls = "off"\nmode = "0600"\n', "6: listener[0].mode: is for Unix sockets"),
        (MX + 'tls = "off"\nproxies = ["10.0.0.1/8"]\n', "6: listener[0].proxies[0]: "),
        (MX + 'tls = "off"\nclient_certificates = "require"\n', "6: listener[0].client_certificates: needs TLS"),
        (MX + 'client_certificates = "request"\n' + SELF_SIGNED, "5: listener[0].client_certificates: needs client_ca in [tls]"),
        (MX + 'client_certificates = "yes"\n' + SELF_SIGNED, '5: listener[0].client_certificates: must be "off" or "request" or'),
        (SELF_SIGNED + "minimum = 1.3\n", '4: tls.minimum: must be "1.2" or "1.3", not 1.3'),
        (
            '[[tls.certificates]]\ncertificate = "c"\nkey = "k"\n',
            "2: tls.certificates[0]: needs certificate and key in [tls] beside it",
        ),
        (SELF_SIGNED + '[[tls.certificates]]\ncertificate = "c"\n', "4: tls.certificates[0].key: is missing"),
        (
            SELF_SIGNED + '[[tls.certificates]]\nnames = ["*.*.example"]\ncertificate = "c"\nkey = "k"\n',
            "5: tls.certificates[0].names[0]: ",
        ),
        ("[limits]\nconnections_per_minute = 0\n", '3: limits.connections_per_minute: must be 1 or more, not 0; or "off"'),
    ],
)
def test_what_cannot_be_meant_is_said_with_its_line(text: str, said: str) -> None:
    [found] = problems(text)
    assert found.startswith(said)


def test_what_is_odd_is_a_warning() -> None:
    [said] = warnings(MX + 'tls = "off"\nproxies = ["0.0.0.0/0"]\n')
    assert said == "6: listener[0].proxies[0]: 0.0.0.0/0 lets anybody choose the address that he comes from"
    [said] = warnings(MX + 'client_certificates = "require"\n' + SELF_SIGNED + 'client_ca = "ca.pem"\n')
    assert said.startswith("5: listener[0].client_certificates: keeps out every server")
    pair = '[[tls.certificates]]\nnames = ["a.example"]\ncertificate = "c"\nkey = "k"\n'
    [said] = warnings(MX + SELF_SIGNED + pair * 2)
    assert said == "12: tls.certificates[1].names: a.example is served by tls.certificates[0] already"


def test_proxies_and_limits_are_read() -> None:
    config = read(MX + 'tls = "off"\nproxies = ["10.0.0.0/8", "::1"]\n[limits]\nsessions_per_network = 50\n')
    assert config.listeners[0].proxies == (ip_network("10.0.0.0/8"), ip_network("::1"))
    assert (config.limits.sessions_per_network, config.limits.messages_per_minute) == (50, None)


# --- files ---


def served(folder: Path, more: str) -> Config:
    write_pair(folder)
    (folder / "waymail.toml").write_text(HOSTNAME + MX + '[tls]\ncertificate = "cert.pem"\nkey = "key.pem"\n' + more + DOMAIN)
    return load(folder / "waymail.toml", to_serve=True)


def test_certificates_by_name_and_authorities_that_are_there_can_be_served(tmp_path: Path) -> None:
    write_pair(tmp_path / "b", "b.example", "*.c.example")
    AUTHORITY.cert_pem.write_to_path(tmp_path / "ca.pem")
    pair = 'certificate = "b/cert.pem"\nkey = "b/key.pem"\n'
    config = served(tmp_path, f'client_ca = "ca.pem"\nminimum = "1.3"\n[[tls.certificates]]\nnames = ["x.c.example"]\n{pair}')
    assert config.source.warnings == ()
    identity = server_identity(config)
    assert identity is not None
    assert identity.context().minimum_version.name == "TLSv1_3"


def test_a_certificate_by_name_that_cannot_be_used_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        served(tmp_path, 'client_ca = "key.pem"\n[[tls.certificates]]\ncertificate = "none.pem"\nkey = "key.pem"\n')
    first, second = (str(problem).partition("waymail.toml:")[2] for problem in caught.value.problems)
    assert first == f"8: tls.client_ca: {tmp_path}/key.pem holds no certificates in PEM"
    assert second.startswith("10: tls.certificates[0].certificate: certificate ")
    assert "No such file" in second


def test_a_certificate_for_other_names_than_it_is_served_for_is_a_warning(tmp_path: Path) -> None:
    write_pair(tmp_path / "b", "b.example")
    pair = 'names = ["b.example", "c.example"]\ncertificate = "b/cert.pem"\nkey = "b/key.pem"\n'
    [warning] = served(tmp_path, f"[[tls.certificates]]\n{pair}").source.warnings
    assert warning.key == "tls.certificates[0].names"
    assert "is not for c.example" in warning.message
