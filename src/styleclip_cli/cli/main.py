"""The process around the commands: signals, exit codes, and the one line a failure is told in."""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from styleclip_cli.cli import report
from styleclip_cli.errors import ExitCode, StyleClipError, UsageError, one_line
from styleclip_cli.job.inputs import like_option
from styleclip_cli.job.values import no_choice
from styleclip_cli.machine import memory, process
from styleclip_cli.machine.interrupt import Stopped
from styleclip_cli.machine.process import debugging

_NO_CHOICE = re.compile(r"(?:Value error, )?(.+) is not one of (.+)\.")
"""How Typer says that a word is none of an option's choices."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line.

    Args:
        argv: Arguments after the program's name; those of the process by default.

    Returns:
        The exit code, one of `ExitCode`.
    """
    _occupy_streams()
    report.soften_streams()
    arguments = list(sys.argv[1:] if argv is None else argv)
    process.chosen = process.Choices()
    memory.disable_malloc_trim()
    if not debugging():
        warnings.simplefilter("ignore")  # they speak to programmers, in the middle of a person's terminal
    try:
        with _signals_raise():
            code = _run(arguments)
    except Stopped as stop:
        code = ExitCode.TERMINATED if stop.number == signal.SIGTERM else ExitCode.INTERRUPTED
    except KeyboardInterrupt:
        code = ExitCode.INTERRUPTED
    if code in (ExitCode.INTERRUPTED, ExitCode.TERMINATED):
        report.error("interrupted" if code == ExitCode.INTERRUPTED else "terminated")
    report.close_streams()
    return int(code)


def _occupy_streams() -> None:
    """Open what was closed by who started this: else the next file would be taken for a standard stream."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number, which is this one
    # Libraries flush them without asking.
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 (to the end)


def _run(arguments: list[str]) -> int:
    import typer
    from typer.exceptions import TyperException

    from styleclip_cli.cli.app import commands
    from styleclip_cli.cli.config import option_defaults

    try:
        # Help is had, and the doctor called, whatever state the settings are in.
        plain = {"-h", "--help", "--version", "doctor"} & set(arguments)
        group = commands()
        defaults = {} if plain else option_defaults(group)
        outcome = group(args=arguments, prog_name="styleclip", standalone_mode=False, default_map=defaults)
        return outcome if isinstance(outcome, int) else ExitCode.OK
    except StyleClipError as error:
        if debugging():
            _print_traceback()
        misread = like_option(arguments) if isinstance(error, UsageError) else ""
        report.error(error.message, misread or error.hint)
        return error.exit_code
    except TyperException as error:
        return _usage(error, arguments)
    except typer.Abort:
        return ExitCode.INTERRUPTED
    except SystemExit as error:  # Typer's own answer to a closed pipe, which is nobody's failure
        return error.code if isinstance(error.code, int) and error.code != 1 else ExitCode.OK
    except BrokenPipeError:
        return ExitCode.OK
    except Exception as error:
        return _unexpected(error)


def _usage(error: Exception, arguments: list[str]) -> int:
    message = error.format_message() if hasattr(error, "format_message") else str(error)
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "styleclip"
    if type(error).__name__ == "NoArgsIsHelpError":
        report.data(message, lines=True)
    else:
        hint = f"{command} --help"
        option, refused = getattr(error, "param", None), _NO_CHOICE.fullmatch(getattr(error, "message", ""))
        if option is not None and refused is not None:
            told = no_choice(option.opts[0].lstrip("-"), refused[1], re.findall("'(.*?)'", refused[2]))
            message, hint = told.message, told.hint
        report.error(message, like_option(arguments) or hint)
    return ExitCode.USAGE


def _unexpected(error: Exception) -> int:
    if memory.is_out_of_memory(error):
        report.error(
            f"out of memory ({one_line(error)})", "fewer or smaller images at once, or another --device"
        )
        return ExitCode.DEVICE
    if debugging():
        _print_traceback()
    report.error(
        f"unexpected {type(error).__name__}: {one_line(error)}",
        "run again with STYLECLIP_DEBUG=1 to see the traceback, and report it; this is a bug",
    )
    return ExitCode.BUG


def _print_traceback() -> None:
    import traceback

    traceback.print_exc()


@contextmanager
def _signals_raise() -> Iterator[None]:
    def handler(signum: int, frame: FrameType | None) -> None:
        raise Stopped(signum)

    def lost(unraisable: sys.UnraisableHookArgs) -> None:
        """Send a signal again that came while Python was clearing up (`__del__`), where exceptions end."""
        if not isinstance(unraisable.exc_value, Stopped):
            hook(unraisable)
            return
        timers.append(threading.Timer(0.01, _send, [unraisable.exc_value.number]))
        timers[-1].start()

    timers: list[threading.Timer] = []
    hook, sys.unraisablehook = sys.unraisablehook, lost
    previous = {}
    with suppress(ValueError):  # not the main thread: an embedding program owns the signals
        for number in (signal.SIGTERM, signal.SIGINT):
            if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
                previous[number] = signal.signal(number, handler)
    try:
        yield
    finally:
        sys.unraisablehook = hook
        for timer in timers:
            timer.cancel()
        for number, old in previous.items():
            signal.signal(number, old)


def _send(number: int) -> None:
    if sys.platform == "win32":
        signal.raise_signal(number)
    else:  # to the thread that hears it: it may be waiting
        signal.pthread_kill(threading.main_thread().ident or 0, number)
