"""Second opinion: dkimpy, on chains that either of both made, and that were then changed by chance.

Both have to agree on what passes, but for what is said where it is decided below.
"""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.senderauth.arc.examples import RSA, RSA_8463, changed, sealed, verified

from waymail.mail import headers
from waymail.senderauth.dkim.key import record

oracle: Any = pytest.importorskip("dkim", reason="dkimpy is not installed")

EXAMPLES = int(os.environ.get("WAYMAIL_ARC_EXAMPLES", "40"))
FOLDER = Path(__file__).resolve().parents[2] / "suites/mail"
MAILS = [re.sub(rb"\r?\n", b"\r\n", file.read_bytes()) for file in sorted(FOLDER.glob("*.eml"))]
ODD_LINE_END = re.compile(rb"\r(?!\n)|(?<!\r)\n|[\x0b\x0c]")
# dkimpy looks at no message with a line in its header section that is no field.
PLAIN = [mail for mail in MAILS if re.fullmatch(rb"([!-9;-~]+:(.|\r\n[ \t])*\r\n)+", headers.header_section(mail))]
PIECES = [b" ", b"\r\n ", b"\t", b"a", b"Z", b";", b"=", b"1", b"i=", b"i=2;", b"h=", b"cv=", b"pass", b"\xe9"]


def theirs(message: bytes) -> str:
    text = record(RSA.public).encode()
    try:
        cv, _, _ = oracle.arc_verify(message, minkey=1024, dnsfunc=lambda name, timeout=5: text)
    except (IndexError, ValueError, AttributeError, KeyError):  # a field that it does not expect
        return "fail"
    return "none" if cv is None else str(cv.decode())


def sealed_by_them(message: bytes, instance: int) -> bytes:
    domain = f"hop{instance}.example"
    found = b"Authentication-Results: %b; spf=pass smtp.mailfrom=example.net" % domain.encode()
    found += b"; arc=pass\r\n" if instance > 1 else b"\r\n"
    message = found + message
    fields = oracle.arc_sign(message, b"s%d" % instance, domain.encode(), RSA_8463, domain.encode())
    return b"".join(fields) + message


@st.composite
def chains(draw: st.DrawFn) -> bytes:
    """A real message with up to three sets, each by either maker."""
    message = draw(st.sampled_from(PLAIN))
    for instance, is_ours in enumerate(draw(st.lists(st.booleans(), min_size=1, max_size=3)), 1):
        message = sealed(message, instance, now=time.time()) if is_ours else sealed_by_them(message, instance)
    return message


SETTINGS = settings(max_examples=EXAMPLES, suppress_health_check=[HealthCheck.too_slow])


@given(chains())
@SETTINGS
def test_what_one_sealed_passes_with_the_other(message: bytes) -> None:
    assert theirs(message) == "pass"
    assert verified(message, now=time.time()).result == "pass"


@given(chains(), st.data())
@SETTINGS
def test_both_agree_on_a_chain_that_was_changed(message: bytes, data: st.DataObject) -> None:
    end = len(headers.header_section(message))
    # Mostly where the ARC fields are.
    at = data.draw(st.integers(0, min(end, 3000)) | st.integers(0, len(message)))
    message = message[:at] + data.draw(st.sampled_from(PIECES)) + message[at + data.draw(st.integers(0, 3)) :]
    if ODD_LINE_END.search(message) or not re.fullmatch(rb"([!-9;-~]+:(.|\r\n[ \t])*\r\n)+", headers.header_section(message)):
        return  # not what a server takes; and dkimpy has its own idea of lines (RFC 6376 §3.4 knows CRLF only)
    if message.endswith((b" ", b"\t")):
        return  # RFC 6376 §3.4.4 ignores white space at the end of a line; dkimpy only where a CRLF ends the line
    if re.search(rb"\r\nARC-Message-Signature:(?! i=\d)", message):
        return  # RFC 6376 §3.4.2: white space around a colon is no difference; dkimpy finds the field by "...: i=1" only
    ours = verified(message, now=time.time())
    assert ours.result == theirs(message), ours.reason


def test_both_take_only_a_chain_with_all_fields() -> None:
    message = sealed(sealed(PLAIN[0], now=time.time()), 2, now=time.time())
    for name in (b"ARC-Seal", b"ARC-Message-Signature", b"ARC-Authentication-Results"):
        broken = changed(message, name + rb": i=1", b"X: i=1")
        assert theirs(broken) == verified(broken, now=time.time()).result == "fail"
