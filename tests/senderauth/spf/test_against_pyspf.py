"""The same records, zones and clients given to pyspf, another implementation of RFC 7208: both have to come to one result.

What pyspf does otherwise is named in `explained`, with what the RFC says of it. WAYMAIL_SPF_EXAMPLES says how many are tried.
"""

from __future__ import annotations

import os
import re
from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, note, settings
from hypothesis import strategies as st

from waymail import lookups
from waymail.lookups import Mx, Query, Status
from waymail.senderauth import spf
from waymail.testing.zone import Zone

GRAMMAR = re.compile("no macro begins|keeps no part|not visible ASCII")  # of which pyspf sees less
NO_EXPLANATION = "SPF fail - not authorized"
pyspf: Any = pytest.importorskip("spf")

MANY = int(os.environ.get("WAYMAIL_SPF_EXAMPLES", "200"))

NAMES = ("a.test", "b.test", "c.a.test", "mx.test", "x.mx.test")
IPV4 = ("192.0.2.1", "192.0.2.77", "198.51.100.9")
IPV6 = ("2001:db8::1", "2001:db8:0:1::5")
CLIENTS = ("192.0.2.1", "198.51.100.9", "2001:db8::1", "::ffff:192.0.2.1")
REVERSE = ("1.2.0.192.in-addr.arpa", "9.100.51.198.in-addr.arpa", f"1.{'0.' * 23}8.b.d.0.1.0.0.2.ip6.arpa")
SENDERS = (
    "ann@a.test",
    "ann-lists+x@a.test",
    "@a.test",
    "<>",
    "a.test",
    "ann@A.Test",
    "postmaster@b.test",
    "x@test",
    "a b@b.test",
)
HELOS = ("mx.test", "a.test", "mx.test", "HELO-X", "[192.0.2.1]")


def mostly(usual: st.SearchStrategy[str], *others: st.SearchStrategy[str], weight: int = 8) -> st.SearchStrategy[str]:
    """`weight` times in ten what is usual."""
    return st.integers(0, 9).flatmap(lambda dice: usual if dice < weight else st.one_of(others))


