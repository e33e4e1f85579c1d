import pytest

pytest.register_assert_rewrite("waymail.testing.store_contract", "waymail.testing.store_operators", "waymail.testing.store_moving")
