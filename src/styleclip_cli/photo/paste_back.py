"""Edited crop -> photo: composite the changes of an edit into the photo that the crop was cut from.

The crop has coordinates s (to the right) and t (down), 0 to 1 from edge to edge. A quad with corners NW, SW,
SE, NE shows them in the photo at

    P(s, t) = NW + s e + t f + s t g,    e = NE - NW,  f = SW - NW,  g = NW - NE - SW + SE,

which is what Pillow's QUAD transform, and so `align.cut`, reads. FFHQ's quads are squares: g = 0, and

    (s, t) = [e f]^-1 (P - NW).

For other quads Newton's method goes on from there. A photo's pixel is given the crop's value at its middle,
by bicubic interpolation in a crop that was first scaled down, if it has more pixels than the quad.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from styleclip_cli.errors import BadInputError
from styleclip_cli.photo.blend import Composite, adaptive
from styleclip_cli.photo.filters import ramp, smooth, window
from styleclip_cli.photo.masks import Limits
from styleclip_cli.settings import DEFAULT_COMPOSITE, CompositeMode

THRESHOLD = 0.03
"""Where |after - before|, smoothed, is below this, in [-1, 1] units, a face counts as unchanged: 4 of 255."""
FEATHER = 1 / 16
"""Width of the masks' soft borders in sides of the crop."""

_MASK_SIDE = 256
"""Masks are made at this size: they are smooth."""
_SMOOTHING = 1 / 64
"""Reach of the smoothing of |after - before| in sides of the crop."""
_MUCH, _UNLIKE = (0.25, 0.7), (0.2, 0.7)
"""From where to where an edit counts as covering: |after - before|, and 1 - correlation. Measured on drawn
scenes: dark glasses come 3 dB closer to the truth, hats 1.2, and hair that changes colour stays as it was."""
_STRUCTURE = 1 / 32
"""Reach of the correlation in sides of the crop."""
_FLAT = 1e-3
_BAND = 512
"""Rows that are computed at a time: keeps the memory of a large photo low."""
_NEWTON_STEPS = 8
_TILE = 251  # no divisor of any usual width


class _Box(NamedTuple):
    left: int
    top: int
    right: int
    bottom: int


def paste(
    photo: Image.Image,
    quad: NDArray[np.float64],
    before: NDArray[np.float32] | Tensor,
    after: NDArray[np.float32] | Tensor,
    mode: CompositeMode = DEFAULT_COMPOSITE,
    *,
    threshold: float = THRESHOLD,
    feather: float = FEATHER,
    limits: Limits | None = None,
) -> tuple[Image.Image, NDArray[np.float32]]:
    """Composite an edit into a photo.

    "adaptive" keeps the photo's own structure where the edit leaves it standing, in the new colours of what
    is recoloured. Where the edit removes, moves or covers it, it takes the generator's, with the photo's
    colours, sharpness and grain (`blend.adaptive`).

    "residual" adds what the edit changed, photo + mask (after - before), only where it changed something:
    what the generator cannot draw (freckles, earrings, grain) stays. Where the edit covers up what was
    there (dark glasses over eyes), nothing of that may show through: there it is as "replace", which puts
    the generator's image in the photo's place, photo + mask (after - photo), in the whole crop but for a
    soft border.

    Args:
        photo: Mode RGB.
        quad: Corners [4, 2] of the crop in the photo: NW, SW, SE, NE, in pixels (see `align`).
        before: What the generator draws of the face unchanged, [3, R, R] in [-1, 1]; "replace" does not
            look at it.
        after: What it draws of the edited face, [3, R, R] in [-1, 1].
        mode: How.
        threshold: Smaller changes, in [-1, 1] units, are left out ("residual").
        feather: Width of the mask's soft border in sides of the crop, 0 to 0.5 ("residual", "replace").
        limits: Where anything may change; None for anywhere.

    Returns:
        The photo, a new one, and the mask [H, W] in [0, 1]; where that is 0, no pixel has changed.

    Raises:
        BadInputError: If the quad has no inside.
    """
    new, old = _crop(after), _crop(before)
    if _touched(torch.ones(1, 1), quad, photo.size) is None:
        return photo.copy(), np.zeros((photo.height, photo.width), np.float32)
    if mode == "adaptive":
        made = adaptive(photo, quad, old, new)
    else:
        mask = window(min(_MASK_SIDE, new.shape[-1]), feather)
        replaced = torch.ones_like(mask)
        if mode == "residual":
            mask = mask * _changed((new - old).abs().amax(dim=0), threshold, feather)
            replaced = _covered(old, new)
        none = torch.zeros_like(mask)[None, None]
        parts = (new - old, old) if mode == "residual" else (torch.zeros_like(new), new)
        made = Composite(parts[0][None], parts[1][None], mask[None, None], replaced[None, None], none)
    return _laid(photo, quad, made, limits)


