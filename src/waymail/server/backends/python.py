"""Users by a class of your own: "module:Class", derived from `contract.UserBackend`."""

from __future__ import annotations

from waymail.net import foreign
from waymail.server.backends.contract import BackendUnusable, UserBackend


def find(name: str) -> type[UserBackend]:
    """The class that "module:Class" names. Raises BackendUnusable."""
    try:
        found = foreign.find(name)
    except foreign.NotFound as problem:
        raise BackendUnusable(str(problem)) from problem
    if not (isinstance(found, type) and issubclass(found, UserBackend)):
        raise BackendUnusable(f"{name} is not derived from waymail.server.backends.contract.UserBackend")
    return found


def load(name: str) -> UserBackend:
    """An instance of that class, made without arguments. Raises BackendUnusable."""
    found = find(name)
    try:
        return found()
    except Exception as error:  # it is somebody else's code
        raise BackendUnusable(f"{name} cannot be made: {type(error).__name__}: {error}") from error
