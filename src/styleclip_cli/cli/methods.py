"""The three methods of `styleclip edit`: their options, which of them go together, and the edit they make."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from math import gcd
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast, get_args

import typer

from styleclip_cli.cli import completion
from styleclip_cli.cli import inputs as io
from styleclip_cli.cli.interrupt import Interruptible
from styleclip_cli.cli.report import Reporter
from styleclip_cli.errors import OutputError, UsageError
from styleclip_cli.machine.progress import Advance
from styleclip_cli.recipe import MethodName
from styleclip_cli.settings import LEVELS

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from styleclip_cli.edits.optimize import Watch
    from styleclip_cli.recipe import Recipe
    from styleclip_cli.settings import OptimizeSettings

_OPTIMIZE = "Optimize"

Method = Annotated[
    str | None,
    typer.Option(
        "--method",
        metavar="global|optimize|mapper",
        help="global: one direction for all faces; optimize: each face by gradient descent; mapper: networks "
        "trained for one sentence (--mapper).",
        show_default="global",
        rich_help_panel="Edit",
    ),
]
Mapper = Annotated[
    str | None,
    typer.Option(
        "--mapper",
        metavar="NAME|FILE",
        autocompletion=completion.mappers,
        help="A mapper from train-mapper, or a published one (see styleclip mappers).",
        show_default=False,
        rich_help_panel="Edit",
    ),
]
Free = Annotated[
    bool,
    typer.Option(
        "--free",
        help="Optimize without holding on to a face: from the average one, if no INPUT is given.",
        rich_help_panel=_OPTIMIZE,
    ),
]
Official = Annotated[
    bool,
    typer.Option(
        "--official",
        help="Optimize exactly as the paper's code by default: 300 steps, no identity loss, the prompt as it "
        "stands.",
        rich_help_panel=_OPTIMIZE,
    ),
]
Space = Annotated[
    str | None,
    typer.Option(
        "--space",
        metavar="w+|s",
        help="What is optimized: W+, or the style channels.",
        show_default="w+",
        rich_help_panel=_OPTIMIZE,
    ),
]
Iterations = Annotated[
    int | None,
    typer.Option(
        "--iterations",
        min=1,
        max=100_000,
        help="Steps of optimization.",
        show_default="the pack's",
        rich_help_panel=_OPTIMIZE,
    ),
]
LearningRate = Annotated[
    float | None,
    typer.Option("--lr", help="Step size.", show_default="the pack's", rich_help_panel=_OPTIMIZE),
]
LambdaL2 = Annotated[
    float | None,
    typer.Option(
        "--lambda-l2",
        help="How much the latent is held to where it was; less changes more.",
        show_default="the pack's",
        rich_help_panel=_OPTIMIZE,
    ),
]
LambdaId = Annotated[
    float | None,
    typer.Option(
        "--lambda-id",
        help="How much the face must stay the same person.",
        show_default="the pack's",
        rich_help_panel=_OPTIMIZE,
    ),
]
Crops = Annotated[
    int | None,
    typer.Option(
        "--crops",
        min=0,
        max=64,
        help="Show CLIP so many random crops of each picture in the place of the whole.",
        show_default="the pack's",
        rich_help_panel=_OPTIMIZE,
    ),
]
Batch = Annotated[
    int | None,
    typer.Option(
        "--batch",
        min=1,
        max=1024,
        help="Faces optimized at once.",
        show_default="the pack's",
        rich_help_panel=_OPTIMIZE,
    ),
]
SaveSteps = Annotated[
    int,
    typer.Option(
        "--save-steps",
        metavar="K",
        min=0,
        help="Write the picture of every Kth step, into a folder beside the result.",
        show_default="none",
        rich_help_panel=_OPTIMIZE,
    ),
]
Animation = Annotated[
    str | None,
    typer.Option(
        "--animation",
        metavar="FILE",
        help="Also write the way there and back as .gif, .webp or .mp4, for one input; of an optimization "
        "the way it took.",
        show_default=False,
        rich_help_panel="Pictures",
    ),
]


@dataclass(frozen=True)
class Optimizing:
    """Options of optimization, as given; None for what was not."""

    space: str | None = None
    iterations: int | None = None
    lr: float | None = None
    lambda_l2: float | None = None
    lambda_id: float | None = None
    crops: int | None = None
    batch: int | None = None
    layers: str | None = None
    free: bool = False
    official: bool = False
    seed: int | None = None
    save_steps: int = 0
    animation: str | None = None

    def given(self) -> list[str]:
        """Names of the options that were given, but for --layers, which other methods have too."""
        values = vars(self)
        shared = ("layers", "seed")
        return [f"--{name.replace('_', '-')}" for name in values if name not in shared and values[name]]

    def check(self) -> None:
        """Refuse what makes no sense.

        Raises:
            UsageError: If it does not.
        """
        if self.space not in (None, "w+", "s"):
            raise UsageError(f"unknown space {self.space!r}", "--space w+ or s")
        for name, value in (
            ("--lr", self.lr),
            ("--lambda-l2", self.lambda_l2),
            ("--lambda-id", self.lambda_id),
        ):
            if value is not None and not 0 <= value < 1e6:
                raise UsageError(f"{name} must be a number from 0 up, not {value}")
        if self.lr == 0:
            raise UsageError("--lr 0 would move nothing", "a number above 0")
        parse_layers(self.layers)

    def after(self, before: Recipe) -> Optimizing:
        """These laid over what a recipe says."""
        return replace(
            self,
            space=self.space or before.space,
            iterations=self.iterations or before.iterations,
            lr=before.learning_rate if self.lr is None else self.lr,
            lambda_l2=before.lambda_l2 if self.lambda_l2 is None else self.lambda_l2,
            lambda_id=before.lambda_id if self.lambda_id is None else self.lambda_id,
            crops=before.crops if self.crops is None else self.crops,
            official=self.official or bool(before.official),
            free=self.free or bool(before.free),
        )

    def settings(self, usual: OptimizeSettings, num_ws: int) -> OptimizeSettings:
        """The pack's settings, or the official ones, with these laid over them.

        Args:
            usual: The pack's.
            num_ws: W+ vectors of the generator.

        Raises:
            UsageError: If the generator has no such layers.
        """
        from styleclip_cli.settings import OFFICIAL_OPTIMIZE

        layers = parse_layers(self.layers, num_ws)
        chosen: dict[str, Any] = {
            "space": self.space,
            "steps": self.iterations,
            "learning_rate": self.lr,
            "lambda_l2": self.lambda_l2,
            "lambda_id": self.lambda_id,
            "crops": self.crops,
            "batch": self.batch,
            "layers": layers,
            "seed": self.seed,
        }
        if self.free:  # the text alone counts (official free_generation)
            chosen |= {"lambda_l2": self.lambda_l2 or 0.0, "lambda_id": self.lambda_id or 0.0}
        start = OFFICIAL_OPTIMIZE if self.official else usual
        return replace(start, **{name: value for name, value in chosen.items() if value is not None})


def check_method(text: str | None, mapper: str | None, direction: object) -> MethodName:
    """Which method is meant.

    Raises:
        UsageError: If it is unknown, or does not go with the other options.
    """
    if text is not None and text not in get_args(MethodName):
        raise UsageError(f"unknown method {text!r}", "--method global, optimize or mapper")
    method = cast("MethodName", text or ("mapper" if mapper is not None else "global"))
    if (mapper is not None) != (method == "mapper"):
        hint = "--mapper NAME (see styleclip mappers)" if mapper is None else "leave out --method or --mapper"
        raise UsageError(f"--method {method} {'needs' if mapper is None else 'takes no'} --mapper", hint)
    if direction is not None and method != "global":
        raise UsageError(f"--direction does not go with --method {method}", "give one of them")
    return method


def refuse(method: str, names: list[str]) -> None:
    """Refuse options that a method has no use for.

    Raises:
        UsageError: If there are any.
    """
    if names:
        raise UsageError(f"{', '.join(names)}: not for --method {method}", "leave them out")


def parse_layers(text: str | None, num_ws: int | None = None) -> tuple[int, ...] | None:
    """Read W+ layers: "coarse,medium", "0,1,4-7", "all".

    Args:
        text: As given.
        num_ws: W+ vectors of the generator; None if that is not known yet.

    Returns:
        Their numbers; None for all.

    Raises:
        UsageError: If they are none, or the generator has no such layers.
    """
    if text is None or text == "all":
        return None
    found: set[int] = set()
    last = 64 if num_ws is None else num_ws
    for word in (part.strip() for part in text.split(",")):
        if word in LEVELS:
            first, end = LEVELS[word]
            found |= set(range(first, last if end is None else min(end, last)))
            continue
        match = re.fullmatch(r"(\d{1,2})(?:-(\d{1,2}))?", word)
        if match is None:
            raise UsageError(f"unknown layers {word!r}", "--layers coarse,medium,fine, or numbers: 0,1,4-7")
        chosen = range(int(match[1]), int(match[2] or match[1]) + 1)
        if not chosen or (num_ws is not None and chosen[-1] >= num_ws):
            raise UsageError(f"no layers {word}", f"0 to {last - 1}")
        found |= set(chosen)
    return tuple(sorted(found))


def find_mapper(models: str, name: str) -> None:
    """Refuse a mapper that is not there, before any network is loaded.

    Raises:
        BadInputError: If there is none of this name.
        WeightsError: If it has to be fetched first.
    """
    from styleclip_cli.weights import mappers
    from styleclip_cli.weights.packs import find_pack

    mappers.find(find_pack(models), name)


@dataclass
class Film:
    """What is kept of the way of one face.

    Attributes:
        every: Steps between pictures that are written; 0 for none.
        animation: Where the moving picture goes; None for none.
    """

    every: int
    animation: Path | None


def plan_frames(wanted: Optimizing, paths: Sequence[Path], face: str, overwrite: bool) -> Film | None:
    """Settle what is written of the way there.

    Raises:
        UsageError: If it cannot be, or there are several faces.
        OutputError: If something is in the way.
    """
    if not wanted.save_steps and wanted.animation is None:
        return None
    if face == "all":
        raise UsageError("--save-steps and --animation show one face", "--face 1")
    animation = None
    if wanted.animation is not None:
        if len(paths) > 1:
            raise UsageError(f"--animation shows one input, not {len(paths)}", "--save-steps 10 for each")
        animation = Path(wanted.animation)
        if any(animation.absolute() == path.absolute() for path in paths):
            raise UsageError(f"{animation}: is the result already", "another name for --animation")
        from styleclip_cli.pictures.animate import check_animation

        check_animation(animation)
        io.check_outputs([animation], overwrite=overwrite)
    if wanted.save_steps:
        for path in paths:
            io.check_outputs([steps_folder(path) / "00000.png"], overwrite=True)
            folder = steps_folder(path)
            if folder.exists() and not overwrite:
                raise OutputError(f"{folder}: exists already", "--overwrite, or another --out")
    return Film(wanted.save_steps, animation)


def steps_folder(path: Path) -> Path:
    """Where the steps of a result go."""
    return path.with_name(f"{path.stem}_steps")


class Onlooker:
    """Tells how an optimization goes, hears Ctrl-C, and keeps pictures of the way.

    Args:
        reporter: Told the loss.
        stop: Hears Ctrl-C.
        film: Which pictures are kept; None for none.
    """

    def __init__(self, reporter: Reporter, stop: Interruptible, film: Film | None) -> None:
        self._reporter, self._stop, self._film = reporter, stop, film
        self._frames: dict[int, Image.Image] = {}
        self._inside = ExitStack()
        self._advance: Advance | None = None
        self._done = (0, 0)
        self._spacing = 0

    def watch(self, steps: int) -> Watch:
        """What an optimization of so many steps is given."""
        from styleclip_cli.edits.optimize import Watch

        if self._film is not None:
            smooth = max(1, steps // 60) if self._film.animation is not None else 0
            every = self._film.every
            self._spacing = gcd(smooth, every) if smooth and every else smooth or every
        return Watch(self._tell, self._stop, self._keep, self._spacing)

    def __enter__(self) -> Onlooker:
        self._frames.clear()
        self._inside.enter_context(self._stop)
        self._advance = self._inside.enter_context(self._reporter.progress("optimizing"))
        return self

    def __exit__(self, *error: object) -> None:
        self._inside.close()
        if self._stop() and error[0] is None:
            done, steps = self._done
            self._reporter.note(f"interrupted after {done} of {steps} steps; what was found so far is kept")

    @property
    def stopped(self) -> bool:
        """Whether Ctrl-C was heard."""
        return self._stop()

    @property
    def cut_short(self) -> int | None:
        """After how many steps it was interrupted; None if it was not."""
        return self._done[0] if self._stop() and self._done[0] < self._done[1] else None

    def _tell(self, done: int, total: int, note: str = "") -> None:
        self._done = done, total
        if self._advance is not None:
            self._advance(done, total, note)

    def _keep(self, step: int, pictures: Tensor) -> None:
        from styleclip_cli.save import to_image

        self._frames[step] = to_image(pictures[0])

    def frames(self) -> dict[int, Image.Image]:
        """The pictures of the way to the results there are now, by step."""
        return dict(self._frames)

    def write(self, path: Path, frames: Mapping[int, Image.Image]) -> None:
        """Write the pictures of the way to a result.

        Args:
            path: Where the result is.
            frames: As `frames` gave them.

        Raises:
            OutputError: If they cannot be written.
        """
        if self._film is None:
            return
        from styleclip_cli.pictures.animate import save_animation
        from styleclip_cli.save import save_image

        if self._film.every:
            folder = steps_folder(path)
            for earlier in folder.glob("[0-9]" * 5 + ".png"):
                earlier.unlink(missing_ok=True)
            for step, picture in frames.items():
                if step % self._film.every == 0 or step == max(frames):
                    save_image(folder / f"{step:05d}.png", picture, mark="generated")
            self._reporter.result(str(folder))
        if self._film.animation is not None:
            save_animation(self._film.animation, list(frames.values()))
            self._reporter.result(str(self._film.animation))
