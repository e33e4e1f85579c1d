"""The tables of [users] and [submission]: where users come from, how they prove who they are, how much they may send."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any

from pydantic import PlainSerializer, PlainValidator

from waymail.app.config.section import Section, default, optional
from waymail.app.config.values import AbsolutePath, Count, Flag, Seconds
from waymail.app.units import shown
from waymail.wire import sasl


def count_or_off(value: object) -> int:
    """A whole number of at least 1, or 0 for "off"."""
    if value == "off":
        return 0
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f'must be a whole number of at least 1, or "off", not {shown(value)}')
    return value


def mechanism(value: object) -> str:
    """The name of a SASL mechanism."""
    if not isinstance(value, str) or value.upper() not in sasl.MECHANISMS:
        raise ValueError(f"{shown(value)} is no mechanism: there are {', '.join(sasl.MECHANISMS)}")
    return value.upper()


def python_class(value: object) -> str:
    """ "module:Class" """
    if not isinstance(value, str) or not re.fullmatch(r"\w+(\.\w+)*:\w+", value):
        raise ValueError(f'must be the name of a class, like "mypackage.users:Users", not {shown(value)}')
    return value


def dsn(value: object) -> str | dict[str, Any]:
    """What a driver connects with: one text, or a table of its keyword arguments."""
    if isinstance(value, str) and value:
        return value
    if isinstance(value, dict) and value:
        return value
    raise ValueError("must be a text, or a table of what the driver's connect() takes")


def url(schemes: tuple[str, ...], value: object) -> str:
    """A URL with one of these schemes."""
    if not isinstance(value, str) or not re.fullmatch(rf"(?:{'|'.join(schemes)})://[^\s/]+(?:/\S*)?", value):
        raise ValueError(f"must be a URL that begins with {' or '.join(f'{one}://' for one in schemes)}, not {shown(value)}")
    return value


def text(value: object) -> str:
    """A text that is not empty."""
    if not isinstance(value, str) or not value:
        raise ValueError(f"must be a text, not {shown(value)}")
    return value


CountOrOff = Annotated[int, PlainValidator(count_or_off), PlainSerializer(lambda value: value or "off", return_type=int | str)]
Mechanism = Annotated[str, PlainValidator(mechanism)]
PythonClass = Annotated[str, PlainValidator(python_class)]
Text = Annotated[str, PlainValidator(text)]
# Never shown: a password may stand in it.
Secret = Annotated[str, PlainValidator(text), PlainSerializer(lambda _: "***")]
Dsn = Annotated[str | dict[str, Any], PlainValidator(dsn), PlainSerializer(lambda _: "***")]
HttpsUrl = Annotated[str, PlainValidator(partial(url, ("https", "http")))]
LdapUrl = Annotated[str, PlainValidator(partial(url, ("ldaps", "ldap")))]


class Sql(Section):
    """[users] sql"""

    driver: Text
    dsn: Dsn
    query: Text


class Ldap(Section):
    """[users] ldap"""

    url: LdapUrl
    base: Text
    bind_dn: Text | None = optional()
    bind_password: Secret | None = optional()
    filter: Text = default("(mail={name})")
    addresses: Text = default("mail")
    starttls: Flag = default(True)
    ca: AbsolutePath | None = optional()


class Introspection(Section):
    """[users] oauth.introspection"""

    url: HttpsUrl
    client_id: Text
    client_secret: Secret


class OAuth(Section):
    """[users] oauth"""

    issuer: Text
    audience: Text | None = optional()
    jwks: HttpsUrl | None = optional()
    jwks_file: AbsolutePath | None = optional()
    introspection: Introspection | None = optional()
    user_claim: Text = default("email")
    scopes: tuple[Text, ...] = default([])


class Users(Section):
    """[users]"""

    file: AbsolutePath = default("users.toml")
    sql: Sql | None = optional()
    ldap: Ldap | None = optional()
    dovecot: AbsolutePath | None = optional()
    python: PythonClass | None = optional()
    oauth: OAuth | None = optional()
    mechanisms: tuple[Mechanism, ...] | None = optional()

    @property
    def other(self) -> Mapping[str, object]:
        """The back ends that are named; where it is none, it is the file."""
        named = {"sql": self.sql, "ldap": self.ldap, "dovecot": self.dovecot, "python": self.python}
        return {name: value for name, value in named.items() if value is not None}


class Submission(Section):
    """[submission]: 0 is "off"."""

    messages_per_hour: CountOrOff = default("off")
    recipients_per_day: CountOrOff = default("off")
    recipients_per_message: CountOrOff = default("off")
    freeze_after: CountOrOff = default(20)


class AuthLimits(Section):
    """The part of [limits] that slows down whoever guesses passwords; times in seconds."""

    auth_failures_per_address: Count = default(30)
    auth_failures_per_user: Count = default(10)
    auth_failures_window: Seconds = default("10m")
    auth_block: Seconds = default("15m")
