"""`styleclip bench`: how fast this machine is."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from styleclip_cli.cli import options
from styleclip_cli.cli.numbers import Numbers
from styleclip_cli.cli.packs import choose
from styleclip_cli.cli.report import Reporter
from styleclip_cli.job import values

if TYPE_CHECKING:
    from styleclip_cli.bench.stages import Timing

_of_measurement = partial(typer.Option, rich_help_panel="Measurement")


def bench(
    full: Annotated[
        bool,
        _of_measurement(
            "--full",
            help="Render at the published size (1024 pixels) with random weights; needs no model pack.",
        ),
    ] = False,
    json_out: options.NumbersOut = None,
    overwrite: options.Overwrite = False,
    models: options.Models = None,
    offline: options.Offline = False,
    device: options.Device = "auto",
    no_kernels: options.NoKernels = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Benchmark the stages of an edit on this machine: time, images per second, memory.

    Times are medians of five runs after a warm-up. GFLOP/s count the operations of direct convolutions; the
    best that this machine reaches in a matrix product and in convolutions is printed for comparison.

    Example: styleclip bench --models toy
    """
    reporter = Reporter(quiet)
    values.check_device(device)
    numbers = Numbers(json_out, overwrite)
    name = "" if full else choose(models, reporter, offline)

    from styleclip_cli.bench import stages as measured
    from styleclip_cli.bench.timing import machine, peak_megabytes, peaks
    from styleclip_cli.engine import Engine
    from styleclip_cli.machine.device import choose_device

    where = choose_device(device)
    rows: list[Timing] = []
    with reporter.progress("measuring") as advance:
        best = peaks(where)
        advance(1, 3)
        if full:
            rows += measured.rendering(measured.published_size(where))
        else:
            engine = Engine(name, device=device)
            rows += measured.rendering(engine.generator)
            advance(2, 3)
            if "encoder" in engine.pack.entries:
                rows += measured.editing(engine)
        advance(3, 3)
    found: dict[str, Any] = {
        "machine": machine(where),
        "models": name or "random weights, 1024 pixels",
        "peaks": best,
        "peak_mb": peak_megabytes(where),
        "rows": [vars(row) | {"per_second": 1 / row.seconds} for row in rows],
    }
    if not numbers.on_stdout:
        _present(found, reporter)
    numbers.write(found, reporter)


def _present(found: dict[str, Any], reporter: Reporter) -> None:
    reporter.result("  ".join(f"{key} {value}" for key, value in found["machine"].items()))
    reporter.result("  ".join(f"{key} {value:.0f} GFLOP/s" for key, value in found["peaks"].items()))
    rows = []
    for row in found["rows"]:
        reached = "" if row["gflops"] is None else f"{row['gflops']:.0f}"
        rows.append([row["stage"], f"{row['seconds'] * 1e3:.1f}", f"{row['per_second']:.1f}", reached])
    reporter.table(("stage", "ms a picture", "pictures/s", "GFLOP/s"), rows, found["models"], numbers=3)
    reporter.result(f"peak memory {found['peak_mb']:.0f} MB")
