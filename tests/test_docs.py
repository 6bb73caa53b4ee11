"""The documents: generated ones are fresh, links lead somewhere, names exist, commands work.

Every command in a ```sh block of the README and of docs/ is run, with the toy pack, in a folder of its own.
Input files that it names are made first. What cannot be run here is excused below, by pattern, with the
reason; its options are parsed all the same. A command that is neither run nor excused fails.
"""

from __future__ import annotations

import ast
import doctest
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest
import typer

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "styleclip_cli"
DOCS = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
NAMED = [ROOT / "docs" / "design.md", ROOT / "docs" / "math.md"]
LANGUAGES = {"sh", "python", "text", "toml", "json", "jsonl", "csv", "console", "mermaid", "math"}

# Commands that are not run here, and why; their options are parsed.
EXCUSED = {
    r"\bpip install\b|-m venv\b": "installs packages; .ci/run does that",
    r"\bpipx\b|\buv(x| )": "installs packages",
    r"\b(models|mappers) pull\b": "needs the network; tests/test_models.py pulls from a server of its own",
    r"\bmodels (import|add)\b": "needs a published file; tests/test_models.py imports and adds small ones",
    r"\bmappers remove\b": "removes what was trained before; tests/test_mapper.py trains and removes",
    r"--models (ffhq|metfaces|afhq\w+|car|church|horse)\b": "needs published weights",
    r"\bmodels (verify|remove|where) (ffhq|metfaces|afhq\w+|car|church|horse)\b": "needs published weights",
    r"\bmodels check ffhq\b": "needs published weights",
    r"--only\b": "needs a parser of faces; tests/test_regions.py has one",
    r"\btorchrun\b": "several processes; tests/test_batch.py, test_relevance.py, test_mapper.py start them",
    r"\btrain-mapper\b(?!.* --steps [1-9]\b)": "minutes; tests/test_mapper.py trains small ones",
    r"\bstyleclip bench\b": "measures for a while; tests/test_batch.py does on tiny networks",
    r"^\.ci/run": "runs these tests",
    r"^python benchmarks/": "measures for minutes",
    r"^python -m pytest\b": "runs these tests",
    r"^python docs/": "makes the docs themselves, in minutes",
    r"^(sudo )?(apt|apt-get|brew) ": "installs packages",
    r"\bstyleclip (studio|serve)\b": "waits for a browser; it has tests of its own",
    r"^styleclip --install-completion": "writes into the person's shell settings",
}
# What would take long is made small: appended to commands that match.
SMALLER = {
    r"--method optimize": "--iterations 3",
    r"\bevaluate\b": '--n 1 --prompt "smiling"',
    r"--inverter (refine|pivotal)": "--budget 1s",
}
# Options of other programs.
FOREIGN = {
    "--nproc-per-node": "torchrun",
    "--extra-index-url": "pip",
    "--torch-backend": "uv",
    "--array": "sbatch",
    "--gres": "sbatch",
    "--cpus-per-task": "sbatch",
    "--requeue": "sbatch",
    "--check": "docs/generate.py, ruff",
    "--randomly-seed": "pytest-randomly",
    "--randomly-dont-reorganize": "pytest-randomly",
    "--help": "every command",
}
# Names with dots that are not ours.
OUTSIDE = re.compile(r"(torch|torchvision|np|numpy|typer|cuDNN|docs|www|github)\b")
PICTURE = re.compile(r"\.(jpe?g|png|webp|avif|tiff?|bmp|gif)$", re.IGNORECASE)


class Block(NamedTuple):
    """A fenced block of a document."""

    path: Path
    line: int
    language: str
    text: str

    @property
    def name(self) -> str:
        return f"{self.path.name}:{self.line}"


@cache
def blocks() -> tuple[Block, ...]:
    found = []
    for path in DOCS:
        fence = None
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if not line.lstrip().startswith("```"):
                if fence is not None:
                    fence[2].append(line)
            elif fence is None:
                fence = (number, line.strip()[3:], [])
            else:
                found.append(Block(path, fence[0], fence[1], "\n".join(fence[2]) + "\n"))
                fence = None
        assert fence is None, f"{path}: a block does not end"
    return tuple(found)


