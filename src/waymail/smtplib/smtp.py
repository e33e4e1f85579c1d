"""`SMTP`, as smtplib has it: one method a command, and those that do the whole."""

from __future__ import annotations

import re
import ssl
import warnings
from collections.abc import Callable, Iterable, Sequence
from email.message import Message
from smtplib import (
    SMTPConnectError,
    SMTPDataError,
    SMTPException,
    SMTPHeloError,
    SMTPNotSupportedError,
    SMTPResponseException,
    SMTPServerDisconnected,
)
from types import TracebackType
from typing import Any, Self

from waymail.mail.message import to_wire
from waymail.net import tls
from waymail.smtplib import login, message, transaction
from waymail.smtplib.connection import DEFAULT_TIMEOUT, Connection, Spoken, socket_module
from waymail.wire.commands import Data, Hello, Mail, Rcpt
from waymail.wire.errors import ProtocolError

SMTP_PORT = 25

# RFC 5321 §4.1.1.1: ehlo-keyword = (ALPHA / DIGIT) *(ALPHA / DIGIT / "-").
# Before there was a standard it was AUTH=, and some still say that.
_KEYWORD = re.compile(r"(?P<keyword>[A-Za-z0-9][A-Za-z0-9-]*)(?P<argument>.*)")
_OLD_AUTH = re.compile(r"auth=(.*)", re.IGNORECASE)

Code = tuple[int, bytes]


