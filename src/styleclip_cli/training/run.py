"""A whole training run: steps, validations, pictures and checkpoints in a folder, to be gone on with.

FOLDER/
mapper.safetensors       the mapper with the lowest validation loss: what `edit --mapper` takes
checkpoint.safetensors   the state after the last validation
log.jsonl                losses
images/000200.png        validation faces before and after
tensorboard/             the same losses, where TensorBoard is installed
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from styleclip_cli.edits.mapper import TrainedMapper
from styleclip_cli.errors import BadInputError, OutputError, UsageError, one_line
from styleclip_cli.machine.distributed import World
from styleclip_cli.machine.progress import Advance, nothing
from styleclip_cli.networks import Networks
from styleclip_cli.pictures.sheets import contact_sheet
from styleclip_cli.save import save_image
from styleclip_cli.training import checkpoint, journal
from styleclip_cli.training.checkpoint import Checkpoint, Task
from styleclip_cli.training.data import Given, Latents, Sampled
from styleclip_cli.training.journal import Journal
from styleclip_cli.training.trainer import Trainer
from styleclip_cli.weights.mappers import FILE as MAPPER

_TELL_EVERY = 10
_IMAGES = "images"


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        done: Steps done.
        history: Each validation's step, loss and terms.
        stopped: Whether it was asked to end early.
    """

    done: int
    history: list[dict[str, float]]
    stopped: bool

    @property
    def best(self) -> dict[str, float]:
        """The validation with the lowest loss; the one before the first step does not count."""
        return min(self.history[1:] or self.history, key=lambda entry: entry["loss"])


def train(
    trainer: Trainer,
    task: Task,
    folder: Path,
    history: list[dict[str, float]],
    world: World,
    advance: Advance = nothing,
    stop: Callable[[], bool] = lambda: False,
) -> Outcome:
    """Train until all steps are done, or until told to stop; nothing that was done is lost.

    Args:
        trainer: New, or restored.
        task: What the run is about, for the checkpoint.
        folder: Where everything is written, by the first process.
        history: Validations so far; the next ones are added.
        world: The processes that train it together.
        advance: Takes steps done, steps in all, and the losses.
        stop: Asked after each step.

    Raises:
        UsageError: If the mapper has values that are not finite.
        OutputError: If something cannot be written.
    """
    settings = task.settings
    log = Journal(folder, trainer.done) if world.is_main else None
    stopped = False

    def rest(look: bool) -> None:
        """Look at what was learned, and keep it; only keep it where a run that goes on would not look."""
        if not world.is_main:
            return
        assert log is not None
        if not trainer.finite:
            raise UsageError(
                f"the mapper has values that are not finite after {trainer.done} steps", "a lower --lr"
            )
        if look and (not history or history[-1]["step"] != trainer.done):
            terms = trainer.validate()
            best = min((entry["loss"] for entry in history[1:]), default=float("inf"))
            history.append({"step": trainer.done, **terms})
            log.write(trainer.done, "validation", terms)
            before, after = trainer.pictures()
            sheet = contact_sheet([list(before), list(after)], ["before", "after"])
            save_image(folder / _IMAGES / f"{trainer.done:06d}.png", sheet, mark="generated")
            if terms["loss"] < best and trainer.done:
                notes = {"steps": str(trainer.done), "loss": f"{terms['loss']:.5f}"}
                TrainedMapper(
                    trainer.mapper,
                    task.target,
                    task.neutral,
                    settings.strength,
                    task.generator,
                    Path(task.models).name,  # where a pack lies is nobody's business
                    notes,
                ).save(folder / MAPPER)
        Checkpoint(task, *trainer.state(), history).save(folder)

    try:
        if trainer.done == 0:
            rest(look=True)
        while trainer.done < settings.steps and not stopped:
            terms = trainer.step()
            if log is not None and (trainer.done % _TELL_EVERY == 0 or trainer.done == settings.steps):
                log.write(trainer.done, "train", terms)
            told = "  ".join(f"{name} {value:.4f}" for name, value in terms.items())
            advance(trainer.done, settings.steps, told)
            stopped = world.any(stop())
            due = trainer.done % settings.validate_every == 0 or trainer.done == settings.steps
            if due or stopped:
                rest(due)
    finally:
        if log is not None:
            log.close()
    world.wait()
    return Outcome(trainer.done, history, stopped and trainer.done < settings.steps)


def clear(folder: Path) -> None:
    """Remove an earlier run from a folder, and nothing else that is there.

    Raises:
        OutputError: If it cannot be removed.
    """
    try:
        for name in (MAPPER, checkpoint.FILE, journal.FILE):
            (folder / name).unlink(missing_ok=True)
        for picture in (folder / _IMAGES).glob("*.png"):
            picture.unlink()
        for events in (folder / journal.BOARD).glob("events.out.*"):
            events.unlink()
    except OSError as error:
        raise OutputError(f"{folder}: cannot be cleared ({error.strerror})", "another --out") from None


def prepare(
    networks: Networks,
    task: Task,
    world: World,
    latents: Tensor | None = None,
    validation: Tensor | None = None,
    saved: Checkpoint | None = None,
) -> Trainer:
    """A trainer, new or where it was.

    Args:
        networks: Of the pack; frozen.
        task: What the run is about.
        world: The processes that train it together.
        latents: W+ [N, num_ws, w_dim] of faces to learn from; None samples them.
        validation: W+ of faces to validate on; None takes some of the others.
        saved: Where to go on.

    Raises:
        UsageError: If the faces of a step cannot be divided evenly among the processes.
        BadInputError: If there are too few faces, or the checkpoint is another mapper's.
    """
    settings = task.settings
    if settings.batch % world.size:
        raise UsageError(
            f"{settings.batch} faces a step for {world.size} processes",
            f"--batch {world.size * max(1, settings.batch // world.size)}",
        )
    data: Latents
    if latents is None:
        data = sampled = Sampled(networks.generator, settings.seed, settings.truncation_psi)
        if settings.faces:
            data = sampled.fixed(settings.faces, settings.n_validation)
    else:
        data = Given(latents.cpu(), settings.seed, settings.n_validation, validation)
    judged = settings.lambda_id > 0 and networks.has_identity
    trainer = Trainer(
        networks.generator,
        networks.clip,
        networks.identity if judged else None,
        task.target,
        task.neutral,
        data,
        settings,
        world,
    )
    if saved is not None:
        try:
            trainer.restore(saved.tensors, saved.values)
        except (KeyError, ValueError, RuntimeError, TypeError, AttributeError, IndexError) as error:
            raise BadInputError(
                f"the checkpoint does not fit ({one_line(error, 80)})", "start the training again"
            ) from None
    return trainer
