"""What people type, and where help is shown: names that no shell has seen to, odd streams, python -OO."""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from styleclip_cli.cli import main
from styleclip_cli.cli.app import app
from styleclip_cli.cli.report import Reporter

FACE = Path(__file__).parent.parent / "examples" / "face.png"
EDIT = ["-p", "smiling", "--alpha", "2"]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder; the person's home is another one, with a photo in it."""
    monkeypatch.setenv("STYLECLIP_MODELS", "toy")
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    for name in ("me", "here"):
        (tmp_path / name).mkdir()
    shutil.copyfile(FACE, tmp_path / "me" / "face.png")
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


def said(capsys: pytest.CaptureFixture[str], code: int, *arguments: str) -> str:
    """The two lines in which a command fails."""
    capsys.readouterr()
    assert main(list(arguments)) == code
    wrong, *hint = capsys.readouterr().err.partition("styleclip: error: ")[2].splitlines()
    assert len(hint) <= 1
    return "\n".join([wrong, *hint])


def test_a_tilde_is_the_home_in_quotes_lists_and_manifests(here: Path) -> None:
    home = here.parent / "me"
    (home / "list").write_text("~/face.png\n")
    (home / "rows.csv").write_text("input,output,prompt\n~/face.png,~/rows.png,smiling\n")
    assert main(["edit", "~/face.png", *EDIT, "--out", "~/quoted.png", "-q"]) == 0
    assert main(["edit", "@~/list", *EDIT, "--out", "~/listed/", "-q"]) == 0
    assert main(["edit", "~/fa*.png", *EDIT, "--out", "~/pattern.png", "-q"]) == 0
    assert main(["edit", "--manifest", "~/rows.csv", "--alpha", "2", "-q"]) == 0
    assert main(["find-direction", "-p", "smiling", "--out", "~/d.npz", "-q"]) == 0
    (here / "rows.jsonl").write_text('{"input": "seed:1", "direction": "~/d.npz", "output": "a.png"}\n')
    assert main(["edit", "--manifest", "rows.jsonl", "-q"]) == 0
    made = {"quoted.png", "listed", "pattern.png", "rows.png", "d.npz"}
    assert made <= {path.name for path in home.iterdir()}
    assert {path.name for path in here.iterdir()} == {"rows.jsonl", "a.png"}


def test_a_file_whose_name_begins_with_a_tilde_is_that_file(here: Path) -> None:
    (here / "~").mkdir()
    shutil.copyfile(FACE, here / "~" / "other.png")
    assert main(["edit", "~/other.png", *EDIT, "--out", "a.png", "-q"]) == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ["edit", "https://example.org/face.jpg", *EDIT],
        ["edit", f"https://example.org/{'x' * 300}.jpg?a=1&b=[2]", *EDIT],
        ["edit", "S3://bucket/face.jpg", *EDIT],
        ["invert", "file:///home/me/face.png", "--out", "l.npz"],
        ["edit", "seed:1", "--recipe", "https://example.org/r.toml"],
        ["edit", "seed:1", "--direction", "https://example.org/d.npz"],
        ["info", "https://example.org/face.png"],
    ],
)
def test_an_address_in_the_place_of_a_file_is_to_be_downloaded(
    here: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    told = said(capsys, 3, *arguments)
    assert "is an address, not a file" in told
    assert "download it first" in told


def test_files_that_look_like_options_or_seeds_are_pointed_to(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("-dash.png", "-photo.png", "seed:1.png"):
        assert f"./{name}" not in said(capsys, 2, "edit", name, *EDIT)
        shutil.copyfile(FACE, here / name)
        assert f"./{name}" in said(capsys, 2, "edit", name, *EDIT)
        assert main(["edit", f"./{name}", *EDIT, "--out", f"out{name}", "-q"]) == 0
    (here / "list").write_text("seed:1.png\n")
    assert "./seed:1.png" in said(capsys, 2, "edit", "@list", *EDIT)


@pytest.mark.parametrize(
    "arguments",
    [
        ["edit", "seed:1", "-p", "smil\udcffing"],
        ["edit", "seed:1", "-p", "smiling", "--neutral", "\udc80"],
        ["find-direction", "-p", "\ud800", "--out", "d.npz"],
        ["transfer", "seed:1", "--from", "seed:2", "-p", "ha\udcffir"],
        ["train-mapper", "-p", "smil\udcffing", "--out", "m"],
    ],
)
def test_a_sentence_that_is_no_text_is_refused(
    here: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    told = said(capsys, 2, *arguments)
    assert "is no text: it has bytes that are not UTF-8" in told
    assert "codec" not in told
    assert not list(here.iterdir())


def test_a_sentence_of_a_manifest_that_is_no_text_is_refused(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "rows.jsonl").write_text('{"input": "seed:1", "prompt": "\\ud800"}\n')
    assert "row 1: prompt is no text" in said(capsys, 3, "edit", "--manifest", "rows.jsonl")


def commands(group: object = None, before: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """All commands and groups, as one types them."""
    yield before
    for name, command in getattr(group or typer.main.get_command(app), "commands", {}).items():
        yield from commands(command, (*before, name))


class Terminal(io.TextIOWrapper):
    def isatty(self) -> bool:
        return True


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp437", "cp850"])
def test_help_and_tables_fit_narrow_streams_of_any_encoding(
    encoding: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    for words in commands():
        stream = Terminal(io.BytesIO(), encoding=encoding)
        monkeypatch.setattr(sys, "stdout", stream)
        assert main([*words, "--help"]) == 0, words
        told = re.sub("\x1b\\[[0-9;]*m", "", stream.buffer.getvalue().decode(encoding))
        assert "Usage" in told
        assert max(map(len, told.splitlines())) <= 40
    Reporter().table(("a column", "another…"), [("a very long cell…", "é → ü" * 30), None], "a title → …")
    told = re.sub("\x1b\\[[0-9;]*m", "", stream.buffer.getvalue().decode(encoding))
    assert "a title" in told
    assert max(map(len, told.splitlines())) <= 40
    assert capsys.readouterr().err == ""


@pytest.mark.subprocess
def test_help_does_not_need_docstrings(tmp_path: Path) -> None:
    """Python leaves them out under -OO."""
    code = (
        "import typer; from styleclip_cli.cli.app import app\n"
        "def walk(name, command):\n"
        "    print(name, '|', ' '.join((command.help or '').split()))\n"
        "    for one, inner in getattr(command, 'commands', {}).items(): walk(f'{name} {one}', inner)\n"
        "walk('styleclip', typer.main.get_command(app))"
    )
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONIOENCODING": "utf-8"}
    told = [
        subprocess.run(
            [sys.executable, *options, "-c", code], env=environment, capture_output=True, check=True
        ).stdout
        for options in ([], ["-OO"])
    ]
    assert told[0] == told[1]
    assert len(told[0].splitlines()) > 25
