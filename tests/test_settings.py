"""Defaults from config.toml, what the shell completes, and the doctor."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
import torch
from torch import Tensor

from styleclip_cli import __version__
from styleclip_cli.cli import completion, main
from styleclip_cli.nets.ops import building, reference
from styleclip_cli.settings import (
    CompositeMode,
    Inverter,
    LayerChoice,
    MapperKind,
    OptimizerName,
    PictureFormat,
    Precision,
    RelevanceMode,
    Space,
)


@pytest.fixture
def here(tmp_path: Path, pack: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STYLECLIP_MODELS", str(pack))
    monkeypatch.setenv("STYLECLIP_HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    return tmp_path


def settings(here: Path, text: str) -> None:
    (here / "home" / "config.toml").write_text(text)


def test_options_have_defaults_in_config_toml(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings(
        here,
        '[common]\ndevice = "cpu"\n[edit]\nalpha = [1, "2"]\nprompt = "with glasses"\nsave-latent = true\n'
        'quality = 60\n[sample]\ndevice = "toaster"\n',
    )
    assert main(["edit", "seed:1", "--json", "--out", "a.png"]) == 0
    row = json.loads(capsys.readouterr().out)
    assert row["alpha"] == [1.0, 2.0]
    assert row["prompt"] == "face with glasses"
    assert row["latent"] == "a.npz"
    # What is typed comes first.
    assert main(["edit", "seed:1", "--json", "--out", "b.png", "--alpha", "3", "-p", "smiling"]) == 0
    row = json.loads(capsys.readouterr().out)
    assert (row["alpha"], row["prompt"]) == (3.0, "smiling face")
    # A command's own table comes before what all have.
    assert main(["sample", "--seed", "1"]) == 6


def test_what_is_typed_overrules_defaults_that_it_excludes(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings(here, "[edit]\nalpha = 3\nskip-existing = true\nbeta = 0.0\njson = true\n")
    command = ["edit", "seed:1", "-p", "smiling", "--out", "a.png"]
    assert main(command) == 0
    assert main(command) == 0
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert (first["alpha"], first["status"], second["status"]) == (3.0, "ok", "skipped")
    assert main([*command, "--overwrite", "--auto", "--channels", "2"]) == 0
    third = json.loads(capsys.readouterr().out)
    assert (third["status"], third["channels"]) == ("ok", 2)
    settings(here, "[edit]\nskip-existing = true\noverwrite = true\n")
    assert main(command) == 2, "two defaults that exclude each other are a mistake in the file"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[edit]\nalfa = 3\n", "perhaps --alpha"),
        ("[edti]\nalpha = 3\n", "no command 'edti'"),
        ("[common]\nalfa = 3\n", "no command has --alfa"),
        ("[edit]\nquality = [3]\n", "quality"),
        ("[edit]\noverwrite = 1\n", "true or false"),
        ("edit = 3\n", "config.toml"),
        ("[edit\n", "config.toml"),
    ],
)
def test_settings_that_make_no_sense(
    here: Path, text: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    settings(here, text)
    assert main(["edit", "seed:1", "-p", "smiling"]) == 3
    told = capsys.readouterr().err
    assert words in told
    assert "config.toml" in told
    assert main(["--version"]) == 0
    assert main(["edit", "--help"]) == 0


def complete(*words: str) -> list[str]:
    """What bash would offer for the last word."""
    environment = {
        **os.environ,
        "_STYLECLIP_COMPLETE": "complete_bash",
        "COMP_WORDS": " ".join(("styleclip", *words)),
        "COMP_CWORD": str(len(words)),
    }
    code = (
        "import sys; from styleclip_cli.cli import main; sys.argv = ['styleclip']; main(); "
        "print('TORCH' if 'torch' in sys.modules else '')"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert "TORCH" not in done.stdout
    return done.stdout.split()


@pytest.mark.subprocess(warm="cli")
def test_the_shell_completes_names(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert complete("ed") == ["edit"]
    assert "toy" in complete("edit", "--models", "t")
    assert "with-glasses" in complete("edit", "--models", "toy", "--mapper", "with-g")
    (here / "d.npz").touch()
    (here / "deep").mkdir()
    (here / "deep" / "e.npz").touch()
    (here / "d.png").touch()
    assert complete("edit", "--direction", "d") == ["d.npz", "deep/"]
    assert completion.directions("./d") == ["./d.npz", "./deep/"]
    assert completion.directions("deep/") == ["deep/e.npz"]
    assert completion.directions("none/") == []
    settings(here, "[broken")
    monkeypatch.delenv("STYLECLIP_MODELS")
    assert complete("edit", "--mapper", "w") == []


@pytest.mark.subprocess(warm="cli")
def test_the_shell_completes_choices(here: Path) -> None:
    assert complete("edit", "--composite", "") == ["adaptive", "residual", "replace"]
    assert complete("edit", "--method", "o") == ["optimize"]
    assert complete("cache", "prune", "--kind", "k") == ["kernels"]


@pytest.mark.parametrize(
    ("command", "option", "choices"),
    [
        ("edit", "composite", get_args(CompositeMode)),
        ("edit", "inverter", get_args(Inverter)),
        ("edit", "space", get_args(Space)),
        ("edit", "format", get_args(PictureFormat)),
        ("merge", "layers", get_args(LayerChoice)),
        ("studio", "precision", get_args(Precision)),
        ("precompute-stats", "relevance", get_args(RelevanceMode)),
        ("train-mapper", "kind", get_args(MapperKind)),
        ("train-mapper", "optimizer", get_args(OptimizerName)),
        ("evaluate", "method", ("global", "optimize", "mapper", "auto", "official-global", "all")),
        ("evaluate", "split", ("dev", "test")),
        ("models add", "alignment", ("ffhq", "square", "car", "none", "frame")),
        ("cache prune", "kind", ("inversions", "texts", "statistics", "relevance", "evaluations", "kernels")),
    ],
)
def test_choices_are_told_and_all_others_refused(
    command: str,
    option: str,
    choices: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("typer.rich_utils.MAX_WIDTH", 300)
    assert main([*command.split(), "--help"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if f"--{option} " in line]
    assert any("|".join(choices) in line for line in lines)
    for word in ("it's", choices[0][:-1] + "X"):
        assert main([*command.split(), f"--{option}", word]) == 2
        told = f"unknown --{option} {word!r}", f"--{option} {', '.join(choices[:-1])} or {choices[-1]}"
        assert capsys.readouterr().err == f"styleclip: error: {told[0]}\n  try: {told[1]}\n"


def test_formats_may_be_written_in_capitals(here: Path) -> None:
    assert main(["edit", "seed:1", "-p", "smiling", "--format", "JPG", "--name", "o", "-q"]) == 0
    assert (here / "o.jpg").is_file()


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("composite", "--composite adaptive, residual or replace"),
        ("inverter", "--inverter encoder, refine, features or pivotal"),
        ("relevance", "--relevance exact, preview or gradient"),
        ("layers", "--layers fs3, conv or all"),
        ("space", "--space w+ or s"),
    ],
)
def test_unknown_choices_of_recipes_are_refused(
    here: Path, entry: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    method = "latent optimization" if entry == "space" else "global directions"
    (here / "r.toml").write_text(f'prompt = "smiling"\nmethod = "{method}"\n{entry} = "blend"\n')
    assert main(["edit", "seed:1", "--recipe", "r.toml", "--out", "o.png"]) == 2
    assert capsys.readouterr().err == f"styleclip: error: unknown --{entry} 'blend'\n  try: {words}\n"
    choice = words.split()[-1]
    assert main(["edit", "seed:1", "--recipe", "r.toml", "--dry-run", f"--{entry}", choice]) == 0


def test_the_doctor(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    told = capsys.readouterr().out
    for words in (__version__, "torch", "kernels", "model packs", "cache", "weights", "GB free"):
        assert words in told
    assert main(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["schema"] == "styleclip.doctor/1"
    by_name = {one["what"]: one for one in found["findings"]}
    assert by_name["device"]["status"] == "ok"
    assert by_name["kernels"]["status"] in ("ok", "missing")


def test_the_doctor_finds_what_is_broken(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("STYLECLIP_MODELS", "ffhq")
    monkeypatch.setenv("STYLECLIP_CACHE_DIR", "/proc/self/cache")
    settings(here, "[broken")
    assert main(["doctor"]) == 7
    told = capsys.readouterr()
    assert "styleclip models pull ffhq" in told.out
    assert "/proc/self" in told.out
    assert told.err.startswith("styleclip: error: ")
    assert main(["doctor", "--device", "cuda:99"]) == 7
    assert "cuda:99" in capsys.readouterr().out


def findings(capsys: pytest.CaptureFixture[str], code: int) -> dict[str, dict[str, str]]:
    """What the doctor finds, by name."""
    capsys.readouterr()
    assert main(["doctor", "--json"]) == code
    return {one["what"]: one for one in json.loads(capsys.readouterr().out)["findings"]}


def test_the_doctor_tries_a_text_and_a_face_and_a_kernel(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("STYLECLIP_MODELS", "toy")
    found = findings(capsys, 0)
    assert {found[what]["status"] for what in ("texts", "faces")} == {"ok"}

    def wrong(*arguments: object, **layer: object) -> Tensor:
        return reference.styled_conv(*arguments, **layer) * 1.1

    for what, name, broken in (
        ("texts", "styleclip_cli.nets.clip.Clip.encode_text", lambda self, texts: torch.ones(2, 4) / 2),
        ("faces", "styleclip_cli.landmarks.small.SmallLandmarker.find", lambda self, image: []),
        ("kernels", "styleclip_cli.nets.ops.styled_conv", wrong),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(name, broken)
            found = findings(capsys, 7)[what]
        assert found["status"] == "broken"
        assert found["hint"]


def test_the_doctor_says_why_there_are_no_kernels(
    here: Path,
    nothing_built: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    compiler = tmp_path / "c++"
    compiler.write_text(
        '#!/bin/sh\ntest "$1" = --version && exit\necho x.cpp:1: error: no vectors >&2; exit 1\n'
    )
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    for _ in range(2):  # the second knows it from a record
        assert "error: no vectors" in findings(capsys, 0)["kernels"]["told"]
        building._built.cache_clear()


@pytest.mark.parametrize("as_json", [[], ["--json"]])
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_doctor_whom_nobody_hears_says_what_is_broken_all_the_same(
    here: Path, as_json: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for models, code, said in (
        ("toy", 5, "standard output: cannot be written"),
        ("ffhq", 7, "are broken: usual pack"),
    ):
        monkeypatch.setenv("STYLECLIP_MODELS", models)
        with Path("/dev/full").open("w") as full, monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", full)
            assert main(["doctor", *as_json]) == code
        assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "arguments", "said"),
    [
        ("keep-identity = 0.9", ["-p", "smiling"], {"alpha": 4.0}),
        ("auto = true\nkeep-identity = 0.9", ["-p", "smiling", "--alpha", "2"], {"alpha": 2.0}),
        ("auto = true", ["-p", "smiling", "--method", "optimize", "--iterations", "1"], {"alpha": 1.0}),
        ("channels = 3\nneutral = 'man'", ["--direction", "d.npz", "--alpha", "2"], {"alpha": 2.0}),
        ("prompt = 'old'", ["--direction", "d.npz", "--alpha", "2"], {"prompt": "smiling face"}),
        ("alpha = 9\nbeta = 0.0", ["--recipe", "r.toml"], {"alpha": 1.0}),
        ("save-latent = true\ndiff = true", ["-p", "smiling"], {"latent": "o.npz"}),
        ("iterations = 9", ["-p", "smiling", "--method", "global"], {"alpha": 4.0}),
        ("method = 'optimize'\nauto = true", ["-p", "smiling", "--channels", "2"], {"channels": 2}),
        ("steps = 2\nnoise = true", ["-p", "smiling", "--inverter", "encoder"], {"alpha": 4.0}),
        ("steps = 2", ["-p", "smiling", "--method", "optimize", "--iterations", "1"], {"alpha": 1.0}),
        ("inversion-steps = 2", ["-p", "smiling", "--inverter", "encoder"], {"alpha": 4.0}),
        ("inverter = 'encoder'", ["-p", "smiling", "--inversion-steps", "1"], {"alpha": 4.0}),
        ("beta = 'auto'", ["-p", "smiling", "--channels", "2"], {"channels": 2}),
        ("direction = 'd.npz'\nneutral = 'man'\nchannels = 3", [], {"prompt": "smiling face"}),
        ("seed = 0", ["--direction", "d.npz"], {"prompt": "smiling face"}),
    ],
)
def test_defaults_that_do_not_fit_give_way(
    here: Path, text: str, arguments: list[str], said: dict, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["find-direction", "-p", "smiling", "--out", "d.npz", "-q"]) == 0
    (here / "r.toml").write_text('[[edit]]\nprompt = "old"\n[[edit]]\nprompt = "smiling"\n')
    settings(here, f"[edit]\n{text}\n")
    capsys.readouterr()
    assert main(["edit", "seed:1", *arguments, "--json", "--out", "o.png"]) == 0
    row = json.loads(capsys.readouterr().out)
    assert {name: row[name] for name in said} == said
