"""Many photos: stages that overlap, several processes, going on after a stop, memory that runs out."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from styleclip_cli import Engine
from styleclip_cli import synthesize as synthesizing
from styleclip_cli.bench import timing as measure
from styleclip_cli.bench.stages import gflop, published_size
from styleclip_cli.cli import main
from styleclip_cli.cli.failures import Failures
from styleclip_cli.errors import BadInputError, OutputError, PartialFailure, UsageError, WeightsError
from styleclip_cli.job import stages
from styleclip_cli.job.overlap import Stages, StopBatch, overlapped
from styleclip_cli.machine import profile, shards
from styleclip_cli.nets.stylegan2 import Generator, GeneratorConfig
from styleclip_cli.synthesize import fitting, synthesize

COUNT = 9


@pytest.fixture
def here(tmp_path: Path, pack: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with photos, and the tiny pack as the default one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STYLECLIP_MODELS", str(pack))
    folder = tmp_path / "photos"
    folder.mkdir()
    for seed in range(COUNT):
        noise = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8)
        picture = Image.fromarray(noise).resize((48, 40), Image.Resampling.BICUBIC)
        picture.save(folder / f"{seed}.png")
    return tmp_path


class Recorder:
    """A job that writes down what happens, and in which thread."""

    def __init__(self, bad: dict[str, Exception] | None = None, slow: float = 0.0) -> None:
        self.bad, self.slow = bad or {}, slow
        self.events: list[tuple[str, object]] = []
        self.threads: dict[str, set[int]] = {}
        self.read_ahead = self.alive = self.most_alive = 0

    def _at(self, stage: str, name: str) -> None:
        self.threads.setdefault(stage, set()).add(threading.get_ident())
        self.events.append((stage, name))
        if f"{stage} {name}" in self.bad:
            raise self.bad[f"{stage} {name}"]

    def read(self, name: str) -> None:
        self._at("read", name)

    def open(self, name: str) -> None:
        self.alive += 1
        self.most_alive = max(self.most_alive, self.alive)
        self._at("open", name)

    def failed(self, name: str) -> None:
        self.events.append(("failed", name))

    def edit(self, opened: list[str]) -> None:
        self._at("edit", " ".join(opened))

    def write(self, opened: str) -> None:
        time.sleep(self.slow)
        self._at("write", opened)

    def tell(self, opened: str) -> None:
        self.alive -= 1
        self._at("tell", opened)

    def of(self, stage: str) -> list[object]:
        return [name for what, name in self.events if what == stage]


def work(count: int) -> list[str]:
    return [str(i) for i in range(count)]


def run_jobs(work: list[str], job: Recorder, size: int = 1, fail_fast: bool = False) -> None:
    """Work through all, as a command does: what is done is told, what failed too."""
    failures = Failures(len(work), fail_fast)
    parts = Stages(job.read, job.open, job.edit, job.write)
    for name, error in overlapped(work, parts, size, fail_fast=fail_fast):
        if error is None:
            job.tell(name)
        else:
            job.failed(name)
            failures.add(type(error)(f"{name}: {error.message}"))
    failures.conclude()


def test_stages_overlap_in_order_and_little_is_kept() -> None:
    job = Recorder(slow=0.002)
    run_jobs(work(30), job, size=3)
    names = [str(i) for i in range(30)]
    assert job.of("tell") == job.of("open") == job.of("read") == names
    assert sorted(job.of("write"), key=int) == names
    assert job.of("edit") == [" ".join(names[i : i + 3]) for i in range(0, 30, 3)]
    main_thread = {threading.get_ident()}
    assert job.threads["open"] == job.threads["edit"] == job.threads["tell"] == main_thread
    assert not job.threads["read"] & main_thread
    assert not job.threads["write"] & main_thread
    assert job.most_alive <= 3 + 4 + 1
    reads_before_last_edit = job.events.index(("edit", "0 1 2"))
    assert ("read", "3") in job.events[: reads_before_last_edit + 40], "the next ones are read meanwhile"


@pytest.mark.parametrize("stage", ["read", "open", "write"])
def test_a_bad_one_fails_alone(stage: str, capsys: pytest.CaptureFixture[str]) -> None:
    kind = OutputError if stage == "write" else BadInputError
    job = Recorder({f"{stage} 2": kind("no good")})
    with pytest.raises(PartialFailure, match="1 of 5 failed, 4 written"):
        run_jobs(work(5), job, size=2)
    assert job.of("tell") == ["0", "1", "3", "4"]
    assert "2: no good" in capsys.readouterr().err


def test_one_that_cannot_be_worked_on_does_not_stop_its_neighbours(
    capsys: pytest.CaptureFixture[str],
) -> None:
    job = Recorder({"edit 2 3": BadInputError("no good"), "edit 3": BadInputError("no good")})
    with pytest.raises(PartialFailure, match="1 of 5 failed, 4 written"):
        run_jobs(work(5), job, size=2)
    assert job.of("tell") == ["0", "1", "2", "4"]
    assert job.of("failed") == ["3"]
    assert "3: no good" in capsys.readouterr().err


def test_the_first_failure_can_be_the_last() -> None:
    job = Recorder({"open 3": BadInputError("no good"), "write 1": OutputError("no room")}, slow=0.05)
    with pytest.raises(BadInputError, match="no good"):
        run_jobs(work(9), job, fail_fast=True)
    assert job.of("tell") == ["0", "2"], "what was computed before is written"
    assert "5" not in job.of("open")


@pytest.mark.parametrize(
    "error",
    [StopBatch(UsageError("not for this")), WeightsError("not for this"), MemoryError("not for this")],
)
def test_what_concerns_all_stops_after_what_is_computed_is_written(error: Exception) -> None:
    job = Recorder({"open 8": error}, slow=0.02)
    expected = UsageError if isinstance(error, StopBatch) else type(error)
    with pytest.raises(expected, match="not for this"):
        run_jobs(work(12), job, size=2)
    assert job.of("tell") == [str(i) for i in range(8)]


def test_few_photos_are_read_ahead() -> None:
    job = Recorder(slow=0.01)
    edit, ahead = job.edit, []

    def counting(opened: list[str]) -> None:
        time.sleep(0.02)  # long enough to read all of them
        ahead.append(len(job.of("read")) - len(job.of("open")))
        edit(opened)

    job.edit = counting  # type: ignore[method-assign]
    run_jobs(work(30), job, size=4)
    assert max(ahead) == 4, "while some are edited the next ones are read, and no more"


def test_an_interruption_lets_running_writes_end() -> None:
    job = Recorder({"edit 2": KeyboardInterrupt()}, slow=0.05)
    with pytest.raises(KeyboardInterrupt):
        run_jobs(work(9), job)
    begun = len(job.of("write"))
    time.sleep(0.1)
    assert len(job.of("write")) == begun
    assert len(job.of("tell")) == begun


def test_shards_and_going_on(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edit = ["edit", "photos", "-p", "smiling"]
    assert main([*edit, "-o", "one", "-q"]) == 0
    for i in range(2):
        assert main([*edit, "-o", "two", "--shard", f"{i}/3", "-q"]) == 0
    assert sorted(p.name for p in (here / "two").iterdir()) == [
        f"{i}_smiling.png" for i in range(COUNT) if i % 3 != 2
    ]
    before = {p.name: p.stat().st_mtime_ns for p in (here / "two").iterdir()}
    capsys.readouterr()
    assert main([*edit, "-o", "two"]) == 5  # nothing is replaced unless that is asked for
    assert main([*edit, "-o", "two", "--skip-existing"]) == 0
    assert f"6 of {COUNT} results are there already" in capsys.readouterr().err
    assert {name: (here / "two" / name).stat().st_mtime_ns for name in before} == before
    assert _same(here / "one", here / "two")
    assert main([*edit, "-o", "two", "--skip-existing"]) == 0
    assert "nothing to do" in capsys.readouterr().err


def test_large_photos_are_worked_on_one_by_one(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    together = []
    edit = stages.edit_faces

    def counting(some: list[stages.WorkItem], tools: stages.Tools) -> None:
        together.append(len(some))
        edit(some, tools)

    monkeypatch.setattr(stages, "edit_faces", counting)
    command = ["edit", "photos", "-p", "smiling", "-q", "--no-align", "-o"]
    assert main([*command, "small"]) == 0
    assert together == [8, 1]
    together.clear()
    with Image.open(here / "photos" / "3.png") as image:  # one large photo is enough
        image.resize((480, 400)).save(here / "photos" / "3.png")
    monkeypatch.setattr("styleclip_cli.job.run.PIXELS", 2 * 480 * 400)
    assert main([*command, "large"]) == 0
    assert together == [2, 2, 2, 2, 1]


def test_an_input_is_left_out_only_if_all_of_it_is_there(here: Path) -> None:
    edit = ["edit", "photos", "-p", "smiling", "-o", "out", "-q"]
    assert main(edit) == 0
    assert main([*edit, "--skip-existing", "--save-latent"]) == 0
    latents = sorted((here / "out").glob("*.npz"))
    assert len(latents) == COUNT
    latents[2].unlink()  # as if a process had died between the picture and the latent
    before = {path: path.stat().st_mtime_ns for path in (here / "out").iterdir()}
    assert main([*edit, "--skip-existing", "--save-latent"]) == 0
    assert latents[2].exists()
    changed = [path for path, time_ns in before.items() if path.stat().st_mtime_ns != time_ns]
    assert changed == [latents[2].with_suffix(".png")]


@pytest.mark.parametrize(
    "variables",
    [
        {"WORLD_SIZE": "2", "RANK": "0"},
        {"WORLD_SIZE": "two", "RANK": "0", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"},
        {"WORLD_SIZE": "2", "RANK": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"},
        {"WORLD_SIZE": "", "RANK": ""},
    ],
)
def test_environments_that_are_not_torchruns(
    here: Path, variables: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert main(["edit", "photos", "-p", "smiling", "-o", "out"]) == 2
    assert "WORLD_SIZE" in capsys.readouterr().err
    assert not (here / "out").exists()


def test_a_rank_alone_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "3")
    assert (shards.rank(), shards.processes()) == (0, 1)


@pytest.mark.parametrize("shard", ["3/3", "0/0", "x", "1"])
def test_shards_that_are_not(here: Path, shard: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["edit", "photos", "-p", "smiling", "--shard", shard]) == 2
    assert "0/4" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.subprocess(warm="torch")
def test_processes_one_of_which_dies(here: Path) -> None:
    """torchrun with two processes: one is killed, all end; started again, the rest is done."""
    (here / "photos" / "broken.png").write_bytes(b"not a picture")
    assert main(["edit", "photos", "-p", "smiling", "-o", "one", "-q"]) == 7
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    edit = ["edit", "photos", "-p", "smiling", "-o", "many", "--skip-existing", "--device", "cpu"]
    killer = (
        "import os, signal, sys\n"
        "from styleclip_cli.cli import main\n"
        "from styleclip_cli.job import stages\n"
        "write = stages.write\n"
        "def dying(one, tools):\n"
        "    if os.environ['RANK'] == '1': os.kill(os.getpid(), signal.SIGKILL)\n"
        "    write(one, tools)\n"
        "stages.write = dying\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    (here / "killer.py").write_text(killer)
    died = subprocess.run([*launch, "killer.py", *edit], capture_output=True, text=True, timeout=240)
    assert died.returncode != 0
    there = set((here / "many").glob("*.png"))
    assert not any(int(path.name[0]) % 2 == 1 for path in there), "the dead one's share"
    again = subprocess.run(
        [*launch, "-m", "styleclip_cli", *edit], capture_output=True, text=True, timeout=240, env=os.environ
    )
    assert again.returncode != 0, "one photo is broken, and that is said"
    assert "broken.png" in again.stderr
    assert {path.name for path in (here / "many").iterdir()} == {f"{i}_smiling.png" for i in range(COUNT)}
    assert _same(here / "one", here / "many")


def _same(one: Path, other: Path) -> bool:
    """Whether two folders hold the same pictures, but for the last bit of how sums were rounded."""
    names = sorted(path.name for path in one.iterdir())
    assert names == sorted(path.name for path in other.iterdir())
    for name in names:
        with Image.open(one / name) as a, Image.open(other / name) as b:
            difference = np.abs(np.asarray(a, np.int16) - np.asarray(b, np.int16))
        assert difference.max() <= 1
        assert (difference > 0).mean() < 1e-3
    return True


def test_memory_that_runs_out(
    pack: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "styleclip_cli")
    engine = Engine(pack, device="cpu")
    styles = engine.styles(engine.sample(range(11)))
    wanted = synthesize(engine.generator, styles)
    assert fitting(engine.pack.resolution, engine.device) >= 11
    asked = []
    render = synthesizing.render

    def short(generator, chunk):
        asked.append(len(chunk))
        if len(chunk) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return render(generator, chunk)

    monkeypatch.setattr(synthesizing, "render", short)
    assert torch.allclose(synthesize(engine.generator, styles, 8), wanted, atol=1e-5)
    assert asked == [8, 4, 2, 2, 2, 2, 2, 1]
    asked.clear()
    synthesize(engine.generator, styles)
    assert asked == [2, 2, 2, 2, 2, 1], "what fits is remembered"
    assert sum("memory is short" in record.message for record in caplog.records) == 2

    def never(generator, chunk):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(synthesizing, "render", never)
    with pytest.raises(RuntimeError, match="allocate memory"):
        synthesize(engine.generator, styles)


def test_pictures_at_once() -> None:
    cpu = torch.device("cpu")
    assert [fitting(side, cpu) for side in (64, 512, 1024, 4096)] == [64, 8, 2, 1]
    assert fitting(1024, torch.device("cuda")) == 16


def test_a_profile_counts_each_second_once() -> None:
    measured = profile.start()
    try:
        with profile.stage("outer"):
            time.sleep(0.03)
            with profile.stage("inner"):
                time.sleep(0.05)
            time.sleep(0.03)
    finally:
        profile.stop()
    with profile.stage("after"):
        pass
    assert list(measured.stages) == ["outer", "inner"]
    outer, inner = measured.stages.values()
    assert (outer.count, inner.count) == (1, 1)
    assert 0.06 <= outer.seconds < inner.seconds + 0.06
    assert inner.seconds >= 0.05
    assert outer.seconds + inner.seconds <= measured.wall


def test_the_profile_of_an_edit(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["edit", "photos", "-p", "smiling", "-o", "out", "--profile"]) == 0
    lines = capsys.readouterr().err.splitlines()
    table = {line[:14].strip(): line.split() for line in lines}
    for stage in ("decode", "invert", "direction", "synthesize", "encode", "write", "start", "load weights"):
        assert stage in table, stage
    assert table["encode"][-1] == table["decode"][-1] == str(COUNT)
    assert "wall" in table
    assert main(["edit", "seed:1", "-p", "smiling", "-o", "o.png"]) == 0
    assert "wall" not in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.subprocess(warm="torch")
def test_termination_leaves_whole_pictures(here: Path) -> None:
    """SIGTERM in the middle of many photos: what is there is whole, nothing else lies about."""
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "styleclip_cli",
            "edit",
            *["photos"] * 1,
            "seed:1-400",
            "-p",
            "x",
            "-o",
            "out",
        ],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        env=os.environ,
        text=True,
    )
    out = here / "out"
    while not (out.is_dir() and len(list(out.glob("*.png"))) > 12):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 143
    assert said.splitlines()[-1].endswith("terminated")
    assert all(path.suffix == ".png" for path in out.iterdir())
    for path in out.iterdir():
        with Image.open(path) as image:
            image.load()
    assert len(list(out.iterdir())) < 400


def test_bench(here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(measure, "RUNS", 1)
    assert main(["bench", "--json", "b.json"]) == 0
    assert "synthesize, 4 at once" in capsys.readouterr().out
    found = json.loads((here / "b.json").read_text())
    assert found["machine"]["device"] == "cpu"
    assert found["peak_mb"] > 100
    rows = {row["stage"]: row for row in found["rows"]}
    for stage in ("synthesize, 8 at once", "decode", "direction of a prompt", "edit a photo, found again"):
        assert 0 < rows[stage]["seconds"] < 60
        assert rows[stage]["per_second"] == pytest.approx(1 / rows[stage]["seconds"])
    assert main(["bench", "--json", "b.json"]) == 5
    assert main(["bench", "--json", "-", "--device", "toaster"]) == 6


def test_the_work_of_a_generator() -> None:
    """Config-f takes 148.5 GFLOP a picture, without its filters; counted by hand for a small one."""
    assert gflop(published_size(torch.device("meta"))) == pytest.approx(148.52, abs=0.01)
    small = Generator(GeneratorConfig(8, 8, 1, {4: 2, 8: 3}))
    convolutions = 9 * (2 * 2 * 16 + 2 * 3 * 16 + 3 * 3 * 64)
    assert gflop(small) == 2 * (convolutions + 3 * (2 * 16 + 3 * 64)) / 1e9
