"""How far our numbers are from the official implementations': `python benchmarks/parity.py FOLDER`.

The folder holds small networks in the official formats and, in .npz files of the same names, what the
official code computes with them. Each is read as a person's file would be. Prints the largest relative
error (largest difference / largest value) of each quantity, and ends with 1 if one exceeds 1e-4.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from styleclip_cli.align import cut, ffhq_quad
from styleclip_cli.edits.directions import apply, find_direction
from styleclip_cli.edits.relevance import Relevance
from styleclip_cli.nets.clip import Clip, tokenize
from styleclip_cli.nets.e4e import Encoder
from styleclip_cli.nets.irse import ArcFace
from styleclip_cli.nets.mapper import STRENGTH, LatentMapper
from styleclip_cli.nets.stylegan2 import Generator
from styleclip_cli.statistics import StyleStatistics
from styleclip_cli.weights.readers import read_parts

BAR = 1e-4
Row = tuple[str, Tensor, np.ndarray]


def arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an .npz file."""
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def weights(path: Path, name: str, class_index: int = 0) -> tuple[dict[str, Tensor], dict[str, str]]:
    """One part of a file as tensors, and its notes."""
    (part,) = [part for part in read_parts(path, class_index) if part.name == name]
    return {key: torch.from_numpy(np.array(array)) for key, array in part.state.items()}, dict(part.notes)


def tensor(array: np.ndarray) -> Tensor:
    """Single precision."""
    return torch.from_numpy(np.asarray(array, dtype=np.float32))


def generator(path: Path, class_index: int = 0) -> Generator:
    """The generator in a file."""
    return Generator.from_state_dict(weights(path, "generator", class_index)[0]).eval()


def rosinality(path: Path, found: dict[str, np.ndarray]) -> Iterator[Row]:
    """StyleGAN2 as StyleCLIP has it; a file of the training script has no mean latent to truncate with."""
    net, z, w_plus = generator(path), tensor(found["z"]), tensor(found["w_plus"])
    yield "z -> w", net.map(z), found["w"]
    yield "w -> picture", net(net.w_plus(z)), found["image_w"]
    if "trained" not in path.name:
        yield "truncation 0.7 -> picture", net(net.w_plus(z, 0.7)), found["image_truncation_0_7"]
    styles = net.styles(w_plus)
    yield "W+ -> styles", net.style_space.concat(styles), found["styles_w_plus"]
    yield "W+ -> picture", net(w_plus), found["image_w_plus"]
    edited = net.style_space.split(tensor(found["edited_styles"]))
    yield "edited styles -> picture", net.synthesize(edited), found["image_edited_styles"]


def nvlabs(path: Path, found: dict[str, np.ndarray]) -> Iterator[Row]:
    """Generators of NVlabs' PyTorch code; each sample with its class."""
    rows: dict[str, list[tuple[Tensor, np.ndarray]]] = {}
    for i in range(len(found["z"])):
        one = slice(i, i + 1)
        net = generator(path, int(found["c"][i].argmax()) if found["c"].size else 0)
        w_plus = net.w_plus(tensor(found["z"][one]))
        truncated = net.w_plus(tensor(found["z"][one]), 0.6)
        for name, ours, theirs in (
            ("z -> W+", w_plus, "w_plus"),
            ("z -> W+, truncation 0.6", truncated, "w_plus_truncation_0_6"),
            ("W+ -> picture", net(w_plus), "image"),
            ("truncated W+ -> picture", net(truncated), "image_truncation_0_6"),
            ("mixed W+ -> picture", net(tensor(found["mixed_w_plus"][one])), "image_mixed"),
        ):
            wanted = np.broadcast_to(found[theirs][one], ours.shape)
            rows.setdefault(name, []).append((ours, wanted))
    for name, pairs in rows.items():
        yield name, torch.cat([ours for ours, _ in pairs]), np.concatenate([theirs for _, theirs in pairs])


def encoder(path: Path, found: dict[str, np.ndarray]) -> Iterator[Row]:
    """The e4e encoder."""
    state, notes = weights(path, "encoder")
    net = Encoder.from_state_dict(state, state.pop("latent_avg"), notes).eval()
    yield "picture -> codes", net.codes(tensor(found["image"])), found["codes"]
    yield "picture -> W+", net(tensor(found["image"])), found["w_plus"]


def identity(path: Path, found: dict[str, np.ndarray]) -> Iterator[Row]:
    """ArcFace."""
    net = ArcFace.from_state_dict(weights(path, "identity")[0])
    yield "picture -> embedding", net(tensor(found["image"])), found["embedding"]


def clip(path: Path, found: dict[str, np.ndarray]) -> Iterator[Row]:
    """OpenAI's CLIP."""
    net, tokens = Clip.from_state_dict(weights(path, "clip")[0]), tokenize(json.loads(str(found["prompts"])))
    yield "sentences -> tokens", tokens.float(), found["tokens"]
    image, text = net.model.encode_image(tensor(found["pixels"])), net.model.encode_text(tokens)
    yield "pixels -> features", image, found["image_features"]
    yield "tokens -> features", text, found["text_features"]
    unit = [features / features.norm(dim=1, keepdim=True) for features in (image, text)]
    yield "similarity", net.model.logit_scale.exp() * unit[0] @ unit[1].T, found["logits_per_image"]


