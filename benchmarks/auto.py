"""Does `--auto` beat the default strength? On the toy world, by a judge that is not the CLIP that chooses.

    python benchmarks/auto.py [faces] [skipped]

For each prompt of `styleclip evaluate` held-out faces are edited at the pack's default strength and beta,
and as `edits.auto.choose` chooses for each. Success: the judge reads the wanted attribute. Leak: mean change
of all other attributes in sight, over all faces. What counts is success minus leak. The first 30 faces of a
prompt were used to set the rule; they are skipped by default.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from styleclip_cli.bench.timing import machine
from styleclip_cli.edits.auto import candidates, choose
from styleclip_cli.edits.edit import edited_each
from styleclip_cli.engine import Engine
from styleclip_cli.toyworld.cases import CASES
from styleclip_cli.truth.cases import SPLITS
from styleclip_cli.truth.evaluate import Faces
from styleclip_cli.truth.judging import embed_all, leak, read_all, show_all
from styleclip_cli.truth.worlds import load_judge

RESULT = Path(__file__).parent / "results" / "auto.json"


def main() -> None:
    """Measure, print and write."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 60
    skipped = int(sys.argv[2]) if len(sys.argv) > 2 else 30
    engine = Engine("toy", device="cpu")
    judge = load_judge(engine)
    faces = Faces(engine, judge, limit=40, first=SPLITS["defaults"].faces)
    rows: list[dict[str, Any]] = []
    for case in CASES:
        found = faces.for_case(case, skipped + count)
        chosen, before, embedded = found.faces[skipped:], found.read[skipped:], found.embedded[skipped:]
        if not chosen:
            continue
        usual = engine.direction(case.prompt, case.neutral)
        row: dict[str, Any] = {"prompt": case.prompt, "n": len(chosen)}
        fixed = edited_each(usual, chosen, [engine.default_alpha])
        began = time.monotonic()
        edits = [
            engine.direction(case.prompt, case.neutral, channels=n)
            for n in candidates(engine.direction_settings.channels)
        ]
        choices = choose(engine.renderer, engine.judge, chosen, edits, engine.default_alpha)
        row["seconds"] = (time.monotonic() - began) / len(chosen)
        for name, edited in (
            ("fixed", [each[0] for each in fixed if each]),
            ("auto", [choice.edited for choice in choices]),
        ):
            pictures = show_all(engine, edited)
            read = read_all(judge, pictures)
            success, leaked = case.holds(read).float(), leak(case, before, read)
            identity = (embed_all(engine, pictures) * embedded).sum(dim=1)
            row[name] = {
                "success": float(success.mean()),
                "leak": float(leaked.mean()),
                "gain": float((success - leaked).mean()),
                "identity": float(identity.mean()),
            }
        row["alpha"] = statistics.median(choice.alpha for choice in choices)
        rows.append(row)
        print(
            f"{case.prompt:28s} {row['n']:4d}  fixed {row['fixed']['success']:.2f} {row['fixed']['leak']:.3f}"
            f"  auto {row['auto']['success']:.2f} {row['auto']['leak']:.3f}  alpha {row['alpha']:g}",
            flush=True,
        )
    means = {
        name: {key: statistics.mean(row[name][key] for row in rows) for key in rows[0][name]}
        for name in ("fixed", "auto")
    }
    means["seconds"] = statistics.mean(row["seconds"] for row in rows)
    print(json.dumps(means, indent=1))
    RESULT.write_text(
        json.dumps({"machine": machine(), "skipped": skipped, "rows": rows, "mean": means}, indent=1) + "\n"
    )


if __name__ == "__main__":
    main()
