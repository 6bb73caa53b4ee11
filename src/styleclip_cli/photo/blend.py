"""The adaptive composite: keeps the photo's structure where an edit keeps it.

The generator's images B before and A after an edit are softer than the photo P and slightly misaligned.
Adding A - B to P is right where the edit keeps a structure. Where a structure disappears or moves, it leaves
a ghost, as P's own, sharper copy stays. So, in coordinates of the crop:

1. Register. A smooth displacement warps B, and A with it, to the features of P (demons: Thirion 1998, "Image
   matching as a diffusion process"); not where A only adds thin structure (glasses).
2. Weigh. For the fine structure of two images (an image minus its blur), compute the share that a local
   linear map of the other's colours explains. Structure of B that A does not explain disappears; structures
   that explain each other are at most recoloured. k is near 1 where much changes or structure disappears,
   unless it is only recoloured. It is extended to nearby regions of the same colours in P, such as hair that
   is wider in P than in B. Thin structure that only appears (rims of glasses) replaces nothing; thick
   structure (teeth) replaces everything below it.
3. Fill. L gives the photo's light where its own structure is replaced: the mean of P - B over the rest of the
   crop, weighted by proximity in position and in A's colours, so that skin takes its light from skin, the
   background from the background, and new things keep their own.
4. Recolour. P - B is the photo's own structure. Brown strands should become blond with the hair, and the
   sharp outline of brown hair that of blond hair: M, the local linear map of colours that best maps B to A,
   is applied to it. Where nothing changes, M is the identity.
5. Compose. A + L + (1 - k') M (P - B - L) - (k - k') blur(P - B - L), where k' is k except for structure of P
   that A explains as well. Parts taken from A are sharpened to the photo's sharpness and given its grain.

First, changes along the crop's border are removed from A where the same colours change by the same amount
inside, so that an edit that changes the background leaves no edge.

Images are in [-1, 1]; lengths are in sides of the crop.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from styleclip_cli.photo.filters import blur, border_distance, dilate, pixel_grid, ramp, resize, warp, window

# Every constant was chosen on drawn scenes of the seeds from 73,000,000 on (benchmarks/paste_back.py).
BORDER = 0.06
"""Width of the band along the crop's border where an edit should change nothing."""
SPILLED = 0.05
"""Mean |A - B| over that band above which an edit has spilled: 6 of 255."""

_SIDE, _COARSE = 128, 64
"""Sides at which masks are made and structure is compared."""
_KEYS = 16
"""Cells a side between which colours are carried over (`_fill`)."""
_GRAIN = 128
"""Places a side where the photo's grain is measured."""
_STEPS, _ELASTICITY, _FARTHEST = 8, 3.0, 0.05
"""Registration: steps at 16, 32 and 64 pixels a side, blur of the displacement, its largest length."""
_FINE, _SHARP = 2.5 / 128, 1.5 / 128
"""Blur that fine structure is measured against: where images are compared, and for sharpness."""
_WINDOW, _RIDGE = 2.5 / 128, 0.01
"""Windows in which a map of colours is found, and the variance of colours that counts as none."""
_FAINT = 0.08
"""Root of the energy of fine structure below which it says nothing."""


class Composite(NamedTuple):
    """What an edit does to a crop p: p + mask (difference + gone (base - p)), and grain.

    Attributes:
        difference: [1, 3, R, R].
        base: What takes the place of the photo's own structure, [1, 3, R, R].
        mask: [1, 1, M, M] in [0, 1]; 0 along the border.
        gone: What of the photo's own goes: a share in [0, 1], [1, 1, M, M], or a matrix of colours in each
            place, [1, 9, M, M] row by row.
        grain: Standard deviation of the grain that is added, [1, 1, M, M] in 255ths.
    """

    difference: Tensor
    base: Tensor
    mask: Tensor
    gone: Tensor
    grain: Tensor


def spill(before: Tensor, after: Tensor) -> float:
    """How much an edit changes along the crop's border; above `SPILLED` it changes the background.

    Args:
        before: What the generator draws of the face unchanged, [3, R, R] in [-1, 1].
        after: What it draws of the edited face.

    Returns:
        Mean of |after - before|, of the channel that changes most.
    """
    change = resize((after - before)[None].detach().cpu().float(), _COARSE).abs().amax(dim=1)[0]
    return float(change[border_distance(_COARSE) < BORDER].mean())


