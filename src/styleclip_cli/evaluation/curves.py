"""Plots of what edits lose against the progress that they make."""

from __future__ import annotations

from pathlib import Path

from styleclip_cli.evaluation.report import Report
from styleclip_cli.evaluation.run import DEFAULT
from styleclip_cli.evaluation.summary import curves
from styleclip_cli.pictures.plot import Panel, write_plot

_LOST = {
    "identity": "identity lost (1 - cosine)",
    "lpips": "LPIPS",
    "ssim_outside": "structure lost outside the change (1 - SSIM)",
}


def plot(path: Path, report: Report) -> None:
    """Write the leak curves of a report: a point for each strength, the default one marked.

    Args:
        path: The file (.png or .svg).
        report: Of `report.report_of`.

    Raises:
        OutputError: If it cannot be written.
    """
    panels = []
    for measure, title in _LOST.items():
        lines = curves([*report["rows"], report["mean"]], measure)
        if lines:
            panels.append(Panel(title, lines, DEFAULT + 1, report["target"]))
    inputs, judge = report["inputs"], "another CLIP" if not report["judge"]["edits"] else "the editing CLIP"
    title = (
        f"{report['models']}, {report['method']}: {report['prompts']['n']} prompts, {inputs['told']}; "
        f"dots: default strength; line: {report['target']:g}"
    )
    write_plot(path, panels, title, f"progress, judged by {judge}")
