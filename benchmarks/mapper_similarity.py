"""How alike a mapper's offsets are from face to face: `python benchmarks/mapper_similarity.py [N] [NAME...]`.

The paper's reason for global directions (section 6, table 2): over many faces, the offsets that one mapper
gives point almost the same way. For each mapper (those of the toy pack by default), the cosine similarity of
the offsets of all pairs of N faces: mean and standard deviation. The paper's numbers, for mappers of 512
channels on FFHQ, stand beside them as others quote them; they could not be checked against the paper here.
"""

from __future__ import annotations

import sys

import torch
import torch.nn.functional as F

from styleclip_cli import Engine
from styleclip_cli.inversion import FaceLatent
from styleclip_cli.weights.mappers import listed

PAPER = {
    "Mohawk": (0.82, 0.096),
    "Afro": (0.84, 0.085),
    "Bob-cut": (0.82, 0.095),
    "Curly": (0.84, 0.088),
    "Beyonce": (0.83, 0.081),
    "Taylor Swift": (0.77, 0.107),
    "Surprised": (0.79, None),
    "Purple hair": (0.73, 0.145),
}


def similarity(offset: torch.Tensor) -> tuple[float, float]:
    """Mean and standard deviation of the cosine similarity over all pairs of rows [N, ...]."""
    unit = F.normalize(offset.flatten(1), dim=1)
    cosines = unit @ unit.T
    pairs = cosines[torch.triu_indices(len(unit), len(unit), offset=1).unbind()]
    return float(pairs.mean()), float(pairs.std())


def main() -> None:
    """Measure and print."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    engine = Engine("toy", device="cpu")
    names = sys.argv[2:] or [one.name for one in listed(engine.pack) if one.path is not None]
    faces = FaceLatent(engine.sample(range(40_000, 40_000 + count)))
    means = []
    print(f"{count} faces\n{'mapper':24s} mean   std")
    for name in names:
        mean, std = similarity(engine.mapper(name).offset(faces))
        means.append(mean)
        print(f"{name:24s} {mean:.3f}  {std:.3f}")
    print(f"{'ours, average':24s} {sum(means) / len(means):.3f}")
    print("\nthe paper's table 2, as quoted")
    for name, (mean, spread) in PAPER.items():
        print(f"{name:24s} {mean:.2f}   {'' if spread is None else f'{spread:.3f}'}")


if __name__ == "__main__":
    main()
