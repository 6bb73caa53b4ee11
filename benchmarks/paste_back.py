"""What an edit leaves of the old face in the photo: `python benchmarks/paste_back.py N [options]`.

Drawn photos of one face are edited by a sentence, put back, and held against the same photo drawn with the
attribute really changed (the truth). ghost (the mean of its size, a face that is not found counting 1), kept,
energy, dB and outside are explained in `styleclip_cli/truth/photos.py`.

step     largest change on the line of the crop's border, in 255ths: what of its frame can show.

"bound" is the generator's picture after the edit, laid into the true region.

Options: --inverter X, --composite Y and --prompt P (repeatable), --first SEED, --scale S (faces S times as
large as the generator's pictures), --spill (how often edits of backgrounds are noticed), --json FILE.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from styleclip_cli.bench.timing import machine
from styleclip_cli.engine import Engine
from styleclip_cli.errors import BadInputError
from styleclip_cli.photo.paste_back import paste
from styleclip_cli.photo.portrait import InvertedFace, find_faces, put_back, shown
from styleclip_cli.save import to_image
from styleclip_cli.toyworld.cases import EDITS
from styleclip_cli.toyworld.scenes import draw
from styleclip_cli.toyworld.truth import WORLD
from styleclip_cli.truth.cases import SPLITS, PhotoEdit
from styleclip_cli.truth.photos import Pixels, compared, scene_of, values

COLUMNS = ("ghost", "kept", "energy", "dB", "outside", "step")


def border_step(photo: Pixels, result: Pixels, quad: Pixels) -> float:
    """The largest change on the line of a crop's border, in 255ths."""
    steps = np.linspace(0, 1, 2000)[:, None]
    line = np.concatenate([a + steps * (b - a) for a, b in zip(quad, np.roll(quad, -1, axis=0), strict=True)])
    places = np.round(line).astype(int)
    places = places[((places >= 0) & (places < (photo.shape[1], photo.shape[0]))).all(axis=1)]
    return float(255 * np.abs(result - photo)[places[:, 1], places[:, 0]].max(initial=0.0))


