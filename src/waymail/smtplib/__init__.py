"""A stand-in for the standard library's smtplib: an existing program changes one import.

    import waymail.smtplib as smtplib

`SMTP`, `SMTP_SSL` and `LMTP` have smtplib's methods, arguments and attributes, and the exceptions are smtplib's own classes: an
`except smtplib.SMTPException` catches them whichever module it names. What is better lies below:

- `sendmail` and `send_message` say MAIL, RCPT and DATA in one go where the server has PIPELINING (RFC 2920), and send content by
  BDAT where it has CHUNKING (RFC 3030).
- `starttls()` and `SMTP_SSL` verify the server's certificate. A context that the program gives is used as it is.
- `login` knows SCRAM, and never falls back from it to a password in clear.
- Nobody waits for ever: without a timeout of the program's own, the limits of RFC 5321 §4.5.3.2 hold. A reply has to be complete
  within the timeout, however slowly it trickles in, and neither its lines nor their length are without bound.
- No argument can add a line, line ends in content are CRLF whatever they were, and what came in clear behind the
  reply to STARTTLS is refused.
- `LMTP` reads the reply that each recipient has (RFC 2033 §4.2), and returns refusals like those of RCPT.

New programs have it easier with `waymail.sync`.
"""

from __future__ import annotations

import socket as socket  # programs reach for smtplib.socket
import ssl as ssl
from smtplib import (
    SMTPAuthenticationError,
    SMTPConnectError,
    SMTPDataError,
    SMTPException,
    SMTPHeloError,
    SMTPNotSupportedError,
    SMTPRecipientsRefused,
    SMTPResponseException,
    SMTPSenderRefused,
    SMTPServerDisconnected,
)

from waymail.smtplib.kinds import LMTP, SMTP_SSL
from waymail.smtplib.kinds import LMTP_PORT as LMTP_PORT
from waymail.smtplib.kinds import SMTP_SSL_PORT as SMTP_SSL_PORT
from waymail.smtplib.message import quoteaddr, quotedata
from waymail.smtplib.replies import LONGEST_LINE
from waymail.smtplib.smtp import SMTP
from waymail.smtplib.smtp import SMTP_PORT as SMTP_PORT

__all__ = [
    "LMTP",
    "SMTP",
    "SMTP_SSL",
    "SMTPAuthenticationError",
    "SMTPConnectError",
    "SMTPDataError",
    "SMTPException",
    "SMTPHeloError",
    "SMTPNotSupportedError",
    "SMTPRecipientsRefused",
    "SMTPResponseException",
    "SMTPSenderRefused",
    "SMTPServerDisconnected",
    "quoteaddr",
    "quotedata",
]

CRLF = "\r\n"
bCRLF = b"\r\n"  # noqa: N816 - smtplib's name
_MAXLINE = LONGEST_LINE
