"""unbound, a resolver that validates: signed zones it finds at a name server, all else it asks another DNS server about."""

from __future__ import annotations

from collections.abc import Mapping

import dns.dnssec
import dns.zone
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.interop.jail import Jail

from waymail.testing.process import free_port

SERVER = """\
server:
  interface: 127.0.0.1@{port}
  do-ip6: no
  username: ""
  chroot: ""
  directory: "{inside}"
  pidfile: ""
  use-syslog: no
  num-threads: 1
  access-control: 127.0.0.0/8 allow
remote-control:
  control-enable: no
"""
RESOLVER = """\
server:
  do-not-query-localhost: no
  module-config: "validator iterator"
  val-log-level: 2
  trust-anchor-file: "{anchors}"
forward-zone:
  name: "."
  forward-addr: {upstream}
"""
STUB = """\
stub-zone:
  name: "{name}"
  stub-addr: 127.0.0.1@{port}
"""
AUTHORITY = """\
auth-zone:
  name: "{name}"
  zonefile: "{file}"
  for-downstream: yes
  for-upstream: no
"""


class Unbound(Jail):
    """A resolver at `address`. `signed` are the texts of zone files by their zone; each is signed, and its key trusted. What is
    in `forged` is then replaced, so that the signature is no longer right."""

    def __init__(self, upstream: str, signed: Mapping[str, str], forged: Mapping[str, str]) -> None:
        super().__init__("unbound")
        port, authority = free_port(), free_port()
        self.address = f"127.0.0.1:{port}"
        anchors = ""
        resolver = SERVER.format(port=port, inside=self.inside)
        name_server = SERVER.format(port=authority, inside=self.inside)
        for name, text in signed.items():
            zone, anchor = sign(name, text)
            for true, false in forged.items():
                zone = zone.replace(true, false)
            anchors += anchor
            resolver += STUB.format(name=name, port=authority)
            name_server += AUTHORITY.format(name=name, file=self.write(f"{name}.zone", zone))
        resolver += RESOLVER.format(anchors=self.write("anchors", anchors), upstream=upstream.replace(":", "@"))
        self.start("unbound", "-d", "-c", self.write("authority.conf", name_server), ports=[authority])
        self.start("unbound", "-d", "-c", self.write("unbound.conf", resolver), ports=[port])


def sign(name: str, text: str) -> tuple[str, str]:
    """The zone file with its signatures (RFC 4035 §2), and the key as a trust anchor."""
    zone = dns.zone.from_text(text, name)
    key = Ed25519PrivateKey.generate()
    public = dns.dnssec.make_dnskey(key.public_key(), "ED25519", flags=257)  # one key for all; 257: others may point to it
    dns.dnssec.sign_zone(zone, keys=[(key, public)], lifetime=86_400)
    return zone.to_text(relativize=False), f"{name}. IN DNSKEY {public.to_text()}\n"
