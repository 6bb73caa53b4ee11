"""Which optimizer trains a mapper best: `python benchmarks/optimizers.py [STEPS] [PROMPT]`.

The same toy mapper, faces and losses for each; printed are validation losses on the way and seconds.
"""

from __future__ import annotations

import sys
import time
from dataclasses import replace

from styleclip_cli import Engine
from styleclip_cli.edits.prompts import resolve_prompt
from styleclip_cli.settings import OptimizerName
from styleclip_cli.training.data import Sampled
from styleclip_cli.training.trainer import Trainer

RUNS: tuple[tuple[OptimizerName, float], ...] = (
    ("adam", 0.5),
    ("adam", 1.0),
    ("adamw", 1.0),
    ("ranger", 0.5),
    ("ranger", 1.0),
)


def main() -> None:
    """Train and print."""
    steps = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    target, neutral = resolve_prompt(sys.argv[2] if len(sys.argv) > 2 else "with glasses", "face")
    engine = Engine("toy", device="cpu")
    marks = [steps * k // 4 for k in range(1, 5)]
    print(f'"{target}", validation loss after {", ".join(map(str, marks))} steps')
    for name, rate in RUNS:
        settings = replace(engine.training_settings, optimizer=name, learning_rate=rate, steps=steps)
        data = Sampled(engine.generator, settings.seed, settings.truncation_psi)
        trainer = Trainer(
            engine.generator, engine.networks.clip, engine.networks.identity, target, neutral, data, settings
        )
        losses, seconds = [], 0.0
        while trainer.done < steps:
            began = time.perf_counter()
            trainer.step()
            seconds += time.perf_counter() - began
            if trainer.done in marks:
                losses.append(trainer.validate()["loss"])
        print(
            f"{name:7s} {rate:g}  {'  '.join(f'{loss:.4f}' for loss in losses)}  {seconds:.0f} s", flush=True
        )


if __name__ == "__main__":
    main()
