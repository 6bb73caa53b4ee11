"""Cached files: whole or absent, verified, computed once."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from styleclip_cli.errors import BadInputError, OutputError
from styleclip_cli.machine import cache

SCHEMA = "test.things/1"


@pytest.fixture
def arrays():
    return {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.array(7), "empty": np.zeros((0, 4))}


@pytest.fixture
def saved(tmp_path, arrays):
    path = tmp_path / "deep" / "things.npz"
    cache.save_npz(path, arrays, {"words": ["é", 1, None]}, schema=SCHEMA, key={"models": "m", "n": (1, 2)})
    return path


class Bomb:
    def __reduce__(self):
        return (Path.touch, (Path("exploded"),))


def test_arrays_and_details_come_back_exactly(saved, arrays):
    found, meta = cache.load_npz(saved, schema=SCHEMA, expect={"n": [1, 2]})
    assert meta == {"words": ["é", 1, None]}
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        assert found[name].shape == array.shape
        np.testing.assert_array_equal(found[name], array)
    assert [p.name for p in saved.parent.iterdir()] == ["things.npz"]


@pytest.mark.parametrize("where", [0.1, 0.35, 0.6, 0.9])
def test_an_altered_byte_is_noticed(saved, where):
    content = bytearray(saved.read_bytes())
    content[int(len(content) * where)] ^= 0x41
    saved.write_bytes(content)
    try:
        found, meta = cache.load_npz(saved, schema=SCHEMA)
    except BadInputError as error:
        assert str(saved) in error.message  # noqa: PT017 (some bytes are padding)
    else:  # the byte was padding: then nothing may have changed
        np.testing.assert_array_equal(found["a"], np.arange(6).reshape(2, 3))
        assert meta == {"words": ["é", 1, None]}


def test_altered_numbers_with_a_valid_archive_are_noticed(saved):
    with np.load(saved) as file:
        contents = dict(file)
    contents["a"] = contents["a"] + 1
    np.savez(saved, **contents)
    with pytest.raises(BadInputError, match="checksum"):
        cache.load_npz(saved, schema=SCHEMA)


@pytest.mark.parametrize("kind", ["cut", "empty", "text", "foreign", "npy", "pickle", "folder", "missing"])
def test_unusable_files_are_bad_input(saved, kind, monkeypatch):
    monkeypatch.chdir(saved.parent)
    if kind == "cut":
        saved.write_bytes(saved.read_bytes()[:-200])
    elif kind == "empty":
        saved.write_bytes(b"")
    elif kind == "text":
        saved.write_text("hello")
    elif kind == "foreign":
        np.savez(saved, a=np.zeros(3))
    elif kind == "npy":
        with saved.open("wb") as file:
            np.save(file, np.zeros(3))
    elif kind == "pickle":
        np.savez(saved, header=np.array([Bomb()], dtype=object))
    else:
        saved.unlink()
        if kind == "folder":
            saved.mkdir()
    with pytest.raises(BadInputError) as caught:
        cache.load_npz(saved, schema=SCHEMA)
    assert "\n" not in caught.value.message
    assert not Path("exploded").exists()


def test_another_schema_or_key_is_refused(saved):
    with pytest.raises(BadInputError, match=r"test\.things/1.*test\.things/2"):
        cache.load_npz(saved, schema="test.things/2")
    with pytest.raises(BadInputError, match="another models"):
        cache.load_npz(saved, schema=SCHEMA, expect={"models": "other"})
    with pytest.raises(BadInputError, match="another unknown"):
        cache.load_npz(saved, schema=SCHEMA, expect={"unknown": 1})


def test_objects_are_not_written(tmp_path):
    with pytest.raises(ValueError, match="things"):
        cache.save_npz(tmp_path / "x.npz", {"things": np.array([Bomb()], dtype=object)}, {}, schema=SCHEMA)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_keeps_the_old_file_and_leaves_nothing(saved, arrays, monkeypatch):
    before = saved.read_bytes()

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OutputError, match="No space left"):
        cache.save_npz(saved, arrays, {}, schema=SCHEMA)
    assert saved.read_bytes() == before
    assert len(list(saved.parent.iterdir())) == 1


class Counter:
    def __init__(self, value=1.0):
        self.calls, self.value = 0, value

    def __call__(self):
        self.calls += 1
        return {"x": np.full(3, self.value)}, {"calls": self.calls}


def test_cached_computes_once_for_a_key():
    compute = Counter()
    first, _ = cache.cached("kind", {"n": 1}, SCHEMA, compute)
    second, meta = cache.cached("kind", {"n": 1}, SCHEMA, compute)
    np.testing.assert_array_equal(first["x"], second["x"])
    assert (compute.calls, meta) == (1, {"calls": 1})
    cache.cached("kind", {"n": 2}, SCHEMA, compute)
    cache.cached("other", {"n": 1}, SCHEMA, compute)
    assert compute.calls == 3


@pytest.mark.parametrize("damage", ["bytes", "schema", "key"])
def test_a_damaged_cache_file_is_made_again_with_one_warning(damage, caplog):
    key = {"n": 1}
    cache.cached("kind", key, SCHEMA, Counter(1.0))
    path = cache.cache_path("kind", key)
    if damage == "bytes":
        path.write_bytes(path.read_bytes()[:100])
    else:
        changed = {"schema": "test.things/0"} if damage == "schema" else {"schema": SCHEMA, "key": {"n": 9}}
        cache.save_npz(path, {"x": np.zeros(3)}, {}, **changed)
    compute = Counter(2.0)
    with caplog.at_level(logging.WARNING):
        found, _ = cache.cached("kind", key, SCHEMA, compute)
    assert found["x"][0] == 2.0
    assert len(caplog.records) == 1
    assert str(path) in caplog.text
    caplog.clear()
    cache.cached("kind", key, SCHEMA, compute)
    assert compute.calls == 1
    assert not caplog.records


def test_work_is_not_lost_when_the_cache_cannot_be_written(tmp_path, monkeypatch, caplog):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("STYLECLIP_CACHE_DIR", str(tmp_path / "file" / "cache"))
    with caplog.at_level(logging.WARNING):
        found, meta = cache.cached("kind", {"n": 1}, SCHEMA, Counter(3.0))
    assert found["x"][0] == 3.0
    assert meta == {"calls": 1}
    assert len(caplog.records) == 1


def test_a_failed_computation_leaves_nothing_and_can_be_repeated():
    def fail():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache.cached("kind", {"n": 1}, SCHEMA, fail)
    assert not cache.cache_path("kind", {"n": 1}).exists()
    assert cache.cached("kind", {"n": 1}, SCHEMA, Counter())[1] == {"calls": 1}


@pytest.mark.subprocess
def test_several_processes_compute_once(tmp_path):
    script = (
        "import sys, time, pathlib, numpy as np\n"
        "from styleclip_cli.machine import cache\n"
        "def compute():\n"
        "    with open(sys.argv[1], 'a') as log: log.write('x')\n"
        "    time.sleep(0.5)\n"
        "    return {'x': np.arange(4)}, {}\n"
        "assert cache.cached('kind', {'n': 1}, 'test/1', compute)[0]['x'][3] == 3\n"
    )
    log = tmp_path / "log"
    processes = [subprocess.Popen([sys.executable, "-c", script, str(log)]) for _ in range(3)]
    assert [process.wait(timeout=60) for process in processes] == [0, 0, 0]
    assert log.read_text() == "x"


def test_the_cache_folder_is_the_platforms_or_the_chosen_one(tmp_path, monkeypatch):
    monkeypatch.setenv("STYLECLIP_CACHE_DIR", str(tmp_path / "here"))
    assert cache.cache_dir() == tmp_path / "here"
    monkeypatch.delenv("STYLECLIP_CACHE_DIR")
    monkeypatch.setattr("platformdirs.user_cache_path", lambda name: tmp_path / name)
    assert cache.cache_dir() == tmp_path / "styleclip"
