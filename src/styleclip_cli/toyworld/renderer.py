"""Draw toy faces: attributes -> picture, batched and differentiable, by antialiased distance functions.

Coordinates: x to the right, y down, both in [-1, 1]; distances are negative inside a shape. Left and
right features share one shape through |x|. Layers are painted back to front.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from styleclip_cli.toyworld.attributes import COUNT
from styleclip_cli.toyworld.measures import (
    BROW,
    BROW_BEND,
    BROW_TILT,
    DROP,
    EYE_WHITE,
    EYE_Y,
    HEAD_Y,
    JAW,
    LOWER_LIP,
    NOSE_TIP,
    ZOOM,
    amounts,
    lips,
    measure,
    ramp,
)


def _rgb(*values: float) -> Tensor:
    return torch.tensor(values).view(1, 3, 1, 1)


def _mix(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    return a + (b - a) * t


def _ellipse(x: Tensor, y: Tensor, rx: Tensor | float, ry: Tensor | float) -> Tensor:
    """Approximate signed distance to an ellipse about the origin (exact on its border, to first order)."""
    u, v = x / rx, y / ry
    k = torch.sqrt(u * u + v * v + 1e-8)
    g = torch.sqrt((u / rx) ** 2 + (v / ry) ** 2 + 1e-8)
    return k * (k - 1) / g


def _box(x: Tensor, y: Tensor, hx: Tensor | float, hy: Tensor | float, radius: Tensor | float) -> Tensor:
    """Signed distance to a rounded rectangle about the origin."""
    qx, qy = x.abs() - hx + radius, y.abs() - hy + radius
    outside = torch.sqrt(qx.clamp(min=0) ** 2 + qy.clamp(min=0) ** 2 + 1e-10)
    return outside + torch.maximum(qx, qy).clamp(max=0) - radius


def _segment(
    x: Tensor, y: Tensor, ax: float | Tensor, ay: float | Tensor, bx: float | Tensor, by: float | Tensor
) -> Tensor:
    """Distance to the line piece from (ax, ay) to (bx, by)."""
    dx, dy = bx - ax, by - ay
    t = (((x - ax) * dx + (y - ay) * dy) / (dx * dx + dy * dy)).clamp(0, 1)
    return torch.sqrt((x - ax - t * dx) ** 2 + (y - ay - t * dy) ** 2 + 1e-10)


# Freckle positions on the right half (mirrored with a shift): x, y offsets from the nose, and radius.
_FRECKLES = (
    (0.060, -0.020, 0.013), (0.105, 0.030, 0.015), (0.150, -0.015, 0.014), (0.195, 0.025, 0.015),
    (0.235, -0.010, 0.012), (0.085, 0.080, 0.012), (0.150, 0.075, 0.014), (0.215, 0.075, 0.012),
)  # fmt: skip


def render(
    attributes: Tensor,
    resolution: int = 128,
    softness: float = 1.4,
    *,
    grid: Tensor | None = None,
    backdrop: Tensor | None = None,
) -> Tensor:
    """Draw faces.

    Args:
        attributes: Shape [N, 32] in the order of `attributes.ATTRIBUTES`; saturated to [0, 1].
        resolution: Side of the square picture in pixels, any; not used with a grid.
        softness: Width of the antialiased border in pixels.
        grid: Where to draw instead of the whole picture, shape [N, H, W, 2], H and W at least 2: the place
            (x, y) of each pixel in the face's frame, [-1, 1] across the usual picture and going on beyond.
        backdrop: What is behind the faces instead of the usual backdrop, shape [N, 3, H, W] in [-1, 1].

    Returns:
        Pictures, shape [N, 3, resolution, resolution] (or as the grid), RGB in [-1, 1].

    Raises:
        ValueError: The attributes have the wrong shape.
    """
    if attributes.ndim != 2 or attributes.shape[1] != COUNT:
        raise ValueError(f"attributes: expected [N, {COUNT}], got {list(attributes.shape)}")
    device = attributes.device
    a, on = amounts(attributes, -1, 1, 1, 1)
    pixel: Tensor | float
    if grid is None:
        pixel = 2 * ZOOM / resolution * softness
        centres = (torch.arange(resolution, device=device, dtype=attributes.dtype) + 0.5) / resolution * 2 - 1
        x = (centres * ZOOM).view(1, 1, 1, -1).expand(1, 1, resolution, resolution)
        y = (centres * ZOOM + DROP).view(1, 1, -1, 1).expand(1, 1, resolution, resolution)
    else:
        steps = (grid[:, :, 1:] - grid[:, :, :-1]).norm(dim=-1)
        pixel = steps.mean(dim=(1, 2)).view(-1, 1, 1, 1) * ZOOM * softness
        x, y = grid[:, None, ..., 0] * ZOOM, grid[:, None, ..., 1] * ZOOM + DROP
    ax = x.abs()

    def c(*values: float) -> Tensor:
        return _rgb(*values).to(device=device, dtype=attributes.dtype)

    def inside(distance: Tensor) -> Tensor:
        return (0.5 - distance / pixel).clamp(0, 1)

    def blob(px: Tensor, py: Tensor, sx: Tensor | float, sy: Tensor | float) -> Tensor:
        return torch.exp(-((px / sx) ** 2) - (py / sy) ** 2)

    # ---- measures -----------------------------------------------------------------------------
    m = measure(a)
    rx, ry, cy = m.rx, m.ry, HEAD_Y
    eye_x, eye_y, eye_r = m.eye_x, EYE_Y, m.eye_r
    nose_w, nose_y, mouth_w, mouth_y = m.nose_w, m.nose_y, m.mouth_w, m.mouth_y
    length = a["hair_length"]
    hairy = ramp(length, 0.10, 0.30)
    lit = a["light"] * 2 - 1

    # ---- colours ------------------------------------------------------------------------------
    tone = a["skin_tone"]
    skin = _mix(
        _mix(c(0.99, 0.86, 0.77), c(0.84, 0.62, 0.46), (tone * 2).clamp(max=1)),
        c(0.42, 0.26, 0.17),
        (tone * 2 - 1).clamp(min=0),
    )
    hair_light = a["hair_light"]
    hair = _mix(
        _mix(c(0.09, 0.07, 0.07), c(0.44, 0.26, 0.13), (hair_light * 2).clamp(max=1)),
        c(0.95, 0.80, 0.42),
        (hair_light * 2 - 1).clamp(min=0),
    )
    hair = _mix(hair, c(0.80, 0.22, 0.07), on["hair_red"])
    hair = _mix(hair, c(0.78, 0.78, 0.80), on["hair_grey"])
    hair_dark = hair * 0.62

    # ---- backdrop -----------------------------------------------------------------------------
    if backdrop is None:
        base = _mix(c(0.30, 0.55, 0.90), c(0.98, 0.62, 0.30), a["background_warm"])
        base = _mix(base * 0.36, _mix(base, c(1.0, 1.0, 1.0), torch.tensor(0.45)), a["background_light"])
        waves = torch.sin((x * 0.8 + y) * 3.5 * math.pi) * torch.sin((x - y * 0.8) * 3.5 * math.pi)
        glow = 1.06 - 0.16 * (x * x + (y + 0.2) ** 2)
        image = base * glow * (1 + 0.24 * a["texture"] * waves)
    else:
        image = (backdrop + 1) / 2

    def paint(colour: Tensor, mask: Tensor) -> None:
        nonlocal image
        image = torch.lerp(image, colour.expand_as(image), mask.expand_as(image))

    # ---- hair behind the head: grows from ear height to the chest ---------------------------
    volume = a["hair_volume"]
    hair_rx = rx * (1.10 + 0.20 * volume)
    hair_top = cy - ry * (1.08 + 0.22 * volume)
    hair_bottom = cy - 0.05 + ramp(length, 0.35, 1.0) * 0.82
    mid = (hair_top + hair_bottom) / 2
    back = _box(
        x,
        y - mid,
        hair_rx,
        (hair_bottom - hair_top) / 2,
        torch.minimum(hair_rx, (hair_bottom - hair_top) / 2) * 0.92,
    )
    back_shine = 0.90 + 0.10 * torch.sin(ax * 46)
    paint(hair_dark * back_shine, inside(back) * hairy)

    # ---- neck and clothes ---------------------------------------------------------------------
    shade_side = 1 + 0.16 * lit * x / 0.4
    neck = _box(x, y - (cy + ry + 0.10), 0.155, 0.24, 0.05)
    neck_shadow = 1 - 0.32 * ramp(-(y - cy - ry), -0.17, 0.02)
    paint((skin * 0.90 * neck_shadow * shade_side).clamp(0, 1), inside(neck))
    cloth = _mix(c(0.16, 0.30, 0.62), c(0.80, 0.18, 0.22), a["clothes"])
    shoulders = _ellipse(x, (y - 1.16).clamp(max=0), 0.80, 0.50)  # straight down from their widest
    collar = _ellipse(x, y - 0.655, 0.20, 0.12)
    paint(
        (cloth * (1.02 - 0.35 * ramp(ax, 0.2, 0.85)) * shade_side).clamp(0, 1),
        inside(torch.maximum(shoulders, -collar)),
    )

    # ---- ears and earrings --------------------------------------------------------------------
    ear_y = cy + 0.02
    ear = _ellipse(ax - rx * 0.99, y - ear_y, 0.052, 0.088)
    paint((skin * 0.90 * shade_side).clamp(0, 1), inside(ear))
    paint(skin * 0.68, inside(_ellipse(ax - rx * 1.00, y - ear_y, 0.024, 0.048)) * 0.6)

    # ---- head ---------------------------------------------------------------------------------
    v = (y - cy) / ry
    jaw = (1 - JAW * v.clamp(min=0) ** 2).clamp(min=1e-3)  # far below the chin it would pass through zero
    hx = x / jaw
    head = _ellipse(hx, y - cy, rx, ry)
    head_mask = inside(head)
    u = hx / rx
    depth = torch.sqrt((1 - u * u - v * v).clamp(min=0.0) + 1e-4)  # a sphere's normal is (u, v, depth)
    lambert = (0.75 * lit * u - 0.40 * v + 0.72 * depth).clamp(0, 1.2)
    glossy = (0.45 * lit * u - 0.45 * v + 0.77 * depth).clamp(0, 1) ** 14
    face = skin * (0.70 + 0.36 * lambert) + 0.10 * glossy
    warm = blob(ax - 0.19, y - (eye_y + 0.20), 0.10, 0.075)
    face = _mix(face, skin * c(1.02, 0.78, 0.74), 0.35 * warm)
    blush = on["makeup"] * blob(ax - 0.215, y - (eye_y + 0.19), 0.095, 0.07)
    face = _mix(face, c(0.94, 0.30, 0.42), 0.62 * blush)
    paint(face.clamp(0, 1), head_mask)
    detail = head_mask

    # ---- freckles -----------------------------------------------------------------------------
    spots = torch.zeros_like(x)
    for fx, fy, fr in _FRECKLES:
        for side in (1.0, -1.0):
            d = (
                torch.sqrt(
                    (x - side * fx) ** 2 + (y - (eye_y + 0.185) - fy * (1.0 if side > 0 else 0.6)) ** 2
                )
                - fr
            )
            spots = torch.maximum(spots, (0.5 - d / pixel).clamp(0, 1))
    paint(skin * c(0.60, 0.42, 0.34), spots * on["freckles"] * 0.85)

    # ---- wrinkles -----------------------------------------------------------------------------
    forehead = torch.full_like(x, 9.0)
    for row in (0.0, 0.060, 0.120):
        line = (y - (eye_y - 0.275 + row) - 0.30 * x * x - 0.006 * torch.sin(x * 28)).abs()
        forehead = torch.minimum(forehead, torch.maximum(line - 0.010, ax - 0.17 + row * 0.3))
    crow = torch.minimum(
        _segment(ax, y, eye_x + 0.105, eye_y - 0.005, eye_x + 0.165, eye_y - 0.040),
        _segment(ax, y, eye_x + 0.105, eye_y + 0.022, eye_x + 0.165, eye_y + 0.050),
    )
    bag = torch.maximum(
        (_ellipse(ax - eye_x, y - eye_y - 0.012, 0.088, 0.105)).abs() - 0.003, eye_y + 0.075 - y
    )
    fold = _segment(ax, y, nose_w + 0.055, nose_y - 0.01, mouth_w + 0.055, mouth_y + 0.01)
    lines = torch.minimum(torch.minimum(forehead, torch.minimum(crow, fold) - 0.010), bag - 0.006)
    paint(skin * 0.58, inside(lines) * on["wrinkles"] * 0.85 * detail)

    # ---- beard and moustache ------------------------------------------------------------------
    stubble = 0.95 + 0.06 * torch.sin(x * 60) * torch.sin(y * 52)
    beard_shape = torch.maximum(
        head - 0.035,
        -_ellipse(x, y - (eye_y + 0.12), rx * 0.84, (mouth_y - eye_y - 0.12) * 0.80),
    )
    beard_shape = torch.maximum(beard_shape, eye_y + 0.13 - y)
    paint(hair_dark * stubble, inside(beard_shape) * on["beard"])
    tash = _ellipse(x, y - (mouth_y - 0.072) - 0.9 * x * x, mouth_w * 0.55 + 0.075, 0.034)
    paint(hair_dark * 0.9, inside(tash) * on["moustache"])

    # ---- nose ---------------------------------------------------------------------------------
    ridge = blob(x - 0.012 * lit, y - (nose_y - 0.10), 0.022, 0.12)
    image = image + 0.13 * ridge * detail
    side_shadow = blob(x + lit * 0.055, y - (nose_y - 0.07), 0.030, 0.10)
    paint(skin * 0.70, 0.35 * side_shadow * lit.abs() * detail)
    tip_w = nose_w + NOSE_TIP[0]
    tip = _ellipse(x, y - nose_y, tip_w, NOSE_TIP[1])
    paint(skin * 0.80, inside(torch.maximum(tip, -_ellipse(x, y - nose_y + 0.018, tip_w, 0.040))) * 0.9)
    paint(skin * 0.42, inside(_ellipse(ax - nose_w * 0.56, y - nose_y - 0.010, 0.015, 0.010)) * 0.85)

    # ---- mouth: two lips along a bent line, with an opening between them -------------------
    t = (x / mouth_w).clamp(-1, 1)
    bend, opening, upper, lower, thick, taper = lips(m, on, t)
    lip_colour = _mix(skin * c(0.86, 0.60, 0.60), c(0.80, 0.04, 0.16), on["lipstick"])
    end = ax - mouth_w
    lip_top = torch.maximum(torch.maximum(upper - thick * taper - y, y - upper), end)
    lip_low = torch.maximum(torch.maximum(lower - y, y - lower - thick * LOWER_LIP * taper), end)
    gap = torch.maximum(torch.maximum(upper - y, y - lower), end)
    paint(c(0.26, 0.05, 0.07), inside(gap))
    teeth = torch.maximum(torch.maximum(gap, y - upper - opening * 0.85), ax - mouth_w * 0.86)
    paint(c(0.97, 0.96, 0.93), inside(teeth) * on["mouth_open"])
    paint(lip_colour, inside(torch.minimum(lip_top, lip_low)))
    closed = (y - bend).abs()
    paint(lip_colour * 0.45, inside(torch.maximum(closed - 0.007, end)) * (1 - on["mouth_open"]))
    image = image + 0.16 * blob(x, y - lower - thick * 0.6, mouth_w * 0.35, 0.012) * (
        0.4 + 0.6 * on["lipstick"]
    )

    # ---- eyes ---------------------------------------------------------------------------------
    ex, ey = ax - eye_x, y - eye_y
    shadow = _ellipse(ex, ey + eye_r * 0.62, eye_r * 1.32, eye_r * 1.02)
    paint(c(0.50, 0.16, 0.66), inside(shadow) * on["makeup"] * 0.85)
    white_rx, white_ry = eye_r * EYE_WHITE[0], eye_r * EYE_WHITE[1]
    white = _ellipse(ex, ey, white_rx, white_ry)
    paint(c(0.10, 0.06, 0.06), inside(torch.maximum(white - 0.016, ey - 0.004)))
    white_mask = inside(white)
    paint(c(0.97, 0.97, 0.98) * (0.90 + 0.10 * ramp(ey, -0.06, 0.02)), white_mask)
    iris = _ellipse(ex, ey, eye_r * 0.72, eye_r * 0.72)
    iris_colour = _mix(c(0.30, 0.15, 0.06), c(0.16, 0.50, 0.92), a["eye_blue"])
    iris_colour = iris_colour * (0.80 + 0.45 * ramp(ey, -0.03, 0.05))
    paint(iris_colour, inside(iris) * white_mask)
    paint(c(0.03, 0.03, 0.04), inside(_ellipse(ex, ey, eye_r * 0.32, eye_r * 0.32)) * white_mask)
    sx = x - torch.where(x > 0, eye_x, -eye_x)  # highlights stand on the same side of both eyes
    paint(
        c(1.0, 1.0, 1.0),
        inside(_ellipse(sx - eye_r * 0.26, ey + eye_r * 0.28, eye_r * 0.19, eye_r * 0.19)) * 0.95,
    )

    # ---- brows --------------------------------------------------------------------------------
    brow = (y - m.brow_y - BROW_BEND * ex * ex + BROW_TILT * ex).abs() - (
        0.009 + 0.026 * a["brow_thickness"]
    ) * (1.05 - 2.2 * ex.clamp(-0.1, 0.2))
    paint(
        _mix(hair_dark, skin * 0.35, 0.25 + 0.35 * (1 - hairy)), inside(torch.maximum(brow, ex.abs() - BROW))
    )

    # ---- hair on the head: a cap minus the face's opening, and a fringe -----------------------
    cap = _ellipse(x, y - cy + 0.02, hair_rx, ry * (1.08 + 0.20 * volume))
    cap = torch.maximum(cap, y - (cy + 0.02 + 0.12 * ramp(length, 0.3, 0.6)))
    window = _ellipse(x, y - (cy + 0.16), rx * 0.90, ry * 1.00)
    fringe_line = eye_y - eye_r - 0.060 - 0.10 * (1 - on["fringe"]) + 0.012 * torch.sin(x * 40)
    fringe = torch.maximum(torch.maximum(cap, y - fringe_line), ax - rx * 0.93)
    front = torch.maximum(cap, -window)
    hair_mask = torch.maximum(inside(front), inside(fringe) * on["fringe"]) * hairy
    strands = 1 + 0.07 * torch.sin(x * 55 + 3 * y)
    crown = cy - ry * 0.80
    sheen = torch.exp(-(((y - crown - 0.35 * x * x) / 0.055) ** 2)) * (0.65 + 0.5 * lit * x).clamp(0, 1)
    paint((hair * strands + 0.20 * sheen * (0.35 + hair)).clamp(0, 1), hair_mask)
    under = torch.exp(-((torch.minimum(window.abs(), torch.full_like(x, 9.0)) / 0.05) ** 2)) * inside(window)
    paint(skin * 0.62, 0.30 * under * hairy * head_mask * (1 - hair_mask) * ramp(-y, -0.05, 0.15))

    # ---- earrings, in front of the hair --------------------------------------------------------
    hoop = torch.sqrt((ax - rx * 1.02) ** 2 + (y - ear_y - 0.150) ** 2 + 1e-8)
    ring = (hoop - 0.050).abs() - 0.017
    paint(c(0.98, 0.80, 0.22), inside(ring) * on["earrings"])
    paint(
        c(1.0, 0.97, 0.80),
        inside(_ellipse(ax - rx * 1.02 + 0.018, y - ear_y - 0.185, 0.014, 0.010)) * on["earrings"],
    )

    # ---- hat: dome, band and brim -------------------------------------------------------------
    hat_y = cy - ry * 0.50
    dome = torch.maximum(_ellipse(x, y - hat_y, rx * 1.20, ry * 0.74), y - hat_y)
    felt = c(0.12, 0.42, 0.40) * (0.92 + 0.22 * lit * x / rx) * (1.0 + 0.25 * ramp(-(y - hat_y), 0.05, 0.35))
    paint(felt.clamp(0, 1), inside(dome) * on["hat"])
    paint(c(0.90, 0.86, 0.70), inside(torch.maximum(dome, hat_y - 0.10 - y)) * on["hat"])
    brim = _box(x, y - hat_y - 0.01 - 0.10 * x * x, rx * 1.52, 0.038, 0.036)
    paint((c(0.10, 0.34, 0.33) * (1.0 + 0.2 * lit * x)).clamp(0, 1), inside(brim) * on["hat"])
    paint(
        c(0.05, 0.03, 0.03),
        0.30
        * on["hat"]
        * ramp(-(y - hat_y - 0.15), 0.0, 0.10)
        * head_mask
        * (y > hat_y + 0.05).to(x.dtype)
        * (1 - hair_mask),
    )

    # ---- glasses and sunglasses ---------------------------------------------------------------
    lens_x, lens_rx, lens_ry = eye_x + 0.005, 0.112, 0.098
    lens = _box(ax - lens_x, y - eye_y - 0.012, lens_rx, lens_ry, 0.062)
    bridge = torch.maximum((y - eye_y + 0.022).abs() - 0.014, ax - (lens_x - lens_rx))
    arm = torch.maximum(
        (y - eye_y + 0.024).abs() - 0.014, torch.maximum(lens_x + lens_rx - ax, ax - rx * 1.03)
    )
    frame = torch.minimum(torch.minimum((lens - 0.002).abs() - 0.0165, bridge), arm)
    worn = on["glasses"] * (1 - on["sunglasses"])
    glare = inside(torch.maximum(lens, ((ax - lens_x) * 0.8 + (y - eye_y) + 0.045).abs() - 0.016))
    paint(c(0.85, 0.93, 1.0), inside(lens) * worn * 0.10)
    paint(c(1.0, 1.0, 1.0), glare * worn * 0.28)
    paint(c(0.10, 0.08, 0.10), inside(frame) * worn)
    dark = c(0.05, 0.05, 0.07) + c(0.16, 0.12, 0.10) * ramp(y - eye_y, -0.05, 0.11)
    shade = inside(torch.minimum(lens - 0.018, torch.minimum(bridge, arm)))
    paint(dark, shade * on["sunglasses"])
    paint(c(0.75, 0.80, 0.90), glare * on["sunglasses"] * 0.45)

    return image.clamp(0, 1) * 2 - 1


def render_all(attributes: Tensor, batch: int = 32) -> Tensor:
    """Draw any number of faces, a few at once so that memory stays bounded; as `render` otherwise."""
    return torch.cat([render(part) for part in attributes.split(batch)])
