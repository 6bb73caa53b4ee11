"""Packs of published files: pulled from a server, imported by hand, made of one's own, checked, removed."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import http.server
import json
import os
import pickle
import pty
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
import tomli_w
import torch

from checkpoints import E4E_OPTIONS, encoder_checkpoint, mapper_checkpoint, random_mapper, save
from networks import arcface_state, clip_state, encoder_state
from styleclip_cli import toml
from styleclip_cli.cli import main
from styleclip_cli.engine import Engine
from styleclip_cli.errors import WeightsError
from styleclip_cli.weights import install, packs, store

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiny networks that fit each other, in the official formats."""
    folder = tmp_path_factory.mktemp("published")
    (folder / "generator.pt").write_bytes((GOLDEN / "rosinality_generator.pt").read_bytes())
    arrays: dict[str, np.ndarray] = {}
    for name in ("e4e", "e4e_body"):
        with np.load(GOLDEN / f"{name}.npz") as found:
            arrays |= {key[6:]: found[key] for key in found.files if key.startswith("state/")}
    tensors = {key: torch.from_numpy(value) for key, value in arrays.items()}
    average = tensors.pop("latent_avg")
    decoder = torch.load(GOLDEN / "rosinality_generator.pt", weights_only=True)["g_ema"]
    state = {f"encoder.{k}": v for k, v in tensors.items()} | {f"decoder.{k}": v for k, v in decoder.items()}
    torch.save({"state_dict": state, "latent_avg": average, "opts": {}}, folder / "e4e.pt")
    torch.manual_seed(0)
    torch.save(clip_state(), folder / "clip.pt")
    generator = torch.load(GOLDEN / "rosinality_generator.pt", weights_only=True)
    generator["latent_avg"] = generator["latent_avg"] + 1
    torch.save(generator, folder / "other.pt")
    return folder


