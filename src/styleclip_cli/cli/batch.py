"""Work through many faces: one bad one does not stop the rest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from styleclip_cli.cli import report
from styleclip_cli.cli.inputs import Item
from styleclip_cli.errors import BadInputError, OutputError, PartialFailure, StyleClipError


class StopBatch(Exception):
    """An error that concerns every face of a batch (the prompt, the direction), not only this one."""

    def __init__(self, error: StyleClipError) -> None:
        super().__init__(error.message)
        self.error = error


def run_batch(work: Sequence[tuple[Item, Path]], job: Callable[[Item, Path], None]) -> None:
    """Do a job for each face, in order.

    A file that cannot be read or written fails alone and is told of as it happens; everything else
    (weights, device, memory, `StopBatch`) stops the run.

    Raises:
        StyleClipError: The failure itself, if there was only one face, or all failed for one reason.
        PartialFailure: If some of several failed.
    """
    failures: list[StyleClipError] = []
    for item, path in work:
        try:
            if item.error is not None:
                raise item.error
            job(item, path)
        except StopBatch as stop:
            raise stop.error from None
        except (BadInputError, OutputError) as error:
            if item.name not in error.message and str(path) not in error.message:
                error = type(error)(f"{item.name}: {error.message}", error.hint)
            if len(work) == 1:
                raise error from None
            report.error(error.message, error.hint)
            failures.append(error)
    if not failures:
        return
    message = f"{len(failures)} of {len(work)} failed, {len(work) - len(failures)} written"
    if len(failures) == len(work) and len({error.exit_code for error in failures}) == 1:
        raise type(failures[0])(message)
    raise PartialFailure(message)
