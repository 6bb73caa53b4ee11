"""Frames -> a moving picture, as GIF, WebP or MP4."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from styleclip_cli.errors import OutputError, UsageError, one_line
from styleclip_cli.machine.atomic import atomic
from styleclip_cli.save import PROGRAM, Mark, picture_of, xmp_packet

if TYPE_CHECKING:
    from torch import Tensor

_SIDE = 512
_MILLISECONDS = 60
_LAST = 16
"""Times that the last frame is shown."""
_LOOP_MILLISECONDS = 50
_HELD = 14
"""Times that the frames at both ends of a loop are shown: two thirds of a second."""
_COLOURS = 255
"""Of a GIF's 256 colours one stays free: it stands for what has not changed since the frame before."""
_DITHER = 10.0
"""How far apart, of 255, the dither may move colours: about as far as neighbours in the palette are."""
_SAMPLED = 10
"""Frames from whose colours the palette of a GIF is made."""


def check_animation(path: Path) -> None:
    """Refuse what cannot be written, before anything is computed.

    Raises:
        UsageError: If the format is unknown, or needs a package that is missing.
    """
    suffix = path.suffix.lower()
    if suffix not in (".gif", ".webp", ".mp4"):
        raise UsageError(f"{path}: cannot write this moving picture", "one of .gif, .webp, .mp4")
    if suffix == ".mp4":
        _av()


def save_animation(path: Path, frames: Sequence[Image.Image]) -> None:
    """Write frames, atomically; the last one stays for a second.

    Args:
        path: .gif, .webp or .mp4 (H.264, needs the extra [video]).
        frames: RGB, all of one size; larger ones than 512 pixels are scaled down.

    Raises:
        OutputError: If it cannot be written.
        UsageError: As `check_animation`.
    """
    check_animation(path)
    if not frames:
        raise UsageError("an animation needs frames", "more steps")
    times = [1] * (len(frames) - 1) + [_LAST]
    _write(path, [_small(frame) for frame in frames], range(len(frames)), times, _MILLISECONDS, None)


def eased(alpha: float, frames: int = 24) -> list[float]:
    """Strengths of a way from the original to an edit that starts and ends gently.

    They follow alpha (1 - cos(pi t)) / 2, t even from 0 to 1: half a swing of a pendulum, so that the way
    forth and back has no jerk.

    Args:
        alpha: Strength of the edit.
        frames: How many, at least 2; the first is 0, the last is alpha.

    Raises:
        UsageError: If there are fewer than 2.
    """
    if frames < 2:
        raise UsageError(f"a way of {frames} frames has no two ends", "2 frames or more")
    way = [alpha * (1 - math.cos(math.pi * step / (frames - 1))) / 2 for step in range(frames)]
    return [*way[:-1], alpha]


