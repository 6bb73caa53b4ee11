"""Errors that the user can act on, each with the exit code of the process.

This module imports nothing heavy: the command line maps these to one line of text and a code.
"""

from __future__ import annotations

import re
from enum import IntEnum
from typing import ClassVar


class ExitCode(IntEnum):
    """Exit codes of every command; a stable part of the user interface."""

    OK = 0
    BUG = 1
    USAGE = 2
    BAD_INPUT = 3
    WEIGHTS = 4
    OUTPUT = 5
    DEVICE = 6
    PARTIAL = 7
    INTERRUPTED = 130
    TERMINATED = 143


class StyleClipError(Exception):
    """Base of all expected failures.

    Args:
        message: One line: what is wrong, and where.
        hint: One line: what the user can do about it (may be empty).
    """

    exit_code: ClassVar[ExitCode] = ExitCode.BUG

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(StyleClipError):
    """The arguments or options of the command are invalid."""

    exit_code = ExitCode.USAGE


class BadInputError(StyleClipError):
    """An input file, latent or text cannot be used."""

    exit_code = ExitCode.BAD_INPUT


class WeightsError(StyleClipError):
    """Weights are missing, damaged, or were refused."""

    exit_code = ExitCode.WEIGHTS


class OutputError(StyleClipError):
    """The output exists already or cannot be written."""

    exit_code = ExitCode.OUTPUT


class DeviceError(StyleClipError):
    """The compute device is missing or out of memory."""

    exit_code = ExitCode.DEVICE


class PartialFailure(StyleClipError):
    """Some items of a batch failed; the others were written."""

    exit_code = ExitCode.PARTIAL


def not_there(name: object) -> tuple[str, str]:
    """What is wrong with a file that does not exist, and what to do about it."""
    if is_address(name):
        told = re.sub(":/(?!/)", "://", str(name), count=1)  # paths have lost a slash of it
        return f"{told}: is an address, not a file", "download it first, and name the file"
    return f"{name}: no such file", ""


def is_address(name: object) -> bool:
    """Whether something in the place of a file lies elsewhere."""
    return re.match(r"(https?|ftp|sftp|s3|gs|hf|file):/", str(name), re.IGNORECASE) is not None


def shortened(text: str, limit: int) -> str:
    """The beginning of a long text, for a message."""
    return text if len(text) <= limit else f"{text[: limit - 3].rstrip()}..."


def one_line(problem: object, limit: int = 200) -> str:
    """What an exception (or any text) says, on one line of limited length; its type when it says nothing."""
    return " ".join(str(problem).split())[:limit] or type(problem).__name__
