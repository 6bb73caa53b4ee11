"""Does an edit change one thing only? `python benchmarks/clean_edits.py METHOD N [PROMPT...] [options]`.

N held-out toy faces are edited by each of the evaluation's prompts (or those that are given), and the judge
reads all attributes before and after. METHOD is global, auto, mapper or optimize, each with its defaults.
Averages over faces:

success  the wanted attribute is there.
clean    it is, and no other attribute in sight (visibility over 0.5 before and after) moved by over 0.25.
broken   how many others moved so far.
ceiling  clean, of faces that the renderer draws twice with that attribute alone changed: what it falls short
         of 1 by is misread by the judge, and no edit's fault.

Options: --first SEED (other persons than those that defaults were chosen on), --pack PACK, --json FILE.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from styleclip_cli.bench.timing import machine
from styleclip_cli.edits.edit import edited_each
from styleclip_cli.engine import Engine
from styleclip_cli.inversion import FaceLatent
from styleclip_cli.toyworld import evaluate
from styleclip_cli.toyworld.attributes import COUNT, INDEX, NAMES, attributes_of_normals, visibility
from styleclip_cli.toyworld.evaluate import METHODS, Case, Faces, read_all, show_all
from styleclip_cli.toyworld.networks import Judge
from styleclip_cli.toyworld.renderer import render_all

FIRST_SEED = 47_000_000
"""No default was chosen on faces from here on."""
MOVED, IN_SIGHT = 0.25, 0.5
OF_CEILING = 64
COLUMNS = ("success", "clean", "broken", "ceiling")


def moved_others(case: Case, before: Tensor, after: Tensor) -> Tensor:
    """Which attributes in sight moved that were not to, from readings [N, 32] before and after."""
    seen = torch.minimum(visibility(before), visibility(after)) > IN_SIGHT
    seen[:, INDEX[case.attribute]] = False
    return ((after - before).abs() > MOVED) & seen


def ceiling_of(judge: Judge, case: Case, seed: int) -> float:
    """The share of clean edits among drawings in which the attribute alone changes."""
    random = torch.Generator().manual_seed(seed)
    before = attributes_of_normals(torch.randn(OF_CEILING, COUNT, generator=random))
    after = before.clone()
    before[:, INDEX[case.attribute]] = 0.0 if case.up else 1.0
    after[:, INDEX[case.attribute]] = 1.0 if case.up else 0.0
    with torch.no_grad():
        read = [read_all(judge, render_all(attributes)) for attributes in (before, after)]
    return float((case.holds(read[1]) & ~moved_others(case, *read).any(dim=1)).float().mean())


def edited_by(method: str, engine: Engine, case: Case, faces: Sequence[FaceLatent]) -> list[FaceLatent]:
    """Faces after an edit with its defaults."""
    if method == "auto":
        return [engine.choose(face, case.prompt, case.neutral).edited for face in faces]
    (name,) = (one for one in METHODS if one == method)
    edit = evaluate.edit_of(engine, case, name)
    alpha = engine.default_alpha if method == "global" else 1.0
    return [each[0] for each in edited_each(edit, faces, [alpha]) if each is not None]


def row_of(
    engine: Engine, judge: Judge, case: Case, faces: Faces, wanted: argparse.Namespace
) -> dict[str, Any]:
    """One prompt; empty if no face is left for it."""
    chosen = faces.for_case(case, wanted.n)
    if not chosen.faces:
        return {}
    read = read_all(judge, show_all(engine, edited_by(wanted.method, engine, case, chosen.faces)))
    success, moved = case.holds(read), moved_others(case, chosen.read, read)
    shares = moved.float().mean(dim=0).sort(descending=True)
    worst = {
        NAMES[i]: share for share, i in zip(shares.values.tolist(), shares.indices.tolist(), strict=True)
    }
    return {
        "prompt": case.prompt,
        "n": len(chosen.faces),
        "success": float(success.float().mean()),
        "clean": float((success & ~moved.any(dim=1)).float().mean()),
        "broken": float(moved.float().sum(dim=1).mean()),
        "ceiling": ceiling_of(judge, case, wanted.first + 9),
        "worst": {name: share for name, share in list(worst.items())[:4] if share > 0},
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("method", choices=("auto", *METHODS))
    parser.add_argument("n", type=int)
    parser.add_argument("prompt", nargs="*")
    parser.add_argument("--first", type=int, default=FIRST_SEED)
    parser.add_argument("--pack", default="toy")
    parser.add_argument("--json", type=Path)
    wanted = parser.parse_args()
    evaluate.FIRST_SEED = wanted.first  # where `Faces` begins
    engine = Engine(wanted.pack)
    judge = evaluate.load_judge(engine)
    faces, rows = Faces(engine, judge), []
    for case in evaluate.chosen_cases(wanted.prompt or None):
        if wanted.method == "mapper" and not evaluate.has_mapper(engine, case):
            continue
        if row := row_of(engine, judge, case, faces, wanted):
            rows.append(row)
            names = " ".join(f"{name}:{share:.2f}" for name, share in row["worst"].items())
            print(f"{row['prompt']:24s} {line(row)}  n {row['n']}  {names}", flush=True)
    mean = {key: sum(row[key] for row in rows) / max(len(rows), 1) for key in COLUMNS}
    print(f"{wanted.method}: {line(mean, 3)}  over {len(rows)} prompts")
    if wanted.json is not None:
        report = {
            "script": "clean_edits.py",
            "machine": machine(engine.device),
            "method": wanted.method,
            "n": wanted.n,
            "first": wanted.first,
            "rows": rows,
            "mean": mean,
        }
        wanted.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def line(row: dict[str, Any], digits: int = 2) -> str:
    """The columns, for people."""
    return "  ".join(f"{key} {row[key]:.{2 if key == 'broken' else digits}f}" for key in COLUMNS)


if __name__ == "__main__":
    main()
