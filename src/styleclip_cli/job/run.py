"""An edit, from photos, latents and seeds to results."""

from __future__ import annotations

from collections.abc import Generator
from functools import partial
from typing import TYPE_CHECKING

from styleclip_cli.errors import UsageError
from styleclip_cli.job import confine, inverting, same_person, stages
from styleclip_cli.job.edits import EditMaker, RequestedEdits
from styleclip_cli.job.overlap import Stages, overlapped
from styleclip_cli.job.pace import Pace
from styleclip_cli.job.plan import Plan
from styleclip_cli.job.result import EditResult
from styleclip_cli.job.stages import Tools, WorkItem
from styleclip_cli.job.together import together
from styleclip_cli.job.watching import Watcher
from styleclip_cli.machine.interrupt import Interruptible
from styleclip_cli.machine.progress import Tell, unheard
from styleclip_cli.machine.shards import processes
from styleclip_cli.photo.align import OF_FACES
from styleclip_cli.synthesize import fitting

if TYPE_CHECKING:
    from styleclip_cli.engine import Engine

TOGETHER = 8
"""Photos that are edited and rendered at once, at the most."""
PIXELS = 2**24
"""Of photos that are worked on together; as many are read meanwhile, or wait to be written."""


class Run:
    """Results, one for each input, as they are made; it has a length.

    Attributes:
        written: Files of the results that are written.
        interrupted: The signal that ended an optimization early with its best result; 0 for none.
    """

    def __init__(self, tools: Tools, results: Generator[EditResult]) -> None:
        self._tools, self._results = tools, results
        self.written = tools.written

    def __len__(self) -> int:
        return len(self._tools.plan.work)

    def __iter__(self) -> Generator[EditResult]:
        return self._results

    @property
    def interrupted(self) -> int:
        """The signal that was received; 0 for none."""
        return self._tools.stop.number


def run(plan: Plan, engine: Engine, tell: Tell = unheard, edits: EditMaker | None = None) -> Run:
    """Edit faces, for the commands, `Engine.edit_photo` and the studio.

    Each input goes through five stages: its image is read, its faces are found and inverted, edited,
    rendered and put back, and the result is written. Some inputs are edited together; reading and writing
    overlap the computing.

    An error of one input is the `error` of its result. Errors that concern all inputs (an unusable prompt,
    weights, memory) are raised after all computed results are written. Ctrl-C ends an optimization with its
    best result so far, and then the run; it ends other work at once. Processes that torchrun started end
    together.

    Args:
        plan: The plan; see `plan.plan`.
        engine: Networks and measurements; it reports long steps.
        tell: Takes messages.
        edits: Makes the edits; None makes those of the requests.

    Returns:
        Results in the order of the inputs, computed lazily. Inputs that have not been started when it is
        interrupted, or after the first failure with `fail_fast`, have none.

    Raises:
        UsageError: If the generator has no such layers, or draws no faces that could be numbered, or the
            pack's parser does not know a part of --only.
        WeightsError: If it has no parser for that.
    """
    request, stop, watcher = plan.request, Interruptible(), None
    if plan.boxes and engine.pack.alignment not in OF_FACES:
        raise UsageError(f"{engine.pack.name} has no faces to number", "leave out --preview, or --faces")
    if request.method == "optimize" and edits is None:
        watcher = Watcher(engine.progress, tell, stop, plan.film)
    confine.check(plan, engine)
    steps, noise = request.inversion_steps, request.noise or None
    inversion = engine.settings_for_inversion(request.inverter, steps, noise, request.budget)
    maker = edits or RequestedEdits(plan, engine, inversion, tell, watcher)
    tools = Tools(plan, engine, maker, inversion, tell, stop, watcher)

    def results() -> Generator[EditResult]:
        if request.same_person:
            same_person.tune(tools)
        work = map(WorkItem, plan.work)
        of = inverting if request.method == "invert" else stages
        names = (stages.read, of.find_faces, of.edit_faces, of.write)
        parts = Stages(*(partial(each, tools=tools) for each in names))
        pace = Pace(plan, engine, inversion)
        if said := pace.announcement():
            tell(said)
        with together(engine, measuring=request.measures and processes() > 1):
            for one, error in overlapped(work, parts, _size(tools), stop, request.fail_fast):
                if error is not None:
                    yield EditResult(one.item.name, one.path, error=one.named(error))
                elif one.result is None:
                    tell(f"{one.item.name}: not edited, it had not begun")
                else:
                    plan.gallery.keep(one.pair, one.path)
                    inverted = sum(face.quality.seconds for face in one.faces if face.quality is not None)
                    if said := pace.add(one.seconds, inverted):
                        tell(said)
                    yield one.result
            pace.keep()

    return Run(tools, results())


def _size(tools: Tools) -> int:
    """How many inputs are processed together."""
    plan, engine = tools.plan, tools.engine
    if plan.request.method == "optimize":
        batch = plan.request.optimize.batch or engine.optimize_settings.batch
        return 1 if plan.film is not None else batch
    if tools.inversion.inverter != "encoder" or len(plan.work) < 2:
        return 1  # with slow inversions results are wanted one by one
    largest = max(one.item.pixels for one in plan.work)  # 0 if there are no photos
    renderings = 2 if largest else 1  # a photo's face is rendered before and after
    at_once = fitting(engine.pack.resolution, engine.device) // renderings
    return max(1, min(TOGETHER, at_once, PIXELS // max(1, largest)))
