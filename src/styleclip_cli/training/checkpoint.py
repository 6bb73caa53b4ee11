"""A run's state in one file: mapper, optimizer, step, settings, and what validation said so far.

A .safetensors file with one JSON text in its header, written in one step: a process that is killed at any
time leaves the last whole one. The generator is not in it, and neither is the state of a random number
generator: what is random in a step follows from the seed and the step (`data.random_of`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, get_args, get_type_hints

from torch import Tensor

from styleclip_cli.errors import BadInputError, WeightsError
from styleclip_cli.settings import TrainingSettings, key_of
from styleclip_cli.weights.files import load_weights, save_weights

FILE = "checkpoint.safetensors"
SCHEMA = "styleclip.training/1"


@dataclass(frozen=True)
class Task:
    """What a run is about.

    Attributes:
        target: The text.
        neutral: What faces are now.
        models: Name or folder of the pack.
        generator: Hash of its generator.
        latents: Files and folders that the faces come from; empty for sampled ones.
        validation: The same of the faces kept apart; empty for a part of `latents`.
        settings: How.
    """

    target: str
    neutral: str
    models: str
    generator: str
    latents: tuple[str, ...]
    validation: tuple[str, ...]
    settings: TrainingSettings


@dataclass(frozen=True)
class Checkpoint:
    """What going on needs.

    Attributes:
        task: What the run is about.
        tensors: Of `Trainer.state`.
        values: Of `Trainer.state`.
        history: Each validation's step, loss and terms.
    """

    task: Task
    tensors: Mapping[str, Tensor]
    values: Mapping[str, Any]
    history: list[dict[str, float]]

    def save(self, folder: Path) -> None:
        """Write it into a run's folder.

        Raises:
            OutputError: If it cannot be written.
        """
        about = {
            "schema": SCHEMA,
            "task": asdict(self.task) | {"settings": _by_key(self.task.settings)},
            "values": dict(self.values),
            "history": self.history,
        }
        save_weights(folder / FILE, self.tensors, {"styleclip": json.dumps(about)}, half=False)

    @classmethod
    def load(cls, folder: Path) -> Checkpoint:
        """Read a run's last one.

        Raises:
            BadInputError: If there is none, or it cannot be used.
        """
        path = folder / FILE
        try:
            there = path.is_file()
        except (OSError, ValueError):  # a name too long
            there = False
        if not there:
            raise BadInputError(f"{folder}: no training run to go on with", f"a folder with a {FILE}")
        try:
            tensors, notes = load_weights(path)
            about = json.loads(notes["styleclip"], parse_constant=_refused)
            if about["schema"] != SCHEMA:
                raise ValueError(f"schema {about['schema']!r}")
            history = [dict(entry) for entry in about["history"]]
            if not history or not all(
                isinstance(entry.get(name), (int, float)) for entry in history for name in ("step", "loss")
            ):
                raise ValueError("its history makes no sense")
            values = dict(about["values"])
            if not isinstance(values["step"], int) or values["step"] < 0:
                raise ValueError(f"step {values['step']!r}")
            return cls(task_of(about["task"]), tensors, values, history)
        except WeightsError as error:
            raise BadInputError(error.message, "start the training again") from None
        except (KeyError, ValueError, TypeError, AttributeError, RecursionError) as error:
            raise BadInputError(
                f"{path}: not a usable checkpoint ({error})", "start the training again"
            ) from None


def _by_key(settings: TrainingSettings) -> dict[str, Any]:
    return {key_of(entry): getattr(settings, entry.name) for entry in fields(settings)}


def _refused(word: str) -> None:
    raise ValueError(f"{word} is no number")


def task_of(values: Mapping[str, Any]) -> Task:
    """A task out of JSON, checked.

    Raises:
        KeyError, ValueError, TypeError: If it is none.
    """
    names = {key_of(entry): entry.name for entry in fields(TrainingSettings)}
    given = {names[key]: value for key, value in dict(values["settings"]).items()}
    given["levels"] = tuple(str(level) for level in given["levels"])
    settings = replace(TrainingSettings(), **given)
    _check(settings)
    return Task(
        target=str(values["target"]),
        neutral=str(values["neutral"]),
        models=str(values["models"]),
        generator=str(values["generator"]),
        latents=tuple(str(path) for path in values["latents"]),
        validation=tuple(str(path) for path in values["validation"]),
        settings=settings,
    )


def _check(settings: TrainingSettings) -> None:
    """Refuse values of other types, or words that mean nothing: the file may be a stranger's."""
    kinds = get_type_hints(type(settings))
    for entry in fields(settings):
        value, kind = getattr(settings, entry.name), kinds[entry.name]
        words = get_args(kind)
        if kind in (int, bool, float):
            fine = isinstance(value, kind) or (kind is float and type(value) is int)
        elif isinstance(value, tuple):
            fine = bool(value) and set(value) <= {"coarse", "medium", "fine"}
        else:
            fine = not isinstance(value, str) or value in words
        if kind is int and entry.name in ("batch", "steps", "validate_every", "n_validation"):
            fine = fine and 1 <= value <= 10**9
        elif kind in (int, float):
            fine = fine and 0 <= value < 2**63
        if not fine:
            raise ValueError(f"{key_of(entry)} is {value!r}")
