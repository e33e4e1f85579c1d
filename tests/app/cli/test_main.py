from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from waymail.app.cli import locate, main
from waymail.app.cli.output import Exit

CONFIG = 'hostname = "mail.example.org"\n[[listener]]\nkind = "mx"\naddress = "127.0.0.1:0"\ntls = "off"\n'


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Each test runs in a folder of its own, without a configuration from outside."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WAYMAIL_CONFIG", raising=False)
    monkeypatch.delenv("WAYMAIL_URL", raising=False)
    return tmp_path


def test_version_and_help_are_no_errors(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("waymail 0.")
    assert main(["--help"]) == 0
    assert "Tell what happened to a message" in capsys.readouterr().out


def test_looking_for_a_message_loads_no_other_command_and_no_configuration(tmp_path: Path) -> None:
    look = "import sys; from waymail.app.cli import main; main(['trace', 'x@y.example', '--config', 'waymail.toml']); "
    (tmp_path / "waymail.toml").write_text('data_dir = "data"\n')
    command = [sys.executable, "-c", look + "print(*sys.modules, sep='\\n')"]
    loaded = set(subprocess.run(command, check=True, capture_output=True, text=True, cwd=tmp_path, timeout=60).stdout.split())
    assert "waymail.app.cli.trace" in loaded
    assert not loaded & {"waymail.app.cli.serve", "waymail.app.cli.user", "waymail.app.config", "pydantic", "rich.console"}


@pytest.mark.parametrize(
    "arguments",
    [
        ["bogus"],
        ["queue", "bogus"],
        ["queue", "show"],
        ["queue", "list", "--bogus"],
        ["serve", "--config"],
        ["queue", "list", "--limit", "x"],
        ["--config"],
        ["--config", "waymail.toml"],
        ["--config=waymail.toml"],
        ["--configuration", "waymail.toml", "queue", "list"],
        ["--config", "waymail.toml", "send", "message.eml"],
    ],
)
def test_a_wrong_command_line_is_64_and_says_why(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == Exit.USAGE
    output = capsys.readouterr()
    assert output.err.startswith("waymail: ")
    assert output.out == ""


def test_config_check_prints_each_mistake_with_file_and_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "bad.toml"
    file.write_text('hostname = "a"\n[queue]\nexpire = 5\nretrys = []\n')
    assert main(["config", "check", str(file)]) == Exit.CONFIG
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith(f"{file}:3: queue.expire: must be ")
    assert second == f'{file}:4: queue.retrys: no such key; did you mean "retry"?'


def test_config_check_of_a_right_file_is_0_and_tells_warnings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "waymail.toml"
    file.write_text(CONFIG + '[relay]\nallow = ["0.0.0.0/0"]\n')
    assert main(["config", "check"]) == Exit.OK
    output = capsys.readouterr()
    assert output.out == "waymail.toml: all right\n"
    assert output.err.startswith(f"{file}:7: warning: relay.allow[0]: 0.0.0.0/0 makes this an open relay")


def test_config_check_of_a_file_that_cannot_be_served_is_78(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "waymail.toml"
    file.write_text(CONFIG + '[tls]\ncertificate = "cert.pem"\nkey = "key.pem"\n')
    for command in (["config", "check"], ["serve"]):
        assert main(command) == Exit.CONFIG
        output = capsys.readouterr()
        assert output.out == ""
        assert output.err.startswith(f"{file}:7: tls.certificate: there is no such file: {tmp_path}/cert.pem; ")
    assert main(["config", "show"]) == Exit.OK


@pytest.mark.parametrize("option", [["--config", "other.toml"], ["--config=other.toml"]])
def test_the_configuration_may_be_named_before_the_command(
    option: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "other.toml").write_text(CONFIG)
    assert main([*option, "config", "check"]) == Exit.OK
    assert capsys.readouterr().out == "other.toml: all right\n"
    assert main([*option, "user", "remove", "--", "ann"]) == Exit.NO_USER


def test_config_check_without_any_file_is_78() -> None:
    if not locate.SYSTEM_CONFIG.exists():
        assert main(["config", "check"]) == Exit.CONFIG


def test_config_show_prints_values_and_sources(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "x.toml"
    file.write_text(CONFIG)
    assert main(["config", "show", str(file)]) == Exit.OK
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["hostname", '"mail.example.org"', f"{file}:1"] in lines
    assert ["queue.expire", '"5d"', "default"] in lines
    assert main(["config", "show", "--config", str(file), "--json"]) == Exit.OK
    assert '"key": "hostname"' in capsys.readouterr().out


def test_the_configuration_is_the_one_given_then_the_variable_s_then_the_folder_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, named = tmp_path / "given.toml", tmp_path / "named.toml"
    (tmp_path / "waymail.toml").write_text(CONFIG)
    assert locate.find(None) == Path("waymail.toml")
    monkeypatch.setenv("WAYMAIL_CONFIG", str(named))
    assert locate.find(None) == named
    assert locate.find(given) == given


def test_a_file_that_is_named_and_missing_is_78_and_never_the_next_best(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("waymail.toml").write_text(CONFIG)
    monkeypatch.setenv("WAYMAIL_CONFIG", "missing.toml")
    for command in (["serve"], ["queue", "list"], ["config", "show"]):
        assert main(command) == Exit.CONFIG
        assert "missing.toml: cannot be read: No such file or directory" in capsys.readouterr().err


def test_without_configuration_and_development_folder_the_error_names_the_fix(capsys: pytest.CaptureFixture[str]) -> None:
    if locate.SYSTEM_CONFIG.exists():
        return
    for command in (["queue", "list"], ["trace", "x"], ["user", "list"]):
        assert main(command) == Exit.CONFIG
        assert "--config FILE" in capsys.readouterr().err


def test_python_m_waymail_is_the_program_and_starts_without_the_server_s_packages() -> None:
    code = "import sys, waymail.app.cli; print([m for m in ('uvloop', 'pydantic', 'sqlite3', 'rich') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout == "[]\n"
    done = subprocess.run([sys.executable, "-m", "waymail", "bogus"], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout) == (64, "")


def test_the_overview_of_the_queue_does_not_wait_for_the_library_for_command_lines(tmp_path: Path) -> None:
    code = "import sys; from waymail.app.cli import main; code = main(sys.argv[1:]); print(code, 'cyclopts' in sys.modules)"
    for options, is_loaded in (["--json"], False), ([], False), (["--limit", "5"], True):
        command = [sys.executable, "-c", code, "queue", *options, "--config", str(tmp_path / "none.toml")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
        assert done.stdout == f"{int(Exit.CONFIG)} {is_loaded}\n", done.stderr


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (["explain"], "waymail: TEXT is missing.\nwaymail: see waymail explain --help"),
        (["explain", "x", "--jsn"], "Did you mean"),
        (["verify", "x", "--ipp", "192.0.2.1"], "--ip"),
    ],
)
def test_what_is_missing_is_called_so(command: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command) == Exit.USAGE
    assert told in capsys.readouterr().err


@pytest.mark.parametrize(("command", "extra"), [("trace", "server"), ("outbox", "cli")])
def test_a_command_whose_package_is_missing_names_the_extra(command: str, extra: str) -> None:
    without = (
        f"import sys; sys.modules['cyclopts'] = None; from waymail.app.cli import main; raise SystemExit(main(['{command}']))"
    )
    done = subprocess.run([sys.executable, "-c", without], capture_output=True, text=True, check=False)
    assert done.returncode == 69
    assert f'pip install "waymail[{extra}]"' in done.stderr
    assert "Traceback" not in done.stderr