def of(language: str) -> list[Any]:
    return [pytest.param(block, id=block.name) for block in blocks() if block.language == language]


def prose(path: Path) -> str:
    """A document without its fenced blocks."""
    return re.sub(r"^ *```.*?^ *```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["generate"] = module
    spec.loader.exec_module(module)
    return module


def test_generated_files_are_fresh(generate: ModuleType) -> None:
    assert list(generate.stale()) == [], "python docs/generate.py"


def test_what_is_stale_is_named(
    generate: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(generate, "ROOT", tmp_path)
    assert generate.main(["--check"]) == 1
    assert "docs/reference.md: stale" in capsys.readouterr().out
    assert generate.main([]) == 0
    assert generate.main(["--check"]) == 0
    assert generate.main(["--chekc"]) == 2


def test_the_reference_depends_on_no_terminal(generate: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    before = generate.texts()
    for name, value in {"COLUMNS": "40", "TERM": "dumb", "NO_COLOR": "1", "STYLECLIP_MODELS": "toy"}.items():
        monkeypatch.setenv(name, value)
    assert generate.texts() == before


def test_the_reference_names_every_variable_and_exit_code(generate: ModuleType) -> None:
    text = generate.reference()
    used = {
        name
        for path in SOURCE.rglob("*.py")
        for name in re.findall(r"\bSTYLECLIP_[A-Z]+(?:_[A-Z]+)*\b", path.read_text(encoding="utf-8"))
    }
    assert {name for name in used if f"`{name}`" not in text} == set()
    from styleclip_cli.errors import ExitCode

    assert all(f"| {int(code)} | " in text for code in ExitCode)


@pytest.mark.skipif(shutil.which("groff") is None, reason="no groff")
def test_the_man_page_is_clean(generate: ModuleType) -> None:
    done = subprocess.run(
        ["groff", "-man", "-ww", "-Tutf8", "-P-c"],
        input=generate.man_page().encode(),
        capture_output=True,
        check=True,
    )
    assert done.stderr == b""
    shown = re.sub(r".\x08", "", done.stdout.decode())
    for wanted in (
        "styleclip models pull",
        "--prompt, -p TEXT",
        '"with glasses"',
        "STYLECLIP_CACHE_DIR",
        "143",
    ):
        assert wanted in shown


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the command `styleclip`, whatever is installed."""
    folder = tmp_path_factory.mktemp("bin")
    script = folder / "styleclip"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m styleclip_cli "$@"\n')
    script.chmod(0o755)
    return folder


def shell(program: Path, script: str, name: str = "bash", **extra: str) -> subprocess.CompletedProcess[str]:
    """Run a script; `styleclip` is this one."""
    environment = {**os.environ, **extra, "PATH": f"{program}{os.pathsep}{os.environ['PATH']}"}
    environment["PYTHONPATH"] = os.pathsep.join([str(SOURCE.parent), os.environ.get("PYTHONPATH", "")])
    before = ["-euo", "pipefail"] if name == "bash" else []
    return subprocess.run(
        [name, *before, "-c", script],
        capture_output=True,
        text=True,
        env=environment,
        timeout=120,
        check=False,
    )


@pytest.mark.subprocess
@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
def test_bash_completes(program: Path) -> None:
    script = ROOT / "share/bash-completion/completions/styleclip"
    assert shell(program, f"bash -n {script}").returncode == 0
    press_tab = f"""
        source {script}
        complete -p styleclip
        COMP_WORDS=(styleclip ed) COMP_CWORD=1
        _styleclip_completion styleclip
        echo "${{COMPREPLY[@]}}"
        COMP_WORDS=(styleclip models p) COMP_CWORD=2
        _styleclip_completion styleclip
        echo "${{COMPREPLY[@]}}"
    """
    done = shell(program, press_tab)
    assert done.stdout.splitlines()[1:] == ["edit", "pull"], done.stderr


@pytest.mark.subprocess
@pytest.mark.skipif(shutil.which("fish") is None, reason="no fish")
def test_fish_completes(program: Path) -> None:
    script = ROOT / "share/fish/vendor_completions.d/styleclip.fish"
    done = shell(program, f"source {script}; complete -C 'styleclip ed'", "fish")
    assert done.stdout.split()[:1] == ["edit"], done.stderr


@pytest.mark.skipif(shutil.which("zsh") is None, reason="no zsh")
def test_zsh_reads_its_completion(program: Path) -> None:
    assert shell(program, f"zsh -n {ROOT / 'share/zsh/site-functions/_styleclip'}", "zsh").returncode == 0


@pytest.mark.subprocess
def test_completion_loads_nothing_heavy() -> None:
    probe = (
        "import sys; from styleclip_cli.cli import main; main([]);"
        "sys.exit(any(name in sys.modules for name in ('torch', 'numpy', 'PIL')))"
    )
    asked = {"_STYLECLIP_COMPLETE": "complete_bash", "COMP_WORDS": "styleclip edit --me", "COMP_CWORD": "2"}
    done = subprocess.run(
        [sys.executable, "-c", probe],
        env={**os.environ, **asked},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout.split()) == (0, ["--method"]), done.stderr


# --- links and names ---


@cache
def anchors(path: Path) -> frozenset[str]:
    """The anchors of a document's headings, as GitHub names them."""
    from collections import Counter

    seen: Counter[str] = Counter()
    found = set()
    for heading in re.findall(r"^#{1,6} +(.+?) *#*$", prose(path), flags=re.MULTILINE):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
        found.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
        seen[slug] += 1
    return frozenset(found)


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    text = re.sub(r"`[^`]*`", "", prose(path))
    links = re.findall(r"\]\(\s*<?([^)\s>]+)", text) + re.findall(r"""(?:src|href)=["']([^"']+)""", text)
    links += re.findall(r"^\[[^\]]+\]:\s+(\S+)", text, flags=re.MULTILINE)
    broken = []
    for link in links:
        if re.match(r"[a-z]+:", link):
            continue
        place, _, anchor = link.partition("#")
        target = (path.parent / place).resolve() if place else path
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


def test_blocks_are_of_kinds_that_are_looked_at() -> None:
    for block in blocks():
        if block.language:
            assert block.language in LANGUAGES, block.name
        else:  # a drawing
            assert not re.search(r"^\$? *(styleclip|python|pip)\b", block.text, re.MULTILINE), block.name


@cache
def names_of(path: Path) -> frozenset[str]:
    """What a Python file defines: functions, classes, constants, and "Class.member"."""
    found: set[str] = set()

    def visit(body: list[ast.stmt], before: str) -> None:
        for node in body:
            names: list[str] = []
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                names = [node.name]
            elif isinstance(node, ast.Assign):
                names = [target.id for target in node.targets if isinstance(target, ast.Name)]
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                names = [node.target.id]
            elif isinstance(node, ast.ImportFrom) and path.name == "__init__.py":
                names = [alias.asname or alias.name for alias in node.names]
            found.update(before + name for name in names)
            if isinstance(node, ast.ClassDef):
                visit(node.body, f"{node.name}.")
            elif isinstance(node, ast.If):
                visit(node.body, before)

    visit(ast.parse(path.read_text(encoding="utf-8")).body, "")
    return frozenset(found)


def located(name: str) -> Path | None:
    """A file or folder that a document names; None if there is none."""
    return next((place / name for place in (SOURCE, ROOT) if (place / name).exists()), None)


def missing(span: str) -> str:
    """What is wrong with a name in backticks; empty if it exists, or is no name of ours."""
    file, _, member = span.partition(":")
    if re.fullmatch(r"[\w.\-/]+\.(py|cpp|toml|md|txt|1)|\.ci/run|[\w\-/]+/", file):
        path = located(file)
        if path is None:
            return "" if file in ("pack.toml", "config.toml", "NAME.toml") else f"no file {file}"
        if not member:
            return ""
        if path.suffix == ".py":
            return "" if member in names_of(path) else f"{file} defines no {member}"
        return (
            "" if re.search(rf"\b{member}\(", path.read_text(encoding="utf-8")) else f"no {member} in {file}"
        )
    if re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", span) and not OUTSIDE.match(span):
        words = span.split(".")
        for cut in range(len(words), 0, -1):
            folder, rest = SOURCE.joinpath(*words[:cut]), ".".join(words[cut:])
            for path in (folder.with_suffix(".py"), folder / "__init__.py"):
                if path.is_file() and (not rest or rest in names_of(path)):
                    return ""
        if any(span in names_of(path) for path in SOURCE.rglob("*.py")):
            return ""
        return f"no {span}"
    return ""


@pytest.mark.parametrize("path", NAMED, ids=lambda path: path.name)
def test_names_exist(path: Path) -> None:
    spans = re.findall(r"`([^`\n]+)`", prose(path))
    assert len([span for span in spans if ".py" in span]) > 40  # they are found at all
    assert [wrong for span in spans if (wrong := missing(span))] == []


# --- options ---


@cache
def root_command() -> Any:
    from styleclip_cli.cli.app import app

    return typer.main.get_command(app)


def command_of(words: list[str]) -> tuple[Any, list[str]]:
    """The command that words after `styleclip` name, and what is left of them."""
    command = root_command()
    while words and words[0] in getattr(command, "commands", {}):
        command, words = command.commands[words[0]], words[1:]
    return command, words


def options_of(command: Any) -> set[str]:
    return {name for p in command.params for name in (*p.opts, *p.secondary_opts) if name.startswith("-")}


def written_options(line: str) -> set[str]:
    """Options of the commands in a line whose values are written, not read; and a shell's."""
    found = {">"}
    for words in styleclip_words(line):
        for one in command_of(words)[0].params:
            if one.param_type_name == "option" and one.rich_help_panel in ("Output", "Pictures"):
                found |= set() if one.is_flag or "--resume" in one.opts else set(one.opts)
    return found


def every_command() -> Iterator[Any]:
    waiting = [root_command()]
    while waiting:
        yield (command := waiting.pop())
        waiting += getattr(command, "commands", {}).values()


def test_help_shows_every_word() -> None:
    """Typer reads help as rich's markup: [train] would not be shown unless it is written \\[train]."""
    texts = [text for one in every_command() for text in (one.help, *(p.help for p in one.params))]
    assert [text for text in texts if text and re.search(r"(?<!\\)\[[a-z#/@][^\[\]]*\]", text)] == []


@cache
def all_options() -> frozenset[str]:
    return frozenset(option for command in every_command() for option in options_of(command))


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_options_exist(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    named = set(re.findall(r"(?<![\w`/.-])`?(--[a-z][a-z0-9-]*)", text))
    local = {
        option
        for line in text.splitlines()
        if re.search(r"benchmarks/|docs/|styleclip_cli\.toyworld", line)
        for option in re.findall(r"--[a-z][a-z0-9-]*", line)
    }
    assert sorted(named - all_options() - set(FOREIGN) - local) == []


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_commands_in_sentences_exist(path: Path) -> None:
    wrong = []
    for span in re.findall(r"`(?:[A-Z_]+=\S+ )*styleclip ([^`]+)`", prose(path)):
        words = span.split()
        command, rest = command_of(words)
        is_group = hasattr(command, "commands")
        if is_group and rest and not re.match(r"-|[A-Z.\[]|$", rest[0]):
            wrong.append(f"styleclip {span}: no command {rest[0]}")
        unknown = {w.partition("=")[0] for w in rest if re.match(r"--[a-z]", w)} - options_of(command)
        unknown -= {"--help"} | ({"--models"} if is_group else set())
        wrong += [f"styleclip {span}: no option {option}" for option in sorted(unknown)]
    assert wrong == []


# --- commands ---


def commands(text: str) -> Iterator[str]:
    """The command lines of a block: continued lines joined, remarks left out; a loop is one command."""
    lines = iter(text.splitlines())
    for line in lines:
        while line.rstrip().endswith("\\"):
            line = f"{line.rstrip()[:-1].rstrip()} {next(lines).strip()}"
        if re.match(r"(for|while|if) ", line):
            while not re.search(r"^\s*(done|fi)\b", line.splitlines()[-1]):
                line += f"\n{next(lines)}"
        elif line.strip() and not line.startswith("#"):
            line = bare(line)
        else:
            continue
        yield line


def bare(line: str) -> str:
    """A line without the remark at its end."""
    quoted = ""
    for place, letter in enumerate(line):
        if quoted:
            quoted = "" if letter == quoted else quoted
        elif letter in "\"'":
            quoted = letter
        elif letter == "#" and line[place - 1 : place].isspace():
            return line[:place].strip()
    return line.strip()


def excuse(line: str) -> str | None:
    return next((reason for pattern, reason in EXCUSED.items() if re.search(pattern, line)), None)


def words_of(text: str) -> list[str]:
    """Words as a shell takes them; those of a quote that does not end as they stand."""
    try:
        return shlex.split(text)
    except ValueError:
        return text.split()


def styleclip_words(line: str) -> list[list[str]]:
    """The words after `styleclip` (or `-m styleclip_cli`) of each command in a line."""
    found = []
    for part in re.split(r"\|\|?|&&|;|\n|\$\(|[<>)]", line):
        words = words_of(part)
        places = [i for i, word in enumerate(words) if Path(word).name in ("styleclip", "styleclip_cli")]
        if places:
            found.append(words[places[0] + 1 :])
    return found


def parsed(words: list[str]) -> None:
    """Parse a command without running it."""
    command, rest = command_of(list(words))
    if "..." in rest:
        return
    command.make_context(command.name, rest)


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory, _kernels: Path) -> Path:
    """Files that commands may ask for: faces, latents, an edited picture, a direction."""
    from styleclip_cli.cli import main

    folder = tmp_path_factory.mktemp("faces")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        (folder / "cache").mkdir()
        (folder / "cache" / "kernels").symlink_to(_kernels)
        patch.setenv("STYLECLIP_CACHE_DIR", str(folder / "cache"))
        patch.setenv("STYLECLIP_HOME", str(folder / "home"))
        patch.setenv("STYLECLIP_MODELS", "toy")
        for line in (
            "sample --seed 1-8 --out . -q",
            "edit seed1.png --prompt smiling --out edited.png -q",
            "find-direction --prompt smiling --out direction.npz --top 0 -q",
        ):
            assert main(shlex.split(line)) == 0
    import torch

    components = torch.full((80, 1, 32), 32**-0.5)  # as GANSpace has them, for toy's W
    torch.save({"comp": components, "std": torch.full((80,), 0.1)}, folder / "pca.pt")
    torch.save(components[0], folder / "boundary.pt")
    return folder


def prepare(words: list[str], written: set[str], faces: Path, folder: Path, block: Block) -> None:
    """Make the input files that a command names; lists and tables are the last block of their kind before.

    Args:
        words: Of the command.
        written: Options whose values are not read.
        faces: Where there are some of all kinds.
        folder: Where to make them.
        block: Where the command stands.
    """
    from PIL import Image

    before = ""
    for word in words:
        option, before = before, word
        word = word.lstrip("<@").replace("~/", "")  # a shell's home is this folder
        path = folder / word
        # What is written, and what an earlier command wrote, is not made here.
        if option in written or word.startswith(("-", ">", "seed:", "/")) or "$" in word or "{" in word:
            continue
        if "*" in word:
            prepare([word.replace("**/", "").replace("*", x) for x in "ab"], written, faces, folder, block)
        elif word.endswith("/") and "merge" in words:
            (path / "statistics").mkdir(parents=True, exist_ok=True)
        elif not word or path.exists():
            continue
        elif word.endswith("/"):
            path.mkdir(parents=True)
            first = 2 * sum(one.is_dir() for one in folder.iterdir()) % 8  # other faces in each folder
            for seed in (first, first + 1):
                shutil.copy(faces / f"seed{seed + 1}.png", path)
        elif PICTURE.search(word):
            path.parent.mkdir(parents=True, exist_ok=True)
            if option == "--recipe" or path.stem.startswith("edited"):
                shutil.copy(faces / "edited.png", path)
                continue
            seed = 1 + sum(path.stem.encode()) % 8
            Image.open(faces / f"seed{seed}.png").convert("RGB").save(path)
        elif option == "--from":
            shutil.copy(faces / ("pca.pt" if "pca" in path.stem else "boundary.pt"), path)
        elif path.suffix == ".npz":
            shutil.copy(faces / ("direction.npz" if option == "--direction" else "seed1.npz"), path)
        elif path.suffix == ".txt":
            path.write_text("a.png\nb.png\n")
            prepare(["a.png", "b.png"], written, faces, folder, block)
        elif path.suffix in (".toml", ".json", ".jsonl", ".csv"):
            kind = path.suffix.removeprefix(".")
            same = [b for b in blocks() if (b.path, b.language) == (block.path, kind) and b.line < block.line]
            text = same[-1].text if same else ""
            path.write_text(text)
            if kind in ("jsonl", "csv"):
                inputs = re.findall(r"(?:^|\"input\": *\")([^,\"\n]+)", text, re.MULTILINE)
                prepare(inputs, written, faces, folder, block)


@pytest.fixture
def place(tmp_path: Path, faces: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with what a person of the documents has."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STYLECLIP_MODELS", "toy")
    monkeypatch.setattr("styleclip_cli.truth.evaluate._BATCH", 16)  # persons at a time
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    (tmp_path / "photos" / "000").mkdir(parents=True)
    for name in ("a.png", "000/b.png"):
        shutil.copy(faces / "seed1.png", tmp_path / "photos" / name)
    return tmp_path


def run(line: str, program: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Run a command line: in this process where it is nothing but `styleclip`, else by bash."""
    from styleclip_cli.cli import main

    outside_quotes = re.sub(r"\"[^\"]*\"|'[^']*'", "", line)
    if re.match(r"styleclip\b", line) and not re.search(r"[|&;<>$*?~\n]", outside_quotes):
        code = main(shlex.split(line)[1:])
        return code, capsys.readouterr().err
    done = shell(program, line, SLURM_ARRAY_TASK_ID="1", HOME=str(Path.cwd()))
    return done.returncode, done.stderr


@pytest.mark.slow
@pytest.mark.subprocess
@pytest.mark.parametrize("block", of("sh"))
def test_commands_work(
    block: Block, place: Path, faces: Path, program: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    added: set[str] = set()  # packs of one's own, which were not really added
    for line in commands(block.text):
        added |= set(re.findall(r"\bmodels add ([\w-]+)", line))
        if excuse(line) or added & set(re.findall(r"--models ([\w-]+)", line)):
            for words in styleclip_words(line):
                parsed(words)
            continue
        prepare(words_of(line), written_options(line), faces, place, block)
        extra = [more for pattern, more in SMALLER.items() if re.search(pattern, line) and "|" not in line]
        code, said = run(" ".join([line, *extra]), program, capsys)
        if code == 5 and "exists already" in said:  # another example of the block wrote the same file
            code, said = run(" ".join([line, *extra, "--overwrite"]), program, capsys)
        assert code == 0, f"{block.name}: {line}\n{said}"


@pytest.mark.parametrize("block", of("python"))
def test_python_works(block: Block, place: Path) -> None:
    exec(compile(block.text, block.name, "exec"), {"__name__": "example"})


def test_the_engines_example_works() -> None:
    from styleclip_cli import engine

    found = doctest.testmod(engine)
    assert (found.failed, found.attempted > 0) == (0, True)


# --- the test's own parts ---


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ('styleclip edit a.png --prompt "a # b"   # a remark', 'styleclip edit a.png --prompt "a # b"'),
        ("styleclip models  # what there is", "styleclip models"),
        ("styleclip sample --seed 1#2", "styleclip sample --seed 1#2"),
    ],
)
def test_remarks_are_left_out(line: str, wanted: str) -> None:
    assert bare(line) == wanted


def test_lines_are_joined_and_loops_kept() -> None:
    text = "a \\\n  b\n# remark\nfor x in y; do\n  c\ndone\nd\n"
    assert list(commands(text)) == ["a b", "for x in y; do\n  c\ndone", "d"]


@pytest.mark.parametrize("words", [["edit", "a.png", "--promt", "x"], ["edit", "a.png", "--crops", "x"]])
def test_what_cannot_be_parsed_fails(words: list[str]) -> None:
    with pytest.raises(Exception, match=r"(?i)no such option|valid|Input"):
        parsed(words)


@pytest.mark.parametrize(
    "span", ["nets/nothing.py", "machine/cache.py:nothing", "Engine.nothing", "nowhere/"]
)
def test_names_that_do_not_exist_are_found(span: str) -> None:
    assert missing(span)


@pytest.mark.parametrize(
    "span", ["machine.cache", "Engine.edit", "measure.exact", "nets/", "torch.save", "--out x"]
)
def test_names_that_exist_are_fine(span: str) -> None:
    assert not missing(span)
