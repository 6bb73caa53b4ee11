"""Observe the optimization of latents: progress, Ctrl-C, and images of its steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from math import gcd
from pathlib import Path
from typing import TYPE_CHECKING

from styleclip_cli.errors import OutputError, UsageError
from styleclip_cli.job.outputs import check_outputs
from styleclip_cli.job.request import EditRequest
from styleclip_cli.machine.interrupt import Interruptible
from styleclip_cli.machine.progress import Advance, Progress, Tell

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from styleclip_cli.edits.optimize import Watch


@dataclass(frozen=True)
class Film:
    """Which steps of the optimization of a face are saved.

    Attributes:
        every: Steps between images that are written; 0 for none.
        animation: Path of the animation; None for none.
    """

    every: int
    animation: Path | None


def plan_film(request: EditRequest, paths: Sequence[Path], overwrite: bool) -> Film | None:
    """Determine which steps are saved; None for none.

    Raises:
        UsageError: If it cannot be, or there are several faces.
        OutputError: If something is in the way.
    """
    every, animation = request.optimize.save_steps, request.animation
    if not every and animation is None:
        return None
    if request.face == "all":
        raise UsageError("--save-steps and --animation show one face", "--face 1")
    if animation is not None:
        if len(paths) > 1:
            raise UsageError(f"--animation shows one input, not {len(paths)}", "--save-steps 10 for each")
        if any(animation.absolute() == path.absolute() for path in paths):
            raise UsageError(f"{animation}: is the result already", "another name for --animation")
        from styleclip_cli.pictures.animate import check_animation

        check_animation(animation)
        check_outputs([animation], overwrite=overwrite)
    for path in paths if every else ():
        folder = steps_folder(path)
        check_outputs([folder / "00000.png"], overwrite=True)
        if folder.exists() and not overwrite:
            raise OutputError(f"{folder}: exists already", "--overwrite, or another --out")
    return Film(every, animation)


def steps_folder(path: Path) -> Path:
    """Folder of the steps of a result."""
    return path.with_name(f"{path.stem}_steps")


class Watcher:
    """Reports the progress of an optimization, handles Ctrl-C, and keeps images of its steps.

    Args:
        progress: Reports the loss.
        tell: Takes messages.
        stop: Handles Ctrl-C.
        film: Which images are kept; None for none.
    """

    def __init__(self, progress: Progress, tell: Tell, stop: Interruptible, film: Film | None) -> None:
        self._progress, self._tell, self._stop, self._film = progress, tell, stop, film
        self._frames: dict[int, Image.Image] = {}
        self._inside = ExitStack()
        self._advance: Advance | None = None
        self._done = (0, 0)

    def watch(self, steps: int) -> Watch:
        """The callbacks for an optimization of so many steps."""
        from styleclip_cli.edits.optimize import Watch

        spacing = 0
        if self._film is not None:
            smooth = max(1, steps // 60) if self._film.animation is not None else 0
            every = self._film.every
            spacing = gcd(smooth, every) if smooth and every else smooth or every
        return Watch(self._report, self._stop, self._keep, spacing)

    def __enter__(self) -> Watcher:
        self._frames.clear()
        self._inside.enter_context(self._stop)
        self._advance = self._inside.enter_context(self._progress("optimizing"))
        return self

    def __exit__(self, *error: object) -> None:
        self._inside.close()
        if self._stop() and error[0] is None:
            done, steps = self._done
            self._tell(f"interrupted after {done} of {steps} steps; what was found so far is kept")

    @property
    def cut_short(self) -> int | None:
        """After how many steps it was interrupted; None if it was not."""
        return self._done[0] if self._stop() and self._done[0] < self._done[1] else None

    def _report(self, done: int, total: int, note: str = "") -> None:
        self._done = done, total
        if self._advance is not None:
            self._advance(done, total, note)

    def _keep(self, step: int, pictures: Tensor) -> None:
        from styleclip_cli.save import to_image

        self._frames[step] = to_image(pictures[0])

    def frames(self) -> dict[int, Image.Image]:
        """The images of the optimization of the current results, by step."""
        return dict(self._frames)

    def write(self, path: Path, frames: Mapping[int, Image.Image]) -> list[Path]:
        """Write the images of the optimization of a result.

        Args:
            path: Path of the result.
            frames: From `frames`.

        Returns:
            What was written.

        Raises:
            OutputError: If they cannot be written.
        """
        if self._film is None:
            return []
        from styleclip_cli.pictures.animate import save_animation
        from styleclip_cli.save import save_image

        written = []
        if self._film.every:
            folder = steps_folder(path)
            for earlier in folder.glob("[0-9]" * 5 + ".png"):
                earlier.unlink(missing_ok=True)
            for step, picture in frames.items():
                if step % self._film.every == 0 or step == max(frames):
                    save_image(folder / f"{step:05d}.png", picture, mark="generated")
            written.append(folder)
        if self._film.animation is not None:
            save_animation(self._film.animation, list(frames.values()))
            written.append(self._film.animation)
        return written