def save_loop(path: Path, frames_forth: Iterable[Image.Image | Tensor], *, mark: Mark | None = None) -> None:
    """Write a loop, atomically: forth, held, and back by the same frames, held.

    GIF and WebP play it for ever. An MP4 holds the first frame half at its start and half at its end, so it
    looks whole both when it is played once and when it is repeated.

    Args:
        path: .gif, .webp or .mp4 (H.264, needs the extra [video]).
        frames_forth: From the original to the edit, in order, all of one size (see `eased`). Taken one by
            one; what is kept of each has at most 512 pixels a side.
        mark: Whether a network edited or generated them, written inside.

    Raises:
        OutputError: If it cannot be written.
        UsageError: If there are no frames, or as `check_animation`.
    """
    check_animation(path)
    frames = [_small(frame) for frame in frames_forth]
    if not frames:
        raise UsageError("an animation needs frames", "more of them")
    order = [*range(len(frames)), *range(len(frames) - 2, 0, -1)]
    times = [_HELD if index in (0, len(frames) - 1) else 1 for index in order]
    if path.suffix.lower() == ".mp4" and len(frames) > 1:
        order, times = [*order, 0], [_HELD // 2, *times[1:], _HELD - _HELD // 2]
    _write(path, frames, order, times, _LOOP_MILLISECONDS, mark)


def _small(frame: Image.Image | Tensor) -> Image.Image:
    image = picture_of(frame).convert("RGB")
    image.thumbnail((_SIDE, _SIDE), Image.Resampling.LANCZOS)
    image.info.clear()
    return image


def _write(
    path: Path,
    frames: Sequence[Image.Image],
    order: Sequence[int],
    times: Sequence[int],
    milliseconds: int,
    mark: Mark | None,
) -> None:
    """Write frames in some order, each shown so many times; atomically."""
    kind = path.suffix[1:].upper()
    with atomic(path) as temporary:
        try:
            if kind == "MP4":
                shown = (frames[i] for i, count in zip(order, times, strict=True) for _ in range(count))
                _film(temporary, shown, frames[0].size, round(1000 / milliseconds), mark)
                return
            options: dict[str, Any] = {"duration": [count * milliseconds for count in times], "loop": 0}
            if kind == "GIF":
                frames = _indexed(frames)
                options |= {"comment": _comment(mark).encode(), "optimize": False, "disposal": 1}
            else:
                options |= {"quality": 88, "method": 4, "xmp": xmp_packet(mark).encode()}
            rest = (frames[i] for i in order[1:])
            frames[order[0]].save(temporary, kind, save_all=True, append_images=rest, **options)
        except ValueError as error:
            raise OutputError(f"{path}: cannot be written ({one_line(error)})", "another format") from None


def _comment(mark: Mark | None) -> str:
    return PROGRAM if mark is None else f"{PROGRAM}: {mark} by a neural network"


def _indexed(frames: Sequence[Image.Image]) -> list[Image.Image]:
    """Frames in the same 255 colours, dithered alike.

    The pattern of the dither stays where it is (Bayer's matrix): what does not change between frames does
    not change in the GIF either. Spreading the error, as is usual for single pictures, would make still
    parts flicker and the file larger.
    """
    side = max(1, min(128, *frames[0].size))
    chosen = sorted({round(i) for i in np.linspace(0, len(frames) - 1, _SAMPLED)})
    montage = Image.new("RGB", (side, side * len(chosen)))
    for row, number in enumerate(chosen):
        montage.paste(frames[number].resize((side, side), Image.Resampling.BOX), (0, side * row))
    # By coverage: by numbers alone, the white of an eye would get no colour of its own.
    palette = montage.quantize(_COLOURS, Image.Quantize.MAXCOVERAGE, kmeans=1)
    return [_dithered(frame, palette) for frame in frames]


def _dithered(frame: Image.Image, palette: Image.Image) -> Image.Image:
    pixels = np.asarray(frame, np.float32)
    bayer = _bayer()
    tiles = [-(-pixels.shape[0] // len(bayer)), -(-pixels.shape[1] // len(bayer))]
    moved = pixels + _DITHER * np.tile(bayer, tiles)[: pixels.shape[0], : pixels.shape[1], None]
    moved = moved.round().clip(0, 255).astype(np.uint8)
    return Image.fromarray(moved).quantize(palette=palette, dither=Image.Dither.NONE)


@cache
def _bayer() -> np.ndarray:
    """Bayer's matrix of 8 x 8 thresholds, from -0.5 to 0.5."""
    matrix = np.zeros((1, 1))
    for _ in range(3):
        matrix = np.block([[4 * matrix, 4 * matrix + 2], [4 * matrix + 3, 4 * matrix + 1]])
    return ((matrix + 0.5) / matrix.size - 0.5).astype(np.float32)


def _film(
    path: Path, frames: Iterable[Image.Image], size: tuple[int, int], rate: int, mark: Mark | None
) -> None:
    av = _av()
    try:
        with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
            container.metadata["comment"] = _comment(mark)
            stream = container.add_stream("libx264", rate=rate)
            stream.width, stream.height = (max(2, side - side % 2) for side in size)  # as 4:2:0 needs it
            stream.pix_fmt = "yuv420p"
            stream.options = {"crf": "18"}
            for frame in frames:
                pixels = np.ascontiguousarray(np.asarray(frame)[: stream.height, : stream.width])
                for packet in stream.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")):
                    container.mux(packet)
            for packet in stream.encode():
                container.mux(packet)
    except av.FFmpegError as error:
        raise OutputError(
            f"{path}: cannot be written as MP4 ({one_line(error)})", "a .gif or .webp"
        ) from None


def _av():  # type: ignore[no-untyped-def]  # noqa: ANN202 (a module)
    try:
        import av
    except ImportError:
        raise UsageError(
            "writing .mp4 needs the package av", 'pip install "styleclip-cli[video]", or a .gif or .webp'
        ) from None
    return av
