"""Commands as all of ours are: help with examples in a panel, defaults that give way to what is typed."""

from __future__ import annotations

import sys
from typing import Any

import typer.core

from styleclip_cli.cli.config import settle


class Command(typer.core.TyperCommand):
    """A command that shows the lines of its help that begin with "Example:" in a panel.

    Its options' defaults in config.toml give way to options that were typed.
    """

    def invoke(self, ctx: Any) -> Any:
        """Run it."""
        settle(ctx)
        return super().invoke(ctx)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print the help."""
        whole = self.help
        self.help, examples = _parted(whole or "")
        try:
            super().format_help(ctx, formatter)
        finally:
            self.help = whole  # what makes the documentation reads it
        if not examples:
            return
        from rich.console import Console
        from rich.panel import Panel
        from rich.text import Text

        lines = Text("\n").join(Text(f"$ {example}", overflow="fold") for example in examples)
        panel = Panel(lines, title="Examples", title_align="left", border_style="dim")
        # Typer's own panels are as wide as it thinks the terminal is, off a terminal too.
        Console(file=sys.stdout).print(panel, soft_wrap=False)


def _parted(text: str) -> tuple[str, list[str]]:
    """A help text without its examples, and the examples."""
    told, examples = [], []
    for block in text.split("\n\n"):
        if block.strip().startswith("Example:"):
            examples.append(" ".join(block.strip().removeprefix("Example:").split()))
        else:
            told.append(block)
    return "\n\n".join(told), examples
