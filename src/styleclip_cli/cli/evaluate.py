"""`styleclip evaluate`: how good the edits are, judged where the truth is known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from styleclip_cli.cli import inputs as io
from styleclip_cli.cli import options, report
from styleclip_cli.cli.report import Reporter

if TYPE_CHECKING:
    from rich.table import Table

COLUMNS = ("success", "leak", "leak_default", "identity")


def evaluate(
    prompt: Annotated[
        list[str] | None,
        typer.Option(
            "--prompt", "-p", help="Only these prompts.", show_default="all", rich_help_panel="Evaluation"
        ),
    ] = None,
    n: Annotated[
        int, typer.Option("--n", min=1, help="How many held-out faces.", rich_help_panel="Evaluation")
    ] = 200,
    json_out: Annotated[
        Path | None,
        typer.Option(
            "--json",
            metavar="FILE|-",
            help="Write the numbers as JSON; - for standard output, without the table.",
            show_default=False,
            rich_help_panel="Output",
        ),
    ] = None,
    inverter: options.Inverter = None,
    overwrite: options.Overwrite = False,
    models: options.ToyModels = "toy",
    device: options.Device = "auto",
    quiet: options.Quiet = False,
) -> None:
    """Edit held-out toy faces, inverted from pixels, and let an independent judge look at the results.

    Success: how often the wanted attribute appeared. Leak: mean change of all others in sight, at the
    smallest strength that succeeds and at the default strength. Identity: cosine similarity of face
    embeddings.

    Example: styleclip evaluate --n 50 --json evaluation.json
    """
    reporter = Reporter(quiet)
    options.check_device(device)
    chosen_inverter = options.check_inverter(inverter)
    to_stdout = json_out is not None and str(json_out) == "-"
    if json_out is not None and not to_stdout:
        io.check_outputs([json_out], overwrite=overwrite)

    from styleclip_cli.atomic import atomic
    from styleclip_cli.engine import Engine
    from styleclip_cli.toyworld.evaluate import chosen_cases, load_judge
    from styleclip_cli.toyworld.evaluate import evaluate as judge

    chosen_cases(prompt or None)  # before anything is measured
    engine = Engine(models, device=device, progress=reporter.progress)
    load_judge(engine)
    engine.relevance()  # measured under a progress bar of its own, where it is missing
    with reporter.progress("evaluating") as progress:
        outcome = judge(engine, n, prompt or None, progress, chosen_inverter)
    text = json.dumps({"rows": outcome.rows, "mean": outcome.mean}, indent=2)
    if to_stdout:
        report.data(text)
        return
    reporter.table(_table(outcome.rows, outcome.mean))
    if json_out is not None:
        with atomic(json_out) as temporary:
            temporary.write_text(text + "\n", encoding="utf-8")
        reporter.result(str(json_out))


def _table(rows: list[dict[str, Any]], mean: dict[str, Any]) -> Table:
    from rich.table import Table

    table = Table("prompt", "neutral", *COLUMNS, "n")
    for row in rows:
        cells = (_number(row.get(column)) for column in COLUMNS)
        table.add_row(row["prompt"], row["neutral"], *cells, str(row["n"]))
    table.add_section()
    table.add_row("mean", "", *(_number(mean.get(column)) for column in COLUMNS), "")
    return table


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
