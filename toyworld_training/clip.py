"""Train the toy CLIP: pictures and captions of the same face meet, everything else parts.

The loss is CLIP's (symmetric cross-entropy over the batch) with three helps that a tiny model on a
small machine needs: half of a batch are minimal pairs (two faces that differ in one attribute, two
captions that differ in one phrase), captions that happen to be true of another picture are not
counted as wrong for it, and a head that reads the attributes off the image embedding shares the
trunk during training and is then dropped.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from styleclip_cli.edits.templates import IMAGENET_TEMPLATES
from styleclip_cli.nets.clip import VOCABULARY, Clip, clip_model_class, preprocess, tokenize
from styleclip_cli.nets.ops import channels_last
from styleclip_cli.toyworld.attributes import ATTRIBUTES, COUNT, INDEX, NAMES, shown, visibility
from toyworld_training import captions
from toyworld_training.common import half, run
from toyworld_training.data import Pairs
from toyworld_training.judge import disturb, held_out

EMBED = 128
HARD = {"glasses": 8.0, "hair_light": 5.0, "hair_length": 3.0, "hair_volume": 2.0, "eye_blue": 2.0}
TEXT_LENGTH = 48  # tokens read while training; attention is causal, so the rest of the 77 does not matter


def build(vocabulary: int) -> nn.Module:
    """CLIP's own class, with the ResNet image tower, at toy size."""
    model = clip_model_class()(
        embed_dim=EMBED,
        image_resolution=128,
        vision_layers=(1, 2, 2, 1),
        vision_width=16,
        vision_patch_size=None,
        context_length=77,
        vocab_size=vocabulary,
        transformer_width=128,
        transformer_heads=2,
        transformer_layers=3,
    )
    assert isinstance(model, nn.Module)
    return model


