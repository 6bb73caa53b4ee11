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

    def failed(self, item: Item, path: Path, error: StyleClipError) -> None:
        """Hear that one could not be done, beside what is said of it on standard error."""


class Failures:
    """What failed, told of as it happens.

    Args:
        count: How many there are in all.
        told: Hears of each failure, beside standard error.
        fail_fast: Whether the first one ends everything.
        outcome: What became of the others.
    """

    def __init__(
        self,
        count: int,
        told: Callable[[Item, Path, StyleClipError], None] = lambda *_: None,
        fail_fast: bool = False,
        outcome: str = "written",
    ) -> None:
        self.count, self.fail_fast, self.outcome = count, fail_fast, outcome
        self.errors: list[StyleClipError] = []
        self._told = told

    def add(self, item: Item, path: Path, error: StyleClipError) -> None:
        """Tell of one.

        Raises:
            StyleClipError: The error itself, if there was only one item.
            StopBatch: If it ends everything.
        """
        if item.name not in error.message and str(path) not in error.message:
            error = type(error)(f"{item.name}: {error.message}", error.hint)
        self._told(item, path, error)
        if self.count == 1:
            raise error from None
        if self.fail_fast:
            raise StopBatch(error) from None
        report.error(error.message, error.hint)
        self.errors.append(error)

    def conclude(self) -> None:
        """Sum up.

        Raises:
            StyleClipError: If all failed for one reason.
            PartialFailure: If some failed.
        """
        if not self.errors:
            return
        message = f"{len(self.errors)} of {self.count} failed, {self.count - len(self.errors)} {self.outcome}"
        if len(self.errors) == self.count and len({error.exit_code for error in self.errors}) == 1:
            raise type(self.errors[0])(message)
        raise PartialFailure(message)


def run_jobs(
    work: Work,
    job: Job[Any, Any],
    size: int = 1,
    stopped: Callable[[], bool] | None = None,
    fail_fast: bool = False,
) -> None:
    """Do a job for each face, some at a time; what is told of keeps their order.

    A file that cannot be read or written fails alone and is told of as it happens; everything else
    (weights, device, memory, `StopBatch`) stops the run, after what is computed already is written.

    Args:
        work: What is read, and where it is written.
        job: The stages.
        size: How many are worked on together. As many are read meanwhile, and wait to be written.
        stopped: Whether to leave the rest undone.
        fail_fast: Whether the first failure ends it, too.

    Raises:
        StyleClipError: The failure itself, if there was only one face, or all failed for one reason.
        PartialFailure: If some of several failed.
    """
    failures = Failures(len(work), job.failed, fail_fast)
    reader, writers = ThreadPoolExecutor(1), ThreadPoolExecutor(_WRITERS)
    unwritten: deque[tuple[Item, Path, Any, Future[None]]] = deque()

    def settle(most: int) -> None:
        """Tell of what is written, in order; wait until at most so many are left."""
        while unwritten and (len(unwritten) > most or unwritten[0][-1].done()):
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
            for item, path, one in _edited(job, opened, failures):
                unwritten.append((item, path, one, writers.submit(job.write, one, path)))
                settle(max(size, _UNWRITTEN))
            if stopped is not None and stopped():
                break
        settle(0)
    except StopBatch as stop:
        failures.fail_fast = False  # what is finished already is written, and told of
        settle(0)
        raise stop.error from None
    except Exception:
        settle(0)
        raise
    finally:
        # What is being written is finished; what waits behind an interruption is dropped.
        for executor in (reader, writers):
            executor.shutdown(wait=True, cancel_futures=True)
        for _, path, one, future in unwritten:  # an interruption: these are there all the same
            if not future.cancelled() and future.exception() is None:
                job.tell(one, path)
    failures.conclude()


def _edited(
    job: Job[Any, Any], opened: list[tuple[Item, Path, Any]], failures: Failures
) -> Iterator[tuple[Item, Path, Any]]:
    """Work on some together; if one of them cannot be worked on, on each alone."""
    try:
        if opened:
            job.edit([one for _, _, one in opened])
        yield from opened
        return
    except (BadInputError, OutputError) as error:
        if len(opened) == 1:
            failures.add(opened[0][0], opened[0][1], error)
            return
    for one in opened:
        yield from _edited(job, [one], failures)


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
    failures = Failures(len(work))
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
