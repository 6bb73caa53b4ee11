"""What a mapper is trained on: latents of faces, sampled or from files, the same ones for the same step.

All randomness of a step comes from (seed, step) alone. So a run that was stopped goes on exactly, and
several processes agree on each step's faces without a word.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from styleclip_cli.errors import BadInputError
from styleclip_cli.nets.stylegan2 import Generator

# Larger than any run is long: no two steps of runs with neighbouring seeds share their random numbers.
_SPREAD = 1_000_000_007
_VALIDATION, _FIXED = -1, -3  # -2 are the mapper's first weights


def random_of(seed: int, step: int) -> torch.Generator:
    """The random numbers of one step, on the CPU."""
    return torch.Generator().manual_seed((seed * _SPREAD + step) % 2**63)


class Latents(Protocol):
    """Where the faces of each step come from."""

    def batch(self, step: int, size: int) -> Tensor:
        """W+ [size, num_ws, w_dim] of a step, on the CPU."""

    def validation(self, size: int) -> Tensor:
        """W+ of up to `size` faces that no step is given."""


class Sampled:
    """Faces sampled by the generator: never the same one twice.

    Args:
        generator: Whose mapping network draws them.
        seed: Of all of them.
        truncation_psi: How far from the mean latent they may lie.
    """

    def __init__(self, generator: Generator, seed: int, truncation_psi: float) -> None:
        self._generator, self._seed, self._psi = generator, seed, truncation_psi

    def batch(self, step: int, size: int) -> Tensor:
        """W+ [size, num_ws, w_dim] of a step."""
        z = torch.randn(size, self._generator.config.z_dim, generator=random_of(self._seed, step))
        with torch.no_grad():
            return self._generator.w_plus(z.to(self._generator.w_avg), truncation_psi=self._psi).cpu()

    def fixed(self, count: int, n_validation: int) -> Given:
        """So many faces that come again and again (official coach.py), and others for validation."""
        w_plus = self.batch(_FIXED, count)[:, :1].clone().expand(-1, self._generator.style_space.num_ws, -1)
        return Given(w_plus, self._seed, n_validation, self.validation(n_validation))

    def validation(self, size: int) -> Tensor:
        """W+ of other faces."""
        return self.batch(_VALIDATION, size)


class Given:
    """Faces from files, in a new order each time all were seen.

    Args:
        w_plus: [N, num_ws, w_dim].
        seed: Of the orders.
        n_validation: The last so many are kept for validation, but at most a fifth.
        apart: Faces for validation, if there are separate ones; then all of `w_plus` is for training.

    Raises:
        BadInputError: If there are fewer than two faces.
    """

    def __init__(self, w_plus: Tensor, seed: int, n_validation: int, apart: Tensor | None = None) -> None:
        if len(w_plus) < 2 and apart is None:
            raise BadInputError("a mapper needs more than one face to learn from", "more photos or latents")
        kept = 0 if apart is not None else min(n_validation, max(1, len(w_plus) // 5))
        self._train = w_plus[: len(w_plus) - kept]
        self._apart = w_plus[len(w_plus) - kept :] if apart is None else apart
        self._seed = seed

    def batch(self, step: int, size: int) -> Tensor:
        """W+ [size, num_ws, w_dim] of a step."""
        count = len(self._train)
        places = [divmod(place, count) for place in range(step * size, (step + 1) * size)]
        orders = {e: torch.randperm(count, generator=random_of(self._seed, e)) for e, _ in places}
        return self._train[[int(orders[epoch][at]) for epoch, at in places]]

    def validation(self, size: int) -> Tensor:
        """W+ of faces kept apart."""
        return self._apart[:size]
