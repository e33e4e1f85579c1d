"""Which Python a measurement was made with: builds of one version differ much in speed."""

from __future__ import annotations

import sys
import sysconfig


def interpreter() -> str:
    """One line: version, place, and how it was built. The server under test is run by the same one."""
    arguments = str(sysconfig.get_config_var("CONFIG_ARGS") or "")
    flags = " ".join(str(sysconfig.get_config_var(name) or "") for name in ("CFLAGS", "PY_CORE_LDFLAGS", "PY_LDFLAGS"))
    is_guided = "--enable-optimizations" in arguments or "-fprofile-use" in flags
    is_linked = "--with-lto" in arguments or "-flto" in flags
    build = f"{'PGO' if is_guided else 'no PGO'}, {'LTO' if is_linked else 'no LTO'}"
    return f"Python {sys.version} at {sys.executable}: {build}"
