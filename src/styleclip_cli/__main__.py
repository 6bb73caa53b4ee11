"""`python -m styleclip_cli` is the command `styleclip`."""

from __future__ import annotations

import sys

from styleclip_cli.cli import main

if __name__ == "__main__":
    sys.exit(main())
