"""The replies that a session gives by itself. Refusals by rule stand beside their rule: `inbound`, `submission`, `directory`, and
`wire.server` for those of the protocol."""

from __future__ import annotations

from waymail.wire.replies import Reply

OK = Reply(250, "OK", "2.0.0")
SENDER_OK = Reply(250, "sender OK", "2.1.0")
RECIPIENT_OK = Reply(250, "recipient OK", "2.1.5")
RESET_OK = Reply(250, "reset", "2.0.0")
START_MAIL_INPUT = Reply(354, "end data with <CR><LF>.<CR><LF>")
READY_FOR_TLS = Reply(220, "go ahead", "2.0.0")
# RFC 5321 §3.5.3: 252 says that the address was not verified, and nothing more.
NOT_VERIFIED = Reply(252, "send some mail, it will be tried", "2.5.2")
HELP = Reply(214, "EHLO HELO MAIL RCPT DATA BDAT RSET NOOP VRFY HELP STARTTLS AUTH QUIT; RFC 5321", "2.0.0")
AUTHENTICATED = Reply(235, "authentication succeeded", "2.7.0")
NOT_AUTHENTICATED = Reply(535, "user name or password is wrong", "5.7.8")
CANCELLED = Reply(501, "authentication cancelled", "5.7.0")
BUSY_AUTH = Reply(454, "authentication is not possible now, try again later", "4.7.0")
NOT_SMTP = Reply(421, "this is an SMTP server, closing", "4.7.0")
TOO_MANY_ERRORS = Reply(421, "too many errors, closing", "4.7.0")
TOO_FAST = Reply(450, "too many messages from you in a minute, try again later", "4.7.1")
TOO_MANY_FAILURES = Reply(421, "too many failed attempts to authenticate, closing", "4.7.0")
TIMED_OUT = Reply(421, "nothing came in time, closing", "4.4.2")
NO_ADDRESS = Reply(501, "ADDR is no IP address", "5.5.4")
SHUTTING_DOWN = Reply(421, "the server is shutting down", "4.3.2")
LOOP = Reply(554, "too many hops: the message seems to go round in a circle", "5.4.6")
HEADER_TOO_LARGE = Reply(552, "the header section is too large", "5.3.4")
BUG = Reply(421, "internal error, closing", "4.3.0")
UNDECIDED = Reply(451, "this could not be decided in time, try again later", "4.3.0")
# RFC 5321 §3.1: what is said in a session that was refused.
TURNED_AWAY = Reply(503, "no mail is taken from you: say QUIT", "5.5.1")
INTERNAL_ERROR = Reply(451, "internal error, try again later", "4.3.0")
TOO_MANY_SESSIONS = Reply(421, "too many sessions, try again later", "4.3.2")
TOO_MANY_OF_YOUR_NETWORK = Reply(421, "too many sessions from your network, try again later", "4.7.0")
TOO_MANY_CONNECTIONS = Reply(421, "too many connections from your address in a minute, try again later", "4.7.0")
TOO_MANY_OF_YOURS = Reply(421, "too many sessions from your address, try again later", "4.7.0")
