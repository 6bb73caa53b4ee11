"""What readers give: parts of a model pack, as arrays in the layout of our own networks."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np

from styleclip_cli.weights.readers.inert import Damaged, Refused

State = dict[str, np.ndarray]

PartName = Literal[
    "generator",
    "clip",
    "encoder",
    "identity",
    "mapper",
    "landmarks",
    "detector",
    "parser",
    "relevance",
    "statistics",
]
PARTS: tuple[str, ...] = get_args(PartName)

ONLY = "a StyleGAN2 generator that draws square pictures in colour: NVlabs' .pkl, or rosinality's .pt"
ORIGINAL = "the file that it was made from has it: NVlabs' .pkl, or the training's checkpoint"
# No published network has more layers than this of any kind.
_MAX_LAYERS = 64
_MAX_WIDTH = 4096


TOLD = ("class", "taken", "noise", "assumed", "mean latent", "activation")
"""Notes that a person is told of: what was chosen or made up where a file says nothing."""


@dataclass(frozen=True)
class Part:
    """One part of a model pack, read from a foreign file.

    Attributes:
        name: Which part.
        layout: What kind of file it was, in words.
        state: Its arrays, by our names.
        notes: What the file says beside them, as strings.
    """

    name: PartName
    layout: str
    state: State
    notes: Mapping[str, str] = field(default_factory=dict)


def take(state: Mapping[str, np.ndarray], name: str, ndim: int | None = None) -> np.ndarray:
    """A tensor of a checkpoint.

    Raises:
        Damaged: If it is missing, empty, or has another number of axes.
    """
    found = state.get(name)
    if found is None:
        raise Damaged(f"the tensor {name} is missing")
    if found.size == 0 or (ndim is not None and found.ndim != ndim):
        axes = "" if ndim is None else f", expected {ndim} axes"
        raise Damaged(f"the tensor {name} is {list(found.shape)}{axes}")
    return found


def single(array: np.ndarray) -> np.ndarray:
    """The same numbers as float32, in order; a view where they are that already."""
    return np.ascontiguousarray(array, dtype=np.float32).reshape(array.shape)


def count_of(state: Mapping[str, np.ndarray], pattern: str) -> int:
    """How many layers have a number in their name.

    Args:
        state: Tensors by name.
        pattern: Names of the wanted tensors, with the number as the group.

    Raises:
        Damaged: If there are more than any network has.
    """
    numbers = {match[1] for name in state if (match := re.fullmatch(pattern, name))}
    if len(numbers) > _MAX_LAYERS:
        raise Damaged(f"{len(numbers)} layers of one kind")
    return len(numbers)


def within(state: Mapping[str, np.ndarray], prefix: str) -> State:
    """The tensors below a prefix, without it."""
    return {name[len(prefix) :]: array for name, array in state.items() if name.startswith(prefix)}


def prefix_of(state: Mapping[str, np.ndarray], *names: str) -> str | None:
    """What stands before certain names in a state dict, as networks in networks have it ("module.").

    Args:
        state: Tensors by name.
        names: Names that must all be there.

    Returns:
        The prefix; that of an averaged network (ema) where there are several; None if there is none.
    """
    last = names[0]
    prefixes = [name[: -len(last)] for name in state if name == last or name.endswith(f".{last}")]
    found = [prefix for prefix in prefixes if all(prefix + name in state for name in names)]
    return min(found, key=lambda prefix: ("ema" not in prefix.lower(), len(prefix)), default=None)


def square(const: np.ndarray) -> np.ndarray:
    """The learned constant that a generator begins with, [C, 4, 4].

    Raises:
        Refused: If it is of another shape: the pictures are no squares.
    """
    if const.shape[1:] != (4, 4):
        height, width = const.shape[-2:]
        raise Refused(
            f"it begins with a constant of {height}x{width}, not 4x4; only square pictures can be edited",
            ONLY,
        )
    return const


def coloured(weight: np.ndarray) -> None:
    """Refuse a toRGB layer [O, I, 1, 1] that draws other pictures than coloured ones."""
    if len(weight) != 3:
        what = "in grey (one channel)" if len(weight) == 1 else f"of {len(weight)} channels"
        raise Refused(f"it draws pictures {what}; only coloured ones (3 channels) can be edited", ONLY)


def unconditional(weight: np.ndarray) -> None:
    """Refuse the first layer of a mapping network that reads more than z.

    Args:
        weight: [w_dim, z_dim].
    """
    outputs, inputs = weight.shape
    if inputs > outputs:
        raise Refused(
            f"it is a conditional generator without the embedding of its classes (its mapping network reads "
            f"{inputs} numbers, z and that, for a w of {outputs})",
            f"{ORIGINAL}; add that one, with --class N",
        )


def mean_w(state: Mapping[str, np.ndarray]) -> np.ndarray:
    """Mean of w over 10,000 random z (RandomState(0)), for checkpoints that do not hold it.

    Args:
        state: Tensors of our generator; `mapping.N.weight` and `mapping.N.bias` are used.

    Returns:
        [w_dim], float32.
    """
    layers = [
        (state[f"mapping.{i}.weight"], state[f"mapping.{i}.bias"])
        for i in range(_MAX_LAYERS)
        if f"mapping.{i}.weight" in state
    ]
    if not layers or max(max(weight.shape) for weight, _ in layers) > _MAX_WIDTH:
        raise Damaged("the mapping network has an impossible shape")
    random, total = np.random.RandomState(0), np.zeros(())
    for _ in range(10):  # few at once: the widths are the file's
        x = random.randn(1000, layers[0][0].shape[1]).astype(np.float32)
        x /= np.sqrt((x**2).mean(axis=1, keepdims=True) + 1e-8)
        for weight, bias in layers:
            x = x @ weight.T + bias
            x = np.where(x > 0, x, 0.2 * x) * np.float32(np.sqrt(2))
        total = total + x.sum(axis=0, dtype=np.float64)
    return (total / 10_000).astype(np.float32)


def class_notes(class_index: int, classes: int) -> dict[str, str]:
    """What is to be said of the class that a conditional generator is to draw.

    Raises:
        Refused: If it has no such class.
    """
    if not 0 <= class_index < classes:
        raise Refused(f"it has classes 0 to {classes - 1}, there is no class {class_index}")
    return {"class": f"{class_index} of {classes}"}


def fold_class(weight: np.ndarray, bias: np.ndarray, embedded: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Make the first layer of a conditional mapping network that of a network of one class.

    The layer reads z and the embedding of the class, both normalised. With the class fixed, the second
    half only adds a constant.

    Args:
        weight: [O, z_dim + E].
        bias: [O].
        embedded: The embedding of the class, [E], before it is normalised.

    Returns:
        Weight [O, z_dim] and bias [O].
    """
    size = embedded.shape[0]
    if size >= weight.shape[1]:
        raise Damaged("the embedding of the classes does not fit the mapping network")
    unit = embedded / np.sqrt((embedded.astype(np.float64) ** 2).mean() + 1e-8)
    constant = weight[:, -size:].astype(np.float64) @ unit
    return np.ascontiguousarray(weight[:, :-size]), (bias + constant).astype(np.float32)
