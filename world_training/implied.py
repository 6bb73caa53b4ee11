"""Which attributes the evaluation's words bring along: `python -m world_training.implied toy|people`.

They are computed from a population's true attributes alone, and written to the world's `implied.toml`,
before any method is run: an edit that moves them as well is not said to break anything. To be run anew when
the population or the sentences change.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import tomli_w

from styleclip_cli.machine.atomic import atomic
from styleclip_cli.toyworld import cases as toy_cases
from styleclip_cli.toyworld import truth as toy_truth
from styleclip_cli.truth.cases import SHIFT, implied_shifts
from styleclip_cli.truth.worlds import World
from styleclip_cli.world import cases, truth

WORLDS: dict[str, tuple[World, Path]] = {
    "toy": (toy_truth.WORLD, toy_cases.IMPLIED),
    "people": (truth.WORLD, cases.IMPLIED),
}
SEED = 20_000_000
"""No face of the evaluation is drawn from it."""
COUNTED = 100_000


def computed(world: World, seed: int = SEED, n: int = COUNTED, threshold: float = SHIFT) -> dict[str, Any]:
    """What the file holds: how it was computed, and the shifts by prompt, where there are any."""
    population = world.people(seed, n)[:, : len(world.attributes.names)]
    found = {case.prompt: implied_shifts(case, population, threshold) for case in world.cases}
    shifts = {
        prompt: {name: round(value, 3) for name, value in each.items()}
        for prompt, each in found.items()
        if each
    }
    return {"seed": seed, "n": n, "threshold": threshold, "implied": shifts}


def main() -> None:
    """Write a world's file."""
    arguments = argparse.ArgumentParser(prog="python -m world_training.implied", description=__doc__)
    arguments.add_argument("world", choices=WORLDS)
    name = arguments.parse_args().world
    world, path = WORLDS[name]
    with atomic(path) as temporary:
        temporary.write_text(
            f"# Written by `python -m world_training.implied {name}`.\n" + tomli_w.dumps(computed(world)),
            encoding="utf-8",
        )


if __name__ == "__main__":
    main()
