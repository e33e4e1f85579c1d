"""Writes docs/reference.md, from the signatures and docstrings of what programs may use: `make reference`.

The code itself is read, not what inspect makes of it, so that a default is shown as it is spelled. Nothing is said here that a
docstring could say.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
import textwrap
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference.md"
WIDTH = 110

# What belongs together in the module `waymail`; what is named nowhere comes last.
GROUPS = {
    "Sending": ("send", "Client", "Mail", "SendResult", "ServerInfo", "Reply"),
    "What can be asked for": (
        *("Credentials", "Pool", "Timeouts", "Rate", "Retry", "Options", "Dsn", "Notify", "DeliverBy", "DkimKey", "Network"),
        "Proxy",
    ),
    "What goes wrong": (
        *("SMTPError", "ConnectionFailed", "TlsError", "AuthenticationFailed", "SenderRefused", "AllRecipientsRefused"),
        *("MessageRefused", "Disconnected", "UncertainDelivery", "UrlError", "EnvelopeProblem"),
    ),
    "Composing": ("compose", "Attachment", "Inline"),
    "The outbox": ("Outbox", "Ticket", "Outcome", "OutboxError", "StoreError"),
    "Receiving": ("Server", "IncomingMail", "Policy", "accept", "defer", "discard", "mark", "quarantine", "reject"),
}
MODULES = ("waymail.sync", "waymail.smtplib", "waymail.django", "waymail.logging")
FIXTURES = "waymail.testing.plugin"

HEAD = """\
# API reference

Every public name, with its signature and docstring: written by `make reference` from the code, and held against it by a test. How
things are done stands on the pages by task, first of all in the [tutorial](tutorial.md) and in [sending.md](sending.md).
"""


def page() -> str:
    """The text of the page."""
    waymail = import_module("waymail")
    grouped = {name for names in GROUPS.values() for name in names}
    rest = tuple(name for name in waymail.__all__ if name not in grouped)
    parts = []
    for title, names in {**GROUPS, "More": rest}.items():
        present = [name for name in names if name in waymail.__all__]
        if present:
            parts.append(f"## {title}\n")
            parts += (entry("waymail", name, getattr(waymail, name)) for name in present)
    for name in MODULES:
        if find_spec(name) is not None:
            parts += module(import_module(name))
    parts += fixtures(import_module(FIXTURES))
    text = "\n".join(parts)
    return re.sub(r"\n{3,}", "\n\n", f"{HEAD}\n{contents(text)}\n\n{text}").rstrip() + "\n"


def contents(text: str) -> str:
    """The names below each heading, with links."""
    lines = []
    for title, part in re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL):
        names = re.findall(r"^### (.+)$", part, re.MULTILINE)
        links = ", ".join(f"[{name.rpartition('.')[2]}](#{anchor(name)})" for name in names)
        lines.append(f"- [{title}](#{anchor(title)})" + (f": {links}" if links else ""))
    return "\n".join(lines)


def anchor(heading: str) -> str:
    """What a heading is called in a link."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def module(found: ModuleType) -> Iterator[str]:
    """A module of its own: what it says of itself, and its names."""
    yield f"## {found.__name__}\n\n{prose(found.__doc__)}\n"
    for name in found.__all__:
        yield entry(found.__name__, name, getattr(found, name))


def fixtures(plugin: ModuleType) -> Iterator[str]:
    """The pytest fixtures of the plugin, and the classes of what they give."""
    yield f"## pytest fixtures\n\n{prose(plugin.__doc__)}\n"
    tree = ast.parse(inspect.getsource(plugin))
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    for function in functions:
        if any("pytest.fixture" in ast.unparse(decorator) for decorator in function.decorator_list):
            yield f"### {function.name}\n\nA `{given(function)}`. {prose(ast.get_docstring(function))}\n"
    used = " ".join(ast.unparse(function.returns) for function in functions if function.returns)
    (imports,) = (node.body for node in tree.body if isinstance(node, ast.If))
    for node in imports:
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if re.search(rf"\b{alias.name}\b", used):
                    yield entry(str(node.module), alias.name, getattr(import_module(str(node.module)), alias.name))


def given(fixture: ast.FunctionDef) -> str:
    """The type of what a fixture gives."""
    returned = ast.unparse(fixture.returns) if fixture.returns else ""
    return re.sub(r"^(?:Iterator|Generator)\[(.*)\]$", r"\1", returned)


def entry(home: str, name: str, found: Any) -> str:
    """One name."""
    title = f"### {home}.{name}\n"
    place = getattr(found, "__module__", "")
    if not place.startswith("waymail"):
        return f"{title}\nThe standard library's `{place}.{name}`.\n" if place else f"{title}\n`{found!r}`\n"
    if isinstance(found, type):
        return "\n".join((title, *of_class(home, name, found)))
    if inspect.isfunction(found):
        return f"{title}\n{of_function(f'{home}.{name}', source(found))}"
    return f"{title}\n{prose(type(found).__doc__)}\n"