def adaptive(photo: Image.Image, quad: NDArray[np.float64], before: Tensor, after: Tensor) -> Composite:
    """Compute the adaptive composite of a crop (see the module).

    Args:
        photo: Mode RGB.
        quad: Corners [4, 2] of the crop in the photo, in pixels (see `align`).
        before: What the generator draws of the face unchanged, [3, R, R] in [-1, 1].
        after: What it draws of the edited face.

    Returns:
        What is laid over the photo.
    """
    photo, quad = _surroundings(photo, quad)
    full = before.shape[-1]
    side = min(full, _SIDE)
    finer = max(side, min(2 * side, math.ceil(np.linalg.norm(quad[3] - quad[0]))))
    detailed = _cropped(photo, quad, finer)
    p, old, new = resize(detailed, side), before[None], after[None]
    new = new - resize(_drift(resize(old, side), resize(new, side)), full)
    old, new = _registered(p, old, new)
    b, a = resize(old, side), resize(new, side)

    mask, k, same, covered, around = _weights(p, b, a)
    hp, ha = _structure(p), _structure(a)
    agrees = resize(ramp(_explained(hp, ha, 2.0, 0.05), 0.2, 0.6), side) * (1 - covered)
    replaced = k * (1 - agrees)
    filled = _fill(torch.cat([p - b, resize(_grain(photo, quad), side)], dim=1), same, a)
    light, grain = filled[:, :3], filled[:, 3:].clamp(min=0).expm1().sqrt()
    # Where P's fine structure stays, its colours go all the same.
    colours = (k - replaced) * blur(p - b - light, 2.5 * side / 128)
    identity = torch.eye(3).reshape(1, 9, 1, 1)
    gone = identity - (1 - replaced) * (identity + around * (_recolouring(b, a) - identity))

    wide = resize(old, finer)
    trusted = resize(agrees * (1 - k), finer) * window(finer, BORDER)
    sharpness = _energy(detailed, trusted) / _energy(wide, trusted)
    crisp = new - resize(blur(resize(new, finer), _SHARP * finer), full)
    soft = gone[:, ::4].mean(dim=1, keepdim=True).clamp(0, 1)
    crisp = (min(max(sharpness, 1.0), 2.0) - 1) * crisp * resize(soft, full)
    difference = new - old + crisp - resize(colours, full)
    return Composite(difference, old + resize(light, full), mask, gone, replaced * grain)


def _surroundings(photo: Image.Image, quad: NDArray[np.float64]) -> tuple[Image.Image, NDArray[np.float64]]:
    """The part of a photo about a quad, and the quad in it: large photos are not scaled down as a whole."""
    left, top = np.clip(np.floor(quad.min(axis=0)).astype(int) - 2, 0, np.array(photo.size) - 1).tolist()
    right, bottom = np.clip(np.ceil(quad.max(axis=0)).astype(int) + 3, 1, photo.size).tolist()
    return photo.crop((left, top, right, bottom)), quad - (left, top)


def _cropped(photo: Image.Image, quad: NDArray[np.float64], side: int) -> Tensor:
    """What a quad shows of a photo, [1, 3, side, side] in [-1, 1]; its border goes on beyond it."""
    factor = max(1, int(np.linalg.norm(quad[3] - quad[0]) / side))
    small = torch.from_numpy(np.array(photo.reduce(factor))).permute(2, 0, 1)[None] / 127.5 - 1
    steps = (np.arange(side) + 0.5) / side
    where = (_places_in(quad, steps) + 0.5) / (factor * np.array([small.shape[-1], small.shape[-2]])) * 2 - 1
    return F.grid_sample(
        small, torch.from_numpy(where)[None].float(), "bilinear", "border", align_corners=False
    )


def _places_in(quad: NDArray[np.float64], steps: NDArray[np.float64]) -> NDArray[np.float64]:
    """Places [n, n, 2] of a photo, in pixels, at steps [n] across a quad and down."""
    s, t = steps[None, :, None], steps[:, None, None]
    nw, sw, se, ne = quad
    return (1 - s) * ((1 - t) * nw + t * sw) + s * ((1 - t) * ne + t * se)


def _drift(b: Tensor, a: Tensor) -> Tensor:
    """The change along the border, propagated to where the same colours change by the same amount."""
    side = b.shape[-1]
    along = 1 - ramp(border_distance(side), 0, BORDER)[None, None]
    drift = _fill(a - b, along, b, reach=0.25)
    other = blur((a - b - drift).abs().amax(dim=1, keepdim=True), 2 * side / 128)
    there = blur(((a - b) * drift).sum(dim=1, keepdim=True), 2 * side / 128)
    share = there / (blur(drift.square().sum(dim=1, keepdim=True), 2 * side / 128) + 1e-6)
    return drift * share.clamp(0, 1) * (1 - ramp(other, 0.1, 0.3))


