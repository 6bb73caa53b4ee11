"""Record docs/sessions.md: `python docs/sessions.py`. Everything in it is run for real."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from styleclip_cli.save import save_image, to_image

sys.path.insert(0, str(Path(__file__).parent.parent))
from styleclip_cli.toyworld.scenes import draw, make_scene

HERE = Path(__file__).parent
COUNT, BROKEN = 300, 7
_KEEP = 12
"""Lines of a long output that are shown at either end."""

TITLE = """# Terminal sessions

Recorded by `python docs/sessions.py` on two cores, with the built-in toy pack: commands, what they printed
(both streams, in order; off a terminal there are no bars), and their exit codes. Long outputs are cut where
it says so.
"""


class Shell:
    """Runs commands in a folder of its own, and writes down what they say."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.text: list[str] = [TITLE]
        scripts = folder / "bin"
        scripts.mkdir()
        (scripts / "styleclip").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m styleclip_cli "$@"\n')
        (scripts / "styleclip").chmod(0o755)
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("STYLECLIP_")},
            "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}",
            "STYLECLIP_MODELS": "toy",
            "STYLECLIP_CACHE_DIR": str(folder / "cache"),
            "PYTHONPATH": str(HERE.parent / "src"),
        }

    def heading(self, title: str, words: str = "") -> None:
        """Begin a session."""
        self.text.append(f"## {title}\n\n{words}\n".rstrip() + "\n")

    def run(self, command: str, interrupt_after: int | None = None) -> None:
        """Run one command, and write it down with its output and exit code.

        Args:
            command: For the shell.
            interrupt_after: Press Ctrl-C when so many pictures are in edited/.
        """
        process = subprocess.Popen(
            ["bash", "-c", f"exec 2>&1; {command}"],
            cwd=self.folder / "work",
            env=self.environment,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
            # A script that runs in the background ignores Ctrl-C, and so would what it starts.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        if interrupt_after is not None:
            while len(list(self.folder.glob("work/edited/*.png"))) < interrupt_after:
                time.sleep(0.01)
            os.killpg(process.pid, signal.SIGINT)
        said = process.communicate()[0].replace(str(self.folder), "")
        lines = [re.sub(r"\s+$", "", line) for line in said.splitlines()]
        if len(lines) > 2 * _KEEP + 4:
            cut = len(lines) - 2 * _KEEP
            lines = [*lines[:_KEEP], f"... {cut} lines like these ...", *lines[-_KEEP:]]
        shown = "\n".join([f"$ {command}", *lines, f"$ echo $?\n{process.returncode}"])
        self.text.append(f"```console\n{shown}\n```\n")
        sys.stdout.write(shown + "\n")


def photos(folder: Path, count: int) -> None:
    """Photos of drawn people, and some files that are none."""
    folder.mkdir(parents=True)
    for number in range(count):
        scene = make_scene(
            80_000_000 + number, sides=(300, 420), count=1, size=(0.4, 0.7), out_of_frame=False
        )
        save_image(folder / f"IMG_{number:04d}.jpg", to_image(draw(scene)))
    names = sorted(folder.iterdir())
    step = count // BROKEN
    for number, path in enumerate(names[step // 2 :: step][:BROKEN]):
        if number % 3 == 0:
            path.write_bytes(path.read_bytes()[:2000])  # a card that was pulled out too early
        elif number % 3 == 1:
            path.write_text("not a photo at all\n")
        else:
            path.write_bytes(b"")


def main() -> None:
    """Record all sessions."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        photos(folder / "work" / "photos", COUNT)
        shell = Shell(folder)
        shell.heading(
            f"{COUNT} photos, {BROKEN} of them broken",
            "One bad photo does not stop the rest; the exit code is 7 (some inputs failed).",
        )
        shell.run('time styleclip edit photos/ --prompt "with glasses" --out edited/ --sheet sheet.png')
        shell.run("ls edited | wc -l")
        shutil.rmtree(folder / "work" / "edited")
        shell.heading("Ctrl-C and resuming", "Every file that exists is complete.")
        shell.run("styleclip edit photos/ --prompt smiling --out edited/", 100)
        shell.run("find edited -name '.*' | wc -l; file edited/*.png | grep -c 'PNG image data'")
        shell.run("styleclip edit photos/ --prompt smiling --out edited/ --skip-existing")
        shell.heading("A pipe", "An image is read from standard input and written to standard output.")
        shell.run(
            'cat photos/IMG_0001.jpg | styleclip edit - --prompt "with a hat" --out - | file -',
        )
        shell.run(
            'find photos -name "IMG_000[0-4]*" -print0 | styleclip edit @- --prompt smiling --out piped/ '
            "--json --scores | jq -c '{input, status, scores}'"
        )
        shell.heading("A manifest", "A table of inputs, each with its own edit.")
        (folder / "work" / "orders.csv").write_text(
            "input,output,prompt,neutral,alpha\n"
            "IMG_0001.jpg,first.jpg,with glasses,,3\n"
            "IMG_0002.jpg,second.jpg,without a moustache,face with a moustache,4\n"
            "IMG_0002.jpg,second-grey.jpg,with grey hair,,\n"
            "seed:12,,smiling,,-4\n"
        )
        shell.run("cat orders.csv")
        shell.run("cd photos && styleclip edit --manifest ../orders.csv --out ../orders/ --dry-run")
        shell.run("cd photos && styleclip edit --manifest ../orders.csv --out ../orders/")
        shell.heading("Strength chosen for each photo", "`--auto`, and its choice for each photo.")
        shell.run('styleclip edit photos/IMG_000[1-6].jpg --prompt "with a beard" --auto --out auto/')
        (HERE / "sessions.md").write_text("\n".join(shell.text), encoding="utf-8")


if __name__ == "__main__":
    main()
