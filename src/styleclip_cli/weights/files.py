"""Weight files of our own: safetensors, half precision where harmless, checked when read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save
from torch import Tensor

from styleclip_cli.errors import OutputError, WeightsError, one_line
from styleclip_cli.machine.atomic import atomic
from styleclip_cli.weights import header


def load_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read a state dict; half precision becomes single.

    Args:
        path: A .safetensors file.

    Returns:
        The tensors by name (floating-point ones as float32), and the file's notes.

    Raises:
        WeightsError: If the file is missing, damaged, or holds values that are not finite.
    """
    from safetensors import safe_open

    try:
        with path.open("rb") as start:
            header.read(start)  # a long one takes far more time and memory than its size
        with safe_open(path, framework="pt") as file:
            notes = dict(file.metadata() or {})
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except FileNotFoundError:
        raise WeightsError(f"{path}: no such file", "install the model pack again") from None
    except (SafetensorError, OSError, ValueError) as error:
        raise WeightsError(
            f"{path}: not a usable weight file ({one_line(error)})", "install the model pack again"
        ) from None
    for name, tensor in state.items():
        if tensor.is_floating_point():
            state[name] = tensor.float()
            # Their sum is finite only if all of them are, and takes a fifth of the time of asking each.
            if not bool(torch.isfinite(state[name].sum())):
                raise WeightsError(
                    f"{path}: {name} holds values that are not finite", "install the model pack again"
                )
    return state, notes


def save_weights(
    path: Path, state: Mapping[str, Tensor], notes: Mapping[str, str], half: bool = True
) -> None:
    """Write a state dict.

    Args:
        path: File to write; replaced in one step.
        state: The tensors by name.
        notes: Strings kept with them.
        half: Store matrices and kernels in half precision, where they fit; vectors and scalars (biases,
            statistics of normalisation, strengths) keep theirs.

    Raises:
        OutputError: If the file cannot be written.
    """

    def stored(tensor: Tensor) -> Tensor:
        tensor = tensor.detach().cpu().contiguous()
        fits = half and tensor.is_floating_point() and tensor.ndim >= 2 and float(tensor.abs().max()) < 60000
        return tensor.half() if fits else tensor

    contents = save({name: stored(tensor) for name, tensor in state.items()}, dict(notes))
    with atomic(path) as part:
        part.write_bytes(contents)
        try:
            header.settle(part)
        except ValueError:
            raise OutputError(
                f"{path}: cannot be written (its notes are too long to be read again)",
                "if they name files: give their folder, or a list of them",
            ) from None
