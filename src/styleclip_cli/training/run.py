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

from styleclip_cli.edits.mapper import TrainedMapper
from styleclip_cli.errors import UsageError
from styleclip_cli.progress import Advance, nothing
from styleclip_cli.save import contact_sheet, save_image
from styleclip_cli.training.checkpoint import Checkpoint, Task
from styleclip_cli.training.distributed import World
from styleclip_cli.training.journal import Journal
from styleclip_cli.training.trainer import Trainer

MAPPER = "mapper.safetensors"
_TELL_EVERY = 10


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
        """The validation with the lowest loss."""
        return min(self.history, key=lambda entry: entry["loss"])


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
    journal = Journal(folder, trainer.done) if world.presents else None
    stopped = False

    def rest() -> None:
        """Look at what was learned, and keep it."""
        if not world.presents:
            return
        assert journal is not None
        if not trainer.finite:
            raise UsageError(
                f"the mapper has values that are not finite after {trainer.done} steps", "a lower --lr"
            )
        if not history or history[-1]["step"] != trainer.done:
            terms = trainer.validate()
            best = min((entry["loss"] for entry in history), default=float("inf"))
            history.append({"step": trainer.done, **terms})
            journal.write(trainer.done, "validation", terms)
            before, after = trainer.pictures()
            sheet = contact_sheet([list(before), list(after)], ["before", "after"])
            save_image(folder / "images" / f"{trainer.done:06d}.png", sheet, mark="generated")
            if terms["loss"] < best and trainer.done:
                notes = {"steps": str(trainer.done), "loss": f"{terms['loss']:.5f}"}
                TrainedMapper(
                    trainer.mapper,
                    task.target,
                    task.neutral,
                    settings.strength,
                    task.generator,
                    task.models,
                    notes,
                ).save(folder / MAPPER)
        Checkpoint(task, *trainer.state(), history).save(folder)

    try:
        if trainer.done == 0:
            rest()
        while trainer.done < settings.steps and not stopped:
            terms = trainer.step()
            if journal is not None and (trainer.done % _TELL_EVERY == 0 or trainer.done == settings.steps):
                journal.write(trainer.done, "train", terms)
            told = "  ".join(f"{name} {value:.4f}" for name, value in terms.items())
            advance(trainer.done, settings.steps, told)
            stopped = world.agree(stop())
            if trainer.done % settings.validate_every == 0 or trainer.done == settings.steps or stopped:
                rest()
    finally:
        if journal is not None:
            journal.close()
    world.wait()
    return Outcome(trainer.done, history, stopped and trainer.done < settings.steps)
