"""Everything that is to be known on a new GPU, in some minutes: numbers right, and how fast.

    python benchmarks/gpu.py [--json FILE] [--device cuda] [--size full] [--runs 5]

Networks of the published sizes with random weights (StyleGAN2 config-f at 1024 pixels, CLIP ViT-B/32,
IR-SE50). Each row is a median of some runs after a warm-up; what fails says so in its row, and the script
goes on. The exit code is 1 if the numbers of a check are wrong. Aims are for one H200; the paper's figures
are of a GTX 1080 Ti. `--device cpu --size toy` runs all of it on the toy pack, to test the script.

- plain: PyTorch's own operations. kernels: Triton's around cuDNN's convolutions (nets/ops/cuda.py; on CPUs
  those of kernels.cpp). graphs: started as CUDA graphs (nets/graphs.py; there are none on CPUs). compile:
  plain, by torch.compile.
- fp32 is true float32; tf32 lets convolutions round their inputs, as torch does by default. fp16 and bf16:
  the four highest resolutions.
- Whole jobs that take longer are projected from parts; the row says of what.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from steps import networks
from torch import Tensor

from styleclip_cli.bench.timing import machine, median_seconds, synchronize
from styleclip_cli.edits.optimize import Optimization
from styleclip_cli.inversion import FaceLatent
from styleclip_cli.machine.device import choose_device
from styleclip_cli.measure.exact import relevance_job
from styleclip_cli.measure.gradient import estimate_relevance
from styleclip_cli.measure.statistics import measure_statistics
from styleclip_cli.nets import graphs
from styleclip_cli.nets.stylegan2 import Generator
from styleclip_cli.settings import OFFICIAL_OPTIMIZE, OptimizeSettings, RelevanceSettings

PROMPT = "a person with purple hair"


@dataclass
class Table:
    """Rows as they are measured.

    Attributes:
        rows: Name, value, unit, aim, note and error of each.
        wrong: Names of checks that did not hold.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def add(
        self,
        name: str,
        unit: str,
        work: Callable[[], float],
        aim: str = "",
        note: str | Callable[[float], str] = "",
        holds: Callable[[float], bool] | None = None,
    ) -> float | None:
        """Measure one thing and print it.

        Args:
            name: What it is.
            unit: Of the value.
            work: Gives the value.
            aim: What is hoped for, or what others have.
            note: More about it; may depend on the value.
            holds: What the value of a check has to fulfil.

        Returns:
            The value; None if there is none.
        """
        row: dict[str, Any] = {"name": name, "value": None, "unit": unit, "aim": aim}
        try:
            row["value"] = work()
            row["note"] = note(row["value"]) if callable(note) else note
        except Exception as error:  # one row less, not all that follow
            row["error"] = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:200]}"
        right = holds is None or (row["value"] is not None and holds(row["value"]))
        if not right:
            self.wrong.append(name)
        self.rows.append(row)
        value = "-" if row["value"] is None else f"{row['value']:.4g}"
        said = row.get("error") or row["note"]
        print(
            f"{name:44s} {value:>10s} {unit:9s} {aim:26s} {'' if right else 'WRONG  '}{said}".rstrip(),
            flush=True,
        )
        found: float | None = row["value"]
        return found


@contextmanager
def kernels(wanted: bool) -> Iterator[None]:
    """With kernels, or without."""
    before = os.environ.get("STYLECLIP_NO_KERNELS", "")
    os.environ["STYLECLIP_NO_KERNELS"] = "" if wanted else "1"
    try:
        yield
    finally:
        os.environ["STYLECLIP_NO_KERNELS"] = before


@contextmanager
def tf32(wanted: bool) -> Iterator[None]:
    """With convolutions in TF32, or in true float32."""
    before, torch.backends.cudnn.allow_tf32 = torch.backends.cudnn.allow_tf32, wanted
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


