"""Latents of faces in files, with what belongs to each: written for a generator, read for the same one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from styleclip_cli import latents
from styleclip_cli.errors import BadInputError
from styleclip_cli.inversion import FaceLatent
from styleclip_cli.latents import Latents
from styleclip_cli.nets.stylegan2 import Generator
from styleclip_cli.weights.packs import Pack


def save(path: Path, faces: Sequence[FaceLatent], sources: Sequence[str], pack: Pack) -> None:
    """Write faces.

    Args:
        path: File to write (.npz).
        faces: One after the other; each may be several.
        sources: Where each comes from.
        pack: Whose generator they are for.

    Raises:
        OutputError: If the file cannot be written.
    """
    provenance = latents.provenance(pack.fingerprint_of("generator"), pack.name, sources)
    kept = [one.to_arrays()[0] for face in faces for one in face.split()]
    w_plus = torch.cat([torch.from_numpy(arrays.pop("w_plus")) for arrays in kept]).numpy()
    latents.write(path, Latents(w_plus, provenance, {i: arrays for i, arrays in enumerate(kept) if arrays}))


def load(path: Path, generator: Generator, pack: Pack) -> list[FaceLatent]:
    """Read faces and make sure that they are this generator's.

    Args:
        path: A latent file, ours or StyleCLIP's.
        generator: The generator that they are to be for.
        pack: Where it is from.

    Returns:
        One for each face, on the generator's device.

    Raises:
        BadInputError: If the file cannot be used, or belongs to another generator.
    """
    read = latents.read(path)
    space = generator.style_space
    device = next(generator.parameters()).device
    fingerprint = pack.fingerprint_of("generator")
    latents.check_generator(read, space.num_ws, generator.config.w_dim, fingerprint, pack.name, path)
    tensors = {
        name: tensor.shape for name, tensor in (*generator.named_parameters(), *generator.named_buffers())
    }
    found = []
    for i, latent in enumerate(read.w_plus):
        try:
            face = FaceLatent.from_arrays({"w_plus": latent[None], **read.extras.get(i, {})}, {})
            if face.residual is not None:
                face.residual.check(generator)
        except (ValueError, KeyError, RuntimeError, TypeError) as error:
            raise BadInputError(f"{path}: not usable latents ({error})", "invert again") from None
        if any(tensors.get(name) != change.shape for name, change in face.weight_deltas.items()):
            raise BadInputError(f"{path}: tuned for another generator", "the --models they were made with")
        if face.style_offset is not None and (
            face.style_offset.shape != (1, space.size) or not bool(face.style_offset.isfinite().all())
        ):
            raise BadInputError(
                f"{path}: edited with another generator, or damaged", "the --models they were made with"
            )
        w_plus = face.w_plus.to(device).expand(-1, space.num_ws, -1)
        shift = None if face.style_offset is None else face.style_offset.to(device)
        found.append(FaceLatent(w_plus, face.weight_deltas, None, shift, face.residual))
    return found