class SMTP(Connection):
    """A session with an SMTP server; see smtplib.SMTP for all that is the same.

    Without `timeout`, and without a default of the socket module's, each step has five minutes, and the end of a message ten (RFC
    5321 §4.5.3.2). `timeout=None` waits for ever, as the program wants it.

    To be read, and set by programs that know better: `esmtp_features`, what EHLO offered, keywords in lower case.
    """

    default_port = SMTP_PORT
    ehlo_msg = "ehlo"
    helo_resp: bytes | None = None
    ehlo_resp: bytes | None = None
    does_esmtp = False
    user = password = ""

    def __init__(
        self,
        host: str = "",
        port: int = 0,
        local_hostname: str | None = None,
        timeout: Any = DEFAULT_TIMEOUT,
        source_address: tuple[str, int] | None = None,
    ) -> None:
        super().__init__(timeout, source_address)
        self.esmtp_features: dict[str, str] = {}
        self._auth_challenge_count = 0
        self._host = host
        if host:
            code, text = self.connect(host, port)
            if code != 220:
                self.close()
                raise SMTPConnectError(code, text)
        self.local_hostname = _own_name() if local_hostname is None else local_hostname

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            code, text = self.docmd("QUIT")
            if code != 221:
                raise SMTPResponseException(code, text)
        except SMTPServerDisconnected:
            pass
        finally:
            self.close()

    # --- commands

    def docmd(self, cmd: str, args: str = "") -> Code:
        """Say a command and hear its reply."""
        self.putcmd(cmd, args)
        return self.getreply()

    def helo(self, name: str = "") -> Code:
        """HELO. `name` is `local_hostname` unless given."""
        name = name or self.local_hostname
        self._say(f"helo {name}", Hello(name, extended=False))
        code, self.helo_resp = self.getreply()
        return code, self.helo_resp

    def ehlo(self, name: str = "") -> Code:
        """EHLO (LHLO in LMTP). What is offered is then in `esmtp_features`."""
        self.esmtp_features = {}
        name = name or self.local_hostname
        self._say(f"{self.ehlo_msg} {name}", Hello(name, lmtp=self.ehlo_msg == "lhlo"))
        code, text = self.getreply()
        self.ehlo_resp = text
        if code == 250:
            self.does_esmtp = True
            self.esmtp_features = _features(text)
        return code, text

    def ehlo_or_helo_if_needed(self) -> None:
        """EHLO, and HELO where it is refused, unless one of them was said. Raises SMTPHeloError where both are refused."""
        if self.helo_resp is None and self.ehlo_resp is None and not 200 <= self.ehlo()[0] <= 299:
            code, text = self.helo()
            if not 200 <= code <= 299:
                raise SMTPHeloError(code, text)

    def has_extn(self, opt: str) -> bool:
        """Whether the server offered the extension."""
        return opt.lower() in self.esmtp_features

    def help(self, args: str = "") -> bytes:
        """HELP: the text that the server answers."""
        return self.docmd("help", args)[1]

    def rset(self) -> Code:
        """RSET."""
        self.command_encoding = "ascii"
        return self.docmd("rset")

    def noop(self) -> Code:
        """NOOP."""
        return self.docmd("noop")

    def mail(self, sender: str, options: Sequence[str] = ()) -> Code:
        """MAIL. Raises SMTPNotSupportedError where SMTPUTF8 is among the options and not offered."""
        self._put([self._mail(sender, options)])
        return self.getreply()

    def _mail(self, sender: str, options: Sequence[str]) -> Spoken:
        line = f"mail from:{message.quoteaddr(sender)}"
        if options and self.does_esmtp:
            if any(option.lower() == "smtputf8" for option in options):
                if not self.has_extn("smtputf8"):
                    raise SMTPNotSupportedError("SMTPUTF8 not supported by server")
                self.command_encoding = "utf-8"
            line = " ".join([line, *options])
        return self._spoken(line, Mail(sender))

    def rcpt(self, recip: str, options: Sequence[str] = ()) -> Code:
        """RCPT."""
        self._put([self._rcpt(recip, options)])
        return self.getreply()

    def _rcpt(self, recipient: str, options: Sequence[str]) -> Spoken:
        line = f"rcpt to:{message.quoteaddr(recipient)}"
        return self._spoken(" ".join([line, *options]) if self.does_esmtp else line, Rcpt(recipient))

    def data(self, msg: str | bytes) -> Code:
        """DATA, the content and its end. Returns the reply to it; in LMTP, which has one for each recipient, the first that is
        not 250. Raises SMTPDataError where the server does not want the content."""
        content = _content(msg)
        self._say("data", Data())
        code, text = self.getreply()
        if code != 354:
            raise SMTPDataError(code, text)
        answers = transaction.by_data(self, content)
        found = next((answer for answer in answers if answer.code != 250), answers[-1])
        return found.code, found.text

    def verify(self, address: str) -> Code:
        """VRFY."""
        return self.docmd("vrfy", message.address_only(address))

    vrfy = verify

    def expn(self, address: str) -> Code:
        """EXPN."""
        return self.docmd("expn", message.address_only(address))

    # --- TLS, and who we are

    def starttls(self, keyfile: str | None = None, certfile: str | None = None, context: ssl.SSLContext | None = None) -> Code:
        """STARTTLS and the handshake. Without a `context` of the program's own the server's certificate has to be one of an
        authority that the system trusts, for the host that was connected to.

        Raises SMTPNotSupportedError where it is not offered, SMTPResponseException where it is refused, ssl.SSLError where the
        handshake fails, SMTPException where the server goes on in clear. The connection is closed in the last two cases.
        """
        self.ehlo_or_helo_if_needed()
        if not self.has_extn("starttls"):
            raise SMTPNotSupportedError("STARTTLS extension not supported by server.")
        context = chosen_context(context, keyfile, certfile)
        code, text = self.docmd("STARTTLS")
        if code != 220:
            # RFC 3207 §4: 454, or 501
            raise SMTPResponseException(code, text)
        try:
            self._replies.start_tls()
        except ProtocolError as error:
            self.close()
            raise SMTPException(f"cleartext behind the reply to STARTTLS: {error}") from error
        self.sock = self._secured(self.sock, context)
        # RFC 3207 §4.2: what was learnt before is forgotten.
        self._forget()
        return code, text

    def _secured(self, sock: Any, context: ssl.SSLContext) -> Any:
        """The socket that speaks TLS in place of `sock`, which is closed where the handshake fails."""
        try:
            return context.wrap_socket(sock, server_hostname=self._host)
        except BaseException as error:
            self.sock = None
            sock.close()
            if isinstance(error, ssl.SSLCertVerificationError):
                error.add_note(
                    f"Is {self._host} the name that is in the certificate? An authority of your own that issued it is trusted"
                    ' with context=ssl.create_default_context(cafile="ca.pem").'
                )
            raise

    def _forget(self) -> None:
        self.helo_resp = self.ehlo_resp = None
        self.esmtp_features = {}
        self.does_esmtp = False

    def auth(self, mechanism: str, authobject: Callable[..., Any], *, initial_response_ok: bool = True) -> Code:
        """AUTH by a mechanism, whose answers `authobject` gives: to None, if it begins, and to each challenge in bytes. It
        returns text (sent in UTF-8) or bytes.

        Returns the reply (235, or 503: authenticated already). Raises SMTPAuthenticationError for all others.
        """
        return login.exchange(self, mechanism.upper(), authobject, initial_response_ok)

    def auth_cram_md5(self, challenge: bytes | None = None) -> str | None:
        """What CRAM-MD5 answers for `user` and `password`."""
        return login.cram_md5(self, challenge)

    def auth_plain(self, challenge: bytes | None = None) -> str:
        """What PLAIN answers."""
        return f"\0{self.user}\0{self.password}"

    def auth_login(self, challenge: bytes | None = None) -> str:
        """What LOGIN answers."""
        return self.user if challenge is None or self._auth_challenge_count < 2 else self.password

    def login(self, user: str, password: str, *, initial_response_ok: bool = True) -> Code:
        """Authenticate, by the best mechanism that both sides have: SCRAM first. Where one is refused the next is tried, as some
        servers offer what they do not have; but where SCRAM was, and there is no TLS, the password is not sent in clear.

        Raises SMTPNotSupportedError where AUTH is not offered, SMTPAuthenticationError where the server refuses, SMTPException
        where no mechanism is left, or where the server cannot prove that it knows the password.
        """
        self.ehlo_or_helo_if_needed()
        if not self.has_extn("auth"):
            raise SMTPNotSupportedError("SMTP AUTH extension not supported by server.")
        self.user, self.password = user, password
        return login.by_password(self, initial_response_ok)

    # --- messages

    def sendmail(
        self,
        from_addr: str,
        to_addrs: str | Iterable[str],
        msg: str | bytes,
        mail_options: Sequence[str] = (),
        rcpt_options: Sequence[str] = (),
    ) -> dict[str, Code]:
        """Send a message. Its line ends become CRLF; text has to be ASCII. `mail_options` and `rcpt_options` are said in MAIL and
        in each RCPT, where the server knows EHLO; SIZE is added, and BODY=8BITMIME where the content calls for it.

        Returns the recipients that were refused, with code and text. Raises SMTPHeloError, SMTPSenderRefused,
        SMTPRecipientsRefused (no recipient is left), SMTPDataError, SMTPNotSupportedError (SMTPUTF8); the connection stays open
        then, unless the server closes it. Raises ValueError before anything is said where an argument cannot be.
        """
        self.ehlo_or_helo_if_needed()
        chunks = self.has_extn("chunking")
        binary = chunks and any(option.upper() == "BODY=BINARYMIME" for option in mail_options)
        content = msg if binary and isinstance(msg, bytes) else _content(msg)
        options = [*self._own_options(content, mail_options), *mail_options] if self.does_esmtp else []
        recipients = [to_addrs] if isinstance(to_addrs, str) else list(to_addrs)
        return transaction.carry_out(
            self,
            self._mail(from_addr, options),
            [self._rcpt(recipient, rcpt_options) for recipient in recipients],
            content,
            pipelining=self.has_extn("pipelining"),
            chunks=chunks,
        )

    def _own_options(self, content: bytes, mail_options: Sequence[str]) -> list[str]:
        options = [f"size={len(content)}"] if self.has_extn("size") else []
        is_labelled = any(option.upper().startswith("BODY=") for option in mail_options)
        if self.has_extn("8bitmime") and not is_labelled and not content.isascii():
            options.append("BODY=8BITMIME")  # RFC 6152 §3
        return options

    def send_message(
        self,
        msg: Message,
        from_addr: str | None = None,
        to_addrs: str | Sequence[str] | None = None,
        mail_options: Sequence[str] = (),
        rcpt_options: Sequence[str] = (),
    ) -> dict[str, Code]:
        """Send a message object; its Bcc fields are not sent. The envelope is that of its fields, unless given. Where an address
        is beyond ASCII, SMTPUTF8 is asked for: SMTPNotSupportedError where it is not offered.

        Raises what `sendmail` does, and ValueError where the message names no sender or was resent more than once.
        """
        self.ehlo_or_helo_if_needed()
        sender, recipients = message.envelope_of(msg, from_addr, to_addrs)
        is_international = not "".join([sender, *recipients]).isascii()
        if is_international:
            if not self.has_extn("smtputf8"):
                raise SMTPNotSupportedError(
                    "One or more addresses are beyond ASCII, and the server does not offer SMTPUTF8, which they need"
                )
            mail_options = (*mail_options, "SMTPUTF8", "BODY=8BITMIME")
        content = message.flattened(msg, utf8=is_international)
        return self.sendmail(sender, recipients, content, mail_options, rcpt_options)

    def quit(self) -> Code:
        """QUIT, and close."""
        reply = self.docmd("quit")
        self._forget()
        self.close()
        return reply


