"""The types of what [[listener]] and [tls] say, as `values` has those of other keys; and what is wrong or odd between them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import PlainSerializer, PlainValidator, ValidationInfo

from waymail.app.config.positions import KeyPath
from waymail.app.config.values import Endpoint, count, domain_name, endpoint, folder
from waymail.app.units import shown

if TYPE_CHECKING:
    from waymail.app.config.schema import Config

UNIX = "unix:"


@dataclass(frozen=True, slots=True)
class UnixSocket:
    """A socket in the file system, at an absolute path."""

    path: Path

    @property
    def is_loopback(self) -> bool:
        return True  # nobody but this machine's users, as far as the file's mode lets them in

    def __str__(self) -> str:
        return f"{UNIX}{self.path}"


def listen_address(value: object, info: ValidationInfo) -> Endpoint | UnixSocket:
    """ "192.0.2.1:25", "[2001:db8::1]:25", or "unix:PATH", a relative path seen from the folder of the configuration file."""
    if isinstance(value, str) and value.startswith(UNIX):
        path = value.removeprefix(UNIX)
        if not path or "\0" in path:
            raise ValueError(f'must name a file after "unix:", like "unix:/run/waymail/lmtp.sock", not {shown(value)}')
        return UnixSocket(folder(info) / Path(path).expanduser())
    try:
        return endpoint(value)
    except ValueError as error:
        raise ValueError(f'{error}; or "unix:" and a path') from None


def file_mode(value: object) -> int:
    """The permissions of a file, as chmod takes them."""
    if not isinstance(value, str) or not re.fullmatch(r"0?[0-7]{3}", value):
        raise ValueError(f'must be a file mode in octal digits, in quotes, like "0660", not {shown(value)}')
    return int(value, 8)


def certificate_name(value: object) -> str:
    """A host name, or "*." and a domain for all names one label below it (RFC 9525 §6.3)."""
    if isinstance(value, str) and value.startswith("*."):
        return "*." + domain_name(value[2:])
    return domain_name(value)


def count_or_off(value: object) -> int | None:
    """A whole number of at least 1, or None for "off"."""
    if value == "off":
        return None
    try:
        return count(value)
    except ValueError as error:
        raise ValueError(f'{error}; or "off"') from None


def problems(config: Config) -> Iterator[tuple[KeyPath, str]]:
    """What cannot be meant."""
    for index, listener in enumerate(config.listeners):
        is_unix = isinstance(listener.address, UnixSocket)
        if is_unix and listener.tls == "implicit":
            yield ("listener", index, "tls"), 'must be "off" or "starttls" where the address is a Unix socket'
        if is_unix and listener.proxies:
            yield ("listener", index, "proxies"), "cannot be where the address is a Unix socket: its clients have no address"
        if not is_unix and "mode" in listener.model_fields_set:
            yield ("listener", index, "mode"), 'is for Unix sockets, whose address begins with "unix:"'
        if listener.client_certificates != "off":
            at = ("listener", index, "client_certificates")
            if listener.tls == "off":
                yield at, 'needs TLS: it must be "off" where tls = "off"'
            elif config.tls.client_ca is None:
                yield at, "needs client_ca in [tls]: the authorities whose certificates are good"
    if config.tls.certificates and not config.tls.certificate and not config.tls.self_signed:
        yield (
            ("tls", "certificates", 0),
            "needs certificate and key in [tls] beside it, for clients that ask for no name",
        )


def oddities(config: Config) -> Iterator[tuple[KeyPath, str]]:
    """What can be meant, but hardly is."""
    for index, listener in enumerate(config.listeners):
        if listener.kind == "mx" and listener.client_certificates == "require":
            message = "keeps out every server that has no certificate of client_ca"
            yield ("listener", index, "client_certificates"), message
        elif listener.kind == "mx" and listener.client_certificates == "request":
            message = "turns away servers that show a certificate of any other authority than client_ca; many do, when asked"
            yield ("listener", index, "client_certificates"), message
        for at, network in enumerate(listener.proxies):
            if network.prefixlen == 0:
                yield ("listener", index, "proxies", at), f"{network} lets anybody choose the address that he comes from"
    first: dict[str, int] = {}
    for index, pair in enumerate(config.tls.certificates):
        for name in pair.names:
            if first.setdefault(name, index) != index:
                message = f"{name} is served by tls.certificates[{first[name]}] already"
                yield ("tls", "certificates", index, "names"), message


ListenAddress = Annotated[Endpoint | UnixSocket, PlainValidator(listen_address), PlainSerializer(str)]
FileMode = Annotated[int, PlainValidator(file_mode), PlainSerializer(lambda mode: f"{mode:04o}")]
CertificateName = Annotated[str, PlainValidator(certificate_name)]
CountOrOff = Annotated[int | None, PlainValidator(count_or_off), PlainSerializer(lambda value: "off" if value is None else value)]
