from __future__ import annotations

import shlex

import pytest

from waymail.app.cli.output import CommandFailed, Exit
from waymail.app.cli.sendmail.options import ATTACHED, FLAGS, MEANING, VALUES, Given, Mode, Report, parse

USUAL = {
    # Debian's cron, cronie, PHP, git, mutt, S-nail, swaks, monit, sudo, smartd and Perl's Mail::Sendmail call it so.
    "-FCronDaemon -i -B8BITMIME -oem root": Given(
        recipients=("root",), full_name="CronDaemon", dot_ends=False, report=Report.MAIL
    ),
    "-FCronDaemon -i -odi -oem -oi -t -f root": Given(
        from_fields=True, sender="root", full_name="CronDaemon", dot_ends=False, report=Report.MAIL
    ),
    "-t -i": Given(from_fields=True, dot_ends=False),
    "-t -i -fwebmaster@example.org": Given(from_fields=True, dot_ends=False, sender="webmaster@example.org"),
    "-i ann@example.org bob@example.net": Given(recipients=("ann@example.org", "bob@example.net"), dot_ends=False),
    "-oem -oi -f ann@example.org -- bob@example.net": Given(
        recipients=("bob@example.net",), sender="ann@example.org", dot_ends=False, report=Report.MAIL
    ),
    "-i -r ann@example.org bob@example.net": Given(recipients=("bob@example.net",), sender="ann@example.org", dot_ends=False),
    "-bs": Given(Mode.DIALOGUE),
    "-oi -t": Given(from_fields=True, dot_ends=False),
    "-ti": Given(from_fields=True, dot_ends=False),
    "-bm -G -oi -oQ/var/tmp -O DeliveryMode=b -h 3 -p SMTP -L tag -X log -A m -U -n -m -d9.1 bob": Given(
        recipients=("bob",), dot_ends=False
    ),
    "-N success,failure -R hdrs -V my=id bob": Given(recipients=("bob",), notify="SUCCESS,FAILURE", ret="HDRS", envid="my=id"),
    "-Nnever -Rfull bob": Given(recipients=("bob",), notify="NEVER", ret="FULL"),
    "bob -f ann@example.org -v": Given(recipients=("bob",), sender="ann@example.org", verbose=True),
    "-F 'Ann Example' -f '<>' bob": Given(recipients=("bob",), full_name="Ann Example", sender=""),
    "-f '' bob": Given(recipients=("bob",), sender=""),
    "-odq -oeq bob": Given(recipients=("bob",), queue_only=True, report=Report.QUIET),
    "-odb -oee bob": Given(recipients=("bob",), report=Report.MAIL_ONLY),
    "-C settings.toml bob": Given(recipients=("bob",), config="settings.toml"),
    "-q": Given(Mode.FLUSH),
    "-qf": Given(Mode.FLUSH),
    "-bp": Given(Mode.LIST),
    "-bi": Given(Mode.ALIASES),
    "-I": Given(Mode.ALIASES),
    "--help": Given(Mode.HELP),
    "-- -t": Given(recipients=("-t",)),
}


@pytest.mark.parametrize("line", USUAL)
def test_the_usual_calls_are_read_as_they_are_meant(line: str) -> None:
    assert parse(shlex.split(line)) == USUAL[line]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("-k bob", "no option -k"),
        ("--to bob", "no option --"),
        ("bob -f", "missing behind -f"),
        ("-bd", "waymail serve"),
        ("-bd -q30m", "waymail serve"),
        ("-q30m", "let cron call sendmail -q"),
        ("-bt", "waymail why"),
        ("-bz", "--help"),
        ("-N sometimes bob", "-N is never"),
        ("-R some bob", "full or hdrs"),
        ("-V 'ü' bob", "in ASCII"),
        ("-oez bob", "-oe is followed by"),
    ],
)
def test_what_is_not_to_be_had_is_told_with_what_there_is(line: str, told: str) -> None:
    with pytest.raises(CommandFailed, match=told) as failed:
        parse(shlex.split(line))
    assert failed.value.code == Exit.USAGE


def test_no_letter_is_of_two_kinds_and_each_that_means_something_is_read() -> None:
    letters = VALUES + ATTACHED + FLAGS
    assert len(letters) == len(set(letters))
    assert {name[1] for name in MEANING} - {"-"} <= set(letters)
