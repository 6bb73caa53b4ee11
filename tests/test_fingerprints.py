"""The same weights have the same fingerprint everywhere; what earlier versions called them still holds."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from checkpoints import GOLDEN, arrays, encoder_checkpoint, golden_generator, save, state
from networks import clip_state
from styleclip_cli import latents
from styleclip_cli.cli import main
from styleclip_cli.edits.directions import Direction
from styleclip_cli.edits.mapper import TrainedMapper
from styleclip_cli.engine import Engine
from styleclip_cli.errors import WeightsError
from styleclip_cli.fingerprints import Fingerprint, same
from styleclip_cli.inversion.files import load
from styleclip_cli.latents import Latents
from styleclip_cli.machine import cache
from styleclip_cli.measure.merge import merge
from styleclip_cli.nets.mapper import LatentMapper
from styleclip_cli.weights import header, packs, store
from styleclip_cli.weights.files import load_weights, save_weights
from styleclip_cli.weights.packs import Pack
from styleclip_cli.weights.readers import read_parts

CONVERT = """
import sys
from styleclip_cli.cli import main
from styleclip_cli.weights.packs import find_pack
folder = sys.argv[1]
clip = ["--clip", f"{folder}/clip.pt"]
for name, file, more in (
    ("one", "nvlabs_uncond.pkl", clip),
    ("two", "nvlabs_cond.pkl", ["--class", "1"]),
    ("three", "e4e.pt", clip),
):
    assert main(["models", "add", name, "--generator", f"{folder}/{file}", *more, "--quiet"]) == 0
    print(find_pack(name).fingerprint)
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Published files: generators, CLIP, an encoder."""
    folder = tmp_path_factory.mktemp("files")
    for name in ("nvlabs_uncond.pkl", "nvlabs_cond.pkl", "rosinality_generator.pt"):
        (folder / name).write_bytes((GOLDEN / name).read_bytes())
    save(folder / "clip.pt", state(arrays("clip")))
    encoder = state(arrays("e4e")) | state(arrays("e4e_body"))
    average = encoder.pop("latent_avg")
    save(folder / "e4e.pt", encoder_checkpoint(encoder, average, {}, golden_generator()[0]))
    torch.manual_seed(0)
    save(folder / "small-clip.pt", clip_state())
    return folder


def add(files: Path, name: str = "mine", generator: str = "rosinality_generator.pt", *more: str) -> Pack:
    arguments = ["--generator", str(files / generator), "--clip", str(files / "small-clip.pt"), *more]
    assert main(["models", "add", name, *arguments]) == 0
    path = packs.own_dir() / f"{name}.toml"
    path.write_text(path.read_text() + "\n[defaults]\nchannels = 10\nn = 200\nn_images = 2\n")
    return packs.find_pack(name)


def as_converted_before(pack: Pack, backwards: bool = False) -> str:
    """Make the installed files and receipts those of an earlier version.

    Returns:
        The fingerprint that it gave generator and CLIP.
    """
    lines = []
    for part in ("clip", "generator"):
        path = pack.entries[part].file.path
        raw = path.read_bytes()
        length = int.from_bytes(raw[:8], "little")
        content = json.loads(raw[8 : 8 + length])
        notes = sorted(content["__metadata__"].items(), reverse=backwards)
        text = json.dumps({**content, "__metadata__": dict(notes)}, separators=(",", ":")).encode()
        path.write_bytes(raw[:8] + text.ljust(length) + raw[8 + length :])
        receipt = json.loads(path.with_suffix(".json").read_text())
        stat = path.stat()
        receipt |= {"sha256": sha256(path), "size": stat.st_size, "mtime_ns": stat.st_mtime_ns}
        receipt = {name: value for name, value in receipt.items() if name not in ("conversion", "hashes")}
        path.with_suffix(".json").write_text(json.dumps(receipt))
        lines.append(f"{part}={sha256(path)}\n")
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def generator_before(pack: Pack) -> str:
    return hashlib.sha256(f"generator={sha256(pack.entries['generator'].file.path)}\n".encode()).hexdigest()


@pytest.mark.slow
@pytest.mark.subprocess
def test_the_same_files_give_the_same_bytes_and_fingerprint_in_every_process(
    files: Path, tmp_path: Path
) -> None:
    running = [
        subprocess.Popen(
            [sys.executable, "-c", CONVERT, str(files)],
            env={**os.environ, "STYLECLIP_HOME": str(tmp_path / seed), "PYTHONHASHSEED": seed},
            stdout=subprocess.PIPE,
            text=True,
        )
        for seed in ("1", "2")
    ]
    said = {process.communicate()[0] for process in running}
    assert [process.returncode for process in running] == [0, 0]
    assert len(said) == 1
    assert len(set(said.pop().split())) == 3
    weights = [sorted((tmp_path / seed / "weights").glob("*.safetensors")) for seed in ("1", "2")]
    assert len(weights[0]) == 5
    for copies in zip(*weights, strict=True):
        assert len({(path.name, sha256(path)) for path in copies}) == 1


def test_a_file_that_is_written_twice_is_the_same_bytes(tmp_path: Path) -> None:
    notes = {f"note {i}": f"text {i}: \x7f \n ü" for i in range(12)}
    for name in ("a", "b"):
        save_weights(tmp_path / name, {"weight": torch.ones(3)}, notes)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert load_weights(tmp_path / "a")[1] == notes


def test_fingerprints_tell_weights_classes_and_parts_apart(files: Path) -> None:
    one = add(files, "one", "nvlabs_cond.pkl")
    prints = {one.fingerprint_of("generator"), one.fingerprint_of("clip"), one.fingerprint}
    prints |= {add(files, "class", "nvlabs_cond.pkl", "--class", "2").fingerprint_of("generator")}
    prints |= {add(files, "other", "nvlabs_uncond.pkl").fingerprint_of("generator")}
    gelu = add(files, "gelu", "nvlabs_cond.pkl", "--clip-activation", "gelu")
    prints |= {gelu.fingerprint_of("clip")}
    assert len(prints) == 6
    usual = add(files, "usual", "nvlabs_cond.pkl", "--clip-activation", "quickgelu")
    assert usual.fingerprint == one.fingerprint
    receipt = store.find(one.entries["generator"].source, "generator")
    assert receipt is not None
    origin = receipt.origin()
    assert origin != replace(receipt, conversion=receipt.conversion + 1).origin()
    assert origin != receipt.origin("gelu")
    assert origin == replace(receipt, sha256="0" * 64, layout="said otherwise", source="x.pkl").origin()


def test_a_file_that_packs_draw_several_classes_of_is_imported_for_each(files: Path) -> None:
    names = ("one", "two")
    before = {}
    for index, name in enumerate(names, start=1):
        before[name] = add(files, name, "nvlabs_cond.pkl", "--class", str(index)).entries["generator"].file
    assert before["one"].sha256 != before["two"].sha256
    shutil.rmtree(store.home() / "weights")
    assert main(["models", "import", str(files / "nvlabs_cond.pkl")]) == 0
    for name in names:
        file = packs.find_pack(name).entries["generator"].file
        assert file.sha256 == before[name].sha256
        file.verify(name, thorough=True)


def test_what_earlier_versions_wrote_still_belongs_to_its_pack(files: Path, tmp_path: Path) -> None:
    pack = add(files)
    plain = pack.fingerprint_of("generator")
    elsewhere = as_converted_before(pack, backwards=True), generator_before(pack)
    here = as_converted_before(pack), generator_before(pack)
    engine = Engine("mine")
    assert engine.pack.fingerprint_of("generator") == plain
    space = engine.generator.style_space
    for both, generator in (here, elsewhere):
        assert both != pack.fingerprint_of("generator", "clip")
        found, mapper = tmp_path / "l.npz", tmp_path / "m.safetensors"
        w_plus = np.zeros((1, space.num_ws, 64), np.float32)
        latents.write(found, Latents(w_plus, latents.provenance(generator, "mine", ["x"])))
        assert len(load(found, engine.generator, engine.pack)) == 1
        zeros = torch.zeros(space.size)
        old = Direction(zeros, zeros, 0.1, 0, "a", "b", tuple(space.widths), generator)
        old.save(tmp_path / "d.npz")
        loaded = Direction.load(tmp_path / "d.npz", space.widths, engine.pack.fingerprint_of("generator"))
        assert loaded.fingerprint == plain
        TrainedMapper(LatentMapper.new("levels", space, 64), "c", fingerprint=generator).save(mapper)
        read = TrainedMapper.load(mapper)
        read.for_generator(engine.generator, engine.pack.fingerprint_of("generator"), mapper)
        for wrong in (replace(read, fingerprint="0" * 64), replace(read, fingerprint=both)):
            with pytest.raises(WeightsError, match="another generator"):
                wrong.for_generator(engine.generator, engine.pack.fingerprint_of("generator"), mapper)
    other = add(files, "other", "nvlabs_uncond.pkl")
    assert not same(here[1], other.fingerprint_of("generator"))


def test_measurements_of_earlier_versions_are_found_and_merged(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack = add(files)
    named = {}
    for backwards in (False, True):
        both = as_converted_before(pack, backwards)
        named[backwards] = {"models": both, "generator": generator_before(pack)}
    Engine("mine").measure()
    left = Engine("mine").left()
    assert [missing for missing, _ in left.values()] == [0, 0]

    folders = [tmp_path / "a", tmp_path / "b"]
    for number, kind in enumerate(("statistics", "relevance")):
        for place, path in enumerate(sorted((cache.cache_dir() / kind).glob("*.npz"))):
            found, arrays_ = cache._read(path)
            backwards = bool((place + number) % 2)
            key = {n: named[backwards].get(n, v) for n, v in found["key"].items()}
            assert key != found["key"]
            target = folders[place % 2] / cache.cache_path(kind, key).relative_to(cache.cache_dir())
            cache.save_npz(target, arrays_, found["meta"], schema=found["schema"], key=key)
    monkeypatch.setenv("STYLECLIP_CACHE_DIR", str(tmp_path / "joined"))
    assert [merge(folder, tmp_path / "joined").refused for folder in folders] == [(), ()]
    assert Engine("mine").left() == left
    before = sorted((tmp_path / "joined").rglob("*.npz"))
    Engine("mine").relevance()
    assert sorted((tmp_path / "joined" / "relevance").glob("*.npz")) == [
        path for path in before if path.parent.name == "relevance"
    ]


def test_what_earlier_versions_called_a_file_is_known_where_it_is_installed_anew(
    files: Path, tmp_path: Path
) -> None:
    file = add(files).entries["clip"].file
    weights, notes = load_weights(file.path)
    assert set(notes) == {"part", "layout", "activation"}
    notes = {name: notes[name] for name in ("part", "layout")}
    save_file(weights, tmp_path / "before.safetensors", notes)  # in any order
    assert sha256(tmp_path / "before.safetensors") in file.earlier


def test_looking_for_earlier_names_does_not_bless_a_damaged_file(files: Path) -> None:
    pack = add(files)
    as_converted_before(pack)
    path = pack.entries["generator"].file.path
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    pack = packs.find_pack("mine")
    assert not same("0" * 64, pack.fingerprint_of("generator"))
    with pytest.raises(WeightsError, match="damaged or replaced"):
        packs.find_pack("mine").component("generator")


def test_notes_in_too_many_orders_are_not_tried(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_weights(path, {"weight": torch.ones(3)}, {"a": "1", "b": "2"})
    assert header.hashes(path)[0] == sha256(path)
    assert len(header.hashes(path)) == 2
    save_weights(path, {"weight": torch.ones(3)}, {str(i): "" for i in range(5)})
    assert header.hashes(path) == []


def test_a_copy_of_a_fingerprint_is_a_text() -> None:
    import copy

    assert type(copy.deepcopy(Fingerprint("ab", lambda: ["cd"]))) is str
    assert same("cd", Fingerprint("ab", lambda: ["cd"]))
    assert not same(["cd"], Fingerprint("ab", lambda: ["cd"]))


# Number of tensors, and sum over all numbers of tensor i times i.
CONVERTED = {
    "nvlabs_uncond.pkl": {"generator": (76, 1025349.26)},
    "nvlabs_cond.pkl": {"generator": (64, 754106.468)},
    "rosinality_generator.pt": {"generator": (76, 282873.428)},
    "clip.pt": {"clip": (62, 480825.216)},
    "e4e.pt": {"encoder": (482, 26370203.9), "generator": (76, 281937.898)},
}


@pytest.mark.parametrize("name", CONVERTED)
def test_who_makes_other_tensors_of_the_same_file_has_to_count_up(name: str, files: Path) -> None:
    found = {}
    for part in read_parts(files / name):
        values = [np.asarray(part.state[key], np.float64) for key in sorted(part.state)]
        found[part.name] = len(values), sum((i + 1) * np.abs(v).sum() for i, v in enumerate(values))
    expected = {part: (n, pytest.approx(total, rel=1e-6)) for part, (n, total) in CONVERTED[name].items()}
    assert found == expected, "other tensors: store.CONVERSION must be one more, and these numbers are new"
    assert store.CONVERSION == 1
