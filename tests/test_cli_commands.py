"""The commands, end to end, on a pack of tiny random networks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import styleclip_cli
from styleclip_cli import latents
from styleclip_cli.cli import main
from styleclip_cli.engine import Engine
from styleclip_cli.machine import cache, process
from styleclip_cli.save import read_metadata
from tiny_pack import SIDE, make_pack


@pytest.fixture
def here(tmp_path: Path, pack: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder, with the tiny pack as the default one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STYLECLIP_MODELS", str(pack))
    return tmp_path


def face(path: Path, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8)
    Image.fromarray(noise).resize((48, 40), Image.Resampling.BICUBIC).save(path)
    return path


def files(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*"))


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"), dtype=np.int16)


def test_edit_writes_the_face_and_tells_about_it(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    face(here / "face.png")
    code = main(["edit", "face.png", "--prompt", "with glasses", "--alpha", "4", "--out", "o.png"])
    captured = capsys.readouterr()
    assert code == 0, captured.err
    assert pixels(here / "o.png").shape == (SIDE, SIDE, 3)
    assert captured.out.startswith("o.png")
    for word in ("alpha 4", "beta 0.", "channels", " s\n"):
        assert word in captured.out
    assert 'target "face with glasses", neutral "face"' in captured.err
    written = read_metadata(here / "o.png")
    assert (written["prompt"], written["alphas"]) == ("face with glasses", [4])
    assert files(here) == ["face.png", "o.png"]


def test_edits_are_repeatable_and_alpha_matters(here: Path) -> None:
    for name, alpha in (("a", "3"), ("b", "3"), ("c", "-3"), ("zero", "0")):
        assert main(["edit", "seed:3", "-p", "smiling", "-a", alpha, "-o", f"{name}.png"]) == 0
    assert main(["sample", "--seed", "3", "--out", "."]) == 0
    np.testing.assert_array_equal(pixels(here / "a.png"), pixels(here / "b.png"))
    assert np.abs(pixels(here / "a.png") - pixels(here / "c.png")).max() > 0
    np.testing.assert_array_equal(pixels(here / "zero.png"), pixels(here / "seed3.png"))


def test_the_default_output_is_in_the_current_folder(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    face(here / "photos" / "me.jpg")
    assert main(["edit", "photos/me.jpg", "-p", "a smiling face"]) == 0
    assert "me_a-smiling-face.png" in files(here)
    assert "current folder" in capsys.readouterr().err


def test_several_alphas_make_a_strip(here: Path) -> None:
    arguments = ["edit", "seed:1", "-p", "smiling", "--alpha", "2,4", "--alpha", "-3", "-o", "strip.png"]
    assert main(arguments) == 0
    main(["edit", "seed:1", "-p", "smiling", "--alpha", "0", "-o", "original.png"])
    strip, original = pixels(here / "strip.png"), pixels(here / "original.png")
    assert strip.shape[1] > 4 * SIDE
    windows = np.lib.stride_tricks.sliding_window_view(strip, (SIDE, SIDE), axis=(0, 1))
    assert (windows == original.transpose(2, 0, 1)).all(axis=(2, 3, 4)).sum() == 1


def test_a_folder_goes_to_a_folder(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a.png", "b.jpg"):
        face(here / "photos" / name)
    assert main(["edit", "photos", "seed:1-2", "-p", "smiling", "-o", "edited"]) == 0
    names = ["a", "b", "seed1", "seed2"]
    assert files(here / "edited") == [f"{name}_smiling.png" for name in names]
    assert len(capsys.readouterr().out.splitlines()) == 4


def test_one_bad_input_does_not_stop_the_rest(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    face(here / "a.png")
    (here / "b.png").write_text("text")
    face(here / "c.png", 1)
    whole = face(here / "d.png", 2).read_bytes()
    (here / "d.png").write_bytes(whole[: len(whole) // 2])
    code = main(["edit", "a.png", "b.png", "c.png", "d.png", "absent.png", "-p", "smiling", "-o", "edited"])
    captured = capsys.readouterr()
    assert code == 7
    assert files(here / "edited") == ["a_smiling.png", "c_smiling.png"]
    for name in ("b.png", "d.png", "absent.png"):
        assert f"styleclip: error: {name}: " in captured.err
    assert "3 of 5 failed, 2 written" in captured.err


def test_when_all_fail_for_one_reason_that_is_the_code(here: Path) -> None:
    assert main(["edit", "x.png", "y.png", "-p", "smiling", "-o", "edited"]) == 3
    assert files(here) == []


def test_existing_outputs_are_kept_unless_told(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "o.png").write_text("precious")
    arguments = ["edit", "seed:1", "-p", "smiling", "-o", "o.png"]
    assert main(arguments) == 5
    assert "--overwrite" in capsys.readouterr().err
    assert (here / "o.png").read_text() == "precious"
    assert main([*arguments, "--overwrite"]) == 0
    assert pixels(here / "o.png").shape == (SIDE, SIDE, 3)


def test_a_saved_direction_gives_the_same_edit(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["find-direction", "-p", "with a beard", "--channels", "7", "-o", "beard.npz", "--top", "3"]
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[-1].endswith("7 channels")
    assert "conv" in out
    assert main(["edit", "seed:1", "-p", "with a beard", "--channels", "7", "-o", "a.png"]) == 0
    assert main(["edit", "seed:1", "--direction", "beard.npz", "-o", "b.png"]) == 0
    np.testing.assert_array_equal(pixels(here / "a.png"), pixels(here / "b.png"))


def test_a_direction_of_another_generator_is_refused(
    here: Path, tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    other = make_pack(tmp_path_factory.mktemp("other"), seed=1)
    assert main(["find-direction", "-p", "smiling", "-o", "d.npz", "--models", str(other)]) == 0
    capsys.readouterr()
    assert main(["edit", "seed:1", "seed:2", "--direction", "d.npz", "-o", "edited"]) == 3
    one_error(capsys.readouterr().err)
    assert not (here / "edited").exists()


def test_latents_are_found_once_and_edited_again(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    face(here / "photos" / "a.png")
    face(here / "photos" / "b.png", 1)
    arguments = ["invert", "photos", "--out", "faces.npz", "--preview", "faces.png", "--inversion-steps", "2"]
    assert main(arguments) == 0
    found = latents.read(here / "faces.npz")
    assert len(found.w_plus) == 2
    assert found.provenance["sources"] == ["photos/a.png", "photos/b.png"]
    assert pixels(here / "faces.png").shape[0] > 2 * SIDE
    assert main(["edit", "faces.npz", "-p", "smiling", "-o", "from-latents"]) == 0
    assert main(["edit", "photos", "--inversion-steps", "2", "-p", "smiling", "-o", "from-photos"]) == 0
    for latent, photo in (("faces-0", "a"), ("faces-1", "b")):
        one = pixels(here / "from-latents" / f"{latent}_smiling.png").astype(int)
        other = pixels(here / "from-photos" / f"{photo}_smiling.png").astype(int)
        # Rendered together and one by one: sums are rounded in another order.
        assert np.abs(one - other).max() <= 1
        assert (one != other).mean() < 1e-3


def test_inverting_keeps_what_worked(here: Path) -> None:
    face(here / "a.png")
    assert main(["invert", "a.png", "absent.png", "-o", "faces.npz"]) == 7
    assert len(latents.read(here / "faces.npz").w_plus) == 1


def test_a_saved_latent_shows_the_edit(here: Path) -> None:
    face(here / "a.png")
    assert main(["edit", "a.png", "-p", "smiling", "-a", "4", "-o", "o.png", "--save-latent"]) == 0
    assert main(["edit", "o.npz", "-p", "with glasses", "-a", "0", "-o", "again.png"]) == 0
    np.testing.assert_array_equal(pixels(here / "o.png"), pixels(here / "again.png"))


def test_latents_of_another_generator_are_refused(
    here: Path, tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    other = make_pack(tmp_path_factory.mktemp("other"), seed=1)
    assert main(["sample", "--seed", "1", "-o", ".", "--models", str(other)]) == 0
    capsys.readouterr()
    assert main(["edit", "seed1.npz", "-p", "smiling", "-o", "o.png"]) == 3
    message = one_error(capsys.readouterr().err)
    assert cache.load_npz(here / "seed1.npz", schema=latents.SCHEMA)[1]["generator"][:12] in message
    assert not (here / "o.png").exists()


def test_sample_writes_pictures_latents_and_a_sheet(here: Path) -> None:
    assert main(["sample", "--seed", "1-2,9", "--out", "faces", "--sheet", "sheet.png"]) == 0
    assert files(here / "faces") == [f"seed{n}.{e}" for n in (1, 2, 9) for e in ("npz", "png")]
    assert pixels(here / "sheet.png").shape[1] > 3 * SIDE


def test_a_seed_gives_its_face_whatever_comes_with_it(here: Path) -> None:
    assert main(["sample", "--seed", "2", "--out", "one"]) == 0
    assert main(["sample", "--seed", "1-3", "--out", "many"]) == 0
    np.testing.assert_array_equal(pixels(here / "one" / "seed2.png"), pixels(here / "many" / "seed2.png"))


def test_precompute_can_publish(here: Path) -> None:
    assert main(["precompute-stats", "--out", "published"]) == 0
    assert files(here / "published") == ["relevance.npz", "statistics.npz"]


def test_published_measurements_are_used(
    here: Path, pack: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    assert main(["precompute-stats", "--out", "published"]) == 0
    with_data = make_pack(tmp_path_factory.mktemp("with-data"), data=here / "published")
    os.environ["STYLECLIP_CACHE_DIR"] = str(tmp_path / "fresh")  # undone by conftest's monkeypatch
    arguments = ["find-direction", "-p", "smiling", "-o", "d.npz", "--models"]
    assert main([*arguments, str(with_data)]) == 0
    assert not (tmp_path / "fresh" / "relevance").exists()
    assert main([*arguments, str(pack), "--overwrite"]) == 0
    assert (tmp_path / "fresh" / "relevance").exists()


def test_demo_takes_the_tour(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo"]) == 0
    written = files(here / "styleclip-demo")
    assert "demo.png" in written
    assert len(written) == 1 + 3 + 9
    err = capsys.readouterr().err
    for words in ("sample", "invert", "face with glasses", "smiling face", "face with a beard"):
        assert words in err
    assert main(["demo"]) == 5


def test_evaluate_refuses_at_once(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    toy = str(Path(styleclip_cli.__file__).parent / "toyworld" / "pack")
    assert main(["evaluate", "-p", "with a monocle", "--models", toy]) == 2
    assert "monocle" in one_error(capsys.readouterr().err)
    assert main(["evaluate"]) == 2  # the tiny pack has no judge
    assert "no judge" in one_error(capsys.readouterr().err)
    assert main(["evaluate", "--method", "magic"]) == 2


def test_quiet_says_nothing(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["edit", "seed:1", "-p", "smiling", "-o", "o.png", "--quiet"]) == 0
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == ""


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "styleclip_cli", *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        check=False,
    )


@pytest.mark.slow
@pytest.mark.subprocess
def test_piped_output_is_plain(here: Path) -> None:
    done = run("edit", "seed:1", "-p", "smiling", "-o", "o.png", FORCE_COLOR="1")
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout + done.stderr
    assert "\r" not in done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.subprocess(warm="torch")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_leaves_nothing_behind(here: Path, number: signal.Signals, code: int) -> None:
    face(here / "a.png")
    edit = ["edit", "a.png", "-p", "smiling", "--inversion-steps", "10000"]
    command = [sys.executable, "-m", "styleclip_cli", *edit]
    process = subprocess.Popen(
        [*command, "-o", "edited/o.png"],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    first = process.stderr.readline()  # the texts are told just before the long search begins
    time.sleep(0.5)
    process.send_signal(number)
    _, rest = process.communicate(timeout=60)
    assert process.returncode == code, first + rest
    assert "Traceback" not in rest
    assert files(here) == ["a.png"]


# --- what a person gets wrong -------------------------------------------------------------------------


def one_error(err: str) -> str:
    """The one error line; nothing but its hint may follow."""
    lines = [line for line in err.splitlines() if line.startswith("styleclip: error: ")]
    assert len(lines) == 1, err
    assert "Traceback" not in err
    after = err.splitlines()[err.splitlines().index(lines[0]) + 1 :]
    assert len(after) <= 1
    assert all(line.startswith("  try: ") for line in after)
    return lines[0]


BAD = {
    "missing file": (["absent.png"], 3, "absent.png"),
    "text as picture": (["text.png"], 3, "text.png"),
    "truncated": (["cut.png"], 3, "cut.png"),
    "one pixel": (["dot.png"], 3, "1x1"),
    "enormous": (["huge.png"], 3, "huge.png"),
    "empty folder": (["empty"], 3, "empty"),
    "text as latents": (["text.npz"], 3, "text.npz"),
    "bad seed": (["seed:x"], 2, "seeds"),
    "long prompt": (["good.png", "--prompt", "word " * 500], 3, "word word"),
    "empty prompt": (["good.png", "--prompt", "  "], 2, "prompt"),
    "same texts": (["good.png", "--prompt", "face"], 2, "same"),
    "alpha abc": (["good.png", "--alpha", "abc"], 2, "abc"),
    "alpha nan": (["good.png", "--alpha", "nan"], 2, "nan"),
    "alpha inf": (["good.png", "--alpha", "1,inf"], 2, "inf"),
    "alpha beyond reason": (["good.png", "--alpha", "1e39"], 2, "finite"),
    "beta nan": (["good.png", "--beta", "nan"], 2, "--beta"),
    "beta beyond one": (["good.png", "--beta", "2"], 2, "between 0 and 1"),
    "unknown layers": (["good.png", "--layers", "some"], 2, "some"),
    "seed too large": (["good.png", "--seed", "4294967296"], 2, "--seed"),
    "name too long": (["good.png", "--direction", "d" * 300], 3, "ddd"),
    "pack name too long": (["good.png", "--models", "m" * 300], 4, "mmm"),
    "beta too high": (["good.png", "--beta", "0.999"], 2, "largest usable beta"),
    "beta and channels": (["good.png", "--beta", "0.1", "--channels", "5"], 2, "exclude"),
    "unknown device": (["good.png", "--device", "tpu"], 6, "tpu"),
    "absent device": (["good.png", "--device", "cuda:99"], 6, "cuda:99"),
    "unknown pack": (["good.png", "--models", "nosuch"], 4, "nosuch"),
    "folder without pack": (["good.png", "--models", "empty"], 4, "pack.toml"),
    "file in the way": (["good.png", "--out", "text.png/o.png"], 5, "text.png"),
    "unwritable place": (["good.png", "--out", "/proc/self/o.png"], 5, "/proc/self"),
    "unknown format": (["good.png", "--out", "o.xyz"], 2, "o.xyz"),
    "direction is no direction": (["good.png", "--direction", "text.npz"], 3, "text.npz"),
    "direction missing": (["good.png", "--direction", "absent.npz"], 3, "absent.npz"),
    "unknown option": (["good.png", "--nosuch"], 2, "--nosuch"),
    "steps negative": (["good.png", "--inversion-steps", "-1"], 2, "--inversion-steps"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_mistake_is_one_line_a_code_and_nothing_else(
    here: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from test_photo import png_header

    if name == "absent device" and _has_cuda(99):
        pytest.skip("this machine has a hundred GPUs")
    if name == "unwritable place" and not Path("/proc/self").is_dir():
        pytest.skip("needs a file system that refuses even root")
    (here / "text.png").write_text("no picture")
    (here / "text.npz").write_text("no latents")
    face(here / "good.png")
    content = face(here / "cut.png").read_bytes()
    (here / "cut.png").write_bytes(content[: len(content) // 2])
    Image.new("RGB", (1, 1)).save(here / "dot.png")
    (here / "huge.png").write_bytes(png_header(20_000, 20_000))
    (here / "empty").mkdir()
    before = files(here)
    arguments, code, words = BAD[name]
    arguments = [*arguments]
    if "--prompt" not in arguments and "--direction" not in arguments:
        arguments += ["--prompt", "smiling"]
    if "--out" not in arguments:
        arguments += ["--out", "new/o.png"]
    assert main(["edit", *arguments]) == code
    captured = capsys.readouterr()
    assert words in one_error(captured.err)
    assert captured.out == ""
    assert files(here) == before


def _has_cuda(index: int) -> bool:
    import torch

    return torch.cuda.device_count() > index


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "locked").mkdir(mode=0o555)
    assert main(["edit", "seed:1", "-p", "smiling", "-o", "locked/o.png"]) == 5
    one_error(capsys.readouterr().err)


def test_damaged_weights_are_refused(
    here: Path, tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = make_pack(tmp_path_factory.mktemp("broken"))
    content = bytearray((broken / "generator.safetensors").read_bytes())
    content[-1] ^= 1
    (broken / "generator.safetensors").write_bytes(content)
    assert main(["edit", "seed:1", "-p", "smiling", "-o", "o.png", "--models", str(broken)]) == 4
    assert "SHA-256" in one_error(capsys.readouterr().err)


def test_a_pack_may_not_reach_outside(
    here: Path, tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = make_pack(tmp_path_factory.mktemp("broken"))
    text = (broken / "pack.toml").read_text()
    (broken / "pack.toml").write_text(text.replace('"generator.safetensors"', '"../generator.safetensors"'))
    assert main(["sample", "--models", str(broken)]) == 4
    one_error(capsys.readouterr().err)


def test_a_bug_is_one_line_with_a_way_to_see_more(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def explode(name: str) -> None:
        raise RuntimeError("two\nlines")

    monkeypatch.setattr("styleclip_cli.engine.find_pack", explode)
    assert main(["sample"]) == 1
    err = capsys.readouterr().err
    assert "two lines" in one_error(err)
    assert "STYLECLIP_DEBUG=1" in err
    monkeypatch.setenv("STYLECLIP_DEBUG", "1")
    assert main(["sample"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_options_change_neither_the_environment_nor_the_next_command(
    here: Path, pack: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = dict(os.environ)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
    assert main(["edit", "no.png", "-p", "x", "--models", str(pack), "--no-kernels", "--verbose"]) == 3
    assert "Traceback" in capsys.readouterr().err
    assert process.without_kernels()
    assert main(["edit", "no.png", "-p", "x", "--models", str(pack), "--max-megapixels", "400"]) == 3
    assert "Traceback" not in capsys.readouterr().err
    assert not process.without_kernels()
    assert Image.MAX_IMAGE_PIXELS == 200_000_000  # Pillow refuses what has twice as many
    assert dict(os.environ) == before


def test_commands_keep_freed_memory_and_a_program_that_embeds_an_engine_decides_itself(
    here: Path, pack: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[bool] = []
    monkeypatch.setattr("styleclip_cli.machine.memory.disable_malloc_trim", lambda: told.append(True))
    Engine(pack, device="cpu")
    assert told == []
    assert main(["sample", "--models", str(pack), "--device", "cpu"]) == 0
    assert told == [True]


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory")])
def test_running_out_of_memory(
    here: Path, error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def explode(name: str) -> None:
        raise error

    monkeypatch.setattr("styleclip_cli.engine.find_pack", explode)
    assert main(["sample"]) == 6
    assert "out of memory" in one_error(capsys.readouterr().err)
