"""Whole commands, as a person waits for them: `python benchmarks/commands.py [--json FILE]`.

Prints the best and the median of several runs in seconds, and the ratio to starting Python alone. The edit
is measured with a warm cache.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
STYLECLIP = [sys.executable, "-m", "styleclip_cli"]
PYTHON = [sys.executable, "-c", "pass"]


def seconds(command: list[str], runs: int) -> list[float]:
    """Wall-clock time of each run, sorted."""
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        times.append(time.perf_counter() - start)
    return sorted(times)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        face, out = str(ROOT / "examples" / "face.png"), f"{folder}/edited.png"
        edit = [*STYLECLIP, "edit", face, "-p", "with glasses", "--alpha", "4", "--overwrite", "-o", out]
        edit += ["--models", "toy"]
        commands = {
            "python alone": (PYTHON, 10),
            "import torch": ([sys.executable, "-c", "import torch"], 5),
            "styleclip --help": ([*STYLECLIP, "--help"], 10),
            "styleclip --version": ([*STYLECLIP, "--version"], 10),
            "styleclip edit, warm": (edit, 5),
        }
        seconds(edit, 1)
        alone = min(seconds(PYTHON, 5))
        for name, (command, runs) in commands.items():
            times = seconds(command, runs)
            rows.append({"command": name, "best": times[0], "median": statistics.median(times)})
            print(
                f"{name:24s} best {times[0]:6.2f} s  median {statistics.median(times):6.2f} s  "
                f"x {times[0] / alone:.0f}"
            )
    if arguments.json:
        from styleclip_cli.bench.timing import machine

        content = json.dumps({"machine": machine(), "rows": rows}, indent=2)
        arguments.json.write_text(content + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