macros = mostly(
    st.sampled_from(["%{d}", "%{i}", "%{ir}", "%{l}", "%{o}", "%{h}", "%{v}", "%{s}", "%{p}", "%{lr-}", "%{d2}", "%{S}"]),
    st.builds(
        "%{{{}{}{}{}}}".format,
        st.sampled_from("slodiphvSLODIPHVct"),
        st.sampled_from(["", "", "", "1", "2", "3", "20", "0", "01"]),
        st.sampled_from(["", "", "r", "R"]),
        st.sampled_from(["", "", "-", ".", "+-", "/_=,"]),
    ),
)
pieces = mostly(
    macros, st.sampled_from([".", ".test", "%%", "%_", "%-", "a", "a.test", "-", "..", "1", "/24", "//64", ":", "_x."])
)
domains = mostly(
    st.sampled_from(NAMES),
    st.builds("{}{}".format, st.lists(pieces, max_size=3).map("".join), st.sampled_from([".a.test", ".test", "", ".test."])),
)
prefixes = mostly(
    st.sampled_from(["", "", "/24", "/31", "/0", "//64", "/24//64"]),
    st.sampled_from(["/33", "//129", "/", "/024", "/8/8", "/1a"]),
    weight=9,
)
networks = mostly(
    st.sampled_from([*IPV4, "192.0.2.0", "203.0.113.0"]),
    st.sampled_from([*IPV6, "192.0.2", "192.0.2.256", "192.0.02.1", ""]),
    weight=9,
)
networks6 = mostly(
    st.sampled_from([*IPV6, "2001:db8::", "::ffff:192.0.2.1", "::192.0.2.1"]),
    st.sampled_from(
        [*IPV4, "2001:db8:::1", "::1%eth0", "1::2::3", "1:2:3:4:5:6:7::", "::2:3:4:5:6:7:8", "1:2:3:4:5:6:7:8:9", "12345::", ""]
    ),
    weight=9,
)
mechanisms = st.one_of(
    st.builds("ip4:{}{}".format, networks, st.sampled_from(["", "/24", "/32", "/0", "/31"])),
    st.builds("ip6:{}{}".format, networks6, st.sampled_from(["", "/64", "/128", "/0", "/127"])),
    st.sampled_from(["a", "mx", "ptr", "A", "Mx", "a/24", "mx//64"]),
    st.builds("{}:{}{}".format, st.sampled_from(["a", "mx", "A", "MX"]), domains, prefixes),
    st.builds("{}:{}".format, st.sampled_from(["ptr", "exists", "include", "include", "INCLUDE"]), domains),
)
modifiers = st.one_of(
    st.builds("redirect={}".format, domains),
    st.builds("exp={}".format, domains),
    st.builds("{}={}".format, st.sampled_from(["x-y", "moo", "a"]), domains),
)
junk = st.one_of(
    st.text("aim x4p:/=.-+%{}d1?~\x01é", min_size=1, max_size=8),
    st.sampled_from(
        [
            "all:a.test",
            "all/8",
            "exists",
            "include",
            "ptr/24",
            "ip4:1.2.3.4/33",
            "ip4",
            "ip6:",
            "redirect=",
            "exp=",
            "1x=a",
            "+x=a",
            "moo",
            "a:",
            "=",
        ]
    ),
)
directives = st.builds("{}{}".format, st.sampled_from(["", "+", "-", "~", "?"]), mechanisms)
terms = mostly(directives, modifiers, weight=8)
records = st.builds(
    lambda version, parts, gap, end: f"{version}{gap}{gap.join(parts)}{end}",
    mostly(st.just("v=spf1"), st.sampled_from(["V=SPF1", "v=spf10", "v=spf1 "]), weight=9),
    st.lists(mostly(terms, junk, weight=9), min_size=1, max_size=4),
    st.sampled_from([" ", " ", "  "]),
    st.sampled_from(["", " ", " -all", " -all", " ?all", " -all exp=x.mx.test"]),
)
explanations = mostly(
    st.sampled_from(["%{i} is not one of %{d}", "See http://%{d}/?s=%{S}&i=%{I}", "%{c} %{r} %{h}%%%_%-", "%{p} %{v} %{l1r-}"]),
    st.sampled_from(["%{d", "%", "%{x}", "é", "%(d)"]),
)
texts = st.integers(0, 9).flatmap(
    lambda dice: st.lists(records, min_size=1, max_size=1) if dice < 8 else st.lists(st.one_of(records, explanations), max_size=2)
)
hosts = st.fixed_dictionaries(
    {
        "TXT": texts,
        "A": st.one_of(*[st.lists(st.sampled_from(IPV4), max_size=2)] * 5, st.just("TIMEOUT")),
        "AAAA": st.lists(st.sampled_from(IPV6), max_size=2),
        "MX": st.lists(st.tuples(st.integers(0, 1), st.sampled_from(NAMES)), max_size=2, unique_by=lambda mx: mx[1]),
    }
)
others = st.integers(0, 9).flatmap(lambda dice: hosts if dice < 9 else st.sampled_from(["TIMEOUT", "SERVFAIL"]))
zones = st.builds(
    lambda names, why, pointers: {
        **names,
        "x.mx.test": {"TXT": [why]},
        **{name: {"PTR": found} for name, found in pointers.items()},
    },
    st.fixed_dictionaries({"a.test": hosts, "b.test": hosts, "mx.test": others}, optional={"c.a.test": others}),
    explanations,
    st.dictionaries(st.sampled_from(REVERSE), st.lists(st.sampled_from(NAMES), max_size=2, unique=True)),
)


