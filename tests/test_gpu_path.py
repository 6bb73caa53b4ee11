"""What runs on GPUs, as far as a CPU can tell: kernels in Triton's interpreter, half precision, graphs."""

import importlib
import importlib.util
import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from networks import generator_state, layer
from styleclip_cli import Engine
from styleclip_cli.inversion.pivotal import tuned
from styleclip_cli.nets.graphs import Graphs
from styleclip_cli.nets.ops import cuda, reference
from styleclip_cli.nets.stylegan2 import Generator, normalised

needs_triton = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None,
    reason="Triton is not installed (a gigabyte; it comes with torch for CUDA)",
)

# Pictures, inputs, outputs, height, width, largest result: odd, and less and more than programs take.
SHAPES = [(1, 5, 7, 5, 3, None), (2, 9, 20, 7, 9, 0.7), (1, 70, 66, 9, 8, None)]


@pytest.fixture(autouse=True)
def _interpreted():
    """Kernels are interpreted; conftest.py has said so before anything could import Triton."""
    assert os.environ["TRITON_INTERPRET"] == "1"


def distance(found: Tensor, wanted: Tensor) -> float:
    found, wanted = (each.detach().double() for each in (found, wanted))
    return float((found - wanted).abs().max() / wanted.abs().max())


@needs_triton
@pytest.mark.parametrize("noise", [True, False])
@pytest.mark.parametrize("up", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_same_numbers(shape: tuple, up: bool, noise: bool) -> None:
    found = cuda.styled_conv(**layer(shape, up, torch.float32, noise))
    wanted = reference.styled_conv(**layer(shape, up, torch.float64, noise))
    assert found.shape == wanted.shape
    assert found.dtype == torch.float32
    assert distance(found, wanted) < 1e-5


@needs_triton
@pytest.mark.parametrize(("dtype", "near"), [(torch.float16, 5e-3), (torch.bfloat16, 4e-2)])
@pytest.mark.parametrize("up", [False, True])
def test_half_precision_numbers(up: bool, dtype: torch.dtype, near: float) -> None:
    """A weight in half precision decides the precision of the layer, of the kernels as of the reference."""
    case = layer(SHAPES[1], up, torch.float32)
    wanted = reference.styled_conv(**case)
    case["weight"] = case["weight"].to(dtype)
    for one in (cuda, reference):
        found = one.styled_conv(**case)
        assert found.dtype == dtype
        assert 0 < distance(found, wanted) < near


@needs_triton
@pytest.mark.parametrize("up", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_same_gradients(shape: tuple, up: bool) -> None:
    case = layer(shape, up, torch.float64)
    inputs = [case[name].requires_grad_() for name in ("x", "styles", "demodulation")]
    found, wanted = cuda.styled_conv(**case), reference.styled_conv(**case)
    weights = torch.randn(found.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for one, other in zip(
        torch.autograd.grad(found, inputs, weights),
        torch.autograd.grad(wanted, inputs, weights),
        strict=True,
    ):
        assert distance(one, other) < 1e-6, "constants are passed on in float32"


@needs_triton
@pytest.mark.parametrize("up", [False, True])
def test_gradients_by_differences(up: bool) -> None:
    case = layer((1, 2, 2, 2, 3, None), up, torch.float64)
    fixed = {name: value for name, value in case.items() if name not in ("x", "styles", "demodulation")}

    def run(x: Tensor, styles: Tensor, demodulation: Tensor) -> Tensor:
        return cuda.styled_conv(x=x, styles=styles, demodulation=demodulation, **fixed)

    inputs = [case[name].requires_grad_() for name in ("x", "styles", "demodulation")]
    assert torch.autograd.gradcheck(run, inputs, fast_mode=True)


@needs_triton
@pytest.mark.parametrize("image", [True, False])
@pytest.mark.parametrize(("channels", "clamp"), [(5, None), (70, 0.6)])
def test_colours(channels: int, clamp: float | None, image: bool) -> None:
    random = torch.Generator().manual_seed(channels)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random)

    case = [normal(2, channels, 6, 10), normal(3, channels, 1, 1), normal(2, channels), normal(3)]
    before = normal(2, 3, 3, 5) if image else None
    found = cuda.to_rgb(*case, before, clamp)
    exact = None if before is None else before.double()
    wanted = reference.to_rgb(*(each.double() for each in case), exact, clamp)
    assert distance(found, wanted) < 1e-5
    seen = cuda.to_rgb(case[0].half(), *case[1:], before, clamp)
    assert seen.dtype == torch.float32, "the picture is summed up in float32"
    assert 0 < distance(seen, wanted) < 2e-2, "weights times styles are up to ten times the largest colour"


COMPILED = """
import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from styleclip_cli.nets.ops import cuda, triton_kernels as kernels

kinds = {name: "*fp16" for name in ("x", "y", "z", "gradient", "of_x", "of_z")}
kinds |= {name: "*fp32" for name in ("styles", "demodulation", "bias", "noise", "sums", "weight", "image")}
kinds |= {name: "i32" for name in ("channels", "pixels", "height", "width")}
kinds |= {name: "fp32" for name in ("slope", "gain", "clamp")}
pixels, wide = cuda._block(32)
options = {"BP": pixels, "BC": wide, "ACC": tl.float32}
for name, flags in [
    ("scale", {}),
    ("finish", {"UP": True, "NOISE": True, "CLAMP": True}),
    ("finish", {"UP": False, "NOISE": False, "CLAMP": False, "noise": None}),
    ("before_activation", {"NOISE": True, "CLAMP": True}),
    ("before_low_pass", {}),
    ("before_styles", {}),
    ("to_rgb", {"IMAGE": True, "CLAMP": True}),
    ("to_rgb", {"IMAGE": False, "CLAMP": False, "image": None}),
]:
    kernel, constants = getattr(kernels, name), options | flags
    signature = {each: "constexpr" if each in constants else kinds[each] for each in kernel.arg_names}
    fixed = {(kernel.arg_names.index(each),): value for each, value in constants.items()}
    source = ASTSource(kernel, signature=signature, constexprs=fixed)
    assert triton.compile(source, target=GPUTarget("cuda", 90, 32)).asm["cubin"]
print("compiled")
"""


@pytest.mark.subprocess
@needs_triton
def test_kernels_compile_for_an_h100(tmp_path: Path) -> None:
    """The interpreter takes any Python; the compiler does not, and needs no GPU."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment["TRITON_CACHE_DIR"] = str(tmp_path)
    script = tmp_path / "script.py"
    script.write_text(COMPILED)
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, env=environment)
    assert done.stdout.strip() == "compiled", done.stderr


def test_cpus_are_left_alone() -> None:
    assert not cuda.usable(torch.ones(1, 2, 4, 4))


def test_without_triton_it_is_said_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "styleclip_cli")
    monkeypatch.setitem(sys.modules, "triton", None)
    monkeypatch.delitem(sys.modules, "styleclip_cli.nets.ops.triton_kernels", raising=False)
    monkeypatch.delattr("styleclip_cli.nets.ops.triton_kernels", raising=False)
    cuda._works.cache_clear()
    try:
        assert [cuda._works(torch.device("cpu")) for _ in range(2)] == [False, False]
    finally:
        cuda._works.cache_clear()
    assert sum("without fast kernels" in record.message for record in caplog.records) == 1


@needs_triton
def test_where_triton_works() -> None:
    cuda._works.cache_clear()
    assert cuda._works(torch.device("cpu")), "in its interpreter"


@pytest.fixture
def generator() -> Generator:
    return Generator.from_state_dict(generator_state()).requires_grad_(False)


def psnr(found: Tensor, wanted: Tensor) -> float:
    """Of pictures in [-1, 1], in dB."""
    return float(10 * torch.log10(4 / (found - wanted).square().mean()))


@pytest.mark.parametrize(("precision", "least"), [("fp16", 70.0), ("bf16", 55.0)])
def test_half_precision_of_a_trained_generator(precision: str, least: float) -> None:
    generator = Engine("toy", device="cpu").generator
    z = torch.randn(3, generator.config.z_dim, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        w_plus = generator.w_plus(z, truncation_psi=0.7)
        half = generator.with_precision(precision)(w_plus)
        full = generator(w_plus)
    assert half.dtype == torch.float32
    assert least < psnr(half, full) < 100
    assert generator.precision == "fp32"


def test_an_engine_renders_in_half_precision() -> None:
    engine = Engine("toy", device="cpu", precision="fp16")
    styles = engine.styles(engine.sample([1]))
    full = Engine("toy", device="cpu").synthesize(styles)
    assert 70 < psnr(engine.synthesize(styles), full) < 100


def test_half_precision_where_it_would_overflow(generator: Generator) -> None:
    """Styles and weights of any size cancel; float16 ends at 65504."""
    z = torch.randn(2, generator.config.z_dim, generator=torch.Generator().manual_seed(0))
    styles = [1e3 * each for each in generator.styles(generator.w_plus(z))]
    for name, weight in generator.named_parameters():
        if name.endswith("conv1.weight"):
            weight.mul_(1e3)
    for each, style in zip(generator.style_space.layers, styles, strict=True):
        if each.is_rgb:
            style.div_(1e3)  # nothing cancels the size of these
    full = generator.synthesize(styles)
    half = generator.with_precision("fp16").synthesize(styles)
    assert psnr(half / full.abs().max(), full / full.abs().max()) > 45


def test_normalised_weights_change_nothing() -> None:
    case = layer(SHAPES[1], True, torch.float64)
    names = ("weight", "styles", "demodulation")
    for name in names[1:]:
        case[name].requires_grad_()
    other = case | dict(zip(names, normalised(*(case[name] for name in names)), strict=True))
    assert float(other["styles"].detach().abs().max()) == 1
    inputs = [case[name] for name in names[1:]]
    before, after = reference.styled_conv(**case), reference.styled_conv(**other)
    assert distance(after, before) < 1e-12
    for one, two in zip(
        torch.autograd.grad(after.sum(), inputs), torch.autograd.grad(before.sum(), inputs), strict=True
    ):
        assert distance(one, two) < 1e-10


def test_a_precision_that_there_is_not(generator: Generator) -> None:
    with pytest.raises(ValueError, match="fp8"):
        generator.with_precision("fp8")


class Recorder:
    """Stands in for CUDA's capture: replays by rendering again into the picture that it gave."""

    def __init__(self) -> None:
        self.captures = 0

    def __call__(self, work):
        self.captures += 1
        picture = work()
        return lambda: picture.copy_(work())


def test_graphs_follow_styles_shapes_and_weights(generator: Generator) -> None:
    recorder = Recorder()
    graphs = Graphs(generator, recorder)
    z = torch.randn(4, generator.config.z_dim, generator=torch.Generator().manual_seed(0))
    styles = generator.style_space.concat(generator.styles(generator.w_plus(z)))

    def check(first: int, count: int = 1, stop_at: int | None = None) -> Tensor:
        some = styles[first : first + count]
        picture = graphs.render(some, "const", stop_at)
        split = generator.style_space.split(some)
        assert torch.allclose(picture, generator.synthesize(split, "const", stop_at), atol=1e-5)
        return picture

    with torch.inference_mode():
        check(0)
        assert recorder.captures == 0, "what is rendered once is not worth a graph"
        kept = check(1)
        before = kept.clone()
        check(2)
        assert torch.equal(kept, before), "pictures are not overwritten by later ones"
        assert recorder.captures == 1
        for _ in range(2):
            check(0, count=2)
            check(0, stop_at=16)
        assert recorder.captures == 3
        weight = "synthesis.b32.conv1.weight"
        change = torch.ones_like(dict(generator.named_parameters())[weight])
        with tuned(generator, {weight: change}):
            for first in range(3):
                check(first)
        for first in range(3):
            check(first)


def test_a_benchmark_says_what_is_wrong_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
    table = importlib.import_module("gpu").Table()
    table.add("right", "", lambda: 1.0, holds=lambda value: value < 2)
    table.add("slow", "s", lambda: 9.0, "<= 4")
    table.add("off", "", lambda: 3.0, holds=lambda value: value < 2)
    table.add("broken", "", lambda: 1 / 0, holds=lambda value: value < 2)
    table.add("no device", "s", lambda: 1 / 0)
    assert table.wrong == ["off", "broken"]
    assert [row["value"] for row in table.rows] == [1.0, 9.0, 3.0, None, None]
    assert "ZeroDivisionError" in table.rows[-1]["error"]


@pytest.mark.slow
@pytest.mark.subprocess(warm="torch")
@pytest.mark.timeout(240)
def test_the_benchmark_runs(tmp_path: Path) -> None:
    script = Path(__file__).parents[1] / "benchmarks" / "gpu.py"
    command = [sys.executable, str(script), "--device", "cpu", "--size", "toy", "--runs", "1"]
    done = subprocess.run([*command, "--json", str(tmp_path / "gpu.json")], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "gpu.json").read_text())
    rows = {row["name"]: row for row in found["rows"]}
    assert not [row for row in rows.values() if row.get("error")], done.stdout
    assert rows["fp16 against fp32"]["value"] > 45
    assert rows["edit latency"]["value"] > 0
