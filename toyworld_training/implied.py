"""Which attributes the evaluation's words bring along: `python -m toyworld_training.implied`.

They are computed from a population's true attributes alone, and written to
`styleclip_cli/toyworld/implied.toml`, before any method is run: an edit that moves them as well is not said
to break anything. To be run anew when the population or the sentences change.
"""

from __future__ import annotations

from typing import Any

import tomli_w
import torch

from styleclip_cli.machine.atomic import atomic
from styleclip_cli.toyworld.attributes import COUNT, attributes_of_normals
from styleclip_cli.toyworld.cases import CASES, IMPLIED, SHIFT, implied_shifts

SEED = 20_000_000
"""No face of the evaluation is drawn from it."""
COUNTED = 100_000


def computed(seed: int = SEED, n: int = COUNTED, threshold: float = SHIFT) -> dict[str, Any]:
    """What the file holds: how it was computed, and the shifts by prompt, where there are any."""
    normals = torch.randn(n, COUNT, generator=torch.Generator().manual_seed(seed))
    population = attributes_of_normals(normals)
    found = {case.prompt: implied_shifts(case, population, threshold) for case in CASES}
    shifts = {
        prompt: {name: round(value, 3) for name, value in each.items()}
        for prompt, each in found.items()
        if each
    }
    return {"seed": seed, "n": n, "threshold": threshold, "implied": shifts}


def main() -> None:
    """Write the file."""
    with atomic(IMPLIED) as temporary:
        temporary.write_text(
            "# Written by `python -m toyworld_training.implied`.\n" + tomli_w.dumps(computed()),
            encoding="utf-8",
        )


if __name__ == "__main__":
    main()
