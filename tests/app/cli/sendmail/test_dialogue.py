from __future__ import annotations

from itertools import pairwise

from waymail.app.cli.sendmail.dialogue import Dialogue
from waymail.app.cli.sendmail.message import Person
from waymail.app.cli.sendmail.submit import Became
from waymail.wire.replies import Reply

ANN = Person("ann", "Ann Example", "host.example.org")
NO_USER = Reply(550, "no such user", "5.1.1")


class Taken:
    """What came out of a dialogue; each message becomes the next of `became`."""

    def __init__(self, *became: Became | Reply) -> None:
        self.messages: list[tuple[str, list[str], bytes]] = []
        self._became = list(became)

    def submit(self, sender: str, recipients: list[str], content: bytes) -> Became | Reply:
        self.messages.append((sender, recipients, content))
        return self._became.pop(0)


def said(octets: bytes, taken: Taken | None = None, *, cut: int = 65536) -> list[str]:
    """The replies to a client that says all this, in pieces."""
    pieces = [octets[at : at + cut] for at in range(0, len(octets), cut)] + [b""]
    out: list[bytes] = []
    Dialogue(ANN, lambda _: pieces.pop(0), out.append, (taken or Taken()).submit).run()
    return b"".join(out).decode().splitlines()


MESSAGE = (
    b"MAIL FROM:<ann@example.org>\r\nRCPT TO:<bob@example.net>\r\nRCPT TO:<postmaster>\r\nDATA\r\nSubject: x\r\n\r\n..\r\n.\r\n"
)


def test_a_message_is_taken_however_it_is_cut() -> None:
    for cut in (1, 7, 65536):
        taken = Taken(Became(("bob@example.net",), reply=Reply(250, "queued as 1", "2.0.0")))
        replies = said(b"EHLO me\r\n" + MESSAGE + b"QUIT\r\n", taken, cut=cut)
        assert replies[0] == "220 host.example.org ESMTP waymail"
        assert replies[-6:] == [
            "250 2.0.0 OK", "250 2.0.0 OK", "250 2.0.0 OK", "354 go on", "250 2.0.0 queued as 1", "221 2.0.0 goodbye",
        ]  # fmt: skip
        content = b"Subject: x\r\n\r\n.\r\n"
        assert taken.messages == [("ann@example.org", ["bob@example.net", "postmaster@host.example.org"], content)]


def test_each_message_has_the_reply_of_what_became_of_it() -> None:
    refused = {"bob@example.net": NO_USER}
    taken = Taken(
        Became(refused=refused),
        Became(("postmaster@host.example.org",), refused=refused, reply=Reply(250, "OK", "2.0.0")),
        Became(waiting=("bob@example.net",)),
        Reply(451, "not now", "4.3.0"),
    )
    replies = said(b"EHLO me\r\n" + MESSAGE * 4, taken)
    ends = [reply for before, reply in pairwise(replies) if before == "354 go on"]
    assert ends == ["550 5.1.1 no such user", "250 2.0.0 OK", "250 2.0.0 kept, and sent later", "451 4.3.0 not now"]
    assert len(taken.messages) == 4


def test_lines_that_end_in_lf_alone_are_understood() -> None:
    taken = Taken(Became(("bob@example.net",)))
    assert said(b"HELO me\n" + MESSAGE.replace(b"\r\n", b"\n"), taken)[-1] == "250 2.0.0 OK"
    assert taken.messages[0][2] == b"Subject: x\r\n\r\n.\r\n"


def test_all_other_commands_have_an_answer() -> None:
    replies = said(
        b"NOOP\r\nHELP\r\nVRFY ann\r\nEHLO me\r\nRSET\r\nDATA\r\nSTARTTLS\r\nAUTH PLAIN\r\nETRN x\r\nBDAT 1 LAST\r\nbogus\r\n"
    )
    codes = [reply[:3] for reply in replies if reply[3] == " "]
    assert codes == ["220", "250", "214", "252", "250", "250", "503", "502", "502", "502", "502", "500"]


def test_a_client_that_goes_away_in_the_middle_has_sent_nothing() -> None:
    taken = Taken()
    said(b"EHLO me\r\n" + MESSAGE[:-3], taken)
    assert taken.messages == []
