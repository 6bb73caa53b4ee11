"""What quicker relevance costs in quality, on the toy world: `python benchmarks/relevance_quality.py`.

    python benchmarks/relevance_quality.py [--json FILE] [--n 100] [--modes exact,preview,gradient]

Each mode is measured from nothing (exact: some of its pieces, multiplied up, as the pack has the result), and
compared with exact: cosine of each channel's effect; rank correlation (Spearman) of all channels' |relevance|
to each of the evaluation's prompts; how many of the channels that an edit takes are the same. Then the edits
themselves are evaluated as `styleclip evaluate` does, on the same held-out faces.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from styleclip_cli import Engine
from styleclip_cli.bench.timing import machine
from styleclip_cli.edits import prompts
from styleclip_cli.machine.shards import Shard
from styleclip_cli.measure.measurements import Measurements
from styleclip_cli.measure.relevance import Relevance
from styleclip_cli.toyworld.cases import CASES
from styleclip_cli.truth.cases import SPLITS
from styleclip_cli.truth.evaluate import Faces, evaluate
from styleclip_cli.truth.worlds import load_judge

PART = 12  # of exact's pieces, every twelfth is measured for the time


def measured(engine: Engine, mode: str, faces: int | None) -> tuple[Relevance, float]:
    """A mode's relevance, and the seconds it takes from nothing."""
    published = engine.relevance()
    settings = engine.relevance_settings
    if faces is not None:
        settings = replace(settings, n_images=faces)
    wanted = replace(settings, mode=mode)
    measurements = Measurements(engine.networks, engine.measurements.statistics_settings, wanted)
    job = measurements.relevance_job(mode)
    if mode == "exact":
        began = time.perf_counter()
        job.run(Shard(0, PART))
        took = time.perf_counter() - began
        whole = sum(piece.amount for piece in job.pieces)
        part = sum(piece.amount for number, piece in enumerate(job.pieces) if number % PART == 0)
        return published, took * whole / part
    began = time.perf_counter()
    return measurements.relevance, time.perf_counter() - began


def ranks(values: Tensor) -> Tensor:
    """Place of each value in order."""
    return values.argsort().argsort().double()


def likeness(engine: Engine, one: Relevance, other: Relevance) -> dict[str, float]:
    """How alike two relevances are."""
    ways = [
        prompts.text_direction(engine.networks.clip, *prompts.resolve_prompt(case.prompt, case.neutral))
        for case in CASES
    ]
    kept = engine.direction_settings.channels
    alive = one.matrix.norm(dim=1) > 0  # those that never vary would tie in both
    rank, same = [], []
    for way in ways:
        a, b = ((r.matrix @ way.to(r.matrix)).abs() for r in (one, other))
        rank.append(float(torch.corrcoef(torch.stack([ranks(a[alive]), ranks(b[alive])]))[0, 1]))
        chosen = [set(strength.topk(kept).indices.tolist()) for strength in (a, b)]
        same.append(len(chosen[0] & chosen[1]) / kept)
    cosine = float((one.matrix * other.matrix).sum(dim=1)[alive].mean())
    return {"cosine": cosine, "rank": sum(rank) / len(rank), "same": sum(same) / len(same)}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", type=Path)
    parser.add_argument("--n", type=int, default=100)
    parser.add_argument("--modes", default="exact,preview,gradient,gradient:24")
    arguments = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        os.environ["STYLECLIP_CACHE_DIR"] = folder
        engine = Engine("toy", device="cpu")
        faces = Faces(engine, load_judge(engine), first=SPLITS["defaults"].faces)
        exact = engine.relevance()
        for name in arguments.modes.split(","):
            mode, _, count = name.partition(":")
            found, seconds = measured(engine, mode, int(count) if count else None)
            row = {"mode": mode, "faces": found.n_images, "seconds": seconds}
            row |= likeness(engine, exact, found)
            engine.measurements.relevance = found
            mean = evaluate(engine, arguments.n, faces=faces).mean
            row |= {
                key: mean[key] for key in ("success", "leak", "leak_default", "identity", "lowest_success")
            }
            engine.measurements.relevance = exact
            rows.append(row)
            print("  ".join(f"{k} {v:.3f}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items()))
    if arguments.json:
        content = {"machine": machine(), "n": arguments.n, "rows": rows}
        arguments.json.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
