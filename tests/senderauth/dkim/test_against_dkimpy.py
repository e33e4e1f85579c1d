"""Second opinion: dkimpy, on real messages that were signed, and then changed by chance.

Both have to agree on what passes. Where they are not asked to, the RFCs say why:

- dkimpy takes a line feed by itself for a line end, and vertical tabs and form feeds for white space. RFC 6376 §3.4 knows CRLF,
  SP and HTAB only, so octets of these kinds are not compared.
- dkimpy looks at no message at all in which a line of the header section is no field. RFC 6376 §3.8 leaves that to the verifier;
  here such a line is passed over, as it is covered by no signature.
"""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, reject, settings
from hypothesis import strategies as st
from tests.senderauth.dkim.examples import ED25519_8463, NOW, RSA_8463, ed25519_key, key_zone, rsa_key, verified

from waymail.senderauth.dkim import sign
from waymail.senderauth.dkim.key import record

oracle: Any = pytest.importorskip("dkim", reason="dkimpy is not installed")

EXAMPLES = int(os.environ.get("WAYMAIL_DKIM_EXAMPLES", "100"))
FOLDER = Path(__file__).resolve().parents[2] / "suites" / "mail"
MAILS = [re.sub(rb"\r?\n", b"\r\n", file.read_bytes()) for file in sorted(FOLDER.glob("*.eml"))]
KEYS = {
    "rsa-sha256": (rsa_key(), RSA_8463),
    "ed25519-sha256": (ed25519_key(), ED25519_8463.encode()),
}
ODD_LINE_END = re.compile(rb"\r(?!\n)|(?<!\r)\n|[\x0b\x0c]")
PIECES = [
    b" ",
    b"\t",
    b"\r\n",
    b"\r\n ",
    b"\r\n\t\r\n",
    b"a",
    b"Z",
    b":",
    b";",
    b"=",
    b"b=",
    b"\0",
    b"\xe9",
    b"From: x\r\n",
    b"\r\n\r\n",
]
FORMS = st.sampled_from([b"simple", b"relaxed"])
SETTINGS = settings(max_examples=EXAMPLES, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])


def ours(octets: bytes, algorithm: str) -> bool:
    # dkimpy signs with the time of the machine's clock, which is later than that of the examples.
    return any(result.result == "pass" for result in verified(octets, key_zone(KEYS[algorithm][0]), now=time.time()))


def theirs(octets: bytes, algorithm: str) -> bool:
    """Raises MessageFormatError for a message that dkimpy does not look at."""
    text = record(KEYS[algorithm][0].public).encode()
    try:
        return bool(oracle.verify(octets, minkey=1024, dnsfunc=lambda name, timeout=5: text))
    except (IndexError, ValueError):  # a tag list that it does not expect
        return False


@st.composite
def signed(draw: st.DrawFn) -> tuple[bytes, str]:
    """A real message with a signature of either maker, and the algorithm of it."""
    octets = draw(st.sampled_from(MAILS))
    algorithm = draw(st.sampled_from(sorted(KEYS)))
    header, body = draw(FORMS), draw(FORMS)
    key, private = KEYS[algorithm]
    if draw(st.booleans()):
        made = sign(
            octets,
            key,
            domain="example.org",
            selector="s1",
            now=NOW,
            header_relaxed=header == b"relaxed",
            body_relaxed=body == b"relaxed",
        )
        return made + octets, algorithm
    made = oracle.sign(
        octets,
        b"s1",
        b"example.org",
        private,
        canonicalize=(header, body),
        signature_algorithm=algorithm.encode(),
        length=draw(st.booleans()),
    )
    return made + octets, algorithm


@st.composite
def changed(draw: st.DrawFn) -> tuple[bytes, str]:
    """The same, with a change or two, of which half are in the header section."""
    octets, algorithm = draw(signed())
    for _ in range(draw(st.integers(1, 2))):
        end = len(octets) if draw(st.booleans()) else octets.find(b"\r\n\r\n") + 4
        at = draw(st.integers(0, max(end - 1, 0)))
        piece = draw(st.sampled_from(PIECES))
        match draw(st.sampled_from(["insert", "delete", "case", "space", "line"])):
            case "insert":
                octets = octets[:at] + piece + octets[at:]
            case "delete":
                octets = octets[:at] + octets[at + 1 :]
            case "case":
                octets = octets[:at] + octets[at : at + 1].swapcase() + octets[at + 1 :]
            case "space" if (space := octets.find(b" ", at)) >= 0:
                octets = octets[:space] + piece + octets[space + 1 :]
            case "line" if (line := octets.find(b"\r\n", at)) >= 0:
                octets = octets[:line] + piece + octets[line:]
    return octets, algorithm


@SETTINGS
@given(signed())
def test_what_one_signs_the_other_verifies(message: tuple[bytes, str]) -> None:
    assert ours(*message)
    assert theirs(*message)


@SETTINGS
@given(changed())
def test_both_agree_on_what_passes_when_it_was_changed(message: tuple[bytes, str]) -> None:
    octets, algorithm = message
    assume(not ODD_LINE_END.search(octets))
    try:
        passes = theirs(octets, algorithm)
    except oracle.MessageFormatError:
        reject()
    assert ours(octets, algorithm) == passes