def chosen_context(context: ssl.SSLContext | None, keyfile: str | None = None, certfile: str | None = None) -> ssl.SSLContext:
    """The program's own context, else one that verifies: with its client certificate, where it has named one."""
    if keyfile is None and certfile is None:
        return context or tls.verified()
    if context is not None:
        raise ValueError(f"context and {'keyfile' if keyfile else 'certfile'} arguments are mutually exclusive")
    warnings.warn("keyfile and certfile are deprecated, use a custom context instead", DeprecationWarning, stacklevel=3)
    if certfile is None:
        raise ValueError("certfile must be specified")
    own = ssl.create_default_context()
    own.load_cert_chain(certfile, keyfile)
    return own


def _content(msg: str | bytes) -> bytes:
    return to_wire(msg.encode("ascii") if isinstance(msg, str) else msg)


def _own_name() -> str:
    """RFC 5321 §4.1.4: our own name, or else an address literal."""
    socket = socket_module()
    name: str = socket.getfqdn()
    if "." in name:
        return name
    try:
        return f"[{socket.gethostbyname(socket.gethostname())}]"
    except OSError:
        return "[127.0.0.1]"


def _features(text: bytes) -> dict[str, str]:
    """What EHLO's reply offers. Mechanisms of AUTH may stand in several lines."""
    features: dict[str, str] = {}
    for line in text.decode("latin-1").split("\n")[1:]:
        old = _OLD_AUTH.match(line)
        found = _KEYWORD.match(line)
        if old is not None:
            keyword, argument = "auth", old[1]
        elif found is not None:
            keyword, argument = found["keyword"].lower(), found["argument"].strip()
        else:
            continue
        features[keyword] = f"{features.get(keyword, '')} {argument}" if keyword == "auth" else argument
    return features
