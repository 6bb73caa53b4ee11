"""The published sizes, with random weights: `python benchmarks/full_size.py [FOLDER]`.

Writes checkpoints in the official formats (config-f 1024 generator, e4e with IR-SE50 and 18 styles, CLIP
ViT-B/32 as TorchScript, ArcFace, fs3.npy, S_mean_std), makes a pack of them, and edits a photo with it.
Prints seconds and peak memory (MB) of each stage, each in a process of its own, and every file's size. With
a FOLDER the files are kept there and used again. Needs 5 GB of disk.
"""

from __future__ import annotations

import os
import pickle
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

ROOT = Path(__file__).parent.parent
CHANNELS = {4 << i: min(512, 32768 // (4 << i)) for i in range(9)}


def generator_state() -> dict[str, Tensor]:
    """A random generator in the layout of StyleCLIP's .pt files."""
    import torch

    state = {}

    def conv(name: str, outputs: int, inputs: int, size: int) -> None:
        state[f"{name}.conv.weight"] = torch.randn(1, outputs, inputs, size, size)
        state[f"{name}.conv.modulation.weight"] = torch.randn(inputs, 512)
        state[f"{name}.conv.modulation.bias"] = torch.ones(inputs)
        if size == 3:
            state[f"{name}.noise.weight"] = torch.full((1,), 0.1)
            state[f"{name}.activate.bias"] = torch.zeros(outputs)
        else:
            state[f"{name}.bias"] = torch.zeros(1, 3, 1, 1)

    for i in range(8):
        state[f"style.{i + 1}.weight"] = torch.randn(512, 512) / 0.01
        state[f"style.{i + 1}.bias"] = torch.zeros(512)
    state["input.input"] = torch.randn(1, 512, 4, 4)
    conv("conv1", 512, 512, 3)
    conv("to_rgb1", 3, 512, 1)
    for i, resolution in enumerate(list(CHANNELS)[1:]):
        inputs, outputs = CHANNELS[resolution // 2], CHANNELS[resolution]
        conv(f"convs.{2 * i}", outputs, inputs, 3)
        conv(f"convs.{2 * i + 1}", outputs, outputs, 3)
        conv(f"to_rgbs.{i}", 3, outputs, 1)
    for i in range(17):
        side = 2 ** ((i + 5) // 2)
        state[f"noises.noise_{i}"] = torch.randn(1, 1, side, side)
    return state


def write(folder: Path) -> None:
    """Write all files; in a process of its own, as a child inherits its parent's peak memory."""
    import torch

    from styleclip_cli.nets.clip import VOCABULARY, clip_model_class
    from styleclip_cli.nets.e4e import Encoder
    from styleclip_cli.nets.irse import ArcFace, stages
    from styleclip_cli.nets.stylespace import StyleSpace

    irse50 = stages((64, 128, 256, 512), (3, 4, 14, 3))
    torch.manual_seed(0)
    decoder = generator_state()
    average = torch.randn(512) * 0.1
    encoder = Encoder(irse50, 18, 512, 256).state_dict()
    files = {
        "stylegan2-ffhq-config-f.pt": {"g_ema": decoder, "latent_avg": average},
        "e4e_ffhq_encode.pt": {
            "state_dict": {f"encoder.{k}": v for k, v in encoder.items()}
            | {f"decoder.{k}": v for k, v in decoder.items()},
            "latent_avg": average.repeat(18, 1),
            "opts": {"encoder_type": "Encoder4Editing", "dataset_type": "ffhq_encode"},
        },
        "model_ir_se50.pth": ArcFace(irse50, 512, 112).state_dict(),
    }
    for name, content in files.items():
        torch.save(content, folder / name)
    del files, encoder, decoder
    model = clip_model_class()(512, 224, 12, 768, 32, 77, VOCABULARY, 512, 8, 12).eval()
    example = (torch.zeros(1, 3, 224, 224), torch.zeros(1, 77, dtype=torch.int64))
    with torch.no_grad():
        torch.jit.trace(model, example, check_trace=False).half().save(str(folder / "ViT-B-32.pt"))
    space = StyleSpace(CHANNELS)
    rows = np.random.RandomState(0).randn(sum(layer.width for layer in space.editable("fs3")), 512)
    np.save(folder / "fs3.npy", (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32))
    halves = [[np.full(w, value, np.float32) for w in space.widths] for value in (1.0, 0.5)]
    (folder / "S_mean_std").write_bytes(pickle.dumps(halves, protocol=4))


STAGES = {
    "load the generator": "engine.generator",
    "load the encoder": "engine.networks.encoder",
    "load CLIP": "engine.networks.clip",
    "load ArcFace": "engine.networks.identity",
    "encode a photo (with loading)": "engine.invert_w_plus(torch.zeros(1, 3, 1024, 1024), keep=False)",
    "find a direction (with loading)": "engine.direction('with makeup')",
    "render 1024 pixels (with loading)": "engine.synthesize(engine.styles(engine.sample([0])))",
}


def measured(command: list[str]) -> tuple[float, float]:
    """Seconds and peak memory in MB of a command."""
    began = time.perf_counter()
    child = os.posix_spawn(command[0], command, os.environ)
    _, status, usage = os.wait4(child, 0)
    if status:
        sys.exit(f"failed: {' '.join(command)[:200]}")
    return time.perf_counter() - began, usage.ru_maxrss / 1e3


def stage(code: str) -> tuple[float, float]:
    """Seconds that a line takes once torch is imported, and the process's peak memory in MB."""
    read, out = os.pipe()
    os.set_inheritable(out, True)
    script = (
        "import os, time, torch\nfrom styleclip_cli import Engine\n"
        "from styleclip_cli.machine.memory import disable_malloc_trim\n"
        "disable_malloc_trim()\nengine = Engine('full')\n"  # as the commands do
        f"began = time.perf_counter()\n{code}\nos.write({out}, str(time.perf_counter() - began).encode())"
    )
    _, memory = measured([sys.executable, "-c", script])
    os.close(out)
    with os.fdopen(read) as pipe:
        return float(pipe.read()), memory


def main(folder: Path) -> None:
    """Write, convert, load, edit; print a table."""
    os.environ["STYLECLIP_HOME"] = str(folder / "home")
    os.environ["STYLECLIP_CACHE_DIR"] = str(folder / "cache")
    if not (folder / "S_mean_std").exists():
        measured([sys.executable, __file__, str(folder), "--write"])
    for path in sorted(folder.iterdir()):
        if path.is_file():
            print(f"{path.name:40s} {path.stat().st_size / 1e6:8.1f} MB")
    styleclip = [sys.executable, "-m", "styleclip_cli"]
    add = [*styleclip, "models", "add", "full", "--overwrite", "--quiet", "--alignment", "none"]
    files = {
        "generator": "stylegan2-ffhq-config-f.pt",
        "encoder": "e4e_ffhq_encode.pt",
        "clip": "ViT-B-32.pt",
        "identity": "model_ir_se50.pth",
        "relevance": "fs3.npy",
        "statistics": "S_mean_std",
    }
    for part, name in files.items():
        add += [f"--{part}", str(folder / name)]
    rows = {"convert all (models add)": measured(add)}
    rows |= {name: stage(code) for name, code in STAGES.items()}
    edit = [*styleclip, "edit", str(ROOT / "examples" / "face.png"), "--prompt", "with makeup", "--overwrite"]
    edit += ["--models", "full", "--quiet", "--out", str(folder / "edited.png")]
    rows["styleclip edit, all of it"] = measured(edit)
    rows["styleclip edit, latent cached"] = measured(edit)
    print(f"\n{os.cpu_count()} cores\n{'':36s} seconds  peak MB")
    for name, (seconds, memory) in rows.items():
        print(f"{name:36s} {seconds:7.2f}  {memory:7.0f}")


if __name__ == "__main__":
    if "--write" in sys.argv:
        write(Path(sys.argv[1]))
    elif len(sys.argv) > 1:
        Path(sys.argv[1]).mkdir(parents=True, exist_ok=True)
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as temporary:
            main(Path(temporary))