def _laid(
    photo: Image.Image, quad: NDArray[np.float64], made: Composite, limits: Limits | None
) -> tuple[Image.Image, NDArray[np.float32]]:
    """A photo with what is made of its crop, and the mask, as `paste` returns them."""
    result, full = photo.copy(), np.zeros((photo.height, photo.width), np.float32)
    box = _touched(made.mask[0, 0], quad, photo.size)
    if box is None:
        return result, full
    pictures = _shrunk(torch.cat([127.5 * made.difference[0], 127.5 * (made.base[0] + 1)]), quad)
    masks = torch.cat([made.gone[0], made.grain[0]])
    grainy = bool((made.grain > 0).any())
    for top in range(box.top, box.bottom, _BAND):
        band = box._replace(top=top, bottom=min(top + _BAND, box.bottom))
        rows, columns = np.arange(band.top, band.bottom), np.arange(band.left, band.right)
        places = _places(quad, columns, rows)
        strength = _sampled(made.mask[0], places, "bilinear")[0]
        if limits is not None and limits.parts is not None:
            strength = strength * _sampled(limits.parts[0], places, "bilinear")[0]
        if limits is not None and limits.photo is not None:
            strength = strength * torch.from_numpy(limits.photo[rows[0] : rows[-1] + 1, columns])
        pixels = np.array(photo.crop(band))
        inside = strength > 0
        where = places[inside][None]
        difference, base = _sampled(pictures, where, "bicubic")[:, 0].split(3)
        gone, grain = _sampled(masks, where, "bilinear")[:, 0].split([len(masks) - 1, 1])
        shown = torch.from_numpy(pixels[inside.numpy()]).T  # [3, n]
        instead = base - shown
        matrix = len(gone) == 9
        added = torch.einsum("ijn,jn->in", gone.unflatten(0, (3, 3)), instead) if matrix else gone * instead
        added += difference
        if grainy:
            y, x = np.nonzero(inside.numpy())
            added += grain * torch.from_numpy(_noise()[rows[y] % _TILE, columns[x] % _TILE]).T
        mixed = (shown + strength[inside] * added).round().clamp(0, 255).to(torch.uint8)
        pixels[inside.numpy()] = mixed.T.numpy()
        result.paste(Image.fromarray(pixels), (band.left, band.top))
        full[band.top : band.bottom, band.left : band.right] = strength.numpy()
    return result, full


@cache
def _noise() -> NDArray[np.float32]:
    """White noise [N, N, 3] of unit variance, laid side by side: a photo always gets the same grain."""
    return np.random.default_rng(0).standard_normal((_TILE, _TILE, 3), dtype=np.float32)


def _crop(picture: NDArray[np.float32] | Tensor) -> Tensor:
    tensor = torch.as_tensor(picture).detach().to("cpu", torch.float32)
    if tensor.ndim != 3 or tensor.shape[0] != 3:
        raise ValueError(f"a picture of the shape {list(tensor.shape)}, expected [3, R, R]")
    return tensor.clamp(-1, 1)


def _changed(difference: Tensor, threshold: float, feather: float) -> Tensor:
    """Where a crop was changed.

    Args:
        difference: [R, R], at least 0.
        threshold: Where the smoothed difference is above it, the mask is 1.
        feather: How far from there, in sides of the crop, it has fallen to exactly 0.

    Returns:
        [M, M] in [0, 1], M at most 256.
    """
    side = min(_MASK_SIDE, difference.shape[-1])
    small = smooth(F.adaptive_avg_pool2d(difference[None, None], side), round(side * _SMOOTHING))
    grown = (small > threshold).float()
    # Grown by as much as the blur then reaches, it stays 1 wherever something has changed.
    reach = max(round(side * feather / 2), 1)
    for size, padding in (((1, 2 * reach + 1), (0, reach)), ((2 * reach + 1, 1), (reach, 0))):
        grown = F.max_pool2d(grown, size, 1, padding)
    return smooth(grown, reach).clamp(0, 1)[0, 0]


