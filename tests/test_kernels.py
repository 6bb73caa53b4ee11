"""Kernels for CPUs: the same numbers and gradients as plain PyTorch, and life without them."""

import logging
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch import Tensor

from networks import generator_state, layer
from styleclip_cli.cli import main
from styleclip_cli.inversion.pivotal import tuned
from styleclip_cli.nets import ops
from styleclip_cli.nets.ops import building, cpu, reference
from styleclip_cli.nets.stylegan2 import Generator

pytestmark = pytest.mark.skipif(building.library() is None, reason="no C++ compiler here")

# Pictures, inputs, outputs, height, width, largest result: less and more than vectors and tiles hold.
SHAPES = [
    (1, 5, 7, 8, 8, None),
    (2, 16, 32, 9, 13, 0.7),
    (3, 33, 17, 10, 8, None),
    (1, 40, 40, 31, 30, 1.5),
    (2, 300, 240, 8, 9, None),  # these weights are shared by all threads
]


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("up", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_same_numbers(shape: tuple, up: bool, threads: int) -> None:
    case = layer(shape, up, torch.float32)
    wanted = reference.styled_conv(**layer(shape, up, torch.float64))
    torch.set_num_threads(threads)
    assert cpu.usable(case["x"], case["weight"], up)
    found = ops.styled_conv(**case)
    assert found.shape == wanted.shape
    assert float((found - wanted).abs().max() / wanted.abs().max()) < 1e-5
    assert not torch.equal(found, reference.styled_conv(**case)), "the kernel was not used"
    assert torch.equal(found, ops.styled_conv(**case | {"x": case["x"].contiguous()})), "layout"


@pytest.mark.parametrize("up", [False, True])
def test_without_noise(up: bool) -> None:
    case = layer(SHAPES[1], up, torch.float64, noise=False)
    assert torch.allclose(ops.styled_conv(**case), reference.styled_conv(**case), rtol=0, atol=1e-12)


@pytest.mark.parametrize("up", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_same_gradients(shape: tuple, up: bool) -> None:
    case = layer(shape, up, torch.float64)
    wanted_of = [case[name].requires_grad_() for name in ("x", "styles", "demodulation")]
    found, wanted = ops.styled_conv(**case), reference.styled_conv(**case)
    weights = torch.randn(found.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for one, other in zip(
        torch.autograd.grad(found, wanted_of, weights),
        torch.autograd.grad(wanted, wanted_of, weights),
        strict=True,
    ):
        assert float((one - other).abs().max() / other.abs().max()) < 1e-12


@pytest.mark.parametrize("up", [False, True])
def test_gradients_by_differences(up: bool) -> None:
    case = layer((1, 3, 4, 8, 8, None), up, torch.float64)
    fixed = {name: value for name, value in case.items() if name not in ("x", "styles", "demodulation")}

    def run(x: Tensor, styles: Tensor, demodulation: Tensor) -> Tensor:
        return ops.styled_conv(x=x, styles=styles, demodulation=demodulation, **fixed)

    inputs = [case[name].requires_grad_() for name in ("x", "styles", "demodulation")]
    assert torch.autograd.gradcheck(run, inputs)


def test_gradients_of_weights_are_left_to_pytorch() -> None:
    case = layer(SHAPES[1], False, torch.float32)
    case["weight"].requires_grad_()
    ops.styled_conv(**case).sum().backward()
    assert float(case["weight"].grad.abs().max()) > 0
    with torch.no_grad():
        assert cpu.usable(case["x"], case["weight"], False)


def test_autocast_is_left_to_pytorch() -> None:
    case = layer(SHAPES[1], False, torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        assert not cpu.usable(case["x"], case["weight"], False)
        styles = case["styles"].bfloat16()
        assert bool(ops.styled_conv(**case | {"styles": styles}).isfinite().all())
        weight = torch.randn(2, 3, 16).bfloat16()
        assert cpu.colours(case["x"], weight).dtype == torch.bfloat16


@pytest.fixture
def generator() -> Generator:
    return Generator.from_state_dict(generator_state()).requires_grad_(False)


def test_a_whole_generator(generator: Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    """In place changes of weights count, and so do those that tuning swaps in."""
    w_plus = torch.randn(2, generator.style_space.num_ws, generator.config.w_dim)

    def pictures() -> tuple[Tensor, Tensor]:
        fast = generator(w_plus)
        with monkeypatch.context() as patch:
            patch.setenv("STYLECLIP_NO_KERNELS", "1")
            return fast, generator(w_plus)

    def close() -> Tensor:
        fast, plain = pictures()
        assert not torch.equal(fast, plain)
        assert float((fast - plain).abs().max() / plain.abs().max()) < 1e-5
        return fast

    before = close()
    name = "synthesis.b32.conv1.weight"
    weight = dict(generator.named_parameters())[name]
    with tuned(generator, {name: torch.ones_like(weight)}):
        assert float((close() - before).abs().max()) > 1e-3
    assert torch.equal(close(), before)
    weight.mul_(2).add_(0.1)
    assert float((close() - before).abs().max()) > 1e-3


def test_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    case = layer(SHAPES[1], False, torch.float32)
    monkeypatch.setenv("STYLECLIP_NO_KERNELS", "1")
    assert torch.equal(ops.styled_conv(**case), reference.styled_conv(**case))
    monkeypatch.setenv("STYLECLIP_NO_KERNELS", "0")
    assert building.library() is not None


def test_the_option(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STYLECLIP_NO_KERNELS", "")  # put back afterwards
    for number, options in enumerate(([], ["--no-kernels"])):
        assert main(["sample", "--seed", "1", "--models", "toy", "-q", "--out", str(number), *options]) == 0
        assert building.switched_off() == bool(options)


def test_a_failed_build_says_so_once(
    nothing_built: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    compiler = tmp_path / "c++"
    compiler.write_text('#!/bin/sh\ntest "$1" = --version && echo a compiler && exit\necho no >&2\nexit 1\n')
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    caplog.set_level(logging.WARNING, "styleclip_cli")
    environment = dict(os.environ)
    case = layer(SHAPES[1], False, torch.float32)
    assert torch.equal(ops.styled_conv(**case), reference.styled_conv(**case))
    assert sum("without fast kernels" in record.message for record in caplog.records) == 1
    assert dict(os.environ) == environment
    caplog.clear()
    building._built.cache_clear()  # as in the next process
    assert building.library() is None
    assert not caplog.records
    (failure,) = nothing_built.glob("*.failed")
    old = time.time() - 2 * 86_400
    os.utime(failure, (old, old))
    building._built.cache_clear()
    assert building.library() is None
    assert any("without fast kernels" in record.message for record in caplog.records)


def test_no_compiler(
    nothing_built: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", "")
    caplog.set_level(logging.WARNING, "styleclip_cli")
    assert building.library() is None
    assert "no C++ compiler is installed" in caplog.text


BUILD = """
from styleclip_cli.nets.ops import building, compiling
compiling.FLAGS = [flag for flag in compiling.FLAGS if flag != "-O3"]  # which takes longer
assert building.library() is not None
"""


@pytest.mark.slow
@pytest.mark.subprocess(warm="torch")
@pytest.mark.parametrize(("mode", "bytes_"), [(0o722, None), (0o700, b"not to be loaded")])
def test_a_library_that_others_may_write_or_have_damaged_is_built_again(
    nothing_built: Path, mode: int, bytes_: bytes | None
) -> None:
    subprocess.run([sys.executable, "-c", BUILD], check=True)
    (path,) = nothing_built.glob("*.so")
    assert path.stat().st_mode & 0o777 == 0o700
    before = path.read_bytes()
    path.write_bytes(before if bytes_ is None else bytes_)
    path.chmod(mode)
    subprocess.run([sys.executable, "-c", BUILD], check=True)
    assert path.read_bytes().startswith(b"\x7fELF")
    assert path.stat().st_mode & 0o777 == 0o700


@pytest.mark.slow
@pytest.mark.subprocess(warm="torch")
def test_processes_that_build_at_once(nothing_built: Path) -> None:
    running = [subprocess.Popen([sys.executable, "-c", BUILD], stderr=subprocess.PIPE) for _ in range(3)]
    said = [process.communicate()[1].decode() for process in running]
    assert [process.returncode for process in running] == [0, 0, 0], said
    assert sum("building kernels for this machine" in text for text in said) == 1
    assert {path.suffix for path in nothing_built.iterdir()} == {".lock", ".sha256", ".so"}


@pytest.mark.parametrize("channels", [5, 32, 300])
def test_colours(channels: int) -> None:
    random = torch.Generator().manual_seed(channels)
    x = torch.randn(2, channels, 17, 19, generator=random, dtype=torch.float64).requires_grad_()
    weight = torch.randn(2, 3, channels, generator=random, dtype=torch.float64).requires_grad_()
    with torch.no_grad():
        found = cpu.colours(x.float(), weight.float())
        wanted = reference.colours(x, weight)
        assert float((found - wanted).abs().max() / wanted.abs().max()) < 1e-6
    assert torch.autograd.gradcheck(cpu.colours, (x[:, :, :3, :4].detach().requires_grad_(), weight))
    slope = torch.randn(2, 3, 17, 19, generator=random, dtype=torch.float64)
    for one, other in zip(
        torch.autograd.grad(cpu.colours(x, weight), (x, weight), slope),
        torch.autograd.grad(reference.colours(x, weight), (x, weight), slope),
        strict=True,
    ):
        assert torch.allclose(one, other, rtol=0, atol=1e-10)
