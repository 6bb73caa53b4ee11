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
    "generator", "clip", "encoder", "identity", "mapper", "landmarks", "detector", "relevance", "statistics"
]
PARTS: tuple[str, ...] = get_args(PartName)

# No published network has more layers than this of any kind.
_MAX_LAYERS = 64
_MAX_WIDTH = 4096


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


def mean_w(state: Mapping[str, np.ndarray], n: int = 10_000) -> np.ndarray:
    """Mean of w over random z, for checkpoints that do not hold it.

    Args:
        state: Tensors of our generator; `mapping.N.weight` and `mapping.N.bias` are used.
        n: Number of samples (RandomState(0)).

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
    for start in range(0, n, 1000):  # few at once: the widths are the file's
        x = random.randn(min(1000, n - start), layers[0][0].shape[1]).astype(np.float32)
        x /= np.sqrt((x**2).mean(axis=1, keepdims=True) + 1e-8)
        for weight, bias in layers:
            x = x @ weight.T + bias
            x = np.where(x > 0, x, 0.2 * x) * np.float32(np.sqrt(2))
        total = total + x.sum(axis=0, dtype=np.float64)
    return (total / n).astype(np.float32)


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
