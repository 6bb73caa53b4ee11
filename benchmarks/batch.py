"""`styleclip edit` on many inputs against rendering them alone: `python benchmarks/batch.py`.

    python benchmarks/batch.py [--json FILE] [--sizes toy,full] [--rounds 5]

- toy: 64 photos of toy faces with cached latents, edited by a prompt.
- full: 16 generated faces of 1024 pixels (random weights, config-f), edited by a saved direction.

The whole command, with start-up, decoding, PNG encoding and writing; start-up alone (the same command on one
input); and the pure synthesis of the same pictures, in batches of the usual size, in a warm process. All in
turns; medians. A command can at best take start-up and synthesis together.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

COUNTS = {"toy": 64, "full": 16}
STYLECLIP = [sys.executable, "-m", "styleclip_cli"]


def prepare(size: str, folder: Path) -> None:
    """Make what a size needs, in a process of its own."""
    import torch

    from styleclip_cli import Engine
    from styleclip_cli.save import to_image

    if size == "toy":
        engine = Engine("toy", device="cpu")
        (folder / "photos").mkdir()
        for i in range(COUNTS[size]):
            picture = engine.synthesize(engine.styles(engine.sample([i])))[0]
            to_image(picture).save(folder / "photos" / f"{i}.png")
        return
    import hashlib
    import shutil

    import tomli_w

    from styleclip_cli.bench.stages import published_size
    from styleclip_cli.edits.directions import Direction
    from styleclip_cli.weights.files import save_weights
    from styleclip_cli.weights.packs import find_pack

    torch.manual_seed(0)
    generator = published_size(torch.device("cpu"))
    save_weights(folder / "generator.safetensors", generator.state_dict(), {}, half=False)
    shutil.copy(find_pack("toy").component("clip"), folder / "clip.safetensors")  # no pack is without
    entries = {}
    for part in ("generator", "clip"):
        path = folder / f"{part}.safetensors"
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        entries[part] = {"file": path.name, "sha256": digest, "size": path.stat().st_size}
    described: dict[str, Any] = {"format": "styleclip-pack-1", "name": "full", "resolution": 1024}
    described |= {"alignment": "none", "licence": "MIT", "components": entries}
    described |= {"data": {}, "defaults": {}, "quality": {}}
    (folder / "pack.toml").write_text(tomli_w.dumps(described))
    space = generator.style_space
    delta = torch.zeros(space.size)
    delta[1000:1030] = 0.1
    Direction(delta, delta, 0.1, 30, "random", "", space.widths).save(folder / "direction.npz")


def command(size: str, folder: Path, count: int) -> list[str]:
    """What a person types."""
    out = ["--out", str(folder / "out"), "--overwrite", "--quiet", "--device", "cpu"]
    if size == "toy":
        photos = [str(folder / "photos" / f"{i}.png") for i in range(count)]
        return [*STYLECLIP, "edit", *photos, "--no-align", "-p", "with glasses", "--models", "toy", *out]
    inputs = [f"seed:0-{count - 1}"]
    saved = ["--direction", str(folder / "direction.npz"), "--models", str(folder)]
    return [*STYLECLIP, "edit", *inputs, *saved, "--alpha", "1", *out]


def pure(size: str, folder: Path) -> float:
    """Seconds of rendering the same pictures, in a warm process."""
    code = (
        "import sys, time\n"
        "from styleclip_cli import Engine\n"
        "from styleclip_cli.machine.memory import disable_malloc_trim\n"
        "disable_malloc_trim()\n"  # as the commands do
        "name, count = sys.argv[1], int(sys.argv[2])\n"
        "engine = Engine(name, device='cpu')\n"
        "styles = engine.styles(engine.sample(range(count)))\n"
        "for chunk in styles[:16].split(4):\n"
        "    engine.synthesize(chunk)\n"
        "began = time.perf_counter()\n"
        "for chunk in styles.split(4):\n"
        "    engine.synthesize(chunk)\n"
        "print(time.perf_counter() - began)\n"
    )
    asked = [sys.executable, "-c", code, "toy" if size == "toy" else str(folder), str(COUNTS[size])]
    return float(subprocess.run(asked, check=True, capture_output=True, text=True).stdout)


def seconds(words: list[str], out: Path) -> float:
    """Wall-clock time of a command."""
    out.mkdir(exist_ok=True)
    began = time.perf_counter()
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    took = time.perf_counter() - began
    if done.returncode:
        sys.exit(done.stderr)
    return took


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", type=Path)
    parser.add_argument("--sizes", default="toy,full")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--prepare", nargs=2)
    arguments = parser.parse_args()
    if arguments.prepare:
        prepare(arguments.prepare[0], Path(arguments.prepare[1]))
        return
    from styleclip_cli.bench.timing import machine

    rows = []
    for size in arguments.sizes.split(","):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            os.environ["STYLECLIP_CACHE_DIR"] = str(folder / "cache")
            subprocess.run([sys.executable, __file__, "--prepare", size, name], check=True)
            count = COUNTS[size]
            seconds(command(size, folder, count), folder / "out")  # fills the cache
            whole, start, synthesis = [], [], []
            for _ in range(arguments.rounds):
                start.append(seconds(command(size, folder, 1), folder / "out"))
                whole.append(seconds(command(size, folder, count), folder / "out"))
                synthesis.append(pure(size, folder))
        row: dict[str, Any] = {"size": size, "inputs": count}
        row |= {"whole": statistics.median(whole), "one": statistics.median(start)}
        row |= {"synthesis": statistics.median(synthesis)}
        # Of neighbouring runs: a machine's moods are larger than this, and the difference is small.
        added = sorted((w - o) / (count - 1) for w, o in zip(whole, start, strict=True))
        row |= {"per_input": statistics.median(added), "per_input_range": [added[0], added[-1]]}
        row["against_synthesis"] = row["whole"] / row["synthesis"]
        row["without_start"] = row["per_input"] / (row["synthesis"] / count)
        rows.append(row)
        print(
            f"{size:5s} {count} inputs: {row['whole']:.2f} s, one alone {row['one']:.2f} s, pure synthesis "
            f"{row['synthesis']:.2f} s: {row['against_synthesis']:.2f}x; without start-up "
            f"{row['without_start']:.2f}x ({row['per_input'] * 1e3:.1f} ms an input, "
            f"{added[0] * 1e3:.1f} to {added[-1] * 1e3:.1f})",
            flush=True,
        )
    if arguments.json:
        content = json.dumps({"machine": machine(), "rows": rows}, indent=2)
        arguments.json.write_text(content + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
