"""`styleclip doctor`: what this machine has, what is missing, and what to do about it."""

from __future__ import annotations

import json
import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal

import typer

from styleclip_cli import __version__
from styleclip_cli.cli import options, report
from styleclip_cli.errors import PartialFailure, StyleClipError, one_line

Status = Literal["ok", "missing", "broken"]
_ROOM = 5 * 2**30
"""Free space, in bytes, below which a pack may not fit."""
_MARKS: Mapping[Status, str] = {"ok": "ok     ", "missing": "missing", "broken": "BROKEN "}
_EXTRAS = {
    "photos": ("face_alignment", "finding faces in real photos"),
    "video": ("av", "writing .mp4 animations; .gif and .webp need nothing"),
    "heic": ("pillow_heif", "reading photos of iPhones (.heic)"),
    "studio": ("nicegui", "styleclip studio"),
    "train": ("pytorch_optimizer", "the optimizer ranger, and TensorBoard"),
}


@dataclass(frozen=True)
class Finding:
    """What was found.

    Attributes:
        what: What was looked at.
        status: ok; missing: not there, and not needed by all; broken: something will fail.
        told: What was found.
        hint: What to do about it; empty if nothing has to be done.
    """

    what: str
    status: Status
    told: str
    hint: str = ""


def doctor(
    device: options.Device = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object (styleclip.doctor/1).")] = False,
    no_kernels: options.NoKernels = False,
    verbose: options.Verbose = False,
) -> None:
    """Look at this machine: Python, torch, device, kernels, model packs, face finder, caches, space.

    The exit code is 7 if something is broken. What is merely missing is told with what it is good for.

    Example: styleclip doctor
    """
    options.check_device(device)
    found: list[Finding] = []
    for what, check in _checks(device).items():
        try:
            for one in check():
                found.append(one)
                _tell(one, as_json)
        except StyleClipError as error:
            found.append(Finding(what, "broken", error.message, error.hint))
            _tell(found[-1], as_json)
        except Exception as error:  # whatever is wrong with this machine, the rest is told all the same
            found.append(Finding(what, "broken", f"{type(error).__name__}: {one_line(error)}"))
            _tell(found[-1], as_json)
    broken = [one for one in found if one.status == "broken"]
    if as_json:
        findings = [asdict(one) for one in found]
        report.data(
            json.dumps({"schema": "styleclip.doctor/1", "version": __version__, "findings": findings})
        )
    if broken:
        raise PartialFailure(f"{len(broken)} of {len(found)} are broken: {', '.join(b.what for b in broken)}")


def _tell(one: Finding, as_json: bool) -> None:
    if as_json:
        return
    report.data(f"{_MARKS[one.status]}  {one.what:14s}  {one.told}")
    if one.hint:
        report.data(f"{'':25s}try: {one.hint}")


def _checks(device: str) -> dict[str, Callable[[], Iterator[Finding]]]:
    return {
        "python": _python,
        "packages": _packages,
        "device": lambda: _device(device),
        "kernels": _kernels,
        "model packs": _packs,
        "extras": _extras,
        "places": _places,
    }


def _python() -> Iterator[Finding]:
    told = f"{platform.python_version()} on {platform.platform(terse=True)}, {os.cpu_count()} cores"
    yield Finding("styleclip", "ok", f"{__version__}, {Path(__file__).parents[1]}")
    yield Finding("python", "ok", f"{told}, {sys.executable}")


def _packages() -> Iterator[Finding]:
    names = ("torch", "numpy", "pillow", "typer", "rich", "clip-anytorch", "safetensors")
    told = []
    for name in names:
        try:
            told.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            yield Finding(name, "broken", "not installed", f'pip install "{name}"')
    yield Finding("packages", "ok", ", ".join(told))


def _device(name: str) -> Iterator[Finding]:
    import torch

    from styleclip_cli.device import choose_device

    device = choose_device(name)
    if device.type == "cuda":
        about = torch.cuda.get_device_properties(device)
        told = f"{device}: {about.name}, {about.total_memory / 2**30:.0f} GB"
    else:
        told = f"{device}, {torch.get_num_threads()} threads"
    ones = torch.ones(8, 8, device=device)
    if float((ones @ ones).sum()) != 512.0:
        yield Finding("device", "broken", f"{told}: does not multiply", "--device cpu")
        return
    yield Finding("device", "ok", told)


def _kernels() -> Iterator[Finding]:
    from styleclip_cli.nets.ops import building

    if building.switched_off():
        yield Finding("kernels", "missing", "switched off", "leave out --no-kernels, STYLECLIP_NO_KERNELS")
        return
    if building.library() is None:
        hint = "a C++ compiler: apt install g++, or xcode-select --install"
        yield Finding("kernels", "missing", "not built: rendering is slower, with the same results", hint)
        return
    yield Finding("kernels", "ok", "built for this machine")


def _packs() -> Iterator[Finding]:
    from styleclip_cli.weights import packs

    problems: list[StyleClipError] = []
    usable = [pack.name for pack in packs.readable(problems.append) if pack.usable]
    for problem in problems:
        yield Finding("model packs", "broken", problem.message, problem.hint)
    yield Finding("model packs", "ok", f"installed: {', '.join(usable)}")
    chosen = os.environ.get("STYLECLIP_MODELS") or packs.default_name()
    if chosen is None:
        yield Finding(
            "usual pack", "missing", "none: every command needs --models", "styleclip models pull ffhq"
        )
        return
    pack = packs.find_pack(chosen)
    if not pack.usable:
        yield Finding("usual pack", "broken", f"{chosen} is not installed", f"styleclip models pull {chosen}")
        return
    yield Finding("usual pack", "ok", chosen)


def _extras() -> Iterator[Finding]:
    for extra, (module, purpose) in _EXTRAS.items():
        if find_spec(module) is not None:
            yield Finding(f"[{extra}]", "ok", purpose)
        else:
            hint = f'pip install "styleclip-cli[{extra}]"'
            yield Finding(f"[{extra}]", "missing", f"for {purpose}", hint)
    if find_spec("face_alignment") is not None:
        from styleclip_cli.fan import imported

        imported()
        yield Finding("face finder", "ok", "face-alignment can be loaded")


def _places() -> Iterator[Finding]:
    from styleclip_cli.cache import cache_dir
    from styleclip_cli.cli.inputs import check_outputs
    from styleclip_cli.weights import store

    for what, folder in (("cache", cache_dir()), ("weights", store.home())):
        check_outputs([folder / "trial"], overwrite=True)
        existing = folder
        while not existing.exists():
            existing = existing.parent
        files = [path for path in folder.rglob("*") if path.is_file()] if folder.exists() else []
        size = sum(path.stat().st_size for path in files)
        free = shutil.disk_usage(existing).free
        told = f"{folder}: {len(files)} files, {size / 1e6:.0f} MB; {free / 1e9:.0f} GB free"
        if free < _ROOM:
            yield Finding(what, "missing", f"{told}: little room", "styleclip cache prune, or another disk")
        else:
            yield Finding(what, "ok", told)
    path = store.config_dir() / "config.toml"
    yield Finding("settings", "ok", f"{path}{'' if path.exists() else ' (not there: none)'}")
    offline = os.environ.get("STYLECLIP_OFFLINE", "") not in ("", "0")
    yield Finding(
        "network", "ok", "never used (STYLECLIP_OFFLINE)" if offline else "used by models pull alone"
    )