def _registered(p: Tensor, before: Tensor, after: Tensor) -> tuple[Tensor, Tensor]:
    """Warp the images [1, 3, R, R] before and after to the features of the photo p."""
    moved = _displacement(p, before)
    old, new = _structure(resize(before, p.shape[-1])), _structure(resize(after, p.shape[-1]))
    vanishing = _salience(old, 4.0) - _explained(old, new, 4.0)
    appearing = _salience(new, 4.0) - _explained(new, old, 4.0)
    thick = _thick(resize(after - before, p.shape[-1]).abs().amax(dim=1, keepdim=True))
    only_appears = ramp(appearing * (1 - vanishing), 0.15, 0.4) * (1 - resize(thick, _COARSE))
    moved = moved * blur(1 - only_appears, 0.04 * _COARSE)
    return warp(before, moved), warp(after, moved)


def _displacement(p: Tensor, before: Tensor) -> Tensor:
    """A smooth displacement [1, 2, h, w], in sides, so that `before` there looks like p."""
    moved = torch.zeros(1, 2, 8, 8)
    for side in (16, 32, 64):
        wanted, source = resize(p, side), resize(before, side)
        moved = resize(moved, side)
        for _ in range(_STEPS):
            seen = warp(source, moved)
            padded = F.pad(seen, (1,) * 4, mode="replicate")
            across = (padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]) / 2
            down = (padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]) / 2
            error = wanted - seen
            scale = (across.square() + down.square() + error.square() / 2).sum(dim=1, keepdim=True) + 0.02
            force = torch.stack([(error * across).sum(dim=1), (error * down).sum(dim=1)], dim=1) / scale
            moved = blur(moved + blur(force, 1.0) / side, _ELASTICITY)
    length = moved.norm(dim=1, keepdim=True).clamp(min=1e-6)
    moved = moved * _FARTHEST * torch.tanh(length / _FARTHEST) / length
    wanted, source = resize(p, side), resize(before, side)
    still, there = (
        blur((wanted - seen).abs().sum(dim=1, keepdim=True), 3.0) for seen in (source, warp(source, moved))
    )
    return blur(moved * ramp((still - there) / (still + 0.02), 0, 0.25), 1.5)


def _weights(p: Tensor, b: Tensor, a: Tensor) -> tuple[Tensor, ...]:
    """Where anything changes, k, where the surface stays, is covered, is recoloured or near; [1, 1, M, M]."""
    side = p.shape[-1]
    pixel = side / 128
    change = (a - b).abs().amax(dim=1, keepdim=True)
    old, new = _structure(b), _structure(a)
    kept = torch.minimum(_explained(old, new, 2.0), _explained(new, old, 2.0))
    recoloured = resize(ramp(kept, 0.25, 0.6), side)
    missing = _salience(old, 1.5) * (1 - _remaining(old, new, 2.0)) - _explained(old, new, 1.5)
    vanishes = resize(ramp(missing, 0.1, 0.35), side)
    vanishes = dilate(vanishes * ramp(blur(change, 1.5 * pixel), 0.02, 0.1), round(pixel))
    # Thin structure that comes over what stays, as the rims of glasses do, takes nothing away. Thick
    # structure in the place of what was there (teeth, a beard) is no recoloured version of it.
    gained, lost = (
        blur(y.square().sum(dim=1, keepdim=True), 4.0)
        * (1 - torch.maximum(_explained(y, x, 4.0, 0.02), _remaining(y, x, 4.0)))
        for y, x in ((new, old), (old, new))
    )
    appears = resize(ramp(gained / (gained + lost + 1e-3), 0.55, 0.8), side)
    thick = _thick(change)
    covered = appears * thick * resize(ramp(1 - _shared(old, new, 4.0), 0.1, 0.4), side)
    recoloured = recoloured * (1 - covered)
    k = torch.maximum(ramp(blur(change, pixel), 0.05, 0.25), vanishes) * (1 - recoloured)
    same = 1 - k
    k = k * (1 - appears * (1 - thick))
    # What the photo has of the vanishing thing beyond where the generator draws it has its colours.
    known = 1.02 - ramp(blur((p - b).abs().amax(dim=1, keepdim=True), 2.0), 0.2, 0.6)
    alike = _fill(k, known, p, reach=0.1, doubt=1e-4, robust=False)
    k = torch.maximum(k, ramp(alike, 0.4, 0.7) * (1 - recoloured))
    same = torch.minimum(same, 1 - k)
    mask = dilate(ramp(blur(change, 2 * pixel), 0.05, 0.15), round(3 * pixel))
    around = dilate(ramp(blur(change, 2 * pixel), 0.05, 0.25), round(4 * pixel)) * (1 - appears * (1 - thick))
    return torch.maximum(mask, k) * window(side, 1 / 16), k, same, covered, around


