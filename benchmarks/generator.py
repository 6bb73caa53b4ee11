"""The generator at the published size against the published implementations and the machine's own limit.

    python benchmarks/generator.py [--json FILE] [--resolution 1024] [--batches 1,4] [--rounds 3]

Random weights, config-f (148.5 GFLOP a picture at 1024 pixels, without filters), float32 on the CPU. Each
variant runs in a process of its own, in turns, so that a busy machine is busy for all; given are medians of
all rounds after a warm-up, and peak memory.

- official: StyleCLIP's generator (rosinality's, its PyTorch path): weights scaled and demodulated for each
  sample and convolved in groups; filters by inserting zeros; noise, bias and leaky ReLU one after the other.
- nvlabs: the reference operators of stylegan2-ada-pytorch: the same, with filters as convolutions of each
  channel by itself.
- plain: ours without kernels: activations are scaled instead of weights, filters by rows and columns.
- kernels: ours.

The floor is the sum of all layers' convolutions alone, each the fastest that torch has for it here (NCHW,
channels last; for doublings also one matrix product of the same size), measured in the same run.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

VARIANTS = ("official", "nvlabs", "plain", "kernels")


def generator(resolution: int) -> Any:
    """The same random generator in every process."""
    import torch

    from styleclip_cli.bench.stages import published_size

    torch.manual_seed(0)
    return published_size(torch.device("cpu"), resolution)


def scaled(weight: Any, styles: Any, demodulate: bool) -> Any:
    """Weights [N, O, I, k, k], as the published implementations make them for each sample."""
    import torch

    weights = weight[None] * styles[:, None, :, None, None]
    if demodulate:
        weights = weights * torch.rsqrt(weights.square().sum(dim=(2, 3, 4), keepdim=True) + 1e-8)
    return weights


def in_groups(x: Any, weights: Any, up: bool) -> Any:
    """One convolution with a group for each sample."""
    import torch.nn.functional as F

    n, outputs, inputs, size, _ = weights.shape
    x = x.contiguous().view(1, n * inputs, *x.shape[2:])
    if up:
        weights = weights.transpose(1, 2).reshape(n * inputs, outputs, size, size)
        x = F.conv_transpose2d(x, weights, stride=2, groups=n)
    else:
        x = F.conv2d(x, weights.flatten(0, 1), padding=size // 2, groups=n)
    return x.view(n, outputs, *x.shape[2:])


def filtered(x: Any, up: int, before: int, after: int, gain: float, by_channel: bool) -> Any:
    """The low-pass filter after zeros are put between pixels and around them."""
    import torch
    import torch.nn.functional as F

    from styleclip_cli.nets.ops.reference import FILTER

    n, depth, height, width = x.shape
    taps = x.new_tensor(FILTER)
    kernel = torch.outer(taps, taps) / taps.sum() ** 2 * gain
    x = x.reshape(n, depth, height, 1, width, 1)
    x = F.pad(x, (0, up - 1, 0, 0, 0, up - 1)).reshape(n, depth, height * up, width * up)
    x = F.pad(x, (before, after, before, after))
    if by_channel:
        return F.conv2d(x, kernel.expand(depth, 1, 4, 4), groups=depth)
    return F.conv2d(x.reshape(n * depth, 1, *x.shape[2:]), kernel[None, None]).view(
        n, depth, -1, x.shape[3] - 3
    )


def published(by_channel: bool) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """A styled convolution and a toRGB layer as published."""
    import torch.nn.functional as F

    from styleclip_cli.nets.ops.reference import GAIN

    def styled_conv(
        x: Any, weight: Any, styles: Any, _: Any, bias: Any, noise: Any, up: bool, clamp: Any = None
    ) -> Any:
        x = in_groups(x, scaled(weight, styles, demodulate=True), up)
        if up:
            x = filtered(x, 1, 1, 1, 4.0, by_channel)
        if noise is not None:
            x = x + noise
        return F.leaky_relu(x + bias[:, None, None], 0.2) * GAIN

    def to_rgb(x: Any, weight: Any, styles: Any, bias: Any, image: Any, clamp: Any = None) -> Any:
        colour = in_groups(x, scaled(weight, styles, demodulate=False), up=False) + bias[:, None, None]
        return colour if image is None else filtered(image, 2, 2, 1, 4.0, by_channel) + colour

    return styled_conv, to_rgb


def choose(variant: str) -> None:
    """Let generators use a variant's operations."""
    from styleclip_cli.machine.memory import disable_malloc_trim
    from styleclip_cli.nets import ops
    from styleclip_cli.nets.ops import reference

    if variant == "kernels":
        disable_malloc_trim()
    elif variant == "plain":
        disable_malloc_trim()
        ops.styled_conv, ops.to_rgb = reference.styled_conv, reference.to_rgb
    else:
        ops.styled_conv, ops.to_rgb = published(by_channel=variant == "nvlabs")


def one(variant: str, resolution: int, batch: int) -> dict[str, Any]:
    """Seconds and peak memory of a variant."""
    import torch

    net = generator(resolution)
    choose(variant)
    w_plus = torch.randn(batch, net.style_space.num_ws, 512)
    with torch.inference_mode():
        net(w_plus)
        seconds = []
        for _ in range(2):
            began = time.perf_counter()
            net(w_plus)
            seconds.append(time.perf_counter() - began)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    return {"seconds": seconds, "peak_mb": peak}


