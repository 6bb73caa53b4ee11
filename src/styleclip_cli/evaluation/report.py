"""The report of an evaluation, with what is needed to repeat it: as JSON, CSV and LaTeX."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from styleclip_cli import __version__
from styleclip_cli.evaluation.faces import Inputs
from styleclip_cli.evaluation.run import PARTS, SCHEMA, Evaluation, Measured
from styleclip_cli.evaluation.sentences import hash_of
from styleclip_cli.evaluation.summary import CAVEAT, inversion_row, rows_of

Report = dict[str, Any]
_SPECIAL = {
    **{letter: f"\\{letter}" for letter in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "\\": r"\textbackslash{}",
}


class Column(NamedTuple):
    """A column of the tables.

    Attributes:
        name: Of the number in a row; `at_target.` before those at an equal target.
        title: On the terminal.
        latex: In LaTeX, with an arrow to the better side.
        digits: Decimals.
    """

    name: str
    title: str
    latex: str
    digits: int = 3

    def of(self, row: Mapping[str, Any]) -> float | None:
        """The number in a row; None if there is none."""
        first, _, second = self.name.partition(".")
        value = row.get(first)
        return value.get(second) if second and isinstance(value, Mapping) else value

    def cell(self, row: Mapping[str, Any], missing: str = "-") -> str:
        """The number as text."""
        value = self.of(row)
        return missing if value is None else f"{value:.{self.digits}f}"


COLUMNS = (
    Column("clip", "CLIP", r"CLIP $\uparrow$"),
    Column("similarity", "direction", r"Dir. $\uparrow$"),
    Column("identity", "identity", r"ID $\uparrow$"),
    Column("identity_2", "identity 2", r"ID$_2$ $\uparrow$"),
    Column("lpips", "LPIPS", r"LPIPS $\downarrow$"),
    Column("psnr", "PSNR", r"PSNR $\uparrow$", 1),
    Column("ssim", "SSIM", r"SSIM $\uparrow$"),
    Column("psnr_outside", "PSNR out", r"PSNR$_\mathrm{out}$ $\uparrow$", 1),
    Column("ssim_outside", "SSIM out", r"SSIM$_\mathrm{out}$ $\uparrow$"),
    Column("changed", "changed", r"Area $\downarrow$"),
    Column("reached", "reached", r"Reached $\uparrow$", 2),
    Column("strength", "strength", r"Strength", 2),
    Column("at_target.identity", "ID at", r"ID$_t$ $\uparrow$"),
    Column("at_target.ssim_outside", "SSIM at", r"SSIM$_{\mathrm{out},t}$ $\uparrow$"),
    Column("at_target.lpips", "LPIPS at", r"LPIPS$_t$ $\downarrow$"),
    Column("seconds", "s", r"s $\downarrow$", 2),
)
INVERSION_COLUMNS = (
    Column("psnr_ganinverter", "PSNR (2/MSE)", r"PSNR$_{2/\mathrm{MSE}}$ $\uparrow$", 2),
    Column("psnr", "PSNR", r"PSNR $\uparrow$", 2),
    Column("mse", "MSE", r"MSE $\downarrow$", 4),
    Column("lpips", "LPIPS", r"LPIPS $\downarrow$"),
    Column("identity", "identity", r"ID $\uparrow$"),
    Column("identity_2", "identity 2", r"ID$_2$ $\uparrow$"),
    Column("seconds", "s", r"s $\downarrow$"),
)


def report_of(
    evaluation: Evaluation, inputs: Inputs, measured: Measured, target: float, no_lpips: str
) -> Report:
    """Join what was measured with what it was measured on.

    Args:
        evaluation: How it was measured.
        inputs: The faces.
        measured: The numbers.
        target: Progress that edits are compared at.
        no_lpips: Why there is no LPIPS; empty if there is.

    Returns:
        As JSON can hold it.
    """
    pack, engine = evaluation.engine.pack, evaluation.engine
    rows, mean = rows_of(measured, target)
    used = sorted({"generator", "clip", *evaluation.parts})
    return {
        "schema": SCHEMA,
        "version": __version__,
        "models": pack.name,
        "pack": str(engine.fingerprint),
        "weights": {part: str(pack.fingerprint_of(part)) for part in used},
        "method": evaluation.method,
        "inputs": {
            "kind": inputs.kind,
            "n": len(inputs.items),
            "told": inputs.told,
            "sha256": inputs.sha256,
            "inverter": evaluation.inversion.inverter,
            "truncation": engine.measurements.statistics_settings.truncation_psi
            if inputs.kind == "seeds"
            else None,
            "failures": dict(measured.failures),
        },
        "prompts": {"n": len(measured.sentences), "sha256": hash_of(measured.sentences)},
        "judge": {
            "clip": "judge_clip" if evaluation.own_judge else "clip",
            "edits": not evaluation.own_judge,
        },
        "no_lpips": no_lpips,
        "target": target,
        "alphas": list(measured.alphas),
        "parts": list(PARTS),
        "caveat": CAVEAT,
        "rows": rows,
        "mean": mean,
        "inversion": inversion_row(measured),
    }


def judged_by(report: Report) -> str:
    """Which CLIP judges, in a sentence."""
    if not report["judge"]["edits"]:
        return f"judge: the judge_clip of {report['models']}, which makes no edit"
    return (
        f"judge: the CLIP of {report['models']} that makes the edits, as no other is installed; "
        "CLIP, direction and progress favour edits that follow it"
    )


def present(columns: Sequence[Column], rows: Sequence[Mapping[str, Any]]) -> list[Column]:
    """The columns in which there is any number."""
    return [column for column in columns if any(column.of(row) is not None for row in rows)]


def to_json(report: Report) -> str:
    """As JSON."""
    return json.dumps(report, indent=2, allow_nan=False) + "\n"


def to_csv(report: Report) -> str:
    """As CSV: a line for each sentence and one for the mean, each with the hashes to repeat it by."""
    file = io.StringIO(newline="")
    same = {
        "models": report["models"],
        "pack": report["pack"],
        "method": report["method"],
        "inputs": report["inputs"]["kind"],
        "inputs_sha256": report["inputs"]["sha256"],
        "prompts_sha256": report["prompts"]["sha256"],
        "judge": report["judge"]["clip"],
        "target": report["target"],
    }
    columns = present(COLUMNS, report["rows"])
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["prompt", "neutral", "n", *(c.name.replace(".", "_") for c in columns), *same])
    for row in (*report["rows"], report["mean"]):
        numbers = ("" if (value := c.of(row)) is None else repr(value) for c in columns)
        writer.writerow([row["prompt"], row["neutral"], row["n"], *numbers, *same.values()])
    return file.getvalue()


def to_latex(report: Report) -> str:
    """As LaTeX with booktabs: the table, its mean as a single row, and the inversions."""
    columns = present(COLUMNS, report["rows"])
    mean = report["mean"]
    name = f"{_escaped(report['models'])}, {_escaped(report['method'])}"
    lines = [f"% {line}" for line in _provenance(report)]
    lines += ["% A single row, the mean:", f"% {_heading('', columns)}", f"% {_line(name, columns, mean)}"]
    caption = (
        f"{mean['n']} edits of {report['inputs']['told']} with {name}; "
        f"{_escaped(judged_by(report))}. "
        f"Reached, strength and $t$: at a progress of {report['target']:g}."
    )
    body = [_line(_escaped(row["prompt"]), columns, row) for row in report["rows"]]
    lines += _table(caption, _heading("", columns), body, _line("mean", columns, mean), len(columns))
    if report["inversion"] is not None:
        known = present(INVERSION_COLUMNS, [report["inversion"]])
        row = _line(_escaped(report["inputs"]["inverter"]), known, report["inversion"])
        heading = _heading("Inversion", known)
        told = f"Inversion of {report['inversion']['n']} faces at up to 256 pixels, {name}."
        lines += ["", *_table(told, heading, [row], None, len(known))]
    return "\n".join(lines) + "\n"


WRITERS: Mapping[str, Callable[[Report], str]] = {".json": to_json, ".csv": to_csv, ".tex": to_latex}


def _provenance(report: Report) -> Iterable[str]:
    yield f"styleclip {report['version']} evaluate; models {report['models']}, pack {report['pack']}"
    yield from (f"{part} {value}" for part, value in report["weights"].items())
    yield f"{report['inputs']['told']}, SHA-256 {report['inputs']['sha256']}"
    yield f"{report['prompts']['n']} prompts, SHA-256 {report['prompts']['sha256']}"
    yield judged_by(report)
    yield report["caveat"]


def _heading(first: str, columns: Sequence[Column]) -> str:
    return " & ".join([first, *(column.latex for column in columns)]) + r" \\"


def _line(name: str, columns: Sequence[Column], row: Mapping[str, Any]) -> str:
    return " & ".join([name, *(column.cell(row, "--") for column in columns)]) + r" \\"


def _table(caption: str, heading: str, body: Sequence[str], last: str | None, count: int) -> list[str]:
    end = [] if last is None else [r"\midrule", last]
    return [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{caption}}}",
        rf"\begin{{tabular}}{{l{'r' * count}}}",
        r"\toprule",
        heading,
        r"\midrule",
        *body,
        *end,
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]


def _escaped(text: str) -> str:
    """A text as LaTeX sets it."""
    return "".join(_SPECIAL.get(letter, letter) for letter in " ".join(text.split()))
