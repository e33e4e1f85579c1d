"""What becomes of a server of the test kit that is started and stopped by hand."""

from __future__ import annotations

import waymail.sync
from waymail.testing import SmtpServer


def test_a_server_may_be_started_without_a_block() -> None:
    server = SmtpServer()
    try:
        server.start()
        waymail.sync.send(b"Subject: x\n\n", server.url, sender="ann@example.org", recipients="bob@example.net")
        assert server.messages[0].subject == "x"
    finally:
        server.close()
