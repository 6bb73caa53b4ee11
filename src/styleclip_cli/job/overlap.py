"""Overlapping stages: while some inputs are computed, the next are read and finished ones are written."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Generic, NamedTuple, TypeVar

from styleclip_cli.errors import BadInputError, OutputError, StyleClipError
from styleclip_cli.machine.interrupt import Stopped

T = TypeVar("T")

_WRITERS = 2  # encoding an image takes longer than anything else that is done beside computing
_UNWRITTEN = 4  # finished images that may wait for them, or as many as are worked on together
_ALONE = (BadInputError, OutputError)
"""What fails for one input, and not for all."""


class StopBatch(Exception):
    """An error that concerns every input of a batch (the prompt, the direction), not only this one."""

    def __init__(self, error: StyleClipError) -> None:
        super().__init__(error.message)
        self.error = error


class Stages(NamedTuple, Generic[T]):
    """The stages of each input. The first and the last run in threads, concurrently with the others.

    Attributes:
        read: Read one, without any network.
        find: Find its faces.
        edit: Process some together.
        write: Write one.
    """

    read: Callable[[T], None]
    find: Callable[[T], None]
    edit: Callable[[Sequence[T]], None]
    write: Callable[[T], None]


def overlapped(
    work: Iterable[T],
    stages: Stages[T],
    size: int = 1,
    stopped: Callable[[], bool] = lambda: False,
    fail_fast: bool = False,
) -> Iterator[tuple[T, StyleClipError | None]]:
    """Process inputs; a file that cannot be read or written fails alone.

    All other errors (weights, device, memory, `StopBatch`) end it, after all computed results are written.

    Args:
        work: The inputs.
        stages: Their stages.
        size: How many are processed together; as many are read ahead, and wait to be written.
        stopped: Whether to stop, without starting the rest.
        fail_fast: Whether to stop at the first failure, too.

    Yields:
        Each input, in order, when it is written; or its error.
    """
    reader, writers = ThreadPoolExecutor(1), ThreadPoolExecutor(_WRITERS)
    unwritten: deque[tuple[T, Future[None]]] = deque()
    failed = False

    def settled(most: int) -> Iterator[tuple[T, StyleClipError | None]]:
        """The inputs that are written; waits until at most `most` are still to be."""
        nonlocal failed
        while unwritten and (len(unwritten) > most or unwritten[0][1].done()):
            one, future = unwritten.popleft()
            error = future.exception()
            if error is not None and not isinstance(error, _ALONE):
                raise error
            failed |= error is not None
            yield one, error

    try:
        reads = _ahead(reader, stages, work, size)
        while batch := list(islice(reads, size)):
            for one, error in _edited(stages, batch, fail_fast):
                failed |= error is not None
                written = writers.submit(stages.write, one) if error is None else _failed(error)
                unwritten.append((one, written))
                yield from settled(max(size, _UNWRITTEN))
            if stopped() or (fail_fast and failed):
                break
        yield from settled(0)
    except Exception as error:
        yield from settled(0)
        raise error.error if isinstance(error, StopBatch) else error from None
    except (KeyboardInterrupt, Stopped):  # what is being written is finished, the rest is dropped
        writers.shutdown(wait=True, cancel_futures=True)
        for one, future in unwritten:
            if not future.cancelled() and future.exception() is None:
                yield one, None
        raise
    finally:
        for executor in (reader, writers):
            executor.shutdown(wait=True, cancel_futures=True)


def _ahead(
    reader: ThreadPoolExecutor, stages: Stages[T], work: Iterable[T], most: int
) -> Iterator[tuple[T, Future[None]]]:
    """Inputs in order, each with the future of its reading, which starts some inputs ahead."""
    following = iter(work)
    begun: deque[tuple[T, Future[None]]] = deque()
    for one in islice(following, most):
        begun.append((one, reader.submit(stages.read, one)))
    while begun:
        for one in islice(following, 1):
            begun.append((one, reader.submit(stages.read, one)))
        yield begun.popleft()


def _edited(
    stages: Stages[T], batch: Sequence[tuple[T, Future[None]]], fail_fast: bool
) -> Iterator[tuple[T, StyleClipError | None]]:
    """Find the faces of some inputs and edit them together; if that fails, edit each alone."""
    errors: list[StyleClipError | None] = []
    for one, read in batch:
        try:
            read.result()
            stages.find(one)
            errors.append(None)
        except _ALONE as error:
            if fail_fast:
                yield one, error
                return
            errors.append(error)
    found = [one for (one, _), error in zip(batch, errors, strict=True) if error is None]
    failure = _error_of(stages.edit, found) if found else None
    for (one, _), of_one in zip(batch, errors, strict=True):
        again = failure is not None and of_one is None and len(found) > 1
        yield one, of_one or (_error_of(stages.edit, [one]) if again else failure)


def _error_of(edit: Callable[[Sequence[T]], None], some: Sequence[T]) -> StyleClipError | None:
    """The error of some inputs; None if they succeeded."""
    try:
        edit(some)
    except _ALONE as error:
        return error
    return None


def _failed(error: StyleClipError) -> Future[None]:
    future: Future[None] = Future()
    future.set_exception(error)
    return future
