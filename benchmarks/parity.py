"""How far our numbers are from the official implementations': `python benchmarks/parity.py [FOLDER]`.

The folder (`tests/golden` where none is named) holds small networks in the official formats, and in .npz
files what the official code computes with them. Files are known by what they hold, whatever they are called:
weights are read as a person's file would be, and held against the numbers that fit them; of several such
against those that are nearest. Weights may also lie beside the numbers, in arrays called state/... Prints the
largest relative error (largest difference / largest value) of each quantity, and ends with 1 if one exceeds
1e-4.
"""

from __future__ import annotations

import json
import math
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from styleclip_cli.edits.directions import find_direction
from styleclip_cli.errors import WeightsError
from styleclip_cli.measure.relevance import Relevance
from styleclip_cli.measure.statistics import StyleStatistics
from styleclip_cli.nets.clip import Clip, tokenize
from styleclip_cli.nets.e4e import Encoder
from styleclip_cli.nets.irse import ArcFace
from styleclip_cli.nets.mapper import STRENGTH, LatentMapper
from styleclip_cli.nets.stylegan2 import Generator
from styleclip_cli.photo.align import cut, ffhq_quad
from styleclip_cli.weights.readers import Part, archives, read_parts

BAR = 1e-4
GOLDEN = Path(__file__).parent.parent / "tests" / "golden"
Arrays = Mapping[str, np.ndarray]
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


def rosinality(path: Path, found: Arrays) -> Iterator[Row]:
    """StyleGAN2 as StyleCLIP has it; a file of the training script has no mean latent to truncate with."""
    net, z, w_plus = generator(path), tensor(found["z"]), tensor(found["w_plus"])
    yield "z -> w", net.map(z), found["w"]
    yield "w -> picture", net(net.w_plus(z)), found["image_w"]
    if "latent_avg" in archives.fields(archives.read(path).value):
        yield "truncation 0.7 -> picture", net(net.w_plus(z, 0.7)), found["image_truncation_0_7"]
    styles = net.styles(w_plus)
    yield "W+ -> styles", net.style_space.concat(styles), found["styles_w_plus"]
    yield "W+ -> picture", net(w_plus), found["image_w_plus"]
    edited = net.style_space.split(tensor(found["edited_styles"]))
    yield "edited styles -> picture", net.synthesize(edited), found["image_edited_styles"]


def nvlabs(path: Path, found: Arrays) -> Iterator[Row]:
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


def encoder(path: Path, found: Arrays) -> Iterator[Row]:
    """The e4e encoder."""
    state, notes = weights(path, "encoder")
    net = Encoder.from_state_dict(state, state.pop("latent_avg"), notes).eval()
    yield "picture -> codes", net.codes(tensor(found["image"])), found["codes"]
    yield "picture -> W+", net(tensor(found["image"])), found["w_plus"]


def identity(path: Path, found: Arrays) -> Iterator[Row]:
    """ArcFace."""
    net = ArcFace.from_state_dict(weights(path, "identity")[0])
    yield "picture -> embedding", net(tensor(found["image"])), found["embedding"]


def clip(path: Path, found: Arrays) -> Iterator[Row]:
    """OpenAI's CLIP."""
    net, tokens = Clip.from_state_dict(weights(path, "clip")[0]), tokenize(json.loads(str(found["prompts"])))
    yield "sentences -> tokens", tokens.float(), found["tokens"]
    image, text = net.model.encode_image(tensor(found["pixels"])), net.model.encode_text(tokens)
    yield "pixels -> features", image, found["image_features"]
    yield "tokens -> features", text, found["text_features"]
    unit = [features / features.norm(dim=1, keepdim=True) for features in (image, text)]
    yield "similarity", net.model.logit_scale.exp() * unit[0] @ unit[1].T, found["logits_per_image"]


def mapper(path: Path, found: Arrays) -> Iterator[Row]:
    """A latent mapper."""
    net, w_plus = LatentMapper.from_state_dict(weights(path, "mapper")[0]), tensor(found["w_plus"])
    offset = net(w_plus)
    moved = offset.abs().amax(dim=(0, 2)) > 0  # the numbers may leave out what stays
    kept = slice(None) if found["offset"].shape == offset.shape else moved
    yield "W+ -> offset", offset[:, kept], found["offset"]
    yield "W+ -> edited W+", (w_plus + STRENGTH * offset)[:, kept], found["edited"]


