"""How entangled a toy generator's spaces are: `python benchmarks/disentanglement.py [PACK] [options]`.

Faces are drawn from random z, and the judge reads their attributes off the pictures. L1 regressions from Z, W
and S to each attribute then say which dimensions it hangs on (DCI, Eastwood and Williams 2018):

disentanglement  1 where each dimension serves one attribute; dimensions count as much as they weigh.
completeness     1 where each attribute hangs on one dimension.
linear fit       mean R2 on faces that were not learned from. To be read with the others: low disentanglement
                 beside a low fit is noise.

Attributes that can be read linearly from none of the three (R2 below 0.3 in each) are left out. The figures
are for comparing toy worlds: the StyleSpace paper's for FFHQ (disentanglement and completeness of Z 0.31
and 0.21, W 0.54 and 0.57, S 0.75 and 0.87) come from other attributes and another regression.

Options: --n FACES, of which three quarters are learned from; --seed SEED of z; --json FILE.
Needs scikit-learn, which nothing else here does: `pip install scikit-learn`.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import Lasso

from styleclip_cli.bench.timing import machine
from styleclip_cli.engine import Engine
from styleclip_cli.truth.judging import read_all
from styleclip_cli.truth.worlds import load_judge

PENALTY = 0.02
"""Of the L1 norm, for standardised dimensions and attributes."""
READABLE = 0.3
"""Least R2 of an attribute in the best of the spaces."""
AT_ONCE = 256
Numbers = NDArray[np.float64]


class Fitted(NamedTuple):
    """Regressions from one space to all attributes.

    Attributes:
        weights: How much each attribute hangs on each dimension, [dimensions, attributes].
        r2: Of each attribute, on faces that were not learned from.
    """

    weights: Numbers
    r2: Numbers


def drawn(engine: Engine, count: int, seed: int) -> tuple[dict[str, Numbers], Numbers]:
    """Faces in each space, and what the judge reads off their pictures, [faces, attributes]."""
    judge = load_judge(engine)
    size = engine.generator.config.z_dim
    with torch.inference_mode():
        z = torch.from_numpy(np.random.RandomState(seed).randn(count, size).astype(np.float32))
        w_plus = engine.generator.w_plus(z.to(engine.device), truncation_psi=1.0)
        styles = engine.styles(w_plus)
        pictures = (engine.synthesize(some).clamp(-1, 1) for some in styles.split(AT_ONCE))
        read = torch.cat([read_all(judge, some) for some in pictures])
    spaces = {"Z": z, "W": w_plus[:, 0], "S": styles}
    return {name: value.cpu().double().numpy() for name, value in spaces.items()}, read.numpy()


def standardised(values: Numbers) -> Numbers:
    """Dimensions that vary, with mean 0 and spread 1."""
    values = np.nan_to_num(values)
    values = values[:, values.std(axis=0) > 1e-4 * values.std(axis=0).max()]
    return np.asarray((values - values.mean(axis=0)) / values.std(axis=0))


def fitted(space: Numbers, attributes: Numbers) -> Fitted:
    """Learn each attribute from three quarters of the faces, and try it on the others."""
    last = len(space) * 3 // 4
    weights, r2 = [], []
    for values in attributes.T:
        fit = Lasso(alpha=PENALTY, max_iter=300).fit(space[:last], values[:last])
        left = values[last:] - fit.predict(space[last:])
        weights.append(np.abs(fit.coef_))
        r2.append(1 - left.var() / values[last:].var())
    return Fitted(np.stack(weights, axis=1), np.array(r2))


def evenness(shares: Numbers, axis: int) -> Numbers:
    """Entropy of shares along an axis: 0 where one has all, 1 where all have the same."""
    return np.asarray(-(shares * np.log(shares + 1e-12)).sum(axis=axis) / np.log(shares.shape[axis]))


def scores(fit: Fitted, kept: NDArray[np.bool_]) -> dict[str, Any]:
    """The columns of one space, over the attributes that count."""
    weights = fit.weights[:, kept]
    of_dimension, of_attribute = weights.sum(axis=1, keepdims=True), weights.sum(axis=0, keepdims=True)
    disentangled = 1 - evenness(weights / (of_dimension + 1e-12), axis=1)
    complete = 1 - evenness(weights / (of_attribute + 1e-12), axis=0)
    return {
        "disentanglement": float((of_dimension[:, 0] / weights.sum() * disentangled).sum()),
        "completeness": float(np.where(of_attribute[0] > 0, complete, 0.0).mean()),
        "fit": float(fit.r2[kept].mean()),
        "dimensions": len(weights),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("pack", nargs="?", default="toy")
    parser.add_argument("--n", type=int, default=6000)
    parser.add_argument("--seed", type=int, default=9)
    parser.add_argument("--json", type=Path)
    wanted = parser.parse_args()
    engine = Engine(wanted.pack)
    spaces, read = drawn(engine, wanted.n, wanted.seed)
    attributes = (read - read.mean(axis=0)) / read.std(axis=0)
    fits = {name: fitted(standardised(space), attributes) for name, space in spaces.items()}
    kept = np.max([fit.r2 for fit in fits.values()], axis=0) >= READABLE
    rows = []
    for name, fit in fits.items():
        row = {"space": name, **scores(fit, kept)}
        rows.append(row)
        print(
            f"{name}: disentanglement {row['disentanglement']:.2f}  completeness {row['completeness']:.2f}  "
            f"linear fit {row['fit']:.2f}  {row['dimensions']} dimensions, "
            f"{kept.sum()} of {len(kept)} attributes",
            flush=True,
        )
    if wanted.json is not None:
        report = {
            "machine": machine(engine.device),
            "pack": engine.pack.name,
            "n": wanted.n,
            "attributes": int(kept.sum()),
            "of": len(kept),
            "rows": rows,
        }
        wanted.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
