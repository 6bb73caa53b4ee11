"""Do checks fail where they should? `python benchmarks/check_packs.py [swaps | seeds | full FOLDER]`.

swaps: copies of the toy pack with one part swapped each (with hashes to match), a line for each.
seeds: what the toy pack reaches over seeds, and the bars that follow, which stand in its pack.toml: as far
    beyond the worst as that is from the median, and at least a tenth of the median.
full: the weights of `full_size.py FOLDER` (random, in the published sizes) with ffhq's expectations, and a
    random finder of face-alignment's sizes.
"""

from __future__ import annotations

import os
import shutil
import statistics
import sys
import tempfile
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import tomli_w
import torch
from torch import Tensor

from styleclip_cli.check.report import Report
from styleclip_cli.check.run import check_pack
from styleclip_cli.measure.relevance import Relevance
from styleclip_cli.measure.statistics import StyleStatistics
from styleclip_cli.weights import packs, store
from styleclip_cli.weights.files import load_weights, save_weights

State = dict[str, Tensor]
SEEDS = 12


def shuffled(state: Mapping[str, Tensor], only: Callable[[str], bool] = lambda name: True) -> State:
    """A network with numbers of the right sizes that mean nothing: each tensor's in another order."""
    random = torch.Generator().manual_seed(0)

    def mixed(tensor: Tensor) -> Tensor:
        return tensor.flatten()[torch.randperm(tensor.numel(), generator=random)].reshape(tensor.shape)

    return {name: mixed(t) if t.is_floating_point() and only(name) else t for name, t in state.items()}


def noisy(state: Mapping[str, Tensor], amount: float) -> State:
    """Weights of the convolutions and of the mapping with noise, in parts of their spread."""
    random = torch.Generator().manual_seed(0)
    return {
        name: t + amount * t.float().std() * torch.randn(t.shape, generator=random)
        if t.ndim > 1 and t.is_floating_point()
        else t
        for name, t in state.items()
    }


def other_words(state: Mapping[str, Tensor]) -> State:
    """Each token of CLIP's vocabulary in the place of another, as by another tokenizer."""
    rows = state["token_embedding.rows"]
    order = torch.randperm(len(rows) - 1, generator=torch.Generator().manual_seed(0))
    return {**state, "token_embedding.rows": torch.cat([rows[:-1][order], rows[-1:]])}


def _text(name: str) -> bool:
    return not name.startswith("visual.")


NETWORKS: Mapping[str, tuple[str, Callable[[State], State]]] = {
    "identity: random": ("identity", shuffled),
    "CLIP: random text encoder": ("clip", lambda state: shuffled(state, _text)),
    "CLIP: random image encoder": ("clip", lambda state: shuffled(state, lambda name: not _text(name))),
    "CLIP: another tokenizer": ("clip", other_words),
    "CLIP: the other activation": ("clip", lambda state: {**state, "gelu": torch.ones(1)}),
    "encoder: random": ("encoder", shuffled),
    "landmarks: random": ("landmarks", shuffled),
    "detector: random": ("detector", shuffled),
    "generator: a little noise": ("generator", lambda state: noisy(state, 0.1)),
    "generator: random": ("generator", shuffled),
}
"""Parts of the toy pack that are swapped, and how."""
MEASURED = (
    "relevance: rows in another order",
    "relevance: rows of a layer in another order",
    "statistics: x 1.5",
)


def swapped(folder: Path, swap: str) -> Path:
    """Write a copy of the toy pack with one part swapped, and hashes to match.

    Args:
        folder: Where to.
        swap: Of `NETWORKS` or `MEASURED`.

    Returns:
        The folder.
    """
    shutil.copytree(packs.find_pack(packs.TOY).folder, folder, dirs_exist_ok=True)
    if swap in NETWORKS:
        part, change = NETWORKS[swap]
        path = folder / f"{part}.safetensors"
        state, notes = load_weights(path)
        save_weights(path, {name: t.contiguous() for name, t in change(state).items()}, notes, half=False)
    found, spread = Relevance.load(folder / "relevance.npz"), StyleStatistics.load(folder / "statistics.npz")
    random = torch.Generator().manual_seed(0)
    if swap == "relevance: rows in another order":
        found = replace(found, matrix=found.matrix[torch.randperm(len(found.matrix), generator=random)])
    elif swap == "relevance: rows of a layer in another order":
        matrix, start = found.matrix.clone(), 0
        for width in spread.widths:
            matrix[start : start + width] = matrix[start + torch.randperm(width, generator=random)]
            start += width
        found = replace(found, matrix=matrix)
    elif swap == "statistics: x 1.5":
        spread = replace(spread, std=spread.std * 1.5)
    _sealed(folder)
    pack = packs.find_pack(str(folder))  # measurements say which networks they were made with
    found.save(folder / "relevance.npz", pack.fingerprint_of("generator", "clip"))
    spread.save(folder / "statistics.npz", pack.fingerprint_of("generator"))
    _sealed(folder)
    return folder


