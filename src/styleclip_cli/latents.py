"""W+ latents in files: one container, `.npz` without pickle, that says which generator it belongs to."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from styleclip_cli.errors import BadInputError, WeightsError
from styleclip_cli.fingerprints import same
from styleclip_cli.machine import cache

SCHEMA = "styleclip.w-plus/1"


@dataclass(frozen=True)
class Latents:
    """Latents of some faces.

    Attributes:
        w_plus: [N, num_ws, w_dim], float32, finite.
        provenance: Where they come from: "generator" (fingerprint), "models", "sources" (one per face).
        extras: What else belongs to a face, by its number: the arrays that `FaceLatent.to_arrays` keeps
            beside W+ (what its generator gains, what edits added to its styles).
    """

    w_plus: NDArray[np.float32]
    provenance: Mapping[str, Any] = field(default_factory=dict)
    extras: Mapping[int, Mapping[str, NDArray[Any]]] = field(default_factory=dict)


def write(path: Path, latents: Latents) -> None:
    """Write latents, atomically.

    Args:
        path: File to write (.npz).
        latents: The latents.

    Raises:
        BadInputError: If they are not [N, num_ws, w_dim] or not finite.
        OutputError: If the file cannot be written.
    """
    arrays: dict[str, NDArray[Any]] = {"w_plus": _checked(latents.w_plus, str(path))}
    for face, extra in latents.extras.items():
        arrays |= {f"face{face}.{name}": array for name, array in extra.items()}
    cache.save_npz(path, arrays, latents.provenance, schema=SCHEMA)


OFFICIAL_SUFFIXES = (".npy", ".pt")
"""Latent files of StyleCLIP's own: w_plus.npy, W.npy, latents.pt, train_faces.pt."""


def read(path: Path) -> Latents:
    """Read latents; those of a single face may lack the first axis.

    Besides our own .npz files, those of StyleCLIP are read (`OFFICIAL_SUFFIXES`). Files with one w per face
    give [N, 1, w_dim]: it is meant for all layers.

    Args:
        path: A file of ours, or of StyleCLIP.

    Returns:
        The latents.

    Raises:
        BadInputError: If the file cannot be read, holds no W+ latents, or holds values that are not finite.
    """
    if path.suffix.lower() in OFFICIAL_SUFFIXES:
        from styleclip_cli.weights.readers import read_latents

        try:
            return Latents(_checked(read_latents(path), str(path)), {})
        except WeightsError as error:
            raise BadInputError(error.message, error.hint) from None
    arrays, provenance = cache.load_npz(path, schema=SCHEMA)
    if "w_plus" not in arrays:
        raise BadInputError(f"{path}: holds no W+ latents", "a file written by styleclip invert or sample")
    w_plus = _checked(arrays.pop("w_plus"), str(path))
    extras: dict[int, dict[str, NDArray[Any]]] = {}
    for name, array in arrays.items():
        match = re.fullmatch(r"face(\d{1,9})\.(.+)", name)
        if match and int(match[1]) < len(w_plus):
            extras.setdefault(int(match[1]), {})[match[2]] = array
    return Latents(w_plus, provenance, extras)


def check_generator(
    latents: Latents, num_ws: int, w_dim: int, fingerprint: str, models: str, path: Path
) -> None:
    """Refuse latents of another generator: they would show something, but not the face they were made from.

    Args:
        latents: What was read.
        num_ws: How many W vectors the generator takes.
        w_dim: Their width.
        fingerprint: Of the generator's weights.
        models: Name of the generator's pack.
        path: Where the latents come from.

    Raises:
        BadInputError: If the shape or the fingerprint is another one.
    """
    shape = latents.w_plus.shape[1:]
    if shape not in ((num_ws, w_dim), (1, w_dim)):
        raise BadInputError(
            f"{path}: latents of {shape[0]}x{shape[1]}, but the generator of {models} takes {num_ws}x{w_dim}",
            "the --models they were made with",
        )
    made_with = latents.provenance.get("generator")
    if made_with and not same(made_with, fingerprint):
        theirs = latents.provenance.get("models", "another pack")
        raise BadInputError(
            f"{path}: made with generator {str(made_with)[:12]} ({theirs}), not {fingerprint[:12]}",
            "the --models they were made with",
        )


def provenance(fingerprint: str, models: str, sources: Sequence[str]) -> dict[str, Any]:
    """Say where latents come from, in the form `check_generator` reads.

    Args:
        fingerprint: Of the generator's weights.
        models: Name of the generator's pack.
        sources: One for each face.

    Returns:
        As JSON can hold it.
    """
    return {"generator": fingerprint, "models": models, "sources": list(sources)}


def _checked(w_plus: NDArray[Any], where: str) -> NDArray[np.float32]:
    if w_plus.dtype.kind != "f":
        raise BadInputError(f"{where}: latents must be floating point, not {w_plus.dtype}")
    if w_plus.ndim == 2:  # (num_ws, w_dim) is one face, never num_ws faces
        w_plus = w_plus[np.newaxis]
    if w_plus.ndim != 3 or 0 in w_plus.shape:
        raise BadInputError(f"{where}: latents must be [N, num_ws, w_dim], not {list(w_plus.shape)}")
    result = np.ascontiguousarray(w_plus, dtype=np.float32)
    if not np.isfinite(result).all():
        raise BadInputError(f"{where}: latents hold values that are not finite")
    return result
