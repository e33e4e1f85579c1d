"""A private Postfix: its own configuration, queue and ports, nothing of the system's."""

from __future__ import annotations

import grp
import pwd
import shutil
import subprocess
from pathlib import Path

MASTER = """\
{listen} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
local unix - n n - - local
virtual unix - n n - - virtual
lmtp unix - - n - - lmtp
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""

MAIN = {
    "compatibility_level": "3.6",
    "inet_interfaces": "127.0.0.1",
    "inet_protocols": "ipv4",
    "myhostname": "postfix.example.net",
    "mydestination": "",
    "local_recipient_maps": "",
    "alias_maps": "",
    "alias_database": "",
    "mynetworks": "127.0.0.0/8",
    "smtpd_relay_restrictions": "permit_mynetworks, reject",
    "biff": "no",
    "default_process_limit": "100",
}


class PrivatePostfix:
    """`settings` are main.cf parameters beyond the defaults above. Needs root, as Postfix does.

    `directory` must be one that other users can reach: Postfix's processes do not run as root.
    """

    def __init__(self, directory: Path, listen: str, settings: dict[str, str]) -> None:
        self.config = directory / "config"
        self.log = directory / "log" / "postfix.log"
        self._queue, data = directory / "queue", directory / "data"
        for folder in (self.config, self._queue, data, self.log.parent):
            folder.mkdir(parents=True)
        shutil.chown(data, pwd.getpwnam("postfix").pw_uid)
        values = MAIN | {
            "queue_directory": str(self._queue),
            "data_directory": str(data),
            "maillog_file": str(self.log),
            "maillog_file_prefixes": str(directory),
            "setgid_group": grp.getgrnam("postdrop").gr_name,
        }
        values |= settings
        (self.config / "main.cf").write_text("".join(f"{key} = {value}\n" for key, value in values.items()))
        (self.config / "master.cf").write_text(MASTER.format(listen=listen))

    def start(self) -> None:
        self._run("postfix", "-c", str(self.config), "start")

    def stop(self) -> None:
        self._run("postfix", "-c", str(self.config), "stop", check=False)

    def flush(self) -> None:
        self._run("postqueue", "-c", str(self.config), "-f")

    def waiting(self) -> int:
        """Messages in its queue."""
        return sum(
            1 for name in ("maildrop", "incoming", "active", "deferred") for p in (self._queue / name).rglob("*") if p.is_file()
        )

    def _run(self, *command: str, check: bool = True) -> None:
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
        if check and done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stderr or done.stdout or self.log.read_text()}")
