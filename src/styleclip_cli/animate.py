"""Frames -> a moving picture, as GIF, WebP or MP4."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from styleclip_cli.atomic import atomic
from styleclip_cli.errors import OutputError, UsageError, one_line

_SIDE = 512
_MILLISECONDS = 60
_HOLD = 16
"""Times that the last frame is shown."""


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
    shown = [_small(frame) for frame in frames]
    with atomic(path) as temporary:
        try:
            if path.suffix.lower() == ".mp4":
                _film(temporary, [*shown, *[shown[-1]] * _HOLD])
            else:
                times = [_MILLISECONDS] * (len(shown) - 1) + [_MILLISECONDS * _HOLD]
                kind = path.suffix[1:].upper()
                shown[0].save(temporary, kind, save_all=True, append_images=shown[1:], duration=times, loop=0)
        except ValueError as error:
            raise OutputError(f"{path}: cannot be written ({one_line(error)})", "another format") from None


def _small(frame: Image.Image) -> Image.Image:
    frame = frame.convert("RGB")
    frame.thumbnail((_SIDE, _SIDE), Image.Resampling.LANCZOS)
    return frame


def _film(path: Path, frames: Sequence[Image.Image]) -> None:
    av = _av()
    try:
        with av.open(str(path), "w", format="mp4") as container:
            stream = container.add_stream("libx264", rate=round(1000 / _MILLISECONDS))
            stream.width, stream.height = (side - side % 2 for side in frames[0].size)  # as 4:2:0 needs it
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