def relevance(path: Path, found: Arrays) -> Iterator[Row]:
    """fs3.npy, which is in half precision: what rounding explains is no difference."""
    ours, theirs = weights(path, "relevance")[0]["matrix"], found["fs3"]
    rounding = 0.501 * np.spacing(np.abs(theirs).astype(np.float16)).astype(np.float64)
    yield "relevance", ours, np.where(np.abs(ours.numpy() - theirs) <= rounding, ours.numpy(), theirs)


def statistics(path: Path, found: Arrays) -> Iterator[Row]:
    """S_mean_std."""
    ours = weights(path, "statistics")[0]
    yield "means", ours["mean"], found["mean"]
    yield "standard deviations", ours["std"], found["std"]


def direction(found: Arrays) -> Iterator[Row]:
    """A global direction, from relevance and standard deviations; or several of one generator."""
    widths = found["widths"].tolist()
    channels = torch.from_numpy(np.flatnonzero(~np.repeat(found["is_to_rgb"].astype(bool), widths)))
    relevance = Relevance(tensor(found["fs3"]), channels, sum(widths))
    statistics = StyleStatistics(tensor(found["mean"]), tensor(found["std"]), tuple(widths), 100_000, 5, 0.7)
    way = tensor(found["text_direction"])
    for case in sorted(name.removeprefix("beta") for name in found if name.startswith("beta")):
        ours = find_direction(relevance, statistics, way, beta=float(found[f"beta{case}"]))
        count = found[f"num_channels{case}"].reshape(1)
        yield f"number of channels{case}", tensor(np.array([ours.num_channels])), count
        yield f"direction{case}", ours.delta, found[f"boundary{case}"]
        edited = tensor(found["styles"]) + float(found["alpha"]) * ours.delta
        yield f"edited styles{case}", edited, found[f"edited{case}"]


def alignment(found: Arrays) -> Iterator[Row]:
    """FFHQ's crop of a picture that is made by a formula; or several of them."""
    if "sizes" in found:
        cases = list(zip(found["sizes"], found["landmarks"], found["aligned"], range(99), strict=False))
    else:
        size = found["width"], found["height"]
        cases = [(size, found["landmarks"], found["aligned"], int(found["phase"]))]
    for (width, height), landmarks, aligned, phase in cases:
        x, y = np.meshgrid(np.arange(int(width)), np.arange(int(height)))
        waves = [np.sin(x / 37 + phase) * np.cos(y / 53), np.sin((x + 2 * y) / 61), np.cos((x - y) / 43)]
        pixels = np.clip(127 + 100 * np.stack(waves, axis=-1), 0, 255).astype(np.uint8)
        made = cut(Image.fromarray(pixels), ffhq_quad(landmarks), 256)
        yield f"crop {phase}", tensor(np.asarray(made)), aligned


# What weights are, how they are measured, and the arrays that numbers for them have. Checkpoints of encoders
# and mappers hold a generator as well: they come first.
OF_WEIGHTS: list[tuple[str, Callable[[Path, Arrays], Iterator[Row]], set[str]]] = [
    ("encoder", encoder, {"image", "codes", "w_plus"}),
    ("mapper", mapper, {"w_plus", "offset", "edited"}),
    ("generator", nvlabs, {"z", "c", "mixed_w_plus"}),
    ("generator", rosinality, {"z", "w", "edited_styles"}),
    ("identity", identity, {"image", "embedding"}),
    ("clip", clip, {"prompts", "tokens", "pixels"}),
    ("relevance", relevance, {"fs3", "text_direction"}),
    ("statistics", statistics, {"mean", "std", "widths"}),
]
ALONE: list[tuple[Callable[[Arrays], Iterator[Row]], set[str]]] = [
    (direction, {"fs3", "text_direction", "alpha"}),
    (alignment, {"landmarks", "aligned"}),
]


def fits(part: Part, found: Arrays) -> bool:
    """Whether numbers are of networks of a part's shape."""
    if part.name == "generator":
        conditional = "c" in found and found["c"].size > 0
        return part.state["mapping.0.weight"].shape[1] == found["z"].shape[1] and (
            ("class" in part.notes) == conditional
        )
    if part.name == "relevance":
        return bool(part.state["matrix"].shape == found["fs3"].shape)
    return part.name != "statistics" or part.state["mean"].shape == found["mean"].shape


