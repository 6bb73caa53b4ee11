"""The training loop that all toy networks share: seeded, resumable after a kill, with progress."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

log = logging.getLogger("styleclip.toyworld")


def cosine(step: int, steps: int, warmup: int = 100) -> float:
    """Learning-rate factor: linear warm-up, then half a cosine down to 2%."""
    if step < warmup:
        return (step + 1) / warmup
    t = (step - warmup) / max(1, steps - warmup)
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, t)))


def half() -> torch.autocast:
    """Run the layers inside in bfloat16: three times as fast, with channels_last, where the CPU has it.

    Where it has not, bfloat16 takes ten times as long, and the layers run as they are.
    """
    return torch.autocast(
        "cpu", torch.bfloat16, enabled=bool(torch.cpu.get_capabilities().get("avx512_bf16"))
    )


class Average:
    """Exponential moving average of a module's floating-point state (parameters and buffers)."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.state = {k: v.detach().clone() for k, v in module.state_dict().items()}
        self.updates = 0

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Take in the module's present state; the decay warms up with the number of updates."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        for key, value in module.state_dict().items():
            if value.is_floating_point():
                self.state[key].lerp_(value, 1 - decay)
            else:
                self.state[key].copy_(value)


def run(
    name: str,
    folder: Path,
    module: nn.Module,
    step: Callable[[int, torch.Generator], dict[str, Tensor]],
    *,
    steps: int,
    lr: float,
    betas: tuple[float, float] = (0.9, 0.99),
    weight_decay: float = 0.0,
    average: float = 0.0,
    report: Callable[[nn.Module], dict[str, float]] | None = None,
    report_every: int = 500,
    save_every: int = 100,
    stage: str = "",
    warmup: int = 100,
) -> dict[str, Tensor]:
    """Train a module and return its (averaged) state dict.

    The state is saved every `save_every` steps; a killed run continues from there with the same
    random numbers, because each step draws from a generator seeded with its own number.

    Args:
        name: Name of the network; the checkpoint is `folder/name.pt`.
        folder: Where checkpoints live.
        module: What is trained; all parameters that require gradients.
        step: (step number, random generator) -> named losses, of which `loss` is descended.
        steps: Number of steps in all.
        lr: Peak learning rate of AdamW.
        betas: AdamW's.
        weight_decay: AdamW's.
        average: Decay of the weight average that is returned; 0 returns the last weights.
        report: Measures quality every `report_every` steps, on the averaged weights.
        report_every: See report.
        save_every: Steps between checkpoints.
        stage: Appended to the checkpoint's name, for networks trained in stages.
        warmup: Steps in which the learning rate rises.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}{stage}.pt"
    parameters = [p for p in module.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=lr, betas=betas, weight_decay=weight_decay)
    ema = Average(module, average)
    first = 0
    if path.exists():
        saved = torch.load(path, weights_only=True)
        module.load_state_dict(saved["module"])
        optimizer.load_state_dict(saved["optimizer"])
        ema.state, ema.updates, first = saved["ema"], saved["updates"], saved["step"]
        log.info("%s: continuing at step %d of %d", name, first, steps)

    def save(done: int) -> None:
        state = {
            "module": module.state_dict(),
            "optimizer": optimizer.state_dict(),
            "ema": ema.state,
            "updates": ema.updates,
            "step": done,
        }
        temporary = path.with_suffix(".tmp")
        torch.save(state, temporary)
        temporary.replace(path)

    def measured() -> str:
        if report is None:
            return ""
        last = {k: v.clone() for k, v in module.state_dict().items()}
        if average:
            module.load_state_dict(ema.state)
        module.eval()
        with torch.no_grad():
            values = report(module)
        module.load_state_dict(last)
        module.train()
        return " | " + " ".join(f"{k} {v:.4g}" for k, v in values.items())

    started, running = time.perf_counter(), dict[str, float]()
    module.train()
    for number in range(first, steps):
        for group in optimizer.param_groups:
            group["lr"] = lr * cosine(number, steps, warmup)
        rng = torch.Generator().manual_seed(1_000_003 * number + sum(map(ord, name)))
        losses = step(number, rng)
        optimizer.zero_grad(set_to_none=True)
        losses["loss"].backward()
        nn.utils.clip_grad_norm_(parameters, 5.0)
        optimizer.step()
        ema.update(module)
        for key, value in losses.items():
            last_value = float(value.detach())
            running[key] = running.get(key, last_value) * 0.95 + last_value * 0.05
        done = number + 1
        if done % 25 == 0 or done == steps:
            pace = (time.perf_counter() - started) / (done - first)
            terms = " ".join(f"{k} {v:.4g}" for k, v in running.items())
            log.info(
                "%s %d/%d  %s  %.2f s/step, %.0f min left",
                name,
                done,
                steps,
                terms,
                pace,
                pace * (steps - done) / 60,
            )
        if done % save_every == 0 or done == steps:
            save(done)
        if done % report_every == 0 or done == steps:
            log.info("%s %d/%d%s", name, done, steps, measured())
    return ema.state if average else {k: v.detach().clone() for k, v in module.state_dict().items()}
