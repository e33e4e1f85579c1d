"""Reads the text of a zone file (RFC 1035 §5) for `waymail.testing.Zone.from_text`."""

from __future__ import annotations

from typing import Any

import dns.exception
import dns.name
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.tokenizer
import dns.zonefile

from waymail.net.answers import read_record

KINDS = frozenset({"A", "AAAA", "CNAME", "MX", "NS", "PTR", "TLSA", "TXT"})


class ZoneFile(dns.zonefile.RRsetsReaderTransaction):
    """What a zone file says. Of several zones too, unlike what dnspython makes of one.

    `names` has the records by name and type, in the form that `Zone` takes; `ttls` says how long each set of them is good for, in
    seconds; `negative` how long what is not there is, by the name of the zone (RFC 2308 §5).
    """

    def __init__(self) -> None:
        # Names outside of the manager's origin would be passed over in silence: with the root, there are none.
        manager = dns.zonefile.RRSetsReaderManager(dns.name.root, False, dns.rdataclass.IN)
        super().__init__(manager, True, False)  # type: ignore[no-untyped-call]
        self.names: dict[str, dict[str, list[Any]]] = {}
        self.ttls: dict[tuple[str, str], int] = {}
        self.negative: dict[str, int] = {}

    def add(self, *args: Any) -> None:
        owner, ttl, rdata = args
        name = owner.to_text(omit_final_dot=True).lower() if owner != dns.name.root else ""
        kind = dns.rdatatype.to_text(rdata.rdtype)
        by_type = self.names.setdefault(name, {})
        if kind in KINDS:
            by_type.setdefault(kind, []).append(read_record(kind, rdata))
            self.ttls[name, kind] = min(ttl, self.ttls.get((name, kind), ttl))
        elif kind == "SOA":
            self.negative[name] = min(ttl, rdata.minimum)
        if "CNAME" in by_type and len(by_type) > 1:
            raise ValueError(f"{name} has a CNAME record and others")


def read(text: str, origin: str, ttl: int) -> ZoneFile:
    """What `text` says. Names without a trailing dot are below `origin`, until $ORIGIN says otherwise; `ttl` is for records that
    have none, until $TTL says otherwise. $INCLUDE is refused. A record of a type that waymail never asks for is passed over, its
    name exists.

    Raises ValueError, with the line or the name, for what is no zone file.
    """
    found = ZoneFile()
    reader = dns.zonefile.Reader(dns.tokenizer.Tokenizer(text, "zone file"), dns.rdataclass.IN, found, default_ttl=ttl)
    reader.current_origin = dns.name.from_text(origin.rstrip(".") + ".")
    try:
        reader.read()
    except dns.exception.DNSException as error:
        raise ValueError(str(error)) from error
    return found
