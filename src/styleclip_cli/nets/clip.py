"""CLIP behind a small adapter: images in generator range and sentences in, unit vectors out.

The network and the tokenizer are clip-anytorch's (`packages`).
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from styleclip_cli.errors import BadInputError, shortened
from styleclip_cli.nets.building import Uninitialised, fill, weights_of
from styleclip_cli.nets.ops import channels_last
from styleclip_cli.nets.packages import CLIP

CONTEXT_LENGTH = 77
VOCABULARY = 49408
START, END = 49406, 49407
# Mean and spread of CLIP's training images, RGB in [0, 1] (clip.py, _transform).
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)

Preprocessing = Literal["clip", "styleclip"]


def clip_model_class() -> type[nn.Module]:
    """The class of OpenAI's CLIP network.

    Returns:
        clip-anytorch's `CLIP`.

    Raises:
        WeightsError: If clip-anytorch is missing or damaged.
    """
    model: type[nn.Module] = CLIP.member("model", "CLIP")
    return model


@cache
def _tokenizer() -> Any:
    kind = CLIP.member("simple_tokenizer", "SimpleTokenizer")
    try:
        made = kind()
        if len(made.encoder) != VOCABULARY:
            raise ValueError(f"{len(made.encoder)} tokens, not {VOCABULARY}")
        return made
    except (OSError, EOFError, AttributeError, ValueError, zlib.error) as error:
        raise CLIP.in_the_way("bpe_simple_vocab_16e6.txt.gz", error) from None


@cache
def _reads_few() -> bool:
    """Whether the network takes fewer than 77 tokens: OpenAI's own, often installed over ours, does not."""
    return CLIP.is_own("model.py")


def tokenize(texts: Sequence[str]) -> Tensor:
    """Turn sentences into CLIP's tokens.

    Args:
        texts: N sentences.

    Returns:
        [N, 77], int64: start, tokens, end, zeros.

    Raises:
        BadInputError: If a sentence has more than 75 tokens.
    """
    rows = torch.zeros(len(texts), CONTEXT_LENGTH, dtype=torch.int64)
    for row, text in zip(rows, texts, strict=True):
        tokens = [START, *_tokenizer().encode(text), END]
        if len(tokens) > CONTEXT_LENGTH:
            raise BadInputError(
                f'"{shortened(text, 40)}" has {len(tokens) - 2} tokens, CLIP reads {CONTEXT_LENGTH - 2}',
                "say it in fewer words",
            )
        row[: len(tokens)] = torch.tensor(tokens)
    return rows


def preprocess(images: Tensor, resolution: int, how: Preprocessing = "clip") -> Tensor:
    """Turn generator images into CLIP's input, differentiably.

    Args:
        images: [N, 3, H, W] in [-1, 1].
        resolution: Side of CLIP's input in pixels.
        how: "clip": antialiased bicubic resize to the shorter side, middle square, CLIP's normalisation.
            "styleclip": nearest x7, then an average pool to the resolution, no normalisation: what the
            official optimisation and mapper feed to CLIP (criteria/clip_loss.py), and so what published
            results used.

    Returns:
        [N, 3, resolution, resolution].
    """
    if how == "styleclip":
        return F.adaptive_avg_pool2d(F.interpolate(images, scale_factor=7, mode="nearest"), resolution)
    height, width = images.shape[-2:]
    if min(height, width) != resolution:
        shorter = min(height, width)  # torchvision's Resize cuts the longer side, its CenterCrop rounds
        height, width = (int(resolution * side / shorter) for side in (height, width))
        images = F.interpolate(images, (height, width), mode="bicubic", antialias=True, align_corners=False)
    if height != width:
        top, left = (round((side - resolution) / 2) for side in (height, width))
        images = images[..., top : top + resolution, left : left + resolution]
    mean = images.new_tensor(MEAN).view(3, 1, 1)  # [3, 1, 1]
    std = images.new_tensor(STD).view(3, 1, 1)  # [3, 1, 1]
    return (images * 0.5 + 0.5 - mean) / std


class Clip(nn.Module):
    """A frozen CLIP.

    Attributes:
        model: clip-anytorch's network, float32.
        resolution: Side of its input in pixels.
        embed_dim: Length of its vectors.
    """

    def __init__(self, model: nn.Module, resolution: int, embed_dim: int) -> None:
        super().__init__()
        self.model: Any = model
        self.resolution = resolution
        self.embed_dim = embed_dim

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Tensor]) -> Clip:
        """Build the network that a state dict of OpenAI's CLIP describes, ViT or ResNet.

        The token table may be sparse: `token_embedding.rows` [K + 1, width] for the tokens
        `token_embedding.ids` [K], the last row standing for all other tokens. A tensor `gelu` says that it
        was trained with GELU, as LAION's were, in place of OpenAI's approximation of it.

        Args:
            state: Tensors under OpenAI's names.

        Returns:
            The frozen network, float32.

        Raises:
            WeightsError: If it is not such a state dict.
        """
        full = dict(state)
        gelu = full.pop("gelu", None)
        with weights_of("a CLIP", AssertionError, AttributeError):
            if "token_embedding.rows" in full:
                rows, ids = full.pop("token_embedding.rows"), full.pop("token_embedding.ids")
                table = rows[-1:].repeat(VOCABULARY, 1)
                table[ids.long()] = rows[:-1]
                full["token_embedding.weight"] = table
            # build_model deletes entries of its argument and rounds to half precision; load again in full.
            with Uninitialised():
                model = CLIP.member("model", "build_model")(dict(full)).float()
            for extra in ("input_resolution", "context_length", "vocab_size"):
                full.pop(extra, None)
            fill(model, full)
        for module in model.modules() if gelu is not None else ():
            if hasattr(module, "gelu"):
                module.gelu = nn.GELU()
        clip = cls(model, int(model.visual.input_resolution), int(model.text_projection.shape[1]))
        return channels_last(clip.eval().requires_grad_(False))

    def encode_image(self, images: Tensor, how: Preprocessing = "clip") -> Tensor:
        """Embed images; differentiable.

        Args:
            images: [N, 3, H, W] in [-1, 1].
            how: As in `preprocess`.

        Returns:
            [N, embed_dim], float32, unit length.
        """
        device = self.model.text_projection.device
        inputs = preprocess(images.to(device), self.resolution, how)
        return F.normalize(self.model.encode_image(inputs).float(), dim=-1)

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Embed sentences.

        Args:
            texts: N sentences.

        Returns:
            [N, embed_dim], float32, unit length.

        Raises:
            BadInputError: If a sentence has more than 75 tokens.
        """
        tokens = tokenize(texts).to(self.model.text_projection.device)
        if _reads_few():
            # Each token sees only those before it, and the last one is read: those behind it cost time only.
            tokens = tokens[:, : int(tokens.argmax(dim=1).max()) + 1]
        return F.normalize(self.model.encode_text(tokens), dim=-1)