def _thick(change: Tensor) -> Tensor:
    """Where much changes over more than a line: a morphological opening of |a - b| [1, 1, s, s]."""
    reach = max(round(2 * change.shape[-1] / 128), 1)
    opened = -F.max_pool2d(-ramp(change, 0.2, 0.4), 2 * reach + 1, 1, reach)
    return dilate(F.max_pool2d(opened, 2 * reach + 1, 1, reach), reach)


def _shared(old: Tensor, new: Tensor, reach: float) -> Tensor:
    """How much of the fine structure of one image [1, 3, h, w] the other still has as it was, in [0, 1]."""
    shared, own = (blur((old * x).sum(dim=1, keepdim=True), reach) for x in (new, old))
    return (shared / (own + 1e-4)).clamp(0, 1)


def _remaining(old: Tensor, new: Tensor, reach: float) -> Tensor:
    """Whether what one image has is still there, under whatever the other has besides, in [0, 1]."""
    return ramp(_shared(old, new, reach), 0.3, 0.8)


def _recolouring(b: Tensor, a: Tensor) -> Tensor:
    """M about each place, [1, 9, h, w] row by row: the linear map of b's colours that comes closest to a's.

    Least squares in Gaussian windows, drawn to the identity where b is flat: with covariances in the windows,
    M = (cov(a, b) + e I) (cov(b, b) + e I)^-1.
    """
    reach = _WINDOW * b.shape[-1]
    mean_b, mean_a = blur(b, reach), blur(a, reach)
    spread = _products(b, b, reach) - _pairs(mean_b, mean_b)
    shared = (_products(a, b, reach) - _pairs(mean_a, mean_b)).reshape(3, 3, *b.shape[-2:])
    shared = shared + _RIDGE * torch.eye(3)[:, :, None, None]
    return torch.einsum("aihw,ijhw->ajhw", shared, _inverse(spread, _RIDGE)).reshape(1, 9, *b.shape[-2:])


def _explained(y: Tensor, x: Tensor, reach: float, faint: float = _FAINT) -> Tensor:
    """The share of y's energy about each place that a linear map of x's colours there explains.

    Least squares with a small ridge in Gaussian windows: with S = blur(x x^T) and c = blur(x y), the sum over
    y's channels of c^T S^-1 c, divided by blur(|y|^2).

    Args:
        y: Fine structure [1, 3, h, w].
        x: The same of another image.
        reach: Standard deviation of the windows in pixels.
        faint: Root of the energy that counts as none.

    Returns:
        [1, 1, h, w] in [0, 1].
    """
    energy = blur(y.square().sum(dim=1, keepdim=True), reach)
    inverse = _inverse(_products(x, x, reach), 0.02 * energy[0, 0] / 3 + 1e-5)
    shared = _products(x, y, reach).reshape(3, 3, *y.shape[-2:])
    found = torch.einsum("iyhw,ijhw,jyhw->hw", shared, inverse, shared)[None, None]
    return (found.clamp(min=0) / (energy + faint**2)).clamp(max=1)


def _pairs(x: Tensor, y: Tensor) -> Tensor:
    """The products of each channel of one image [1, 3, h, w] and each of another, [9, h, w]."""
    return torch.cat([x[:, i : i + 1] * y for i in range(3)], dim=1)[0]


def _products(x: Tensor, y: Tensor, reach: float) -> Tensor:
    """Their means in Gaussian windows."""
    return blur(_pairs(x, y)[None], reach)[0]


def _inverse(products: Tensor, ridge: Tensor | float) -> Tensor:
    """Inverses [3, 3, h, w] of symmetric matrices [9, h, w] plus a ridge.

    By cofactors: thousands of calls to LAPACK take far longer.
    """
    xx, xy, xz, _, yy, yz, _, _, zz = products
    xx, yy, zz = xx + ridge, yy + ridge, zz + ridge
    rows = [
        [yy * zz - yz * yz, xz * yz - xy * zz, xy * yz - xz * yy],
        [xz * yz - xy * zz, xx * zz - xz * xz, xy * xz - xx * yz],
        [xy * yz - xz * yy, xy * xz - xx * yz, xx * yy - xy * xy],
    ]
    determinant = xx * rows[0][0] + xy * rows[0][1] + xz * rows[0][2]
    return torch.stack([torch.stack(row) for row in rows]) / determinant


