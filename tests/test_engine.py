"""One engine, asked for everything by several threads."""

from __future__ import annotations

import gc
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Barrier

import pytest
import torch
from torch import Tensor

from styleclip_cli.engine import Engine
from styleclip_cli.inversion import Inversion
from tiny_pack import make_pack


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_pack(tmp_path_factory.mktemp("tiny"))


def images(engine: Engine, seed: int) -> Tensor:
    """A face, the same with a generator of its own, and both after an edit."""
    w_plus = engine.sample([seed])
    conv = engine.generator.synthesis["b8"].conv1
    deltas = {"synthesis.b8.conv1.weight": torch.full_like(conv.weight, 0.1 * (seed + 1))}
    faces = [Inversion(w_plus), Inversion(w_plus, deltas)]
    direction = engine.direction("smiling", "face", channels=10)
    return torch.cat([engine.show_each(faces), *(engine.edit(face, direction, [5.0])[0] for face in faces)])


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
    face = Inversion(engine.sample([1]))
    wanted, other = engine.show(face), engine.show(Inversion(engine.sample([2])))
    settings = replace(engine.inversion("pivotal", steps=5, noise=True), pivotal_steps=20)
    shown = []
    with ThreadPoolExecutor(1) as thread:
        search = thread.submit(engine.find, other, settings, keep=False)
        while not search.done():
            shown.append(engine.show(face))
    assert search.result().tuned
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