@dataclass
class Bench:
    """Networks on a device, and what all sections share."""

    device: torch.device
    size: str
    runs: int
    table: Table

    def __post_init__(self) -> None:
        self.toy = self.size == "toy"
        found = networks(self.size)
        self.generator, self.clip, self.identity = (network.to(self.device) for network in found)
        self.generator.requires_grad_(False)
        for name, parameter in self.generator.named_parameters():
            if name.endswith("noise_strength") and not self.toy:
                parameter.fill_(0.1)
        with torch.no_grad():
            z = torch.randn(32, self.generator.config.z_dim, generator=torch.Generator().manual_seed(0))
            self.w_plus = self.generator.w_plus(z.to(self.device), truncation_psi=0.7)
            self.styles = self.generator.style_space.concat(self.generator.styles(self.w_plus))

    def render(self, generator: Generator, count: int) -> Tensor:
        """Some faces, without graphs."""
        with torch.inference_mode():
            return generator.synthesize(generator.style_space.split(self.styles[:count]))

    def at(self, precision: str) -> Generator:
        """The generator in a precision; whether tf32 is real float32 is torch's setting."""
        return self.generator.with_precision("fp32" if precision == "tf32" else precision)  # type: ignore[arg-type]

    def seconds(self, work: Callable[[], Any]) -> float:
        """Median time of some work."""
        return median_seconds(work, self.runs, self.device)

    @property
    def gflop(self) -> float:
        """Of one picture: 2 for each multiplication and addition of the convolutions."""
        total = 0
        for layer in self.generator.style_space.layers:
            side = layer.resolution // 2 if layer.name.endswith("conv0") else layer.resolution
            outputs = 3 if layer.is_rgb else 9 * self.generator.config.channels[layer.resolution]
            total += 2 * side * side * layer.width * outputs
        return total / 1e9


def psnr(found: Tensor, wanted: Tensor) -> float:
    """In dB, over the range of the wanted pictures: those of random weights are not in [-1, 1]."""
    found, wanted = found.double().cpu(), wanted.double().cpu()
    error = float((found - wanted).square().mean().sqrt())
    return 20 * math.log10(float(wanted.max() - wanted.min()) / max(error, 1e-12))


def distance(found: Tensor, wanted: Tensor) -> float:
    """Largest difference over the largest number."""
    found, wanted = found.double().cpu(), wanted.double().cpu()
    return float((found - wanted).abs().max() / wanted.abs().max())


def numerics(bench: Bench) -> None:
    """Are the numbers right?"""
    table, generator = bench.table, bench.generator

    def against_cpu() -> float:
        with kernels(True), tf32(False):
            here = bench.render(generator, 2)
        there = Generator(generator.config)
        there.load_state_dict({name: each.cpu() for name, each in generator.state_dict().items()})
        with torch.inference_mode(), kernels(False):
            there.requires_grad_(False)
            return distance(here, there.synthesize(there.style_space.split(bench.styles[:2].cpu())))

    def against_plain() -> float:
        with tf32(False):
            with kernels(True):
                found = bench.render(generator, 2)
            with kernels(False):
                return distance(found, bench.render(generator, 2))

    def gradients() -> float:
        found = []
        for wanted in (True, False):
            with kernels(wanted), tf32(False):
                styles = bench.styles[:1].clone().requires_grad_(True)
                picture = generator.synthesize(generator.style_space.split(styles))
                found.append(torch.autograd.grad(picture.square().mean(), styles)[0])
        return distance(*found)

    def graphed() -> float:
        found = [graphs.render(generator, bench.styles[:2]) for _ in range(3)][-1]
        return distance(found, bench.render(generator, 2))

    def half(precision: Any, wanted: bool) -> float:
        with tf32(False):
            full = bench.render(generator, 2)
        with kernels(wanted):
            return psnr(bench.render(generator.with_precision(precision), 2), full)

    table.add("fp32 against the CPU", "", against_cpu, "< 1e-3", holds=lambda x: x < 1e-3)
    table.add("kernels against plain", "", against_plain, "< 1e-4", holds=lambda x: x < 1e-4)
    table.add("gradients, kernels against plain", "", gradients, "< 1e-3", holds=lambda x: x < 1e-3)
    table.add("graphs against none", "", graphed, "< 1e-3", holds=lambda x: x < 1e-3)
    table.add("fp16 against fp32", "dB", lambda: half("fp16", True), "> 45", holds=lambda x: x > 45)
    table.add("fp16 against fp32, plain", "dB", lambda: half("fp16", False), "> 45", holds=lambda x: x > 45)
    table.add("bf16 against fp32", "dB", lambda: half("bf16", True))


def throughput(bench: Bench) -> None:
    """Pictures per second, their share of the best that the machine can do, and memory."""
    cuda = bench.device.type == "cuda"
    side = 8192 if cuda else 512
    peaks: dict[str, float] = {}
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        a, b = (torch.randn(side, side, device=bench.device, dtype=dtype) for _ in range(2))
        found = bench.table.add(
            f"matrix product {side}^3, {name}",
            "TFLOP/s",
            lambda a=a, b=b: 2 * side**3 / bench.seconds(lambda: a @ b) / 1e12,  # type: ignore[misc]
        )
        peaks[name] = found or math.nan
    variants = [
        ("plain", "fp32", False),
        ("kernels", "fp32", False),
        ("kernels", "tf32", False),
        ("plain", "fp16", False),
        ("kernels", "fp16", False),
        ("kernels", "bf16", False),
        ("kernels, graphs", "fp16", True),
        ("kernels, graphs", "bf16", True),
        ("kernels, graphs", "tf32", True),
    ]
    for batch in (2,) if bench.toy else (1, 8, 32):
        for how, precision, graphed in variants:
            if graphed and batch > graphs.MOST_IMAGES:
                continue
            pictures_per_second(bench, peaks["bf16"], batch, how, precision, graphed)
    if cuda:
        compiled(bench)


