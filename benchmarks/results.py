"""Write RESULTS.md from what the other scripts measured: `python benchmarks/results.py`.

Each script's `--json benchmarks/results/NAME.json`, and what `styleclip evaluate --out` wrote there, is one
section here; what is missing is left out. What was tried and did not pay is in results/tried.md, by hand.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from paste_back import mean_of

HERE = Path(__file__).parent
FOLDER = HERE / "results"
Rows = Sequence[Mapping[str, Any]]
Show = Callable[[Any], str]


def number(digits: int, unit: str = "") -> Show:
    """Shows a number with so many decimals."""
    return lambda value: "-" if value is None else f"{value:.{digits}f}{unit}"


def text(value: Any) -> str:
    """Shows anything."""
    return "-" if value is None else str(value)


def times(value: Any) -> str:
    """Shows a ratio."""
    return "-" if value is None else f"{value:.2f}x"


def small(value: Any) -> str:
    """Shows a relative error."""
    return "-" if value is None else f"{value:.1e}"


def table(rows: Rows, columns: Mapping[str, tuple[str, Show]]) -> str:
    """A table in Markdown: columns by key, with titles and how values are shown."""
    lines = ["| " + " | ".join(title for title, _ in columns.values()) + " |", "|---" * len(columns) + "|"]
    lines += [
        "| " + " | ".join(show(row.get(key)) for key, (_, show) in columns.items()) + " |" for row in rows
    ]
    return "\n".join(lines)


def measured_on(found: Mapping[str, Any]) -> str:
    """One line about the machine."""
    machine = found.get("machine", {})
    return "Measured on: " + ", ".join(f"{key} {value}" for key, value in machine.items()) + "."


def generator(found: Mapping[str, Any]) -> str:
    """generator.py."""
    peaks = "; ".join(f"{name} {value:.0f}" for name, value in found["peaks"].items())
    columns = {
        "resolution": ("pixels", text),
        "batch": ("batch", text),
        "variant": ("variant", text),
        "seconds": ("s a picture", number(2)),
        "gflops": ("GFLOP/s", number(0)),
        "faster": ("against official", times),
        "of_floor": ("of the floor", number(2)),
        "peak_mb": ("peak MB", number(0)),
        "difference": ("difference", small),
    }
    return (
        "float32, random weights. The floor is the sum of all convolutions alone, each the fastest that "
        "torch has here; GFLOP are those of direct convolutions: the kernels need fewer, and so may "
        f"exceed what the machine reaches. Best rates of torch in GFLOP/s: {peaks}.\n\n"
        + table(found["rows"], columns)
    )


def steps(found: Mapping[str, Any]) -> str:
    """steps.py."""
    columns = {
        "size": ("size", text),
        "job": ("step of", text),
        "official_s": ("official s", number(3)),
        "ours_s": ("ours s", number(3)),
        "ratio": ("ratio", times),
        "official_mb": ("official MB", number(0)),
        "ours_mb": ("ours MB", number(0)),
    }
    return table(found["rows"], columns)


def batch(found: Mapping[str, Any]) -> str:
    """batch.py."""
    columns = {
        "size": ("size", text),
        "inputs": ("inputs", text),
        "whole": ("command s", number(2)),
        "one": ("with one input s", number(2)),
        "synthesis": ("pure synthesis s", number(2)),
        "against_synthesis": ("command / synthesis", times),
        "without_start": ("without start-up", times),
        "per_input": ("s an input", number(4)),
        "per_input_range": ("from, to", lambda r: "-" if r is None else f"{r[0]:.4f}, {r[1]:.4f}"),
    }
    return table(found["rows"], columns)


def auto(found: Mapping[str, Any]) -> str:
    """auto.py."""
    columns = {
        "what": ("strength", text),
        "success": ("success", number(3)),
        "leak": ("leak", number(3)),
        "gain": ("success - leak", number(3)),
        "identity": ("identity", number(3)),
    }
    mean = found["mean"]
    rows = [{"what": "default", **mean["fixed"]}, {"what": "`--auto`", **mean["auto"]}]
    return (
        f"Toy world, {len(found['rows'])} prompts, held-out faces; the first {found['skipped']} of each, "
        f"with which the rule was set, are left out. Choosing takes {mean['seconds']:.2f} s a face.\n\n"
        + table(rows, columns)
    )


def studio(found: Mapping[str, Any]) -> str:
    """studio.py."""
    return (
        f"Toy pack, a photo of 256 pixels, {found['moves']} moves of the strength; the browser runs on the "
        f"same cores. From the move to the picture on the screen: median {found['median_ms']:.0f} ms, 95 % "
        f"under {found['p95_ms']:.0f} ms, the slowest {found['worst_ms']:.0f} ms. While it is dragged "
        f"{found['pictures_a_second']:.0f} pictures a second are seen."
    )


def relevance(found: Mapping[str, Any]) -> str:
    """relevance.py."""
    columns = {
        "mode": ("mode", text),
        "hours": ("hours, projected", number(1)),
        "faster": ("against the loop", times),
    }
    rows = [dict(row) for row in found["rows"]]
    gradient = rows[-1]
    gradient["mode"] = "gradient, 32 axes"
    by_layer = {
        row["mode"]: "; ".join(f"{name} {value:.2f}" for name, value in row["layers"].items())
        for row in rows
        if "layers" in row
    }
    return (
        table(rows, columns)
        + f"\n\nLowest cosine of exact to the loop, over the channels measured: {found['cosine']:.6f}. "
        "Seconds of a channel and a face: "
        + ". ".join(f"{mode}: {layers}" for mode, layers in by_layer.items())
        + f". A face's gradient takes {gradient['forward_and_one_s']:.2f} s for the first axis and "
        f"{gradient['backward_s']:.2f} s for each further one, which is {gradient['minutes_16_axes']:.0f} to "
        f"{gradient['minutes_64_axes']:.0f} minutes for 100 faces and 16 to 64 axes, once for all "
        f"prompts. At an assumed {found['h200_assumed_tflops']:.0f} TFLOP/s an H200 would need "
        f"{found['h200_minutes']:.0f} minutes for exact: not measured."
    )


def quality(found: Mapping[str, Any]) -> str:
    """relevance_quality.py."""
    columns = {
        "mode": ("mode", text),
        "faces": ("faces", text),
        "seconds": ("seconds", number(0)),
        "cosine": ("cosine to exact", number(3)),
        "rank": ("rank correlation", number(3)),
        "same": ("same channels", number(2)),
        "success": ("success", number(3)),
        "leak": ("leak", number(3)),
        "leak_default": ("at the default strength", number(3)),
        "identity": ("identity", number(3)),
        "lowest_success": ("lowest success", number(2)),
    }
    return (
        f"30 prompts on {found['n']} held-out toy faces each, by an independent judge; seconds are those of "
        f"measuring the whole pack from nothing. {found.get('note', '')}\n\n" + table(found["rows"], columns)
    )


def paste_back(found: Mapping[str, Any]) -> str:
    """paste_back.py."""
    columns = {
        "prompt": ("prompt", text),
        "composite": ("composite", text),
        "ghost": ("ghost", number(2)),
        "over": ("ghost over 0.3", number(2)),
        "kept": ("kept", number(2)),
        "energy": ("energy", number(2)),
        "dB": ("dB", number(1)),
        "outside": ("outside", number(2)),
        "step": ("step", number(0)),
    }
    rows = list(found["rows"])
    rows += [mean_of(rows, mode) for mode in dict.fromkeys(row["composite"] for row in found["rows"])]
    spills = "".join(
        f" A changed background is noticed in {share:.0%} of the edits {prompt!r}."
        for prompt, share in found.get("spills", {}).items()
    )
    return (
        f"{found['n']} drawn photos for each prompt, from seed {found['first']:,}, inverter "
        f"{found['inverter']}; what the columns say is at the head of the script. "
        f"Pixels changed outside the mask: {found['unmasked']}.{spills}\n\n{table(rows, columns)}"
    )


def evaluation(found: Mapping[str, Any]) -> str:
    """`styleclip evaluate`; every prompt has its row, the worst first."""
    columns = {
        "prompt": ("prompt", text),
        "success": ("success", number(2)),
        "clean": ("clean", number(2)),
        "broken": ("broken", number(2)),
        "ceiling": ("ceiling", number(2)),
        "leak": ("leak", number(3)),
        "reached": ("reached", number(2)),
        "leak_default": ("at default", number(3)),
        "identity": ("identity", number(3)),
        "background": ("background", number(2)),
        **({"ghost": ("ghost", number(2)), "kept": ("kept", number(2))} if "ghost" in found["mean"] else {}),
        "seconds": ("seconds", number(3)),
        "n": ("faces", text),
        "most": ("what else moved most", text),
    }
    rows = [{**row, "most": shares(row["moved"])} for row in found["rows"]]
    mean = found["mean"]
    return (
        f"Split {found['split']}, inverter {found['inverter']}, which alone changes attributes by "
        f"{mean['inversion']:.3f} (PSNR {mean['psnr']:.1f} dB); what the columns say is at the head of "
        f"`styleclip_cli/truth/evaluate.py`.\n\n{table([*rows, {'prompt': 'all', **mean}], columns)}\n\n"
        + curves(found["rows"])
    )


def shares(values: Mapping[str, float]) -> str | None:
    """Attributes with the shares of faces in which they moved."""
    return ", ".join(f"{name} {share:.2f}" for name, share in values.items()) or None


def curves(rows: Rows) -> str:
    """How far the target is reached, and leak, over strength in parts of the default; means over prompts."""
    known = [row["curve"] for row in rows if row["curve"]]
    points = [
        {key: statistics.mean(one[key] for one in each) for key in ("strength", "target", "leak")}
        for each in zip(*known, strict=True)
    ]
    columns = {
        "strength": ("strength", number(2)),
        "target": ("target", number(3)),
        "leak": ("leak", number(3)),
    }
    return table(points, columns)


def disentanglement(found: Mapping[str, Any]) -> str:
    """disentanglement.py."""
    columns = {
        "space": ("space", text),
        "disentanglement": ("disentanglement", number(2)),
        "completeness": ("completeness", number(2)),
        "fit": ("linear fit", number(2)),
        "dimensions": ("dimensions", text),
    }
    return (
        f"The pack {found['pack']}, {found['n']} faces, {found['attributes']} of {found['of']} attributes; "
        f"what the columns say is at the head of the script.\n\n{table(found['rows'], columns)}"
    )


def commands(found: Mapping[str, Any]) -> str:
    """commands.py."""
    columns = {
        "command": ("command", text),
        "best": ("best s", number(2)),
        "median": ("median s", number(2)),
    }
    return table(found["rows"], columns)


SECTIONS: dict[str, tuple[str, Callable[[Mapping[str, Any]], str]]] = {
    "generator": ("The generator", generator),
    "relevance": ("Channelwise relevance, whole jobs at 1024 pixels", relevance),
    "relevance_quality": ("Channelwise relevance, quality on the toy world", quality),
    "batch": ("Many inputs", batch),
    "paste_back": ("Edits put back into photos", paste_back),
    "paste_back_2x": ("Edits put back into photos of faces twice as large as the generator's", paste_back),
    "paste_back_4x": ("Edits put back into photos of faces four times as large", paste_back),
    "paste_back_pivotal": ("Edits put back into photos, pivotal tuning", paste_back),
    "evaluation": ("Edits of drawn faces: global directions", evaluation),
    "evaluation_auto": ("Edits of drawn faces: strength chosen for each face", evaluation),
    "evaluation_official": ("Edits of drawn faces: global directions by the official rule", evaluation),
    "evaluation_mapper": ("Edits of drawn faces: mappers", evaluation),
    "evaluation_optimize": ("Edits of drawn faces: optimization", evaluation),
    "disentanglement": ("How entangled the toy generator is", disentanglement),
    "studio": ("The studio", studio),
    "auto": ("Strength chosen for each face", auto),
    "commands": ("Whole commands", commands),
    "steps": ("Steps of optimization and of mapper training", steps),
}


def main() -> None:
    """Write the file."""
    parts = [
        "# Results\n\nWritten by `python benchmarks/results.py` from the numbers of the scripts beside it. "
        "Ratios are within one run; machines differ, and so do their moods."
    ]
    for name, (title, section) in SECTIONS.items():
        path = FOLDER / f"{name}.json"
        if path.exists():
            found = json.loads(path.read_text(encoding="utf-8"))
            script = f"benchmarks/{found.get('script', name + '.py')}"
            if "method" in found:
                script = f"styleclip evaluate --method {found['method']} --split {found['split']}"
            parts.append(f"## {title}\n\n`{script}`. {measured_on(found)}")
            parts.append(section(found))
    tried = FOLDER / "tried.md"
    if tried.exists():
        parts.append(tried.read_text(encoding="utf-8").strip())
    (HERE / "RESULTS.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