def of_class(home: str, name: str, found: type) -> Iterator[str]:
    """How it is made, what it says, and what can be done with it. What it has of another that is public is told of there."""
    whole = f"{home}.{name}"
    public = {getattr(import_module(home), other) for other in getattr(import_module(home), "__all__", ())} - {found}
    own = {member.name: member for base in reversed(found.__mro__) if base not in public for member in methods(base)}
    members = {member.name: member for base in reversed(found.__mro__) for member in methods(base)}
    if issubclass(found, BaseException):
        yield fenced([f"class {name}({', '.join(base.__name__ for base in found.__bases__)})"])
    elif made := members.get("__init__"):
        yield fenced(call(whole, made, returns=""))
    elif fields := list(attributes(found)):
        yield fenced([f"{whole}(", *(f"    {field}," for field in fields), ")"])
    yield prose(ast.get_docstring(source(found))) + "\n"
    others = [base.__name__ for base in found.__mro__[1:] if base in public]
    if others and not issubclass(found, BaseException):
        yield f"Besides, all of `{others[0]}`.\n"
    for member in own.values():
        if not member.name.startswith("_") and ast.get_docstring(member):
            yield of_member(name, member)


def of_member(owner: str, member: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    decorators = [ast.unparse(decorator) for decorator in member.decorator_list]
    if "property" in decorators or "cached_property" in decorators:
        kind = ast.unparse(member.returns) if member.returns else ""
        return f"**`{instance(owner)}.{member.name}`**: `{kind}`. {prose(ast.get_docstring(member))}\n"
    target = owner if {"classmethod", "staticmethod"} & set(decorators) else instance(owner)
    return of_function(f"{target}.{member.name}", member)


def instance(owner: str) -> str:
    """What one of a class is called: send_result."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", owner).lower()


def of_function(whole: str, node: Any) -> str:
    returns = f" -> {ast.unparse(node.returns)}" if node.returns and ast.unparse(node.returns) != "None" else ""
    lead = "await " if isinstance(node, ast.AsyncFunctionDef) and not is_generator(node) else ""
    return fenced(call(lead + whole, node, returns)) + f"\n{prose(ast.get_docstring(node))}\n"


def is_generator(node: ast.AST) -> bool:
    return any(isinstance(part, ast.Yield | ast.YieldFrom) for part in ast.walk(node))


def call(whole: str, node: ast.FunctionDef | ast.AsyncFunctionDef, returns: str) -> list[str]:
    """The lines of a call with its parameters, `self` left out."""
    given = list(parameters(node.args))
    line = f"{whole}({', '.join(given)}){returns}"
    return [line] if len(line) <= WIDTH else [f"{whole}(", *(f"    {one}," for one in given), f"){returns}"]


def parameters(arguments: ast.arguments) -> Iterator[str]:
    """The parameters one by one, "*" and "/" among them."""
    plain = [*arguments.posonlyargs, *arguments.args]
    defaults: list[ast.expr | None] = [None] * (len(plain) - len(arguments.defaults))
    for at, (argument, default) in enumerate(zip(plain, [*defaults, *arguments.defaults], strict=True)):
        if at or argument.arg not in ("self", "cls"):
            yield parameter(argument, default)
        if at + 1 == len(arguments.posonlyargs) and (at or argument.arg != "self"):
            yield "/"
    if arguments.vararg or arguments.kwonlyargs:
        yield f"*{parameter(arguments.vararg, None) if arguments.vararg else ''}"
    for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        yield parameter(argument, default)
    if arguments.kwarg:
        yield f"**{parameter(arguments.kwarg, None)}"


def parameter(argument: ast.arg, default: ast.expr | None) -> str:
    kind = f": {ast.unparse(argument.annotation)}" if argument.annotation else ""
    return f"{argument.arg}{kind}" + (f" = {ast.unparse(default)}" if default else "")


def methods(base: type) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Those that a class of ours defines by itself."""
    if base.__module__.startswith("waymail"):
        for node in source(base).body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield node


def attributes(found: type) -> Iterator[str]:
    """The fields of a dataclass, the members of an enumeration, as they are spelled."""
    for base in reversed(found.__mro__):
        if base.__module__.startswith("waymail"):
            for node in source(base).body:
                if isinstance(node, ast.AnnAssign | ast.Assign) and not ast.unparse(node).startswith("_"):
                    text = re.sub(r"field\(default_factory=(\w+)\)", r"\1()", ast.unparse(node))
                    if isinstance(node, ast.Assign):  # in the form of a keyword argument
                        text = text.replace(" = ", "=", 1)
                    yield re.sub(r"field\((?:default=|default_factory=lambda: )(.+?)(?:, \w+=\w+)*\)$", r"\1", text)


@cache
def source(found: Any) -> Any:
    """The syntax tree of a class or function."""
    return ast.parse(textwrap.dedent(inspect.getsource(found))).body[0]


def fenced(lines: list[str]) -> str:
    return "\n".join(("```py", *lines, "```", ""))


def prose(docstring: str | None) -> str:
    """A docstring as Markdown: what is indented stays as it is; elsewhere "<" and "*" mean themselves."""
    lines = []
    for line in inspect.cleandoc(docstring or "").splitlines():
        if not line.startswith("    "):
            line = "".join(
                part if part.startswith("`") else re.sub(r"([<*])", r"\\\1", part) for part in re.split(r"(`[^`]*`)", line)
            )
        lines.append(line)
    return "\n".join(lines)


if __name__ == "__main__":
    PAGE.write_text(page())
    sys.stdout.write(f"{PAGE.name} written\n")
