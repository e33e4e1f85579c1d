"""Whether a command fits what was offered, the limits, and what was said before: one function for each command.

Each gives the command back, its parameters in their normal form, or raises SyntaxProblem with the reply that is due. The order of
commands is not judged here, but in `state`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from waymail.wire import extensions
from waymail.wire.commands import Auth, Command, Data, Etrn, Hello, Mail, Rcpt, StartTls, Verify, XClient, XForward
from waymail.wire.errors import SyntaxProblem
from waymail.wire.parameters import Terms, checked_mail_parameters, checked_rcpt_parameters
from waymail.wire.replies import Reply

if TYPE_CHECKING:
    from waymail.wire.server import ServerConnection

TOO_MANY_RECIPIENTS = Reply(452, "too many recipients: send the message again to the others", "4.5.3")
NOT_OFFERED = Reply(502, "this extension is not offered", "5.5.1")
TLS_ACTIVE = Reply(503, "TLS is active already", "5.5.1")
NEEDS_TLS = Reply(538, "authentication needs TLS: send STARTTLS first", "5.7.11")
AUTHENTICATED_ALREADY = Reply(503, "authenticated already", "5.5.1")
NO_SUCH_MECHANISM = Reply(504, "this mechanism is not offered", "5.5.4")
TOO_MANY_MESSAGES = Reply(452, "too many messages in one session: send the others in another", "4.5.3")
IS_LMTP = Reply(500, "this is LMTP: say LHLO", "5.5.1")  # RFC 2033 §4.1
IS_SMTP = Reply(500, "this is SMTP: say EHLO", "5.5.1")
BINARY_BY_DATA = Reply(503, "BODY=BINARYMIME goes with BDAT only", "5.5.1")  # RFC 3030 §3
UTF8_NOT_OFFERED = Reply(553, "addresses are ASCII here: SMTPUTF8 is not offered", "5.6.7")
SENDER_NEEDS_UTF8 = Reply(550, "an address beyond ASCII needs the parameter SMTPUTF8", "5.6.7")  # RFC 6531 §3.5
RECIPIENT_NEEDS_UTF8 = Reply(553, "an address beyond ASCII needs SMTPUTF8 in MAIL", "5.6.7")
UTF8_VERIFY = Reply(555, "the parameter SMTPUTF8 is not offered", "5.5.4")
UNKNOWN_ATTRIBUTE = Reply(501, "an attribute that is not offered", "5.5.4")


def checked_hello(session: ServerConnection, hello: Hello) -> Hello:
    if hello.lmtp is not session.offer.lmtp:
        raise SyntaxProblem(IS_LMTP if session.offer.lmtp else IS_SMTP)
    session.greeting = hello
    return hello


def terms(session: ServerConnection) -> Terms:
    offer = session.offer
    extended = session.hello is not None and session.hello.extended
    return Terms(extended, session.secure, offer.limits.message_size, offer.extensions, session.offers_auth)


def checked_mail(session: ServerConnection, mail: Mail) -> Mail:
    session.utf8 = session.binary = False
    most = session.offer.limits.transactions
    if most and session.transactions >= most:
        raise SyntaxProblem(TOO_MANY_MESSAGES)
    if not mail.parameters:
        if not mail.sender.isascii():
            raise SyntaxProblem(SENDER_NEEDS_UTF8 if "SMTPUTF8" in session.offer.extensions else UTF8_NOT_OFFERED)
        return mail
    parameters = checked_mail_parameters(mail.parameters, terms(session))
    session.utf8 = "SMTPUTF8" in parameters
    session.binary = parameters.get("BODY") == "BINARYMIME"
    if not (session.utf8 or mail.sender.isascii()):
        raise SyntaxProblem(SENDER_NEEDS_UTF8 if "SMTPUTF8" in session.offer.extensions else UTF8_NOT_OFFERED)
    return Mail(mail.sender, parameters)


def checked_rcpt(session: ServerConnection, rcpt: Rcpt) -> Rcpt:
    if rcpt.parameters:
        rcpt = Rcpt(rcpt.recipient, checked_rcpt_parameters(rcpt.parameters, terms(session), utf8=session.utf8))
    if not (session.utf8 or rcpt.recipient.isascii()):
        raise SyntaxProblem(RECIPIENT_NEEDS_UTF8 if "SMTPUTF8" in session.offer.extensions else UTF8_NOT_OFFERED)
    if session.accepted >= session.offer.limits.recipients:
        # RFC 5321 §4.5.3.1.10: 452, and the recipients before this one stand.
        raise SyntaxProblem(TOO_MANY_RECIPIENTS)
    return rcpt


def checked_data(session: ServerConnection, data: Data) -> Data:
    if session.binary:
        raise SyntaxProblem(BINARY_BY_DATA)
    return data


def checked_verify(session: ServerConnection, verify: Verify) -> Verify:
    if verify.utf8 and "SMTPUTF8" not in session.offer.extensions:
        raise SyntaxProblem(UTF8_VERIFY)
    session.verifies_utf8 = verify.utf8
    return verify


def checked_etrn(session: ServerConnection, etrn: Etrn) -> Etrn:
    if "ETRN" not in session.offer.extensions:
        raise SyntaxProblem(NOT_OFFERED)
    return etrn


def checked_attributes(session: ServerConnection, command: XClient | XForward) -> XClient | XForward:
    name, known = "XFORWARD", frozenset(extensions.XFORWARD_ATTRIBUTES)
    if isinstance(command, XClient):
        name, known = "XCLIENT", frozenset(extensions.XCLIENT_ATTRIBUTES)
    if name not in session.offer.extensions:
        raise SyntaxProblem(NOT_OFFERED)
    if not command.attributes.keys() <= known:
        raise SyntaxProblem(UNKNOWN_ATTRIBUTE)
    return command


def checked_starttls(session: ServerConnection, starttls: StartTls) -> StartTls:
    if session.secure:
        raise SyntaxProblem(TLS_ACTIVE)  # RFC 3207 §4.2
    if not session.offer.starttls:
        raise SyntaxProblem(NOT_OFFERED)
    return starttls


def checked_auth(session: ServerConnection, auth: Auth) -> Auth:
    if not session.offer.auth:
        raise SyntaxProblem(NOT_OFFERED)
    if not session.offers_auth:
        raise SyntaxProblem(NEEDS_TLS)
    if session.authenticated:
        raise SyntaxProblem(AUTHENTICATED_ALREADY)  # RFC 4954 §4
    if auth.mechanism not in session.offer.auth:
        raise SyntaxProblem(NO_SUCH_MECHANISM)
    return auth


CHECKS: Mapping[type, Callable[[ServerConnection, Any], Command]] = {
    Hello: checked_hello,
    Mail: checked_mail,
    Rcpt: checked_rcpt,
    Data: checked_data,
    Verify: checked_verify,
    Etrn: checked_etrn,
    XClient: checked_attributes,
    XForward: checked_attributes,
    StartTls: checked_starttls,
    Auth: checked_auth,
}
