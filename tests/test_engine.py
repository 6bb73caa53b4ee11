"""One engine, asked by several threads, and the parts that it is made of."""

from __future__ import annotations

import gc
import json
import shutil
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Barrier

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from styleclip_cli.engine import Engine
from styleclip_cli.inversion import FaceLatent
from styleclip_cli.machine.distributed import World
from styleclip_cli.measure.measurements import Measurements
from styleclip_cli.settings import RelevanceMode, RelevanceSettings, StatisticsSettings
from styleclip_cli.training import checkpoint
from styleclip_cli.training.checkpoint import Checkpoint, Task
from tiny_pack import make_pack


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_pack(tmp_path_factory.mktemp("tiny"))


def images(engine: Engine, seed: int) -> Tensor:
    """A face, the same with a generator of its own, and both after an edit."""
    w_plus = engine.sample([seed])
    conv = engine.generator.synthesis["b8"].conv1
    deltas = {"synthesis.b8.conv1.weight": torch.full_like(conv.weight, 0.1 * (seed + 1))}
    faces = [FaceLatent(w_plus), FaceLatent(w_plus, deltas)]
    direction = engine.direction("smiling", "face", channels=10)
    return torch.cat([engine.render(faces), *(engine.edit(face, direction, [5.0])[0] for face in faces)])


def test_threads_give_the_pictures_that_one_after_the_other_gives(pack: Path) -> None:
    count = 4
    alone = Engine(pack, device="cpu")
    wanted = [images(alone, seed) for seed in range(count)]
    shared, started = Engine(pack, device="cpu"), Barrier(count)

    def work(seed: int) -> list[Tensor]:
        started.wait()
        return [images(shared, seed) for _ in range(5)]

    with ThreadPoolExecutor(count) as threads:
        found = list(threads.map(work, range(count)))
    for one, several in zip(wanted, found, strict=True):
        assert len({float(each.sum()) for each in one}) == len(one), "all of them differ"
        for each in several:
            torch.testing.assert_close(each, one, rtol=0, atol=1e-5)
    names = {name: tensor for name, tensor in alone.generator.state_dict().items()}
    for name, tensor in shared.generator.state_dict().items():
        assert torch.equal(tensor, names[name]), name


def test_what_is_tuned_for_one_face_shows_in_no_others_pictures(pack: Path) -> None:
    engine = Engine(pack, device="cpu")
    face = FaceLatent(engine.sample([1]))
    wanted, other = engine.render([face]), engine.render([FaceLatent(engine.sample([2]))])
    settings = replace(engine.settings_for_inversion("pivotal", steps=5, noise=True), pivotal_steps=20)
    shown = []
    with ThreadPoolExecutor(1) as thread:
        search = thread.submit(engine.invert, other, settings, keep=False)
        while not search.done():
            shown.append(engine.render([face]))
    assert search.result().weight_deltas
    assert shown
    for each in shown:
        torch.testing.assert_close(each, wanted, rtol=0, atol=1e-5)


def test_networks_are_loaded_once_by_whichever_thread_asks_first(
    pack: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from styleclip_cli import networks

    loaded: list[str] = []
    load = networks.load_weights
    monkeypatch.setattr(networks, "load_weights", lambda path: loaded.append(path.stem) or load(path))
    engine, started = Engine(pack, device="cpu"), Barrier(4)

    def work(number: int) -> object:
        started.wait()
        return engine.generator if number % 2 else engine.networks.encoder

    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(work, range(4)))
    assert found[0] is found[2]
    assert found[1] is found[3]
    assert sorted(loaded) == ["encoder", "generator"]


def test_an_engine_goes_when_nobody_holds_it(pack: Path) -> None:
    engine = Engine(pack, device="cpu")
    engine.edit(engine.sample([1]), engine.direction("smiling"), [1.0])
    gone = weakref.ref(engine), weakref.ref(engine.generator)
    del engine
    gc.collect()
    assert [each() for each in gone] == [None, None]


def test_files_know_settings_by_the_names_that_they_had_first(pack: Path, tmp_path: Path) -> None:
    described = (pack / "pack.toml").read_text()
    shutil.copytree(pack, tmp_path / "own")
    (tmp_path / "own" / "pack.toml").write_text(
        f"{described}\n[defaults.optimize]\nexplore = 0.5\n[defaults.training]\nquiet = false\n"
    )
    engine = Engine(tmp_path / "own", device="cpu")
    assert engine.optimize_settings.neighbourhood_radius == 0.5
    assert engine.training_settings.zero_init is False
    task = Task("old face", "face", "own", "", (), (), engine.training_settings)
    Checkpoint(task, {}, {"step": 0}, [{"step": 0, "loss": 1.0}]).save(tmp_path)
    with safe_open(tmp_path / checkpoint.FILE, "pt") as file:
        written = json.loads(file.metadata()["styleclip"])["task"]["settings"]
    assert written["quiet"] is False
    assert "zero_init" not in written
    assert Checkpoint.load(tmp_path).task == task


def test_the_mode_is_exact_where_that_has_been_measured(pack: Path) -> None:
    def made(mode: RelevanceMode | None = None) -> Measurements:
        settings = RelevanceSettings(n_images=2, mode=mode)
        return Measurements(Engine(pack, device="cpu").networks, StatisticsSettings(n=200), settings)

    assert made().missing() == {"statistics": (1, 1)}
    assert made().relevance_mode == "gradient"
    exact = made("exact")
    exact.measure()
    assert exact.missing()["relevance"][0] == 0
    assert made().relevance_mode == "exact"
    assert torch.equal(made().relevance.matrix, exact.relevance.matrix)
    assert made("gradient").relevance_mode == "gradient"


def test_processes_divide_what_all_have_alike() -> None:
    batch = torch.arange(6)
    assert [World(rank, 2).shard(batch).tolist() for rank in (0, 1)] == [[0, 1, 2], [3, 4, 5]]
    assert [World(rank, 2).is_main for rank in (0, 1)] == [True, False]
    assert World().any(True)
    assert not World().any(False)
