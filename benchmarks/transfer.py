"""Edits by reference, by an independent judge: `python benchmarks/transfer.py [pairs] [first seed]`.

Toy faces that no network was trained on are drawn and inverted from their pixels by the encoder. For each
prompt, pairs (A, B) are taken that clearly differ in something that was asked for, in sight on both. B's goes
to A, and the judge reads all attributes before and after. "Before" is the inverted picture, of A and of B, so
that the numbers are the edit's.

- moved: how far the attributes asked for went on the way from A's to B's. A ratio of sums over the pairs and
  over those attributes that differ by 0.3 and are in sight on both; nothing is clipped.
- lowest: a tenth of the pairs did worse than this (each pair's own ratio).
- leak: mean change of the other attributes in sight before and after.
- most: the attribute that changed most, and its mean change where it is in sight.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

import torch
from torch import Tensor

from styleclip_cli.edits.transfer import Transfer
from styleclip_cli.engine import Engine
from styleclip_cli.inversion import FaceLatent
from styleclip_cli.toyworld.attributes import COUNT, INDEX, NAMES, attributes_of_normals, visibility
from styleclip_cli.toyworld.networks import Judge
from styleclip_cli.toyworld.renderer import render_all
from styleclip_cli.truth.cases import SPLITS
from styleclip_cli.truth.judging import read_all
from styleclip_cli.truth.worlds import load_judge

FACES = 512
DIFFERS, COUNTS, IN_SIGHT = 0.5, 0.3, 0.9
# What each prompt asks for.
PROMPTS = {
    "glasses": "glasses",
    "sunglasses": "sunglasses",
    "hat": "hat",
    "beard": "beard",
    "moustache": "moustache",
    "earrings": "earrings",
    "makeup": "makeup",
    "lipstick": "lipstick",
    "open mouth": "mouth_open",
    "bangs": "fringe",
    "smile": "smile",
    "skin": "skin_tone",
    "eye color": "eye_blue",
    "eyes": "eye_blue eye_size eye_spacing",
    "mouth": "mouth_open smile lipstick mouth_width",
    "hair": "hair_light hair_red hair_grey hair_length hair_volume fringe",
    "hair color": "hair_light hair_red hair_grey",
    "hair length": "hair_length",
    "blond hair, black hair": "hair_light",
    "background": "background_warm background_light texture",
    "clothes": "clothes",
    "glasses, hat": "glasses hat",
}


@dataclass(frozen=True)
class Faces:
    """Inverted faces: W+ [N, num_ws, w_dim], and what the judge reads, [N, 32]."""

    w_plus: Tensor
    read: Tensor

    def pairs(self, asked: list[int], count: int) -> tuple[Tensor, Tensor]:
        """The first pairs, in a fixed random order, that clearly differ in something that is asked for."""
        seen, n = visibility(self.read), len(self.read)
        order = torch.randperm(n * (n - 1), generator=torch.Generator().manual_seed(0))
        a, step = order % n, order // n + 1
        b = (a + step) % n
        apart = (self.read[a][:, asked] - self.read[b][:, asked]).abs() >= DIFFERS
        sight = torch.minimum(seen[a][:, asked], seen[b][:, asked]) > IN_SIGHT
        found = (apart & sight).any(dim=1).nonzero().flatten()[:count]
        return a[found], b[found]


def draw(engine: Engine, judge: Judge, first: int) -> Faces:
    """Draw faces and find them again from their pixels."""
    codes, read = [], []
    for start in range(0, FACES, 64):
        rng = torch.Generator().manual_seed(first + start)
        pictures = render_all(attributes_of_normals(torch.randn(64, COUNT, generator=rng)))
        pictures = ((pictures + 1) * 127.5).round() / 127.5 - 1
        codes.append(engine.invert_w_plus(pictures, keep=False, inverter="encoder"))
        read.append(read_all(judge, engine.render([FaceLatent(codes[-1])]).clamp(-1, 1)))
    return Faces(torch.cat(codes), torch.cat(read))


def measure(
    engine: Engine, judge: Judge, faces: Faces, prompt: str, asked: list[int], count: int
) -> tuple[str, float, float]:
    """One row of the table, what moved and what leaked."""
    first, second = faces.pairs(asked, count)
    edits: list[Transfer] = []
    read = []
    for a, b in zip(first.tolist(), second.tolist(), strict=True):
        reference = FaceLatent(faces.w_plus[b : b + 1])
        if edits:  # what takes part does not depend on the faces
            styles = engine.styles(reference.w_plus)
            edits.append(Transfer(engine.generator, styles, edits[0].weight, prompt))
        else:
            edits.append(engine.transfer(reference, prompt))
        pictures = engine.edit(faces.w_plus[a : a + 1], edits[-1], [1.0])[:, 0]
        read.append(read_all(judge, pictures.clamp(-1, 1)))
    before, after, other = faces.read[first], torch.cat(read), faces.read[second]
    seen = torch.minimum(visibility(before), visibility(other))[:, asked]
    apart = (other - before)[:, asked]
    counts = (apart.abs() >= COUNTS) & (seen > IN_SIGHT)
    went = (after - before)[:, asked] * apart.sign() * counts
    far = apart.abs() * counts
    moved = float(went.sum() / far.sum())
    lowest = float((went.sum(dim=1) / far.sum(dim=1)).quantile(0.1))
    others = torch.ones(COUNT)
    others[asked] = 0
    seen = torch.minimum(visibility(before), visibility(after)) * others
    change = (after - before).abs() * seen
    leak = float((change.sum(dim=1) / seen.sum(dim=1)).mean())
    by_attribute = change.sum(dim=0) / seen.sum(dim=0).clamp_min(1e-6)
    most = int(by_attribute.argmax())
    row = (
        f"{prompt:24s} {len(first):5d} {edits[0].num_channels:9d} {moved:6.2f} {lowest:7.2f} {leak:6.3f}   "
        f"{NAMES[most]} {float(by_attribute[most]):.2f}"
    )
    return row, moved, leak


def main() -> None:
    """Measure and print."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else SPLITS["defaults"].faces + 2_000_000
    engine = Engine("toy")
    judge = load_judge(engine)
    faces = draw(engine, judge, seed)
    print(f"{'prompt':24s} pairs  channels  moved  lowest   leak   most")
    rows = []
    for prompt, names in PROMPTS.items():
        row, *numbers = measure(engine, judge, faces, prompt, [INDEX[name] for name in names.split()], count)
        rows.append(numbers)
        print(row, flush=True)
    mean, low = torch.tensor(rows).mean(dim=0), torch.tensor(rows).min(dim=0).values
    print(f"{'mean':24s} {'':15s} {mean[0]:6.2f} {'':7s} {mean[1]:6.3f}   lowest moved {low[0]:.2f}")


if __name__ == "__main__":
    main()
