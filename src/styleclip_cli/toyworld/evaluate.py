"""How good edits are, where the truth is known: toy faces, inverted from pixels, and an independent judge.

The judge is a network that reads all 32 attributes off a picture; no editing method ever sees it, and it
is not the CLIP that the edits are made with. For each prompt, held-out faces that do not have the wanted
attribute are drawn by the renderer, inverted from their pixels, edited, and read by the judge before and
after. "Before" is the inverted picture, so that the numbers are the edit's; what inversion itself loses is
given separately.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from styleclip_cli.edits.edit import edited_each
from styleclip_cli.errors import UsageError
from styleclip_cli.inversion import FaceLatent
from styleclip_cli.settings import InversionSettings, Inverter
from styleclip_cli.toyworld.attributes import COUNT, INDEX, attributes_of_normals, shown, visibility
from styleclip_cli.toyworld.networks import Judge
from styleclip_cli.toyworld.renderer import render_all
from styleclip_cli.weights.files import load_weights
from styleclip_cli.weights.mappers import listed, slug

if TYPE_CHECKING:
    from styleclip_cli.edits.edit import Edit
    from styleclip_cli.engine import Engine

FIRST_SEED = 30_000_000  # no network was trained, and no default chosen, on faces from here on
ALPHAS = (0.25, 0.375, 0.5, 0.625, 0.75, 1.0, 1.25, 1.5, 2.0)  # in parts of the default
Row = dict[str, Any]
Method = Literal["global", "optimize", "mapper"]
METHODS: tuple[Method, ...] = ("global", "optimize", "mapper")
_BATCH = 64


@dataclass(frozen=True)
class Case:
    """One edit and what counts as its success.

    Attributes:
        prompt: What is typed.
        attribute: What should change.
        up: Toward 1, or toward 0.
        bar: The judge must read at least this (at most, if not up).
        neutral: What the face is before.
    """

    prompt: str
    attribute: str
    up: bool = True
    bar: float = 0.5
    neutral: str = "face"

    def holds(self, read: Tensor) -> Tensor:
        """Whether readings [..., 32] show what the prompt asks for, [...]."""
        value = read[..., INDEX[self.attribute]]
        return value >= self.bar if self.up else value <= self.bar


# A presence is there from one half on; an amount has arrived two thirds of the way. The neutral text says
# what the face is before, as far as the edit is about it. Freckles and wrinkles are not asked for: the
# renderer draws them, but the toy generator has not learned to.
CASES: tuple[Case, ...] = (
    Case("with glasses", "glasses"),
    Case("without glasses", "glasses", up=False, neutral="face with glasses"),
    Case("with sunglasses", "sunglasses"),
    Case("without sunglasses", "sunglasses", up=False, neutral="face with sunglasses"),
    Case("with a beard", "beard"),
    Case("clean-shaven", "beard", up=False),
    Case("with a moustache", "moustache"),
    Case("without a moustache", "moustache", up=False, neutral="face with a moustache"),
    Case("with a hat", "hat"),
    Case("without a hat", "hat", up=False, neutral="face with a hat"),
    Case("with earrings", "earrings"),
    Case("without earrings", "earrings", up=False, neutral="face with earrings"),
    Case("with makeup", "makeup"),
    Case("without makeup", "makeup", up=False, neutral="face with makeup"),
    Case("with red lipstick", "lipstick"),
    Case("with an open mouth", "mouth_open"),
    Case("with a closed mouth", "mouth_open", up=False, neutral="face with an open mouth"),
    Case("with bangs", "fringe"),
    Case("with red hair", "hair_red"),
    Case("with grey hair", "hair_grey"),
    Case("with blond hair", "hair_light", bar=0.67, neutral="face with black hair"),
    Case("with black hair", "hair_light", up=False, bar=0.33, neutral="face with blond hair"),
    Case("with long hair", "hair_length", bar=0.67),
    Case("a bald head", "hair_length", up=False, bar=0.2, neutral="a head with hair"),
    Case("smiling", "smile", bar=0.67),
    Case("sad", "smile", up=False, bar=0.33),
    Case("with dark skin", "skin_tone", bar=0.67),
    Case("with pale skin", "skin_tone", up=False, bar=0.33),
    Case("with blue eyes", "eye_blue", bar=0.67),
    Case("with brown eyes", "eye_blue", up=False, bar=0.33),
)


@dataclass(frozen=True)
class Outcome:
    """What was measured.

    Attributes:
        rows: One per prompt: prompt, neutral, attribute, success, leak, leak_default, identity, seconds,
            alpha, n.
        mean: Averages of success, leak, leak_default, identity and seconds; the lowest success; and what
            inversion alone changes (inversion: mean change of what the judge reads; psnr in dB).
    """

    rows: list[dict[str, Any]]
    mean: dict[str, float | None]


def load_judge(engine: Engine) -> Judge:
    """The judge of the engine's pack.

    Raises:
        UsageError: If the pack is not of the toy world.
    """
    if "judge" not in engine.pack.components:
        raise UsageError(
            f"the model pack {engine.pack.name} has no judge: its faces have no known truth", "--models toy"
        )
    return Judge.from_state_dict(load_weights(engine.pack.component("judge"))[0]).to(engine.device)


def evaluate(
    engine: Engine,
    n: int = 200,
    prompts: Sequence[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
    inverter: Inverter | None = None,
    limit: int = 40,
    method: Method = "global",
    faces: Faces | None = None,
) -> Outcome:
    """Edit n faces by each prompt and measure.

    - success: share of the faces in which, at the default alpha, the judge reads the wanted attribute.
    - leak: mean absolute change of the other attributes in sight before and after, at the smallest alpha of
      the grid at which that face succeeds (faces that never do have none).
    - leak_default: the same at the default alpha, over all faces.
    - identity: mean cosine of the identity network's embeddings, before and after, at the default alpha.

    Args:
        engine: Edits with its defaults.
        n: Faces per prompt: held-out, without the wanted attribute, and with it in sight.
        prompts: Only these of `CASES`.
        progress: Called with (done, total) cases.
        inverter: How faces are inverted; None takes the pack's.
        limit: Draw at most this many times 64 faces; cases then have fewer than n, where they are rare.
        method: How they are edited. Mappers are those of the pack and those that were trained for it, under
            the prompt's name; prompts without one are left out.
        faces: Held-out faces that were drawn before.

    Raises:
        UsageError: If a prompt is not one whose truth is known, the pack has no judge, or no mapper.
    """
    judge = load_judge(engine)
    cases = chosen_cases(prompts)
    if method == "mapper":
        cases = [case for case in cases if has_mapper(engine, case)]
        if not cases:
            raise UsageError(
                f"the model pack {engine.pack.name} has no mapper for these prompts",
                "styleclip train-mapper, with one of the prompts",
            )
    faces = faces or Faces(engine, judge, engine.settings_for_inversion(inverter), limit)
    rows = []
    for done, case in enumerate(cases):
        if progress is not None:
            progress(done, len(cases))
        edit = edit_of(engine, case, method)
        default = engine.default_alpha if method == "global" else 1.0
        rows.append(_row(engine, judge, case, faces.for_case(case, n), edit, default))
    if progress is not None:
        progress(len(cases), len(cases))
    mean: dict[str, float | None] = {
        name: _average([row[name] for row in rows])
        for name in ("success", "leak", "leak_default", "identity", "seconds")
    }
    mean["lowest_success"] = min((row["success"] for row in rows if row["n"]), default=None)
    return Outcome(rows, mean | faces.inversion())


def has_mapper(engine: Engine, case: Case) -> bool:
    """Whether a mapper was trained for a case, under its prompt's name."""
    return any(one.name == slug(case.prompt) and one.path for one in listed(engine.pack))


