import pytest

pytest.register_assert_rewrite(*(f"waymail.testing.store_{name}" for name in ("contract", "operators", "moving", "asked")))
