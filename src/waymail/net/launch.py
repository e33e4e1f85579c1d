"""The first thing that runs in a child of `net.process`: becomes the user, sets the bounds, and then is the program.

It runs as a script in an interpreter of its own, so that no bound is set too late and nothing of the server is done between fork
and exec. Its arguments are a descriptor, a uid and a gid (-1: as they are), further groups, bounds ("7=1024,0=30", as `resource`
numbers them), the value of LC_CTYPE ("": none), a folder, and the command. What goes wrong is written to the descriptor,
which the exec closes.
"""

from __future__ import annotations

import os
import resource
import signal
import sys

UMASK = 0o077


def main(arguments: list[str]) -> None:
    """Never returns."""
    told, uid, gid = (int(number) for number in arguments[:3])
    groups, bounds, ctype, folder, *command = arguments[3:]
    os.set_inheritable(told, False)
    os.closerange(3, told)  # the event loop may have left some open
    os.closerange(told + 1, os.sysconf("SC_OPEN_MAX"))
    try:
        for one in bounds.split(","):
            name, _, most = one.partition("=")
            resource.setrlimit(int(name), (int(most), int(most)))
        if uid >= 0:
            os.setgroups([int(group) for group in groups.split(",") if group])
            os.setresgid(gid, gid, gid)
            os.setresuid(uid, uid, uid)
        os.umask(UMASK)
        os.chdir(folder)
        for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them, and what is ignored stays so
            signal.signal(number, signal.SIG_DFL)
        # An interpreter that starts in the locale "C" puts another one into its environment (PEP 538).
        environment = {name: value for name, value in os.environ.items() if name != "LC_CTYPE"}
        if ctype:
            environment["LC_CTYPE"] = ctype
        os.execve(command[0], command, environment)  # noqa: S606 - no shell is what is wanted
    except (OSError, ValueError, MemoryError) as error:
        os.write(told, (str(error) or type(error).__name__).encode("utf-8", "replace")[:1000])
        os._exit(os.EX_TEMPFAIL)


if __name__ == "__main__":
    main(sys.argv[1:])
