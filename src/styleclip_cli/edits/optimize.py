"""Latent optimization: the latent of each face is optimized by gradient descent to match a text in CLIP.

Paper section 4; official optimization/run_optimization.py. The loss of a face is

    distance from the text + lambda_l2 * |latent - start|^2 + lambda_id * (1 - cosine of the face embeddings)

with Adam and a learning rate that rises and falls. `OFFICIAL_OPTIMIZE` reproduces the official script (except
that there the first step has a learning rate of 0, and the image is one step older than the latent).
Gradients are computed for the latent only.

Ours deviates where this improved the evaluation. A generator may not respond to a small step at all (a face
without glasses is far from any with them), so that the gradient at a single face is mostly noise, which an
optimization of the thousands of entries of W+ follows. Therefore one offset shared by all layers is optimized
first, on faces between this one and random ones; then the face alone is optimized in W+ or StyleSpace.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from styleclip_cli.edits.losses import IdentityLoss, TextLoss
from styleclip_cli.inversion import FaceLatent, tuned
from styleclip_cli.inversion.refine import Plateau, frozen
from styleclip_cli.machine.progress import Advance, nothing
from styleclip_cli.settings import OptimizeSettings

if TYPE_CHECKING:
    from styleclip_cli.nets.clip import Clip
    from styleclip_cli.nets.irse import ArcFace
    from styleclip_cli.nets.stylegan2 import Generator

RAMP_UP, RAMP_DOWN = 0.05, 0.25
# So much of the steps is tried on other faces; the rest is smaller steps on the face alone.
_EXPLORING, _SETTLING = 0.75, 0.2


def learning_rate_at(step: int, steps: int, largest: float) -> float:
    """Learning rate: linear warm-up, plateau, cosine decay (official get_lr; StyleGAN2's projector).

    Args:
        step: From 0.
        steps: In all.
        largest: On the plateau.

    Returns:
        From 0 to `largest`.
    """
    t = step / steps
    return largest * ramp_down(t) * min(1.0, t / RAMP_UP)


def ramp_down(t: float) -> float:
    """Factor of the learning rate: 1, then cosine decay over the last quarter.

    Args:
        t: Time, from 0 to 1.

    Returns:
        From 0 to 1.
    """
    return 0.5 - 0.5 * math.cos(math.pi * min(1.0, (1 - t) / RAMP_DOWN))


@dataclass(frozen=True)
class Watch:
    """Callbacks during an optimization.

    Attributes:
        advance: Takes steps done, steps in all, and the loss terms.
        stop: Called after each step; tells whether to stop with the best result so far.
        frame: Takes (step, images [N, 3, R, R]) every `every` steps, and finally those of the result.
        every: Steps between frames; 0 for none.
    """

    advance: Advance = nothing
    stop: Callable[[], bool] = lambda: False
    frame: Callable[[int, Tensor], None] | None = None
    every: int = 0


@dataclass(frozen=True)
class Optimization:
    """An edit that is optimized for each face.

    Attributes:
        generator: Frozen.
        clip: Frozen.
        identity: Frozen; None where there is none, or its weight is 0.
        target: The text.
        neutral: What the face is now.
        settings: Settings of the optimization.
        watch: Callbacks.
    """

    generator: Generator
    clip: Clip
    identity: ArcFace | None
    target: str
    neutral: str
    settings: OptimizeSettings
    watch: Watch = Watch()

    def edited(self, face: FaceLatent, alphas: Sequence[float]) -> list[FaceLatent]:
        """Edit faces, `settings.batch` at a time.

        Args:
            face: One face, or several joined.
            alphas: Factors of the optimized offset.

        Returns:
            The face at each strength.
        """
        offset = self.offset(face)
        return [face.moved(**{self.moves: alpha * offset}) for alpha in alphas]

    @property
    def moves(self) -> Literal["w_plus", "style_offset"]:
        """What of a face is moved."""
        return "style_offset" if self.settings.space == "s" else "w_plus"

    def offset(self, face: FaceLatent) -> Tensor:
        """Optimize faces, `settings.batch` at a time.

        Args:
            face: One face, or several joined.

        Returns:
            What is added to W+ [N, num_ws, w_dim], or to the styles [N, size], at strength 1.
        """
        return torch.cat([self._moved(chunk) for chunk in _chunks(face, self.settings.batch)])

    def entries(self) -> dict[str, Any]:
        """Its entries in a recipe."""
        s = self.settings
        return {
            "layers": "all" if s.layers is None else ",".join(map(str, s.layers)),
            "space": s.space,
            "iterations": s.steps,
            "learning_rate": s.learning_rate,
            "lambda_l2": s.lambda_l2,
            "lambda_id": s.lambda_id,
            "crops": s.crops or None,
            "seed": s.seed,
        }

    def summary(self) -> str:
        """Space and steps."""
        return f"{self.settings.space} {self.settings.steps} steps"

    def _moved(self, face: FaceLatent) -> Tensor:
        """The offset of one batch: of W+ [N, num_ws, w_dim], or of the styles [N, size]."""
        # A generator of its own is kept for the whole descent; else others may render between the steps.
        alone = tuned(self.generator, face.weight_deltas) if face.weight_deltas else nullcontext()
        with alone, frozen(self.generator, self.clip, self.identity):
            return _Descent(self, face).run()


class _Descent:
    """The optimization of one batch of faces."""

    def __init__(self, edit: Optimization, face: FaceLatent) -> None:
        self._settings, self._generator, self._watch = edit.settings, edit.generator, edit.watch
        device = next(edit.generator.parameters()).device
        self._space = edit.generator.style_space
        # Copies made outside inference mode: autograd refuses tensors that were made inside it.
        self._w_plus = face.w_plus.detach().to(device).clone()
        self._shift = None if face.style_offset is None else face.style_offset.detach().to(device).clone()
        self._free = self._mask().to(device)
        self._random = torch.Generator().manual_seed(self._settings.seed)
        self._text = TextLoss(
            edit.clip, edit.target, edit.neutral, self._settings.compare, self._settings.preprocessing
        )
        judge = edit.identity if self._settings.lambda_id > 0 else None
        self._identity = None if judge is None else IdentityLoss(judge)
        self._explored = (
            round(self._settings.steps * _EXPLORING) if self._settings.neighbourhood_radius > 0 else 0
        )
        self._stopped = False
        self._done = 0

    def run(self) -> Tensor:
        """The offset: of W+ [N, num_ws, w_dim], or of the styles [N, size]."""
        start = torch.zeros_like(self._w_plus)
        if self._explored:
            start = self._explore()
        if self._settings.space == "s":
            with torch.no_grad():
                start = (self._styles(start) - self._styles()) * self._free
        found = start if self._stopped else self._settle(start)
        if self._watch.frame is not None and self._watch.every:
            with torch.no_grad():
                in_s = self._settings.space == "s"
                styles = self._styles() + found if in_s else self._styles(found)
                self._watch.frame(self._done, self._render(styles))
        return found

    def _explore(self) -> Tensor:
        """Optimize one offset for all layers on other faces too: distant ones at first, this one in the end.

        A shared offset has few degrees of freedom to overfit, and Adam averages over more steps than usual,
        as the gradient differs from face to face.
        """
        steps, settings = self._explored, self._settings
        layers = self._free_layers()
        step_of_all = torch.zeros_like(self._w_plus[:, :1], requires_grad=True)
        optimizer = torch.optim.Adam([step_of_all], lr=settings.learning_rate, betas=(0.95, 0.999))
        for step in range(steps):
            for group in optimizer.param_groups:
                group["lr"] = settings.learning_rate * min(1.0, (step + 1) / 3)
            # The same for all faces, so that each goes the way that it would go alone.
            z = torch.randn(1, self._generator.config.z_dim, generator=self._random)
            with self._untuned():
                with torch.no_grad():
                    other = self._generator.w_plus(z.to(self._w_plus)) - self._generator.w_avg
                    away = settings.neighbourhood_radius * (1 - step / steps) * other
                    seen, person = self._before(self._styles(away))
                images = self._render(self._styles(away + step_of_all * layers))
                terms = self._terms(images, seen, person, step_of_all * layers)
                self._descend(optimizer, terms)
            self._report(step + 1, terms, lambda: self._render(self._styles(step_of_all * layers)))
            if self._stopped:
                break
        return (step_of_all * layers).detach()

    def _settle(self, start: Tensor) -> Tensor:
        """The optimization of the paper, on these faces alone."""
        settings = self._settings
        in_s = settings.space == "s"
        offset = start.clone().requires_grad_(True)
        rate = settings.learning_rate * (_SETTLING if self._explored else 1.0)
        optimizer = torch.optim.Adam([offset], lr=rate)
        best = start.clone()
        lowest = torch.full((len(best),), float("inf"), device=best.device)
        plateaus = [Plateau(settings.patience) for _ in best]
        active = torch.ones(len(best), dtype=torch.bool, device=best.device)
        with self._untuned(), torch.no_grad():
            original = self._styles()
            seen, person = self._before(original)
        steps = settings.steps - self._explored
        for step in range(steps + 1):
            with self._untuned():
                styles = original + offset if in_s else self._styles(offset)
                images = self._render(styles)
                terms = self._terms(images, seen, person, offset)
                loss = _sum(terms).detach()
                better = (loss < lowest) & active
                lowest = torch.where(better, loss, lowest)
                best[better] = offset.detach()[better]
                if (
                    settings.patience
                ):  # a face that has settled keeps what it has, whatever the others still do
                    flat = [p.reached(float(low)) for p, low in zip(plateaus, lowest, strict=True)]
                    active &= ~torch.tensor(flat, device=active.device)
                if step == steps or not active.any():
                    break
                for group in optimizer.param_groups:
                    share = step / steps
                    group["lr"] = (
                        rate * (1 - share) if self._explored else learning_rate_at(step, steps, rate)
                    )
                self._descend(optimizer, terms, offset)
            self._report(self._explored + step + 1, terms, partial(_same, images))
            if self._stopped:
                break
        return best if settings.keep == "best" or self._stopped else offset.detach()

    def _untuned(self) -> AbstractContextManager[object]:
        """Keep other threads from tuning the generator for a face of theirs."""
        return tuned(self._generator, {})

    def _before(self, styles: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Embeddings by CLIP and the identity network before the edit, where the loss needs them."""
        if not self._text.relative and self._identity is None:
            return None, None
        images = self._render(styles)
        seen = self._text.seen(images) if self._text.relative else None
        return seen, None if self._identity is None else self._identity.person(images)

    def _terms(
        self, images: Tensor, seen: Tensor | None, person: Tensor | None, offset: Tensor
    ) -> dict[str, Tensor]:
        """The loss's terms, [N] each."""
        crops = None
        if self._settings.crops:
            count = self._settings.crops
            crops = torch.rand(1, count, 3, generator=self._random).to(images)
            crops = crops.expand(len(images), -1, -1)  # [N, crops, 3]
        terms = {"clip": self._text(images, seen, crops)}
        if self._settings.lambda_l2 > 0:
            terms["l2"] = self._settings.lambda_l2 * offset.square().flatten(1).sum(dim=1)
        if self._identity is not None and person is not None:
            terms["id"] = self._settings.lambda_id * self._identity(images, person)
        return terms

    def _descend(
        self, optimizer: torch.optim.Optimizer, terms: Mapping[str, Tensor], masked: Tensor | None = None
    ) -> None:
        optimizer.zero_grad(set_to_none=True)
        _sum(terms).sum().backward()
        if masked is not None and masked.grad is not None:
            masked.grad.mul_(self._free)
        optimizer.step()

    def _report(self, done: int, terms: Mapping[str, Tensor], drawn: Callable[[], Tensor]) -> None:
        """Call the callbacks, and return whether to continue."""
        watch, steps = self._watch, self._settings.steps
        self._done = done
        watch.advance(
            done, steps, "  ".join(f"{n} {float(term.detach().mean()):.3f}" for n, term in terms.items())
        )
        if watch.frame is not None and watch.every and done % watch.every == 0 and done < steps:
            with torch.no_grad():
                watch.frame(done, drawn().detach())
        self._stopped = watch.stop()

    def _styles(self, offset: Tensor | None = None) -> Tensor:
        """Styles [N, size] of the faces with an offset of their W+."""
        w_plus = self._w_plus if offset is None else self._w_plus + offset
        styles = self._space.concat(self._generator.styles(w_plus))
        return styles if self._shift is None else styles + self._shift

    def _render(self, styles: Tensor) -> Tensor:
        return self._generator.synthesize(self._space.split(styles))

    def _free_layers(self) -> Tensor:
        """1 for the W+ vectors that may move, [1, num_ws, 1]."""
        layers = self._settings.layers
        free = torch.zeros(1, self._space.num_ws, 1, device=self._w_plus.device)
        free[:, list(range(self._space.num_ws) if layers is None else layers)] = 1
        return free

    def _mask(self) -> Tensor:
        """1 where the latent may move: [1, num_ws, 1], or [1, size] (not in toRGB layers)."""
        layers = self._free_layers()
        if self._settings.space == "w+":
            return layers
        free = torch.zeros(1, self._space.size)
        for layer in self._space.editable("conv"):
            free[:, layer.offset : layer.offset + layer.width] = layers[0, layer.ws_index, 0]
        return free


def _same(images: Tensor) -> Tensor:
    return images


def _sum(terms: Mapping[str, Tensor]) -> Tensor:
    return torch.stack(list(terms.values())).sum(dim=0)


def _chunks(face: FaceLatent, batch: int) -> list[FaceLatent]:
    parts = face.split()
    return [FaceLatent.joined(parts[start : start + batch]) for start in range(0, len(parts), batch)]
