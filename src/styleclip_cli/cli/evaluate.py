"""`styleclip evaluate`: how good the edits are, judged where the truth is known."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from styleclip_cli.cli import evaluation, options
from styleclip_cli.cli.helping import Command
from styleclip_cli.cli.numbers import Numbers
from styleclip_cli.cli.report import Reporter
from styleclip_cli.errors import UsageError
from styleclip_cli.job import values
from styleclip_cli.job.inputs import STREAM
from styleclip_cli.recipe import MethodName

# Columns of the table, with their decimals.
COLUMNS = {
    "success": 2,
    "clean": 2,
    "broken": 2,
    "ceiling": 2,
    "leak": 3,
    "reached": 2,
    "identity": 2,
    "background": 1,
    "seconds": 2,
}
GHOSTS = {"ghost": 2, "kept": 2, "db": 1}
_MOST = 2
"""Attributes that a line of the table names."""
_of_evaluation = partial(typer.Option, rich_help_panel="Evaluation")
_log = logging.getLogger(__name__)


class EvaluateCommand(Command):
    """Takes `--json FILE`, the former name of `--out FILE`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse options by their present names."""
        return super().parse_args(ctx, list(_by_present_names(args)))


def _by_present_names(words: Sequence[str]) -> Iterator[str]:
    """The command has no arguments: what follows --json, and is no option, is the file it once took."""
    rest = iter(words)
    for word in rest:
        following = next(rest, None) if word == "--json" else None
        if word.startswith("--json="):
            yield from ("--json-file", word.removeprefix("--json="))
        elif following is not None and (following == STREAM or not following.startswith("-")):
            yield from ("--json-file", following)
        else:
            yield from (word, *([] if following is None else [following]))


def evaluate(
    prompt: Annotated[
        list[str] | None,
        _of_evaluation("--prompt", "-p", help="Evaluate only these prompts.", show_default="all"),
    ] = None,
    method: Annotated[
        Literal[MethodName, "auto", "official-global", "all"],
        _of_evaluation(
            "--method",
            help="Editing method, with its defaults. Mappers are the pack's and your own, found by the names "
            "of the prompts. auto: as edit --auto. official-global: the rule of the official code (its "
            "templates, the interface's beta and strength, no toRGB layers, the prompt as it is).",
        ),
    ] = "global",
    n: Annotated[
        int | None,
        _of_evaluation(
            "--n",
            min=1,
            help="Faces for each prompt.",
            show_default="40 drawn, 6 for optimize; else all",
        ),
    ] = None,
    split: Annotated[
        Literal["dev", "test"] | None,
        _of_evaluation(
            "--split",
            help="Drawn persons: dev while you develop; test, others, for figures to be published.",
            show_default="dev",
        ),
    ] = None,
    ghosts: Annotated[
        int,
        _of_evaluation(
            "--ghosts",
            metavar="PHOTOS",
            min=0,
            help="Also edit so many drawn photos for each of 12 prompts, and measure what is left of the old "
            "face in them: about a second for each.",
            show_default="none",
        ),
    ] = 0,
    photos: evaluation.Photos = None,
    latents: evaluation.Latents = None,
    seed: evaluation.Seeds = None,
    prompts: evaluation.PromptFile = None,
    target: evaluation.Target = None,
    plot: evaluation.Plots = None,
    no_align: options.NoAlign = False,
    json: Annotated[
        bool, options.of_output("--json", help="Print the numbers as JSON instead of tables.")
    ] = False,
    json_file: Annotated[str | None, typer.Option("--json-file", hidden=True)] = None,
    out: Annotated[
        list[Path] | None,
        options.of_output(
            "--out",
            "-o",
            metavar="FILE",
            help="Also write the numbers to a file: .json or .csv; .tex of photos, latents and seeds. May be "
            "repeated.",
            show_default=False,
        ),
    ] = None,
    inverter: options.Inverter = None,
    relevance: options.Relevance = None,
    overwrite: options.Overwrite = False,
    models: options.Models = None,
    offline: options.Offline = False,
    device: options.Device = "auto",
    no_kernels: options.NoKernels = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Measure how good edits are: of drawn faces, whose truth is known, or of any faces.

    Drawn faces (the default, with --models toy) are inverted from pixels, edited, and read by an independent
    network. Success: share of faces in which the wanted attributes appeared. Clean: share in which nothing
    else changed by more than a quarter; broken: how many other attributes did, per face; ceiling: clean edits
    if the change is drawn instead. Leak: mean change of all other visible attributes, at the strength at
    which the wanted ones just appear; reached: share of faces that come there. Identity: cosine similarity of
    face embeddings. Background: mean change of pixels, of 255. Seconds: time of each edit, without the
    inversion.
    The worst prompts come first.

    With --photos, --latents or --seed any pack is measured as papers do: CLIP score, directional similarity,
    identity, PSNR, SSIM (LPIPS where it is installed), also at an equal target.

    Example: styleclip evaluate --n 10 --prompt smiling --prompt "with a hat" --out evaluation.json

    Example: styleclip evaluate --seed 1-8 --prompt smiling --out row.tex --plot curves.png
    """
    reporter = Reporter(quiet)
    values.check_device(device)
    if json_file is not None:
        _log.warning("--json FILE is now --out FILE, and --json prints; the old form will be removed")
        out = [*(out or ()), Path(json_file)]
    json |= any(str(path) == STREAM for path in out or ())
    files = [path for path in out or () if str(path) != STREAM]
    reporter.json = json
    if evaluation.asked(photos, latents, seed, prompts, target, plot, no_align):
        if method == "auto" or method == "official-global" or method == "all" or ghosts or split is not None:
            raise UsageError(
                "--split, --ghosts and --method auto, official-global and all are for drawn faces",
                "leave them out, or --photos, --latents, --seed, --prompts, --target, --plot and --no-align",
            )
        wanted = evaluation.PackOptions(
            photos=photos,
            latents=latents,
            seed=seed,
            prompt=prompt or (),
            prompts=prompts,
            method=method,
            n=n,
            target=target,
            out=files,
            plot=plot or (),
            overwrite=overwrite,
            inverter=inverter,
            relevance=relevance,
            align=not no_align,
            models=models,
            offline=offline,
            device=device,
        )
        evaluation.evaluate_pack(wanted, reporter)
        return
    numbers = [Numbers(file, overwrite) for file in files]
    split = split or "dev"

    from styleclip_cli.bench.timing import machine
    from styleclip_cli.engine import Engine
    from styleclip_cli.truth.cases import SPLITS, chosen_cases
    from styleclip_cli.truth.evaluate import Faces
    from styleclip_cli.truth.evaluate import evaluate as judged
    from styleclip_cli.truth.methods import METHODS, TITLES
    from styleclip_cli.truth.worlds import load_judge, world_of

    engine = Engine(models or "toy", device=device, progress=reporter.progress, relevance=relevance)
    chosen_cases(world_of(engine.pack).cases, prompt or None)  # before anything is measured
    judge, settings = load_judge(engine), engine.settings_for_inversion(inverter)
    faces = Faces(engine, judge, settings, first=SPLITS[split].faces)
    reports: dict[str, dict[str, Any]] = {}
    for name in METHODS if method == "all" else (method,):
        if name != "mapper":
            engine.relevance()  # measured under a progress bar of its own, where it is missing
        count = n or (6 if name == "optimize" else 40)
        with reporter.progress(f"evaluating {TITLES[name]}") as progress:
            outcome = judged(
                engine,
                count,
                prompt or None,
                progress,
                inverter,
                method=name,
                faces=faces,
                split=split,
                photos=ghosts,
            )
        reports[name] = {
            "method": name,
            "split": split,
            "n": count,
            "models": engine.pack.name,
            "inverter": settings.inverter,
            "machine": machine(engine.device),
            "rows": outcome.rows,
            "mean": outcome.mean,
        }
        if not json:
            _present(reports[name], TITLES[name], reporter)
    found = reports if method == "all" else reports[method]
    reporter.record(found)
    rows = [{"method": one, **row} for one in reports for row in reports[one]["rows"]]
    for file in numbers:
        file.write(found, reporter, rows)


def _present(report: dict[str, Any], title: str, reporter: Reporter) -> None:
    """The table of one method."""
    columns = COLUMNS | {key: digits for key, digits in GHOSTS.items() if key in report["mean"]}
    implied = any(row.get("implied") for row in report["rows"])
    titles = ["prompt", *columns, "n", "what else moved", *(["implied"] if implied else [])]
    rows: list[Sequence[str] | None] = []
    for row in report["rows"]:
        named = [_named(row.get("moved", {}))] + ([_named(row.get("implied", {}))] if implied else [])
        cells = (_number(row.get(key), digits) for key, digits in columns.items())
        rows.append((row["prompt"], *cells, str(row["n"]), *named))
    mean = (_number(report["mean"].get(key), digits) for key, digits in columns.items())
    rows += [None, ("mean", *mean, "", "", *([""] if implied else []))]
    reporter.table(titles, rows, f"{title}, split {report['split']}")


def _named(values: dict[str, float]) -> str:
    """Attributes with a number each."""
    return " ".join(f"{name} {value:.2f}" for name, value in list(values.items())[:_MOST])


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
