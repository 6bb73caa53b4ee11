"""Work through many faces: reading, computing and writing overlap, and a bad face does not stop the rest."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol, TypeVar

from styleclip_cli.cli import report
from styleclip_cli.cli.inputs import Item
from styleclip_cli.errors import BadInputError, OutputError, PartialFailure, StyleClipError

R = TypeVar("R")
T = TypeVar("T")
Work = Sequence[tuple[Item, Path]]

_WRITERS = 2  # encoding a picture takes longer than anything else that is done beside computing
_UNWRITTEN = 4  # finished pictures that may wait for them, or as many as are worked on together


class StopBatch(Exception):
    """An error that concerns every face of a batch (the prompt, the direction), not only this one."""

    def __init__(self, error: StyleClipError) -> None:
        super().__init__(error.message)
        self.error = error


class Job(Protocol[R, T]):
    """Work in stages. The first and the last run in threads beside the others."""

    def read(self, item: Item) -> R:
        """Read one, without any network."""

    def open(self, item: Item, read: R) -> T:
        """Find its faces."""

    def edit(self, opened: Sequence[T]) -> None:
        """Work on those that could be read, together."""

    def write(self, opened: T, path: Path) -> None:
        """Write one."""

    def tell(self, opened: T, path: Path) -> None:
        """Say that it is written."""


class _Failures:
    """What failed, told of as it happens."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.errors: list[StyleClipError] = []

    def add(self, item: Item, path: Path, error: StyleClipError) -> None:
        if item.name not in error.message and str(path) not in error.message:
            error = type(error)(f"{item.name}: {error.message}", error.hint)
        if self.count == 1:
            raise error from None
        report.error(error.message, error.hint)
        self.errors.append(error)

    def conclude(self) -> None:
        if not self.errors:
            return
        message = f"{len(self.errors)} of {self.count} failed, {self.count - len(self.errors)} written"
        if len(self.errors) == self.count and len({error.exit_code for error in self.errors}) == 1:
            raise type(self.errors[0])(message)
        raise PartialFailure(message)


def run_jobs(
    work: Work, job: Job[Any, Any], size: int = 1, stopped: Callable[[], bool] | None = None
) -> None:
    """Do a job for each face, some at a time; what is told of keeps their order.

    A file that cannot be read or written fails alone and is told of as it happens; everything else
    (weights, device, memory, `StopBatch`) stops the run, after what is computed already is written.

    Args:
        work: What is read, and where it is written.
        job: The stages.
        size: How many are worked on together. As many are read meanwhile, and wait to be written.
        stopped: Whether to leave the rest undone.

    Raises:
        StyleClipError: The failure itself, if there was only one face, or all failed for one reason.
        PartialFailure: If some of several failed.
    """
    failures = _Failures(len(work))
    reader, writers = ThreadPoolExecutor(1), ThreadPoolExecutor(_WRITERS)
    unwritten: deque[tuple[Item, Path, Any, Future[None]]] = deque()

    def settle(most: int) -> None:
        while len(unwritten) > most:
            item, path, one, future = unwritten.popleft()
            try:
                future.result()
                job.tell(one, path)
            except (BadInputError, OutputError) as error:
                failures.add(item, path, error)

    try:
        reads = _ahead(reader, job, [item for item, _ in work], size)
        for start in range(0, len(work), size):
            opened: list[tuple[Item, Path, Any]] = []
            for item, path in work[start : start + size]:
                read = next(reads)
                try:
                    if item.error is not None:
                        raise item.error
                    opened.append((item, path, job.open(item, read.result())))
                except (BadInputError, OutputError) as error:
                    failures.add(item, path, error)
            if opened:
                job.edit([one for _, _, one in opened])
            for item, path, one in opened:
                unwritten.append((item, path, one, writers.submit(job.write, one, path)))
                settle(max(size, _UNWRITTEN))
            if stopped is not None and stopped():
                break
        settle(0)
    except StopBatch as stop:
        settle(0)
        raise stop.error from None
    except Exception:
        settle(0)
        raise
    finally:
        # What is being written is finished; what waits behind an interruption is dropped.
        for executor in (reader, writers):
            executor.shutdown(wait=True, cancel_futures=True)
    failures.conclude()


def _ahead(reader: ThreadPoolExecutor, job: Job[Any, Any], items: Sequence[Item], most: int) -> Iterator[Any]:
    """What a job reads, in order, begun some items ahead."""
    begun: deque[Future[Any]] = deque()
    following = iter(items)

    def begin() -> None:
        for item in following:
            begun.append(reader.submit(job.read, item))
            return

    for _ in range(most):
        begin()
    while begun:
        begin()
        yield begun.popleft()


def run_batch(work: Work, job: Callable[[Item, Path], None]) -> None:
    """Do a job in one stage for each face, as `run_jobs` does."""
    failures = _Failures(len(work))
    for item, path in work:
        try:
            if item.error is not None:
                raise item.error
            job(item, path)
        except (BadInputError, OutputError) as error:
            failures.add(item, path, error)
        except StopBatch as stop:
            raise stop.error from None
    failures.conclude()