def _salience(structure: Tensor, reach: float) -> Tensor:
    """The most that `_explained` could give: near 0 where there is hardly any structure."""
    energy = blur(structure.square().sum(dim=1, keepdim=True), reach)
    return energy / (energy + _FAINT**2)


def _structure(picture: Tensor) -> Tensor:
    """An image's fine structure, at the size at which it is compared."""
    return resize(picture - blur(picture, _FINE * picture.shape[-1]), _COARSE)


def _fill(
    values: Tensor,
    known: Tensor,
    guide: Tensor,
    *,
    reach: float = 0.2,
    doubt: float = 0.3,
    robust: bool = True,
) -> Tensor:
    """Carry values over from where they are known, to places of like colours (a cross bilateral filter).

    Args:
        values: [1, C, s, s].
        known: How much they count, [1, 1, s, s].
        guide: Whose colours are compared, [1, 3, s, s].
        reach: Standard deviation in place, in sides.
        doubt: Weight of the value 0, in cells: what is like nothing known gets that.
        robust: Whether values unlike those of like places count less, and what is hardly like any gets 0.
    """
    side, channels = values.shape[-1], values.shape[1]
    weight = resize(known, _KEYS).clamp(min=1e-6)
    cells, colours = ((resize(x * known, _KEYS) / weight)[0].flatten(1).T for x in (values, guide))
    weight = weight.flatten()
    keys = _features(colours, _KEYS, reach)
    if robust:
        near = _nearness(keys, keys) * weight
        usual = near @ cells / (near.sum(dim=1, keepdim=True) + 1e-6)
        weight = weight / (1 + (cells - usual)[:, :3].square().sum(dim=1) / 0.2**2)
    queries = _features(resize(guide, _COARSE)[0].flatten(1).T, _COARSE, reach)
    near = _nearness(queries, keys) * weight
    filled = near @ cells / (near.sum(dim=1, keepdim=True) + doubt)
    if robust:
        filled = filled * ramp(near.amax(dim=1, keepdim=True), 0.05, 0.3)
    return blur(resize(filled.T.reshape(1, channels, _COARSE, _COARSE), side), 0.7)


def _nearness(a: Tensor, b: Tensor) -> Tensor:
    """exp(-d^2 / 2) of the distances of features [n, 5] and [m, 5]; far is far: denormals would be slow."""
    return torch.cdist(a, b).square_().clamp_(max=80).mul_(-0.5).exp_()


def _features(colours: Tensor, side: int, reach: float) -> Tensor:
    """Place and colour of each pixel, [side^2, 5], in standard deviations."""
    return torch.cat([pixel_grid(side)[0].flatten(0, 1) / (2 * reach), colours / 0.1], dim=1)


def _grain(photo: Image.Image, quad: NDArray[np.float64]) -> Tensor:
    """log(1 + variance) of a photo's grain about each place of the crop, in 255ths; [1, 1, keys, keys].

    From second differences d of neighbouring pixels, whose variance is six times the grain's. Their geometric
    mean is not moved by edges, as the mean is: E log d^2 = log(6 s^2) - 1.27 for normal grain.
    """
    places = _places_in(quad, (np.arange(_GRAIN) + 0.5) / _GRAIN)
    pixels = np.pad(np.asarray(photo), ((0, 0), (1, 1), (0, 0)), "edge")
    y = np.clip(places[..., 1].astype(int), 0, photo.height - 1)
    x = np.clip(places[..., 0].astype(int), 0, photo.width - 1) + 1
    near, here, far = (pixels[y, x + step].astype(np.float32) for step in (-1, 0, 1))
    energy = np.log((near - 2 * here + far) ** 2 + 0.02).mean(axis=2)
    cells = torch.from_numpy(energy).reshape(_KEYS, _GRAIN // _KEYS, _KEYS, -1).mean(dim=(1, 3))
    rounding = 0.25  # what is left of a flat image in whole numbers
    return ((cells + 1.27).exp() / 6 - rounding).clamp(min=0).log1p()[None, None]


def _energy(picture: Tensor, where: Tensor) -> float:
    """Root of the energy of an image's finest structure."""
    fine = picture - blur(picture, _SHARP * picture.shape[-1])
    return math.sqrt(float((where * fine.square()).sum()) + 1e-6)
