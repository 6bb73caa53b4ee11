"""Commands as all of ours are: help with examples in a panel, defaults that give way to what is typed."""

from __future__ import annotations

import ast
import inspect
import sys
import textwrap
from contextlib import suppress
from typing import Any

import typer
import typer.core

from styleclip_cli.cli import given
from styleclip_cli.cli.config import settle

ORDER = "styleclip.order"
"""Under this name, a context's meta has the names of its parameters, one for each time that one was typed."""


class Command(typer.core.TyperCommand):
    """A command that shows the lines of its help that begin with "Example:" in a panel.

    Its options' defaults in config.toml give way to options that were typed.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse them, and note the order of options: Typer keeps that of one option's values only."""
        rest: list[str] = super().parse_args(ctx, list(args))
        ctx.meta[ORDER] = [one.name for one in self.make_parser(ctx).parse_args(args=list(args))[2]]
        return rest

    def invoke(self, ctx: Any) -> Any:
        """Run it."""
        settle(ctx)
        given.settle(ctx.params)
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


def keep_help(app: typer.Typer) -> None:
    """Give commands their help back where Python has left docstrings out (python -OO, PYTHONOPTIMIZE=2).

    Args:
        app: Commands, and groups of them.
    """
    if sys.flags.optimize < 2:
        return
    functions = [info.callback for info in app.registered_commands]
    functions.append(app.registered_callback.callback if app.registered_callback is not None else None)
    for function in functions:
        if function is not None:
            with suppress(OSError, SyntaxError):  # no source is installed
                (definition,) = ast.parse(textwrap.dedent(inspect.getsource(function))).body
                assert isinstance(definition, ast.FunctionDef)
                function.__doc__ = ast.get_docstring(definition)
    for group in app.registered_groups:
        if group.typer_instance is not None:
            keep_help(group.typer_instance)


def _parted(text: str) -> tuple[str, list[str]]:
    """A help text without its examples, and the examples."""
    told, examples = [], []
    for block in text.split("\n\n"):
        if block.strip().startswith("Example:"):
            examples.append(" ".join(block.strip().removeprefix("Example:").split()))
        else:
            told.append(block)
    return "\n\n".join(told), examples
