"""Where things are kept: as the environment says, else the platform's folders, else a line that says so."""

from __future__ import annotations

import pwd
from pathlib import Path

import platformdirs
import pytest

from styleclip_cli.cli import main
from styleclip_cli.errors import OutputError
from styleclip_cli.machine.cache import cache_dir
from styleclip_cli.weights import store


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user that the system does not know, without HOME."""

    def unknown(*_: object) -> None:
        raise KeyError("no such user")

    for name in ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)


@pytest.mark.usefixtures("homeless")
def test_without_a_home_the_variables_are_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STYLECLIP_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("STYLECLIP_CACHE_DIR", str(tmp_path / "cache"))
    arguments = ["seed:3", "--models", "toy", "-p", "smiling", "--alpha", "2", "-q"]
    assert main(["edit", *arguments, "--out", str(tmp_path / "o.png")]) == 0


@pytest.mark.usefixtures("homeless")
def test_without_a_home_one_line_names_the_variables(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("STYLECLIP_HOME")
    monkeypatch.delenv("STYLECLIP_CACHE_DIR")
    for where in (cache_dir, store.home, store.config_dir):
        with pytest.raises(OutputError, match=r"neither STYLECLIP_\w+ nor HOME is set"):
            where()
    assert main(["models"]) == 5
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2
    assert "STYLECLIP_HOME and STYLECLIP_CACHE_DIR" in said[1]
    assert main(["--help"]) == 0


def test_the_platform_is_not_asked_where_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(*_: object) -> None:
        raise AssertionError

    for kind in ("cache", "config", "data"):
        monkeypatch.setattr(platformdirs, f"user_{kind}_path", asked)
    for where in (cache_dir, store.home, store.config_dir):
        assert where().is_absolute()


def test_the_home_of_nobody_is_no_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STYLECLIP_HOME", "~no-such-person/x")
    with pytest.raises(OutputError, match="STYLECLIP_HOME=~no-such-person/x: "):
        store.home()
