"""How long a run will take, said before it is spent."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from styleclip_cli import Engine
from styleclip_cli.cli import main
from styleclip_cli.job.inputs import Item
from styleclip_cli.job.pace import FILE, Pace
from styleclip_cli.job.plan import Plan, Planned
from styleclip_cli.job.request import EditRequest
from styleclip_cli.machine.cache import cache_dir
from styleclip_cli.recipe import Step

REQUEST = EditRequest(steps=(Step(prompt="smiling"),))


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine("toy", device="cpu")


def pace(engine: Engine, count: int, inverter: str = "refine", request: EditRequest = REQUEST) -> Pace:
    items = [Item(f"{number}.jpg", str(number), path=Path(f"{number}.jpg")) for number in range(count)]
    plan = Plan(request, [Planned(item, None, request) for item in items])
    return Pace(plan, engine, replace(engine.default_inversion, inverter=inverter))


def test_the_first_photo_tells_how_long_the_rest_takes(engine: Engine) -> None:
    first = pace(engine, 301)
    assert first.announcement() == ""
    said = "300 inputs, about 3.0 h here; --inverter encoder: about 20 min"
    assert first.add(36.0, inversion=32.0) == said
    assert first.add(36.0, inversion=32.0) == "", "once"


def test_the_next_run_tells_before_it_begins(engine: Engine) -> None:
    run = pace(engine, 1)
    run.add(36.0, 32.0)
    run.keep()
    assert (
        pace(engine, 300).announcement() == "300 inputs, about 3.0 h here; --inverter encoder: about 20 min"
    )
    assert pace(engine, 1).announcement() == "", "not worth saying"
    assert pace(engine, 40, "encoder").announcement() == "40 inputs, about 3 min here"
    assert pace(engine, 300, "pivotal").announcement() == "", "nothing is known of it"
    assert pace(engine, 300, request=replace(REQUEST, alphas=(1.0, 2.0))).announcement() == ""


def test_inversions_of_the_cache_are_no_measure(engine: Engine) -> None:
    run = pace(engine, 2)
    assert run.add(1.0, inversion=32.0) == ""
    run.keep()
    assert pace(engine, 300).announcement() == ""


def test_a_file_that_is_none_of_ours_is_ignored(engine: Engine) -> None:
    cache_dir().mkdir(parents=True, exist_ok=True)
    for text in ("", "[]", '{"x": "y"}', '{"x": 1e99}', "[" * 5000):
        (cache_dir() / FILE).write_text(text)
        assert pace(engine, 300).announcement() == ""
    run = pace(engine, 1)
    run.add(36.0, 32.0)
    run.keep()
    assert 36.0 in json.loads((cache_dir() / FILE).read_text()).values()


def test_the_command_says_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("styleclip_cli.job.pace.WORTH_SAYING", 0.0)
    command = ["edit", "seed:1", "-p", "smiling", "--models", "toy", "--overwrite"]
    assert main(command) == 0
    assert "inputs, about" not in capsys.readouterr().err
    assert main(command) == 0
    assert "1 input, about" in capsys.readouterr().err