def edit_of(engine: Engine, case: Case, method: Method) -> Edit:
    """A case's edit by a method, with its defaults."""
    if method == "optimize":
        return engine.optimization(case.prompt, case.neutral)
    if method == "mapper":
        return engine.mapper(slug(case.prompt))
    return engine.direction(case.prompt, case.neutral)


def chosen_cases(prompts: Sequence[str] | None) -> list[Case]:
    """The cases of some prompts, or all.

    Raises:
        UsageError: If a prompt is not among `CASES`.
    """
    if prompts is None:
        return list(CASES)
    known = {case.prompt: case for case in CASES}
    for prompt in prompts:
        if prompt not in known:
            raise UsageError(f'no truth is known for "{prompt}"', f"one of: {', '.join(known)}")
    return [known[prompt] for prompt in prompts]


@dataclass(frozen=True)
class Chosen:
    """Faces of one case, what the judge read before [n, 32], embeddings [n, D]."""

    faces: Sequence[FaceLatent]
    read: Tensor
    embedded: Tensor


class Faces:
    """Held-out faces, drawn and inverted as cases need them; each depends on its place in the row alone."""

    def __init__(
        self, engine: Engine, judge: Judge, settings: InversionSettings | None = None, limit: int = 40
    ) -> None:
        self._engine, self._judge, self._limit = engine, judge, limit
        self._settings = settings or engine.default_inversion
        self._faces: list[FaceLatent] = []
        self._attributes: list[Tensor] = []
        self._read: list[Tensor] = []
        self._embedded: list[Tensor] = []
        self._changes: list[Tensor] = []
        self._decibels: list[Tensor] = []

    def for_case(self, case: Case, n: int) -> Chosen:
        """The first n faces, of at most `limit` * 64, that the prompt makes sense for."""
        for count in range(1, self._limit + 1):
            while len(self._attributes) < count:
                self._draw()
            found = self._eligible(case)
            if len(found) >= n:
                break
        found = found[:n]
        read, embedded = (torch.cat(x)[found] for x in (self._read, self._embedded))
        return Chosen([self._faces[i] for i in found.tolist()], read, embedded)

    def _eligible(self, case: Case) -> Tensor:
        truth, read = torch.cat(self._attributes), torch.cat(self._read)
        k = INDEX[case.attribute]
        value, seen = shown(truth)[:, k], visibility(truth)
        # Clearly without the attribute, in truth and in the inverted picture, and where it can be seen.
        without = value < 0.45 if case.up else value > 0.55
        sight = torch.ones_like(value, dtype=torch.bool)
        if case.attribute.startswith("hair_") and case.attribute != "hair_length":
            sight &= (truth[:, INDEX["hair_length"]] > 0.35) & (truth[:, INDEX["hat"]] < 0.25)
        if case.attribute in ("hair_light", "hair_red"):
            sight &= truth[:, INDEX["hair_grey"]] < 0.25
        if case.attribute == "hair_light":
            sight &= truth[:, INDEX["hair_red"]] < 0.25
        sight &= seen[:, k] > 0.9 if case.attribute != "hair_length" else truth[:, INDEX["hat"]] < 0.25
        return (without & sight & ~case.holds(read)).nonzero().flatten()

    def _draw(self) -> None:
        rng = torch.Generator().manual_seed(FIRST_SEED + len(self._attributes))
        attributes = attributes_of_normals(torch.randn(_BATCH, COUNT, generator=rng))
        with torch.no_grad():
            pictures = render_all(attributes)
        # Eight bits per colour, as a file would hold them.
        pictures = ((pictures + 1) * 127.5).round() / 127.5 - 1
        if self._settings.inverter == "encoder":
            w_plus = self._engine.invert_w_plus(pictures, keep=False, inverter="encoder")
            faces = FaceLatent(w_plus).split()
        else:
            faces = [
                self._engine.invert(picture, self._settings, keep=False) for picture in pictures.split(1)
            ]
        self._faces += faces
        inverted = show_all(self._engine, faces)
        self._attributes.append(attributes)
        self._read.append(read_all(self._judge, inverted))
        self._embedded.append(embed_all(self._engine, inverted))
        original = read_all(self._judge, pictures)
        seen = torch.minimum(visibility(original), visibility(self._read[-1]))
        self._changes.append(_weighted((original - self._read[-1]).abs(), seen))
        self._decibels.append(psnr(pictures, inverted))

    def inversion(self) -> dict[str, float | None]:
        """What inversion alone changes, over all faces drawn."""
        changes, decibels = torch.cat(self._changes), torch.cat(self._decibels)
        return {"inversion": float(changes.mean()), "psnr": float(decibels.mean())}


