"""Train CLIPs: pictures and captions of the same person meet, everything else parts.

The loss is CLIP's (symmetric cross-entropy over the batch) with three helps that a tiny model on a small
machine needs: three fifths of a batch are pictures that differ in one attribute, whose captions mostly
differ in one fact, captions that happen to be true of another picture are not counted as wrong for
it, and a head that reads the attributes off the image embedding shares the trunk during training and is
then dropped. A second, smaller one, from another start and other captions, judges edits.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from styleclip_cli.edits.templates import IMAGENET_TEMPLATES
from styleclip_cli.nets.clip import Clip, clip_model_class, preprocess, tokenize
from styleclip_cli.nets.ops import channels_last
from styleclip_cli.world.attributes import COUNT, INDEX, mirrored, shown, visibility
from styleclip_cli.world.networks import resized
from toyworld_training.clip import Tokens as _Tokens
from toyworld_training.clip import encode_rows, pack_state
from toyworld_training.common import half, run
from toyworld_training.judge import disturb
from world_training import captions
from world_training.captions import WORDS, Fact
from world_training.data import Pictures, turned
from world_training.generator import held_out
from world_training.people import FLIPPED, TURNS, person

TEXT_LENGTH = 56


class Tokens(_Tokens):
    """The tokens that captions of the world are made of."""

    def __init__(self) -> None:
        phrases = [t.format("face") for t in IMAGENET_TEMPLATES] + captions.vocabulary()
        ids = sorted({int(i) for row in tokenize(phrases) for i in row if i})
        self._take(ids, TEXT_LENGTH)


class Speaker:
    """Captions for pictures, with the facts that each caption states."""

    def __init__(self) -> None:
        self._index = {fact: i for i, fact in enumerate(WORDS)}
        self.count = len(WORDS)

    def hot(self, stated: list[Fact]) -> np.ndarray:
        """Multi-hot vector of some facts."""
        hot = np.zeros(self.count, dtype=np.float32)
        hot[[self._index[fact] for fact in stated]] = 1
        return hot

    def pair(
        self, told: tuple[dict[str, str], dict[str, str]], rng: np.random.Generator
    ) -> tuple[list[str], list[list[Fact]]]:
        """Two captions and what they state; where one fact differs, often a minimal pair."""
        first, second = told
        differing = [topic for topic in first | second if first.get(topic) != second.get(topic)]
        stated: list[list[Fact]] = []
        if 1 <= len(differing) <= 3 and rng.random() < 0.7:
            common = [topic for topic in first if topic not in differing]
            count = min(int(rng.choice([0, 0, 0, 1, 2, 3])), len(common))
            chosen = [str(topic) for topic in rng.choice(common, count, replace=False)] if count else []
            named = [*chosen, str(rng.choice(differing))]
            silent = rng.random() < 0.5
            state = rng.integers(2**31)
            for facts in told:
                pairs = [(topic, facts[topic]) for topic in named if topic in facts]
                stated.append(
                    [f for f in pairs if not (silent and f[0] == named[-1] and captions.is_absence(f))]
                )
            return [captions.compose(s, np.random.default_rng(state)) for s in stated], stated
        for facts in told:
            must = str(rng.choice(differing)) if differing and rng.random() < 0.7 else None
            stated.append(captions.choose(facts, rng, must))
        return [captions.compose(s, rng) for s in stated], stated


def build(vocabulary: int, seed: int, width: int, embed: int, text_width: int, text_layers: int) -> nn.Module:
    """CLIP's own class, with the ResNet image tower, at a small size."""
    torch.manual_seed(seed)
    model = clip_model_class()(
        embed_dim=embed,
        image_resolution=128,
        vision_layers=(1, 2, 2, 1),
        vision_width=width,
        vision_patch_size=None,
        context_length=77,
        vocab_size=vocabulary,
        transformer_width=text_width,
        transformer_heads=2,
        transformer_layers=text_layers,
    )
    assert isinstance(model, nn.Module)
    return model


def train(data: Pictures, folder: Path, steps: int = 5000, pairs: int = 40) -> dict[str, Tensor]:
    """Train and return the editing CLIP's weights, with the token table in its small form."""
    tokens = Tokens()
    model = build(tokens.count, seed=7, width=18, embed=128, text_width=128, text_layers=3)
    return _train("clip", data, folder, model, tokens, steps, pairs)


def train_second(data: Pictures, folder: Path, steps: int = 3500, pairs: int = 40) -> dict[str, Tensor]:
    """Train and return the judging CLIP's weights."""
    tokens = Tokens()
    model = build(tokens.count, seed=77, width=12, embed=96, text_width=96, text_layers=2)
    return _train("judge_clip", data, folder, model, tokens, steps, pairs)