def rows_of(engine: Engine, edit: PhotoEdit, wanted: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """For each scene what each composite makes of an edit; nothing for a face that is not found."""
    direction, settings = (
        engine.direction(edit.prompt, edit.neutral),
        engine.settings_for_inversion(wanted.inverter),
    )
    for number in range(wanted.n):
        scene = scene_of(WORLD, wanted.first + number, edit.attribute, edit.before, wanted.scale)
        image, true = (
            to_image(draw(s)) for s in (scene, scene.with_attribute(0, edit.attribute, edit.after))
        )
        try:
            (found,) = find_faces(engine, image, settings=settings)
        except BadInputError:
            yield {}
            continue
        pictures = engine.render(shown([found], direction.edited(found.face, [engine.default_alpha])))
        photo, truth, side = values(image), values(true), scene.faces[0].side
        row: dict[str, Any] = {}
        for mode in (*wanted.composite, "replace"):
            if len(pictures) == 1:  # the whole picture is the face: nothing is put back
                continue
            made, mask = paste(image, found.portrait.quad, pictures[1], pictures[0], mode)
            result = values(made)
            if mode in wanted.composite:
                columns, _ = compared(photo, truth, result, side)
                row[mode] = [*columns, border_step(photo, result, found.portrait.quad)]
                row["unmasked"] = row.get("unmasked", 0) + int(
                    (np.abs(result - photo).max(2)[mask == 0] > 0).sum()
                )
            if mode == "replace":
                _, region = compared(photo, truth, photo, side)
                row["bound"], _ = compared(photo, truth, np.where(region[..., None], result, photo), side)
        yield row


def spills(engine: Engine, count: int, first: int) -> dict[str, float]:
    """How often an edit is said to change the background."""
    shares = {}
    for prompt in ("with blue lipstick", "with glasses"):
        edit, seen = engine.direction(prompt, "face"), []
        for number in range(count):
            image = to_image(draw(scene_of(WORLD, first + number, None, 0.0)))
            try:
                found: list[InvertedFace] = find_faces(engine, image)
            except BadInputError:
                continue
            seen.append(
                put_back(engine, image, found, edit.edited(found[0].face, [engine.default_alpha])).spilled
            )
        shares[prompt] = float(np.mean(seen))
        print(f"{prompt}: noticed in {shares[prompt]:.0%} of {len(seen)}", flush=True)
    return shares


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("n", type=int)
    parser.add_argument("--inverter")
    parser.add_argument("--composite", action="append")
    parser.add_argument("--first", type=int, default=SPLITS["defaults"].photos)
    parser.add_argument("--prompt", action="append")
    parser.add_argument("--pack", default="toy")
    parser.add_argument("--scale", type=float)
    parser.add_argument("--spill", action="store_true")
    parser.add_argument("--json", type=Path)
    wanted = parser.parse_args()
    wanted.composite = wanted.composite or ["residual", "adaptive"]
    engine = Engine(wanted.pack)
    report: dict[str, Any] = {
        "script": "paste_back.py",
        "machine": machine(),
        "n": wanted.n,
        "first": wanted.first,
        "inverter": engine.settings_for_inversion(wanted.inverter).inverter,
        "scale": wanted.scale,
        "rows": [],
    }
    unmasked = 0
    for edit in EDITS:
        if wanted.prompt and edit.prompt not in wanted.prompt:
            continue
        found = list(rows_of(engine, edit, wanted))
        rows = [row for row in found if row]
        missed = len(found) - len(rows)
        unmasked += sum(row["unmasked"] for row in rows)
        for mode in (*wanted.composite, "bound"):
            measured = np.array([row[mode] for row in rows])
            ghosts = np.append(np.abs(measured[:, 0]), np.ones(missed if mode != "bound" else 0))
            entry = dict(zip(COLUMNS, measured.mean(axis=0).tolist(), strict=False))
            entry |= {"ghost": float(ghosts.mean()), "over": float((ghosts > 0.3).mean())}
            if "step" in entry:
                entry["step"] = float(measured[:, -1].max())
            if not edit.vanishes:
                entry["ghost"] = entry["over"] = None
            report["rows"].append({"prompt": edit.prompt, "composite": mode, "missed": missed, **entry})
            print(line(report["rows"][-1]), flush=True)
    for mode in (*wanted.composite, "bound"):
        print(line(mean_of(report["rows"], mode)))
    print(f"pixels changed outside the mask: {unmasked}")
    report["unmasked"] = unmasked
    if wanted.spill:
        report["spills"] = spills(engine, 10 * wanted.n, wanted.first)
    if wanted.json is not None:
        wanted.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def mean_of(rows: list[dict[str, Any]], mode: str) -> dict[str, Any]:
    """The average over prompts; the worst step."""
    own = [row for row in rows if row["composite"] == mode]
    mean: dict[str, Any] = {"prompt": "all", "composite": mode, "missed": sum(row["missed"] for row in own)}
    for key in ("ghost", "over", *COLUMNS[1:]):
        known = [row[key] for row in own if row.get(key) is not None]
        if known:
            mean[key] = max(known) if key == "step" else float(np.mean(known))
    return mean


def line(row: dict[str, Any]) -> str:
    """One row, for people."""
    ghost = "" if row.get("ghost") is None else f"|ghost| {row['ghost']:.2f}, over 0.3 in {row['over']:4.0%}"
    rest = f"kept {row['kept']:.2f}  energy {row['energy']:.2f}  {row['dB']:.1f} dB"
    rest += f"  outside {row['outside']:.2f}"
    step = f"  step {row['step']:.0f}" if "step" in row else ""
    return f"{row['prompt']:20s} {row['composite']:9s} {ghost:29s}  {rest}{step}  missed {row['missed']}"


if __name__ == "__main__":
    main()
