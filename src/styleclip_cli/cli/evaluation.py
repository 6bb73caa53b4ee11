"""The part of `styleclip evaluate` for any pack and any faces: the row that papers print."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from styleclip_cli.cli.packs import choose
from styleclip_cli.cli.report import Reporter
from styleclip_cli.errors import UsageError
from styleclip_cli.job import values
from styleclip_cli.job.outputs import check_outputs, check_picture
from styleclip_cli.machine.atomic import atomic
from styleclip_cli.recipe import WORDS, MethodName
from styleclip_cli.settings import Inverter, RelevanceMode

if TYPE_CHECKING:
    from styleclip_cli.evaluation.faces import Inputs
    from styleclip_cli.evaluation.run import Evaluation
    from styleclip_cli.evaluation.sentences import Sentence
    from styleclip_cli.weights.packs import Pack

_TABLES, _PLOTS = frozenset({".json", ".csv", ".tex"}), frozenset({".png", ".svg"})
_of_any = partial(typer.Option, rich_help_panel="Any pack, any faces")

Photos = Annotated[
    str | None,
    _of_any(
        "--photos",
        metavar="FOLDER",
        help="Evaluate on the largest faces of these photos, by measures that need no known truth.",
        show_default=False,
    ),
]
Latents = Annotated[
    str | None,
    _of_any(
        "--latents",
        metavar="FILE",
        help="Evaluate on the latents of a file, such as StyleCLIP's test_faces.pt.",
        show_default=False,
    ),
]
Seeds = Annotated[
    str | None,
    _of_any(
        "--seed",
        metavar="SEEDS",
        help="Evaluate on generated faces: 7, or 1-8, or 1-8,20.",
        show_default=False,
    ),
]
PromptFile = Annotated[
    str | None,
    _of_any(
        "--prompts",
        metavar="FILE",
        help="Prompts: one a line, its neutral text after a tab; or .csv or .toml.",
        show_default="the pack's list; twelve of StyleCLIP's authors for real faces",
    ),
]
Target = Annotated[
    float | None,
    _of_any(
        "--target",
        help="Progress in the judge's CLIP space that all edits are compared at.",
        show_default="0.1",
    ),
]
Plots = Annotated[
    list[Path] | None,
    _of_any(
        "--plot",
        metavar="FILE",
        help="Plot what is lost against the progress of the edit (.png, .svg). May be repeated.",
        show_default=False,
    ),
]


@dataclass(frozen=True, kw_only=True)
class PackOptions:
    """Options of an evaluation without known truth; see the options of the same names.

    Attributes:
        prompt: Evaluate these sentences.
        n: Evaluate on the first n faces.
        align: Whether faces are looked for in photos.
    """

    photos: str | None = None
    latents: str | None = None
    seed: str | None = None
    prompt: Sequence[str] = ()
    prompts: str | None = None
    method: MethodName = "global"
    n: int | None = None
    target: float | None = None
    out: Sequence[Path] = ()
    plot: Sequence[Path] = ()
    overwrite: bool = False
    inverter: Inverter | None = None
    relevance: RelevanceMode | None = None
    align: bool = True
    models: str | None = None
    offline: bool = False
    device: str = "auto"


def asked(*given: object) -> bool:
    """Whether any of the options is given that mean an evaluation without known truth."""
    return any(one is not None and one is not False and one not in ([], ()) for one in given)


def evaluate_pack(wanted: PackOptions, reporter: Reporter) -> dict[str, Any]:
    """Evaluate a pack on photos, latents or seeds; print the table, and write what is wanted.

    Args:
        wanted: Options.
        reporter: Says what happens.

    Returns:
        The report, as it is written as JSON.

    Raises:
        UsageError: If options do not go together.
        BadInputError: If an input cannot be used.
        OutputError: If an output cannot be written.
    """
    from styleclip_cli.evaluation.summary import TARGET

    values.check_device(wanted.device)
    target = TARGET if wanted.target is None else wanted.target
    if not 0 < target <= 2:
        raise UsageError(f"--target must be above 0 and at most 2, not {target:g}")
    _check_outputs(wanted)
    inputs = _inputs(wanted)
    models = choose(wanted.models, reporter, wanted.offline)

    from styleclip_cli.engine import Engine
    from styleclip_cli.evaluation import learned
    from styleclip_cli.evaluation.report import report_of
    from styleclip_cli.evaluation.run import Evaluation

    engine = Engine(models, device=wanted.device, progress=reporter.progress, relevance=wanted.relevance)
    sentences = _sentences(wanted, engine.pack)
    lpips, no_lpips = learned.load(engine.device)
    settings = engine.settings_for_inversion(wanted.inverter)
    evaluation = Evaluation(engine, wanted.method, settings, wanted.align, lpips)
    _announce(evaluation, no_lpips, reporter)
    if wanted.method == "global":
        engine.relevance()  # measured under a progress bar of its own, where it is missing
    with reporter.progress(f"evaluating {WORDS[wanted.method]}") as advance:
        measured = evaluation.run(inputs, sentences, advance)
    for name, why in measured.failures.items():
        reporter.note(f"{name}: left out: {why}")
    found = report_of(evaluation, inputs, measured, target, no_lpips)
    if not reporter.json:
        _tables(found, reporter)
    reporter.record(found)
    _write(wanted, found, reporter)
    return found


def _check_outputs(wanted: PackOptions) -> None:
    for path in wanted.out:
        check_picture(path, _TABLES)
    for path in wanted.plot:
        check_picture(path, _PLOTS)
    check_outputs([*wanted.out, *wanted.plot], overwrite=wanted.overwrite)


def _inputs(wanted: PackOptions) -> Inputs:
    from styleclip_cli.evaluation import faces

    texts = {name: getattr(wanted, name) for name in ("photos", "latents", "seed")}
    given = [(name, text) for name, text in texts.items() if text is not None]
    if len(given) != 1:
        raise UsageError("one of --photos, --latents and --seed is needed", "--seed 1-200")
    ((name, text),) = given
    if name == "photos":
        return faces.photos(text, wanted.n)
    if name == "latents":
        return faces.latents(Path(text), wanted.n)
    return faces.seeds(text, wanted.n)


def _sentences(wanted: PackOptions, pack: Pack) -> tuple[Sentence, ...]:
    from styleclip_cli.evaluation.sentences import Sentence, read_sentences, usual_sentences, with_mapper

    if wanted.prompt and wanted.prompts is not None:
        raise UsageError("--prompt and --prompts exclude each other", "one of them")
    if wanted.prompts is not None:
        return read_sentences(Path(wanted.prompts))
    if wanted.prompt:
        return tuple(Sentence(text) for text in dict.fromkeys(wanted.prompt))
    usual = usual_sentences(pack)
    return with_mapper(pack, usual) if wanted.method == "mapper" else usual


def _announce(evaluation: Evaluation, no_lpips: str, reporter: Reporter) -> None:
    """Say what is not measured, or not by another network, and what to do about it."""
    pack = evaluation.engine.pack
    if not evaluation.own_judge:
        hint = f"; {pack.how_to_pull('judge_clip')} fetches another" if "judge_clip" in pack.entries else ""
        reporter.note(f"judge: the CLIP that makes the edits{hint}")
    if no_lpips:
        reporter.note(f"no LPIPS: {no_lpips}")
    if "encoder" not in pack.components:
        reporter.note(f"no inversion: {pack.name} has no encoder")


def _tables(found: dict[str, Any], reporter: Reporter) -> None:
    from styleclip_cli.evaluation.report import COLUMNS, INVERSION_COLUMNS, judged_by, present

    rows, mean, inputs = found["rows"], found["mean"], found["inputs"]
    columns = present(COLUMNS, rows)
    told: list[Sequence[str] | None] = [_line(row, columns) for row in rows]
    title = f"{WORDS[found['method']]}: {inputs['told']}, {found['models']}"
    names = [column.title for column in columns]
    reporter.table(("prompt", *names, "n"), [*told, None, _line(mean, columns)], title, len(columns) + 1)
    if found["inversion"] is not None:
        columns = present(INVERSION_COLUMNS, [found["inversion"]])
        row = [inputs["inverter"], *(column.cell(found["inversion"]) for column in columns)]
        names = [column.title for column in columns]
        reporter.table(("inversion", *names), [row], numbers=len(columns))
    reporter.result(judged_by(found))
    reporter.result(
        f"reached, strength and ID/SSIM/LPIPS at: where progress first reaches {found['target']:g}; "
        "strength in parts of the default"
    )
    reporter.result(
        f"pack {found['pack'][:12]}  {inputs['kind']} {inputs['sha256'][:12]}  "
        f"prompts {found['prompts']['sha256'][:12]}"
    )
    reporter.result(found["caveat"])


def _line(row: dict[str, Any], columns: Sequence[Any]) -> Sequence[str]:
    return (row["prompt"], *(column.cell(row) for column in columns), str(row["n"]))


def _write(wanted: PackOptions, found: dict[str, Any], reporter: Reporter) -> None:
    """Write tables and plots.

    Raises:
        OutputError: If one cannot be written.
    """
    from styleclip_cli.evaluation.curves import plot
    from styleclip_cli.evaluation.report import WRITERS

    for path in wanted.out:
        with atomic(path) as temporary:
            temporary.write_text(WRITERS[path.suffix.lower()](found), encoding="utf-8", newline="")
        reporter.result(str(path))
    for path in wanted.plot:
        plot(path, found)
        reporter.result(str(path))
