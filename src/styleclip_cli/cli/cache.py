"""`styleclip cache`: what was measured and kept, how large it is, and making room."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from styleclip_cli.cli import options, report
from styleclip_cli.cli.helping import Command
from styleclip_cli.cli.report import Reporter
from styleclip_cli.errors import OutputError, UsageError
from styleclip_cli.machine.atomic import DAY, abandoned, idle

cache = typer.Typer(no_args_is_help=False, rich_markup_mode="rich")

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
# A Literal would do, if Typer took lists of one.
Kind = StrEnum("Kind", ["inversions", "texts", "statistics", "relevance", "evaluations", "kernels"])
_WHAT: dict[str, str] = {
    Kind.inversions: "latents of photos",
    Kind.texts: "directions of sentences",
    Kind.statistics: "style statistics of generators",
    Kind.relevance: "channel relevance of generators",
    Kind.evaluations: "numbers of edits that were evaluated",
    Kind.kernels: "what was built for this machine",
}


@cache.callback(invoke_without_command=True)
def overview(context: typer.Context, quiet: options.Quiet = False) -> None:
    """List the cache: kinds, files and sizes. Everything in it can be computed again.

    Example: styleclip cache prune --older-than 30d
    """
    if context.invoked_subcommand is not None:
        return
    from styleclip_cli.machine.cache import cache_dir

    sizes: dict[str, list[int]] = {}
    for kind, path in _files(cache_dir()):
        with suppress(FileNotFoundError):  # another process was faster
            sizes.setdefault(kind, []).append(_size(path))
    rows = [
        (kind, _WHAT.get(kind, ""), str(len(found)), f"{sum(found) / 1e6:.1f} MB")
        for kind, found in sorted(sizes.items())
    ]
    Reporter(quiet).table(("kind", "what it is", "files", "size"), rows, str(cache_dir()), numbers=2)


@cache.command(cls=Command)
def prune(
    older_than: Annotated[
        str | None,
        typer.Option(
            "--older-than",
            metavar="AGE",
            help="Remove only files older than this: 12h, 30d, 8w.",
            show_default="all",
        ),
    ] = None,
    kind: Annotated[
        list[Kind] | None,
        typer.Option("--kind", help="Remove only this kind; may be repeated.", show_default="all"),
    ] = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Remove cached files; they are computed again when they are needed.

    Example: styleclip cache prune --kind inversions --older-than 30d
    """
    from styleclip_cli.machine.cache import cache_dir

    age = 0.0 if older_than is None else _seconds(older_than)
    newest = time.time() - age
    removed = freed = 0
    for of_kind, path in _files(cache_dir()):
        if kind and of_kind not in kind:
            continue
        try:
            if path.stat().st_mtime > newest and older_than is not None:
                continue
            size = _size(path)
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
        except FileNotFoundError:  # another process was faster
            continue
        except OSError as error:
            raise OutputError(f"{path}: cannot be removed ({error.strerror})") from None
        removed, freed = removed + 1, freed + size
    Reporter(quiet).result(f"{removed} files removed, {freed / 1e6:.1f} MB freed")


@cache.command(cls=Command)
def where() -> None:
    """Print the cache folder.

    Example: styleclip cache where
    """
    from styleclip_cli.machine.cache import cache_dir

    report.data(str(cache_dir()))


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Kept files with their kinds, and what processes that were killed left half-written."""
    from styleclip_cli.machine import private

    for kind in sorted(set(_WHAT) - {"kernels"}):
        yield from ((kind, path) for path in sorted((folder / kind).glob("*.npz")))
        yield from ((kind, path) for path in abandoned(folder / kind))
    for place in filter(private.belongs, private.folders("kernels")):
        for pattern in ("*.so", "*.sha256", "*.failed"):
            yield from (("kernels", path) for path in sorted(place.glob(pattern)))
        builds = [path for path in place.glob("*.build-*") if idle(path.with_suffix(".so"))]
        # Of earlier versions, which built in folders without a lock:
        builds += [path for path in place.glob("tmp????????") if time.time() - path.stat().st_mtime > DAY]
        yield from (("kernels", path) for path in sorted(builds) if path.is_dir())
        yield from (("kernels", path) for path in abandoned(place))


def _size(path: Path) -> int:
    """Bytes of a file, or of all in a folder."""
    return sum(one.stat().st_size for one in (path, *path.rglob("*")) if not one.is_dir())


def _seconds(age: str) -> float:
    match = re.fullmatch(r"(\d{1,6})([smhdw])", age.strip())
    if match is None:
        raise UsageError(f"an age is a number and a unit, not {age!r}", "12h, 30d or 8w")
    return float(int(match[1]) * _UNITS[match[2]])
