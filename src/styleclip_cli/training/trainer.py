"""One mapper, step by step: faces in, a step of the optimizer, the losses out.

Paper section 5; official mapper/training/coach.py. The loss of a step is

    lambda_clip * distance from the text + lambda_id * identity loss + lambda_l2 * mean square of the offset

averaged over its faces. Only the mapper learns; the generator, CLIP and the identity network keep no
gradients, and the text is encoded once.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from styleclip_cli.edits.losses import IdentityLoss, TextLoss
from styleclip_cli.edits.optimize import ramp_down
from styleclip_cli.inversion.refine import frozen
from styleclip_cli.machine.distributed import World
from styleclip_cli.nets.mapper import LatentMapper
from styleclip_cli.settings import TrainingSettings
from styleclip_cli.training.data import Latents, random_of
from styleclip_cli.training.optimizers import optimizer_of

if TYPE_CHECKING:
    from styleclip_cli.nets.clip import Clip
    from styleclip_cli.nets.irse import ArcFace
    from styleclip_cli.nets.stylegan2 import Generator

_TYPES = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}
# Random crops are drawn after the faces of a step, from numbers of their own.
_CROPS = 500_000_000
Terms = dict[str, float]


class Trainer:
    """A mapper that learns.

    Args:
        generator: Frozen.
        clip: Frozen.
        identity: Frozen; None where there is none.
        target: The text.
        neutral: What faces are now.
        data: Faces.
        settings: How.
        world: The processes that train it together.

    Attributes:
        mapper: What learns.
        done: Steps done.
    """

    def __init__(
        self,
        generator: Generator,
        clip: Clip,
        identity: ArcFace | None,
        target: str,
        neutral: str,
        data: Latents,
        settings: TrainingSettings,
        world: World | None = None,
    ) -> None:
        # Not by autocast, which overflows where styles are large.
        generator = generator.with_precision(settings.precision)
        self._generator, self._clip, self._data = generator, clip, data
        self._settings, self._world = settings, world or World()
        self._device = next(generator.parameters()).device
        self._text = TextLoss(clip, target, neutral, settings.compare, settings.preprocessing)
        judge = identity if settings.lambda_id > 0 else None
        self._identity = None if judge is None else IdentityLoss(judge)
        self._networks = (generator, clip, identity)
        self.mapper = LatentMapper.new(
            settings.kind,
            generator.style_space,
            generator.config.w_dim,
            settings.levels,
            settings.norm,
            settings.zero_init,
            random_of(settings.seed, -2),
        ).to(self._device)
        self._residual = _Residual(self.mapper, generator, settings.strength)
        self._model = self._world.parallel(self._residual)
        self._optimizer = optimizer_of(settings.optimizer, self.mapper.parameters(), settings.learning_rate)
        # Half precision's small gradients vanish unless they are scaled up.
        self._scaler = torch.amp.GradScaler(self._device.type, enabled=settings.precision == "fp16")
        self._render = torch.compile(_render) if settings.compile else _render
        self.done = 0

    def step(self) -> Terms:
        """One step; the loss and its terms, averaged over all processes."""
        settings, step = self._settings, self.done
        w_plus = self._world.shard(self._data.batch(step, settings.batch)).to(self._device)
        crops = None
        if settings.crops:
            random = random_of(settings.seed, step + _CROPS)
            crops = self._world.shard(torch.rand(settings.batch, settings.crops, 3, generator=random))
            crops = crops.to(self._device)
        for group in self._optimizer.param_groups:
            group["lr"] = settings.learning_rate * (
                ramp_down(step / settings.steps) if settings.decay else 1.0
            )
        with frozen(*self._networks):
            terms = self._losses(self._model, w_plus, crops)
            self._optimizer.zero_grad(set_to_none=True)
            self._scaler.scale(terms["loss"]).backward()
            self._scaler.step(self._optimizer)
            self._scaler.update()
        self.done += 1
        return self._told(terms)

    def validate(self) -> Terms:
        """The loss and its terms on the faces kept apart, on this process alone."""
        sums: dict[str, float] = {}
        count = 0
        for w_plus in self._data.validation(self._settings.n_validation).split(self._settings.batch):
            with torch.no_grad():
                terms = self._losses(self._residual, w_plus.to(self._device), None)
            for name, value in terms.items():
                sums[name] = sums.get(name, 0.0) + float(value) * len(w_plus)
            count += len(w_plus)
        return {name: value / count for name, value in sums.items()}

    @torch.no_grad()
    def pictures(self, count: int = 6) -> tuple[Tensor, Tensor]:
        """Validation faces before and after, [N, 3, R, R] each, on the CPU."""
        w_plus = self._data.validation(count).to(self._device)
        styles = self._generator.styles(w_plus)
        after = self._residual.moved(w_plus, styles, self._residual(w_plus))
        return _render(self._generator, styles).cpu(), _render(self._generator, after).cpu()

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """What going on needs: tensors, and values that JSON can hold."""
        tensors = {f"mapper.{name}": tensor for name, tensor in self.mapper.tensors().items()}
        state = self._optimizer.state_dict()
        plain: dict[str, dict[str, Any]] = {}
        for index, entries in state["state"].items():
            for name, value in entries.items():
                if isinstance(value, Tensor):
                    tensors[f"optimizer.{index}.{name}"] = value.detach()
                else:
                    plain.setdefault(str(index), {})[name] = value
        groups = [{k: v for k, v in group.items() if k != "params"} for group in state["param_groups"]]
        return tensors, {
            "step": self.done,
            "optimizer": {"state": plain, "groups": groups},
            "scaler": self._scaler.state_dict(),
        }

    def restore(self, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
        """Go on from what `state` gave.

        Raises:
            KeyError, ValueError, RuntimeError: If it is another mapper's, or damaged.
        """
        mapper = {
            f"parts.{n.removeprefix('mapper.')}": t for n, t in tensors.items() if n.startswith("mapper.")
        }
        self.mapper.load_state_dict(mapper)
        state: dict[int, dict[str, Any]] = {
            int(i): dict(entries) for i, entries in values["optimizer"]["state"].items()
        }
        for name, tensor in tensors.items():
            if name.startswith("optimizer."):
                _, index, entry = name.split(".", 2)
                state.setdefault(int(index), {})[entry] = tensor.clone()
        shapes = [parameter.shape for parameter in self.mapper.parameters()]
        for i, entries in state.items():
            wrong = [v for v in entries.values() if isinstance(v, Tensor) and v.ndim and v.shape != shapes[i]]
            if wrong:
                raise ValueError(f"the optimizer's state {i} has another shape")
        current = self._optimizer.state_dict()["param_groups"]
        groups = [
            {**saved, "params": group["params"]}
            for saved, group in zip(values["optimizer"]["groups"], current, strict=True)
        ]
        for group, now in zip(groups, current, strict=True):
            for name, value in group.items():
                if isinstance(now.get(name), tuple):  # JSON has lists only
                    group[name] = tuple(value)
                    if len(group[name]) != len(now[name]):
                        raise ValueError(f"{name} is {value!r}")
        self._optimizer.load_state_dict({"state": state, "param_groups": groups})
        if values.get("scaler"):
            self._scaler.load_state_dict(values["scaler"])
        self.done = int(values["step"])

    def _losses(self, model: nn.Module, w_plus: Tensor, crops: Tensor | None) -> dict[str, Tensor]:
        settings = self._settings
        with torch.no_grad():
            styles = self._generator.styles(w_plus)
            seen = person = None
            if self._text.relative or self._identity is not None:
                before = self._render(self._generator, styles)
                with self._precision():
                    seen = self._text.seen(before) if self._text.relative else None
                    person = None if self._identity is None else self._identity.person(before)
        offset = model(w_plus)
        after = self._render(self._generator, self._residual.moved(w_plus, styles, offset))
        with self._precision():
            terms = {"clip": self._text(after, seen, crops).mean()}
            if self._identity is not None and person is not None:
                terms["id"] = self._identity(after, person).mean()
        # Of W+ the mean; of styles the sum over the layers of their means (official coach.py, calc_loss).
        terms["l2"] = torch.stack([part.square().mean() for part in offset]).sum()
        weights = {"clip": settings.lambda_clip, "id": settings.lambda_id, "l2": settings.lambda_l2}
        loss = torch.stack([weights[name] * term for name, term in terms.items()]).sum()
        return {"loss": loss, **terms}

    def _told(self, terms: Mapping[str, Tensor]) -> Terms:
        values = self._world.mean(torch.stack([term.detach() for term in terms.values()]))
        return dict(zip(terms, values.tolist(), strict=True))

    @contextmanager
    def _precision(self) -> Iterator[None]:
        """Let the losses' networks compute in the precision that is wanted."""
        dtype = _TYPES[self._settings.precision]
        if dtype is None:
            yield
            return
        with torch.autocast(self._device.type, dtype):
            yield

    @property
    def finite(self) -> bool:
        """Whether the mapper can still be used."""
        return all(math.isfinite(float(p.detach().sum())) for p in self.mapper.parameters())


class _Residual(nn.Module):
    """Latents -> what is added to them: one tensor for W+, one for each style layer."""

    def __init__(self, mapper: LatentMapper, generator: Generator, strength: float) -> None:
        super().__init__()
        self.mapper = mapper
        self._strength = strength
        self._generator = [generator]  # in a list: its parameters are not this module's

    def forward(self, w_plus: Tensor) -> list[Tensor]:
        """W+ [N, num_ws, w_dim] -> [[N, num_ws, w_dim]], or one [N, width] per style layer."""
        if self.mapper.kind != "styles":
            return [self._strength * self.mapper(w_plus)]
        with torch.no_grad():
            styles = self._generator[0].styles(w_plus)
        return [self._strength * offset for offset in self.mapper.offsets(styles)]

    def moved(self, w_plus: Tensor, styles: list[Tensor], offset: list[Tensor]) -> list[Tensor]:
        """Styles after the offset."""
        if self.mapper.kind != "styles":
            return self._generator[0].styles(w_plus + offset[0])
        return [layer + change for layer, change in zip(styles, offset, strict=True)]


def _render(generator: Generator, styles: list[Tensor]) -> Tensor:
    return generator.synthesize(styles)
