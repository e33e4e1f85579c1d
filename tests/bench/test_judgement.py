"""What makes a measurement fail. (The measurements themselves take minutes, and root: `make bench`.)"""

from __future__ import annotations

import sys

import pytest
from bench.idle import judged
from bench.interpreter import interpreter
from bench.relay import is_fast


@pytest.mark.parametrize(("megabytes", "share", "status"), [(149.9, 0.7, 0), (150.0, 1.0, 1), (80.0, 0.69, 1), (151.0, 0.1, 1)])
def test_idle_connections_may_cost_neither_much_memory_nor_much_speed(
    megabytes: float, share: float, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert judged(megabytes, share) == status
    assert bool(capsys.readouterr().out) is bool(status)


def test_the_median_of_the_ratios_of_the_rounds_decides() -> None:
    rates = {"waymail": [400.0, 410.0, 10.0], "postfix": [100.0, 100.0, 100.0]}
    assert is_fast(rates, 4)
    assert not is_fast(rates, 4.1)


def test_the_interpreter_is_named_with_its_build() -> None:
    words = interpreter()
    assert sys.version.split()[0] in words
    assert "optimizations" in words or "PGO" in words
