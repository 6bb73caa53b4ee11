"""The recipes "How to add ..." of docs/design.md, followed on a copy of the program.

The first five are each followed by the smallest example, in the files that the recipe names and in no others;
then commands of the copy use what was added. A place that is not there any more fails with the file's name.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import tomli_w
import torch

import styleclip_cli
from styleclip_cli.nets.stylegan2 import Generator
from styleclip_cli.weights.files import load_weights

pytestmark = [pytest.mark.subprocess(warm="torch"), pytest.mark.slow]
COMMANDS = """
import shlex, sys
from styleclip_cli.cli import main
for line in sys.argv[1:]:
    if code := main(shlex.split(line)):
        sys.exit(code)
"""
SOURCE = Path(styleclip_cli.__file__).parent
DESIGN = Path(__file__).parent.parent / "docs" / "design.md"


@cache
def recipes() -> dict[str, str]:
    """Each recipe's text, by what it adds."""
    text = DESIGN.read_text(encoding="utf-8").partition("## How to add ...")[2].partition("\n## ")[0]
    found = re.split(r"^\*\*\.\.\. an? ([\w ]+)\.\*\*", text, flags=re.MULTILINE)[1:]
    return dict(zip(found[::2], found[1::2], strict=True))


@dataclass
class Copy:
    """A copy of the program to which something is added as a recipe says.

    Attributes:
        folder: Where it is.
        recipe: The recipe's text.
    """

    folder: Path
    recipe: str

    @property
    def package(self) -> Path:
        return self.folder / "styleclip_cli"

    def path(self, name: str) -> Path:
        """A file to be touched; the recipe must name it, or the folder that a new one belongs to."""
        assert f"`{name}" in self.recipe or f"`{Path(name).parent}/`" in self.recipe, f"{name} is not named"
        return self.package / name

    def add(self, name: str, text: str) -> None:
        """A new file."""
        path = self.path(name)
        assert not path.exists()
        path.write_text(text, encoding="utf-8")

    def change(self, name: str, place: str, text: str) -> None:
        """Put something in the place of a pattern that is there once; `\\g<0>` is what was there."""
        path = self.path(name)
        changed, count = re.subn(place, text, path.read_text(encoding="utf-8"), flags=re.MULTILINE)
        assert count == 1, f"{name}: {count} times {place!r}"
        path.write_text(changed, encoding="utf-8")

    def run(self, *lines: str) -> str:
        """Run commands of the copy, one after the other; what they print."""
        return self.python(COMMANDS, *lines)

    def python(self, program: str, *arguments: str) -> str:
        environment = {**os.environ, "PYTHONPATH": str(self.folder), "COLUMNS": "300"}
        done = subprocess.run(
            [sys.executable, "-c", program, *arguments], capture_output=True, text=True, env=environment
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture
def copy_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pack: Path):
    """Makes a copy for a recipe; commands take the tiny pack."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STYLECLIP_MODELS", str(pack))

    def made(recipe: str) -> Copy:
        copied = Copy(tmp_path / "copy", recipes()[recipe])
        large = SOURCE / "toyworld" / "pack"
        shutil.copytree(
            SOURCE,
            copied.package,
            ignore=lambda folder, names: [n for n in names if n == "__pycache__" or Path(folder, n) == large],
        )
        (copied.package / "toyworld" / "pack").symlink_to(large)
        return copied

    return made


def latents(path: str) -> np.ndarray:
    with np.load(path) as file:
        return file["w_plus"]


def test_each_recipe_is_numbered_steps() -> None:
    assert list(recipes())[:5] == ["method", "inverter", "input", "pack", "checkpoint format"]
    for text in list(recipes().values())[:5]:
        numbers = re.findall(r"^(\d)\. ", text, flags=re.MULTILINE)
        assert 3 < len(numbers) < 8
        assert numbers == [str(number) for number in range(1, len(numbers) + 1)]


GENERATOR = "generator.safetensors"
LIFT = '''
from __future__ import annotations

import torch


class Lift:
    """All of W+ goes up."""

    def __init__(self, target, neutral, step=1.0):
        self.target, self.neutral, self.step = target, neutral, step

    def edited(self, face, alphas):
        return [face.moved(w_plus=torch.full_like(face.w_plus, alpha * self.step)) for alpha in alphas]

    def entries(self):
        return {}

    def summary(self):
        return f"by {self.step:g}"
'''


def test_a_method(copy_for) -> None:
    new = copy_for("method")
    new.add("edits/lift.py", LIFT)
    new.change(
        "settings.py", r"\Z", "\n\n@dataclass(frozen=True)\nclass LiftSettings:\n    by: float = 0.5\n"
    )
    new.change("defaults.py", r"^    TrainingSettings,$(?=\n\))", r"\g<0>\n    LiftSettings,")
    new.change("defaults.py", r"^    TrainingSettings,$(?=\n    key_of)", r"\g<0>\n    LiftSettings,")
    new.change("engine.py", r"^    TrainingSettings,$", r"\g<0>\n    LiftSettings,")
    new.change(
        "engine.py",
        r"^    def mapper\(",
        "    def lift(self, prompt, neutral):\n"
        "        from styleclip_cli.edits.lift import Lift\n\n"
        "        settings = adjusted(LiftSettings(), self.pack.defaults)\n"
        "        return Lift(prompt, neutral, settings.by)\n\n"
        r"\g<0>",
    )
    new.change("recipe.py", r'^(MethodName = .*)"mapper"\]', r'\1"mapper", "lift"]')
    new.change("recipe.py", r'^    "mapper": "latent mapper",$', r'\g<0>\n    "lift": "a lift",')
    new.change(
        "job/edits.py", r"^from .*import MapperEdit$", "from styleclip_cli.edits.lift import Lift\n\\g<0>"
    )
    new.change(
        "job/edits.py",
        r'^        if method == "optimize":$',
        '        if method == "lift":\n            return engine.lift(step.prompt, neutral)\n' r"\g<0>",
    )
    new.change(
        "job/edits.py",
        r"^    if isinstance\(edit, Optimization\):$",
        "    if isinstance(edit, Lift):\n"
        '        return EditRequest(steps=steps, method="lift", alphas=(alpha,))\n'
        r"\g<0>",
    )
    new.change(
        "job/request.py",
        r'^    Exclusion\("--method global"',
        r'    Exclusion("--method lift", ("--beta",), _NOT_FOR, "leave them out"),\n\g<0>',
    )
    new.change(
        "truth/methods.py",
        r'^    if method == "optimize":$',
        '    if method == "lift":\n        return engine.lift(case.prompt, case.neutral)\n' r"\g<0>",
    )

    told = new.run(
        "edit seed:1 --method lift --prompt up --alpha 2 --save-latent --out a.png",
        "edit seed:1 --recipe a.png --save-latent --out again.png",
        "sample --seed 1 --out .",
        "info a.png",
        "edit --help",
        "evaluate --models toy --method lift --prompt smiling --n 1 --json",
    )
    before = latents("seed1.npz")
    for name in ("a.npz", "again.npz"):
        np.testing.assert_allclose(latents(name), before + 2 * 0.5, atol=1e-6)
    for wanted in ("a lift", "optimize|mapper|lift", '"success"'):
        assert wanted in told
    program = """
