"""Doubles for tests of mail code: our own, and those of programs that use waymail."""

from waymail.testing.zone import Zone

__all__ = ["Zone"]