class Handler(http.server.SimpleHTTPRequestHandler):
    def do_GET(self) -> None:
        self.server.seen.append(self.path)  # type: ignore[attr-defined]
        self.server.ranges.append(self.headers.get("Range"))  # type: ignore[attr-defined]
        content = (Path(self.directory) / self.path.lstrip("/")).read_bytes() if self.ok() else b""
        if not content:
            self.send_error(404)
            return
        start = 0
        if self.headers.get("Range"):
            start = int(self.headers["Range"].removeprefix("bytes=").rstrip("-"))
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(content) - start))
        self.send_header("ETag", f'"{hashlib.md5(content).hexdigest()}"')
        self.end_headers()
        pause = self.server.pause  # type: ignore[attr-defined]
        with contextlib.suppress(OSError):
            for at in range(start, len(content), 1 << 16):
                self.wfile.write(content[at : at + (1 << 16)])
                time.sleep(pause)

    def ok(self) -> bool:
        return (Path(self.directory) / self.path.lstrip("/")).is_file()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(published: Path, tmp_path: Path) -> Iterator[http.server.ThreadingHTTPServer]:
    folder = tmp_path / "served"
    folder.mkdir()
    for path in published.iterdir():
        os.link(path, folder / path.name)
    handler = functools.partial(Handler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        running.seen, running.ranges, running.pause = [], [], 0.0  # type: ignore[attr-defined]
        running.folder = folder  # type: ignore[attr-defined]
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield running
        running.shutdown()


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


PARTS = {"generator": "generator.pt", "encoder": "e4e.pt", "clip": "clip.pt"}
DEFAULTS = {"alpha": 4, "channels": 10, "n": 200, "n_images": 2}


def define(server, published: Path, name: str = "tiny", *, pinned: bool = True, **changes) -> Path:
    """Write a pack whose files the server has."""
    port = server.server_address[1]
    components = {}
    for part, file in PARTS.items():
        content = (published / file).read_bytes()
        components[part] = {"file": file, "urls": [f"http://127.0.0.1:{port}/{file}"], "licence": "MIT"}
        if pinned:
            components[part] |= {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
    described = {
        "format": "styleclip-pack-1",
        "name": name,
        "title": "noise",
        "resolution": 32,
        "licence": "research only",
        "components": components,
        "defaults": DEFAULTS,
    }
    path = packs.own_dir() / f"{name}.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(tomli_w.dumps(described | changes))
    return path


EDIT = ["edit", "seed:1", "-p", "smiling", "-o", "o.png"]


def last_error(text: str) -> str:
    lines = [line for line in text.splitlines() if line.startswith("styleclip: error:")]
    assert lines
    assert "Traceback" not in text
    return lines[-1]


def test_pulled_packs_edit(here: Path, server, published: Path, capsys: pytest.CaptureFixture[str]) -> None:
    define(server, published)
    assert main(["models", "pull", "tiny"]) == 0
    out, err = capsys.readouterr()
    assert "generator.pt, " in err
    assert "tiny is installed" in err
    assert out.count("\n") == 3
    assert sorted(server.seen) == ["/clip.pt", "/e4e.pt", "/generator.pt"]
    assert main([*EDIT, "--models", "tiny"]) == 0
    assert (here / "o.png").stat().st_size > 0
    assert main(["models", "verify", "tiny"]) == 0
    assert capsys.readouterr().out.count("ok  tiny") == 3
    server.seen.clear()
    assert main(["models", "pull", "tiny"]) == 0
    assert server.seen == []
    assert not any((store.home() / "downloads").glob("*/*"))


def test_photos_go_through_the_pulled_encoder(here: Path, server, published: Path) -> None:
    define(server, published)
    assert main(["models", "pull", "tiny", "--quiet"]) == 0
    assert main([*EDIT, "--models", "tiny", "--quiet"]) == 0
    assert main(["invert", "o.png", "--models", "tiny", "--out", "l.npz", "--quiet"]) == 0
    engine = Engine("tiny")
    assert engine.load_inversions(here / "l.npz")[0].w_plus.shape == (1, 8, 64)
    assert engine.networks.encoder.offsets


def test_what_was_converted_is_what_the_file_holds(here: Path, server, published: Path) -> None:
    define(server, published)
    assert main(["models", "pull", "tiny", "--quiet"]) == 0
    with np.load(GOLDEN / "rosinality_generator.npz") as expected:
        with torch.inference_mode():
            picture = Engine("tiny").generator(torch.from_numpy(expected["w_plus"]))
        wanted = torch.from_numpy(expected["image_w_plus"])
    assert float((picture - wanted).abs().max() / wanted.abs().max()) < 1e-5


def test_a_licence_is_shown_and_accepted_once(
    here: Path, server, published: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    define(server, published, restricted=True)
    assert main(["models", "pull", "tiny"]) == 4
    err = capsys.readouterr().err
    assert "research only" in err
    assert "--accept-licence" in err
    assert server.seen == []
    assert main(["models", "pull", "tiny", "--accept-licence", "--quiet"]) == 0
    assert main(["models", "remove", "tiny", "--quiet"]) == 0
    define(server, published, restricted=True)
    assert main(["models", "pull", "tiny", "--quiet"]) == 0  # accepted before


@pytest.mark.slow
@pytest.mark.subprocess(warm="torch")
def test_killed_half_way_it_goes_on_where_it_was(here: Path, server, published: Path) -> None:
    define(server, published)
    server.pause = 0.05
    command = [sys.executable, "-m", "styleclip_cli", "models", "pull", "tiny"]
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    partial = list
    for _ in range(400):
        partial = [
            p for p in (store.home() / "downloads").glob("*/e4e.pt.part") if p.stat().st_size > 1_000_000
        ]
        if partial:
            break
        time.sleep(0.05)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert partial
    assert store.find(packs.find_pack("tiny").entries["encoder"].source, "encoder") is None
    kept = partial[0].stat().st_size
    server.pause = 0.0
    server.seen.clear()
    server.ranges.clear()
    assert main(["models", "pull", "tiny", "--quiet"]) == 0
    begun = [r for path, r in zip(server.seen, server.ranges, strict=True) if path == "/e4e.pt"]
    assert len(begun) == 1
    assert kept <= int(begun[0].removeprefix("bytes=").rstrip("-")) < (published / "e4e.pt").stat().st_size
    assert "/generator.pt" not in server.seen  # was whole before
    assert main(["models", "verify", "tiny", "--quiet"]) == 0
    assert main([*EDIT, "--models", "tiny", "--quiet"]) == 0


@pytest.mark.slow
@pytest.mark.subprocess(warm="torch")
def test_two_processes_fetch_once(here: Path, server, published: Path) -> None:
    define(server, published)
    server.pause = 0.005
    command = [sys.executable, "-m", "styleclip_cli", "models", "pull", "tiny"]
    children = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(2)]
    for child in children:
        _, err = child.communicate(timeout=120)
        assert child.returncode == 0, err.decode()
    assert sorted(server.seen) == ["/clip.pt", "/e4e.pt", "/generator.pt"]


def test_an_optional_part_is_pulled_when_it_is_asked_for(
    here: Path, server, published: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = define(server, published)
    described = toml.load(path)
    clip = described["components"]["clip"]
    addresses = [address.replace("clip.pt", "judge.pt") for address in clip["urls"]]
    described["components"]["judge_clip"] = clip | {"file": "judge.pt", "urls": addresses}
    path.write_text(tomli_w.dumps(described))
    os.link(published / "clip.pt", server.folder / "judge.pt")
    assert main(["models", "pull", "tiny", "-q"]) == 0
    assert "/judge.pt" not in server.seen
    pack = packs.find_pack("tiny")
    assert pack.missing == []
    assert "judge_clip" not in pack.components
    fingerprint = pack.fingerprint
    assert main(["models", "pull", "tiny", "--with", "judge"]) == 4
    assert "its optional parts: judge_clip" in capsys.readouterr().err
    assert main(["models", "pull", "tiny", "--with", "judge_clip"]) == 0
    assert "judge_clip  judge.pt" in capsys.readouterr().out
    assert server.seen.count("/judge.pt") == 1
    pack = packs.find_pack("tiny")
    assert pack.component("judge_clip").is_file()
    assert pack.fingerprint == fingerprint
    assert main(["models", "verify", "tiny"]) == 0
    judge = pack.components["judge_clip"].path
    assert main(["models", "remove", "tiny"]) == 0
    assert not judge.exists()


def test_a_missing_extra_does_not_stop_the_rest(
    here: Path, server, published: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    define(server, published)
    (server.folder / "e4e.pt").unlink()
    assert main(["models", "pull", "tiny"]) == 7
    assert "encoder" in last_error(capsys.readouterr().err)
    assert main([*EDIT, "--models", "tiny", "--quiet"]) == 0
    assert main(["invert", "o.png", "--models", "tiny", "--out", "l.npz"]) == 4
    assert "styleclip models pull tiny" in capsys.readouterr().err


def test_without_what_is_needed_pulling_fails(
    here: Path, server, published: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    define(server, published)
    (server.folder / "clip.pt").unlink()
    assert main(["models", "pull", "tiny"]) == 4
    assert "404" in last_error(capsys.readouterr().err)
    assert main([*EDIT, "--models", "tiny"]) == 4
    assert "not installed" in last_error(capsys.readouterr().err)
    assert not (here / "o.png").exists()


def test_without_a_published_hash_the_first_one_counts(
    here: Path, server, published: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    define(server, published, pinned=False)
    assert main(["models", "pull", "tiny"]) == 0
    assert "no hash is published" in capsys.readouterr().err
    first = hashlib.sha256((published / "generator.pt").read_bytes()).hexdigest()
    assert main(["models", "remove", "tiny", "--quiet"]) == 0
    (server.folder / "generator.pt").unlink()
    os.link(published / "other.pt", server.folder / "generator.pt")
    define(server, published, pinned=False)
    assert main(["models", "pull", "tiny"]) == 4
    message = last_error(capsys.readouterr().err)
    assert first in message
    assert hashlib.sha256((published / "other.pt").read_bytes()).hexdigest() in message


def test_a_download_that_cannot_be_used_is_not_kept(
    here: Path, server, published: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    define(server, published, pinned=False)
    (server.folder / "generator.pt").unlink()
    (server.folder / "generator.pt").write_bytes(b"\x80\x02cposix\nsystem\nX\x04\x00\x00\x00trueq\x00\x85R.")
    assert main(["models", "pull", "tiny"]) == 4
    assert "posix.system" in capsys.readouterr().err
    (server.folder / "generator.pt").unlink()
    os.link(published / "generator.pt", server.folder / "generator.pt")
    assert main(["models", "pull", "tiny", "--quiet"]) == 0


def test_the_mirror_is_asked_first(
    here: Path, server, published: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = define(server, published)
    path.write_text(path.read_text().replace("http://127.0.0.1", "http://127.9.9.9"))  # nobody is there
    monkeypatch.setenv("STYLECLIP_MIRROR", f"http://127.0.0.1:{server.server_address[1]}")
    assert main(["models", "pull", "tiny", "--quiet"]) == 0
    assert len(server.seen) == 3


@pytest.mark.parametrize("variable", ["STYLECLIP_OFFLINE", "HF_HUB_OFFLINE", None])
def test_offline_says_what_to_fetch_by_hand(
    here: Path, server, published: Path, monkeypatch: pytest.MonkeyPatch, capsys, variable: str | None
) -> None:
    define(server, published)
    if variable:
        monkeypatch.setenv(variable, "1")
    assert main(["models", "pull", "tiny", *([] if variable else ["--offline"])]) == 4
    err = capsys.readouterr().err
    assert "styleclip models import" in err
    assert hashlib.sha256((published / "generator.pt").read_bytes()).hexdigest() in err
    assert server.seen == []


def test_that_there_is_no_network_is_said_once_and_at_once(
    here: Path, server, published: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    begun = time.monotonic()
    for command in (
        ["models", "pull", "ffhq"],
        ["models", "pull", "ffhq", "car"],
        ["mappers", "pull", "afro", "mohawk", "--models", "ffhq"],
    ):
        assert main([*command, "--accept-licence", "--quiet"]) == 4
        told = capsys.readouterr().err
        assert told.count("styleclip: error:") == 1
        assert "no network: " in last_error(told)
    assert time.monotonic() - begun < 5


def test_a_network_that_goes_away_is_noticed(
    here: Path, server, published: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    define(server, published)
    real = install.fetch

    def fetched(*arguments: object) -> object:
        if len(server.seen) == 1:
            server.shutdown()
            server.socket.close()
            raise WeightsError("e4e.pt could not be downloaded")
        return real(*arguments)

    monkeypatch.setattr(install, "fetch", fetched)
    assert main(["models", "pull", "tiny"]) == 4
    told = capsys.readouterr().err
    assert told.count("styleclip: error:") == 2
    assert "no network" in last_error(told)


def test_downloads_that_nobody_goes_on_with_are_told_and_removed(
    here: Path, server, published: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    define(server, published)
    begun = store.downloads_dir(packs.find_pack("tiny").entries["encoder"].source)
    lost = begun.with_name("gone-0123456789ab")
    for folder in (begun, lost):
        folder.mkdir(parents=True)
        (folder / "e4e.pt.part").write_bytes(b"?" * 200_000)
        os.utime(folder, (1, 1))
    assert main(["models"]) == 0
    assert "0.2 MB of that begun" in " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert main(["models", "remove", "toy"]) == 0
    assert (begun.exists(), lost.exists()) == (True, False)
    assert main(["models", "import", str(published / "e4e.pt"), "--quiet"]) == 0
    assert not begun.exists()  # nothing more is to come


def test_files_without_a_published_hash_are_known_by_content_and_name(
    here: Path, server, published: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    define(server, published, pinned=False)
    more = define(server, published, "more", pinned=False)  # of another encoder that is called the same
    more.write_text(more.read_text().replace("/e4e.pt", "/more/e4e.pt"))
    for name in ("x.pt", "E4E (1).pt"):
        (here / name).write_bytes((published / "e4e.pt").read_bytes())
        assert main(["models", "import", name]) == 4
    assert "--pack more or tiny, if" in capsys.readouterr().err
    more.unlink()
    assert main(["models", "import", "x.pt"]) == 4
    assert main(["models", "import", "E4E (1).pt"]) == 0
    assert list(packs.find_pack("tiny").components) == ["encoder"]


def test_mappers_fetched_by_hand(
    here: Path, server, published: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the hash of one that others keep on its own; else by name: what is in it does not tell which."""
    state = random_mapper(("course_mapping", 64), ("medium_mapping", 64))
    save(here / "whole.pt", mapper_checkpoint(state))
    alone = {name.removeprefix("mapper."): tensor for name, tensor in state.items()}
    content = save(here / "alone.pt", alone).read_bytes()
    blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    one, two = ({"file": f"{name}.pt", "urls": ["https://one.example/x"]} for name in ("red", "blue"))
    one["others"] = [{"urls": ["https://two.example/x"], "git_sha1": blob}]
    define(server, published, mappers={"red": one, "blue": two})
    assert main(["models", "import", "alone.pt"]) == 0
    assert "the mapper red of tiny" in capsys.readouterr().out
    assert not store.known(packs.find_pack("tiny").mappers["red"].source).pinned  # not the file named first
    assert main(["models", "import", "whole.pt", "--pack", "tiny"]) == 4
    assert "which mapper" in last_error(capsys.readouterr().err)
    (here / "whole.pt").rename(here / "blue(2).pt")
    assert main(["models", "import", "blue(2).pt", "--quiet"]) == 0
    assert main(["models", "pull", "tiny", "--quiet"]) == 0
    for name in ("red", "blue"):
        command = ["edit", "seed:1", "--mapper", name, "--models", "tiny", "--out", f"{name}.png", "--quiet"]
        assert main(command) == 0
    assert (here / "red.png").read_bytes()[-2000:] == (here / "blue.png").read_bytes()[-2000:]


def test_files_fetched_by_hand_are_known_by_their_content(
    here: Path, server, published: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    define(server, published)
    for file in PARTS.values():
        (here / f"download({file}).tmp").write_bytes((published / file).read_bytes())
        assert main(["models", "import", f"download({file}).tmp"]) == 0
    assert "generator of tiny" in capsys.readouterr().out
    assert main([*EDIT, "--models", "tiny", "--quiet"]) == 0
    assert server.seen == []


def test_importing_tells_what_a_file_is(
    here: Path, server, published: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    define(server, published)
    assert main(["models", "import", str(published / "other.pt")]) == 4
    assert "StyleGAN2 generator (rosinality, PyTorch)" in last_error(capsys.readouterr().err)
    assert main(["models", "import", str(published / "other.pt"), "--pack", "tiny"]) == 4
    assert "its hash must be" in last_error(capsys.readouterr().err)
    define(server, published, "open", pinned=False)
    assert main(["models", "import", str(published / "other.pt"), "--pack", "open"]) == 0
    assert packs.find_pack("open").entries["generator"].file is not None
    assert main(["models", "import", "absent.pt"]) == 4
    assert "no such file" in last_error(capsys.readouterr().err)
    (here / "text.pt").write_text("hello")
    assert main(["models", "import", "text.pt"]) == 4
    last_error(capsys.readouterr().err)


def test_a_pack_of_ones_own(
    here: Path, published: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    generator, clip = str(published / "generator.pt"), str(published / "clip.pt")
    assert main(["models", "add", "mine", "--generator", generator, "--clip", clip]) == 0
    pack = packs.find_pack("mine")
    assert (pack.resolution, pack.missing) == (32, [])
    path = packs.own_dir() / "mine.toml"
    described = path.read_text() + "\n[defaults]\nchannels = 10\nn = 200\nn_images = 2\n"
    path.write_text(described)
    assert main([*EDIT, "--models", "mine", "--quiet"]) == 0
    capsys.readouterr()
    assert main(["models", "add", "mine", "--generator", generator]) == 5
    assert "--overwrite" in capsys.readouterr().err
    assert main(["invert", "o.png", "--models", "mine", "--out", "l.npz"]) == 4
    assert "has no encoder" in last_error(capsys.readouterr().err)
    assert main(["models", "remove", "mine"]) == 0
    assert "mine" not in packs.names()
    assert not list((store.home() / "weights").glob("*.safetensors"))


def test_a_parser_of_ones_own(
    here: Path, published: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from test_parser import published as facexlib

    generator, clip = str(published / "generator.pt"), str(published / "clip.pt")
    parser = str(save(here / "parsing_parsenet.pth", facexlib("parsenet")))
    command = ["models", "add", "mine", "--generator", generator, "--clip", clip]
    assert main([*command, "--parser", generator]) == 4
    assert "holds no parser" in last_error(capsys.readouterr().err)
    assert main([*command, "--parser", parser]) == 0
    pack = packs.find_pack("mine")
    assert pack.component("parser").is_file()
    assert main(["models", "verify", "mine"]) == 0
    assert Engine("mine").networks.parser.side == 512
    other = packs.find_pack("mine").fingerprint
    assert main([*command, "--overwrite"]) == 0
    assert packs.find_pack("mine").fingerprint == other
    assert main(["models", "add", "faces", "--generator", generator, "--alignment", "ffhq"]) == 0
    faces = packs.find_pack("faces")
    assert "parser" in faces.entries
    assert "parser" not in faces.missing
    assert faces.how_to_pull("parser") == "styleclip models pull faces --with parser"


def test_an_e4e_file_gives_generator_and_encoder(here: Path, published: Path) -> None:
    e4e, clip = str(published / "e4e.pt"), str(published / "clip.pt")
    assert main(["models", "add", "both", "--generator", e4e, "--clip", clip, "--quiet"]) == 0
    pack = packs.find_pack("both")
    assert set(pack.components) == {"generator", "encoder", "clip"}
    assert Engine("both").networks.encoder.latent_avg.shape == (8, 64)


def test_without_a_clip_of_ones_own_the_usual_one_is_taken(
    here: Path, published: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", "add", "mine", "--generator", str(published / "generator.pt")]) == 0
    assert "styleclip models pull mine" in capsys.readouterr().err
    pack = packs.find_pack("mine")
    assert pack.missing == ["clip"]
    assert pack.entries["clip"].source == packs.find_pack("ffhq").entries["clip"].source


@pytest.mark.parametrize(
    ("arguments", "code", "named"),
    [
        (["toy", "--generator", "generator.pt"], 2, "toy"),
        (["../x", "--generator", "generator.pt"], 2, "../x"),
        (["mine", "--generator", "clip.pt"], 4, "CLIP"),
        (["mine", "--generator", "generator.pt", "--encoder", "clip.pt"], 4, "no encoder"),
        (["mine", "--generator", "generator.pt", "--alignment", "dlib"], 2, "dlib"),
        (["mine", "--generator", "absent.pt"], 4, "absent.pt"),
        (["mine", "--generator", "generator.pt", "--class", "2"], 2, "draws one kind"),
    ],
)
def test_a_pack_that_makes_no_sense_is_refused(
    published: Path, monkeypatch, capsys: pytest.CaptureFixture[str], arguments, code: int, named: str
) -> None:
    monkeypatch.chdir(published)
    assert main(["models", "add", *arguments]) == code
    assert named in last_error(capsys.readouterr().err)
    assert packs.names()[-1] != "mine"


def test_damage_is_found(here: Path, server, published: Path, capsys: pytest.CaptureFixture[str]) -> None:
    define(server, published)
    assert main(["models", "pull", "tiny", "--quiet"]) == 0
    path = packs.find_pack("tiny").component("generator")
    before = path.stat()
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert main([*EDIT, "--models", "tiny"]) == 4  # its time is another, so it was read again
    assert "damaged" in last_error(capsys.readouterr().err)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    packs.find_pack("tiny").component("generator")  # as in version control: same size and time
    assert main(["models", "verify", "tiny"]) == 4
    assert "1 of 3" in last_error(capsys.readouterr().err)
    assert main(["models", "remove", "tiny", "--quiet"]) == 0
    define(server, published)
    assert main(["models", "pull", "tiny", "--quiet"]) == 0
    assert main(["models", "verify", "--quiet"]) == 0


def test_pulling_again_repairs(here: Path, server, published: Path, capsys) -> None:
    define(server, published)
    assert main(["models", "pull", "tiny", "--quiet"]) == 0
    path = packs.find_pack("tiny").component("clip")
    path.write_bytes(path.read_bytes()[:-4] + b"oops")
    server.seen.clear()
    assert main(["models", "pull", "tiny"]) == 0
    assert "its clip is damaged" in capsys.readouterr().err
    assert server.seen == ["/clip.pt"]
    assert main(["models", "verify", "tiny", "--quiet"]) == 0


def test_one_pack_that_fails_does_not_stop_the_next(here: Path, server, published: Path, capsys) -> None:
    gone = define(server, published, "gone", pinned=False)
    gone.write_text(gone.read_text().replace("/generator.pt", "/nowhere.pt"))
    define(server, published, "tiny")
    assert main(["models", "pull", "gone", "tiny"]) == 7
    assert packs.find_pack("tiny").usable
    assert "1 of 2 packs" in capsys.readouterr().err


def test_a_broken_pack_does_not_stand_in_the_way(here: Path, server, published: Path, capsys) -> None:
    define(server, published)
    (packs.own_dir() / "broken.toml").write_text("x = [")
    assert main(["models", "import", str(published / "generator.pt")]) == 0
    assert main(["models", "verify"]) == 0
    assert "broken.toml" in capsys.readouterr().err
    assert main(["models", "remove", "broken"]) == 0
    assert "broken" not in packs.names()


@pytest.mark.subprocess
def test_a_full_disk_while_converting_is_an_output_error(here: Path, published: Path) -> None:
    import resource

    def limited() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))

    command = [sys.executable, "-m", "styleclip_cli", "models", "add", "full", "--generator"]
    done = subprocess.run(
        [*command, str(published / "generator.pt")], preexec_fn=limited, capture_output=True, text=True
    )
    assert done.returncode == 5, done.stderr
    assert not list((store.home() / "weights").glob("*.safetensors"))


def test_an_encoder_under_another_name_is_the_encoder(here: Path, server, published: Path) -> None:
    define(server, published, pinned=False)
    renamed = here / "e4e (1).pt"
    renamed.write_bytes((published / "e4e.pt").read_bytes())
    assert main(["models", "import", str(renamed), "--pack", "tiny", "--quiet"]) == 0
    assert list(packs.find_pack("tiny").components) == ["encoder"]


def test_a_changed_file_is_taken_once_the_old_hash_is_forgotten(here: Path, server, published: Path) -> None:
    define(server, published, pinned=False)
    assert main(["models", "pull", "tiny", "--quiet"]) == 0
    (server.folder / "generator.pt").unlink()
    os.link(published / "other.pt", server.folder / "generator.pt")
    assert main(["models", "remove", "tiny", "--forget", "--quiet"]) == 0
    define(server, published, pinned=False)
    assert main(["models", "pull", "tiny", "--quiet"]) == 0


def test_a_copied_store_is_read_once(here: Path, server, published: Path) -> None:
    define(server, published)
    assert main(["models", "pull", "tiny", "--quiet"]) == 0
    path = packs.find_pack("tiny").component("generator")
    os.utime(path, ns=(1, 1))
    assert packs.find_pack("tiny").entries["generator"].file.checked[1] != 1
    packs.find_pack("tiny").component("generator")
    assert packs.find_pack("tiny").entries["generator"].file.checked[1] == path.stat().st_mtime_ns


@pytest.mark.parametrize(
    "line",
    ['beta = "x"', "steps = 1.5", "channels = true", 'inverter = "foo"', 'layers = "foo"', "alpha = nan"],
)
def test_defaults_that_make_no_sense_are_refused(here: Path, published: Path, capsys, line: str) -> None:
    generator, clip = str(published / "generator.pt"), str(published / "clip.pt")
    assert main(["models", "add", "mine", "--generator", generator, "--clip", clip, "--quiet"]) == 0
    path = packs.own_dir() / "mine.toml"
    path.write_text(path.read_text() + f"\n[defaults]\n{line}\n")
    assert main([*EDIT, "--models", "mine"]) == 4
    assert line.split()[0] in last_error(capsys.readouterr().err)


def test_photos_are_refused_before_anything_is_measured(here: Path, published: Path, capsys) -> None:
    generator, clip = str(published / "generator.pt"), str(published / "clip.pt")
    assert main(["models", "add", "mine", "--generator", generator, "--clip", clip, "--quiet"]) == 0
    assert main(["sample", "--models", "toy", "--seed", "1", "--out", ".", "--quiet"]) == 0
    assert main(["edit", "seed1.png", "-p", "smiling", "--models", "mine", "-o", "o.png"]) == 4
    assert "takes no photos: it has no encoder" in last_error(capsys.readouterr().err)


def test_what_two_packs_share_is_kept_once(
    here: Path, server, published: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    define(server, published, "one")
    define(server, published, "two")
    assert main(["models", "pull", "one", "two", "--quiet"]) == 0
    assert len(server.seen) == 3
    assert main(["models", "remove", "one", "--quiet"]) == 0
    assert packs.find_pack("two").missing == []
    assert main([*EDIT, "--models", "two", "--quiet"]) == 0
    assert main(["models", "remove", "two"]) == 0
    assert "3 files" in capsys.readouterr().out


def test_the_list_and_the_places(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in ("toy", "ffhq", "afhqcat", "metfaces", "car", "church", "horse"))
    assert "non-commercial" in out
    assert main(["models", "where"]) == 0
    assert str(store.home()) in capsys.readouterr().out
    assert main(["models", "where", "ffhq"]) == 0
    assert "generator\tnot installed" in capsys.readouterr().out
    assert main(["models", "where", "toy"]) == 0
    assert "pack/generator.safetensors" in capsys.readouterr().out


@pytest.mark.subprocess
def test_listing_needs_no_torch() -> None:
    code = "import sys; from styleclip_cli.cli import main; main(['models']); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("False\n")


# Which pack is used


def test_in_scripts_a_missing_choice_is_an_error(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(EDIT) == 4
    err = capsys.readouterr().err
    whole = "styleclip models pull ffhq --accept-licence (2.2 GB"
    for part in (whole, "non-commercial use only", "or --models toy (drawn faces, built in)"):
        assert part in err
    assert "writing to the current folder" not in err
    assert main([*EDIT, "--models", "ffhq"]) == 4
    err = capsys.readouterr().err
    assert "not installed" in last_error(err)
    assert whole in err
    with pytest.raises(WeightsError, match="no model pack is chosen"):
        Engine()


def test_option_then_environment_then_config(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = store.config_dir() / "config.toml"
    config.write_text('models = "toy"\n')
    assert Engine().pack.name == "toy"
    assert main([*EDIT, "--quiet"]) == 0
    monkeypatch.setenv("STYLECLIP_MODELS", "nosuch")
    assert main([*EDIT, "--overwrite"]) == 4
    assert main([*EDIT, "--overwrite", "--models", "toy", "--quiet"]) == 0


def test_a_broken_config_is_one_line(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (store.config_dir() / "config.toml").write_text("models = [")
    assert main(EDIT) == 3
    assert "config.toml" in last_error(capsys.readouterr().err)


def test_ffhq_is_usual_once_it_is_installed(
    here: Path, server, published: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = here / "definitions"
    folder.mkdir()
    (folder / "ffhq.toml").write_text(define(server, published, "ffhq").read_text())
    monkeypatch.setattr(packs, "_PUBLISHED", folder)
    assert packs.default_name() is None
    assert main(["models", "pull", "ffhq", "--quiet"]) == 0
    assert packs.default_name() == "ffhq"
    assert main([*EDIT, "--quiet"]) == 0


@pytest.mark.parametrize(("answer", "code"), [("t", 0), ("y", 0), ("q", 4)])
def test_at_a_terminal_one_is_asked(
    here: Path, server, published: Path, monkeypatch: pytest.MonkeyPatch, answer: str, code: int
) -> None:
    folder = here / "definitions"
    folder.mkdir()
    (folder / "ffhq.toml").write_text(define(server, published, "ffhq", restricted=True).read_text())
    monkeypatch.setattr(packs, "_PUBLISHED", folder)
    monkeypatch.setattr("styleclip_cli.cli.packs.at_terminal", lambda: True)
    monkeypatch.setattr("typer.prompt", lambda *_, **__: answer)
    monkeypatch.setattr("typer.confirm", lambda *_, **__: True)
    assert main([*EDIT, "--quiet"]) == code
    assert (here / "o.png").exists() == (code == 0)
    assert bool(server.seen) == (answer == "y")


@pytest.mark.subprocess(warm="torch")
def test_a_real_terminal_is_asked(here: Path) -> None:
    command = [sys.executable, "-m", "styleclip_cli", *EDIT]
    leader, follower = pty.openpty()
    child = subprocess.Popen(command, stdin=follower, stdout=subprocess.DEVNULL, stderr=follower)
    os.close(follower)
    os.write(leader, b"t\n")
    seen = b""
    with contextlib.suppress(OSError):
        while chunk := os.read(leader, 4096):
            seen += chunk
    os.close(leader)
    assert child.wait(timeout=60) == 0, seen
    assert b"Download it, accept its licence, and go on (y), use toy" in seen
    assert b"2.2 GB" in seen
    assert b"are free" in seen
    assert b"non-commercial" in seen
    assert (here / "o.png").exists()


# What packs say


_CLIP = 'format = "styleclip-pack-1"\nname = "bad"\nresolution = 32\n[components.clip]\nfile = "a"\n'


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "format"),
        ("format = 1\n", "format"),
        ('format = "styleclip-pack-1"\nname = "x"\nresolution = 0\n', "resolution"),
        ('format = "styleclip-pack-1"\nname = "x"\nresolution = 32\nalignment = "up"\n', "alignment"),
        (
            'format = "styleclip-pack-1"\nname = "x"\nresolution = 32\n[components.brain]\nfile = "a"\n',
            "brain",
        ),
        (
            'format = "styleclip-pack-1"\nname = "x"\nresolution = 32\n[components.clip]\nfile = "../a"\n',
            "../a",
        ),
        (
            'format = "styleclip-pack-1"\nname = "x"\nresolution = 32\n[components.clip]\nfile = "a"\n'
            'sha256 = "12"\nurls = []\n',
            "SHA-256",
        ),
        ("not toml at all", "bad.toml"),
        (_CLIP + 'urls = ["http://[::1"]\n', "is no address"),
        (_CLIP + 'urls = ["nowhere"]\n', "is no address"),
        (_CLIP + 'urls = ["https://host/\\u001b[31m"]\n', "is no address"),
        (_CLIP + "urls = []\nclass = inf\n", "class"),
        (_CLIP + "urls = []\nclass = -1\n", "class"),
        (_CLIP + f"urls = []\nsize = 1{'0' * 400}\n", "size"),
        (_CLIP + 'urls = []\ngit_sha1 = "../../../../x"\n', "no SHA-1"),
        (_CLIP.replace('"a"', '"a\\u0000b"') + "urls = []\n", "file name"),
        (_CLIP.replace('"bad"', '"../bad"') + "urls = []\n", "../bad"),
        (_CLIP + "urls = []\nothers = ['x']\n", "others is not a list"),
        (_CLIP + "urls = []\nothers = [{sha256 = '12'}]\n", "urls is not a list"),
        (_CLIP + "urls = []\nothers = [{urls = ['nowhere']}]\n", "is no address"),
        (_CLIP + "#" * 2**18, "over 256 kB"),
        ("a." * 20_000 + "b = 1\n", "keys of too many parts"),
        ("a = " + "[" * 3000, "bad.toml"),
        ('format = "styleclip-pack-1"\nname = "other"\nresolution = 32\n', "other"),
        (
            'format = "styleclip-pack-1"\nname = "x"\nresolution = 32\n[components.clip]\nfile = "a"\n'
            'activation = "relu"\nurls = []\n',
            "relu",
        ),
        (
            'format = "styleclip-pack-1"\nname = "bad"\nresolution = 32\n[components.clip]\nfile = "a"\n'
            'size = "12"\nurls = []\n',
            "size",
        ),
    ],
)
def test_a_pack_that_cannot_be_used_says_why(
    capsys: pytest.CaptureFixture[str], text: str, named: str
) -> None:
    packs.own_dir().mkdir(parents=True)
    (packs.own_dir() / "bad.toml").write_text(text)
    assert main(["sample", "--models", "bad"]) == 4
    message = last_error(capsys.readouterr().err)
    assert named in message
    assert "bad.toml" in message
    assert main(["models"]) == 0  # the others are listed all the same


def test_odd_packs_are_a_line_each_beside_the_others(
    published: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    packs.own_dir().mkdir(parents=True)
    text = _CLIP.replace("resolution", 'title = "[/x] \\u001b[31m[bold]\\nred"\nlicence = "[/]"\nresolution')
    text += "urls = ['https://[::1]/a']\nlicence = 'x'\n"
    for name in ("odd", "[red]x", "esc\x1b[31m", "line\nbreak", "huge"):
        (packs.own_dir() / f"{name}.toml").write_text(text.replace('"bad"', '"odd"'))
    (packs.own_dir() / "huge.toml").write_text("a = 1\n" * 2**18)
    (packs.own_dir() / "here.toml").mkdir()
    assert main(["models"]) == 0
    said = capsys.readouterr().out
    assert not set(said) & set(map(chr, (*range(10), *range(11, 32), 127)))
    assert "[/x] \\x1b[31m[bold] red" in " ".join(said.replace("|", " ").split())
    assert "[red]x" in said
    assert "line\\x0abreak" in said
    assert said.count("broken") == 5
    assert main(["models", "pull", "odd", "--offline"]) == 4
    assert "\x1b" not in capsys.readouterr().err


def test_the_packs_that_come_with_the_program_are_sound() -> None:
    found = {name: packs.find_pack(name) for name in packs.names()}
    assert {
        "toy",
        "ffhq",
        "afhqcat",
        "afhqdog",
        "afhqwild",
        "metfaces",
        "car",
        "cat",
        "church",
        "horse",
    } <= set(found)
    for name, pack in found.items():
        assert pack.name == name
        assert pack.title
        for entry in pack.entries.values():
            if entry.source is not None:
                assert pack.restricted
                assert entry.licence
                assert all(url.startswith("https://") for url in entry.source.urls)
    assert set(found["ffhq"].entries) == {
        "generator", "clip", "judge_clip", "encoder", "identity", "landmarks", "detector", "parser",
        "relevance", "statistics"
    }  # fmt: skip


def test_the_addresses_of_all_packs_are_well_formed() -> None:
    """Whole https addresses of files, each once; hashes of the right length; nothing without either."""
    for name in packs.names():
        for entry in packs.find_pack(name).all_entries:
            if entry.source is None:
                continue
            for source in (entry.source, *entry.source.others):
                where = f"{name}: {source.file}"
                assert source.urls or source.pinned, where
                assert source.sha256 is None or re.fullmatch("[0-9a-f]{64}", source.sha256), where
                assert source.git_sha1 is None or re.fullmatch("[0-9a-f]{40}", source.git_sha1), where
                for url in source.urls:
                    parts = urlsplit(url)
                    assert (parts.scheme, parts.username, parts.fragment) == ("https", None, ""), where
                    assert re.fullmatch(r"([a-z0-9-]+\.)+[a-z]+", parts.netloc), where
                    drive = parts.netloc == "drive.usercontent.google.com"
                    query = r"id=[\w-]{33}&export=download&confirm=t" if drive else ""
                    assert re.fullmatch(query, parts.query), where
                    assert parts.path == "/download" if drive else Path(parts.path).suffix, where
                if source.file == "ViT-B-32.pt":
                    assert all(source.sha256 in url for url in source.urls)
                    assert urlsplit(source.urls[0]).hostname == "openaipublic.blob.core.windows.net"
                    assert len(source.urls) == 3
            assert len(set(entry.source.all_urls)) == len(entry.source.all_urls)


def test_published_mappers_have_a_second_source_with_a_hash() -> None:
    mappers = packs.find_pack("ffhq").mappers
    assert len(mappers) == 14
    for name, entry in mappers.items():
        (other,) = entry.source.others
        assert other.git_sha1
        assert other.urls[0].endswith(f"/{name}.pt")


def test_published_measurements_are_taken_over(here: Path, published: Path) -> None:
    generator, clip = str(published / "generator.pt"), str(published / "clip.pt")
    assert main(["models", "add", "plain", "--generator", generator, "--clip", clip, "--quiet"]) == 0
    space = Engine("plain").generator.style_space
    rows = np.random.RandomState(0).randn(sum(layer.width for layer in space.editable("conv")), 24)
    rows[3] = 0  # a channel without effect
    unit = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)
    np.save(here / "fs3.npy", unit.astype(np.float16))
    halves = [[np.full(w, v, np.float32) for w in space.widths] for v in (0.25, 2.0)]
    (here / "S_mean_std").write_bytes(pickle.dumps(halves))
    files = ["--relevance", "fs3.npy", "--statistics", "S_mean_std"]
    assert main(["models", "add", "full", "--generator", generator, "--clip", clip, *files, "--quiet"]) == 0
    engine = Engine("full")
    assert torch.equal(engine.statistics().std, torch.full((space.size,), 2.0))
    relevance = engine.relevance()
    assert len(relevance.matrix) == len(rows)
    assert torch.allclose(relevance.matrix, torch.from_numpy(unit).float(), atol=2e-3)
    assert main([*EDIT, "--models", "full", "--quiet"]) == 0


def test_parts_of_another_generator_are_refused_before_anything_is_installed(
    here: Path, published: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    generator, clip = str(published / "generator.pt"), str(published / "clip.pt")
    np.save(here / "fs3.npy", np.eye(24, dtype=np.float32))
    np.save(here / "wide.npy", np.eye(140, dtype=np.float32))  # of the generator, but of another CLIP
    halves = [[np.ones(w, np.float32) for w in (4, 4)] for _ in range(2)]
    (here / "S_mean_std").write_bytes(pickle.dumps(halves))
    torch.save(encoder_checkpoint(encoder_state(), torch.zeros(8, 16), E4E_OPTIONS), here / "e.pt")
    many = encoder_checkpoint(encoder_state(), torch.zeros(8, 64), E4E_OPTIONS)
    torch.save(many, here / "average.pt")
    for option, file, said in [
        (
            "--relevance",
            "fs3.npy",
            "its relevance has 24 rows of 24 numbers; this generator and CLIP need 140",
        ),
        ("--relevance", "wide.npy", "140 rows of 140 numbers; this generator and CLIP need 140 of 24"),
        ("--statistics", "S_mean_std", "its statistics are of 8 channels in 2 layers, the generator has"),
        (
            "--encoder",
            "e.pt",
            "its encoder gives 8 vectors of 16 numbers, the generator (32 pixels) takes 8 of 64",
        ),
        ("--encoder", "average.pt", "8 vectors of 16 and 64 numbers"),
    ]:
        assert main(["models", "add", "odd", "--generator", generator, "--clip", clip, option, file]) == 4
        out, err = capsys.readouterr()
        assert f"{file}: " in last_error(err)
        assert said in last_error(err)
        assert out == ""
    assert "odd" not in packs.names()
    assert not list((store.home() / "weights").glob("*"))


def test_relevance_must_fit_the_usual_clip_too(here: Path, published: Path, capsys) -> None:
    np.save(here / "fs3.npy", np.eye(140, dtype=np.float32))
    generator = str(published / "generator.pt")
    assert main(["models", "add", "odd", "--generator", generator, "--relevance", "fs3.npy"]) == 4
    assert "need 140 of 512" in last_error(capsys.readouterr().err)


def test_what_was_taken_and_made_up_is_told(here: Path, published: Path, capsys) -> None:
    g = torch.load(published / "generator.pt", weights_only=True)["g_ema"]
    plain = {name: tensor for name, tensor in g.items() if not name.startswith("noises.")}
    torch.save({"g": plain}, here / "g.pt")
    arguments = ["--generator", "g.pt", "--clip", str(published / "clip.pt")]
    assert main(["models", "add", "mine", *arguments]) == 0
    err = capsys.readouterr().err
    assert "generator: taken: g; an averaged generator (g_ema)" in err
    assert "generator: noise: drawn from a fixed seed" in err
    assert "clip: activation: taken for quickgelu" in err
    assert main(["models", "add", "mine", *arguments, "--overwrite", "--quiet"]) == 0
    assert capsys.readouterr().err == ""


def test_a_clip_may_have_been_trained_with_gelu(here: Path, published: Path, capsys) -> None:
    arguments = ["--generator", str(published / "generator.pt"), "--clip", str(published / "clip.pt")]
    assert main(["models", "add", "usual", *arguments, "--clip-activation", "quickgelu"]) == 0
    assert main(["models", "add", "laion", *arguments, "--clip-activation", "gelu"]) == 0
    assert "activation" not in capsys.readouterr().err
    usual, laion = (packs.find_pack(name) for name in ("usual", "laion"))
    assert laion.entries["clip"].activation == "gelu"
    assert usual.fingerprint_of("generator") == laion.fingerprint_of("generator")
    assert usual.fingerprint_of("clip") != laion.fingerprint_of("clip")
    assert main(["info", str(laion.component("clip"))]) == 0
    assert "activation: gelu" in capsys.readouterr().out
    assert main(["models", "verify", "laion", "--quiet"]) == 0
    block = Engine("laion").networks.clip.model.visual.transformer.resblocks[0].mlp
    assert torch.equal(block.gelu(torch.tensor([1.0])), torch.nn.functional.gelu(torch.tensor([1.0])))
    pictures = torch.linspace(-1, 1, 3 * 32 * 32).reshape(1, 3, 32, 32)
    vectors = [Engine(name).networks.clip.encode_image(pictures) for name in ("usual", "laion")]
    assert not torch.allclose(*vectors)
    assert main(["models", "remove", "laion", "--quiet"]) == 0
    assert packs.find_pack("usual").missing == []


@pytest.mark.parametrize(
    "arguments",
    [["--clip-activation", "gelu"], ["--clip", "clip.pt", "--clip-activation", "relu"]],
)
def test_an_activation_that_makes_no_sense_is_refused(
    published: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    monkeypatch.chdir(published)
    assert main(["models", "add", "mine", "--generator", "generator.pt", *arguments]) == 2
    assert "--clip-activation" in last_error(capsys.readouterr().err)


@pytest.mark.parametrize(
    ("option", "change", "said"),
    [
        ("--identity", {"output_layer.0.bias": torch.zeros(3)}, "output_layer.0.bias is [3], expected [12]"),
        ("--identity", {"output_layer.0.bias": None}, "the tensor output_layer.0.bias is missing"),
        ("--identity", {"more": torch.zeros(3)}, "1 tensors are not its own: more"),
        ("--clip", {"ln_final.bias": torch.zeros(3)}, "tensors are missing, or do not fit each other"),
    ],
)
def test_weights_that_do_not_fit_are_refused_in_plain_words(
    here: Path, published: Path, capsys: pytest.CaptureFixture[str], option: str, change: dict, said: str
) -> None:
    state = (arcface_state() if option == "--identity" else clip_state()) | change
    torch.save({name: tensor for name, tensor in state.items() if tensor is not None}, here / "odd.pt")
    arguments = ["--generator", str(published / "generator.pt"), "--clip", str(published / "clip.pt")]
    assert main(["models", "add", "odd", *arguments, option, "odd.pt"]) == 4
    message = last_error(capsys.readouterr().err)
    assert message.startswith("styleclip: error: odd.pt: not the weights of a")
    assert said in message


# StyleCLIP's own latent files are inputs


@pytest.mark.parametrize("name", ["w_plus.npy", "latents.pt", "w.npy", "one.pt"])
def test_official_latents_are_edited(here: Path, published: Path, name: str) -> None:
    generator, clip = str(published / "generator.pt"), str(published / "clip.pt")
    assert main(["models", "add", "mine", "--generator", generator, "--clip", clip, "--quiet"]) == 0
    path = packs.own_dir() / "mine.toml"
    path.write_text(path.read_text() + "\n[defaults]\nchannels = 10\nn = 200\nn_images = 2\n")
    rng = np.random.RandomState(0)
    latents = rng.randn(*{"w.npy": (30, 64), "one.pt": (8, 64)}.get(name, (2, 8, 64))).astype(np.float32)
    if name.endswith(".npy"):
        np.save(here / name, latents)
    else:
        torch.save(torch.from_numpy(latents), here / name)
    loaded = torch.cat([face.w_plus for face in Engine("mine").load_inversions(here / name)])
    wanted = torch.from_numpy(latents)
    if name == "w.npy":  # one w a face, for all layers
        wanted = wanted[:, None].expand(-1, 8, -1)
    elif name == "one.pt":  # one face, not eight
        wanted = wanted[None]
    assert torch.equal(loaded, wanted)
    assert main(["edit", name, "-p", "smiling", "--models", "mine", "--out", "edited", "--quiet"]) == 0
    assert len(list((here / "edited").iterdir())) == len(wanted)


def test_other_official_files_are_no_latents(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"a": torch.zeros(2), "b": torch.zeros(2)}, here / "x.pt")
    assert main(["edit", "x.pt", "-p", "smiling", "--models", "toy"]) == 3
    assert "no W+ latents" in last_error(capsys.readouterr().err)


def test_receipts_say_where_weights_come_from(here: Path, server, published: Path) -> None:
    define(server, published)
    assert main(["models", "pull", "tiny", "--quiet"]) == 0
    receipts = map(store._read_receipt, (store.home() / "weights").glob("*.json"))
    found = {receipt.part: receipt for receipt in receipts if receipt is not None}
    assert set(found) == set(PARTS)
    assert found["encoder"].layout == "e4e encoder"
    assert found["encoder"].source_sha256 == hashlib.sha256((published / "e4e.pt").read_bytes()).hexdigest()
    assert found["encoder"].url.endswith("/e4e.pt")
    receipt = next((store.home() / "weights").glob("e4e-*.json"))
    assert json.loads(receipt.read_text())["format"] == store.RECEIPT


# The check after the first pull


def test_a_new_pack_is_checked_once(
    here: Path, server, published: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from styleclip_cli.check.report import Check, Report

    failed = Check("samples are faces", "failed", told="none", probably="the generator", hint="verify")
    checked: list[str] = []

    def check_pack(name: str, **_: object) -> Report:
        checked.append(name)
        return Report(name, (failed,), 0, {}, None)

    monkeypatch.setattr("styleclip_cli.check.run.check_pack", check_pack)
    define(server, published, expected={"faces": 0.5})
    assert main(["models", "pull", "tiny"]) == 0, "it is installed all the same"
    err = capsys.readouterr().err
    assert "FAILED samples are faces: none" in err
    assert "warning: edits with tiny may be wrong" in err
    assert main(["models", "pull", "tiny", "-q"]) == 0
    assert checked == ["tiny"]
    assert main(["models", "remove", "tiny", "-q"]) == 0
    define(server, published, expected={"faces": 0.5})
    assert main(["models", "pull", "tiny", "--no-check", "-q"]) == 0
    assert checked == ["tiny"]


def test_the_check_of_a_new_pack_can_be_left_out(
    here: Path, server, published: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from styleclip_cli.machine.interrupt import Stopped

    def check_pack(name: str, **_: object) -> None:
        raise Stopped(2)

    monkeypatch.setattr("styleclip_cli.check.run.check_pack", check_pack)
    define(server, published, expected={"faces": 0.5})
    assert main(["models", "pull", "tiny"]) == 0
    assert "styleclip models check tiny does it later" in capsys.readouterr().err


def test_a_folder_with_a_pack_is_found_again_after_it_was_pulled(
    here: Path, server, published: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = here / "some where"
    folder.mkdir()
    described = define(server, published, "other")
    described.rename(folder / "pack.toml")
    monkeypatch.setattr("styleclip_cli.cli.packs.at_terminal", lambda: True)
    monkeypatch.setattr("typer.prompt", lambda *_, **__: "y")
    assert packs.how_to_get(packs.find_pack(str(folder))).startswith(f"styleclip models pull '{folder}' (")
    assert main([*EDIT, "--quiet", "--models", str(folder)]) == 0
    assert (here / "o.png").exists()


@pytest.mark.parametrize("name", ["floor", "identity_floor", "progress_floor"])
@pytest.mark.parametrize("value", [2.0, float("nan"), float("inf")])
def test_bars_of_a_pack_are_cosines(here: Path, server, published: Path, name: str, value: float) -> None:
    define(server, published, **{name: value})
    with pytest.raises(WeightsError, match=name):
        packs.find_pack("tiny")
