"""`python -m waymail` is the program `waymail`."""

from __future__ import annotations

import sys

from waymail.app.cli import main

if __name__ == "__main__":
    sys.exit(main())
