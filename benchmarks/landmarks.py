"""How well the toy pack's landmark networks do, where the truth is known: held-out scenes.

`python benchmarks/landmarks.py [scenes] [first seed]`; the default is 500 scenes that no network was
trained on. A face counts as found if the middle of an answer's frame is within a quarter of a frame of its
own. Points and corners are measured on faces whose eyes and mouth are inside the photo: points in distances
between the eyes, corners (the largest error of four) in sides of their square.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import torch

from styleclip_cli.landmarks.load import landmarker_of
from styleclip_cli.weights.packs import find_pack

sys.path.insert(0, str(Path(__file__).parent.parent))
from styleclip_cli.toyworld.scenes import make_scene
from toyworld_training.scores import FIRST_SEED, Row, photo, score

HEADS = ((0, 24), (24, 40), (40, 80), (80, 160), (160, 10_000))


def line(name: str, rows: list[Row]) -> str:
    """One line of the table."""
    whole = [row for row in rows if row.whole]
    nme, frame, crop = (np.array([getattr(r, k) for r in whole if r.found]) for k in ("nme", "frame", "crop"))
    if not len(nme):
        return f"{name:16s} {len(rows):5d}"
    found = [np.mean([row.found for row in some]) for some in (rows, whole)]
    cells = [
        f"{name:16s} {len(rows):5d} {found[0]:7.1%}   {len(whole):5d} {found[1]:7.1%}",
        f"{nme.mean():7.2%} {np.percentile(nme, 95):7.2%}",
        *(f"{error.mean():7.2%} {(error <= 0.01).mean():7.1%}" for error in (frame, crop)),
    ]
    return "   ".join(cells)


def main() -> None:
    """Measure and print."""
    scenes = int(sys.argv[1]) if len(sys.argv) > 1 else 500
    first = int(sys.argv[2]) if len(sys.argv) > 2 else FIRST_SEED
    empty = scenes // 5
    torch.set_num_threads(1)
    landmarker = landmarker_of(find_pack("toy"), torch.device("cpu"))
    rows: list[Row] = []
    wrong, wrong_empty, seconds = 0, 0, 0.0
    for number in range(scenes + empty):
        scene = make_scene(first + number, count=None if number < scenes else 0)
        picture = photo(scene)
        start = time.perf_counter()
        answers = landmarker.find(picture)
        seconds += time.perf_counter() - start
        found, others = score(scene, answers)
        rows += found
        wrong, wrong_empty = (
            (wrong + others, wrong_empty) if number < scenes else (wrong, wrong_empty + others)
        )
    print(
        f"{scenes} scenes, {len(rows)} faces, seeds from {first}; {seconds / (scenes + empty):.3f} s a photo"
    )
    print(f"false positives: {wrong / scenes:.4f} a photo; {wrong_empty} in {empty} photos without faces")
    print(
        "                  all   found   whole   found       NME    95th    "
        " frame  within 1 %   FFHQ crop  within 1 %"
    )
    print(line("all", rows))
    for low, high in HEADS:
        name = f"head {low}-{high} px" if high < 10_000 else f"head > {low} px"
        print(line(name, [row for row in rows if low <= row.height < high]))
    print(line("roll within 30", [row for row in rows if abs(row.roll) <= 30]))
    print(line("roll over 30", [row for row in rows if abs(row.roll) > 30]))


if __name__ == "__main__":
    main()
