"""Would other weights make better directions? `python benchmarks/direction_weights.py [N] [options]`.

A global direction moves the channels whose effect in CLIP space is most like the sentence, each by its cosine
("cosine" below). Here others are tried, with as many channels, and evaluated on N held-out toy faces for each
prompt as `styleclip evaluate` does. "Other sentences" are all of the evaluation's that are about another
attribute: what they have in common with this one is likely to move more than it should.

cosine        as it is.
without L     the sentence's direction less its part in the span of the other sentences, softened by L.
contrast G    channels chosen by |cosine| less G times their largest |cosine| to another sentence.
ridge L       weights that together come closest to the sentence, by least squares with penalty L; channels
              are chosen by their weight, among four times as many.
ridge L, M    the same, with a penalty M on what they do along the other sentences.

Options: --variant NAME (repeatable) for some of them; --limit L (at most L times 64 faces are drawn);
--json FILE.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from styleclip_cli.bench.timing import machine
from styleclip_cli.edits.directions import Direction
from styleclip_cli.edits.prompts import resolve_prompt, text_direction
from styleclip_cli.engine import Engine
from styleclip_cli.toyworld.cases import CASES, Case
from styleclip_cli.truth.cases import SPLITS
from styleclip_cli.truth.evaluate import Faces, evaluate
from styleclip_cli.truth.worlds import load_judge

AMONG = 4
"""Channels that least squares choose from, in parts of those that take part."""


class Trial:
    """What directions are made of: effects of all channels, and the sentences of the evaluation.

    Args:
        engine: Of the pack.
    """

    def __init__(self, engine: Engine) -> None:
        self.relevance, self.statistics = engine.relevance(), engine.statistics()
        self.effects = self.relevance.matrix.double()
        self.count = engine.direction_settings.channels
        self.sentences = {
            case.prompt: text_direction(engine.networks.clip, *resolve_prompt(case.prompt, case.neutral))
            .detach()
            .cpu()
            .double()
            for case in CASES
        }

    def others(self, case: Case) -> Tensor:
        """Sentences about other attributes, [N, D]."""
        asked = {target.attribute for target in case.targets}
        others = [one for one in CASES if asked.isdisjoint(target.attribute for target in one.targets)]
        return torch.stack([self.sentences[one.prompt] for one in others])

    def direction(self, case: Case, weights: Tensor, rank: Tensor) -> Direction:
        """The step with some weights [channels] in the channels of the highest rank [channels]."""
        chosen = rank.topk(self.count).indices
        kept = torch.zeros_like(weights)
        kept[chosen] = weights[chosen]
        whole = torch.zeros(self.relevance.size, dtype=torch.float64)
        whole[self.relevance.channels] = kept
        return Direction(
            delta=(whole / kept.abs().max() * self.statistics.std.double()).float(),
            relevance=whole.float(),
            beta=0.0,
            num_channels=self.count,
            target=case.prompt,
            neutral=case.neutral,
            widths=self.statistics.widths,
        )


def cosine(trial: Trial, case: Case) -> Direction:
    """As it is."""
    weights = trial.effects @ trial.sentences[case.prompt]
    return trial.direction(case, weights, weights.abs())


def without(trial: Trial, case: Case, softness: float) -> Direction:
    """Less what the sentence has in common with others; of each of their axes s^2 / (s^2 + softness) goes."""
    sentence = trial.sentences[case.prompt]
    _, s, axes = torch.linalg.svd(trial.others(case), full_matrices=False)
    left = sentence - axes.T @ (s**2 / (s**2 + softness) * (axes @ sentence))
    weights = trial.effects @ (left / left.norm())
    return trial.direction(case, weights, weights.abs())


def contrast(trial: Trial, case: Case, factor: float) -> Direction:
    """Channels that other sentences would take as well come later."""
    weights = trial.effects @ trial.sentences[case.prompt]
    elsewhere = (trial.effects @ trial.others(case).T).abs().max(dim=1).values
    return trial.direction(case, weights, weights.abs() - factor * elsewhere)


def ridge(trial: Trial, case: Case, penalty: float, aside: float = 0.0) -> Direction:
    """Least squares: the sum of the effects is to be the sentence."""
    sentence = trial.sentences[case.prompt]
    among = (trial.effects @ sentence).abs().topk(AMONG * trial.count).indices
    effects = trial.effects[among]
    along = effects @ trial.others(case).T
    system = effects @ effects.T + aside * along @ along.T
    system += penalty * torch.eye(len(among), dtype=torch.float64)
    weights = torch.zeros(len(trial.effects), dtype=torch.float64)
    weights[among] = torch.linalg.solve(system, effects @ sentence)
    return trial.direction(case, weights, weights.abs())


VARIANTS: dict[str, Callable[[Trial, Case], Direction]] = {
    "cosine": cosine,
    "without 1": partial(without, softness=1.0),
    "without 0.1": partial(without, softness=0.1),
    "contrast 0.3": partial(contrast, factor=0.3),
    "contrast 0.6": partial(contrast, factor=0.6),
    "ridge 1": partial(ridge, penalty=1.0),
    "ridge 10": partial(ridge, penalty=10.0),
    "ridge 10, 1": partial(ridge, penalty=10.0, aside=1.0),
}


class GivenDirections(Engine):
    """An engine whose directions are made already, by prompt."""

    made: dict[str, Direction]

    def direction(self, prompt: str, neutral: str = "face", **_: Any) -> Direction:
        """The one that was made for the prompt."""
        return self.made[prompt]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("n", type=int, nargs="?", default=16)
    parser.add_argument("--variant", action="append", choices=list(VARIANTS))
    parser.add_argument("--limit", type=int, default=12)
    parser.add_argument("--json", type=Path)
    wanted = parser.parse_args()
    engine = GivenDirections("toy")
    trial, faces = (
        Trial(engine),
        Faces(engine, load_judge(engine), limit=wanted.limit, first=SPLITS["defaults"].faces),
    )
    rows = []
    for name in wanted.variant or VARIANTS:
        engine.made = {case.prompt: VARIANTS[name](trial, case) for case in CASES}
        began = time.monotonic()
        found = evaluate(engine, wanted.n, faces=faces)
        row: dict[str, Any] = {"variant": name, **found.mean}
        rows.append(row)
        print(
            f"{name:12s} success {row['success']:.3f}  clean {row['clean']:.3f}  leak {row['leak']:.4f}  "
            f"leak_default {row['leak_default']:.4f}  identity {row['identity']:.3f}  "
            f"lowest {row['lowest_success']:.2f}  {time.monotonic() - began:.0f} s",
            flush=True,
        )
    if wanted.json is not None:
        report = {"machine": machine(engine.device), "n": wanted.n, "rows": rows}
        wanted.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
