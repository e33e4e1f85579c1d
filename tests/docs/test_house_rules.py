"""The house rules that a machine can check: sizes, and words that have no business in this repository."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MAX_FILE_LINES = 500
MAX_FUNCTION_LINES = 60

CODE = ("src", "tests", "bench", "demo")
BUILT = {"build", "dist", "waymail-data", "__pycache__", "node_modules"}

# Put together from pieces, so that this file does not contain what it forbids.
FORBIDDEN = tuple(
    "".join(pieces)
    for pieces in (
        ("py", "pi.org"),
        ("python", "hosted.org"),
        ("npm", "js.org"),
        ("npm", "js.com"),
        ("deb.", "debian.org"),
        ("crates", ".io"),
        ("proxy.", "golang.org"),
        ("docker", ".io/"),
        ("gh", "cr.io"),
        ("--extra-index", "-url file"),
        ("/wo", "rk/"),
    )
)


def text_files(folder: Path = ROOT) -> Iterator[Path]:
    """Every file of the project that is text: not what was built, and not what git and the tools keep for themselves."""
    for path in sorted(folder.iterdir()):
        if path.is_dir():
            hidden = path.name.startswith(".") and path.name != ".ci"
            if not hidden and path.name not in BUILT and not (path / "pyvenv.cfg").exists():
                yield from text_files(path)
        elif path.is_file() and b"\0" not in path.read_bytes()[:8192]:
            yield path


def python_files() -> list[Path]:
    return [path for path in text_files() if path.suffix == ".py" and path.relative_to(ROOT).parts[0] in CODE]


def function_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """From `def` to the last line, the docstring not counted."""
    docstring = ast.get_docstring(function, clean=False)
    lines = (function.end_lineno or function.lineno) - function.lineno + 1
    return lines - (docstring.count("\n") + 1 if docstring else 0)


def too_long_functions(source: str) -> list[str]:
    functions = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return [f"{node.name} (line {node.lineno})" for node in functions if function_lines(node) >= MAX_FUNCTION_LINES]


def test_the_check_sees_the_source() -> None:
    names = {str(path.relative_to(ROOT)) for path in python_files()}
    assert {"src/waymail/lookups.py", "tests/docs/test_house_rules.py"} <= names


def test_a_function_of_sixty_lines_is_too_long() -> None:
    assert too_long_functions("def long():\n" + "    pass\n" * 59) == ["long (line 1)"]
    assert too_long_functions("def fits():\n" + "    pass\n" * 58) == []


def test_no_file_reaches_500_lines() -> None:
    sizes = {str(path.relative_to(ROOT)): path.read_text().count("\n") for path in python_files()}
    long = {name: lines for name, lines in sizes.items() if lines >= MAX_FILE_LINES}
    assert long == {}


def test_no_function_reaches_60_lines() -> None:
    long = {str(path.relative_to(ROOT)): names for path in python_files() if (names := too_long_functions(path.read_text()))}
    assert long == {}


@pytest.mark.parametrize("word", FORBIDDEN)
def test_a_word_that_ties_the_project_to_one_machine_or_registry_is_nowhere(word: str) -> None:
    holders = [str(path.relative_to(ROOT)) for path in text_files() if word in path.read_text(errors="replace")]
    assert holders == []
