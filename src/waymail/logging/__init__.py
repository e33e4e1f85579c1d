"""Mail of what a program logs: a handler for the standard library's `logging`.

    handler = waymail.logging.MailHandler("smtps://shop:secret@mail.example.org", sender="shop@example.org", to="ann@example.org")
    logging.getLogger().addHandler(handler)

what is waiting   gathered: what repeats itself is counted, and there is a bound
when a mail goes  schedule
what it says      report
who sends it      handler
"""

from waymail.logging.handler import MailHandler

__all__ = ["MailHandler"]
