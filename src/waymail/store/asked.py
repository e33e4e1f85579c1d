"""What the sender asked for beyond the ordinary, as a part of the envelope's text: only what is not the default is written.

`asked` gives None for an ordinary message. `options_of` and `recipient_of` read what `asked` made, and also what a version wrote
that knew fewer fields or more: what is missing has its default, what is unknown is passed over.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any

from waymail.mail.envelope import NO_OPTIONS, DeliverBy, Envelope, Options, Recipient

_OPTIONS = {one.name: one.default for one in fields(Options)}
# Address and original have columns of their own.
_PARAMETERS = {one.name: one.default for one in fields(Recipient) if one.default not in (MISSING, None)}


def is_ordinary(envelope: Envelope) -> bool:
    """Whether there is nothing to write: quick, for it is asked for each message."""
    if envelope.options is not NO_OPTIONS:
        return False
    for one in envelope.recipients:  # noqa: SIM110 - any() over a generator takes twice as long
        if one.notify or one.orcpt or one.expanded or one.folder:
            return False
    return True


def asked(envelope: Envelope) -> dict[str, Any]:
    """The options and the recipients' parameters as plain JSON data."""
    options = _changed(envelope.options, _OPTIONS)
    if envelope.options.deliver_by is not None:
        by = envelope.options.deliver_by
        options["deliver_by"] = [by.until, by.mode, by.trace]
    parameters = {str(number): _changed(one, _PARAMETERS) for number, one in enumerate(envelope.recipients)}
    return {"options": options, "recipients": {number: one for number, one in parameters.items() if one}}


def options_of(data: Mapping[str, Any]) -> Options:
    """The options that `asked` wrote."""
    options = {name: value for name, value in data["options"].items() if name in _OPTIONS}
    if not options:
        return NO_OPTIONS
    if (by := options.get("deliver_by")) is not None:
        options["deliver_by"] = DeliverBy(*by)
    return Options(**options)


def recipient_of(data: Mapping[str, Any], number: int, address: str, original: str | None) -> Recipient:
    """A recipient with the parameters that `asked` wrote."""
    parameters = data["recipients"].get(str(number), {})
    return Recipient(address, original, **{name: value for name, value in parameters.items() if name in _PARAMETERS})


def _changed(made: Options | Recipient, defaults: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, default in defaults.items() if (value := getattr(made, name)) != default}
