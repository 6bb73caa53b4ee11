"""The package `clip` is clip-anytorch's, whatever else is installed under that name."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import distribution
from pathlib import Path

import pytest
import torch

from networks import clip_state
from styleclip_cli.cli import main
from styleclip_cli.nets import clip as clips
from styleclip_cli.nets.clip import Clip
from styleclip_cli.nets.packages import CLIP

TEXTS = ["a face", "a face with glasses and a hat"]


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of clip-anytorch, first on the path; returns the package's folder."""
    found = distribution("clip-anytorch")
    for file in found.files or ():
        if (file.parts[0] == "clip" and file.suffix != ".pyc") or file.parts[0].endswith("-info"):
            (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(str(file.locate()), tmp_path / file)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(CLIP, "_modules", {})
    for cached in (clips._tokenizer, clips._reads_few):
        monkeypatch.setattr(sys.modules[cached.__module__], cached.__name__, clips.cache(cached.__wrapped__))
    return tmp_path / "clip"


def as_openai(folder: Path) -> None:
    """Let the network be OpenAI's own, which takes all 77 tokens and no fewer."""
    path = folder / "model.py"
    text = path.read_text()
    assert "positional_embedding[:n_ctx]" in text
    path.write_text(text.replace("positional_embedding[:n_ctx]", "positional_embedding"))


def test_openais_own_package_installed_over_it_gives_the_same_vectors(installed: Path) -> None:
    state = clip_state()
    wanted = Clip.from_state_dict(state).encode_text(TEXTS)
    as_openai(installed)
    clips._reads_few.cache_clear()
    CLIP._modules.clear()
    found = Clip.from_state_dict(state)
    assert found.model.__class__.__module__ == "_clip_anytorch_model"
    assert torch.allclose(found.encode_text(TEXTS), wanted, rtol=0, atol=1e-6)


@pytest.mark.subprocess(warm="torch")
def test_another_package_of_the_name_earlier_on_the_path_does_not_matter(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path_factory.mktemp("other")
    (other / "clip").mkdir()
    (other / "clip" / "__init__.py").write_text("raise RuntimeError('not this one')")
    (other / "clip" / "model.py").write_text("raise RuntimeError('not this one')")
    monkeypatch.setenv("PYTHONPATH", str(other))
    code = (
        "from styleclip_cli.nets.clip import tokenize, clip_model_class; clip_model_class(); tokenize(['a'])"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def emptied(folder: Path, name: str) -> None:
    (folder / name).write_text("")


def gone(folder: Path, name: str) -> None:
    (folder / name).unlink()


def unheard(folder: Path) -> str:
    """A sentence that no test before has asked for, so that CLIP has to read it."""
    return f"with a {folder.name}"


@pytest.mark.parametrize("name", ["model.py", "simple_tokenizer.py", "bpe_simple_vocab_16e6.txt.gz"])
@pytest.mark.parametrize("change", [emptied, gone])
def test_a_file_that_is_in_the_way_is_named(
    name: str,
    change: Callable[[Path, str], None],
    installed: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    change(installed, name)
    assert main(["edit", "seed:3", "--models", "toy", "-p", unheard(tmp_path), "--out", "o.png"]) == 4
    said = capsys.readouterr().err
    assert f"{installed / name}: not as clip-anytorch has it" in said
    assert "pip install" in said
    assert "Error" not in said.replace("styleclip: error", "")


def test_a_package_that_is_not_installed_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(CLIP, "name", "clip-that-nobody-has")
    monkeypatch.setattr(CLIP, "_modules", {})
    assert main(["edit", "seed:3", "--models", "toy", "-p", unheard(tmp_path), "--out", "o.png"]) == 4
    assert "clip-that-nobody-has is not installed" in capsys.readouterr().err
