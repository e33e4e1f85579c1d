"""Users by a class of your own: "module:Class", derived from `contract.UserBackend`."""

from __future__ import annotations

import importlib

from waymail.server.backends.contract import BackendUnusable, UserBackend


def find(name: str) -> type[UserBackend]:
    """The class that "module:Class" names. Raises BackendUnusable."""
    module_name, _, class_name = name.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise BackendUnusable(f"{module_name} cannot be imported ({error}): is it where Python looks, like PYTHONPATH?") from None
    except Exception as error:  # it is somebody else's code
        raise BackendUnusable(f"{module_name} cannot be imported: {type(error).__name__}: {error}") from error
    try:
        found = getattr(module, class_name)
    except AttributeError:
        raise BackendUnusable(f"{module_name} has no {class_name}") from None
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