def pictures_per_second(
    bench: Bench, peak: float, batch: int, how: str, precision: str, graphed: bool
) -> None:
    """One row of the table of speeds."""
    generator, styles = bench.at(precision), bench.styles[:batch]

    def work() -> Tensor:
        return graphs.render(generator, styles) if graphed else bench.render(generator, batch)

    def rate() -> float:
        if bench.device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        with kernels(how != "plain"), tf32(precision == "tf32"):
            work()  # seen once, a shape is recorded when it comes again
            return batch / bench.seconds(work)

    def more(rate: float) -> str:
        tflops = rate * bench.gflop / 1e3
        return f"{tflops:.3g} TFLOP/s, {tflops / peak:.0%} of bf16's best; {memory(bench.device)}"

    bench.table.add(f"batch {batch}, {precision}, {how}", "images/s", rate, note=more)


def memory(device: torch.device) -> str:
    """Peak memory: of the GPU since it was last reset; of the process on CPUs."""
    if device.type == "cuda":
        return f"{torch.cuda.max_memory_allocated() / 1e6:.0f} MB"
    return f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3:.0f} MB"


def compiled(bench: Bench) -> None:
    """What torch.compile makes of the plain operations: what our kernels have to beat."""
    for batch in (1, 8):

        def rate(batch: int = batch) -> float:
            parts = bench.generator.style_space.split(bench.styles[:batch])
            work = torch.compile(bench.generator.with_precision("fp16").synthesize, mode="reduce-overhead")
            with torch.inference_mode(), kernels(False):
                for _ in range(3):
                    work(parts).clone()
                return batch / bench.seconds(lambda: work(parts).clone())

        began = time.perf_counter()
        bench.table.add(
            f"batch {batch}, fp16, compile",
            "images/s",
            rate,
            note=lambda _, began=began: f"{time.perf_counter() - began:.0f} s with compilation",  # type: ignore[misc]
        )


