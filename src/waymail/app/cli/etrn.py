"""`waymail etrn`: ask a server for the mail that waits there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from waymail.app.cli.output import CommandFailed, Exit, say, say_json
from waymail.app.cli.send import Switch, Url, tls_context

if TYPE_CHECKING:
    from waymail.wire.replies import Reply


async def etrn(
    domain: str,
    /,
    *,
    url: Url = None,
    below: Switch = False,
    tls_ca: Path | None = None,
    insecure: Switch = False,
    timeout: float = 60.0,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> int:
    """Ask a server to try at once what waits there for a domain (RFC 1985). The mail comes by connections that the server opens.

    Exits with 0 where the server does so, with 75 where trying again may help, else with 69.

    Parameters
    ----------
    domain
        The domain, as it stands in the addresses of the waiting mail.
    url
        The server: smtp://HOST:PORT (STARTTLS is required; ?tls=off does without), smtps://...
    below
        For the domains below it, too.
    tls_ca
        A PEM file with the certificate to trust, or that of its authority, instead of the system's.
    insecure
        Do not check the server's certificate.
    timeout
        Seconds that it may take in all.
    as_json
        Print a JSON object.
    """
    if not url:
        raise CommandFailed(Exit.USAGE, "which server? give --url smtp://HOST:PORT, or set WAYMAIL_URL")
    reply = await _asked(domain, url, below, tls_ca, insecure, timeout)
    if as_json:
        say_json({"code": reply.code, "enhanced": reply.enhanced, "text": reply.text})
    else:
        say(str(reply))
    return Exit.OK


async def _asked(domain: str, url: str, below: bool, tls_ca: Path | None, insecure: bool, timeout: float) -> Reply:
    from waymail.client.api import Client
    from waymail.client.errors import SMTPError

    try:
        async with Client(url, tls_context=tls_context(tls_ca, insecure), timeout=timeout) as client:
            return await client.etrn(domain, below=below)
    except SMTPError as error:
        raise CommandFailed(Exit.TEMPORARY if error.is_temporary and error.reply else Exit.UNAVAILABLE, str(error)) from None
    except ValueError as error:
        raise CommandFailed(Exit.USAGE, str(error)) from None
