"""`styleclip train-mapper`: networks that make the edit of one prompt, for any face, in one forward pass."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from styleclip_cli.cli import options
from styleclip_cli.cli.packs import choose
from styleclip_cli.cli.report import Reporter
from styleclip_cli.errors import BadInputError, OutputError, UsageError
from styleclip_cli.job import values
from styleclip_cli.job.inputs import Item, expand
from styleclip_cli.job.outputs import check_outputs
from styleclip_cli.job.recipes import pack_of_recipe
from styleclip_cli.machine.interrupt import Interruptible, Stopped
from styleclip_cli.machine.shards import own_device, rank
from styleclip_cli.settings import (
    DEFAULT_NEUTRAL,
    OFFICIAL_TRAINING,
    Level,
    MapperKind,
    MapperNorm,
    OptimizerName,
    Precision,
    TrainingSettings,
)
from styleclip_cli.weights.mappers import slug

if TYPE_CHECKING:
    from torch import Tensor

    from styleclip_cli.engine import Engine
    from styleclip_cli.training.checkpoint import Checkpoint

_of_mapper = partial(typer.Option, rich_help_panel="Mapper")
_of_training = partial(typer.Option, rich_help_panel="Training")


def train_mapper(
    prompt: Annotated[
        str | None,
        options.of_edit(
            "--prompt",
            "-p",
            help='What faces should become: "a face with glasses", or only what changes: "with glasses".',
            show_default=False,
        ),
    ] = None,
    neutral: options.Neutral = None,
    literal: options.Literal = False,
    levels: Annotated[
        str | None,
        _of_mapper(
            "--levels",
            metavar="coarse,medium,fine",
            help="Which W+ layers may change; leave out fine to keep colours.",
            show_default="all",
        ),
    ] = None,
    kind: Annotated[
        MapperKind | None,
        _of_mapper(
            "--kind",
            help="levels: a network for each level of W+; single: one for all of W+; styles: one for each "
            "style layer.",
            show_default="levels",
        ),
    ] = None,
    norm: Annotated[
        MapperNorm | None,
        _of_mapper(
            "--norm",
            help="Axis over which the networks normalise their input; the published mappers use layers.",
            show_default="channels",
        ),
    ] = None,
    latents: Annotated[
        list[str] | None,
        _of_training(
            "--latents",
            metavar="INPUT",
            help="Faces to train on: latents (.npz, train_faces.pt), photos, folders of photos, seeds. "
            "May be repeated.",
            show_default="sampled faces",
        ),
    ] = None,
    validation: Annotated[
        list[str] | None,
        _of_training(
            "--validation",
            metavar="INPUT",
            help="Faces to validate on, of the same kinds.",
            show_default="held out from the others",
        ),
    ] = None,
    steps: Annotated[
        int | None,
        _of_training("--steps", min=1, max=10**7, help="Training steps.", show_default="the pack's"),
    ] = None,
    batch: Annotated[
        int | None,
        _of_training(
            "--batch",
            min=1,
            max=4096,
            help="Faces per step, over all processes.",
            show_default="the pack's",
        ),
    ] = None,
    lr: Annotated[
        float | None, _of_training("--lr", help="Learning rate.", show_default="the pack's")
    ] = None,
    optimizer: Annotated[
        OptimizerName | None,
        _of_training(
            "--optimizer",
            help="Optimizer; ranger is the paper's, and needs the extra \\[train].",
            show_default="the pack's",
        ),
    ] = None,
    lambda_clip: Annotated[
        float | None,
        _of_training("--lambda-clip", help="Weight of the CLIP loss.", show_default="the pack's"),
    ] = None,
    lambda_id: Annotated[
        float | None,
        _of_training("--lambda-id", help="Weight of the identity loss.", show_default="the pack's"),
    ] = None,
    lambda_l2: Annotated[
        float | None,
        _of_training(
            "--lambda-l2",
            help="Weight of the offset's mean square; a lower weight allows larger changes.",
            show_default="the pack's",
        ),
    ] = None,
    truncation: Annotated[
        float | None,
        _of_training("--truncation", help="Truncation psi of the sampled faces.", show_default="the pack's"),
    ] = None,
    crops: Annotated[
        int | None,
        _of_training(
            "--crops",
            min=0,
            max=64,
            help="Number of random crops that CLIP sees instead of the whole image; 0 for the whole.",
            show_default="none",
        ),
    ] = None,
    validate_every: Annotated[
        int | None,
        _of_training(
            "--validate-every",
            metavar="STEPS",
            min=1,
            help="Steps between validations; each also writes an image and a checkpoint.",
            show_default="the pack's",
        ),
    ] = None,
    official: Annotated[
        bool,
        _of_training(
            "--official",
            help="Use the defaults of the official code: 50,000 steps of Ranger, the prompt as it is.",
        ),
    ] = False,
    precision: Annotated[
        Precision | None,
        _of_training("--precision", help="Precision of the generator and the losses.", show_default="fp32"),
    ] = None,
    compile: Annotated[
        bool,
        _of_training(
            "--compile", help="Compile the generator with torch.compile: faster steps after a slow first one."
        ),
    ] = False,
    out: Annotated[
        Path | None,
        options.of_output(
            "--out",
            "-o",
            metavar="FOLDER",
            help="Folder of the run.",
            show_default="next to the weights, named after the prompt",
        ),
    ] = None,
    resume: Annotated[
        Path | None,
        options.of_output(
            "--resume",
            metavar="FOLDER",
            help="Resume a stopped run exactly where it was; only --steps may change.",
            show_default=False,
        ),
    ] = None,
    overwrite: options.Overwrite = False,
    models: options.Models = None,
    offline: options.Offline = False,
    device: options.Device = "auto",
    no_kernels: options.NoKernels = False,
    seed: Annotated[
        int | None,
        options.of_common(
            "--seed", min=0, max=2**32 - 1, help="Seed of all random numbers.", show_default="0"
        ),
    ] = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Train a mapper for one prompt; `styleclip edit --mapper` then applies it to any face.

    Training can be stopped at any time (Ctrl-C) and resumed (--resume). With several processes:
    torchrun --nproc-per-node 2 -m styleclip_cli train-mapper ...

    Example: styleclip train-mapper --prompt "with glasses" --models toy
    """
    presents = rank() == 0
    reporter = Reporter(quiet or not presents)
    if (prompt is None) == (resume is None):
        raise UsageError("say what to train, by either --prompt or --resume", '--prompt "with glasses"')
    values.check_device(device)
    chosen: dict[str, Any] = {
        "levels": _levels(levels),
        "kind": kind,
        "norm": norm,
        "batch": batch,
        "learning_rate": _above("--lr", lr),
        "optimizer": optimizer,
        "lambda_clip": _above("--lambda-clip", lambda_clip, zero=True),
        "lambda_id": _above("--lambda-id", lambda_id, zero=True),
        "lambda_l2": _above("--lambda-l2", lambda_l2, zero=True),
        "truncation_psi": values.check_finite("--truncation", truncation),
        "crops": crops,
        "validate_every": validate_every,
        "precision": precision,
        "compile": compile or None,
        "seed": seed,
    }
    chosen = {name: value for name, value in chosen.items() if value is not None}
    if levels is not None and kind not in (None, "levels"):
        raise UsageError(f"--levels does not go with --kind {kind}", "leave out one of them")
    checkpoint: Checkpoint | None = None
    if resume is not None:
        if chosen or official or latents or validation or out or literal or neutral or overwrite:
            raise UsageError(
                "--resume goes on as the run began; only --steps may change", "leave out the rest"
            )
        from styleclip_cli.training.checkpoint import Checkpoint as Saved

        checkpoint = Saved.load(resume)
        models = pack_of_recipe(models, checkpoint.task.models)
    if validation and not latents:
        raise UsageError("--validation needs --latents", "--latents FILE")
    items = expand(latents) if latents else []
    apart = expand(validation) if validation else []
    for item in (*items, *apart):
        if item.error is not None:
            raise item.error

    models = choose(models, reporter, offline)
    folder = resume or out or _usual_folder(models, prompt or "")
    if resume is None and presents:
        _check_folder(folder, overwrite)

    from styleclip_cli.edits.prompts import resolve_prompt
    from styleclip_cli.engine import Engine
    from styleclip_cli.fingerprints import same
    from styleclip_cli.machine.distributed import world
    from styleclip_cli.training.checkpoint import Task
    from styleclip_cli.training.run import clear, prepare, train

    began = time.monotonic()
    engine = Engine(models, device=own_device(device), progress=reporter.progress)
    fingerprint = engine.pack.fingerprint_of("generator")
    if checkpoint is not None:
        task = checkpoint.task
        if not same(task.generator, fingerprint):
            raise BadInputError(f"{folder}: trained with another generator", "the --models it began with")
        if steps is not None:
            task = replace(task, settings=replace(task.settings, steps=steps))
        items, apart = (expand(list(texts)) if texts else [] for texts in (task.latents, task.validation))
    else:
        assert prompt is not None
        start = DEFAULT_NEUTRAL if neutral is None else neutral
        target, start = resolve_prompt(prompt, start, literal or official)
        usual = OFFICIAL_TRAINING if official else engine.training_settings
        settings: TrainingSettings = replace(usual, **chosen)
        if steps is not None:
            settings = replace(settings, steps=steps)
        named, kept = (
            tuple(str(Path(t).resolve()) if Path(t).exists() else t for t in texts or ())
            for texts in (latents, validation)
        )
        here = str(Path(models).resolve()) if Path(models).name != models else models
        task = Task(target, start, here, fingerprint, named, kept, settings)
    reporter.note(f'target "{task.target}", neutral "{task.neutral}", {task.settings.steps} steps')
    faces = _faces(engine, items, reporter) if items else None
    others = _faces(engine, apart, reporter) if apart else None
    if others is not None and checkpoint is None:
        task = replace(task, settings=replace(task.settings, n_validation=min(len(others), 1000)))
    stop = Interruptible(terminating=True)
    with world(engine.device) as together:
        trainer = prepare(engine.networks, task, together, faces, others, checkpoint)
        if trainer.done and presents:
            reporter.note(f"going on after {trainer.done} steps")
        history = list(checkpoint.history) if checkpoint is not None else []
        with _alone(folder, presents), stop, reporter.progress("training") as advance:
            if resume is None and presents:
                clear(folder)
            outcome = train(trainer, task, folder, history, together, advance, stop)
    if outcome.stopped:
        reporter.note(
            f"interrupted after {outcome.done} of {task.settings.steps} steps; "
            f"go on with: styleclip train-mapper --resume {folder}"
        )
        raise Stopped(stop.number)
    if not presents:
        return
    best = outcome.best
    reporter.result(
        f"{folder}  {outcome.done} steps  loss {best['loss']:.4f} after {best['step']:.0f}  "
        f"{time.monotonic() - began:.1f} s"
    )


