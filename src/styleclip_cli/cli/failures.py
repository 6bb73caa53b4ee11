"""What fails in a batch: told of as it happens, and summed up."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from styleclip_cli.cli import report
from styleclip_cli.errors import BadInputError, OutputError, PartialFailure, StyleClipError
from styleclip_cli.job.inputs import Item


class Failures:
    """The failures of a batch.

    Args:
        count: How many inputs there are.
        fail_fast: Whether the first one has ended it.
        outcome: What became of the others.
    """

    def __init__(self, count: int, fail_fast: bool = False, outcome: str = "written") -> None:
        self.count, self.fail_fast, self.outcome = count, fail_fast, outcome
        self.errors: list[StyleClipError] = []

    def add(self, error: StyleClipError) -> None:
        """Tell of one.

        Raises:
            StyleClipError: The error itself, if there is only one input.
        """
        if self.count == 1:
            raise error from None
        if not self.fail_fast:
            report.error(error.message, error.hint)
        self.errors.append(error)

    def conclude(self) -> None:
        """Sum up.

        Raises:
            StyleClipError: If all failed for one reason, or the first failure has ended it.
            PartialFailure: If some failed.
        """
        if not self.errors:
            return
        if self.fail_fast:
            for error in self.errors[:-1]:
                report.error(error.message, error.hint)
            raise self.errors[-1]
        message = f"{len(self.errors)} of {self.count} failed, {self.count - len(self.errors)} {self.outcome}"
        if len(self.errors) == self.count and len({error.exit_code for error in self.errors}) == 1:
            raise type(self.errors[0])(message)
        raise PartialFailure(message)


def each(items: Iterable[Item], work: Callable[[Item], None]) -> None:
    """Do some work for each input; one that fails does not stop the others.

    Raises:
        StyleClipError: As `Failures.add` and `Failures.conclude`.
    """
    items = list(items)
    failures = Failures(len(items))
    for item in items:
        try:
            if item.error is not None:
                raise item.error
            work(item)
        except (BadInputError, OutputError) as error:
            if item.name not in error.message:
                error = type(error)(f"{item.name}: {error.message}", error.hint)
            failures.add(error)
    failures.conclude()