def latency(bench: Bench) -> None:
    """A direction applied to one face: W+ to styles, the step, the picture."""
    direction = torch.randn(bench.styles.shape[1], device=bench.device) * 0.1
    for precision in ("tf32", "fp16"):
        generator = bench.at(precision)

        def edit(generator: Generator = generator) -> Tensor:
            with torch.inference_mode():
                styles = generator.style_space.concat(generator.styles(bench.w_plus[:1]))
                return graphs.render(generator, styles + direction)

        def eight_bits(edit: Callable[[], Tensor] = edit) -> Tensor:
            return ((edit() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).cpu()

        suffix = "" if precision == "fp16" else f", {precision}"
        for name, work in (("edit latency", edit), ("edit latency, 8 bits on the CPU", eight_bits)):

            def milliseconds(work: Callable[[], Tensor] = work) -> float:
                work(), work()  # the second time it is recorded
                return 1e3 * bench.seconds(work)

            aim = "<= 8 (paper: 72)" if name == "edit latency" else ""
            bench.table.add(name + suffix, "ms", milliseconds, aim, "W+ to the picture, batch 1")


def optimization(bench: Bench) -> None:
    """Latent optimization of one face: our default, and the official 300 steps."""
    for precision in ("tf32", "bf16"):
        generator = bench.at(precision)
        jobs: list[tuple[str, OptimizeSettings]] = [
            ("optimization edit", OptimizeSettings(lambda_id=0.005, patience=0)),
            ("optimization edit, official", OFFICIAL_OPTIMIZE),
        ]
        for name, settings in jobs:
            steps = 2 if bench.toy else 20

            def seconds(
                generator: Generator = generator, settings: OptimizeSettings = settings, steps: int = steps
            ) -> float:
                times = []
                for count in (2, steps):  # a warm-up, then what is measured
                    edit = Optimization(
                        generator,
                        bench.clip,
                        bench.identity,
                        PROMPT,
                        "a person",
                        OptimizeSettings(**{**vars(settings), "steps": count}),
                    )
                    synchronize(bench.device)
                    began = time.perf_counter()
                    edit.edited(FaceLatent(bench.w_plus[:1]), [1.0])
                    synchronize(bench.device)
                    times.append(time.perf_counter() - began)
                return times[-1] / steps * settings.steps

            bench.table.add(
                f"{name}, {precision}",
                "s",
                seconds,
                "<= 4 (paper: 98)",
                lambda seconds, settings=settings, steps=steps: (  # type: ignore[misc]
                    f"{settings.steps / seconds:.1f} steps/s; {settings.steps} steps, projected from {steps}"
                ),
            )


def relevance(bench: Bench) -> None:
    """Channelwise relevance: the paper's measurement, projected from a piece of each layer; our estimate."""
    generator, clip = bench.generator, bench.clip
    statistics = measure_statistics(generator, 200 if bench.toy else 10_000)
    few = RelevanceSettings(n_images=1 if bench.toy else 8)
    whole = RelevanceSettings()
    # Few CPUs compute in float16; they would take minutes.
    half = "fp16" if bench.device.type == "cuda" else "bf16"
    layers = generator.style_space.layers[-3:] if bench.toy else None
    rows: dict[str, Tensor] = {}

    def exact(precision: str) -> float:
        job = relevance_job(bench.at(precision), clip, statistics, few, layers=layers)
        first: dict[str, Any] = {}
        channels: dict[str, int] = {}
        for piece in job.pieces:
            first.setdefault(piece.key["layer"], piece)
            channels[piece.key["layer"]] = channels.get(piece.key["layer"], 0) + piece.amount
        warm, *_ = first.values()
        warm.compute(lambda part: None)
        total, found = 0.0, []
        for layer, piece in first.items():
            synchronize(bench.device)
            began = time.perf_counter()
            found.append(torch.as_tensor(piece.compute(lambda part: None)["rows"]))
            seconds = time.perf_counter() - began
            total += seconds * channels[layer] / piece.amount * whole.n_images / few.n_images
        rows[precision] = torch.cat(found)
        return total / 60

    def agreement() -> float:
        return float(torch.cosine_similarity(rows["tf32"], rows[half]).median())

    def estimate() -> float:
        settings = RelevanceSettings(mode="gradient", n_images=2 if bench.toy else whole.n_images)
        synchronize(bench.device)
        began = time.perf_counter()
        estimate_relevance(generator, clip, statistics, settings)
        return time.perf_counter() - began

    part = f"projected from 16 channels of each layer and {few.n_images} of {whole.n_images} faces"
    for precision in ("tf32", half):
        bench.table.add(
            f"exact relevance, {precision}",
            "min",
            lambda precision=precision: exact(precision),  # type: ignore[misc]
            "<= 6 (paper: 240)",
            part,
        )
    bench.table.add(f"exact relevance, {half} against tf32", "cosine", agreement, note="median of channels")
    bench.table.add("gradient relevance, first", "s", estimate, note="with what is set up once")
    bench.table.add(
        "gradient relevance", "s", estimate, "<= 3", f"{2 if bench.toy else whole.n_images} faces"
    )
    with torch.inference_mode():
        pictures = bench.render(generator, 8).clamp(-1, 1)
    bench.table.add(
        "CLIP, batch 8",
        "images/s",
        lambda: 8 / bench.seconds(lambda: seen(clip, pictures)),
        note="with its preprocessing",
    )


def seen(clip: Any, pictures: Tensor) -> Tensor:
    """Embeddings, without gradients."""
    with torch.inference_mode():
        found: Tensor = clip.encode_image(pictures)
        return found


def main() -> int:
    """Run all sections and write what was found."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--size", choices=("full", "toy"), default="full")
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    device = choose_device(arguments.device)
    on = machine(device)
    print(", ".join(f"{name} {value}" for name, value in on.items()))
    began = time.perf_counter()
    bench = Bench(device, arguments.size, arguments.runs, Table())
    for section in (numerics, throughput, latency, optimization, relevance):
        print(f"\n{section.__name__}")
        try:
            section(bench)
        except Exception as error:  # the next section may do better
            message = f"{type(error).__name__}: {error}"
            bench.table.rows.append({"name": section.__name__, "value": None, "error": message})
            print(message)
    seconds = time.perf_counter() - began
    print(f"\n{seconds:.0f} s; {memory(device)}")
    for name in bench.table.wrong:
        print(f"wrong: {name}")
    if arguments.json:
        found = {"machine": on, "size": arguments.size, "seconds": seconds, "rows": bench.table.rows}
        arguments.json.write_text(json.dumps(found, indent=2), encoding="utf-8")
    return 1 if bench.table.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