def _sealed(folder: Path) -> None:
    """Write the hashes of a pack's files into its TOML."""
    path = folder / packs.PACK_FILE
    content = tomllib.loads(path.read_text(encoding="utf-8"))
    for table in ("components", "data", "mappers"):
        for entry in content.get(table, {}).values():
            entry["sha256"] = store.sha256_of(folder / entry["file"])
    path.write_text(tomli_w.dumps(content), encoding="utf-8")


def full_pack(folder: Path) -> Path:
    """Write a pack of `full_size.py`'s installed weights with ffhq's expectations.

    Args:
        folder: What `full_size.py` was given.

    Returns:
        The pack's folder.
    """
    from styleclip_cli.landmarks.fan import classes

    target = folder / "checked"
    target.mkdir(exist_ok=True)
    installed, usual = packs.find_pack("full"), packs.find_pack(packs.USUAL)
    content = tomllib.loads(usual.path.read_text(encoding="utf-8"))
    content = {key: content[key] for key in ("format", "title", "resolution", "alignment", "expected")}
    content |= {"name": "full", "components": {}, "data": {}}
    for part, entry in installed.entries.items():
        if entry.file is not None:
            file = target / entry.file.path.name
            file.unlink(missing_ok=True)
            file.symlink_to(entry.file.path)
            table = "components" if part in packs.COMPONENTS else "data"
            content[table][part] = {"file": file.name, "sha256": entry.file.sha256}
    torch.manual_seed(0)
    make_fan, make_s3fd = classes()
    for part, network in (("landmarks", make_fan(4)), ("detector", make_s3fd())):
        file = target / f"{part}.safetensors"
        save_weights(file, network.state_dict(), {}, half=False)
        content["components"][part] = {"file": file.name, "sha256": store.sha256_of(file)}
    (target / packs.PACK_FILE).write_text(tomli_w.dumps(content), encoding="utf-8")
    return target


def told(report: Report) -> str:
    """The checks that failed, and what is suspected."""
    failed = ", ".join(check.name for check in report.failed)
    return f"{report.counts}; failed: {failed or '-'}; suspected: {', '.join(report.suspects) or '-'}"


def _seeds() -> None:
    reports = [check_pack(packs.TOY, seed=1000 * number) for number in range(SEEDS)]
    for checks in zip(*(report.checks for report in reports), strict=True):
        for values in zip(*(check.values for check in checks), strict=True):
            numbers = sorted(value.measured for value in values)
            middle = statistics.median(numbers)
            worst = numbers[-1] if values[0].at_most else numbers[0]
            bar = worst + (1 if values[0].at_most else -1) * max(abs(worst - middle), 0.1 * abs(middle))
            row = f"{numbers[0]:.4g} .. {middle:.4g} .. {numbers[-1]:.4g}  bar {bar:.4g}"
            print(f"{checks[0].name}: {values[0].name}: {row} ({values[0].bar})", flush=True)


def main(what: str, folder: Path) -> None:
    """Make packs, check them, print what was found."""
    if what == "seeds":
        _seeds()
    elif what == "full":
        os.environ["STYLECLIP_HOME"] = str(folder / "home")
        report = check_pack(full_pack(folder))
        for check in report.checks:
            values = "; ".join(map(str, check.values))
            print(f"{check.status:15s} {check.name:40s} {check.seconds:6.1f} s  {check.told}{values}")
        if report.sheet is not None:
            report.sheet.save(folder / "check.png")
        print(told(report))
    else:
        print(f"toy: {told(check_pack(packs.TOY))}", flush=True)
        for swap in (*NETWORKS, *MEASURED):
            report = check_pack(swapped(folder / swap.replace(": ", "-").replace(" ", "-"), swap))
            print(f"{swap}: {told(report)}", flush=True)
            for check in report.failed:
                values = "; ".join(str(value) for value in check.values if not value.good)
                print(f"    {check.name}: {check.told}{values}", flush=True)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        words = sys.argv[1:] or ["swaps"]
        main(words[0], Path(words[1] if len(words) > 1 else temporary))
