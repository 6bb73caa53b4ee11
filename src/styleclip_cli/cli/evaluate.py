"""`styleclip evaluate`: how good the edits are, judged where the truth is known."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Annotated, Any, Literal

import typer

from styleclip_cli.cli import options
from styleclip_cli.cli.numbers import Numbers
from styleclip_cli.cli.report import Reporter
from styleclip_cli.job import values
from styleclip_cli.recipe import WORDS, MethodName

COLUMNS = ("success", "leak", "leak_default", "identity", "seconds")

_of_evaluation = partial(typer.Option, rich_help_panel="Evaluation")


def evaluate(
    prompt: Annotated[
        list[str] | None,
        _of_evaluation("--prompt", "-p", help="Evaluate only these prompts.", show_default="all"),
    ] = None,
    method: Annotated[
        Literal[MethodName, "all"],
        _of_evaluation(
            "--method",
            help="Editing method. Mappers are the pack's and your own, found by the names of the prompts.",
        ),
    ] = "global",
    n: Annotated[
        int | None,
        _of_evaluation("--n", min=1, help="Number of held-out faces.", show_default="200; 40 for optimize"),
    ] = None,
    json_out: options.NumbersOut = None,
    inverter: options.Inverter = None,
    relevance: options.Relevance = None,
    overwrite: options.Overwrite = False,
    models: options.ToyModels = "toy",
    device: options.Device = "auto",
    no_kernels: options.NoKernels = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Edit held-out toy faces, inverted from pixels, and score the results with an independent network.

    Success: share of faces in which the wanted attribute appeared. Leak: mean change of all other visible
    attributes, at the smallest strength that succeeds and at the default strength. Identity: cosine
    similarity of face embeddings. Seconds: time of each edit, without the inversion.

    Example: styleclip evaluate --n 50 --json evaluation.json
    """
    reporter = Reporter(quiet)
    values.check_device(device)
    numbers = Numbers(json_out, overwrite)

    from styleclip_cli.engine import Engine
    from styleclip_cli.toyworld.evaluate import METHODS, Faces, chosen_cases, load_judge
    from styleclip_cli.toyworld.evaluate import evaluate as judged

    chosen_cases(prompt or None)  # before anything is measured
    engine = Engine(models, device=device, progress=reporter.progress, relevance=relevance)
    faces = Faces(engine, load_judge(engine), engine.settings_for_inversion(inverter))
    outcomes = {}
    for name in METHODS:
        if method not in (name, "all"):
            continue
        if name == "global":
            engine.relevance()  # measured under a progress bar of its own, where it is missing
        count = n or (40 if name == "optimize" else 200)
        with reporter.progress(f"evaluating {WORDS[name]}") as progress:
            outcome = judged(engine, count, prompt or None, progress, method=name, faces=faces)
        outcomes[name] = {"rows": outcome.rows, "mean": outcome.mean}
        if not numbers.on_stdout:
            rows = _rows(outcome.rows, outcome.mean)
            reporter.table(("prompt", "neutral", *COLUMNS, "n"), rows, WORDS[name])
    numbers.write(outcomes if method == "all" else outcomes[method], reporter)


def _rows(rows: list[dict[str, Any]], mean: dict[str, Any]) -> Iterator[Sequence[str] | None]:
    for row in rows:
        cells = (_number(row.get(column)) for column in COLUMNS)
        yield (row["prompt"], row["neutral"], *cells, str(row["n"]))
    yield None
    yield ("mean", "", *(_number(mean.get(column)) for column in COLUMNS), "")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
