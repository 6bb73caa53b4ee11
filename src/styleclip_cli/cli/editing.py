"""Plan an edit, run it, and present its results: what `edit`, `transfer` and `invert` share."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from styleclip_cli.cli.failures import Failures
from styleclip_cli.cli.packs import choose
from styleclip_cli.cli.report import Reporter, binary
from styleclip_cli.errors import BadInputError, PartialFailure, UsageError
from styleclip_cli.job.plan import Plan, plan
from styleclip_cli.job.request import EditRequest
from styleclip_cli.job.result import EditResult
from styleclip_cli.machine import profile as profiling
from styleclip_cli.machine.interrupt import Stopped
from styleclip_cli.machine.shards import own_device, processes
from styleclip_cli.settings import Precision

if TYPE_CHECKING:
    from styleclip_cli.engine import Engine
    from styleclip_cli.job.run import Run


@dataclass(frozen=True)
class Presentation:
    """How a command runs and what it shows; see the options of the same names."""

    device: str = "auto"
    precision: Precision = "fp32"
    offline: bool = False
    dry_run: bool = False
    show: bool = False


def edit_and_present(
    request: EditRequest,
    how: Presentation,
    reporter: Reporter,
    each: Callable[[EditResult], None] = lambda result: None,
    finish: Callable[[Plan, Engine | None], None] | None = None,
) -> None:
    """Do what is asked, and tell of it.

    Args:
        request: What is asked.
        how: How it is run and shown.
        reporter: Told of it.
        each: Takes each result.
        finish: Writes what belongs to all of them; None draws the sheet and the page.

    Raises:
        StyleClipError: If all of it fails.
        PartialFailure: If some inputs failed.
        Stopped: If it was interrupted.
    """
    finish = finish or partial(_draw, reporter, time.monotonic())
    planned = _planned(request, reporter)
    if how.dry_run:
        _tell_plan(planned, reporter)
        return
    if not planned.work and not planned.gallery.missing and processes() == 1:
        reporter.note("nothing to do")
        finish(planned, None)
        return
    pack = choose(request.models, reporter, how.offline)
    _check_pack(planned, pack, reporter)
    if request.out is None:
        reporter.note(f"writing to the current folder ({Path.cwd()}); --out chooses another")

    with profiling.stage("start"):
        from styleclip_cli.engine import Engine
        from styleclip_cli.job.run import run

    engine = Engine(
        pack,
        device=own_device(how.device),
        seed=request.seed,
        layers=request.style_layers,
        progress=reporter.progress,
        relevance=request.relevance,
        precision=how.precision,
    )
    results = run(planned, engine, reporter.note)
    failure: PartialFailure | None = None
    try:
        _present(results, request, reporter, how.show, each)
    except PartialFailure as error:
        failure = error
    finish(planned, engine)
    if results.interrupted:
        raise Stopped(results.interrupted)
    if failure is not None:
        raise failure


def _planned(request: EditRequest, reporter: Reporter) -> Plan:
    """The plan, and what there is to say of it."""
    try:
        planned = plan(request)
    except BadInputError as error:  # the only input, or a list
        if request.inputs:
            reporter.record(EditResult(request.inputs[0], error=error).record())
        raise
    if request.stream and sys.__stdout__ is None:
        raise UsageError("standard output is closed", "--out FILE")
    if request.stream and sys.stdout.isatty():
        raise UsageError("a picture is nothing for a terminal", "styleclip edit ... --out - > face.png")
    for remark in planned.remarks:
        reporter.note(remark)
    for one in planned.skipped:
        reporter.record(EditResult(one.item.name, one.path).record("skipped"))
    return planned


def _tell_plan(planned: Plan, reporter: Reporter) -> None:
    """Say what would be done.

    Raises:
        StyleClipError: As the work itself would, of inputs that cannot be read.
    """
    failures = Failures(len(planned.work), outcome="would be written")
    streamed = planned.request.stream
    for one in planned.work:
        result = EditResult(one.item.name, one.path, error=one.item.error)
        if result.error is not None:
            reporter.record(result.record())
            failures.add(result.error)
        else:
            reporter.result(f"{result.source} -> {'standard output' if streamed else one.path}")
            reporter.record(result.record("planned", streamed))
    failures.conclude()


def _check_pack(planned: Plan, pack: str, reporter: Reporter) -> None:
    """Refuse mappers that are not there; say so if a recipe was made with other weights than the pack's.

    Raises:
        BadInputError: If there is no mapper of a name.
        WeightsError: If it has to be fetched first.
    """
    from styleclip_cli.fingerprints import same
    from styleclip_cli.weights import mappers
    from styleclip_cli.weights.packs import find_pack

    recipe = planned.request.recipe
    if recipe is not None and recipe.fingerprint is not None:
        fingerprint = find_pack(pack).fingerprint
        if not same(recipe.fingerprint, fingerprint):
            reporter.note(
                f"the recipe was made with other weights ({recipe.models}, {recipe.fingerprint[:12]}; here "
                f"{fingerprint[:12]}): the result may be another"
            )
    for name in planned.mappers:
        mappers.find(find_pack(pack), name)


def _present(
    results: Run, request: EditRequest, reporter: Reporter, show: bool, each: Callable[[EditResult], None]
) -> None:
    """Tell of results as they come.

    Raises:
        StyleClipError: If all failed, or what is asked makes no sense.
        PartialFailure: If some failed.
        Stopped: If it was interrupted.
    """
    failures = Failures(len(results), request.fail_fast)
    with _counted(results, reporter), closing(iter(results)) as found:
        for result in found:
            if result.error is not None:
                reporter.record(result.record())
                failures.add(result.error)
                continue
            for note in [*result.notes, *(f"{result.source}: {warning}" for warning in result.warnings)]:
                reporter.note(note)
            if request.stream and result.path is not None:
                binary(result.path.read_bytes())
            for line in result.lines(request.stream):
                reporter.result(line)
            reporter.record(result.record(streamed=request.stream))
            if show and result.image is not None:
                reporter.picture(result.image)
            each(result)
    failures.conclude()


@contextmanager
def _counted(results: Run, reporter: Reporter) -> Iterator[None]:
    """Say how far it came if it is interrupted."""
    try:
        yield
    except Stopped:
        if len(results) > 1:
            done = len(results.written)
            reporter.note(f"{done} of {len(results)} are written; the same with --skip-existing goes on")
        raise


def _draw(reporter: Reporter, began: float, planned: Plan, engine: Engine | None) -> None:
    """Write the sheet and the page, and say how long it took in all."""
    request = planned.request
    if engine is not None:
        planned.gallery.recall(engine)
    title = request.words if request.steps else Path(request.manifest or "edits").stem
    for path in planned.gallery.finish(title, reporter.progress):
        reporter.result(str(path))
    if engine is not None:
        reporter.note(f"{time.monotonic() - began:.1f} s in all")


def tell_profile(profiled: profiling.Profile, reporter: Reporter) -> None:
    """Say where the time went."""
    profiling.stop()
    wall = profiled.wall
    total = sum(stage.seconds for stage in profiled.stages.values())
    reporter.note(f"{'stage':14s} {'seconds':>8s} {'of wall':>8s} {'times':>6s}")
    for name, stage in sorted(profiled.stages.items(), key=lambda item: -item[1].seconds):
        reporter.note(f"{name:14s} {stage.seconds:8.2f} {stage.seconds / wall:8.0%} {stage.count:6d}")
    reporter.note(f"{'wall':14s} {wall:8.2f}; the stages together took {total:.2f} s, as some overlap")