def beside(numbers: Mapping[str, Arrays], scratch: Path) -> Iterator[tuple[str, Path]]:
    """Write weights that lie beside numbers into files as the official code has them.

    What is nothing on its own is a piece of an encoder.
    """
    pieces: dict[str, Tensor] = {}
    for name, found in numbers.items():
        path = scratch / f"{name}.pt"
        if "codes" in found and "shapes" in found:
            torch.save({"state_dict": decoded(found), "opts": {}}, path)
            yield name, path
            continue
        state = {
            key.removeprefix("state/"): torch.from_numpy(value)
            for key, value in found.items()
            if key.startswith("state/")
        }
        if not state:
            continue
        torch.save(state, path)
        try:
            read_parts(path)
        except WeightsError:
            pieces |= state
        else:
            yield name, path
    if pieces:
        average = pieces.pop("latent_avg", None)
        state = {f"encoder.{key}": value for key, value in pieces.items()}
        torch.save({"state_dict": state, "latent_avg": average, "opts": {}}, scratch / "pieces.pt")
        yield "pieces", scratch / "pieces.pt"


def decoded(found: Arrays) -> dict[str, Tensor]:
    """Tensors of five values each, three to a number."""
    codes = found["codes"]
    digits = np.stack([codes // 25, codes // 5 % 5, codes % 5], axis=1).ravel()
    made, at = {}, 0
    for name, shape, values in zip(found["names"], found["shapes"], found["values"], strict=True):
        sizes = tuple(int(size) for size in shape if size)
        made[str(name)] = torch.from_numpy(values[digits[at : at + math.prod(sizes)]].reshape(sizes))
        at += math.prod(sizes)
    return made


def error_of(ours: Tensor, theirs: np.ndarray) -> float:
    """The largest difference, in units of the largest value."""
    wanted = tensor(theirs)
    if ours.shape != wanted.shape or not bool(ours.isfinite().all()):
        return float("inf")
    return float((ours.float() - wanted).abs().max() / wanted.abs().max())


Table = list[tuple[str, float]]


def table_of(rows: Iterator[Row]) -> Table:
    """Quantities and their errors."""
    with torch.inference_mode():
        return [(quantity, error_of(ours, theirs)) for quantity, ours, theirs in rows]


def measured(path: Path, numbers: Mapping[str, Arrays]) -> Table | str:
    """The errors of a file of weights against the numbers that fit it, or why there are none."""
    try:
        parts = {part.name: part for part in read_parts(path)}
    except WeightsError as error:
        return error.message
    for name, measure, wanted in OF_WEIGHTS:
        if name in parts:
            tables = [
                table_of(measure(path, found))
                for found in numbers.values()
                if wanted <= found.keys() and fits(parts[name], found)
            ]
            if tables:
                return min(tables, key=lambda rows: max(error for _, error in rows))
    return f"{', '.join(parts)}: no numbers fit"


def main() -> int:
    """Measure and print."""
    if len(sys.argv) > 2 or sys.argv[1:] in (["-h"], ["--help"]):
        print(__doc__)
        return 2
    folder = Path(sys.argv[1]) if len(sys.argv) == 2 else GOLDEN
    numbers = {path.name: arrays(path) for path in sorted(folder.glob("*.npz"))}
    others = (path for path in sorted(folder.iterdir()) if path.suffix not in (".npz", ".md"))
    files = [path for path in others if path.is_file()]
    with tempfile.TemporaryDirectory() as scratch:
        tables = {path.name: measured(path, numbers) for path in files}
        tables |= {name: measured(path, numbers) for name, path in beside(numbers, Path(scratch))}
    for name, found in numbers.items():
        for alone, wanted in ALONE:
            if wanted <= found.keys():
                tables[name] = table_of(alone(found))
    worst, rows = 0.0, 0
    for name, table in tables.items():
        if isinstance(table, str):
            print(f"{name:32s} {table}")
            continue
        for quantity, error in table:
            worst, rows = max(worst, error), rows + 1
            print(f"{name:32s} {quantity:28s} {error:.1e}{'  TOO FAR' if error > BAR else ''}")
    print(f"largest relative error {worst:.1e}, the bar is {BAR:.0e}")
    return 0 if rows and worst <= BAR else 1


if __name__ == "__main__":
    sys.exit(main())
