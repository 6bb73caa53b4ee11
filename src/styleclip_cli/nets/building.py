"""Build networks that are about to be given their weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import init
from torch.overrides import TorchFunctionMode

from styleclip_cli.errors import WeightsError, one_line

# Random numbers, and CLIP's conversion to half precision. Not fill_ and zero_: masks are made with them.
_SKIPPED = frozenset(
    {
        Tensor.uniform_,
        Tensor.normal_,
        Tensor.half,
        *(init.uniform_, init.normal_, init.kaiming_uniform_, init.xavier_uniform_),
    }
)


_Network = TypeVar("_Network", bound=nn.Module)


class Uninitialised(TorchFunctionMode):
    """Leave new tensors as they are while a network is built, whatever its constructors ask for.

    Random first weights of an e4e encoder take three seconds, to be thrown away at once. (PyTorch's own
    way, the meta device, imports a second's worth of modules.)
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Fill nothing."""
        if func in _SKIPPED:
            return args[0] if args else kwargs["tensor"]
        if func is torch.randn:
            func = torch.empty
        return func(*args, **(kwargs or {}))


class _WrongTensors(ValueError):
    """Tensors are not those of a network."""


@contextmanager
def weights_of(what: str, *others: type[Exception]) -> Iterator[None]:
    """Turn what goes wrong while a network is built from a state dict into one error.

    Args:
        what: The network ("an e4e encoder").
        others: What else its constructor raises of weights that are not its own.

    Raises:
        WeightsError: If the state dict is not the network's.
    """
    expected: tuple[type[Exception], ...] = (KeyError, IndexError, RuntimeError, ValueError, *others)
    try:
        yield
    except expected as error:
        reason = "tensors are missing, or do not fit each other"
        if isinstance(error, KeyError):
            reason = f"no {one_line(error, 80)}"
        elif isinstance(error, _WrongTensors):  # the others speak of Python and torch
            reason = str(error)
        raise WeightsError(f"not the weights of {what} ({reason})", "check which file this is") from None


def fill(network: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Put weights into a network, without a copy of those that are single precision already.

    Args:
        network: What they are for.
        state: Its tensors by name; half precision becomes single.

    Raises:
        ValueError: If they are not the network's.
    """
    wanted = {name: list(tensor.shape) for name, tensor in network.state_dict().items()}
    for name, shape in wanted.items():
        if name not in state:
            raise _WrongTensors(f"the tensor {name} is missing")
        if list(state[name].shape) != shape:
            raise _WrongTensors(f"the tensor {name} is {list(state[name].shape)}, expected {shape}")
    strange = sorted(state.keys() - wanted.keys())
    if strange:
        raise _WrongTensors(f"{len(strange)} tensors are not its own: {one_line(strange[0], 60)}")
    single = {
        name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in state.items()
    }
    network.load_state_dict(single, assign=True)


def frozen(build: Callable[[], _Network], state: Mapping[str, Tensor], what: str) -> _Network:
    """A network with weights, for use only.

    Args:
        build: Makes it, of the shape that the weights say.
        state: Its weights.
        what: What they should be, for the error.

    Returns:
        The network.

    Raises:
        WeightsError: If they are not its weights.
    """
    with weights_of(what):
        with Uninitialised():
            net = build()
        fill(net, state)
    return net.eval().requires_grad_(False)