def by_pyspf(zone: Zone, ip: str, sender: str, helo: str) -> tuple[str, str]:
    """Its result, and what it says of that. Void lookups are not limited: it counts questions where the RFC counts terms."""

    def look_up(name: str, kind: str, tcpfallback: bool = True, timeout: float = 0) -> list[Any]:
        answer = zone.answer(Query(name, kind))
        if answer.status is Status.FAILURE:
            raise pyspf.TempError(f"DNS {answer.reason}")
        return [((name, kind), _as_pyspf_has_it(kind, record)) for record in answer.records]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pyspf, "DNSLookup", look_up)
        patch.setattr(pyspf, "MAX_VOID_LOOKUPS", 1000)
        result, _, explanation = pyspf.query(i=ip, s=sender.strip("<>"), h=helo, receiver="here.test", querytime=0).check()
    return result, explanation


def _as_pyspf_has_it(kind: str, record: Any) -> Any:
    if isinstance(record, Mx):
        return record.preference, record.host
    return (record.encode("utf-8", "surrogateescape"),) if kind == "TXT" else record


def explained(names: dict[str, Any], ours: spf.SpfResult, theirs: str, said: str) -> str:
    """Why pyspf may come to another result, or "" where nothing explains it."""
    records = " ".join(text for entry in names.values() if isinstance(entry, dict) for text in entry.get("TXT", ())).lower()
    names_asked_for = "ptr" in records or "%{p" in records
    if theirs == "temperror" and names_asked_for:
        return "§5.5, §7.3: trouble while the client's names are asked for is no error: ptr does not match, %{p} is unknown"
    if theirs == "temperror" and any("mx" in step.term.lower() and step.outcome == "match" for step in ours.steps):
        return "§5.4: if any address matches, the mechanism matches; in which order hosts are asked for is not said"
    if ours.result == "permerror" and GRAMMAR.search(ours.reason):
        return "§7.1, §7.3: the grammar of macros; pyspf looks for some mistakes only, and takes %{d0} for %{d}"
    if re.search(r"%\{[^sl}][0-9r]*\.*[-+,/_=]", records):
        return "§7.3: parts are rejoined by dots; pyspf does so for %{s} and %{l} alone"
    if re.search(r"(?<!redirect)(?<!exp)= MUST appear at most once", said):
        return "§6: modifiers that nobody knows are ignored, however often they appear"
    if "c,r,t macros allowed in exp" in said:
        return "§12: an unknown modifier is any macro-string"
    if "invalid-macro-char" in said and "%%" in said:
        return "§7.1: %% is a macro, wherever it stands"
    if "include has trivial recursion" in said:
        return "§5.2: an include of the record itself is a permerror when it comes to it, by the limit of §4.6.4"
    if "Too many DNS lookups" in said and "redirect=" in records:
        return "§4.6.4: a redirect counts when it is evaluated, not when a mechanism has matched before"
    if "more than 10 terms" in ours.reason and "%{p" in records:
        return "§4.6.4: the PTR query of %{p} is included in the limit"
    return ""


@settings(
    max_examples=MANY,
    derandomize="WAYMAIL_SPF_EXAMPLES" not in os.environ,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(names=zones, ip=st.sampled_from(CLIENTS), sender=st.sampled_from(SENDERS), helo=st.sampled_from(HELOS))
def test_pyspf_comes_to_the_same_result(names: dict[str, Any], ip: str, sender: str, helo: str) -> None:
    zone = Zone(names)
    # pyspf counts questions as void lookups, where RFC 7208 §4.6.4 counts terms: neither is to mind
    ours = lookups.run(spf.check(ip, sender, helo, receiver="here.test", limits=spf.Limits(void_lookups=1000)), zone)
    theirs, said = by_pyspf(zone, ip, sender, helo)
    note(f"{ours}\n{said}")
    if why := explained(names, ours, theirs, said):
        event(why)
        return
    assert ours.result == theirs
    if ours.result != "fail" or sender.find("@") <= 0 or any("%{p" in str(entry) for entry in names.values()):
        return  # §4.3: without a local part %{s} has "postmaster"; §7.3: trouble with %{p} is no error
    if not GRAMMAR.search(ours.steps[-1].note):  # §6.2: what is no explain-string is no explanation
        assert ours.explanation == ("" if said == NO_EXPLANATION else said)