class Tokens:
    """Maps CLIP's 49,408 tokens to the few hundred the toy world speaks; row K stands for all others."""

    def __init__(self) -> None:
        phrases = [t.format("face") for t in IMAGENET_TEMPLATES] + captions.vocabulary()
        self._take(sorted({int(i) for row in tokenize(phrases) for i in row if i}), TEXT_LENGTH)

    def _take(self, ids: list[int], length: int) -> None:
        self.length = length
        self.ids = torch.tensor([0, *ids])  # 0 is the padding
        self._to_row = torch.full((VOCABULARY,), len(self.ids), dtype=torch.long)
        self._to_row[self.ids] = torch.arange(len(self.ids))

    @property
    def count(self) -> int:
        """Rows of the token table, the shared one included."""
        return len(self.ids) + 1

    def rows(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """Rows [N, length] of the small table, and the place of each text's end, [N]."""
        tokens = tokenize(texts)
        return self._to_row[tokens[:, : self.length]], tokens.argmax(dim=1).clamp(max=self.length - 1)


def encode_rows(model: nn.Module, rows: Tensor, end: Tensor) -> Tensor:
    """CLIP's encode_text on shortened sequences, exact because attention is causal. -> [N, EMBED]."""
    m: object = model
    length = rows.shape[1]
    x = m.token_embedding(rows) + m.positional_embedding[:length]  # type: ignore[attr-defined]
    x = x.permute(1, 0, 2)  # [L, N, D]
    for block in m.transformer.resblocks:  # type: ignore[attr-defined]
        y = block.ln_1(x)
        x = x + block.attn(y, y, y, need_weights=False, attn_mask=block.attn_mask[:length, :length])[0]
        x = x + block.mlp(block.ln_2(x))
    x = m.ln_final(x.permute(1, 0, 2))  # type: ignore[attr-defined]
    return x[torch.arange(len(rows)), end] @ m.text_projection  # type: ignore[attr-defined]


class Speaker:
    """Captions for pictures, with the set of facts that each caption states."""

    def __init__(self) -> None:
        keys = [f"{n}{side}" for n in (*NAMES, "hair_colour", "hair") for side in "+-~"]
        keys += [f"colour {c}" for c in ("black", "brown", "blond", "red", "grey")]
        self._fact = {key: i for i, key in enumerate(keys)}
        self.count = len(keys)

    def _keys(self, face: np.ndarray, told: dict[str, captions.Words]) -> dict[str, int]:
        keys = {}
        for name in told:
            if name == "hair_colour":
                keys[name] = self._fact[f"colour {captions.hair_colour(face)}"]
            elif name == "hair":
                keys[name] = self._fact["hair+"]
            elif told[name].nouns == ("short hair",):
                keys[name] = self._fact["hair_length~"]
            else:
                keys[name] = self._fact[f"{name}{'+' if face[INDEX[name]] > 0.5 else '-'}"]
        return keys

    def all_facts(self, face: np.ndarray, seen: np.ndarray) -> np.ndarray:
        """Multi-hot vector of everything that is true of a face."""
        hot = np.zeros(self.count, dtype=np.float32)
        hot[list(self._keys(face, captions.facts(face, seen)).values())] = 1
        return hot

    def pair(
        self, faces: np.ndarray, seen: np.ndarray, rng: np.random.Generator
    ) -> tuple[list[str], np.ndarray]:
        """Two captions and their facts; for faces that differ in one attribute, often a minimal pair."""
        told = [captions.facts(f, s) for f, s in zip(faces, seen, strict=True)]
        differing = [n for n in told[0] if n not in told[1] or told[1][n] is not told[0][n]]
        differing += [n for n in told[1] if n not in told[0]]
        texts, hots = [], np.zeros((2, self.count), dtype=np.float32)
        if len(set(differing)) == 1 and rng.random() < 0.7:
            name = differing[0]
            common = [n for n in told[0] if n != name]
            count = min(int(rng.choice([0, 0, 0, 1, 2, 3])), len(common))
            chosen = [str(n) for n in rng.choice(common, count, replace=False)] if count else []
            state = rng.integers(2**31)
            silent = name in INDEX and ATTRIBUTES[INDEX[name]].presence and rng.random() < 0.5
            for i in range(2):
                keys = self._keys(faces[i], told[i])
                absent = name in INDEX and faces[i][INDEX[name]] < 0.5
                named = chosen + ([name] if name in told[i] and not (silent and absent) else [])
                texts.append(captions.compose([told[i][n] for n in named], np.random.default_rng(state)))
                hots[i, [keys[n] for n in named]] = 1
            return texts, hots
        for i in range(2):
            must = differing[0] if differing and rng.random() < 0.7 else None
            names, text = captions.choose(told[i], faces[i], rng, must)
            keys = self._keys(faces[i], told[i])
            texts.append(text)
            hots[i, [keys[n] for n in names]] = 1
        return texts, hots


def train(data: Pairs, folder: Path, steps: int = 5100, pairs: int = 48) -> dict[str, Tensor]:
    """Train and return CLIP's weights, with the token table in its small form."""
    torch.manual_seed(7)
    tokens, speaker = Tokens(), Speaker()
    model = build(tokens.count)
    channels_last(model)
    head = nn.Linear(EMBED, COUNT)
    module = nn.ModuleDict({"clip": model, "head": head})
    attributes = data.load_attributes()
    saturated, seen = captions.to_numpy(attributes), visibility(attributes.flatten(0, 1)).view_as(attributes)
    seen_np = seen.numpy()
    # What is hidden in most faces, or is told by a single word among similar ones, is shown more often.
    flipped = (attributes[0::2, 0] != attributes[0::2, 1]).float().argmax(dim=1)
    often = torch.tensor([HARD.get(name, 1.0) for name in NAMES])
    interest = often[flipped]

    def step(number: int, rng: torch.Generator) -> dict[str, Tensor]:
        nrng = np.random.default_rng(number)
        even = torch.multinomial(interest, pairs * 3 // 4, replacement=True, generator=rng) * 2
        odd = torch.randint(data.ready // 2, (pairs - len(even),), generator=rng) * 2 + 1
        index = torch.cat([even, odd])
        images = preprocess(disturb(data.images(index), rng), 128)
        texts, stated, true = [], [], []
        for i in index.tolist():
            both, hots = speaker.pair(saturated[i], seen_np[i], nrng)
            template = str(nrng.choice(IMAGENET_TEMPLATES)) if nrng.random() < 0.8 else "{}"
            texts += [template.format(t) for t in both]
            stated.append(hots)
            true += [speaker.all_facts(saturated[i, j], seen_np[i, j]) for j in range(2)]
        rows, end = tokens.rows(texts)
        dropped = (
            (torch.rand(rows.shape, generator=rng) < 0.01)
            & (rows > 0)
            & (torch.arange(rows.shape[1]) < end[:, None])
        )
        rows = torch.where(dropped, tokens.count - 1, rows)
        rows = rows[:, : int(end.max()) + 1]
        with half():
            raw_image = model.visual(images.contiguous(memory_format=torch.channels_last))  # type: ignore[operator]
            raw_text = encode_rows(model, rows, end)
        image, text = F.normalize(raw_image.float(), dim=1), F.normalize(raw_text.float(), dim=1)
        logits = model.logit_scale.exp().clamp(max=60) * image @ text.T  # type: ignore[operator]
        facts_stated, facts_true = torch.from_numpy(np.concatenate(stated)), torch.from_numpy(np.stack(true))
        also_true = facts_true @ facts_stated.T >= facts_stated.sum(1)[None, :] - 0.5  # [image, text]
        also_true.fill_diagonal_(False)
        logits = logits.masked_fill(also_true, -30.0)
        target = torch.arange(len(logits))
        contrast = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
        a = attributes[index].flatten(0, 1)
        read = F.smooth_l1_loss(head(image * 8), shown(a), beta=0.1, reduction="none")
        read = (read * (0.02 + seen[index].flatten(0, 1))).mean() * 10
        # Where a pair's captions differ, the picture's change and the words' change should agree.
        image_step, text_step = image[1::2] - image[0::2], text[1::2] - text[0::2]
        moved = (text_step.norm(dim=1) > 1e-3).float()
        moved[len(even) :] = 0
        agree = (
            moved * (1 - F.cosine_similarity(image_step, text_step, dim=1, eps=1e-4))
        ).sum() / moved.sum()
        return {"loss": contrast + 2 * read + 0.5 * agree, "contrast": contrast, "read": read, "agree": agree}

    test_truth, test_images = held_out(400)

    def report(trained: nn.Module) -> dict[str, float]:
        state = pack_state(trained["clip"].state_dict(), tokens)  # type: ignore[index]
        return accuracies(Clip.from_state_dict(state), test_truth, test_images)

    state = run(
        "clip", folder, module, step, steps=steps, lr=1.5e-3, betas=(0.9, 0.98), weight_decay=0.02,
        average=0.995, report=report, report_every=250,
    )  # fmt: skip
    return pack_state({k[5:]: v for k, v in state.items() if k.startswith("clip.")}, tokens)


def pack_state(state: dict[str, Tensor], tokens: Tokens) -> dict[str, Tensor]:
    """The weights as the pack stores them: a token table of only the words that were learned."""
    packed = {k: v for k, v in state.items() if k != "token_embedding.weight"}
    packed["token_embedding.rows"] = state["token_embedding.weight"]
    packed["token_embedding.ids"] = tokens.ids
    return packed


@torch.no_grad()
def accuracies(clip: Clip, truth: Tensor, images: Tensor) -> dict[str, float]:
    """Balanced zero-shot accuracy on every yes/no attribute that can be seen; the mean, then worst first."""
    seen, a = visibility(truth), shown(truth)
    image = torch.cat([clip.encode_image(x) for x in images.split(64)])
    scores: dict[str, float] = {}
    for name, (yes, no) in captions.yes_no_questions().items():
        side = [
            F.normalize(
                clip.encode_text([t.format(p) for p in phrases for t in IMAGENET_TEMPLATES[::8]]).mean(0),
                dim=0,
            )
            for phrases in (yes, no)
        ]
        says_yes = image @ (side[0] - side[1]) > 0
        k = INDEX[name]
        clear = (seen[:, k] > 0.5) & ((a[:, k] > 0.9) | (a[:, k] < 0.1))
        there = a[:, k] > 0.5
        hits = [(says_yes == there)[clear & (there == side_)].float().mean() for side_ in (True, False)]
        scores[name] = float(sum(hits) / 2)
    worst = sorted(scores, key=lambda n: scores[n])
    return {"mean": sum(scores.values()) / len(scores)} | {n: scores[n] for n in worst}
