"""Who a server is: its certificates, one of them for each host name that clients ask for, loaded anew when their files change.

Fails at the start where a pair cannot be used, and never later: files that changed but are broken (half written, the key of
another certificate) leave the old pair in use, and are reported.

Sessions are resumed by tickets, whose keys belong to a context. A reload makes new ones: clients with an old ticket do a whole
handshake then, and nothing fails. So it should be: who resumes a session binds his channel to the certificate that he saw, which
must be the one that is served (RFC 5929 §4), and what an old client_ca vouched for ends.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from cryptography import x509

from waymail.net import tls
from waymail.net.clock import Clock, SystemClock
from waymail.net.tls import IdentityProblem, ServerContext

CHECK_INTERVAL = 1.0  # seconds between two looks at the certificates' files

Ask = Literal["off", "request", "require"]
"""Whether clients are asked for a certificate: not at all, without insisting, or so that nobody gets in without one."""

_VERIFY = {"off": ssl.CERT_NONE, "request": ssl.CERT_OPTIONAL, "require": ssl.CERT_REQUIRED}


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate chain and its key, PEM files, for the host names `names` ("*.example.net" among them): none means those in
    the certificate's subjectAltName."""

    certificate: Path
    key: Path
    names: tuple[str, ...] = ()


_State = tuple[tuple[int, int, int] | None, ...]


@dataclass(slots=True)
class _Loaded:
    """A pair, as its files were when they could last be used. One context for each way of asking clients."""

    pair: Pair
    is_default: bool
    seen: _State = ()
    names: tuple[str, ...] = ()
    contexts: dict[Ask, ServerContext] = field(default_factory=dict)


class ServerIdentity:
    """A server's certificates and keys: the default pair, and `others` by name.

    A client that asks for no name, or an unknown one, gets the default certificate. `client_ca` vouches for clients'
    certificates, `asks` are the ways of asking for one that `context` will be called with. `report` is called with what is wrong
    with changed files, once for each change. Raises IdentityProblem where the files cannot be used now.
    """

    def __init__(
        self,
        certificate: str | Path,
        key: str | Path,
        *,
        others: Sequence[Pair] = (),
        minimum: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2,
        client_ca: Path | None = None,
        asks: tuple[Ask, ...] = ("off",),
        clock: Clock | None = None,
        report: Callable[[str], None] | None = None,
    ) -> None:
        self._default = _Loaded(Pair(Path(certificate), Path(key)), is_default=True)
        self._all = [self._default, *(_Loaded(pair, is_default=False) for pair in others)]
        self._minimum = minimum
        self._client_ca = client_ca
        self._asks = asks
        self._clock = clock or SystemClock()
        self._report = report
        self._client_ca_seen = self._client_ca_state()
        for one in self._all:
            self._load(one)
        self._by_name = self._names()
        self._check_at = self._clock.monotonic() + CHECK_INTERVAL

    def context(self, ask: Ask = "off") -> ServerContext:
        """The context to use now. One that was handed out earlier, to a listener, serves the newest certificates as well."""
        now = self._clock.monotonic()
        if now >= self._check_at:
            self._check_at = now + CHECK_INTERVAL
            self._reload_if_changed()
        return self._default.contexts[ask]

    def _reload_if_changed(self) -> None:
        client_ca = self._client_ca_state()
        changed = [one for one in self._all if client_ca != self._client_ca_seen or _state(one.pair) != one.seen]
        if not changed:
            return
        self._client_ca_seen = client_ca
        if self._default not in changed:
            changed.append(self._default)  # whose context holds the keys of all tickets
        problems: dict[str, None] = {}
        for one in changed:
            try:
                self._load(one)
            except IdentityProblem as problem:
                problems[f"{problem}; the previous certificate stays in use"] = None
        self._by_name = self._names()
        if self._report is not None:
            for text in problems:
                self._report(text)

    def _load(self, one: _Loaded) -> None:
        one.seen = _state(one.pair)
        contexts = {ask: self._make(one, ask) for ask in self._asks}
        names = one.pair.names or tuple(host_names(next(iter(contexts.values())).certificate))
        if not one.is_default:
            if not names:
                raise IdentityProblem(f"certificate {one.pair.certificate}: it has no host name in it: say which with names")
            for context in contexts.values():
                context.name = names[0]
        one.contexts, one.names = contexts, names

    def _make(self, one: _Loaded, ask: Ask) -> ServerContext:
        context = tls.server(
            one.pair.certificate,
            one.pair.key,
            minimum=self._minimum,
            client_ca=self._client_ca if ask != "off" else None,
            client_certificates=_VERIFY[ask],
        )

        # OpenSSL calls it in every handshake of a context that was handed out, also when no name is asked for.
        def choose(connection: ssl.SSLObject, name: str | None, current: ssl.SSLContext) -> None:
            newest = self._chosen(name, ask)
            if newest is not current:
                connection.context = newest

        context.sni_callback = choose
        return context

    def _chosen(self, name: str | None, ask: Ask) -> ServerContext:
        default = self.context(ask)
        if not name or not self._by_name:
            return default
        name = name.lower()
        # RFC 9525 §6.3: a wildcard is the whole left-most label, and stands for one label.
        found = self._by_name.get(name) or self._by_name.get("*." + name.partition(".")[2])
        return found.contexts[ask] if found is not None else default

    def _names(self) -> dict[str, _Loaded]:
        """Where two are for the same name, the first is taken."""
        return {name: one for one in reversed(self._all) if not one.is_default for name in one.names}

    def _client_ca_state(self) -> tuple[int, int, int] | None:
        return _state_of(self._client_ca) if self._client_ca is not None else None


def host_names(certificate: bytes) -> Iterator[str]:
    """The DNS names in a certificate's subjectAltName, in lower case; `certificate` is in DER."""
    try:
        found = x509.load_der_x509_certificate(certificate)
        names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, x509.ExtensionNotFound):
        return
    for name in names.get_values_for_type(x509.DNSName):
        yield name.lower()


def covers(pattern: str, name: str) -> bool:
    """Whether a certificate's name is good for a host name, or for all that the wildcard `name` stands for (RFC 9525 §6.3)."""
    return pattern == name or (pattern.startswith("*.") and not name.startswith("*.") and pattern[2:] == name.partition(".")[2])


def _state(pair: Pair) -> _State:
    return _state_of(pair.certificate), _state_of(pair.key)


def _state_of(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
