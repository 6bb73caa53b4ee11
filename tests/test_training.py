"""The training loop that the toy networks share, and what they are shown."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from styleclip_cli.nets.clip import Clip
from styleclip_cli.toyworld.attributes import (
    ATTRIBUTES,
    COUNT,
    INDEX,
    attributes_of_normals,
    shown,
    visibility,
)
from styleclip_cli.toyworld.networks import Judge
from toyworld_training import captions
from toyworld_training import clip as train_clip
from toyworld_training.common import run
from toyworld_training.data import BLOCK, Pairs
from toyworld_training.generator import build, overshoot, prune


def descend(folder: Path, steps: int, stop_after: int | None = None) -> dict[str, Tensor]:
    torch.manual_seed(0)
    net = nn.Linear(4, 2)

    def step(number: int, rng: torch.Generator) -> dict[str, Tensor]:
        if stop_after is not None and number == stop_after:
            raise KeyboardInterrupt
        x = torch.randn(8, 4, generator=rng)
        return {"loss": (net(x) - x[:, :2]).square().mean()}

    return run("net", folder, net, step, steps=steps, lr=0.05, average=0.9, save_every=5)


def test_a_stopped_training_goes_on_as_if_it_had_not(tmp_path: Path) -> None:
    whole = descend(tmp_path / "a", 20)
    with pytest.raises(KeyboardInterrupt):
        descend(tmp_path / "b", 20, stop_after=13)
    resumed = descend(tmp_path / "b", 20)
    for name, tensor in whole.items():
        assert torch.equal(resumed[name], tensor)


def test_pictures_are_drawn_once_by_any_number_of_workers(tmp_path: Path) -> None:
    one, two = Pairs(tmp_path / "one", 2 * BLOCK), Pairs(tmp_path / "two", 2 * BLOCK)
    one.draw()
    two.draw(worker=1, workers=2)
    assert two.ready == 0
    two.draw(worker=0, workers=2)
    assert one.ready == two.ready == 2 * BLOCK
    index = torch.tensor([0, BLOCK + 3])
    assert torch.equal(one.images(index), two.images(index))
    assert one.images(index, 1).shape == (2, 3, 128, 128)


def test_overshooting_changes_nothing_that_shows() -> None:
    a = attributes_of_normals(torch.randn(64, COUNT, generator=torch.Generator().manual_seed(0)))
    w_plus = overshoot(a, 12, torch.Generator().manual_seed(1))
    assert float(w_plus.abs().max()) > 2
    for layer in w_plus.unbind(1):
        assert torch.allclose(shown((layer + 1) / 2), shown(a), atol=1e-5)
        assert torch.allclose(((layer + 1) / 2).clamp(0, 1).round(), a.clamp(0, 1).round())


def test_pruned_channels_have_no_spread() -> None:
    generator = build()
    prune(generator, least=10.0)
    with torch.no_grad():
        styles = generator.style_space.concat(generator.styles(torch.randn(4, 12, COUNT)))
    assert float(styles.std(dim=0).max()) == 0


def test_captions_of_a_pair_are_true_and_tell_it_apart() -> None:
    speaker, rng = train_clip.Speaker(), np.random.default_rng(0)
    face = torch.tensor([[0.0 if attribute.presence else 0.5 for attribute in ATTRIBUTES]]).repeat(2, 1)
    face[1, INDEX["glasses"]] = 1.0
    seen, plain = visibility(face).numpy(), captions.to_numpy(face)
    facts = np.stack([speaker.all_facts(f, s) for f, s in zip(plain, seen, strict=True)])
    for _ in range(50):
        _, stated = speaker.pair(plain, seen, rng)
        assert (facts >= stated).all()


def test_the_small_token_table_is_clips_own() -> None:
    """Reading rows of the small table is the same as CLIP's encode_text with the table spread out."""
    torch.manual_seed(0)
    tokens = train_clip.Tokens()
    model = train_clip.build(tokens.count).eval()
    clip = Clip.from_state_dict(train_clip.pack_state(model.state_dict(), tokens))
    texts = ["a photo of a face with glasses.", "zzyzx portrait without a hat"]
    with torch.no_grad():
        ours = train_clip.encode_rows(model, *tokens.rows(texts))
        theirs = clip.encode_text(texts)
    assert torch.allclose(nn.functional.normalize(ours, dim=1), theirs, atol=1e-5)


def test_the_judge_is_bounded() -> None:
    judge = Judge.from_state_dict(Judge(width=4).state_dict())
    read = judge(torch.randn(2, 3, 64, 64) * 50)
    assert read.shape == (2, COUNT)
    assert 0 <= float(read.min()) <= float(read.max()) <= 1