def _levels(text: str | None) -> tuple[Level, ...] | None:
    if text is None:
        return None
    found = [word.strip() for word in text.split(",")]
    unknown = [word for word in found if word not in get_args(Level)]
    if unknown:
        raise UsageError(f"unknown level {unknown[0]!r}", "--levels coarse,medium,fine, or some of them")
    return tuple(level for level in get_args(Level) if level in found)


def _above(name: str, value: float | None, zero: bool = False) -> float | None:
    if value is not None and not (0 < value < 1e6 or (zero and value == 0)):
        raise UsageError(f"{name} must be a number above 0, not {value}")
    return value


def _usual_folder(models: str, prompt: str) -> Path:
    from styleclip_cli.weights import mappers
    from styleclip_cli.weights.packs import find_pack

    return mappers.folder_of(find_pack(models), slug(prompt))


def _check_folder(folder: Path, overwrite: bool) -> None:
    """Make sure that a run can begin here.

    Raises:
        OutputError: If there is one already, or nothing can be written.
    """
    check_outputs([folder / "log.jsonl"], overwrite=True)
    if folder.is_dir() and any(folder.iterdir()) and not overwrite:
        raise OutputError(f"{folder}: exists already", f"--resume {folder}, --overwrite, or another --out")


@contextmanager
def _alone(folder: Path, presents: bool) -> Iterator[None]:
    """Keep other runs out of a folder while this one writes there.

    Raises:
        OutputError: If another one does.
    """
    import filelock

    if not presents:
        yield
        return
    lock = filelock.FileLock(folder / ".lock")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except filelock.Timeout:
        raise OutputError(f"{folder}: another run is writing here", "wait for it, or another --out") from None
    except OSError as error:
        raise OutputError(
            f"{folder}: cannot be written to ({error.strerror or error})", "another --out"
        ) from None
    try:
        yield
    finally:
        lock.release()


def _faces(engine: Engine, items: list[Item], reporter: Reporter) -> Tensor:
    """W+ of all inputs; photos are inverted, which the cache keeps."""
    import torch

    from styleclip_cli.job.faces import latent_of, open_photo
    from styleclip_cli.photo.portrait import find_faces

    found = []
    with reporter.progress("finding faces") as advance:
        for done, item in enumerate(items):
            advance(done, len(items))
            photo = open_photo(item, reporter.note)
            if photo is None:
                face = latent_of(engine, item)
                if face.style_offset is not None or face.alone:
                    raise BadInputError(
                        f"{item.name}: edited in StyleSpace, or tuned: W+ alone is not what it shows",
                        "latents of the encoder, or of --inverter refine",
                    )
                found.append(face.w_plus)
            else:
                found += [one.face.w_plus for one in find_faces(engine, photo.image)]
    return torch.cat(found)
