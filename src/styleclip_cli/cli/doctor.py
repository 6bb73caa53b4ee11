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
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from styleclip_cli import __version__
from styleclip_cli.cli import options, report
from styleclip_cli.errors import OutputError, PartialFailure, StyleClipError, one_line
from styleclip_cli.job import values

if TYPE_CHECKING:
    from styleclip_cli.networks import Networks

Status = Literal["ok", "missing", "broken"]
_ROOM = 5 * 2**30
"""Free space, in bytes, below which a pack may not fit."""
_TOLERANCE = 1e-4
"""Largest error of what is computed for trial, for its size."""
_MARKS: Mapping[Status, str] = {"ok": "ok     ", "missing": "missing", "broken": "BROKEN "}
_EXTRAS = {
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
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object (schema styleclip.doctor/1).")
    ] = False,
    no_kernels: options.NoKernels = False,
    verbose: options.Verbose = False,
) -> None:
    """Check this machine: Python, torch, device, kernels, model packs, face detector, caches, disk space.

    Also runs a kernel, CLIP's text encoder and the face detector, with the default model pack or the
    built-in one. The exit code is 7 if something is broken. Optional parts that are missing are listed with
    their purpose.

    Example: styleclip doctor
    """
    values.check_device(device)
    found: list[Finding] = []
    unheard: StyleClipError | None = None

    def tell(line: str) -> None:
        nonlocal unheard
        try:
            report.data(line)
        except OutputError as error:  # nobody hears it, which says nothing of the machine
            unheard = unheard or error

    for what, check in _checks(device).items():
        for one in _made(what, check):
            found.append(one)
            if not as_json:
                tell(f"{_MARKS[one.status]}  {one.what:14s}  {one.told}")
                tell(f"{'':25s}try: {one.hint}" if one.hint else "")
    if as_json:
        findings = [asdict(one) for one in found]
        tell(json.dumps({"schema": "styleclip.doctor/1", "version": __version__, "findings": findings}))
    broken = [one for one in found if one.status == "broken"]
    if broken:
        raise PartialFailure(f"{len(broken)} of {len(found)} are broken: {', '.join(b.what for b in broken)}")
    if unheard is not None:
        raise unheard


def _made(what: str, check: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """What a check finds; whatever is wrong with this machine, the rest is told all the same."""
    try:
        yield from check()
    except StyleClipError as error:
        yield Finding(what, "broken", error.message, error.hint)
    except Exception as error:
        yield Finding(what, "broken", f"{type(error).__name__}: {one_line(error)}")


def _checks(device: str) -> dict[str, Callable[[], Iterator[Finding]]]:
    return {
        "python": _python,
        "packages": _packages,
        "device": lambda: _device(device),
        "kernels": lambda: _kernels(device),
        "model packs": _packs,
        "texts": lambda: _texts(device),
        "faces": lambda: _faces(device),
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

    from styleclip_cli.machine.device import choose_device

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


def _kernels(name: str) -> Iterator[Finding]:
    import torch

    from styleclip_cli.machine.device import choose_device
    from styleclip_cli.nets import ops
    from styleclip_cli.nets.ops import building, reference

    if building.switched_off():
        yield Finding("kernels", "missing", "switched off", "leave out --no-kernels, STYLECLIP_NO_KERNELS")
        return
    device = choose_device(name)
    random = torch.Generator().manual_seed(1)
    shapes = {"x": (2, 16, 16, 16), "weight": (24, 16, 3, 3), "styles": (2, 16)}
    shapes |= {"demodulation": (2, 24), "bias": (24,), "noise": (16, 16)}
    layer: dict[str, Any] = {name: torch.randn(shape, generator=random) for name, shape in shapes.items()}
    wanted = reference.styled_conv(**{name: one.double() for name, one in layer.items()}, up=False)
    layer = {name: one.to(device) for name, one in layer.items()} | {"up": False}
    found, plain = ops.styled_conv(**layer), reference.styled_conv(**layer)
    error = float((found.cpu() - wanted).abs().max() / wanted.abs().max())
    if not error < (_TOLERANCE if device.type == "cpu" else 1e-2):  # GPUs round factors to ten bits
        hint = "--no-kernels, or styleclip cache prune --kind kernels"
        yield Finding("kernels", "broken", "they do not compute what they should", hint)
    elif torch.equal(found, plain):
        why = building.why_not() if device.type == "cpu" else "there are none for it"
        hint = "a C++ compiler: apt install g++, or xcode-select --install" if device.type == "cpu" else ""
        told = f"none ({why}): rendering is slower, with the same results"
        yield Finding("kernels", "missing", told, hint)
    else:
        yield Finding("kernels", "ok", "built for this machine, and as exact as plain PyTorch")


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


def _tried(name: str) -> Networks:
    """Networks to try: those of the usual pack, else the built-in ones."""
    from styleclip_cli.machine.device import choose_device
    from styleclip_cli.networks import Networks
    from styleclip_cli.weights import packs

    chosen = os.environ.get("STYLECLIP_MODELS") or packs.default_name()
    pack = packs.find_pack(chosen or packs.TOY)
    return Networks(pack if pack.usable else packs.find_pack(packs.TOY), choose_device(name))


def _texts(name: str) -> Iterator[Finding]:
    networks = _tried(name)
    found = networks.clip.encode_text(["a face", "a smiling face with glasses"])
    alike = float((found[0] * found[1]).sum())
    if not alike < 1.0 - _TOLERANCE:  # not a number, too
        hint = "pip install --force-reinstall --no-deps clip-anytorch"
        yield Finding("texts", "broken", "CLIP does not tell two texts apart", hint)
    else:
        yield Finding("texts", "ok", f"CLIP of {networks.pack.name} has read two, {alike:.3f} alike")


def _faces(name: str) -> Iterator[Finding]:
    from styleclip_cli.photo.align import OF_FACES
    from styleclip_cli.save import to_image
    from styleclip_cli.synthesize import styles_of, synthesize

    networks = _tried(name)
    if networks.pack.alignment not in OF_FACES or "landmarks" not in networks.pack.entries:
        yield Finding("faces", "missing", f"{networks.pack.name} looks for none", "")
        return
    generator = networks.generator
    average = generator.w_avg.expand(1, generator.style_space.num_ws, -1)
    picture = to_image(synthesize(generator, styles_of(generator, average))[0])
    found = networks.landmarker.find(picture)
    if len(found) != 1:
        hint = f"styleclip models verify {networks.pack.name}"
        yield Finding("faces", "broken", f"{len(found)} found in a picture of one face", hint)
    else:
        yield Finding("faces", "ok", f"one drawn by {networks.pack.name}, and found")


def _extras() -> Iterator[Finding]:
    for extra, (module, purpose) in _EXTRAS.items():
        if find_spec(module) is not None:
            yield Finding(f"[{extra}]", "ok", purpose)
        else:
            hint = f'pip install "styleclip-cli[{extra}]"'
            yield Finding(f"[{extra}]", "missing", f"for {purpose}", hint)
    from styleclip_cli.landmarks.fan import classes

    classes()
    yield Finding("face finder", "ok", "face-alignment's networks can be loaded")


def _places() -> Iterator[Finding]:
    from styleclip_cli.job.outputs import check_outputs
    from styleclip_cli.machine.cache import cache_dir
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