def _row(engine: Engine, judge: Judge, case: Case, chosen: Chosen, edit: Edit, default: float) -> Row:
    """Edit the faces of a case and measure."""
    n = len(chosen.faces)
    alphas = sorted({*(alpha * default for alpha in ALPHAS), default})
    began = time.monotonic()
    edited = [each for each in edited_each(edit, chosen.faces, alphas) if each is not None]
    at_default = [strengths[alphas.index(default)] for strengths in edited]
    pictures = show_all(engine, at_default)
    seconds = (time.monotonic() - began) / max(n, 1)
    success, leak_default = _seen(judge, case, chosen.read, pictures)
    identity = (embed_all(engine, pictures) * chosen.embedded).sum(dim=1) if n else torch.zeros(0)
    smallest = torch.full((n,), float("nan"))
    for k, alpha in enumerate(alphas):
        waiting = torch.isnan(smallest).nonzero().flatten()
        if alpha == default:  # seen above
            smallest[waiting] = torch.where(success, leak_default, torch.nan)[waiting]
        elif len(waiting):
            pictures = show_all(engine, [edited[i][k] for i in waiting.tolist()])
            holds, leak = _seen(judge, case, chosen.read[waiting], pictures)
            smallest[waiting] = torch.where(holds, leak, torch.nan)
    succeeded = smallest[~torch.isnan(smallest)]
    return {
        "prompt": case.prompt,
        "neutral": case.neutral,
        "attribute": case.attribute,
        "success": _average(success.float().tolist()),
        "leak": _average(succeeded.tolist()),
        "leak_default": _average(leak_default.tolist()),
        "identity": _average(identity.tolist()),
        "seconds": seconds if n else None,
        "alpha": default,
        "ever": len(succeeded) / n if n else 0.0,
        "n": n,
        **{name: value for name, value in edit.entries().items() if value is not None},
    }