def differences(resolution: int) -> dict[str, float]:
    """Largest difference of each variant's pictures to the official way's, in parts of the largest value."""
    import torch

    net = generator(resolution)
    w_plus = torch.randn(2, net.style_space.num_ws, 512)
    pictures = {}
    from styleclip_cli.nets import ops

    usual = ops.styled_conv, ops.to_rgb
    with torch.inference_mode():
        for variant in VARIANTS:
            ops.styled_conv, ops.to_rgb = usual
            choose(variant)
            pictures[variant] = net(w_plus)
    ops.styled_conv, ops.to_rgb = usual
    official = pictures["official"]
    return {name: float((p - official).abs().max() / official.abs().max()) for name, p in pictures.items()}


def floor(resolution: int, batch: int) -> tuple[float, float]:
    """Seconds a picture of all layers' convolutions alone, and their GFLOP a picture."""
    import torch
    import torch.nn.functional as F

    from styleclip_cli.bench.timing import median_seconds
    from styleclip_cli.machine.memory import disable_malloc_trim

    disable_malloc_trim()
    table = generator(resolution).config.channels
    total = work = 0.0
    with torch.inference_mode():
        for side, outputs in table.items():
            for up in (True, False):
                if up and side == 4:
                    continue
                inputs, grid = (table[side // 2], side // 2) if up else (outputs, side)
                weight = torch.randn(outputs, inputs, 3, 3)
                x = torch.randn(batch, inputs, grid, grid)
                if up:
                    weight = weight.transpose(0, 1).contiguous()
                ways: list[Callable[[], Any]] = []
                for layout in (torch.contiguous_format, torch.channels_last):
                    a, b = x.contiguous(memory_format=layout), weight.contiguous(memory_format=layout)
                    if up:
                        ways.append(lambda a=a, b=b: F.conv_transpose2d(a, b, stride=2))
                    else:
                        ways.append(lambda a=a, b=b: F.conv2d(a, b, padding=1))
                if up:
                    rows = x.permute(0, 2, 3, 1).reshape(-1, inputs).contiguous()
                    columns = weight.reshape(inputs, -1)
                    ways.append(lambda a=rows, b=columns: a @ b)
                total += min(median_seconds(way) for way in ways)
                work += 2 * 9 * inputs * outputs * grid * grid / 1e9
            work += 2 * 3 * outputs * side * side / 1e9
    return total / batch, work


def task(name: str, resolution: int, batch: int) -> Any:
    """What a process of its own does; this one stays small, as children begin with its peak memory."""
    if name == "machine":
        from styleclip_cli.bench.timing import machine, peaks

        return {"machine": machine(), "peaks": peaks()}
    if name == "differences":
        return differences(min(resolution, 256))
    if name == "floor":
        return floor(resolution, batch)
    return one(name, resolution, batch)


def ask(name: str, resolution: int, batch: int = 1) -> Any:
    """Do a task in a process of its own."""
    command = [sys.executable, __file__, "--resolution", str(resolution), "--task", name, str(batch)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Run all variants in turns and print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", type=Path)
    parser.add_argument("--resolution", type=int, default=1024)
    parser.add_argument("--batches", default="1,4")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--task", nargs=2)
    arguments = parser.parse_args()
    size = arguments.resolution
    if arguments.task:
        print(json.dumps(task(arguments.task[0], size, int(arguments.task[1]))))
        return
    content = ask("machine", size)
    print(json.dumps(content["machine"]))
    print("  ".join(f"{name} {value:.0f} GFLOP/s" for name, value in content["peaks"].items()))
    found = ask("differences", size)
    rows = []
    for batch in map(int, arguments.batches.split(",")):
        seconds: dict[str, list[float]] = {variant: [] for variant in VARIANTS}
        memory = dict.fromkeys(VARIANTS, 0.0)
        floors = []
        for _ in range(arguments.rounds):
            least, work = ask("floor", size, batch)
            floors.append(least)
            for variant in VARIANTS:
                said = ask(variant, size, batch)
                seconds[variant] += [value / batch for value in said["seconds"]]
                memory[variant] = max(memory[variant], said["peak_mb"])
        least = statistics.median(floors)
        official = statistics.median(seconds["official"])
        print(f"\n{size} pixels, batch {batch}: floor {least:.2f} s a picture ({work / least:.0f} GFLOP/s)")
        for variant in VARIANTS:
            value = statistics.median(seconds[variant])
            row = {
                "resolution": size,
                "batch": batch,
                "variant": variant,
                "seconds": value,
                "gflops": work / value,
                "faster": official / value,
                "floor": least,
                "of_floor": value / least,
                "peak_mb": memory[variant],
                "difference": found[variant],
            }
            rows.append(row)
            print(
                f"{variant:10s} {value:6.2f} s a picture  {row['gflops']:5.0f} GFLOP/s  "
                f"{row['faster']:5.2f}x  {row['of_floor']:5.2f} of the floor  "
                f"{memory[variant]:6.0f} MB  difference {found[variant]:.1e}",
                flush=True,
            )
    if arguments.json:
        text = json.dumps({**content, "rows": rows}, indent=2)
        arguments.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
