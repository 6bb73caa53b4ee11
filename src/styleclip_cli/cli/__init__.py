"""The command layer: arguments in, exit codes out. Nothing heavy is imported before a command runs."""

from __future__ import annotations

from styleclip_cli.cli.main import main

__all__ = ["main"]
