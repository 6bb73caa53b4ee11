"""Measure edits of many faces by many sentences, a piece at a time; finished pieces are kept in the cache.

A piece is a few faces and one sentence. Its images are rendered at every strength, measured, and forgotten;
its numbers are kept under everything that they depend on, so that a run that was killed goes on where it
was, and one with more faces or sentences measures only those.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from styleclip_cli.edits import prompts
from styleclip_cli.edits.directions import Direction
from styleclip_cli.edits.edit import Edit, edited_each
from styleclip_cli.edits.judge import ClipPart, Judge
from styleclip_cli.edits.mapper import MapperEdit
from styleclip_cli.edits.optimize import Optimization
from styleclip_cli.edits.scores import similarity_and_progress
from styleclip_cli.evaluation import metrics
from styleclip_cli.evaluation.faces import Faces, Inputs, shown
from styleclip_cli.evaluation.learned import Lpips, small
from styleclip_cli.evaluation.sentences import Sentence
from styleclip_cli.machine import cache
from styleclip_cli.machine.progress import Advance, nothing
from styleclip_cli.recipe import MethodName
from styleclip_cli.settings import InversionSettings
from styleclip_cli.weights.mappers import slug

if TYPE_CHECKING:
    from styleclip_cli.engine import Engine

PARTS = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0)
"""Strengths, in parts of the default one."""
DEFAULT = PARTS.index(1.0)
SCHEMA = "styleclip.evaluation/1"
CODE = 1
"""Changes whenever the same key would give other numbers."""
MEASURES = (
    "clip",
    "similarity",
    "progress",
    "identity",
    "identity_2",
    "lpips",
    "mse",
    "ssim",
    "mse_outside",
    "ssim_outside",
    "changed",
)
INVERSION = ("mse", "psnr", "psnr_ganinverter", "lpips", "identity", "identity_2", "seconds")
Values = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Measured:
    """All numbers of one evaluation; what could not be measured is not a number.

    Attributes:
        sentences: The sentences.
        alphas: Strengths, in ascending order.
        values: [sentences, faces, strengths, `MEASURES`].
        seconds: Of each edit at the default strength with its rendering, [sentences, faces].
        inversion: [faces, `INVERSION`]; None if the pack has no encoder.
        failures: Why faces could not be used, by name.
    """

    sentences: tuple[Sentence, ...]
    alphas: tuple[float, ...]
    values: Values
    seconds: Values
    inversion: Values | None
    failures: Mapping[str, str]


@dataclass(frozen=True, eq=False)
class _Seen:
    """Images [n, 3, R, R] in [0, 1], and what networks see in them: vectors [n, D] of unit length."""

    images: Tensor
    clip: Tensor | None
    faces: Mapping[str, Tensor]


class Evaluation:
    """Edits some faces by some sentences, and measures what changes.

    Args:
        engine: Networks and measurements.
        method: How faces are edited.
        inversion: How images are inverted.
        align: Whether faces are looked for in photos.
        lpips: The perceptual distance; None to leave it out.

    Attributes:
        judge: The CLIP and the identity network that judge.
        own_judge: Whether the pack has a CLIP for judging; else the one that edits judges.
    """

    def __init__(
        self,
        engine: Engine,
        method: MethodName = "global",
        inversion: InversionSettings | None = None,
        align: bool = True,
        lpips: Lpips | None = None,
    ) -> None:
        self.engine, self.method, self.align = engine, method, align
        self.inversion = inversion or engine.default_inversion
        installed = engine.pack.components
        self.own_judge = "judge_clip" in installed
        clip: ClipPart = "judge_clip" if self.own_judge else "clip"
        self.judge = Judge(engine.networks, clip)
        self._second = Judge(engine.networks, clip, "second_identity")
        self.parts = [part for part in (clip, "identity", "second_identity") if part in installed]
        self._lpips = lpips
        self._before: tuple[Faces, _Seen] | None = None  # of the faces that are worked on
        self.alphas = tuple(part * self._default for part in PARTS)

    @property
    def _default(self) -> float:
        return float(self.engine.default_alpha) if self.method == "global" else 1.0

    def run(self, inputs: Inputs, sentences: tuple[Sentence, ...], progress: Advance = nothing) -> Measured:
        """Measure all, or take what was measured before from the cache.

        Args:
            inputs: The faces.
            sentences: The edits.
            progress: Called with (done, total) steps: a sentence is understood, or a piece is measured.

        Returns:
            The numbers.

        Raises:
            UsageError: If a sentence says nothing, or the texts are the same to CLIP.
            BadInputError: If a mapper is missing, or a latent file belongs to another generator.
        """
        pieces = list(inputs.pieces())
        total = len(sentences) + len(pieces) * (len(sentences) + self._inverts)
        edits: list[Edit] = []
        for sentence in sentences:
            progress(len(edits), total)
            edits.append(self._edit(sentence))
        count = len(inputs.items)
        values = np.full((len(sentences), count, len(PARTS), len(MEASURES)), np.nan)
        seconds = np.full((len(sentences), count), np.nan)
        inverted = np.full((count, len(INVERSION)), np.nan) if self._inverts else None
        failures = dict(inputs.failures)
        progress(done := len(edits), total)
        for piece in pieces:
            faces = Faces(self.engine, inputs.items[piece], self.inversion, self.align)
            key = self._key(inputs, piece)
            if inverted is not None:
                arrays, meta = self._kept(key | {"inversion": asdict(self.inversion)}, faces, None, None)
                inverted[piece] = arrays["values"]
                failures |= meta["failures"]
                progress(done := done + 1, total)
            for row, (sentence, edit) in enumerate(zip(sentences, edits, strict=True)):
                own = {"sentence": asdict(sentence), "method": self.method, "edit": _content(edit)}
                arrays, meta = self._kept(key | own | {"alphas": self.alphas}, faces, sentence, edit)
                values[row, piece], seconds[row, piece] = arrays["values"], arrays["seconds"]
                failures |= meta["failures"]
                progress(done := done + 1, total)
        return Measured(sentences, self.alphas, values, seconds, inverted, failures)

    @property
    def _inverts(self) -> bool:
        return "encoder" in self.engine.pack.components

    def _edit(self, sentence: Sentence) -> Edit:
        if self.method == "mapper":
            return self.engine.mapper(sentence.mapper or slug(sentence.prompt))
        make = self.engine.optimization if self.method == "optimize" else self.engine.direction
        return make(sentence.prompt, sentence.neutral)

    def _key(self, inputs: Inputs, piece: slice) -> dict[str, Any]:
        """What all numbers of a piece depend on."""
        pack, engine = self.engine.pack, self.engine
        used = ["generator", "clip", *self.parts]
        if inputs.kind == "photos":
            found = ("landmarks", "detector") if self.align else ()
            used += [part for part in ("encoder", *found) if part in pack.components]
        return {
            "code": CODE,
            "weights": {part: str(pack.fingerprint_of(part)) for part in sorted(set(used))},
            "faces": list(inputs.contents[piece]),
            "truncation": engine.measurements.statistics_settings.truncation_psi,
            "photos": [self.align, asdict(self.inversion)] if inputs.kind == "photos" else None,
            "lpips": self._lpips is not None,
        }

    def _kept(
        self, key: dict[str, Any], faces: Faces, sentence: Sentence | None, edit: Edit | None
    ) -> tuple[cache.Arrays, cache.Json]:
        """The numbers of a piece: of an edit, or without one of the inversion."""

        def compute() -> tuple[cache.Arrays, cache.Json]:
            if sentence is None or edit is None:
                arrays = {"values": _rows(faces, self._inversion(faces))}
            else:
                arrays = self._edited(faces, sentence, edit)
            return arrays, {"failures": faces.failures}

        return cache.cached("evaluations", key, SCHEMA, compute)

    def _edited(self, faces: Faces, sentence: Sentence, edit: Edit) -> cache.Arrays:
        """Numbers of some faces at every strength, [N, strengths, measures], and seconds [N]."""
        target, neutral = prompts.resolve_prompt(sentence.prompt, sentence.neutral)
        texts = self.judge.text_embedding(target), self.judge.text_direction(target, neutral)
        began = time.perf_counter()
        edited = [each for each in edited_each(edit, faces.latents, self.alphas) if each is not None]
        if not edited:
            shape = (len(faces), len(self.alphas), len(MEASURES))
            return {"values": np.full(shape, np.nan), "seconds": np.full(len(faces), np.nan)}
        seconds = time.perf_counter() - began
        columns = []
        for k in range(len(self.alphas)):
            began = time.perf_counter()
            after = shown(self.engine, [strengths[k] for strengths in edited])
            if k == DEFAULT:
                seconds += time.perf_counter() - began
            columns.append(self._compared(self._unedited(faces), self._look(after), *texts))
        each = torch.full((len(edited),), seconds / max(1, len(edited)), dtype=torch.float64)
        return {"values": _rows(faces, torch.stack(columns, dim=1)), "seconds": _rows(faces, each)}

    def _unedited(self, faces: Faces) -> _Seen:
        """Some faces before any edit, looked at once for all sentences."""
        if self._before is None or self._before[0] is not faces:
            self._before = (faces, self._look(faces.shown))
        return self._before[1]

    def _look(self, images: Tensor, clip: bool = True) -> _Seen:
        """What the judging networks see in images [n, 3, R, R] in [0, 1]."""
        shown = images * 2 - 1
        found = {}
        for name, judge in (("identity", self.judge), ("identity_2", self._second)):
            vectors = judge.identity_embeddings(shown)
            if vectors is not None:
                found[name] = vectors
        return _Seen(images, self.judge.clip_embeddings(shown) if clip else None, found)

    def _compared(self, before: _Seen, after: _Seen, text: Tensor, direction: Tensor) -> Tensor:
        """`MEASURES` of n faces before and after an edit, [n, measures]."""
        assert before.clip is not None
        assert after.clip is not None
        similarity, progress = similarity_and_progress(before.clip, after.clip, direction)
        a, b = before.images.to(self.engine.device), after.images.to(self.engine.device)
        outside, structure = ~metrics.changed_region(a, b), metrics.ssim_map(a, b)
        found = {
            "clip": after.clip @ text,
            "similarity": similarity,
            "progress": progress,
            "mse": metrics.mse(a, b),
            "ssim": metrics.ssim(structure),
            "mse_outside": metrics.mse(a, b, outside),
            "ssim_outside": metrics.ssim(structure, outside),
            "changed": 1 - outside.float().mean(dim=(1, 2, 3)),
            **self._likeness(before, after),
        }
        return _columns(found, MEASURES, len(b))

    def _likeness(self, before: _Seen, after: _Seen) -> dict[str, Tensor]:
        """Identities and LPIPS, as far as there are networks for them, each [n]."""
        found = {name: (one * after.faces[name]).sum(dim=1) for name, one in before.faces.items()}
        if self._lpips is not None:
            found["lpips"] = self._lpips(before.images, after.images)
        return found

    def _inversion(self, faces: Faces) -> Tensor:
        """`INVERSION` of those faces that can be used, [n, columns]; see `docs/math.md`."""
        found = faces.reinverted()
        if not found:
            return torch.zeros(0, len(INVERSION), dtype=torch.float64)
        wanted = metrics.eight_bits(torch.cat([one.image for one in found if one.image is not None]))
        drawn = shown(self.engine, [one.face for one in found])
        mse = metrics.mse(small(wanted), small(drawn))
        seconds = torch.tensor([one.seconds or 0.0 for one in found])
        seen = (self._look(images, clip=False) for images in (wanted, drawn))
        numbers = {
            "mse": 4 * mse,  # of images in [-1, 1]
            "psnr": metrics.psnr(mse),
            "psnr_ganinverter": 10 * torch.log10(2 / (4 * mse).clamp_min(1e-10)),
            "seconds": seconds,
            **self._likeness(*seen),
        }
        return _columns(numbers, INVERSION, len(found))


def _columns(found: Mapping[str, Tensor], names: tuple[str, ...], count: int) -> Tensor:
    """Numbers [n] by name as [n, names]; not a number where there is none."""
    missing = torch.full((count,), torch.nan)
    return torch.stack([found.get(name, missing).double().cpu() for name in names], dim=1)


def _rows(faces: Faces, found: Tensor) -> Values:
    """Numbers of the faces that can be used, [n, ...], in the rows of all [N, ...]."""
    whole = torch.full((len(faces), *found.shape[1:]), torch.nan, dtype=torch.float64)
    whole[faces.usable] = found.double()
    return whole.numpy()


def _content(edit: Edit) -> str:
    """What an edit is, whatever it is called: a hash, in hex."""
    if isinstance(edit, Direction):
        tensors = [edit.delta]
    elif isinstance(edit, MapperEdit):
        tensors = [*edit.trained.network.state_dict().values(), torch.tensor(edit.trained.strength)]
    else:
        assert isinstance(edit, Optimization)
        return hashlib.sha256(repr((edit.target, edit.neutral, edit.settings)).encode()).hexdigest()
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
