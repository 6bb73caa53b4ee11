"""Pasting edits back, against the truth: `python benchmarks/paste_back.py [scenes] [inverter]`.

Toy scenes are drawn, their largest face is found, edited by a sentence and put back; then the same scene is
drawn with the attribute really changed. Printed for both ways of pasting: PSNR to that truth, over the
photo; how many pixels outside the mask changed; and gradient energy along the mask's border against that of
the untouched photo there (a seam would add some).
"""

from __future__ import annotations

import statistics
import sys

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from styleclip_cli.engine import Engine
from styleclip_cli.paste_back import Mode, paste
from styleclip_cli.portrait import portraits
from styleclip_cli.save import to_image
from styleclip_cli.toyworld.scenes import Scene, draw, make_scene
from styleclip_cli.toyworld.train.scores import FIRST_SEED

EDITS = (
    ("with glasses", "glasses"),
    ("smiling", "smile"),
    ("with a hat", "hat"),
    ("with red lipstick", "lipstick"),
)
MODES: tuple[Mode, ...] = ("residual", "replace")


def scenes(number: int) -> tuple[Scene, Scene, str]:
    """A scene whose largest face lacks something, the same one with it, and the sentence."""
    prompt, attribute = EDITS[number % len(EDITS)]
    scene = make_scene(FIRST_SEED + number, size=(0.15, 0.9), out_of_frame=False)
    face = len(scene.faces) - 1
    for name in ("sunglasses", "glasses", attribute):
        scene = scene.with_attribute(face, name, 0.0)
    scene = scene.with_attribute(face, "mouth_open", 0.0)
    return scene, scene.with_attribute(face, attribute, 1.0), prompt


def psnr(a: Image.Image, b: Image.Image) -> float:
    """In dB, over the whole picture."""
    difference = np.asarray(a, np.float64) - np.asarray(b, np.float64)
    return float(10 * np.log10(255**2 / max((difference**2).mean(), 1e-9)))


def border_energy(image: Image.Image, mask: NDArray[np.float32]) -> float:
    """Mean squared gradient where the mask begins."""
    values = np.asarray(image, np.float64)
    gradient = (np.diff(values, axis=0)[:, :-1] ** 2 + np.diff(values, axis=1)[:-1] ** 2).sum(axis=2)
    border = ((mask > 0) & (mask < 0.1))[:-1, :-1]
    return float(gradient[border].mean()) if border.any() else float("nan")


def main() -> None:
    """Measure and print."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    engine = Engine("toy")
    settings = engine.inversion(sys.argv[2] if len(sys.argv) > 2 else None)  # type: ignore[arg-type]
    directions = {prompt: engine.direction(prompt, "face") for prompt, _ in EDITS}
    quality: dict[Mode, list[float]] = {mode: [] for mode in MODES}
    untouched, seams, outside, missed = [], [], 0, 0
    for number in range(count):
        scene, truth, prompt = scenes(number)
        photo, wanted = to_image(draw(scene)), to_image(draw(truth))
        found = engine.landmarker.find(photo)
        middle = scene.faces[-1].frame.mean(axis=0)
        if not found or np.linalg.norm(found[0].frame.mean(axis=0) - middle) > scene.faces[-1].side / 4:  # type: ignore[union-attr]
            missed += 1
            continue
        portrait = portraits(engine, photo)[0]
        inversion = engine.find(portrait.image, settings, keep=False)
        before = engine.show(inversion)[0]
        after = engine.edit(inversion, directions[prompt], [engine.default_alpha])[0, 0]
        untouched.append(psnr(photo, wanted))
        for mode in MODES:
            pasted, mask = paste(photo, portrait.quad, before, after, mode)
            quality[mode].append(psnr(pasted, wanted))
            if mode == "residual":
                changed = (np.asarray(pasted) != np.asarray(photo)).any(axis=2)
                outside += int((changed & (mask == 0)).sum())
                seams.append(border_energy(pasted, mask) / border_energy(photo, mask))
    seams = [ratio for ratio in seams if np.isfinite(ratio)]
    print(f"{len(untouched)} scenes, largest face not found in {missed}; inverter {settings.inverter}")
    print(f"PSNR to the truth: photo as it was {statistics.mean(untouched):.2f} dB")
    for mode in MODES:
        print(f"  {mode:9s} {statistics.mean(quality[mode]):.2f} dB")
    gain = [a - b for a, b in zip(quality["residual"], quality["replace"], strict=True)]
    print(f"  residual over replace: {statistics.mean(gain):+.2f} dB, better in {sum(g > 0 for g in gain)}")
    print(f"pixels changed outside the mask: {outside}")
    print(
        f"gradient energy on the mask's border, edited / original: median {statistics.median(seams):.4f}, "
        f"within 10 % in {sum(abs(r - 1) <= 0.1 for r in seams)} of {len(seams)}"
    )


if __name__ == "__main__":
    main()