import os
from styleclip_cli import Engine
from styleclip_cli.cli import main
assert main(["edit", "seed:1", "--method", "lift", "--prompt", "up", "--beta", "0.1"]) == 2
engine = Engine(os.environ["STYLECLIP_MODELS"])
print(engine.edit_photo("seed1.png", engine.lift("up", "face"), 1.0).recipe.method)
"""
    assert new.python(program) == "a lift\n"


def test_an_inverter(copy_for, pack: Path) -> None:
    new = copy_for("inverter")
    new.add(
        "inversion/mean.py",
        "def mean(generator, w_plus):\n    return generator.w_avg.expand_as(w_plus).clone()\n",
    )
    new.change("settings.py", r'^(Inverter = .*)"pivotal"\]', r'\1"pivotal", "mean"]')
    new.change("settings.py", r'if self.inverter == "encoder":', 'if self.inverter in ("encoder", "mean"):')
    new.change(
        "inversion/__init__.py",
        r"^    assert perceptual is not None$",
        '    if settings.inverter == "mean":\n'
        "        from styleclip_cli.inversion.mean import mean\n\n"
        "        return FaceLatent(mean(generator, w_plus))\n"
        r"\g<0>",
    )
    told = new.run(
        "sample --seed 1 --out .",
        "invert seed1.png --inverter mean --out a.npz",
        "invert seed1.png --inverter mean --out again.npz",  # out of the cache
        "edit seed1.png --inverter mean --prompt smiling --out o.png",
        "info o.png",
    )
    assert told.count("perceptual") == 2  # how close it comes
    assert re.search(r"inverter\W+mean\b", told)
    average = Generator.from_state_dict(load_weights(pack / GENERATOR)[0]).w_avg
    for name in ("a.npz", "again.npz"):
        np.testing.assert_allclose(latents(name)[0], average.expand(latents(name).shape[1:]), atol=1e-6)


def test_an_input(copy_for) -> None:
    new = copy_for("input")
    new.change("job/inputs.py", r"^    seed: int \| None = None$", r"\g<0>\n    pair: tuple | None = None")
    new.change(
        "job/inputs.py",
        r'^    if text.startswith\("seed:"\):$',
        '    if text.startswith("between:"):\n'
        '        pair = tuple(map(int, text.removeprefix("between:").split("+")))\n'
        '        return [Item(text, f"between{pair[0]}-{pair[1]}", pair=pair)]\n'
        r"\g<0>",
    )
    new.change(
        "job/faces.py",
        r"^    if item.average:$",
        "    if item.pair is not None:\n"
        "        return FaceLatent(engine.sample(item.pair).mean(dim=0, keepdim=True))\n"
        r"\g<0>",
    )
    new.change("cli/options.py", r'seed:1-5\)\."', 'seed:1-5), or what is between:1+2."')
    told = new.run(
        "edit between:1+2 seed:1 between:1+2 --prompt smiling --alpha 0 --save-latent",
        "sample --seed 1-2 --out .",
        "edit --help",
    )
    (found,) = Path().glob("between1-2*.npz")
    wanted = (latents("seed1.npz") + latents("seed2.npz")) / 2
    np.testing.assert_allclose(latents(str(found)), wanted, atol=1e-6)
    assert "between:1+2" in told.partition("Usage")[2]


def test_a_pack(copy_for, pack: Path) -> None:
    new = copy_for("pack")
    described = {
        "format": "styleclip-pack-1",
        "name": "mine",
        "title": "A pack of mine",
        "resolution": 32,
        "alignment": "none",
        "licence": "MIT",
        "restricted": False,
        "components": {},
        "defaults": {"alpha": 3.0, "channels": 5, "n": 100, "n_images": 2, "explore": 0.5},
    }
    for part in ("generator", "clip"):
        name = f"mine-{part}.safetensors"
        shutil.copy(pack / f"{part}.safetensors", new.path(f"weights/published/{name}"))
        sha256 = hashlib.sha256((pack / f"{part}.safetensors").read_bytes()).hexdigest()
        described["components"][part] = {"file": name, "sha256": sha256}  # type: ignore[index]
    new.add("weights/published/mine.toml", tomli_w.dumps(described))
    told = new.run("models", "edit seed:1 --models mine --prompt smiling --out o.png", "info o.png")
    assert "A pack of mine" in told
    assert re.search(r"models\W+mine\b", told)
    assert re.search(r"alphas\W+3\b", told)


READER = '''
from __future__ import annotations

from styleclip_cli.weights.readers.inert import Damaged
from styleclip_cli.weights.readers.parts import Part, single, take

MARKS = ("lifted_const", "lifted_w_avg")


def convert(state):
    """Our own generator, each name with a word before it."""
    found = {name.removeprefix("lifted_"): single(array) for name, array in state.items()}
    if take(state, "lifted_const", 3).shape[1:] != (4, 4):
        raise Damaged("its constant is no 4x4")
    return Part("generator", "StyleGAN2 generator (lifted)", found)
'''


def test_a_checkpoint_format(copy_for, pack: Path) -> None:
    new = copy_for("checkpoint format")
    new.add("weights/readers/lifted.py", READER)
    new.change(
        "weights/readers/networks.py", r"import nvlabs, rosinality$", "import lifted, nvlabs, rosinality"
    )
    new.change(
        "weights/readers/networks.py",
        r'^    for tower in \("visual.proj"',
        r'    add("generator", prefix_of(state, *lifted.MARKS), lifted.convert)\n\g<0>',
    )
    state, _ = load_weights(pack / GENERATOR)
    torch.save({"g_ema": {f"lifted_{name}": value for name, value in state.items()}}, "mine.pt")
    told = new.run(
        "info mine.pt",
        f"models add mine --generator mine.pt --clip {pack / 'clip.safetensors'} --quiet",
        "sample --seed 1 --models mine --out a",
        "sample --seed 1 --out b",
    )
    assert "StyleGAN2 generator (lifted)" in told
    np.testing.assert_array_equal(latents("a/seed1.npz"), latents("b/seed1.npz"))
