"""Fuzzing guided by coverage: `python -m tests.fuzz --target server --seconds 3600 --output build/fuzz`.

It needs atheris, in an environment that it shares with waymail's own dependencies (docs/fuzzing.md). For each target it writes
`TARGET.txt` into the output folder: executions, findings, and which part of the lines of each module ran. A finding is kept in
`TARGET-findings/`; give its file to `--replay`. Targets follow one another, each for its part of the seconds. The exit code is 1
where anything was found.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.fuzz.lines import LineCoverage
from tests.fuzz.transcripts import SEEDS, WORDS

TARGETS = ("server", "client", "pipe", "content", "text")
LONGEST = 2048  # octets of one input
GRACE = 60  # seconds that a fuzzer may take to end


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--target", choices=(*TARGETS, "all"), default="all")
    parser.add_argument("--seconds", type=int, default=60, help="for all targets together")
    parser.add_argument("--output", type=Path, default=Path("build/fuzz"))
    parser.add_argument("--replay", type=Path, help="run one input and nothing else")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def _fuzz(target: str, seconds: int, output: Path) -> None:
    """Does not return: the fuzzer ends the process."""
    atheris: Any = importlib.import_module("atheris")
    with atheris.instrument_imports(include=["waymail.wire"]):
        one_input = importlib.import_module(f"tests.fuzz.{target}").one_input
    words = output / "words.txt"
    words.write_text("".join('"' + "".join(f"\\x{octet:02x}" for octet in word) + '"\n' for word in WORDS))
    flags = [
        f"-dict={words}",
        f"-max_total_time={seconds}",
        f"-max_len={LONGEST}",
        "-timeout=20",
        "-print_final_stats=1",
        "-verbosity=1",
    ]
    atheris.Setup(
        [sys.argv[0], *flags, f"-artifact_prefix={output / f'{target}-findings'}/", str(output / f"{target}-corpus")], one_input
    )
    atheris.Fuzz()


def _run(target: str, seconds: int, output: Path) -> bool:
    """Fuzzes one target in a process of its own and writes what came of it. Whether nothing was found."""
    corpus, findings = output / f"{target}-corpus", output / f"{target}-findings"
    corpus.mkdir(parents=True, exist_ok=True)
    findings.mkdir(exist_ok=True)
    for seed in SEEDS:
        (corpus / f"seed-{hashlib.sha256(seed).hexdigest()[:16]}").write_bytes(seed)
    started = time.time()
    log = output / f"{target}.log"
    command = [
        sys.executable,
        "-m",
        "tests.fuzz",
        "--child",
        "--target",
        target,
        "--seconds",
        str(seconds),
        "--output",
        str(output),
    ]
    with log.open("wb") as file:
        code = subprocess.run(command, stdout=file, stderr=file, timeout=seconds + GRACE, check=False).returncode
    took = time.time() - started
    statistics = [line for line in log.read_text("utf-8", "replace").splitlines() if line.startswith(("stat::", "Done "))]
    found = sorted(path.name for path in findings.iterdir())
    report = [
        f"target {target}, {time.strftime('%Y-%m-%d %H:%M', time.gmtime(started))} UTC, {took:.0f} seconds, exit code {code}",
        *statistics,
        f"inputs kept: {len(list(corpus.iterdir()))}",
        f"findings: {len(found)} {' '.join(found)}".rstrip(),
        *_coverage(target, corpus),
    ]
    (output / f"{target}.txt").write_text("\n".join(report) + "\n")
    sys.stdout.write("\n".join(report) + "\n")
    return code == 0 and not found


def _coverage(target: str, corpus: Path) -> list[str]:
    """Runs all inputs that were kept once more, and counts lines."""
    one_input = importlib.import_module(f"tests.fuzz.{target}").one_input
    modules = [importlib.import_module(name) for name in sorted(sys.modules) if name.startswith("waymail.wire.")]
    lines = LineCoverage([Path(module.__file__) for module in modules if module.__file__])
    with lines:
        for path in sorted(corpus.iterdir()):
            one_input(path.read_bytes())
    return ["lines that ran, of those that functions have:", *lines.report()]


def main() -> int:
    """0 where nothing was found."""
    sys.path.insert(1, "src")  # of the checkout, where waymail is not installed
    arguments = _arguments()
    if arguments.child:
        _fuzz(arguments.target, arguments.seconds, arguments.output)
    targets = TARGETS if arguments.target == "all" else (arguments.target,)
    if arguments.replay:
        for target in targets:
            importlib.import_module(f"tests.fuzz.{target}").one_input(arguments.replay.read_bytes())
        return 0
    results = [_run(target, max(1, arguments.seconds // len(targets)), arguments.output) for target in targets]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