def mapper(path: Path, found: dict[str, np.ndarray]) -> Iterator[Row]:
    """A latent mapper."""
    net, w_plus = LatentMapper.from_state_dict(weights(path, "mapper")[0]), tensor(found["w_plus"])
    yield "W+ -> offset", net(w_plus), found["offset"]
    yield "W+ -> edited W+", w_plus + STRENGTH * net(w_plus), found["edited"]


def direction(path: Path, found: dict[str, np.ndarray]) -> Iterator[Row]:
    """A global direction, from relevance and standard deviations."""
    widths = found["widths"].tolist()
    channels = torch.from_numpy(np.flatnonzero(~np.repeat(found["is_to_rgb"], widths)))
    relevance = Relevance(tensor(found["fs3"]), channels, sum(widths))
    statistics = StyleStatistics(tensor(found["mean"]), tensor(found["std"]), tuple(widths), 100_000, 5, 0.7)
    ours = find_direction(relevance, statistics, tensor(found["text_direction"]), beta=float(found["beta"]))
    yield "number of channels", tensor(np.array([ours.num_channels])), found["num_channels"].reshape(1)
    yield "direction", ours.delta, found["boundary"]
    yield "edited styles", apply(tensor(found["styles"]), ours, float(found["alpha"])), found["edited"]


def relevance(path: Path, found: dict[str, np.ndarray]) -> Iterator[Row]:
    """fs3.npy, which is in half precision: compared after the same rounding."""
    ours = weights(path, "relevance")[0]["matrix"]
    yield "relevance", ours, found["fs3"].astype(np.float16)


def statistics(path: Path, found: dict[str, np.ndarray]) -> Iterator[Row]:
    """S_mean_std."""
    ours = weights(path, "statistics")[0]
    yield "means", ours["mean"], found["mean"]
    yield "standard deviations", ours["std"], found["std"]


def alignment(path: Path, found: dict[str, np.ndarray]) -> Iterator[Row]:
    """FFHQ's crop of a picture that is made by a formula."""
    width, height, phase = (int(found[name]) for name in ("width", "height", "phase"))
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    waves = [np.sin(x / 37 + phase) * np.cos(y / 53), np.sin((x + 2 * y) / 61), np.cos((x - y) / 43)]
    pixels = np.clip(127 + 100 * np.stack(waves, axis=-1), 0, 255).astype(np.uint8)
    made = cut(Image.fromarray(pixels), ffhq_quad(found["landmarks"]), 256)
    yield "crop", tensor(np.asarray(made)), found["aligned"]


FIXTURES = [
    ("rosinality_generator.pt", "rosinality_generator", rosinality),
    ("rosinality_generator_legacy.pt", "rosinality_generator", rosinality),
    ("rosinality_trained.pt", "rosinality_generator", rosinality),
    ("nvlabs_uncond.pkl", "nvlabs_uncond", nvlabs),
    ("nvlabs_cond.pkl", "nvlabs_cond", nvlabs),
    ("e4e.pt", "e4e", encoder),
    ("arcface_ir_se50.pth", "arcface_ir_se50", identity),
    ("clip_state_dict.pt", "clip", clip),
    ("clip_torchscript.pt", "clip", clip),
    ("mapper_levels_medium_only.pt", "mapper_levels_medium_only", mapper),
    ("boundary_0.npz", "boundary_0", direction),
    ("boundary_1.npz", "boundary_1", direction),
    ("fs3.npy", "boundary_0", relevance),
    ("S_mean_std", "boundary_0", statistics),
    *((f"align_{i}.npz", f"align_{i}", alignment) for i in range(4)),
]


def main() -> int:
    """Measure and print."""
    if len(sys.argv) != 2:
        print(__doc__)
        return 2
    folder, worst, rows = Path(sys.argv[1]), 0.0, 0
    for name, expected, measure in FIXTURES:
        if not (folder / name).exists():
            print(f"{name:32s} not in the folder")
            continue
        with torch.inference_mode():
            for quantity, ours, theirs in measure(folder / name, arrays(folder / f"{expected}.npz")):
                wanted = tensor(theirs)
                error = float("inf")
                if ours.shape == wanted.shape and bool(ours.isfinite().all()):
                    error = float((ours - wanted).abs().max() / wanted.abs().max())
                worst, rows = max(worst, error), rows + 1
                print(f"{name:32s} {quantity:28s} {error:.1e}{'  TOO FAR' if error > BAR else ''}")
    print(f"largest relative error {worst:.1e}, the bar is {BAR:.0e}")
    return 0 if rows and worst <= BAR else 1


if __name__ == "__main__":
    sys.exit(main())
