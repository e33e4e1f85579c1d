"""What is different between two configurations."""

from __future__ import annotations

from pathlib import Path

from waymail.app.changes import changes, startable
from waymail.app.config.load import dotted, parse
from waymail.app.config.schema import Config

BASE = """
hostname = "mail.example.org"
listener = [{ kind = "mx", address = "127.0.0.1:25", tls = "off" }]
[domains."a.example"]
recipients = ["ann"]
[domains."b.example"]
[routes]
"c.example" = "smtp://user:secret@127.0.0.1:2500?tls=require"
"""


def read(text: str) -> Config:
    return parse(text, Path("/etc/waymail/waymail.toml"))


def changed(old: str, new: str) -> list[str]:
    text = BASE.replace(old, new)
    assert old == new or text != BASE
    return [dotted(key) for key in changes(read(BASE), read(text))]


def test_the_same_file_changes_nothing() -> None:
    assert changed("", "") == []


def test_a_key_a_name_in_a_table_and_a_whole_list_are_told_by_name() -> None:
    assert changed('["ann"]', '["ann", "bob"]') == ['domains."a.example".recipients']
    assert changed('[domains."b.example"]', '[domains."d.example"]') == ['domains."b.example"', 'domains."d.example"']
    assert changed(':25"', ':26"') == ["listener"]
    assert changed("mail.example.org", "other.example.org") == ["hostname", "delivery.hello"]


def test_a_password_is_told_by_its_route_and_not_shown() -> None:
    assert changed("secret", "another") == ['routes."c.example"']


def test_what_needs_a_restart_is_left_as_it_runs_and_told() -> None:
    running = read(BASE)
    head, queue = 'hostname = "mail.example.org"\ndata_dir = "/elsewhere"\nstop_after = "7s"\n', '[queue]\nstore = "memory"\n'
    wanted, needing_restart = startable(running, read(BASE.replace('hostname = "mail.example.org"\n', head) + queue))
    assert [dotted(key) for key in needing_restart] == ["data_dir", "queue.store"]
    assert (wanted.data_dir, wanted.queue.store) == (running.data_dir, "sqlite")
    assert [dotted(key) for key in changes(running, wanted)] == ["stop_after"]
    assert wanted.source.file == Path("/etc/waymail/waymail.toml")
