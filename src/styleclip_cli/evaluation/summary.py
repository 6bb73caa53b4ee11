"""Numbers of edits -> rows: means at the default strength, at an equal target, and along the strength."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from styleclip_cli.evaluation.run import DEFAULT, INVERSION, MEASURES, Measured, Values

TARGET = 0.1
"""Progress that edits are compared at, unless another is given."""
CAVEAT = (
    "These measures follow people's ratings only loosely; directional similarity favours any change. "
    "Look at the images, too."
)
_UNCHANGED = {"identity": 1.0, "identity_2": 1.0, "ssim": 1.0, "ssim_outside": 1.0}
"""What measures are at strength 0, unless 0."""
_ALONG = ("progress", "identity", "identity_2", "lpips", "mse", "ssim", "mse_outside", "ssim_outside")
AT_TARGET = ("identity", "identity_2", "lpips", "ssim_outside")
_PROGRESS = MEASURES.index("progress")
Row = dict[str, Any]


def rows_of(measured: Measured, target: float = TARGET) -> tuple[list[Row], Row]:
    """Rows of a table.

    A row has the means over faces at the default strength (`run.MEASURES`, and `psnr` and `psnr_outside`,
    means of decibels), `seconds`, `n`; `reached`, the share of faces whose progress reaches the target at any
    strength, and of these the mean `strength` (in parts of the default) and measures `at_target`; and the
    `curve`: means over all faces at each strength. What was not measured is None.

    Args:
        measured: All numbers.
        target: Progress to compare at.

    Returns:
        One for each sentence, and their mean.
    """
    rows = []
    for number, sentence in enumerate(measured.sentences):
        values = measured.values[number]
        usual = values[:, DEFAULT]
        row: Row = {"prompt": sentence.prompt, "neutral": sentence.neutral}
        row |= _means(MEASURES, usual)
        for name in ("mse", "mse_outside"):
            row[name.replace("mse", "psnr")] = _mean(decibels(usual[:, MEASURES.index(name)]))
        row["seconds"] = _mean(measured.seconds[number])
        row["n"] = int((~np.isnan(usual[:, _PROGRESS])).sum())
        row |= _equal(measured, values, target)
        row["curve"] = [
            {"alpha": alpha, **{name: _mean(values[:, k, MEASURES.index(name)]) for name in _ALONG}}
            for k, alpha in enumerate(measured.alphas)
        ]
        rows.append(row)
    return rows, _mean_row(rows)


def inversion_row(measured: Measured) -> Row | None:
    """Means of the inversions over faces; None if there were none."""
    if measured.inversion is None:
        return None
    known = ~np.isnan(measured.inversion[:, INVERSION.index("mse")])
    return {**_means(INVERSION, measured.inversion), "n": int(known.sum())} if known.any() else None


def at_target(progress: Sequence[float], values: Values, alphas: Sequence[float], target: float) -> Values:
    """Where a face's progress first reaches a target, linearly between strengths.

    Strength 0 has no progress. Measures are interpolated likewise, so they are approximate.

    Args:
        progress: At each strength, ascending.
        values: Measures at each strength, [strengths, M].
        alphas: The strengths.
        target: Above 0.

    Returns:
        The strength, then the measures, [1 + M]; not a number where the target is never reached.
    """
    before, low = _start(values.shape[1]), 0.0
    for k, high in enumerate(progress):
        here = np.concatenate([[alphas[k]], values[k]])
        if high >= target:
            share = (target - low) / (high - low)
            return before + share * (here - before)
        before, low = here, high
    return np.full(1 + values.shape[1], np.nan)


def decibels(mse: Values) -> Values:
    """PSNR of mean squared differences of images in [0, 1]; at most 100 dB."""
    return -10 * np.log10(np.maximum(mse, 1e-10))


def _start(count: int) -> Values:
    """Strength and measures of a face that is not edited."""
    assert count == len(MEASURES)
    return np.array([0.0, *(_UNCHANGED.get(name, 0.0) for name in MEASURES)])


def _equal(measured: Measured, values: Values, target: float) -> Row:
    """What edits cost where all make the same progress."""
    known = values[~np.isnan(values[:, DEFAULT, _PROGRESS])]
    found = [at_target(one[:, _PROGRESS].tolist(), one, measured.alphas, target) for one in known]
    reached = np.array(found).reshape(-1, 1 + len(MEASURES))
    reached = reached[~np.isnan(reached[:, 0])]
    columns = {name: _mean(reached[:, 1 + MEASURES.index(name)]) for name in AT_TARGET}
    default = measured.alphas[DEFAULT]
    return {
        "reached": len(reached) / len(known) if len(known) else None,
        "strength": _mean(reached[:, 0] / default),
        "at_target": columns,
    }


def _mean_row(rows: Sequence[Row]) -> Row:
    """Means over sentences, each of which counts the same."""
    names = [name for name in rows[0] if name not in ("prompt", "neutral", "at_target", "curve")]
    mean: Row = {"prompt": "mean", "neutral": ""}
    mean |= {name: _mean(row[name] for row in rows) for name in names}
    mean["n"] = sum(row["n"] for row in rows)
    mean["at_target"] = {name: _mean(row["at_target"][name] for row in rows) for name in AT_TARGET}
    curves = [row["curve"] for row in rows]
    mean["curve"] = [
        {name: _mean(curve[k][name] for curve in curves) for name in ("alpha", *_ALONG)}
        for k in range(len(curves[0]))
    ]
    return mean


def _means(names: Sequence[str], values: Values) -> Row:
    return {name: _mean(values[:, k]) for k, name in enumerate(names)}


def _mean(values: Iterable[float | None]) -> float | None:
    """Mean of what is known; None if nothing is."""
    known = [float(value) for value in values if value is not None and not math.isnan(value)]
    return sum(known) / len(known) if known else None


def curves(rows: Sequence[Row], measure: str) -> Mapping[str, list[tuple[float, float]]]:
    """What is lost against the progress that is made, with both 0 at strength 0.

    Args:
        rows: Of `rows_of`.
        measure: identity, identity_2, ssim, ssim_outside (1 minus it is lost), or lpips.

    Returns:
        Points (progress, loss) by sentence; without sentences that were not measured.
    """
    whole = _UNCHANGED.get(measure, 0.0)
    found = {}
    for row in rows:
        points = [(p["progress"], abs(whole - p[measure])) for p in row["curve"] if p[measure] is not None]
        if points:
            found[row["prompt"]] = [(0.0, 0.0), *points]
    return found
