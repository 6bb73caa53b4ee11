"""Work through many faces: one bad one does not stop the rest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

from styleclip_cli.cli import report
from styleclip_cli.cli.inputs import Item
from styleclip_cli.errors import BadInputError, OutputError, PartialFailure, StyleClipError

T = TypeVar("T")


class StopBatch(Exception):
    """An error that concerns every face of a batch (the prompt, the direction), not only this one."""

    def __init__(self, error: StyleClipError) -> None:
        super().__init__(error.message)
        self.error = error


class Job(Protocol[T]):
    """Work in three stages, the second of which is done for several faces at once."""

    def open(self, item: Item) -> T:
        """Read one."""

    def edit(self, opened: Sequence[T]) -> None:
        """Work on those that could be read."""

    def finish(self, opened: T, path: Path) -> None:
        """Write one."""


def run_jobs(
    work: Sequence[tuple[Item, Path]], job: Job[T], size: int = 1, stopped: Callable[[], bool] | None = None
) -> None:
    """Do a job for each face, in order, some at a time.

    A file that cannot be read or written fails alone and is told of as it happens; everything else
    (weights, device, memory, `StopBatch`) stops the run.

    Args:
        work: What is read, and where it is written.
        job: The stages.
        size: How many at a time.
        stopped: Whether to leave the rest undone.

    Raises:
        StyleClipError: The failure itself, if there was only one face, or all failed for one reason.
        PartialFailure: If some of several failed.
    """
    failures: list[StyleClipError] = []

    def failed(item: Item, path: Path, error: StyleClipError) -> None:
        if item.name not in error.message and str(path) not in error.message:
            error = type(error)(f"{item.name}: {error.message}", error.hint)
        if len(work) == 1:
            raise error from None
        report.error(error.message, error.hint)
        failures.append(error)

    for start in range(0, len(work), size):
        opened: list[tuple[Item, Path, T]] = []
        try:
            for item, path in work[start : start + size]:
                try:
                    if item.error is not None:
                        raise item.error
                    opened.append((item, path, job.open(item)))
                except (BadInputError, OutputError) as error:
                    failed(item, path, error)
            if opened:
                job.edit([one for _, _, one in opened])
            for item, path, one in opened:
                try:
                    job.finish(one, path)
                except (BadInputError, OutputError) as error:
                    failed(item, path, error)
        except StopBatch as stop:
            raise stop.error from None
        if stopped is not None and stopped():
            return
    if not failures:
        return
    message = f"{len(failures)} of {len(work)} failed, {len(work) - len(failures)} written"
    if len(failures) == len(work) and len({error.exit_code for error in failures}) == 1:
        raise type(failures[0])(message)
    raise PartialFailure(message)


class _Whole:
    """A job in one stage."""

    def __init__(self, job: Callable[[Item, Path], None]) -> None:
        self.finish = job

    def open(self, item: Item) -> Item:
        return item

    def edit(self, opened: Sequence[Item]) -> None:
        pass


def run_batch(work: Sequence[tuple[Item, Path]], job: Callable[[Item, Path], None]) -> None:
    """Do a job in one stage for each face, as `run_jobs` does."""
    run_jobs(work, _Whole(job))