def _train(
    name: str, data: Pictures, folder: Path, model: nn.Module, tokens: Tokens, steps: int, pairs: int
) -> dict[str, Tensor]:
    speaker = Speaker()
    channels_last(model)
    embed = model.text_projection.shape[1]  # type: ignore[index]
    module = nn.ModuleDict({"clip": model, "head": nn.Linear(int(embed), COUNT)})
    attributes = data.people.attributes
    other = sum(map(ord, name)) * 1_000_000

    def step(number: int, rng: torch.Generator) -> dict[str, Tensor]:
        nrng = np.random.default_rng(number + other)
        flips = pairs * 3 // 5
        items = torch.randint(data.ready // TURNS, (pairs,), generator=rng) * TURNS
        items = items + torch.where(
            torch.arange(pairs) < flips,
            torch.randint(len(FLIPPED), (pairs,), generator=rng),
            torch.randint(len(FLIPPED), TURNS, (pairs,), generator=rng),
        )
        items, members = items.repeat_interleave(2), torch.arange(2).repeat(pairs)
        flip = (torch.rand(pairs, generator=rng) < 0.5).repeat_interleave(2)
        (images,) = turned(flip, resized(data.images(items, members), 128))
        images = preprocess(disturb(images, rng), 128)
        a = attributes[items, members]
        a = torch.where(flip[:, None], mirrored(a), a)
        seen = visibility(a)
        told_of = [
            captions.facts(face, visible)
            for face, visible in zip(captions.to_numpy(a), seen.numpy(), strict=True)
        ]
        texts, stated, true = [], [], []
        for told in zip(told_of[::2], told_of[1::2], strict=True):
            both, facts = speaker.pair(told, nrng)
            template = str(nrng.choice(IMAGENET_TEMPLATES)) if nrng.random() < 0.8 else "{}"
            texts += [template.format(t) for t in both]
            stated += [speaker.hot(f) for f in facts]
            true += [speaker.hot(list(t.items())) for t in told]
        rows, end = tokens.rows(texts)
        dropped = torch.rand(rows.shape, generator=rng) < 0.01
        dropped &= (rows > 0) & (torch.arange(rows.shape[1]) < end[:, None])
        rows = torch.where(dropped, tokens.count - 1, rows)[:, : int(end.max()) + 1]
        with half():
            raw_image = model.visual(images.contiguous(memory_format=torch.channels_last))  # type: ignore[operator]
            raw_text = encode_rows(model, rows, end)
        image, text = F.normalize(raw_image.float(), dim=1), F.normalize(raw_text.float(), dim=1)
        logits = model.logit_scale.exp().clamp(max=60) * image @ text.T  # type: ignore[operator]
        said, holds = torch.from_numpy(np.stack(stated)), torch.from_numpy(np.stack(true))
        also_true = holds @ said.T >= said.sum(1)[None, :] - 0.5  # [image, text]
        also_true.fill_diagonal_(False)
        logits = logits.masked_fill(also_true, -30.0)
        target = torch.arange(len(logits))
        contrast = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
        read = F.smooth_l1_loss(module["head"](image * 8), shown(a), beta=0.1, reduction="none")
        read = (read * (0.02 + seen)).mean() * 10
        # Where a pair's captions differ, the picture's change and the words' change should agree.
        image_step, text_step = image[1::2] - image[0::2], text[1::2] - text[0::2]
        moved = (text_step.norm(dim=1) > 1e-3).float()
        moved[flips:] = 0
        alike = F.cosine_similarity(image_step, text_step, dim=1, eps=1e-4)
        agree = (moved * (1 - alike)).sum() / moved.sum().clamp(min=1)
        return {"loss": contrast + 2 * read + 0.5 * agree, "contrast": contrast, "read": read, "agree": agree}

    z, images_test = held_out(768, seed=13_000_000)
    truth_test = person(z)[0]

    def report(trained: nn.Module) -> dict[str, float]:
        state = pack_state(trained["clip"].state_dict(), tokens)  # type: ignore[index]
        return accuracies(Clip.from_state_dict(state), truth_test, images_test)

    state = run(
        name, folder, module, step, steps=steps, lr=1.5e-3, betas=(0.9, 0.98), weight_decay=0.02,
        average=0.995, report=report, report_every=500,
    )  # fmt: skip
    return pack_state({k[5:]: v for k, v in state.items() if k.startswith("clip.")}, tokens)


@torch.no_grad()
def accuracies(clip: Clip, truth: Tensor, images: Tensor) -> dict[str, float]:
    """Balanced zero-shot accuracy: of each yes/no attribute in sight, of age and of sex; worst first."""
    seen, a = visibility(truth), shown(truth)
    image = torch.cat([clip.encode_image(x) for x in images.split(64)])

    def embedded(phrases: list[str]) -> Tensor:
        texts = [t.format(p) for p in phrases for t in IMAGENET_TEMPLATES[::8]]
        return F.normalize(clip.encode_text(texts).mean(0), dim=0)

    scores: dict[str, float] = {}
    for name, (yes, no) in captions.questions().items():
        says_yes = image @ (embedded(yes) - embedded(no)) > 0
        k = INDEX[name]
        clear = (seen[:, k] > 0.5) & ((a[:, k] > 0.9) | (a[:, k] < 0.1))
        there = a[:, k] > 0.5
        hits = [(says_yes == there)[clear & (there == side)].float().mean() for side in (True, False)]
        scores[name] = float(sum(hits) / 2)
    told = [captions.facts(f, s) for f, s in zip(captions.to_numpy(truth), seen.numpy(), strict=True)]
    for topic in ("who", "age", "hair_curl", "hair colour", "eyes"):
        values = [value for t, value in WORDS if t == topic]
        sides = torch.stack([embedded(captions.phrases_of((topic, value))) for value in values])
        rows = torch.tensor([i for i, facts in enumerate(told) if topic in facts])
        right = torch.tensor([values.index(told[i][topic]) for i in rows.tolist()])
        best = (image[rows] @ sides.T).argmax(dim=1)
        each = [(best == right)[right == v].float().mean() for v in range(len(values)) if (right == v).any()]
        scores[topic] = float(sum(each) / len(each))
    worst = sorted(scores, key=lambda n: scores[n])
    return {"mean": sum(scores.values()) / len(scores)} | {n: scores[n] for n in worst[:12]}
