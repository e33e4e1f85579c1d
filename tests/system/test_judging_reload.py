"""A reload changes who is judged and how, in a real `waymail serve` whose resolver is not there."""

from __future__ import annotations

from pathlib import Path

from tests.system.test_reload import Session, reload

from waymail.testing.process import ServerProcess, free_port

CONFIG = """\
hostname = "mail.example.org"
[[listener]]
kind = "mx"
address = "127.0.0.1:{port}"
tls = "off"
[domains."example.org"]
recipients = ["ann"]
[dns]
resolvers = ["127.0.0.1:{nobody}"]
[inbound]
trusted = []
"""


def test_open_sessions_go_by_the_new_rules_and_a_policy_that_cannot_be_used_changes_nothing(tmp_path: Path) -> None:
    port = free_port()
    text = CONFIG.format(port=port, nobody=free_port())
    with ServerProcess(tmp_path, text, [port]) as server:
        session = Session(port)
        session.say("EHLO client.example")
        assert session.message() == "250", "nothing that DNS owes could have meant more than a mark"
        news = reload(server, text + 'policy = "no_such_module:Ours"\n', "not reloaded")
        assert "no_such_module cannot be imported" in news
        assert session.message() == "250"
        (server.config.parent / "block").write_text("127.0.0.1\n")
        news = reload(server, text + '[inbound.lists]\nblock = ["block"]\n')
        assert "inbound.lists.block" in news
        assert session.message() == "554", "DATA without a recipient"
        session.say("RSET")
        reload(server, text + 'on_spf_fail = "reject"\n')
        assert session.message() == "451"
        reload(server, text.replace("trusted = []", "judge = false"))
        assert session.message() == "250"
        assert len(server.wait_for_mail("mail/example.org/ann", 3)) == 3
    assert "Traceback" not in server.log.read_text()
