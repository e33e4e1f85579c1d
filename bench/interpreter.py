"""Which Python a measurement was made with: builds of one version differ much in speed."""

from __future__ import annotations

import sys
import sysconfig


def interpreter() -> str:
    """One line: version, place, and whether its build says that it was optimised. (Debian's does not say so, and is.) The server
    under test is run by the same one."""
    arguments = str(sysconfig.get_config_var("CONFIG_ARGS") or "")
    said = "built with --enable-optimizations" if "--enable-optimizations" in arguments else "its build does not mention PGO"
    return f"Python {sys.version} at {sys.executable}: {said}"
