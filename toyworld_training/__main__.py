"""`python -m toyworld_training`: make the toy pack, or one of its networks, from nothing.

Everything is seeded and resumable: run it again after a stop and it goes on. On two CPU cores all of it
takes about three hours; the order is data, judge, identity, clip, generator, encoder, landmarks, detector,
pack.
"""

from __future__ import annotations

import argparse
import logging
import os
import subprocess
import sys
from pathlib import Path

import torch
from torch import Tensor

from styleclip_cli import __version__
from toyworld_training import clip, encoder, generator, identity, judge, landmarks, pack
from toyworld_training.data import Pairs

NETWORKS = ("judge", "identity", "clip", "generator", "encoder", "landmarks", "detector")


def main() -> None:
    """Parse arguments and train."""
    parser = argparse.ArgumentParser(prog="python -m toyworld_training", description=__doc__)
    parser.add_argument("what", choices=["data", *NETWORKS, "pack", "all"], nargs="?", default="all")
    parser.add_argument("--folder", type=Path, default=Path("toyworld-training"), help="data and checkpoints")
    parser.add_argument("--pack", type=Path, help="where the pack goes (default: FOLDER/pack)")
    parser.add_argument("--items", type=int, default=24_000, help="pairs of pictures to draw, 96 KB each")
    parser.add_argument("--threads", type=int, default=0, help="threads of one network (default: all cores)")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    if options.threads:
        torch.set_num_threads(options.threads)
    folder: Path = options.folder
    data = Pairs(folder / "data", options.items)
    if data.ready < data.n:
        draw(data, folder, options.items)
    if options.what == "data":
        return
    wanted = NETWORKS if options.what in ("all", "pack") else (options.what,)
    states = {name: train(name, data, folder) for name in wanted}
    if options.what in ("all", "pack"):
        made = {"version": __version__, "items": options.items, "torch": torch.__version__}
        pack.write(options.pack or folder / "pack", states, made)


def train(name: str, data: Pairs, folder: Path) -> dict[str, Tensor]:
    """Train one network, or take the finished one from its checkpoint."""
    trainers = {
        "judge": judge.train,
        "identity": identity.train,
        "clip": clip.train,
        "generator": generator.train,
        "encoder": encoder.train,
        "landmarks": landmarks.train_regressor,
        "detector": landmarks.train_finder,
    }
    return trainers[name](data, folder)


def draw(data: Pairs, folder: Path, items: int) -> None:
    """Draw the pictures with one process per core."""
    workers = os.cpu_count() or 1
    code = (
        "import sys, torch; from pathlib import Path; from toyworld_training.data import Pairs; "
        "torch.set_num_threads(1); items, worker, workers = map(int, sys.argv[2:]); "
        "Pairs(Path(sys.argv[1]), items).draw(worker, workers)"
    )
    commands = [
        [sys.executable, "-c", code, str(folder / "data"), str(items), str(worker), str(workers)]
        for worker in range(workers)
    ]
    running = [subprocess.Popen(command) for command in commands]
    if any(process.wait() for process in running):
        raise SystemExit("drawing the pictures failed")


if __name__ == "__main__":
    main()
