"""Rendering as CUDA graphs: a fixed shape's hundreds of kernels are started as one.

The CPU starts a generator's kernels one by one, which for single images takes longer than the GPU needs to
run them. A graph holds them all, with the addresses that they read and write.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from itertools import chain
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from styleclip_cli.machine.memory import is_out_of_memory
from styleclip_cli.nets.stylegan2 import Generator, Noise

_log = logging.getLogger(__name__)
MOST_IMAGES = 8  # at once: more keep a GPU busy by themselves, and a graph keeps the memory of a rendering
_MOST = 4  # graphs of a generator
_Work = Callable[[], Tensor]


def capture(work: _Work) -> _Work:
    """Record what some work does on the GPU; returns what does it again, into the same memory.

    CUDA asks for a few runs on a stream of their own first, so that nothing is set up while it records.

    Args:
        work: Renders; everything that it reads must stay where it is.

    Returns:
        Does the work again, into the same memory.
    """
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(2):
            work()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    # Other threads may go on with images of their own meanwhile.
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        image = work()

    def replay() -> Tensor:
        graph.replay()
        return image

    return replay


class _Graph:
    """One shape's rendering, and the memory that it reads."""

    def __init__(self, styles: Tensor, weights: list[Tensor]) -> None:
        self.styles = styles.clone()
        # Held so that no others can come to lie at these addresses while the graph is there.
        self.weights = weights
        self.replay: _Work | None = None
        self.possible = True

    def reads(self, weights: list[Tensor]) -> bool:
        """Whether the weights are still where they were: tuning swaps a parameter's data."""
        return all(a.data_ptr() == b.data_ptr() for a, b in zip(self.weights, weights, strict=True))


class Graphs:
    """A generator's renderings, each recorded when its shape comes for the second time.

    Args:
        generator: On a CUDA device. Changes of its weights in place are seen; those in new memory lead to a
            new recording.
        capture: Records work; see `capture`.
    """

    def __init__(self, generator: Generator, capture: Callable[[_Work], _Work] = capture) -> None:
        # A twin, as the generator would stay alive as long as its graphs, which go when it goes.
        self._generator = generator.with_precision(generator.precision)
        self._capture = capture
        self._graphs: dict[tuple[int, Noise, int | None], _Graph] = {}

    @torch.inference_mode()
    def render(self, styles: Tensor, noise: Noise = "const", stop_at: int | None = None) -> Tensor:
        """Render styles; see `Generator.synthesize`.

        Args:
            styles: [N, size].
            noise: As in `Generator.synthesize`.
            stop_at: As in `Generator.synthesize`.

        Returns:
            [N, 3, R, R], nominally in [-1, 1].
        """

        def work(styles: Tensor) -> Tensor:
            return self._generator.synthesize(self._generator.style_space.split(styles), noise, stop_at)

        key = (len(styles), noise, stop_at)
        weights = [each.detach() for each in chain(self._generator.parameters(), self._generator.buffers())]
        graph = self._graphs.get(key)
        if graph is None or not graph.reads(weights):
            self._graphs.pop(key, None)
            if len(self._graphs) == _MOST:
                del self._graphs[next(iter(self._graphs))]
            self._graphs[key] = _Graph(styles, weights)
            return work(styles)
        if graph.replay is None and graph.possible:
            try:
                graph.replay = self._capture(lambda: work(graph.styles))
            except RuntimeError as error:
                if is_out_of_memory(error):
                    raise
                graph.possible = False
                _log.debug("no CUDA graph: %s", error)
        if graph.replay is None:
            return work(styles)
        graph.styles.copy_(styles)
        return graph.replay().clone()


_known: WeakKeyDictionary[Generator, Graphs] = WeakKeyDictionary()


def render(generator: Generator, styles: Tensor, noise: Noise = "const") -> Tensor:
    """Render styles without gradients, by graphs where there are any.

    The logic around the graphs is tested on CPUs; the recording itself can only run on a GPU.

    Args:
        generator: The generator that the styles belong to.
        styles: [N, size].
        noise: As in `Generator.synthesize`.

    Returns:
        [N, 3, R, R], nominally in [-1, 1].
    """
    if styles.device.type != "cuda" or len(styles) > MOST_IMAGES:
        with torch.inference_mode():
            return generator.synthesize(generator.style_space.split(styles), noise)
    if generator not in _known:
        _known[generator] = Graphs(generator)
    with torch.cuda.device_of(styles):
        return _known[generator].render(styles, noise)