def _seen(judge: Judge, case: Case, before: Tensor, pictures: Tensor) -> tuple[Tensor, Tensor]:
    """Whether the edit succeeded [N], and how far the other attributes in sight moved [N]."""
    if not len(before):
        return torch.zeros(0, dtype=torch.bool), torch.zeros(0)
    others = torch.ones(COUNT)
    others[INDEX[case.attribute]] = 0
    read = read_all(judge, pictures)
    seen = torch.minimum(visibility(before), visibility(read)) * others
    return case.holds(read), _weighted((read - before).abs(), seen)


def show_all(engine: Engine, faces: Sequence[FaceLatent]) -> Tensor:
    """Pictures [N, 3, R, R] of faces in [-1, 1]; N may be 0."""
    if not faces:
        return torch.zeros(0, 3, engine.pack.resolution, engine.pack.resolution)
    return engine.render(faces).clamp(-1, 1)


@torch.inference_mode()
def read_all(judge: Judge, pictures: Tensor) -> Tensor:
    """What the judge reads off pictures [N, 3, H, W]: [N, 32], on the CPU."""
    device = next(judge.parameters()).device
    return torch.cat([judge(part.to(device)).cpu() for part in pictures.split(_BATCH)])


@torch.inference_mode()
def embed_all(engine: Engine, pictures: Tensor) -> Tensor:
    """Identity embeddings of pictures [N, 3, H, W]: [N, D], on the CPU."""
    identity = engine.networks.identity
    return torch.cat([identity.embed(part.to(engine.device)).cpu() for part in pictures.split(_BATCH)])


def _weighted(values: Tensor, weight: Tensor) -> Tensor:
    return (values * weight).sum(dim=1) / weight.sum(dim=1).clamp_min(1e-6)


def _average(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def psnr(a: Tensor, b: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB of pictures in [-1, 1]; shapes [N, ...] -> [N]."""
    return -10 * torch.log10(((a - b) / 2).square().flatten(1).mean(1).clamp(min=1e-10))
