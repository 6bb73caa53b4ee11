"""How strengths are chosen and edits scored, on a renderer and a judge whose numbers are known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor

from styleclip_cli.edits.auto import FACTORS, candidates, choose
from styleclip_cli.edits.chain import Chain
from styleclip_cli.edits.scores import Scores, clip_direction, scores
from styleclip_cli.errors import UsageError
from styleclip_cli.inversion import FaceLatent


class FakeRenderer:
    """Draws a face with the two styles (x, y) as one pixel of these colours."""

    def __init__(self) -> None:
        self.rendered: list[int] = []

    def render(self, faces: Sequence[FaceLatent]) -> Tensor:
        self.rendered.append(len(faces))
        rows = [torch.zeros(1, 2) if face.style_offset is None else face.style_offset for face in faces]
        return torch.cat([torch.cat(rows), torch.zeros(len(rows), 1)], dim=1)[:, :, None, None]


@dataclass
class FakeJudge:
    """CLIP sees (progress(x), y), the identity network a face turned by x times `turn` radians."""

    progress: Callable[[Tensor], Tensor] = lambda x: x
    turn: float | None = 0.0
    asked: list[str] = field(default_factory=list)

    def clip_embeddings(self, images: Tensor) -> Tensor:
        return torch.stack([self.progress(images[:, 0, 0, 0]), images[:, 1, 0, 0]], dim=1)

    def identity_embeddings(self, images: Tensor) -> Tensor | None:
        if self.turn is None:
            return None
        angle = images[:, 0, 0, 0] * self.turn
        return torch.stack([angle.cos(), angle.sin()], dim=1)

    def text_direction(self, target: str, neutral: str) -> Tensor:
        self.asked.append(target)
        if target == neutral:
            raise UsageError("the same")
        return torch.tensor([1.0, 0.0]) if target == "across" else torch.tensor([0.0, 1.0])


@dataclass(frozen=True)
class Step:
    """Alpha 1 adds (x, y) to the styles."""

    x: float = 1.0
    y: float = 0.0
    target: str = "across"
    neutral: str = "face"

    def edited(self, face: FaceLatent, alphas: Sequence[float]) -> list[FaceLatent]:
        return [face.moved(style_offset=alpha * torch.tensor([[self.x, self.y]])) for alpha in alphas]

    def entries(self) -> dict[str, Any]:
        return {}

    def summary(self) -> str:
        return ""


FACE = FaceLatent(torch.zeros(1, 1, 1))


def chosen(judge: FakeJudge, *edits: Step, alpha: float = 4.0, keep: float = 0.8) -> Any:
    return choose(FakeRenderer(), judge, [FACE], edits, alpha, keep)[0]


def test_the_smallest_strength_at_which_the_edit_is_complete() -> None:
    assert chosen(FakeJudge(lambda x: x.clamp(max=4.0)), Step()).alpha == 4.0
    assert chosen(FakeJudge(lambda x: x.clamp(max=2.1)), Step()).alpha == 2.0  # 2 is 95 % of 2.1
    assert chosen(FakeJudge(lambda x: x.clamp(max=2.2)), Step()).alpha == 3.0
    assert chosen(FakeJudge(), Step()).alpha == 4 * FACTORS[-1]


def test_without_progress_as_little_as_can_be() -> None:
    assert chosen(FakeJudge(lambda x: 0.004 * x), Step()).alpha == 4 * FACTORS[0]


def test_the_identity_ends_a_sweep() -> None:
    choice = chosen(FakeJudge(turn=0.2), Step(), keep=0.8)  # cos(0.2 * 3) = 0.825, cos(0.2 * 4) = 0.697
    assert choice.alpha == 3.0
    assert choice.scores.identity == pytest.approx(0.8253, abs=1e-4)
    assert chosen(FakeJudge(turn=0.2), Step(), keep=0.999).alpha == 1.0, "the first step counts in any case"
    assert chosen(FakeJudge(turn=None), Step(), keep=0.999).scores.identity is None


def test_a_sweep_ends_after_two_steps_without_a_gain() -> None:
    renderer = FakeRenderer()
    choose(renderer, FakeJudge(lambda x: x.clamp(max=1.0)), [FACE], [Step()], 4.0)
    assert renderer.rendered == [1, 1, 1, 1]  # before, 1 (the best), 2, 3
    renderer = FakeRenderer()
    done: list[tuple[int, int]] = []
    faces = [FACE, FACE.moved(style_offset=torch.tensor([[1.0, 0.0]]))]  # the second has got there already
    choose(
        renderer,
        FakeJudge(lambda x: x.clamp(max=2.0)),
        faces,
        [Step()],
        4.0,
        advance=lambda *n: done.append(n),
    )
    assert renderer.rendered == [2, 2, 2, 2, 1]
    assert done == [(step, len(FACTORS)) for step in range(len(FACTORS))]


def test_of_comparable_candidates_the_cleanest() -> None:
    wide, narrow, weak = Step(1.0, 0.5), Step(0.85, 0.1), Step(0.75, 0.0)
    assert chosen(FakeJudge(), wide, narrow).edit is narrow
    assert chosen(FakeJudge(), wide, weak).edit is wide
    choice = chosen(FakeJudge(turn=0.5), wide, Step(0.3, 0.3), keep=0.9)
    assert choice.edit == Step(0.3, 0.3), "one that keeps the identity goes before one that goes further"


def test_one_choice_for_several_faces() -> None:
    there = FACE.moved(style_offset=torch.tensor([[1.0, 0.0]]))
    judge = FakeJudge(lambda x: x.clamp(max=4.0))
    alone = [chosen.alpha for chosen in choose(FakeRenderer(), judge, [FACE, there], [Step()], 4.0)]
    assert alone == [4.0, 3.0]
    first, second = choose(FakeRenderer(), judge, [FACE, there], [Step()], 4.0, same=True)
    assert (first.alpha, second.alpha) == (4.0, 4.0)
    assert (first.scores.progress, second.scores.progress) == (4.0, 3.0)
    turned = FakeJudge(turn=0.2)
    far = [FACE, FACE.moved(style_offset=torch.tensor([[0.0, 5.0]]))]
    same = choose(FakeRenderer(), turned, far, [Step()], 4.0, keep_identity=0.8, same=True)
    assert {one.alpha for one in same} == {3.0}, "the lowest identity counts"
    assert float(same[1].edited.style_offset[0, 1]) == 5.0, "each face keeps its own"


def test_a_negative_strength_leads_the_other_way() -> None:
    choice = chosen(FakeJudge(lambda x: x.clamp(-2.0, 2.0)), Step(), alpha=-4.0)
    assert choice.alpha == -2.0
    assert choice.scores == Scores(1.0, 2.0, 1.0)


def test_without_texts_the_default_or_what_keeps_the_identity() -> None:
    judge = FakeJudge(turn=0.2)
    choice = chosen(judge, Step(neutral=""), keep=-1.0)
    assert (choice.alpha, choice.scores.similarity, choice.scores.progress) == (4.0, None, None)
    assert chosen(judge, Step(neutral=""), keep=0.9).alpha == 2.0  # cos(0.2 * 2) = 0.921
    assert judge.asked == []


def test_candidates_are_at_least_one_channel() -> None:
    assert candidates(100) == [10, 33, 100]
    assert candidates(2) == [1, 2]
    assert candidates(1) == [1]


def test_the_direction_of_a_chain_is_the_mean_of_its_steps() -> None:
    judge = FakeJudge()
    one, other = Step(), Step(target="up")
    assert clip_direction(judge, Chain(((one, 3.0), (other, 0.0)))).tolist() == [1.0, 0.0]
    both = clip_direction(judge, Chain(((one, 3.0), (other, -1.0))))
    torch.testing.assert_close(both, torch.tensor([1.0, -1.0]) / 2**0.5)
    assert clip_direction(judge, Chain(((one, 1.0), (one, -1.0)))) is None
    assert clip_direction(judge, Step(target="")) is None
    assert clip_direction(judge, Step(target="face")) is None, "CLIP sees no difference"


def test_scores_of_what_is_known() -> None:
    renderer, direction = FakeRenderer(), torch.tensor([1.0, 0.0])
    before, after = renderer.render([FACE]), renderer.render(Step(3.0, 4.0).edited(FACE, [0.1]))
    assert scores(FakeJudge(), before, after, direction)[0].similarity == pytest.approx(0.6)
    (back,) = scores(FakeJudge(turn=None), before, after, direction, sign=-1)
    assert back.progress == pytest.approx(-0.3)
    assert back.entries() == {"similarity": -0.6, "progress": -0.3, "identity": None}
    (silent,) = scores(FakeJudge(turn=1.0), before, after, None)
    assert silent.entries() == {"similarity": None, "progress": None, "identity": 0.9553}  # cos(0.3)
