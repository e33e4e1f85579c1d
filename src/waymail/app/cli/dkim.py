"""`waymail dkim`: keys to sign with, and what goes into DNS for them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter

from waymail.app.cli.output import CommandFailed, Exit, complain, say, say_json

if TYPE_CHECKING:
    from waymail.senderauth.dkim import SigningKey

app = App(name="dkim", help="Make keys for DKIM, and print what goes into DNS for them.")

Json = Annotated[bool, Parameter(name="--json", negative="")]

MAX_BITS = 4096  # RFC 8301 §3.2: what every verifier can verify
GOOD_BITS = 2048  # RFC 8301 §3.2: what a signer should use at least
_STRING = 255  # octets of one string of a TXT record, RFC 1035 §3.3.14


@app.command
def keygen(
    *,
    selector: str,
    domain: str,
    type: Literal["rsa", "ed25519"] = "rsa",
    bits: int = GOOD_BITS,
    out: Path | None = None,
    as_json: Json = False,
) -> int:
    """Make a key to sign with, and print the DNS record for it. A file that is there is never overwritten.

    Parameters
    ----------
    selector
        The name of the key below _domainkey, like "s1" or "2026-11". A new key gets a new one.
    domain
        The domain that signs (d=).
    type
        rsa, which everybody verifies, or ed25519, to be used beside it.
    bits
        The length of an RSA key, 1024 to 4096.
    out
        The file to write. Default: SELECTOR.DOMAIN.pem in this folder.
    as_json
        Print a JSON object.
    """
    from waymail.senderauth.dkim.sign import load_key

    if not 1024 <= bits <= MAX_BITS:
        raise CommandFailed(Exit.USAGE, f"--bits {bits}: from 1024 to {MAX_BITS}; {GOOD_BITS} is good")
    name = _name(selector, domain)
    file = out or Path(f"{selector}.{domain}.pem")
    pem = _made(type, bits)
    _write_new(file, pem)
    _print(name, load_key(pem), file, as_json)
    return Exit.OK


@app.command
def record(keyfile: Path, /, *, selector: str, domain: str, as_json: Json = False) -> int:
    """Print the DNS record for a key, as a line of a zone file.

    Parameters
    ----------
    keyfile
        The private key, in PEM.
    selector
        The name of the key below _domainkey.
    domain
        The domain that signs (d=).
    as_json
        Print a JSON object.
    """
    from waymail.senderauth.dkim.sign import load_key

    name = _name(selector, domain)
    try:
        key = load_key(keyfile.read_bytes())
    except OSError as error:
        raise CommandFailed(Exit.NO_INPUT, f"{keyfile}: {error.strerror or error}") from None
    except ValueError as error:
        raise CommandFailed(Exit.DATA, f"{keyfile}: {error}") from None
    _print(name, key, None, as_json)
    return Exit.OK


def zone_line(name: str, text: str) -> str:
    """A TXT record as a line of a zone file, its text in strings of at most 255 octets (RFC 6376 §3.6.2.2)."""
    strings = " ".join(f'"{text[at : at + _STRING]}"' for at in range(0, len(text), _STRING))
    return f"{name}. IN TXT ( {strings} )" if len(text) > _STRING else f"{name}. IN TXT {strings}"


def _name(selector: str, domain: str) -> str:
    from waymail.senderauth.dkim import key

    try:
        return key.query(selector, domain).name
    except ValueError as error:
        raise CommandFailed(Exit.USAGE, f"{selector}._domainkey.{domain}: {error}") from None


def _made(kind: str, bits: int) -> bytes:
    """A new key, in PEM."""
    from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    is_rsa = kind == "rsa"
    private = rsa.generate_private_key(65537, bits) if is_rsa else ed25519.Ed25519PrivateKey.generate()
    return private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _write_new(file: Path, pem: bytes) -> None:
    """Write a file that only its owner can read. Raises CommandFailed where there is one already, or none can be written."""
    try:
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as opened:
            opened.write(pem)
            opened.flush()
            os.fsync(opened.fileno())
    except FileExistsError:
        raise CommandFailed(Exit.IO, f"{file} is there already, and mail may be signed with it: choose another --out") from None
    except OSError as error:
        raise CommandFailed(Exit.IO, f"{file}: {error.strerror or error}") from None


def _print(name: str, key: SigningKey, file: Path | None, as_json: bool) -> None:
    from waymail.senderauth.dkim.key import record as text_of

    text = text_of(key.public)
    if as_json:
        say_json({"name": name, "type": "TXT", "text": text, "algorithm": key.algorithm, "file": str(file) if file else None})
        return
    if file:
        complain(f"waymail: the key is in {file}, readable for you only; this goes into DNS:")
    say(zone_line(name, text))
