"""`python -m world_training`: make the world's pack, or one of its networks, from nothing.

Everything is seeded and resumable: run it again after a stop and it goes on.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from styleclip_cli import __version__
from styleclip_cli.nets.stylegan2 import Generator
from world_training import clip, encoder, generator, identity, judge, landmarks, pack, parser
from world_training.data import BLOCK, Pictures, draw_on_all_cores

NETWORKS = (
    *("generator", "judge", "clip", "identity", "encoder", "landmarks", "detector", "parser", "judge_clip"),
)


def main() -> None:
    """Parse arguments and train."""
    arguments = argparse.ArgumentParser(prog="python -m world_training", description=__doc__)
    arguments.add_argument("what", choices=["data", *NETWORKS, "pack", "all"], nargs="?", default="all")
    arguments.add_argument("--folder", type=Path, default=Path("world-training"), help="data and checkpoints")
    arguments.add_argument("--pack", type=Path, help="where the pack goes (default: FOLDER/world)")
    arguments.add_argument("--items", type=int, default=24_576, help="pairs of pictures to draw, 384 KB each")
    arguments.add_argument(
        "--threads", type=int, default=0, help="threads of one network (default: all cores)"
    )
    options = arguments.parse_args()
    options.items -= options.items % BLOCK
    options.folder.mkdir(parents=True, exist_ok=True)
    handlers: list[logging.Handler] = [
        logging.StreamHandler(),
        logging.FileHandler(options.folder / "log.txt"),
    ]
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%m-%d %H:%M:%S", handlers=handlers
    )
    if options.threads:
        torch.set_num_threads(options.threads)
    data = Pictures(options.folder / "data", options.items)
    if data.ready < data.n:
        draw_on_all_cores("world_training.data:Pictures", options.folder / "data", options.items)
    if options.what == "data":
        return
    wanted = NETWORKS if options.what in ("all", "pack") else (options.what,)
    states = {name: train(name, data, options.folder) for name in wanted}
    if options.what in ("all", "pack"):
        made = {"version": __version__, "items": options.items, "torch": torch.__version__}
        pack.write(options.pack or options.folder / "world", states, made)


def train(name: str, data: Pictures, folder: Path) -> dict[str, Tensor]:
    """Train one network, or take the finished one from its checkpoint."""
    trainers: dict[str, Callable[..., dict[str, Tensor]]] = {
        "generator": generator.train,
        "judge": judge.train,
        "clip": clip.train,
        "judge_clip": clip.train_second,
        "encoder": encoder.train,
        "identity": identity.train,
        "landmarks": landmarks.train_regressor,
        "detector": landmarks.train_finder,
        "parser": parser.train,
    }
    needed: tuple[object, ...] = ()
    if name == "encoder":
        generated = Generator.from_state_dict(train("generator", data, folder))
        needed = (generated, train("identity", data, folder))
    elif name == "landmarks":
        needed = (train("judge", data, folder),)
    return trainers[name](data, folder, *needed)


if __name__ == "__main__":
    main()
