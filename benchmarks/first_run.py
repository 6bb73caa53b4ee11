"""A person's first run, recorded: `python benchmarks/first_run.py FOLDER [PHOTO]`.

Installs the package with pipx (`pip install pipx`) into FOLDER, serves random weights of the published sizes
(those of `full_size.py`, and of face-alignment's networks) from this machine as a mirror, and runs
`styleclip edit PHOTO --prompt "with makeup" --neutral "face" --alpha 4` at a pseudo-terminal: the offer, the
download, the check, the picture. The pack's file in that installation gets the hashes of these weights; all
else is as people get it. Random networks find no face in a photo, so --no-align is added, and fail the check.
Needs 10 GB of disk.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import pty
import re
import subprocess
import sys
import threading
import time
import tomllib
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import tomli_w

sys.path.insert(0, str(Path(__file__).parent))
from full_size import ROOT, write

SERVED = {"stylegan2-ffhq-config-f.pkl": "stylegan2-ffhq-config-f.pt"}
"""Published names that `full_size.py` writes under others; readers look at the content."""


def write_landmarks(folder: Path) -> None:
    """Random weights of face-alignment's networks, as it publishes them."""
    import torch

    from styleclip_cli.landmarks import fan

    make_fan, make_s3fd = fan.classes()
    torch.manual_seed(0)
    torch.save(make_fan(4).state_dict(), folder / "2DFAN4-11f355bf06.pth.tar")
    torch.save(make_s3fd().state_dict(), folder / "s3fd-619a316812.pth")


def describe(pack: Path, folder: Path) -> None:
    """Give a pack's file the hashes and sizes of the files that are served."""
    content = tomllib.loads(pack.read_text(encoding="utf-8"))
    for table in ("components", "data"):
        for entry in content[table].values():
            file = folder / SERVED.get(entry["file"], entry["file"])
            if not file.exists():
                continue
            if file.name != entry["file"]:
                with contextlib.suppress(FileExistsError):
                    (folder / entry["file"]).symlink_to(file.name)
            entry.pop("git_sha1", None)
            with file.open("rb") as opened:
                entry["sha256"] = hashlib.file_digest(opened, "sha256").hexdigest()
            entry["size"] = file.stat().st_size
    pack.write_text(tomli_w.dumps(content), encoding="utf-8")


def at_terminal(command: list[str], answers: bytes, environment: dict[str, str]) -> str:
    """Run a command at a pseudo-terminal; what it said, as it stood in the end."""
    print("$", " ".join(command), flush=True)
    leader, follower = pty.openpty()
    began = time.monotonic()
    child = subprocess.Popen(command, stdin=follower, stdout=follower, stderr=follower, env=environment)
    os.close(follower)
    os.write(leader, answers)
    seen = b""
    with contextlib.suppress(OSError):
        while chunk := os.read(leader, 65536):
            seen += chunk
    code = child.wait()
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen.decode(errors="replace"))
    lines = [line.rsplit("\r", 1)[-1].rstrip() for line in text.replace("\r\n", "\n").split("\n")]
    said = "\n".join(line for line in lines if line)
    print(f"{said}\n[exit code {code}, {time.monotonic() - began:.0f} s]\n", flush=True)
    return said


def main(folder: Path, photo: Path) -> None:
    """Write, install, serve, run."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "S_mean_std").exists():
        write(folder)
    if not (folder / "s3fd-619a316812.pth").exists():
        write_landmarks(folder)
    home = folder / "person"
    environment = os.environ | {
        "HOME": str(home),
        "PIPX_HOME": str(home / "pipx"),
        "PIPX_BIN_DIR": str(home / "bin"),
        "STYLECLIP_HOME": str(home / "weights"),
        "STYLECLIP_CACHE_DIR": str(home / "cache"),
        "COLUMNS": "110",
    }
    home.mkdir(exist_ok=True)
    if not (home / "bin" / "styleclip").exists():
        at_terminal([sys.executable, "-m", "pipx", "install", str(ROOT)], b"", environment)
    (pack,) = (home / "pipx").rglob("weights/published/ffhq.toml")
    describe(pack, folder)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    environment["STYLECLIP_MIRROR"] = f"http://127.0.0.1:{server.server_port}"
    edit = [str(home / "bin" / "styleclip"), "edit", str(photo), "--prompt", "with makeup"]
    edit += [
        "--neutral",
        "face",
        "--alpha",
        "4",
        "--no-align",
        "--overwrite",
        "--out",
        str(home / "made-up.png"),
    ]
    at_terminal(edit, b"y\n", environment)
    server.shutdown()


class Quiet(SimpleHTTPRequestHandler):
    """Serves files without a word."""

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing."""


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else ROOT / "examples" / "face.png")
