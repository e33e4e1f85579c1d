"""Sendmail 8."""

from __future__ import annotations

from tests.interop.jail import Peer

CONFIG = """\
include(`/usr/share/sendmail/cf/m4/cf.m4')dnl
OSTYPE(`linux')dnl
define(`confDOMAIN_NAME', `sendmail.example.net')dnl
define(`QUEUE_DIR', `{inside}/queue')dnl
define(`confPID_FILE', `{inside}/sendmail.pid')dnl
define(`STATUS_FILE', `{inside}/statistics')dnl
define(`ALIAS_FILE', `')dnl
define(`confDONT_BLAME_SENDMAIL', `GroupReadableKeyFile')dnl
define(`confDELIVERY_MODE', `background')dnl
define(`confMIN_QUEUE_AGE', `0')dnl
define(`confDEF_USER_ID', `nobody:nogroup')dnl
define(`confRUN_AS_USER', `root')dnl
define(`confSERVER_CERT', `{certificate}')dnl
define(`confSERVER_KEY', `{key}')dnl
define(`confCLIENT_CERT', `{certificate}')dnl
define(`confCLIENT_KEY', `{key}')dnl
define(`confCACERT', `{certificate}')dnl
define(`confCACERT_PATH', `{inside}')dnl
define(`confAUTH_MECHANISMS', `PLAIN')dnl
define(`confSERVICE_SWITCH_FILE', `{inside}/services')dnl
define(`confTO_IDENT', `0')dnl
FEATURE(`nocanonify')dnl
FEATURE(`accept_unqualified_senders')dnl
FEATURE(`accept_unresolvable_domains')dnl
FEATURE(`promiscuous_relay')dnl
FEATURE(`no_default_msa')dnl
DAEMON_OPTIONS(`Port={port}, Addr=127.0.0.1, Name=MTA')dnl
{how}
"""

# A mailer without $u among its arguments would be spoken to in SMTP.
KEEP = """\
define(`SMART_HOST', `keep:box')dnl
MAILER(`smtp')dnl
MAILER_DEFINITIONS
Mkeep, P=/bin/sh, F=mDFM8S, A=sh {keep} $u
"""
SEND = """\
define(`SMART_HOST', `relay:[127.0.0.1]')dnl
define(`RELAY_MAILER_ARGS', `TCP $h {port}')dnl
MAILER(`smtp')dnl
"""


class Sendmail(Peer):
    name = "sendmail"

    def listen(self) -> None:
        certificate, key = self.certificate()
        self.folder_for("queue", "root").chmod(0o700)
        (self.folder / "box" / "new").mkdir(parents=True)
        keep = self.write("keep", f"cat > {self.inside}/box/$$ && mv {self.inside}/box/$$ {self.inside}/box/new/\n")
        how = KEEP.format(keep=keep)
        if self.hop is not None:
            how = SEND.format(port=self.hop.port)
            if self.hop.user:
                login = f'AuthInfo:127.0.0.1 "U:{self.hop.user}" "P:{self.hop.password}" "M:PLAIN"\n'
                self.run("makemap", "-C", "/dev/null", "hash", f"{self.inside}/login.db", input=login.encode())
                (self.folder / "login.db").chmod(0o600)
                how = f"FEATURE(`authinfo', `hash -o {self.inside}/login.db')dnl\n{how}"
        config = CONFIG.format(inside=self.inside, port=self.port, certificate=certificate, key=key, how=how)
        self.write("services", "hosts files\naliases files\n")
        made = self.run("m4", self.write("sendmail.mc", config))
        command = ["/usr/libexec/sendmail/sendmail", "-bD", "-q1m", "-X", f"{self.inside}/wirelog"]
        self.start(*command, "-C", self.write("sendmail.cf", made.stdout.decode()), ports=[self.port])
