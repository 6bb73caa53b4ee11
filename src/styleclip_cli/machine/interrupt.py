"""Ctrl-C and SIGTERM: an exception that unwinds the stack, or a wish that long work grants when it can."""

from __future__ import annotations

import signal
from contextlib import suppress
from types import FrameType
from typing import Any


class Stopped(BaseException):
    """A signal arrived. Like KeyboardInterrupt it unwinds the stack, so that temporary files are removed.

    It stands in for KeyboardInterrupt too: when that one passes through code that Python compiled from a
    string, as some libraries do while being imported, Python ends the process by the signal whatever
    exit code is asked for.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Interruptible:
    """Work that ends well when it is interrupted once; a second time it is dropped at once.

    Args:
        terminating: Whether SIGTERM is heard as well, as batch systems send it before they kill.

    Attributes:
        number: The signal that came; 0 for none.
    """

    def __init__(self, terminating: bool = False) -> None:
        self.number = 0
        self._signals = (signal.SIGINT, signal.SIGTERM) if terminating else (signal.SIGINT,)
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Interruptible:
        with suppress(ValueError):  # not the main thread: an embedding program owns the signals
            for number in self._signals:
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._previous[number] = signal.signal(number, self._heard)
        return self

    def __exit__(self, *_: object) -> None:
        for number, old in self._previous.items():
            signal.signal(number, old)

    def __call__(self) -> bool:
        """Whether to stop."""
        return self.number != 0

    def _heard(self, signum: int, frame: FrameType | None) -> None:
        if self.number:
            raise Stopped(signum)
        self.number = signum