def _covered(before: Tensor, after: Tensor) -> Tensor:
    """Where an edit covers the original: the change is large, and the structure is different.

    Recoloured hair changes much as well, but keeps its structure: before and after are correlated there.

    Args:
        before: [3, R, R] in [-1, 1].
        after: The same.

    Returns:
        [M, M] in [0, 1], M at most 256.
    """
    side = min(_MASK_SIDE, before.shape[-1])
    old, new = (F.adaptive_avg_pool2d(picture[None], side) for picture in (before, after))
    strength = smooth((new - old).abs().amax(dim=1, keepdim=True), round(side * _SMOOTHING))
    a, b = old.mean(dim=1, keepdim=True), new.mean(dim=1, keepdim=True)
    reach = max(round(side * _STRUCTURE), 1)
    mean_a, mean_b = smooth(a, reach), smooth(b, reach)
    # The small constant makes flat areas count as alike.
    spread_a = (smooth(a * a, reach) - mean_a.square()).clamp(min=0) + _FLAT
    spread_b = (smooth(b * b, reach) - mean_b.square()).clamp(min=0) + _FLAT
    likeness = (smooth(a * b, reach) - mean_a * mean_b + _FLAT) / (spread_a * spread_b).sqrt()
    return (ramp(strength, *_MUCH) * ramp(1 - likeness, *_UNLIKE))[0, 0]


def _touched(mask: Tensor, quad: NDArray[np.float64], size: tuple[int, int]) -> _Box | None:
    """The part of a photo that a mask [M, M] of the crop reaches; None if there is none."""
    rows, columns = (torch.nonzero(mask.amax(dim=axis)).flatten() for axis in (1, 0))
    if not len(rows):
        return None
    # Interpolation reaches to the middle of the next pixel.
    s = np.array([columns[0] - 0.5, columns[-1] + 1.5]) / mask.shape[1]
    t = np.array([rows[0] - 0.5, rows[-1] + 1.5]) / mask.shape[0]
    corner, e, f, g = _axes(quad)
    u, v = s[:, None, None], t[None, :, None]
    places = (corner + u * e + v * f + u * v * g).reshape(4, 2)
    left, top = np.maximum(np.floor(places.min(axis=0)), 0).astype(int).tolist()
    right, bottom = np.minimum(np.ceil(places.max(axis=0)) + 1, size).astype(int).tolist()
    return _Box(left, top, right, bottom) if left < right and top < bottom else None


def _axes(quad: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    """NW, e, f and g of P(s, t) (see the module), P in pixels whose middles have whole numbers."""
    nw, sw, se, ne = np.asarray(quad, np.float64)
    e, f = ne - nw, sw - nw
    area = abs(e[0] * f[1] - e[1] * f[0])
    if not area > 1e-6 * (e @ e + f @ f):
        raise BadInputError("the place of the crop in the photo has no inside", "align the photo again")
    return nw, e, f, nw - ne - sw + se


def _places(quad: NDArray[np.float64], xs: NDArray[np.int64], ys: NDArray[np.int64]) -> Tensor:
    """Where a photo's pixels lie in the crop.

    Returns:
        [len(ys), len(xs), 2], (s, t) scaled to -1 to 1 as `grid_sample` reads them.
    """
    corner, e, f, g = _axes(quad)
    # Quads, too, are counted from the middle of the first pixel, so no half is added.
    x, y = xs[None, :] - corner[0], ys[:, None] - corner[1]
    determinant = e[0] * f[1] - e[1] * f[0]
    s = (f[1] * x - f[0] * y) / determinant
    t = (e[0] * y - e[1] * x) / determinant
    if np.abs(g).max() > 1e-6 * np.abs([e, f]).max():
        for _ in range(_NEWTON_STEPS):
            ax, ay = e[0] + t * g[0], e[1] + t * g[1]
            bx, by = f[0] + s * g[0], f[1] + s * g[1]
            rx, ry = s * ax + t * f[0] - x, s * ay + t * f[1] - y
            slope = ax * by - ay * bx
            slope = np.where(np.abs(slope) < 1e-9 * abs(determinant), determinant, slope)
            s, t = s - (by * rx - bx * ry) / slope, t - (ax * ry - ay * rx) / slope
    return torch.from_numpy(np.stack([s, t], axis=-1).astype(np.float32)) * 2 - 1


def _sampled(values: Tensor, places: Tensor, how: str) -> Tensor:
    """Values [C, h, w] at places [H, W, 2], as [C, H, W]; outside, masks (bilinear) are 0."""
    padding = "zeros" if how == "bilinear" else "border"
    return F.grid_sample(values[None], places[None], how, padding, align_corners=False)[0]


def _shrunk(picture: Tensor, quad: NDArray[np.float64]) -> Tensor:
    """Scale [C, R, R] down to the pixels that the quad has in the photo, without aliasing."""
    _, e, f, g = _axes(quad)
    wanted = [max(np.hypot(*axis), np.hypot(*(axis + g))) for axis in (f, e)]
    size = [min(int(np.ceil(want)), extent) for want, extent in zip(wanted, picture.shape[1:], strict=True)]
    if tuple(size) == tuple(picture.shape[1:]):
        return picture
    return F.interpolate(picture[None], size, mode="bicubic", antialias=True)[0]
