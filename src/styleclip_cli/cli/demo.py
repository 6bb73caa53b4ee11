"""`styleclip demo`: the tour, on generated faces and without a network."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

from styleclip_cli.cli import options
from styleclip_cli.cli.report import Reporter
from styleclip_cli.job import values
from styleclip_cli.job.outputs import check_outputs
from styleclip_cli.weights.mappers import slug

SEEDS = (2, 3, 15)
PROMPTS = ("with glasses", "smiling", "with a beard")


def demo(
    out: Annotated[Path, options.of_output("--out", "-o", help="Folder to write to.")] = Path(
        "styleclip-demo"
    ),
    overwrite: options.Overwrite = False,
    models: options.ToyModels = "toy",
    device: options.Device = "auto",
    no_kernels: options.NoKernels = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Run a demo: sample faces, invert them, edit each with three prompts, write one contact sheet.

    Example: styleclip demo --out styleclip-demo
    """
    reporter = Reporter(quiet)
    values.check_device(device)
    sheet = out / "demo.png"
    faces = [out / f"seed{seed}.png" for seed in SEEDS]
    edits = [[out / f"seed{seed}_{slug(prompt)}.png" for prompt in PROMPTS] for seed in SEEDS]
    check_outputs([sheet, *faces, *(path for row in edits for path in row)], overwrite=overwrite)

    import torch

    from styleclip_cli.engine import Engine
    from styleclip_cli.photo.read import read_image, to_tensor
    from styleclip_cli.pictures.sheets import contact_sheet
    from styleclip_cli.save import save_image

    began = time.monotonic()
    engine = Engine(models, device=device, progress=reporter.progress)
    reporter.note(f"1. sample: {len(SEEDS)} faces from seeds {', '.join(map(str, SEEDS))}")
    for path, picture in zip(faces, engine.synthesize(engine.styles(engine.sample(SEEDS))), strict=True):
        about = {"models": engine.pack.name, "fingerprint": engine.fingerprint}
        save_image(path, picture, about, mark="generated")

    reporter.note("2. invert: latents found from the pixels of those files alone")
    originals = torch.cat([to_tensor(read_image(path), engine.pack.resolution) for path in faces])
    w_plus = engine.invert_w_plus(originals)
    columns = [originals, engine.synthesize(engine.styles(w_plus))]

    for number, prompt in enumerate(PROMPTS):
        direction = engine.direction(prompt, "face")
        reporter.note(
            f'3.{number + 1} edit: "{direction.target}" instead of "{direction.neutral}", alpha '
            f"{engine.default_alpha:g}, beta {direction.beta:.9g}, {direction.num_channels} channels"
        )
        columns.append(engine.edit(w_plus, direction, [engine.default_alpha])[:, 0])
        for row, picture in enumerate(columns[-1]):
            metadata = {
                "prompt": direction.target,
                "neutral": direction.neutral,
                "alpha": engine.default_alpha,
            }
            save_image(edits[row][number], picture, metadata, mark="generated")
            reporter.result(str(edits[row][number]))

    rows = [[column[row] for column in columns] for row in range(len(SEEDS))]
    labels = ["original", "inverted", *PROMPTS]
    save_image(sheet, contact_sheet(rows, column_labels=labels, cell=192), mark="generated")
    reporter.result(f"{sheet}  {time.monotonic() - began:.1f} s")
