"""What judging a sender costs a receiving server: the rate of an mx listener with all checks, and of the same without any.

    .venv/bin/python -m bench.inbound --messages 4000 --rounds 3 --at-least 0.5

smtp-source sends one message of 4 KB again and again, signed by DKIM with a 2048-bit key; the server delivers it to smtp-sink.
With checks: SPF of the sender and of HELO, iprev, DKIM, ARC, DMARC, a list in DNS; all pass. DNS is a server in this process,
whose answers are in the cache after the first message. Needs Debian's postfix package. With `--at-least` it exits with 1 where
the median of the rounds' ratios is below.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from bench.interpreter import interpreter
from bench.relay import Sink, send
from waymail.senderauth import dkim
from waymail.senderauth.dkim.key import record
from waymail.testing.dns import serving
from waymail.testing.process import ServerProcess, free_port
from waymail.testing.zone import Zone

CONFIG = """\
hostname = "waymail.example.net"
data_dir = "data"
[[listener]]
kind = "mx"
address = "127.0.0.1:{port}"
tls = "off"
[inbound]
judge = {judge}
trusted = []
[[inbound.dnsbl]]
zone = "bl.example"
[domains."example.com"]
recipients = "any"
deliver = "smtp://127.0.0.1:{sink}?tls=off"
[dns]
resolvers = ["{dns}"]
"""
HEAD = (
    b"From: Ann <a@example.org>\r\nTo: b@example.com\r\nSubject: a message like any other\r\n"
    b"Date: Fri, 27 Nov 2026 10:00:00 +0000\r\nMessage-ID: <1@example.org>\r\nMIME-Version: 1.0\r\n\r\n"
)
WAYS = {"judged": "true", "not judged": "false"}


def signed(size: int) -> tuple[bytes, str]:
    """A message of about `size` octets with its signature, and the record of its key."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    line = b"what people write to each other, in lines of some seventy octets....\r\n"
    message = HEAD + line * (size // len(line))
    loaded = dkim.load_key(pem)
    field = dkim.sign(message, loaded, domain="example.org", selector="s1", now=int(time.time()))
    return field + message, record(loaded.public)


def zone(key: str) -> Zone:
    return Zone(
        {
            "example.org": {"TXT": ["v=spf1 include:_spf.example.org -all"], "MX": [(10, "mx.example.org")]},
            "_spf.example.org": {"TXT": ["v=spf1 ip4:192.0.2.0/24 ip4:198.51.100.0/24 ip4:127.0.0.0/8 -all"]},
            "_dmarc.example.org": {"TXT": ["v=DMARC1; p=reject"]},
            "s1._domainkey.example.org": {"TXT": [key]},
            "mx.example.org": {"A": ["127.0.0.1"]},
            "1.0.0.127.in-addr.arpa": {"PTR": ["mx.example.org"]},
            "2.0.0.127.bl.example": {"A": ["127.0.0.2"]},
        }
    )


def measure(folder: Path, address: str, octets: bytes, options: argparse.Namespace) -> dict[str, list[float]]:
    rates: dict[str, list[float]] = {name: [] for name in WAYS}
    message = folder / "message"
    message.write_bytes(octets.replace(b"\r\n", b"\n"))
    command = ["-d", "-s", str(options.sessions), "-F", str(message), "-M", "mx.example.org"]
    sink = Sink(folder)
    try:
        for number in range(options.rounds):
            for name, judge in WAYS.items():
                port = free_port()
                config = CONFIG.format(port=port, judge=judge, sink=sink.port, dns=address)
                with ServerProcess(folder / f"{judge}{number}", config, [port]) as server:
                    send(port, sink, 500, command)  # warm up
                    rates[name].append(send(port, sink, options.messages, command))
                    if judge == "true":
                        told = server.run("trace", "a@example.org", "--limit", "1", "--json")
                        if '"dmarc"' not in told:
                            raise RuntimeError(f"it was not judged: {told[:2000]}")
    finally:
        sink.stop()
    return rates


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sessions", type=int, default=20)
    parser.add_argument("--size", type=int, default=4096)
    parser.add_argument("--at-least", type=float, default=0, help="of the rate without checks")
    options = parser.parse_args()
    print(interpreter())
    octets, key = signed(options.size)
    with serving(zone(key)) as dns, tempfile.TemporaryDirectory(prefix="bench-inbound-") as folder:
        Path(folder).chmod(0o755)
        rates = measure(Path(folder), dns.address, octets, options)
    for name, values in rates.items():
        print(f"  {name:10} {min(values):7.0f} {statistics.median(values):7.0f} {max(values):7.0f}  messages/s: min, median, max")
    ratios = [ours / theirs for ours, theirs in zip(*rates.values(), strict=True)]
    print(f"  ratio      {min(ratios):7.2f} {statistics.median(ratios):7.2f} {max(ratios):7.2f}")
    if statistics.median(ratios) < options.at_least:
        print(f"  TOO SLOW: the ratio has to be {options.at_least:g} at least")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
