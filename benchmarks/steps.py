"""A step of optimization and of mapper training, ours and as officially built: `python benchmarks/steps.py`.

The same networks, the same picture of a step: render, CLIP, identity, backward, Adam. Officially the
generator is that of generator.py's "official", all networks' weights keep requires_grad, so that every
backward fills and adds up their gradients, and the text is encoded anew in each step; here the networks are
frozen and the text is encoded once. Runs on the toy pack, and at the published sizes with random weights
(1024 pixels, ViT-B/32, IR-SE50; 12 GB of memory). Each variant runs in a process of its own, alternating with
the other one; given are medians of the steps and peak memory.

    python benchmarks/steps.py [--json FILE] [--sizes toy,full] [--rounds 3]
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from generator import choose

JOBS = ("optimize", "mapper")
VARIANTS = ("official", "ours")
STEPS = {"toy": 12, "full": 2}


def networks(size: str) -> tuple[Any, Any, Any]:
    """Generator, CLIP and identity network."""
    import torch

    torch.manual_seed(0)
    if size == "toy":
        from styleclip_cli import Engine
        from styleclip_cli.machine.memory import disable_malloc_trim

        disable_malloc_trim()  # as the commands do
        engine = Engine("toy", device="cpu")
        return engine.generator, engine.networks.clip, engine.networks.identity
    from styleclip_cli.bench.stages import published_size
    from styleclip_cli.nets.clip import VOCABULARY, Clip, clip_model_class
    from styleclip_cli.nets.irse import ArcFace, stages

    generator = published_size(torch.device("cpu"))
    model = clip_model_class()(512, 224, 12, 768, 32, 77, VOCABULARY, 512, 8, 12).eval().float()
    clip = Clip(model, 224, 512).requires_grad_(False)
    identity = ArcFace(stages((64, 128, 256, 512), (3, 4, 14, 3)), 512, 112).eval().requires_grad_(False)
    return generator, clip, identity


def optimize(size: str, ours: bool) -> Callable[[], None]:
    """One step of latent optimization, one face."""
    import torch

    from styleclip_cli.edits.losses import IdentityLoss, TextLoss

    generator, clip, identity = networks(size)
    for network in (generator, clip, identity):
        network.requires_grad_(not ours)
    w_plus = generator.w_plus(torch.randn(1, generator.config.z_dim)).detach()
    latent = w_plus.clone().requires_grad_(True)
    optimizer = torch.optim.Adam([latent], lr=0.1)
    who = IdentityLoss(identity)
    person = who.person(generator(w_plus).detach())

    def text() -> TextLoss:
        return TextLoss(clip, "a person with purple hair", "", "text", "styleclip")

    once = text()

    def step() -> None:
        pictures = generator(latent)
        seen = once if ours else text_again(clip, text)
        loss = seen(pictures).sum() + 0.005 * who(pictures, person).sum()
        loss = loss + 0.008 * (latent - w_plus).square().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def text_again(clip: Any, text: Callable[[], Any]) -> Any:
    """The text loss with its text encoded in this step, with gradients for the text tower's weights."""
    made = text()
    made._text = clip.encode_text(["a person with purple hair"])[0] * clip.model.logit_scale.exp() / 100
    return made


def mapper(size: str, ours: bool) -> Callable[[], None]:
    """One step of mapper training, two faces."""
    import torch

    from styleclip_cli.edits.losses import IdentityLoss, TextLoss
    from styleclip_cli.nets.mapper import LatentMapper

    generator, clip, identity = networks(size)
    for network in (generator, clip, identity):
        network.requires_grad_(not ours)
    net = LatentMapper.new(
        "levels", generator.style_space, generator.config.w_dim, norm="layers", quiet=False
    )
    optimizer = torch.optim.Adam(net.parameters(), lr=0.5)
    who = IdentityLoss(identity)

    def text() -> TextLoss:
        return TextLoss(clip, "a person with purple hair", "", "text", "styleclip")

    once = text()

    def step() -> None:
        with torch.no_grad():
            w_plus = generator.w_plus(torch.randn(2, generator.config.z_dim))
            person = who.person(generator(w_plus))
        offset = 0.1 * net(w_plus)
        pictures = generator(w_plus + offset)
        seen = once if ours else text_again(clip, text)
        loss = seen(pictures).mean() + 0.1 * who(pictures, person).mean() + 0.8 * offset.square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def one(job: str, size: str, variant: str) -> None:
    """Run a variant and print its steps' seconds and its peak memory."""
    import resource

    choose("official" if variant == "official" else "kernels")
    step = (optimize if job == "optimize" else mapper)(size, variant == "ours")
    step()
    seconds = []
    for _ in range(STEPS[size]):
        began = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - began)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    print(json.dumps({"seconds": seconds, "peak_mb": peak}))


def main() -> None:
    """Run all variants in turns and print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--json")
    parser.add_argument("--sizes", default="toy,full")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", nargs=3)
    arguments = parser.parse_args()
    if arguments.one:
        one(*arguments.one)
        return
    said = subprocess.run(
        [
            sys.executable,
            "-c",
            "import json; from styleclip_cli.bench.timing import machine as m; print(json.dumps(m()))",
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    print(said.strip())
    rows = []
    for size in arguments.sizes.split(","):
        for job in JOBS:
            seconds: dict[str, list[float]] = {variant: [] for variant in VARIANTS}
            peaks = dict.fromkeys(VARIANTS, 0.0)
            for _ in range(arguments.rounds if size == "toy" else 1):
                for variant in VARIANTS:
                    command = [sys.executable, __file__, "--one", job, size, variant]
                    done = subprocess.run(command, capture_output=True, text=True, check=True)
                    found = json.loads(done.stdout.splitlines()[-1])
                    seconds[variant] += found["seconds"]
                    peaks[variant] = max(peaks[variant], found["peak_mb"])
            old, new = (statistics.median(seconds[variant]) for variant in VARIANTS)
            row = {
                "size": size,
                "job": job,
                "official_s": old,
                "ours_s": new,
                "ratio": old / new,
                "official_mb": peaks["official"],
                "ours_mb": peaks["ours"],
            }
            rows.append(row)
            print(
                f"{size:5s} {job:9s} official {old * 1e3:8.1f} ms {peaks['official']:7.0f} MB   "
                f"ours {new * 1e3:8.1f} ms {peaks['ours']:7.0f} MB   {old / new:.2f}x",
                flush=True,
            )
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as file:  # noqa: PTH123
            json.dump({"machine": json.loads(said), "rows": rows}, file, indent=2)


if __name__ == "__main__":
    main()
