"""Where an edit begins to be doubtful: `python benchmarks/doubts.py [N] [SENTENCE...]`.

N drawn persons (24), of those that constants are chosen on, are edited by each sentence that the toy pack
lists, at the default strength, and by each further SENTENCE. Prints the lowest identity, progress and share
of the change that lies in the named part of the face: what `identity_floor` and `progress_floor` of the pack,
and `INSIDE` of `styleclip_cli/job/doubts.py`, were chosen by, and how many edits would be doubted.
"""

from __future__ import annotations

import argparse

import numpy as np
from torch import Tensor

from styleclip_cli.edits.directions import Direction
from styleclip_cli.edits.edit import edited_each
from styleclip_cli.edits.scores import clip_direction, scores
from styleclip_cli.engine import Engine
from styleclip_cli.errors import BadInputError
from styleclip_cli.inversion import FaceLatent
from styleclip_cli.job.doubts import INSIDE
from styleclip_cli.machine.memory import disable_malloc_trim
from styleclip_cli.photo.portrait import portraits
from styleclip_cli.photo.regions import parts_of, region, share_inside
from styleclip_cli.save import to_image
from styleclip_cli.toyworld.cases import CASES
from styleclip_cli.truth.cases import SPLITS
from styleclip_cli.truth.evaluate import Faces
from styleclip_cli.truth.worlds import load_judge

COLUMNS = ("identity", "progress", "inside")


def inside(engine: Engine, prompt: str, before: Tensor, after: Tensor) -> float:
    """Share of the change in the part that a prompt names; NaN where it names none, or no face is found."""
    parts = parts_of(prompt)
    try:
        crop = portraits(engine, to_image(before))[0] if parts else None
    except BadInputError:
        crop = None
    if crop is None or crop.points is None:
        return float("nan")
    return share_inside(before, after, region(crop.points, crop.quad, parts, before.shape[-1]))


def measured(engine: Engine, edit: Direction, faces: list[FaceLatent]) -> np.ndarray:
    """Identity, progress and share of each face, [N, 3]."""
    edited = [each[0] for each in edited_each(edit, faces, [engine.default_alpha]) if each is not None]
    before, after = engine.render(faces), engine.render(edited)
    found = scores(engine.judge, before, after, clip_direction(engine.judge, edit))
    shares = [inside(engine, edit.target, *pair) for pair in zip(before, after, strict=True)]
    rows = [(one.identity, one.progress, share) for one, share in zip(found, shares, strict=True)]
    return np.array(rows, dtype=float)


def told(name: str, values: np.ndarray, bars: tuple[float, float, float]) -> str:
    """A line of the table."""
    cells = []
    for column, bar in zip(values.T, bars, strict=True):
        known = column[~np.isnan(column)]
        low = f"{known.min():6.3f} {np.median(known):6.3f} {(known < bar).mean():4.0%}" if len(known) else "-"
        cells.append(f"{low:>19s}")
    return f"{name:28s}{'  '.join(cells)}"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("n", type=int, nargs="?", default=24)
    parser.add_argument("sentence", nargs="*")
    wanted = parser.parse_args()
    disable_malloc_trim()
    engine = Engine("toy")
    bars = engine.pack.identity_floor, engine.pack.progress_floor, INSIDE
    faces = Faces(engine, load_judge(engine), first=SPLITS["defaults"].faces)
    print(f"{'lowest, median, under ' + str(bars):28s}{'  '.join(f'{name:>19s}' for name in COLUMNS)}")
    known = []
    for case in CASES:
        if case.prompt in engine.pack.words:
            chosen = list(faces.for_case(case, wanted.n).faces)
            known.append(measured(engine, engine.direction(case.prompt, case.neutral), chosen))
            print(told(case.prompt, known[-1], bars), flush=True)
    print(told("all of these", np.concatenate(known), bars))
    for sentence in wanted.sentence:
        print(told(sentence, measured(engine, engine.direction(sentence), chosen), bars), flush=True)


if __name__ == "__main__":
    main()
