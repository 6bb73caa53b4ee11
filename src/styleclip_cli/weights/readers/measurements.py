"""StyleCLIP's data files: fs3.npy, S_mean_std, and latents (W.npy, w_plus.npy, latents.pt, train_faces.pt).

What they hold: official global_directions/GetCode.py, SingleChannel.py, GetGUIData.py; mapper/README.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from styleclip_cli.weights.readers.inert import Array, Damaged
from styleclip_cli.weights.readers.parts import Part, single

# A file of latents with fewer rows than this is one face (num_ws rows); with more, each row is a w.
_MOST_WS = 20


def relevance(value: Any) -> Part | None:
    """fs3.npy: [channels, D], a unit vector in CLIP space per style channel (zero for a dead one)."""
    if not isinstance(value, np.ndarray) or value.ndim != 2 or value.dtype.kind != "f" or not value.size:
        return None
    lengths = np.sqrt(np.einsum("ij,ij->i", value, value, dtype=np.float64, casting="safe"))
    if not ((np.abs(lengths - 1) < 0.01) | (lengths < 1e-3)).all() or not lengths.any():
        return None
    return Part("relevance", "channel relevance (fs3)", {"matrix": single(value)})


def statistics(value: Any) -> Part | None:
    """S_mean_std: [means, stds], one array per style layer each."""
    if not isinstance(value, list | tuple) or len(value) != 2:
        return None
    means, stds = (_vectors(half) for half in value)
    if not means or not stds or [a.shape for a in means] != [a.shape for a in stds]:
        return None
    widths = np.array([len(array) for array in means], np.int64)
    std = np.concatenate(stds)
    if (std < 0).any():
        raise Damaged("a negative standard deviation")
    return Part(
        "statistics",
        "style statistics (S_mean_std)",
        {"mean": np.concatenate(means), "std": std, "widths": widths},
    )


def latents(value: Any) -> np.ndarray | None:
    """W or W+ latents: [N, num_ws, w_dim], [num_ws, w_dim] of one face, or [N, w_dim].

    Returns:
        [N, num_ws, w_dim], with num_ws = 1 where each face has one w; None if it is none of these.
    """
    if isinstance(value, Array):
        value = value.values
    if isinstance(value, dict):  # {"latents": tensor} and the like
        arrays = [entry for entry in value.values() if isinstance(entry, np.ndarray)]
        value = arrays[0] if len(arrays) == 1 else None
    if not isinstance(value, np.ndarray) or value.dtype.kind != "f" or not value.size:
        return None
    if value.ndim == 2:
        value = value[np.newaxis] if len(value) <= _MOST_WS else value[:, np.newaxis]
    return single(value) if value.ndim == 3 else None


def _vectors(values: Any) -> list[np.ndarray]:
    """The arrays [N] of a list as float32; empty if one of its entries is something else."""
    found: list[np.ndarray] = []
    for value in values if isinstance(values, list | tuple) else ():
        if isinstance(value, Array):
            value = value.values
        if not isinstance(value, np.ndarray) or value.dtype.kind != "f" or not value.size or value.ndim != 1:
            return []
        found.append(single(value))
    return found
